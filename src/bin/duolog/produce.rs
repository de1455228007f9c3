//! `duolog produce`: lines become records.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use duolog::{
    AppendOptions, Codec, Durability, Engine, ErrorKind, Record, Ticket, Topic, TopicOptions,
};

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::input::Lines;
use crate::output;
use crate::pump::{self, LineArgs, Sink, split_once};
use crate::store::StoreArgs;
use crate::topic::{codec_parser, durability_parser};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  duolog produce --topic words /usr/share/dict/words
  tail -f app.log | duolog produce --topic app --durability buffered
  duolog produce --topic users --key-separator : < /etc/passwd

A record is the bytes of a line without its newline; they need not be text. A
carriage return is kept, and a last line without a newline is a record too.";

/// Append lines of a file or of standard input to a topic.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Name of the topic; it is made, with default options, if there is none.
    #[arg(short, long, value_name = "NAME")]
    topic: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    lines: LineArgs,
    /// What stands before this is the key; a line without it has no key.
    #[arg(short = 'k', long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// Partition; by key, or in turn, if not given.
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// What an acknowledgement promises [default: that of the topic]
    #[arg(long, value_name = "LEVEL", value_parser = durability_parser())]
    durability: Option<Durability>,
    /// Compression [default: that of the topic]
    #[arg(long, value_name = "CODEC", value_parser = codec_parser())]
    compress: Option<Codec>,
    /// Fail if there is no such store or topic.
    #[arg(long)]
    no_create: bool,
}

/// Appends the lines of the input.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let input = args.lines.open()?;
    let engine = args.store.open_to_write(!args.no_create)?;
    let topic = open_topic(&engine, args)?;
    let mut options = AppendOptions::default();
    options.durability = args.durability;
    options.partition = args.partition;
    options.codec = args.compress;
    let sink = TopicSink {
        topic,
        options,
        separator: args.key_separator.as_ref().map(String::as_bytes),
    };
    pump::run(&args.lines, input, &engine, sink, "record")
}

/// The topic; made, unless that was ruled out.
fn open_topic(engine: &Engine, args: &Args) -> Result<Topic, Failure> {
    match engine.topic(&args.topic) {
        Err(error) if error.kind() == ErrorKind::NotFound && !args.no_create => {
            let topic = engine.create_topic(&args.topic, TopicOptions::default())?;
            output::note(&format!(
                "created topic {} with default options",
                args.topic
            ));
            Ok(topic)
        }
        found => Ok(found?),
    }
}

/// Appends batches of lines to a topic.
struct TopicSink<'a> {
    topic: Topic,
    options: AppendOptions,
    separator: Option<&'a [u8]>,
}

impl Sink for TopicSink<'_> {
    type Ticket = Ticket;

    fn line_bytes_max(&self) -> usize {
        let record = self.topic.options().record_bytes_max;
        let record = usize::try_from(record).unwrap_or(usize::MAX);
        record.saturating_add(self.separator.map_or(0, <[u8]>::len))
    }

    fn limit(&self) -> String {
        format!(
            "the largest record of topic {} ({}): see `duolog topic alter --record-bytes`",
            self.topic.name(),
            units::size(u64::from(self.topic.options().record_bytes_max)),
        )
    }

    fn send(&mut self, lines: &Lines) -> Result<Ticket, Failure> {
        let record = |line| match self.separator.and_then(|by| split_once(line, by)) {
            Some((key, value)) => Record::new(value).key(key),
            None => Record::new(line),
        };
        let records: Vec<Record<'_>> = lines.iter().map(record).collect();
        Ok(self.topic.append_nowait(&records, &self.options)?)
    }

    fn settle(&self, ticket: Ticket, patience: Duration) -> Result<Option<Ticket>, Failure> {
        let settled = ticket.wait_timeout(patience)?;
        Ok((!settled).then_some(ticket))
    }
}
