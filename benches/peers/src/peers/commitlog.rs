//! commitlog: segments with an index entry for every message.
//!
//! Durable: nothing is. `flush` syncs the map of the index, but not the messages,
//! of which `File::flush` is all, and that does nothing. A call returns when
//! the bytes are in the page cache, and that is what is measured.
//!
//! Not durable: the same. One `append` of a `MessageBuf` a call. It needs `&mut`,
//! so threads go through the combiner.
//!
//! A scan reads 1 MiB at a time; the checksum of each message is checked.

use std::sync::{Mutex, MutexGuard};

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;

/// Most bytes of a read.
const READ_BYTES: usize = 1 << 20;

/// Most bytes of an append: a batch, and what each message has before it.
const APPEND_BYTES_MAX: usize = 16 << 20;

pub(super) const PEER: Peer = Peer {
    name: "commitlog",
    package: "commitlog",
    syncs: false,
    sharing: Sharing::Combined,
    setting: "one `append` of a `MessageBuf` a call, written to the page cache; threads combined",
    scan: "each record checked",
    skips: |_| None,
    open,
};

struct Commitlog(Mutex<CommitLog>);

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let mut options = LogOptions::new(setup.dir.join("data"));
    options.message_max_bytes(APPEND_BYTES_MAX);
    Ok(Box::new(Commitlog(Mutex::new(CommitLog::new(options)?))))
}

impl Commitlog {
    fn lock(&self) -> Result<MutexGuard<'_, CommitLog>> {
        let locked = self.0.lock();
        locked.map_err(|_| "a thread that used the log panicked".into())
    }
}

impl Store for Commitlog {
    fn writer<'a>(&'a self, _batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        Ok(Box::new(Appender {
            store: self,
            messages: MessageBuf::default(),
        }))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let log = self.lock()?;
        let mut next = 0;
        loop {
            let messages = log.read(next, ReadLimit::max_bytes(READ_BYTES))?;
            if messages.is_empty() {
                return Ok(scanned);
            }
            for message in messages.iter() {
                scanned.add(message.payload());
            }
            next += u64::try_from(messages.len())?;
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.lock()?.flush()?)
    }
}

struct Appender<'a> {
    store: &'a Commitlog,
    /// Kept for its memory.
    messages: MessageBuf,
}

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        self.messages.clear();
        for value in call.values {
            let pushed = self.messages.push(value);
            pushed.map_err(|error| format!("cannot encode a message: {error:?}"))?;
        }
        self.store.lock()?.append(&mut self.messages)?;
        Ok(())
    }
}
