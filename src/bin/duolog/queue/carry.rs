//! `duolog queue redrive` and `move`: messages from one queue to another.

use std::thread;
use std::time::{Duration, Instant};

use duolog::{Browsed, Engine, Queue};

use super::select::SelectFlags;
use crate::failure::{Done, Failure};
use crate::output;
use crate::signals;
use crate::store::StoreArgs;
use crate::units;

/// Move dead letters back to the queues that they died in.
///
/// Each keeps its first id, in the header `duolog-origin`, and starts again with
/// its first delivery. A commit moves up to 128 of them: none is lost or doubled.
#[derive(Debug, clap::Args)]
pub(super) struct Redrive {
    /// Name of the queue with the dead letters.
    name: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Most messages to move [default: all]
    #[arg(short = 'n', long, value_name = "N")]
    max: Option<u64>,
    /// Most messages to move in a second [default: as many as go]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    #[command(flatten)]
    select: SelectFlags,
}

/// Move messages to another queue.
///
/// Body, order key, headers and the time of sending are kept; delays, and why a
/// dead letter died, are not. A commit moves up to 128 of them: none is lost or
/// doubled.
#[derive(Debug, clap::Args)]
pub(super) struct Move {
    /// Name of the queue to move from.
    name: String,
    /// Name of the queue to move to.
    #[arg(long, value_name = "QUEUE")]
    to: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Most messages to move [default: all]
    #[arg(short = 'n', long, value_name = "N")]
    max: Option<u64>,
    #[command(flatten)]
    select: SelectFlags,
}

/// Moves dead letters back.
pub(super) fn redrive(args: &Redrive) -> Result<Done, Failure> {
    let engine = args.store.open_to_write(false)?;
    let queue = engine.queue(&args.name)?;
    let selection = args.select.selection();
    // A signal ends it at the next message.
    let wanted = |message: &Browsed| !signals::stopped() && selection.wants(message);
    let max = args.max.unwrap_or(u64::MAX);
    let mut moved = 0;
    let done = match args.rate {
        None => queue.redrive(max, wanted, None).map(|n| moved = n),
        Some(rate) => slowly(&queue, max, rate, &mut moved, wanted),
    };
    finish(
        &engine,
        &args.select,
        "moved back",
        moved,
        done.map_err(Failure::from),
    )
}

/// Moves up to `rate` messages, and waits for the rest of the second, again and
/// again: the library's own rate sleeps behind each commit of 128, and cannot be
/// told to stop.
#[expect(clippy::disallowed_methods, reason = "a rate is in real time")]
fn slowly(
    queue: &Queue,
    max: u64,
    rate: u32,
    moved: &mut u64,
    wanted: impl Fn(&Browsed) -> bool,
) -> duolog::Result<()> {
    let mut due = Instant::now();
    while *moved < max && !signals::stopped() {
        let most = u64::from(rate).min(max - *moved);
        let now = queue.redrive(most, &wanted, None)?;
        *moved += now;
        if now < most {
            break;
        }
        due += Duration::from_secs(1);
        while *moved < max && !signals::stopped() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(signals::LOOK_EVERY));
        }
    }
    Ok(())
}

/// Moves messages to another queue.
pub(super) fn move_to(args: &Move) -> Result<Done, Failure> {
    let engine = args.store.open_to_write(false)?;
    let (from, to) = (engine.queue(&args.name)?, engine.queue(&args.to)?);
    let selection = args.select.selection();
    let wanted = |message: &Browsed| !signals::stopped() && selection.wants(message);
    let mut moved = 0;
    let done = from
        .move_to(&to, args.max.unwrap_or(u64::MAX), wanted)
        .map(|n| moved = n);
    finish(
        &engine,
        &args.select,
        "moved",
        moved,
        done.map_err(Failure::from),
    )
}

/// Closes the store, and says how many messages were moved.
fn finish(
    engine: &Engine,
    select: &SelectFlags,
    verb: &str,
    moved: u64,
    done: Result<(), Failure>,
) -> Result<Done, Failure> {
    let closed = engine.close();
    if done.is_ok() || moved > 0 {
        output::note(&format!("{verb} {}", units::counted(moved, "message")));
    }
    done?;
    closed?;
    signals::check()?;
    let asked = u64::try_from(select.ids().len()).unwrap_or(u64::MAX);
    if moved < asked {
        return Err(Failure::Refused(format!(
            "{} of {} that were asked for are not there, or were not chosen by the other flags",
            asked - moved,
            units::counted(asked, "message")
        )));
    }
    Ok(Done::Well)
}
