//! redb: copy-on-write B-trees in one file.
//!
//! Durable: one write transaction a call with `Durability::Immediate`, without
//! the second phase and without quick repair, which are off by default and cost
//! a sync each. One writer at a time: threads go through the combiner.
//!
//! Not durable: `Durability::None`, then one `Immediate` at close.
//!
//! A scan goes over the table in a read transaction; checksums are checked in
//! repair only.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::Level;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

pub(super) const PEER: Peer = Peer {
    name: "redb",
    package: "redb",
    syncs: true,
    sharing: Sharing::Combined,
    setting: "a transaction a call, `Durability::Immediate` / `None`; threads combined",
    scan: "not checked",
    skips: |_| None,
    open,
};

struct Redb {
    db: Database,
    durability: Durability,
    next: AtomicU64,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let db = Database::create(dir.join("data.redb"))?;
    let write = db.begin_write()?;
    write.open_table(LOG)?;
    write.commit()?;
    let durability = match level {
        Level::Durable => Durability::Immediate,
        Level::Buffered | Level::Replay => Durability::None,
    };
    Ok(Box::new(Redb {
        db,
        durability,
        next: AtomicU64::new(0),
    }))
}

impl Store for Redb {
    fn writer<'a>(&'a self, _batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Appender(self)))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let table = self.db.begin_read()?.open_table(LOG)?;
        for pair in table.iter()? {
            scanned.add(pair?.1.value());
        }
        Ok(scanned)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // An empty commit that is durable makes those before it durable too.
        Ok(self.db.begin_write()?.commit()?)
    }
}

struct Appender<'a>(&'a Redb);

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let count = u64::try_from(call.values.len())?;
        let first = self.0.next.fetch_add(count, SeqCst);
        let mut write = self.0.db.begin_write()?;
        write.set_durability(self.0.durability)?;
        {
            let mut table = write.open_table(LOG)?;
            for (key, value) in (first..).zip(call.values) {
                table.insert(key, *value)?;
            }
        }
        Ok(write.commit()?)
    }
}
