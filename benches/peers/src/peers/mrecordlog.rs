//! mrecordlog: the log of Quickwit's ingestion; all of it is kept in memory too.
//!
//! Durable: nothing is. The published crate has no `fsync`: with
//! `SyncPolicy::OnAppend`, its best, a call returns when the bytes are in the
//! page cache. One `append_records` a call; one writer at a time, so threads go
//! through the combiner.
//!
//! Not durable: `SyncPolicy::OnDelay` of five seconds, Quickwit's setting: the
//! bytes are in a buffer of the process at return.
//!
//! It is asynchronous. The runtime is one thread, the caller's, beside those to
//! which tokio hands calls of the file system.
//!
//! A scan goes through `range`: it reads memory, not the disk. Checksums are
//! checked when the log is opened.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use mrecordlog::{MultiRecordLog, SyncPolicy};
use tokio::runtime::{Builder, Runtime};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::Level;

const QUEUE: &str = "log";

pub(super) const PEER: Peer = Peer {
    name: "mrecordlog",
    package: "mrecordlog",
    syncs: false,
    sharing: Sharing::Combined,
    setting: "`append_records`, `SyncPolicy::OnAppend` (flushed to the page cache) / `OnDelay`; \
              threads combined",
    scan: "from memory, not checked",
    skips: |_| None,
    open,
};

struct Mrecordlog(Mutex<Inner>);

struct Inner {
    runtime: Runtime,
    log: MultiRecordLog,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let runtime = Builder::new_current_thread().build()?;
    let policy = match level {
        Level::Durable => SyncPolicy::OnAppend,
        Level::Buffered | Level::Replay => SyncPolicy::OnDelay(Duration::from_secs(5)),
    };
    let opened = runtime.block_on(async {
        let mut log = MultiRecordLog::open_with_prefs(dir, policy).await?;
        if !log.queue_exists(QUEUE) {
            log.create_queue(QUEUE).await?;
        }
        Ok::<_, crate::Failure>(log)
    });
    let log = opened?;
    Ok(Box::new(Mrecordlog(Mutex::new(Inner { runtime, log }))))
}

impl Mrecordlog {
    fn lock(&self) -> Result<MutexGuard<'_, Inner>> {
        let locked = self.0.lock();
        locked.map_err(|_| "a thread that used the log panicked".into())
    }
}

impl Store for Mrecordlog {
    fn writer<'a>(&'a self, _batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Appender(self)))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let inner = self.lock()?;
        let range = inner.log.range(QUEUE, ..);
        let range = range.map_err(|missing| format!("{missing:?}"))?;
        for (_, value) in range {
            scanned.add(&value);
        }
        Ok(scanned)
    }

    fn close(self: Box<Self>) -> Result<()> {
        let mut inner = self.lock()?;
        let Inner { runtime, log } = &mut *inner;
        Ok(runtime.block_on(log.sync())?)
    }
}

struct Appender<'a>(&'a Mrecordlog);

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let mut inner = self.0.lock()?;
        let Inner { runtime, log } = &mut *inner;
        let values = call.values.iter().copied();
        runtime.block_on(log.append_records(QUEUE, None, values))?;
        Ok(())
    }
}
