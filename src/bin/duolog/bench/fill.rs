//! `duolog bench fill`: the child of `bench recover`, not shown in any help.
//!
//! Fills a store, says on standard output how many records were acknowledged,
//! and keeps the store open until its standard input ends. Most of the time it
//! is killed before.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use duolog::{AppendOptions, Engine, Options, Record, TopicOptions};

use super::payload::Payload;
use super::to_u64;
use crate::failure::{Done, Failure};
use crate::output;
use crate::signals;
use crate::units;

/// The topic that is filled.
pub(super) const TOPIC: &str = "bench";

/// Most bytes and records of one append.
const APPEND_BYTES: usize = 256 << 10;
const APPEND_RECORDS: usize = 1000;

/// Fill a store and wait.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the store.
    #[arg(short, long)]
    dir: PathBuf,
    /// Bytes of values to append.
    #[arg(long, value_parser = units::parse_size)]
    bytes: u64,
    /// Bytes of a value.
    #[arg(long, value_parser = units::parse_size_u32)]
    size: u32,
}

/// Fills, says so, and waits.
pub(super) fn run(args: &Args) -> Result<Done, Failure> {
    let size = usize::try_from(args.size).unwrap_or(usize::MAX).max(1);
    let engine = Engine::open(&args.dir, Options::default())?;
    let exists = engine.topics().iter().any(|topic| topic.name == TOPIC);
    let topic = if exists {
        engine.topic(TOPIC)?
    } else {
        let room = args.size.saturating_add(1 << 10).max(1 << 20);
        engine.create_topic(TOPIC, TopicOptions::default().record_bytes_max(room))?
    };
    let payload = Payload::new(size, false);
    let batches = payload.batches((APPEND_BYTES / size).clamp(1, APPEND_RECORDS));
    let options = AppendOptions::default();
    let parent = thread::Builder::new()
        .spawn(wait_for_end)
        .map_err(|error| Failure::io("start a thread", error))?;
    let mut records = 0;
    for batch in batches.iter().cycle() {
        signals::check()?;
        let bytes: usize = batch
            .iter()
            .filter_map(Record::value_bytes)
            .map(<[u8]>::len)
            .sum();
        // A parent that has gone wants no more, and nobody will remove it.
        let enough = records * to_u64(size) >= args.bytes;
        if enough || bytes == 0 || parent.is_finished() {
            break;
        }
        topic.append_batch(batch, &options)?;
        records += to_u64(batch.len());
    }
    output::print(&format!("{records}\n"))?;
    // Until told to end, or killed.
    while !parent.is_finished() {
        signals::check()?;
        thread::sleep(Duration::from_millis(2));
    }
    engine.close()?;
    Ok(Done::Well)
}

/// Returns when the parent closes its end, on purpose or by ending.
fn wait_for_end() {
    // An error ends the wait too: nothing more can come.
    io::copy(&mut io::stdin().lock(), &mut io::sink()).unwrap_or_default();
}
