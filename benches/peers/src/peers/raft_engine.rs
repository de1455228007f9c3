//! raft-engine: the log of `TiKV`, many Raft groups in one file queue.
//!
//! Durable: `write(batch, sync = true)`, one log batch a call. Each thread has a
//! Raft group of its own, as `TiKV` has, and the engine's write barrier groups
//! them. Files are preallocated, as is its default; to have them prefilled with
//! zeros (`prefill_for_recycle`) was tried, and was no faster.
//!
//! Not durable: `write(batch, sync = false)`: in the page cache at return.
//!
//! Entries are protobuf, as in `TiKV`; the index, which the engine asks for, is
//! in the first eight bytes of it. Compression is off: the values are noise,
//! and trying costs time.
//!
//! A scan fetches entries by index, 1 MiB at a time; checksums of the blocks
//! read are checked, and each entry is decoded.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use protobuf::well_known_types::BytesValue;
use raft_engine::env::DefaultFileSystem;
use raft_engine::internals::FilePipeLog;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::plan::Level;
use crate::{Failure, Result};

/// Bytes of an index before the value.
const INDEX_LEN: usize = 8;

/// Most bytes of a fetch.
const FETCH_BYTES: usize = 1 << 20;

pub(super) const PEER: Peer = Peer {
    name: "raft-engine",
    package: "raft-engine",
    syncs: true,
    sharing: Sharing::Own,
    setting: "`write(batch, sync)`; a Raft group a thread, own group commit; \
              no compression",
    scan: "checked",
    skips: |_| None,
    open,
};

type Log = Engine<DefaultFileSystem, FilePipeLog<DefaultFileSystem>>;

struct RaftEngine {
    log: Log,
    sync: bool,
    groups: AtomicU64,
}

struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let index = entry.value.first_chunk::<INDEX_LEN>();
        index.map_or(0, |index| u64::from_le_bytes(*index))
    }
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let dir = dir.join("data");
    let durable = level == Level::Durable;
    let config = Config {
        dir: dir.to_str().ok_or("the directory is not UTF-8")?.to_owned(),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    Ok(Box::new(RaftEngine {
        log: Engine::open(config)?,
        sync: durable,
        groups: AtomicU64::new(0),
    }))
}

impl Store for RaftEngine {
    fn writer<'a>(&'a self, batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        let most = batches.iter().map(Vec::len).max().unwrap_or(0);
        Ok(Box::new(Appender {
            log: &self.log,
            sync: self.sync,
            group: self.groups.fetch_add(1, SeqCst) + 1,
            next: 1,
            entries: vec![BytesValue::default(); most],
            batch: LogBatch::with_capacity(most),
        }))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let mut entries = Vec::new();
        for group in self.log.raft_groups() {
            let Some(mut next) = self.log.first_index(group) else {
                continue;
            };
            let end = self.log.last_index(group).unwrap_or(0) + 1;
            while next < end {
                entries.clear();
                let most = Some(FETCH_BYTES);
                let fetched =
                    self.log
                        .fetch_entries_to::<Indexed>(group, next, end, most, &mut entries)?;
                if fetched == 0 {
                    return Err(format!("no entry {next} in group {group}").into());
                }
                next += u64::try_from(fetched)?;
                for entry in &entries {
                    scanned.add(entry.value.get(INDEX_LEN..).unwrap_or_default());
                }
            }
        }
        Ok(scanned)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Its drop closes it.
        Ok(self.log.sync()?)
    }
}

struct Appender<'a> {
    log: &'a Log,
    sync: bool,
    group: u64,
    next: u64,
    /// Kept for their memory.
    entries: Vec<BytesValue>,
    batch: LogBatch,
}

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let entries = self.entries.get_mut(..call.values.len());
        let entries = entries.ok_or_else(|| Failure::from("more than was announced"))?;
        for (entry, value) in entries.iter_mut().zip(call.values) {
            entry.value.clear();
            entry.value.extend_from_slice(&self.next.to_le_bytes());
            entry.value.extend_from_slice(value);
            self.next += 1;
        }
        self.batch.add_entries::<Indexed>(self.group, entries)?;
        self.log.write(&mut self.batch, self.sync)?;
        Ok(())
    }
}
