//! `duolog receive`: takes messages of a queue, shows them, and answers.
//!
//! One process at a time has the store, so a wait for messages lets go of it:
//! otherwise nobody could send what is waited for.

use std::time::{Duration, Instant};

use clap::builder::NonEmptyStringValueParser;
use duolog::{Consumer, ConsumerOptions, Delivery, Engine, Queue, QueueStats};

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::follow::{Follow, Patience};
use crate::json::JsonMessage;
use crate::output::{self, Stdout};
use crate::signals;
use crate::store::StoreArgs;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  duolog receive --queue jobs --ack > jobs.txt
  duolog receive --queue jobs --max 1 --wait 20s --ack --json
  duolog receive --queue jobs --max 10
  duolog receive --queue jobs --max 1 --nack --delay 5m --error 'no such user'
  duolog receive --queue jobs --ack --follow | while read -r job; do ...; done

Plain output is the body and a newline: what `send` read, `receive` writes.
With --json, keys and bodies that are not UTF-8 are under order_key_base64 and
body_base64.

Without --ack and --nack messages are only shown: they stay in the queue as they
are, and nothing is counted against them. Shown is what a consumer would get
now; for delayed messages see `duolog queue browse`.

With --ack a message is acknowledged after it was printed: a crash in between
prints up to 100 messages again, and loses none. Do not cut the output short
(`| head`): what the pipe had taken is acknowledged. Use --max.

One process at a time has the store: --wait and --follow let go of it while they
wait, so that others can send.";

/// Messages that are taken, printed and acknowledged at a time.
const TAKE_MAX: usize = 100;

/// Most messages that are given back at once, and most bytes of their bodies:
/// they are held until the last was taken, or the first would come again.
const HELD_MAX: usize = 10_000;
const HELD_BYTES_MAX: usize = 64 << 20;

/// The lease of what is taken. Nobody else can be waiting for it, and it ends
/// with this process: a reader of the output may be as slow as it likes.
const LEASE: Duration = Duration::from_secs(24 * 3600);

/// How long to look for more. What came due while the store was closed comes
/// out only when it is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Time between two looks at a queue that holds delayed messages.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Take messages of a queue, print them, and answer for them.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// Name of the queue.
    #[arg(short, long, value_name = "NAME")]
    queue: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Most messages to take [default: all there are; with --nack at most 10000]
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// How long to wait for the first message.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    #[arg(value_parser = units::parse_duration)]
    wait: Duration,
    /// Acknowledge them: they are done, and leave the queue.
    #[arg(long)]
    ack: bool,
    /// Give them back as failed: they come again, or are dead after the last try.
    #[arg(long, conflicts_with = "ack")]
    nack: bool,
    /// When they come again [default: after the backoff of the queue]
    #[arg(long, value_name = "DURATION", requires = "nack")]
    #[arg(value_parser = units::parse_duration)]
    delay: Option<Duration>,
    /// Why they failed; a dead letter keeps it.
    #[arg(long, value_name = "TEXT", requires = "nack")]
    error: Option<String>,
    /// Go on with what comes later, until a signal says so.
    #[arg(long, requires = "ack")]
    follow: bool,
    /// Print the order key, if there is one, and this before each body.
    #[arg(short = 'k', long, value_name = "TEXT", conflicts_with = "json")]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Takes messages.
#[expect(clippy::disallowed_methods, reason = "--wait is in real time")]
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let mut receiver = Receiver {
        args,
        out: Stdout::lock(),
        left: args.max.unwrap_or(u64::MAX),
        taken: 0,
    };
    // Without --follow the end is known; a wait too long to add is for ever.
    let end = Instant::now().checked_add(args.wait);
    let end = end.filter(|_| !args.follow);
    let mut follow = Follow::taking(&args.store);
    let mut look = end;
    let stats = loop {
        let give_up = end;
        let engine = follow.open(Patience { look, give_up })?;
        let passed = receiver.pass(&engine);
        let closed = follow.close(&engine);
        if matches!(passed, Err(Failure::Interrupted)) {
            receiver.conclude(&QueueStats::default());
        }
        let stats = passed?;
        closed?;
        let enough = receiver.left == 0 || (receiver.taken > 0 && !args.follow);
        if enough || end.is_some_and(|end| Instant::now() >= end) {
            break stats;
        }
        // Delays end without a writer.
        let again = (stats.delayed > 0).then(|| Instant::now() + LOOK_AGAIN);
        look = again.into_iter().chain(end).min();
    };
    receiver.conclude(&stats);
    Ok(Done::Well)
}

struct Receiver<'a> {
    args: &'a Args,
    out: Stdout,
    /// Messages that may still be taken.
    left: u64,
    taken: u64,
}

impl Receiver<'_> {
    /// Takes everything there is.
    fn pass(&mut self, engine: &Engine) -> Result<QueueStats, Failure> {
        let queue = engine.queue(&self.args.queue)?;
        {
            let options = ConsumerOptions::default().unlimited_prefetch().lease(LEASE);
            let consumer = queue.consumer(options)?;
            self.take(&queue, &consumer)?;
            // Goes here: what was only shown is ready again.
        }
        Ok(queue.stats()?)
    }

    fn take(&mut self, queue: &Queue, consumer: &Consumer) -> Result<(), Failure> {
        let shards = queue.options().shards;
        let mut held = Vec::new();
        let mut held_bytes = 0;
        while self.left > 0 && held.len() < HELD_MAX && held_bytes < HELD_BYTES_MAX {
            signals::check()?;
            let max = usize::try_from(self.left).unwrap_or(TAKE_MAX);
            let deliveries = consumer.receive(max.min(TAKE_MAX), LOOK)?;
            if deliveries.is_empty() {
                break;
            }
            for delivery in &deliveries {
                self.print(delivery, shards)?;
            }
            let count = u64::try_from(deliveries.len()).unwrap_or(u64::MAX);
            if self.args.ack {
                self.ack(consumer, &deliveries)?;
            } else if self.args.nack {
                let bodies = deliveries.iter().map(|delivery| delivery.body().len());
                held_bytes += bodies.sum::<usize>();
                held.extend(deliveries);
            }
            self.left = self.left.saturating_sub(count);
            self.taken += count;
        }
        self.out.flush()?;
        for delivery in &held {
            delivery.nack_with(self.args.delay, self.args.error.as_deref())?;
        }
        Ok(())
    }

    fn print(&mut self, delivery: &Delivery, shards: u32) -> Result<(), Failure> {
        if self.args.json {
            return self.out.json(&JsonMessage::delivered(delivery, shards));
        }
        if let (Some(separator), Some(key)) = (&self.args.key_separator, delivery.order_key()) {
            self.out.bytes(key)?;
            self.out.text(separator)?;
        }
        self.out.bytes(delivery.body())?;
        self.out.bytes(b"\n")
    }

    fn ack(&mut self, consumer: &Consumer, deliveries: &[Delivery]) -> Result<(), Failure> {
        // First out of the door: a crash after the ack must not lose them.
        self.out.flush()?;
        for result in consumer.ack_all(deliveries)? {
            result?;
        }
        Ok(())
    }

    /// Says what became of what was taken.
    fn conclude(&self, stats: &QueueStats) {
        let queue = &self.args.queue;
        let delayed = match stats.delayed {
            0 => String::new(),
            delayed => format!("; {} wait for their time", units::count(delayed)),
        };
        let messages = units::counted(self.taken, "message");
        output::note(&if self.taken == 0 {
            format!("queue {queue} has nothing to receive{delayed}")
        } else if self.args.ack {
            format!("{messages} acknowledged")
        } else if self.args.nack {
            format!("{messages} given back")
        } else {
            format!("{messages} shown; they stay in queue {queue} (--ack takes them out)")
        });
    }
}
