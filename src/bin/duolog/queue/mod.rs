//! `duolog queue`: what queues there are, with which options, and what is in
//! them.

use clap::Subcommand;
use duolog::{MessageId, QueueOptions};

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::output;
use crate::store::StoreArgs;
use crate::units;

mod backoff;
mod browse;
mod carry;
mod filter;
mod flags;
mod select;
mod show;

use filter::Condition;
use flags::OptionFlags;

const EXAMPLES: &str = "\
Examples:
  duolog queue create dead
  duolog queue create jobs --lease 1m --max-deliveries 4 --dead-letter dead --backoff 1s,2,1m,0.2
  duolog queue subscribe audit --topic orders --filter 'kind=paid|refunded' --from-start
  duolog queue describe jobs
  duolog queue browse dead --reason max_deliveries
  duolog queue redrive dead --rate 100
  duolog queue move jobs --to jobs-eu --filter region=eu
  duolog queue cancel jobs 0-1042";

const UNITS: &str = "\
Sizes: 512, 64KiB, 1.5GiB, 10GB. Durations: 100ms, 30s, 2h, 7d, 1h30m.";

const BACKOFF: &str = "\
Backoff: BASE[,FACTOR[,CAP[,JITTER]]]. With 1s,2,1m,0.2 a message waits 1s after
its first failure, then 2s, 4s and so on up to 1m, and up to a fifth of each wait
is taken off at random. BASE alone is the same wait every time.";

const FILTERS: &str = "\
Filters look at headers; a message has to pass all that are given:
  name=a|b     it has the header with one of these values
  name^=start  it has the header with a value that starts so
  name         it has the header
  !name        it does not have it";

/// Make, list, describe, alter and delete queues, and look after their messages.
///
/// Messages go in and out with `duolog send` and `duolog receive`. A subscription
/// is a queue that is a view of a topic: its messages are the topic's records.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a queue, and the store if there is none.
    #[command(after_help = format!("{BACKOFF}\n\n{UNITS}"))]
    Create {
        /// Name of the new queue.
        name: String,
        #[command(flatten)]
        options: Box<OptionFlags>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Make a queue that is a view of a topic.
    ///
    /// Each record of the topic that passes the filters is a message of it. The
    /// bodies are stored once, however many subscriptions there are, and an
    /// acknowledgement takes the message out of this queue alone. The record's key
    /// is the order key, and each partition is a shard.
    #[command(after_help = format!("{FILTERS}\n\n{BACKOFF}\n\n{UNITS}"))]
    // What only queues with messages of their own have: refused if it is given.
    #[command(mut_args(|arg| if flags::is_of_owners(arg.get_id()) { arg.hide(true) } else { arg }))]
    Subscribe {
        /// Name of the new queue.
        name: String,
        /// The topic that it is a view of.
        #[arg(short, long, value_name = "TOPIC")]
        topic: String,
        /// Only messages that pass this; may be repeated.
        #[arg(short, long = "filter", value_name = "FILTER")]
        filters: Vec<Condition>,
        /// Begin with the oldest record of the topic, not with the next one.
        #[arg(long)]
        from_start: bool,
        #[command(flatten)]
        options: Box<OptionFlags>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List all queues.
    List {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show the options of a queue, and how many messages are what.
    Describe {
        /// Name of the queue.
        name: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Change the options that are given, and no others.
    #[command(after_help = format!("{BACKOFF}\n\n{UNITS}"))]
    Alter {
        /// Name of the queue.
        name: String,
        #[command(flatten)]
        options: Box<OptionFlags>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a queue and all its messages; of a subscription, the topic stays.
    Delete {
        /// Name of the queue.
        name: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Take out all messages, delayed ones too; the queue stays.
    Purge {
        /// Name of the queue.
        name: String,
        #[command(flatten)]
        store: StoreArgs,
    },
    // These say what they do at their flags.
    Peek(browse::Peek),
    Browse(browse::Browse),
    Redrive(carry::Redrive),
    Move(carry::Move),
    /// Take out one message, such as one that is delayed.
    Cancel {
        /// Name of the queue.
        name: String,
        /// Its id, as `queue browse` shows it.
        id: MessageId,
        #[command(flatten)]
        store: StoreArgs,
    },
}

/// Does what `duolog queue` was asked to do.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    match &args.action {
        Action::Create {
            name,
            options,
            store,
        } => create(store, name, options),
        Action::Subscribe {
            name,
            topic,
            filters,
            from_start,
            options,
            store,
        } => {
            let engine = store.open_to_write(false)?;
            let options = options.over(QueueOptions::default());
            let filter = filter::all_of(filters);
            let queue = engine.subscribe(name, topic, filter, options, *from_start)?;
            let id = queue.id();
            engine.close()?;
            output::note(&format!(
                "created queue {name}: id {id}, subscribed to topic {topic}"
            ));
            Ok(Done::Well)
        }
        Action::List { json, store } => show::list(store, *json),
        Action::Describe { name, json, store } => show::describe(store, name, *json),
        Action::Alter {
            name,
            options,
            store,
        } => alter(store, name, options),
        Action::Delete { name, store } => {
            let engine = store.open_to_write(false)?;
            engine.delete_queue(name)?;
            engine.close()?;
            output::note(&format!("deleted queue {name}"));
            Ok(Done::Well)
        }
        Action::Purge { name, store } => {
            let engine = store.open_to_write(false)?;
            let purged = engine.queue(name)?.purge()?;
            engine.close()?;
            output::note(&format!("purged {}", units::counted(purged, "message")));
            Ok(Done::Well)
        }
        Action::Peek(args) => browse::peek(args),
        Action::Browse(args) => browse::browse(args),
        Action::Redrive(args) => carry::redrive(args),
        Action::Move(args) => carry::move_to(args),
        Action::Cancel { name, id, store } => {
            let engine = store.open_to_write(false)?;
            engine.queue(name)?.cancel(*id)?;
            engine.close()?;
            output::note(&format!("cancelled message {id} of queue {name}"));
            Ok(Done::Well)
        }
    }
}

fn create(store: &StoreArgs, name: &str, flags: &OptionFlags) -> Result<Done, Failure> {
    let engine = store.open_to_write(true)?;
    let queue = engine.create_queue(name, flags.over(QueueOptions::default()))?;
    let (id, shards) = (queue.id(), queue.options().shards);
    engine.close()?;
    output::note(&format!("created queue {name}: id {id}, shards: {shards}"));
    Ok(Done::Well)
}

fn alter(store: &StoreArgs, name: &str, flags: &OptionFlags) -> Result<Done, Failure> {
    if flags.is_empty() {
        return Err(Failure::Refused(
            "nothing to alter: give at least one option, such as --lease 1m".to_owned(),
        ));
    }
    let engine = store.open_to_write(false)?;
    let options = engine.queue(name)?.options();
    engine.alter_queue(name, flags.over(options))?;
    engine.close()?;
    output::note(&format!("altered queue {name}"));
    Ok(Done::Well)
}
