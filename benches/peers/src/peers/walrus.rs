//! walrus-rust: topics in files of 1 GB, written through `io_uring`.
//!
//! Durable, one record a call from one thread: `append_for_topic` with
//! `FsyncSchedule::SyncEach`, which is `O_SYNC` and an `fsync` after it, and yet
//! faster than a batch of one. Else `batch_append_for_topic`, which ends in an
//! `fsync` whatever the schedule says, with `NoFsync`, to be spared `O_SYNC`. A
//! second batch while one is written is refused: threads go through the
//! combiner.
//!
//! Not durable: `append_for_topic`, one call a record, with
//! `FsyncSchedule::NoFsync`: its batches are always synced. An error of these
//! writes is dropped inside of the crate: the count read back is all there is.
//!
//! Its directory and its silence come from the environment (`WALRUS_DATA_DIR`,
//! `WALRUS_QUIET`), which `rounds` sets for the process of a measurement.
//!
//! A scan reads batches of at most 1 MiB; each record is checked (FNV-1a).

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::Level;

/// Most bytes of a read.
const READ_BYTES: usize = 1 << 20;

const TOPIC: &str = "log";

pub(super) const PEER: Peer = Peer {
    name: "walrus",
    package: "walrus-rust",
    syncs: true,
    sharing: Sharing::Combined,
    setting: "`append_for_topic` with `SyncEach` for one at a time, else \
              `batch_append_for_topic` / `append_for_topic` a record with `NoFsync`, since its \
              batches always sync; threads combined; drops errors of single writes",
    scan: "each record checked",
    skips: |_| None,
    open,
};

struct Topics {
    walrus: Walrus,
    /// Through a batch, even if it is of one.
    batches: bool,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let set = std::env::var_os("WALRUS_DATA_DIR");
    if set.as_deref() != Some(dir.as_os_str()) {
        return Err(format!("WALRUS_DATA_DIR is {set:?}, not {}", dir.display()).into());
    }
    let consistency = ReadConsistency::AtLeastOnce {
        persist_every: u32::MAX,
    };
    let each = level == Level::Durable && setup.one_by_one;
    let schedule = if each {
        FsyncSchedule::SyncEach
    } else {
        FsyncSchedule::NoFsync
    };
    let walrus = Walrus::with_consistency_and_schedule(consistency, schedule)?;
    Ok(Box::new(Topics {
        walrus,
        batches: level == Level::Durable && !each,
    }))
}

impl Store for Topics {
    fn writer<'a>(&'a self, _batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Appender(self)))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        loop {
            let entries = self.walrus.batch_read_for_topic(TOPIC, READ_BYTES, true)?;
            if entries.is_empty() {
                return Ok(scanned);
            }
            for entry in &entries {
                scanned.add(&entry.data);
            }
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Appender<'a>(&'a Topics);

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let walrus = &self.0.walrus;
        if self.0.batches {
            return Ok(walrus.batch_append_for_topic(TOPIC, call.values)?);
        }
        for value in call.values {
            walrus.append_for_topic(TOPIC, value)?;
        }
        Ok(())
    }
}
