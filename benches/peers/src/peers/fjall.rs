//! fjall: an LSM tree with a journal.
//!
//! Durable: one write batch a call with `PersistMode::SyncData` (`fdatasync`:
//! its size changes are synced with it, so `SyncAll` adds only time). It holds
//! the journal's lock while it syncs, so threads do not share syncs by
//! themselves: they go through the combiner.
//!
//! Not durable: `manual_journal_persist`: the record is in the journal's buffer
//! and in the memtable at return, and in the page cache when the buffer is full.
//!
//! Keys are counters, big-endian, so that the order of the keys is that of the
//! appends. Compression of blocks is off: the values are noise.
//!
//! A scan iterates over the keyspace; blocks read from tables are checked, what
//! is in the memtable is not.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::Level;

pub(super) const PEER: Peer = Peer {
    name: "fjall",
    package: "fjall",
    syncs: true,
    sharing: Sharing::Combined,
    setting: "write batches, `PersistMode::SyncData` / `manual_journal_persist`; threads combined",
    scan: "blocks checked",
    skips: |_| None,
    open,
};

struct Fjall {
    db: Database,
    log: Keyspace,
    durable: bool,
    next: AtomicU64,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let durable = level == Level::Durable;
    let db = Database::builder(dir.join("data"))
        .manual_journal_persist(!durable)
        .journal_compression(CompressionType::None)
        .open()?;
    let log = db.keyspace("log", || {
        KeyspaceCreateOptions::default()
            .manual_journal_persist(!durable)
            .data_block_compression_policy(CompressionPolicy::disabled())
    })?;
    Ok(Box::new(Fjall {
        db,
        log,
        durable,
        next: AtomicU64::new(0),
    }))
}

impl Store for Fjall {
    fn writer<'a>(&'a self, _batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Appender(self)))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        for pair in self.log.iter() {
            scanned.add(&pair.value()?);
        }
        Ok(scanned)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

struct Appender<'a>(&'a Fjall);

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let Fjall { db, log, .. } = self.0;
        let count = u64::try_from(call.values.len())?;
        let first = self.0.next.fetch_add(count, SeqCst);
        if let ([value], false) = (call.values, self.0.durable) {
            return Ok(log.insert(first.to_be_bytes(), *value)?);
        }
        let mut batch = OwnedWriteBatch::with_capacity(db.clone(), call.values.len());
        for (key, value) in (first..).zip(call.values) {
            batch.insert(log, key.to_be_bytes(), *value);
        }
        let mode = self.0.durable.then_some(PersistMode::SyncData);
        Ok(batch.durability(mode).commit()?)
    }
}
