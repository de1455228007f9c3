//! `duolog send`: lines become messages of a queue.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use duolog::{
    Durability, Engine, ErrorKind, Message, Queue, QueueOptions, SendOptions, SendTicket,
};

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::input::Lines;
use crate::output;
use crate::pump::{self, LineArgs, Sink, split_once};
use crate::store::StoreArgs;
use crate::topic::durability_parser;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  duolog send --queue jobs jobs.txt
  echo 'remind me' | duolog send --queue jobs --delay 30m --priority 5
  duolog send --queue mail --key-separator : --header kind=welcome < users.txt

A message is the bytes of a line without its newline; they need not be text. A
carriage return is kept, and a last line without a newline is a message too.
`duolog receive --queue jobs --ack` prints them again.";

/// Send lines of a file or of standard input to a queue.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Name of the queue; it is made, with default options, if there is none.
    #[arg(short, long, value_name = "NAME")]
    queue: String,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    lines: LineArgs,
    /// What stands before this is the order key: messages with equal keys are
    /// delivered in order, one at a time. A line without it has no key.
    #[arg(short = 'k', long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// Deliver the messages only after this time.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    delay: Option<Duration>,
    /// Let the messages expire after this time, unless the queue's is shorter.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    ttl: Option<Duration>,
    /// Deliver before all messages with a lower one.
    #[arg(long, value_name = "N", default_value = "0")]
    priority: u8,
    /// Give each message this header; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// What an acknowledgement promises [default: that of the queue]
    #[arg(long, value_name = "LEVEL", value_parser = durability_parser())]
    durability: Option<Durability>,
    /// Fail if there is no such store or queue.
    #[arg(long)]
    no_create: bool,
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no header; write NAME=VALUE")),
    }
}

/// Sends the lines of the input.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let input = args.lines.open()?;
    let engine = args.store.open_to_write(!args.no_create)?;
    let queue = open_queue(&engine, args)?;
    let mut options = SendOptions::default();
    options.durability = args.durability;
    let sink = QueueSink {
        bytes_max: queue.options().message_bytes_max,
        queue,
        options,
        args,
    };
    pump::run(&args.lines, input, &engine, sink, "message")
}

/// The queue; made, unless that was ruled out.
fn open_queue(engine: &Engine, args: &Args) -> Result<Queue, Failure> {
    match engine.queue(&args.queue) {
        Err(error) if error.kind() == ErrorKind::NotFound && !args.no_create => {
            let queue = engine.create_queue(&args.queue, QueueOptions::default())?;
            output::note(&format!(
                "created queue {} with default options",
                args.queue
            ));
            Ok(queue)
        }
        found => Ok(found?),
    }
}

/// Sends batches of lines to a queue.
struct QueueSink<'a> {
    queue: Queue,
    bytes_max: u32,
    options: SendOptions,
    args: &'a Args,
}

impl QueueSink<'_> {
    fn message<'m>(&'m self, line: &'m [u8]) -> Message<'m> {
        let separator = self.args.key_separator.as_deref().map(str::as_bytes);
        let mut message = match separator.and_then(|by| split_once(line, by)) {
            Some((key, body)) => Message::new(body).order_key(key),
            None => Message::new(line),
        };
        for (name, value) in &self.args.headers {
            message = message.header(name, value);
        }
        if let Some(delay) = self.args.delay {
            message = message.delay(delay);
        }
        if let Some(ttl) = self.args.ttl {
            message = message.ttl(ttl);
        }
        message.priority(self.args.priority)
    }
}

impl Sink for QueueSink<'_> {
    type Ticket = SendTicket;

    fn line_bytes_max(&self) -> usize {
        let message = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        message.saturating_add(self.args.key_separator.as_ref().map_or(0, String::len))
    }

    fn limit(&self) -> String {
        format!(
            "the largest message of queue {} ({}): see `duolog queue alter --message-bytes-max`",
            self.queue.name(),
            units::size(u64::from(self.bytes_max)),
        )
    }

    fn send(&mut self, lines: &Lines) -> Result<SendTicket, Failure> {
        let messages: Vec<Message<'_>> = lines.iter().map(|line| self.message(line)).collect();
        Ok(self.queue.send_nowait(&messages, &self.options)?)
    }

    fn settle(&self, ticket: SendTicket, _: Duration) -> Result<Option<SendTicket>, Failure> {
        // A ticket of a queue can be waited on to the end only.
        ticket.wait()?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let header = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_header("kind=a"), header("kind", "a"));
        assert_eq!(parse_header("kind="), header("kind", ""));
        assert_eq!(parse_header("kind=a=b"), header("kind", "a=b"));
        for text in ["", "kind", "=a"] {
            let error = parse_header(text).unwrap_err();
            assert!(error.contains("NAME=VALUE"), "{text}: {error}");
        }
    }
}
