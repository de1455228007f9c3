//! `duolog produce`: lines become records, in order, several batches at once.
//!
//! One thread appends, so lines keep their order in a partition; tickets are
//! settled first come, first served, so the number of lines acknowledged is
//! always a prefix of the input.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use clap::builder::NonEmptyStringValueParser;
use duolog::{
    AppendOptions, Codec, Durability, Engine, ErrorKind, Record, Ticket, Topic, TopicOptions,
};
use indicatif::ProgressBar;

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::input::{self, Blocks, Lines};
use crate::output::{self, Progress, Stdout};
use crate::signals;
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

/// Batches that may be on their way to the disk at once.
const IN_FLIGHT_MAX: usize = 16;

/// Append lines of a file or of standard input to a topic.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Name of the topic; it is made, with default options, if there is none.
    #[arg(short, long, value_name = "NAME")]
    topic: String,
    #[command(flatten)]
    store: StoreArgs,
    /// File to read; standard input if not given, or `-`.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
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
    /// Most records an append; they are stored together, or not at all.
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Longest time that a line waits for its batch to fill (plain: milliseconds).
    #[arg(long, value_name = "DURATION", default_value = "5ms")]
    #[arg(value_parser = units::parse_duration_ms)]
    linger: Duration,
    /// Fail if there is no such store or topic.
    #[arg(long)]
    no_create: bool,
    /// Print how many lines are acknowledged so far, after each batch.
    #[arg(long)]
    acks: bool,
}

/// Appends the lines of the input.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let (source, bar) = open_input(args)?;
    let engine = args.store.open_to_write(!args.no_create)?;
    let topic = open_topic(&engine, args)?;
    let blocks = input::blocks(source)?;
    let mut producer = Producer::new(args, topic);
    let pumped = producer.pump(&blocks, &bar);
    // However the input ended, what is in flight may be acknowledged yet.
    let settled = producer.settle_all();
    bar.finish_and_clear();
    let closed = engine.close();
    let acknowledged = units::count(producer.acknowledged);
    output::note(&format!("{acknowledged} records acknowledged"));
    settled?;
    pumped?;
    closed?;
    Ok(Done::Well)
}

/// The input, and a bar for one whose length is known.
fn open_input(args: &Args) -> Result<(Box<dyn Read + Send>, ProgressBar), Failure> {
    let file = args.file.as_ref().filter(|path| path.as_os_str() != "-");
    let Some(path) = file else {
        return Ok((Box::new(io::stdin()), ProgressBar::hidden()));
    };
    let fail = |error| Failure::io(format!("read {}", path.display()), error);
    let file = OpenOptions::new().read(true).open(path).map_err(fail)?;
    let about = file.metadata().map_err(fail)?;
    if about.is_dir() {
        return Err(Failure::Refused(format!(
            "{} is a directory: give a file, or - for standard input",
            path.display()
        )));
    }
    // On a terminal the bar and the acknowledgements would share a line.
    let bar = if about.is_file() && !(args.acks && io::stdout().is_terminal()) {
        output::progress(Progress::Bytes, about.len(), "read")
    } else {
        ProgressBar::hidden()
    };
    Ok((Box::new(file), bar))
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

/// Appends lines, and counts those that are acknowledged.
struct Producer<'a> {
    topic: Topic,
    options: AppendOptions,
    separator: Option<&'a [u8]>,
    linger: Duration,
    lines: Lines,
    /// When the oldest line that waits was taken.
    waiting_since: Option<Instant>,
    in_flight: VecDeque<InFlight>,
    appended: u64,
    acknowledged: u64,
    acks: Option<Stdout>,
}

/// A batch on its way to the disk.
struct InFlight {
    ticket: Ticket,
    /// Lines appended when it was: acknowledged as soon as it is.
    appended: u64,
}

/// What there is to do next.
enum Next {
    Block(Vec<u8>),
    Quiet,
    End,
}

impl<'a> Producer<'a> {
    fn new(args: &'a Args, topic: Topic) -> Self {
        let mut options = AppendOptions::default();
        options.durability = args.durability;
        options.partition = args.partition;
        options.codec = args.compress;
        Self {
            topic,
            options,
            separator: args.key_separator.as_ref().map(String::as_bytes),
            linger: args.linger,
            lines: Lines::new(usize::try_from(args.batch).unwrap_or(usize::MAX)),
            waiting_since: None,
            in_flight: VecDeque::with_capacity(IN_FLIGHT_MAX),
            appended: 0,
            acknowledged: 0,
            acks: args.acks.then(Stdout::lock),
        }
    }

    /// Appends everything that comes, until the input ends or a signal says so.
    fn pump(&mut self, blocks: &Blocks, bar: &ProgressBar) -> Result<(), Failure> {
        loop {
            if signals::stopped() {
                // The lines that were read whole are worth keeping.
                self.append()?;
                return Err(Failure::Interrupted);
            }
            match self.next(blocks)? {
                Next::Block(block) => {
                    self.take(&block)?;
                    bar.inc(u64::try_from(block.len()).unwrap_or(u64::MAX));
                }
                Next::Quiet => {}
                Next::End => {
                    self.lines.finish();
                    return self.append();
                }
            }
            if self.patience().is_zero() {
                self.append()?;
            }
        }
    }

    /// The next block; while there is none, looks after what is in flight.
    fn next(&mut self, blocks: &Blocks) -> Result<Next, Failure> {
        let fail = |error| Failure::io("read the input", error);
        match blocks.try_recv() {
            Ok(block) => return block.map(Next::Block).map_err(fail),
            Err(TryRecvError::Disconnected) => return Ok(Next::End),
            Err(TryRecvError::Empty) => {}
        }
        let patience = self.patience();
        if self.settle_first(patience)? {
            return Ok(Next::Quiet);
        }
        match blocks.recv_timeout(patience) {
            Ok(block) => block.map(Next::Block).map_err(fail),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Quiet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    /// How long to wait for more input; zero if lines have lingered enough.
    fn patience(&self) -> Duration {
        match self.waiting_since {
            Some(since) => self.linger.saturating_sub(since.elapsed()),
            None => signals::LOOK_EVERY,
        }
        .min(signals::LOOK_EVERY)
    }

    /// Divides a block into lines, and appends batches as they fill.
    #[expect(clippy::disallowed_methods, reason = "lines linger in real time")]
    fn take(&mut self, block: &[u8]) -> Result<(), Failure> {
        let mut rest = block;
        while !rest.is_empty() {
            rest = self.lines.take(rest);
            let longest = self.topic.options().record_bytes_max;
            if self.lines.unfinished_len() > usize::try_from(longest).unwrap_or(usize::MAX) {
                self.append()?;
                return Err(Failure::Refused(format!(
                    "line {} is longer than the largest record of topic {} ({}): \
                     see `duolog topic alter --record-bytes`",
                    self.appended + 1,
                    self.topic.name(),
                    units::size(u64::from(longest)),
                )));
            }
            if self.lines.is_full() {
                self.append()?;
            }
        }
        if self.lines.len() > 0 && self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
        Ok(())
    }

    /// Appends the lines that wait, as one batch.
    fn append(&mut self) -> Result<(), Failure> {
        self.waiting_since = None;
        if self.lines.len() == 0 {
            return Ok(());
        }
        // Only now: who waits for a batch writes it, and all that gathered
        // behind it are written along.
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            self.settle_first(signals::LOOK_EVERY)?;
        }
        let record = |line| match self.separator.and_then(|by| split_once(line, by)) {
            Some((key, value)) => Record::new(value).key(key),
            None => Record::new(line),
        };
        let records: Vec<Record<'_>> = self.lines.iter().map(record).collect();
        let ticket = self.topic.append_nowait(&records, &self.options)?;
        drop(records);
        self.appended += u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        self.lines.clear();
        self.in_flight.push_back(InFlight {
            ticket,
            appended: self.appended,
        });
        Ok(())
    }

    /// Waits for the oldest batch in flight; true if it is acknowledged.
    fn settle_first(&mut self, patience: Duration) -> Result<bool, Failure> {
        let Some(first) = self.in_flight.front() else {
            return Ok(false);
        };
        if !first.ticket.wait_timeout(patience)? {
            return Ok(false);
        }
        self.acknowledged = first.appended;
        self.in_flight.pop_front();
        self.print_acknowledged()?;
        Ok(true)
    }

    fn print_acknowledged(&mut self) -> Result<(), Failure> {
        let Some(out) = &mut self.acks else {
            return Ok(());
        };
        let text = format!("{}\n", self.acknowledged);
        match out.text(&text).and_then(|()| out.flush()) {
            // Who no longer reads the numbers still wants the lines appended.
            Err(Failure::PipeClosed) => {
                self.acks = None;
                Ok(())
            }
            other => other,
        }
    }

    /// Waits for everything in flight.
    fn settle_all(&mut self) -> Result<(), Failure> {
        while !self.in_flight.is_empty() {
            self.settle_first(signals::LOOK_EVERY)?;
        }
        Ok(())
    }
}

/// `line` before and after the first `separator`.
fn split_once<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_divides() {
        assert_eq!(split_once(b"a:b:c", b":"), Some((&b"a"[..], &b"b:c"[..])));
        assert_eq!(split_once(b"a::b", b"::"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(split_once(b":", b":"), Some((&b""[..], &b""[..])));
        assert_eq!(split_once(b"ab", b":"), None);
        assert_eq!(split_once(b"", b":"), None);
    }
}
