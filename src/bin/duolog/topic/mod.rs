//! `duolog topic`: what topics there are, and with which options.

use clap::Subcommand;
use duolog::TopicOptions;

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::output;
use crate::store::StoreArgs;

mod flags;
mod show;

use flags::OptionFlags;

pub(crate) use flags::{Limit, codec_parser, durability_parser, limit};
pub(crate) use show::{codec, durability};

const EXAMPLES: &str = "\
Examples:
  duolog topic create orders --partitions 12 --retention-age 7d --retention-bytes 10GiB
  duolog topic list --json
  duolog topic describe orders
  duolog topic alter orders --retention-age none --segment-bytes 64MiB
  duolog topic delete orders";

const UNITS: &str = "\
Sizes: 512, 64KiB, 1.5GiB, 10GB. Durations: 100ms, 30s, 2h, 7d, 1h30m.";

/// Make, list, describe, alter and delete topics.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a topic, and the store if there is none.
    #[command(after_help = UNITS)]
    Create {
        /// Name of the new topic.
        name: String,
        #[command(flatten)]
        options: OptionFlags,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List all topics.
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show the options and the partitions of a topic.
    Describe {
        /// Name of the topic.
        name: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Change the options that are given, and no others.
    #[command(after_help = UNITS)]
    Alter {
        /// Name of the topic.
        name: String,
        #[command(flatten)]
        options: OptionFlags,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a topic and all its records.
    Delete {
        /// Name of the topic.
        name: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Does what `duolog topic` was asked to do.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    match &args.action {
        Action::Create {
            name,
            options,
            store,
        } => create(store, name, options),
        Action::List { json, store } => show::list(store, *json),
        Action::Describe { name, json, store } => show::describe(store, name, *json),
        Action::Alter {
            name,
            options,
            store,
        } => alter(store, name, options),
        Action::Delete { name, store } => {
            let engine = store.open_to_write(false)?;
            engine.delete_topic(name)?;
            engine.close()?;
            output::note(&format!("deleted topic {name}"));
            Ok(Done::Well)
        }
    }
}

fn create(store: &StoreArgs, name: &str, flags: &OptionFlags) -> Result<Done, Failure> {
    let engine = store.open_to_write(true)?;
    let topic = engine.create_topic(name, flags.over(TopicOptions::default()))?;
    let (id, partitions) = (topic.id(), topic.options().partitions);
    engine.close()?;
    output::note(&format!(
        "created topic {name}: id {id}, partitions: {partitions}"
    ));
    Ok(Done::Well)
}

fn alter(store: &StoreArgs, name: &str, flags: &OptionFlags) -> Result<Done, Failure> {
    if flags.is_empty() {
        return Err(Failure::Refused(
            "nothing to alter: give at least one option, such as --retention-age 7d".to_owned(),
        ));
    }
    let engine = store.open_to_write(false)?;
    let options = engine.topic(name)?.options().clone();
    engine.alter_topic(name, flags.over(options))?;
    engine.close()?;
    output::note(&format!("altered topic {name}"));
    Ok(Done::Well)
}
