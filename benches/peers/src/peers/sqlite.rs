//! `SQLite`, built in by rusqlite.
//!
//! Durable: `journal_mode=WAL`, `synchronous=FULL`: the log is synced at each
//! commit. One transaction a call, statements prepared once. The log is written
//! again from its start after a checkpoint, so most syncs overwrite. One writer
//! at a time: threads go through the combiner.
//!
//! Not durable: `synchronous=NORMAL`: synced at checkpoints only, and still not
//! damaged by a power cut; `OFF` would be.
//!
//! `locking_mode=EXCLUSIVE` spares the shared-memory index: nobody else has the
//! file open.
//!
//! A scan is one `SELECT`; there are no checksums in the format.

use rusqlite::{Connection, params};
use std::sync::{Mutex, MutexGuard};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::Level;

const INSERT: &str = "INSERT INTO log(value) VALUES (?1)";

pub(super) const PEER: Peer = Peer {
    name: "sqlite",
    package: "rusqlite",
    syncs: true,
    sharing: Sharing::Combined,
    setting: "WAL, `synchronous=FULL` / `NORMAL`, exclusive; a transaction a call; \
              threads combined",
    scan: "not checked",
    skips: |_| None,
    open,
};

struct Sqlite(Mutex<Connection>);

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let connection = Connection::open(dir.join("data.sqlite"))?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match level {
        Level::Durable => "FULL",
        Level::Buffered | Level::Replay => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.execute(
        "CREATE TABLE IF NOT EXISTS log(id INTEGER PRIMARY KEY, value BLOB NOT NULL)",
        (),
    )?;
    Ok(Box::new(Sqlite(Mutex::new(connection))))
}

impl Sqlite {
    fn lock(&self) -> Result<MutexGuard<'_, Connection>> {
        let locked = self.0.lock();
        locked.map_err(|_| "a thread that used the connection panicked".into())
    }
}

impl Store for Sqlite {
    fn writer<'a>(&'a self, _batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Appender(self)))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let connection = self.lock()?;
        let mut select = connection.prepare_cached("SELECT value FROM log ORDER BY id")?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            scanned.add(row.get_ref(0)?.as_blob()?);
        }
        Ok(scanned)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let connection = self.0.into_inner().map_err(|_| "a thread panicked")?;
        connection.close().map_err(|(_, error)| error.into())
    }
}

struct Appender<'a>(&'a Sqlite);

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let mut connection = self.0.lock()?;
        if let [value] = call.values {
            connection.prepare_cached(INSERT)?.execute(params![value])?;
            return Ok(());
        }
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for value in call.values {
                insert.execute(params![value])?;
            }
        }
        Ok(transaction.commit()?)
    }
}
