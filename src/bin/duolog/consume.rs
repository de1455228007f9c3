//! `duolog consume`: records to standard output, one partition after the other.

use clap::builder::NonEmptyStringValueParser;
use duolog::ids::Offset;
use duolog::{Batch, DecodeError, Engine, ErrorKind, Fetch, Start, Topic};

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::follow::{Follow, Patience};
use crate::json::JsonRecord;
use crate::output::{self, Stdout};
use crate::signals;
use crate::store::StoreArgs;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  duolog consume --topic words > words.txt
  duolog consume --topic orders --partition 3 --from offset:4096 --limit 10 --json
  duolog consume --topic orders --from time:2026-11-03T08:00:00Z
  duolog consume --topic app --from latest --follow

Plain output is the value and a newline: what `produce` read, `consume` writes.
With --json, keys and values that are not UTF-8 are under key_base64 and
value_base64.

One process at a time writes to a store, and nobody reads it meanwhile: --follow
lets go of the store while it waits, and prints what others appended as soon as
they have closed it.";

/// Most bytes and records of a fetch.
const FETCH_BYTES: u32 = 1 << 20;
const FETCH_RECORDS_MAX: u64 = 100_000;

/// Print records of a topic.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Name of the topic.
    #[arg(short, long, value_name = "NAME")]
    topic: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Where to begin: earliest, latest, offset:N, after:N, or time:T with T in
    /// RFC 3339 or milliseconds since 1970.
    #[arg(short, long, value_name = "START", default_value = "earliest")]
    #[arg(value_parser = parse_start)]
    from: Start,
    /// Partition; all, one after the other, if not given.
    #[arg(short, long, value_name = "N")]
    partition: Option<u32>,
    /// Go on with what comes later, until a signal says so.
    #[arg(long)]
    follow: bool,
    /// Most records to print.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u64>,
    /// Print the key, if there is one, and this before each value.
    #[arg(short = 'k', long, value_name = "TEXT", conflicts_with = "json")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

fn parse_start(text: &str) -> Result<Start, String> {
    let offset = |number: &str| {
        let number = number.parse().map(Offset::new);
        number.map_err(|_| format!("{text:?}: the offset is not a number"))
    };
    match text.split_once(':') {
        None if text == "earliest" => Ok(Start::Earliest),
        None if text == "latest" => Ok(Start::Latest),
        Some(("offset", number)) => offset(number).map(Start::Offset),
        Some(("after", number)) => offset(number).map(Start::After),
        Some(("time", time)) => units::parse_time(time).map(Start::Time),
        _ => Err(format!(
            "{text:?} is no place to begin; write earliest, latest, offset:N, after:N or time:T"
        )),
    }
}

/// Prints records.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let mut consumer = Consumer {
        args,
        out: Stdout::lock(),
        left: args.limit.unwrap_or(u64::MAX),
        next: Vec::new(),
    };
    if !args.follow {
        let engine = args.store.open_to_read()?;
        consumer.pass(&engine)?;
        engine.close()?;
        return Ok(Done::Well);
    }
    let mut follow = Follow::new(&args.store);
    while consumer.left > 0 {
        let engine = follow.open(Patience::default())?;
        consumer.pass(&engine)?;
        follow.close(&engine)?;
    }
    Ok(Done::Well)
}

/// Where a partition goes on.
struct Next {
    partition: u32,
    start: Start,
    /// True if an earlier pass ended here.
    resumed: bool,
}

struct Consumer<'a> {
    args: &'a Args,
    out: Stdout,
    /// Records that may still be printed.
    left: u64,
    next: Vec<Next>,
}

impl Consumer<'_> {
    /// Prints everything there is, and remembers where it ended.
    fn pass(&mut self, engine: &Engine) -> Result<(), Failure> {
        let topic = engine.topic(&self.args.topic)?;
        let mut next = std::mem::take(&mut self.next);
        self.add_partitions(&topic, &mut next);
        for one in &mut next {
            one.start = self.partition(&topic, one)?;
            one.resumed = true;
        }
        self.next = next;
        self.out.flush()
    }

    /// Adds the partitions that were not seen before.
    fn add_partitions(&self, topic: &Topic, next: &mut Vec<Next>) {
        // All records of a partition that was added since are later ones.
        let start = if next.is_empty() {
            self.args.from
        } else {
            Start::Earliest
        };
        let partitions = match self.args.partition {
            Some(one) => one..one.saturating_add(1),
            None => 0..topic.options().partitions,
        };
        let new = partitions.skip(next.len()).map(|partition| Next {
            partition,
            start,
            resumed: false,
        });
        next.extend(new);
    }

    /// Prints one partition to its end and returns where to go on.
    fn partition(&mut self, topic: &Topic, next: &Next) -> Result<Start, Failure> {
        let mut reader = match topic.reader(next.partition, next.start) {
            Err(error) if error.kind() == ErrorKind::OutOfRange && next.resumed => {
                output::note(&format!(
                    "partition {}: records were dropped before they were printed",
                    next.partition
                ));
                topic.reader(next.partition, Start::Earliest)?
            }
            other => other?,
        };
        while self.left > 0 {
            signals::check()?;
            let records = self.left.min(FETCH_RECORDS_MAX);
            let fetch = Fetch::default()
                .max_bytes(FETCH_BYTES)
                .max_records(u32::try_from(records).unwrap_or(u32::MAX));
            let fetched = reader.fetch(&fetch)?;
            if fetched.is_empty() {
                break;
            }
            for batch in fetched.batches() {
                self.print(next.partition, batch)?;
            }
        }
        Ok(Start::Offset(reader.position()))
    }

    fn print(&mut self, partition: u32, batch: &Batch) -> Result<(), Failure> {
        let unreadable = |error: DecodeError| {
            Failure::Corrupt(format!("cannot decode a batch of {partition}: {error}"))
        };
        let records = batch.records().map_err(unreadable)?;
        for record in &records {
            let record = record.map_err(unreadable)?;
            if self.args.json {
                self.out.json(&JsonRecord { partition, record })?;
            } else {
                if let (Some(separator), Some(key)) = (&self.args.key_separator, record.key()) {
                    self.out.bytes(key)?;
                    self.out.text(separator)?;
                }
                self.out.bytes(record.value())?;
                self.out.bytes(b"\n")?;
            }
            self.left = self.left.saturating_sub(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use duolog::ids::Timestamp;

    use super::*;

    #[test]
    fn a_start_is_named_or_numbered() {
        let expected = [
            ("earliest", Start::Earliest),
            ("latest", Start::Latest),
            ("offset:7", Start::Offset(Offset::new(7))),
            ("after:7", Start::After(Offset::new(7))),
            ("time:1000", Start::Time(Timestamp::from_millis(1000))),
            (
                "time:1970-01-01T00:00:01Z",
                Start::Time(Timestamp::from_millis(1000)),
            ),
        ];
        for (text, start) in expected {
            assert_eq!(parse_start(text), Ok(start), "{text}");
        }
        for text in [
            "",
            "7",
            "offset:",
            "offset:-1",
            "time:",
            "first",
            "latest:1",
        ] {
            assert!(parse_start(text).is_err(), "{text}");
        }
    }
}
