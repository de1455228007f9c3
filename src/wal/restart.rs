//! Starting to write again, once recovery has decided where the log ends.
//!
//! Writing never goes on in a file that was written before the restart. What
//! is not proven durable (it may lie in the page cache only) is copied to the
//! next file, synced, and that file's header written last: until then the old
//! file counts, from then on the new one does. docs/format.md section 7.6.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::files::{FilesEnv, Spare, Spares, WalFile, header_block, make, name};
use super::group::{Group, padded};
use super::recover::Recovered;
use super::{Inner, Wal, WalCounters, WalOptions};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::format::checksum::Seed;
use crate::format::frame;
use crate::ids::{Lsn, to_u64, to_usize};
use crate::io::{BLOCK_LEN, Blocks, OpenMode, WriteQueue};
use crate::signal::Signal;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use crate::sync::{Condvar, Mutex};

impl Recovered {
    /// Starts writing: in a new file, which gets a copy of what is not proven
    /// durable.
    ///
    /// # Errors
    ///
    /// The operating system's; then the store is as it was before.
    pub(crate) fn start(
        self,
        env: FilesEnv,
        options: WalOptions,
        clock: Arc<dyn Clock>,
        queue: Option<Box<dyn WriteQueue>>,
    ) -> Result<Wal> {
        let next_sequence = self.last.header.sequence + 1;
        let base = self.proven.min(self.end);
        let tail = self.copy_tail(base, env.store)?;
        self.settle_last(&env)?;
        // A spare of this number may hold frames of this very generation, from
        // an attempt that a crash ended. They must not come back: it is made
        // anew unless the close mark says that there was no such attempt.
        let reuse = self.clean && self.obsolete.contains(&next_sequence);
        let spare = if reuse {
            open_spare(&env, next_sequence)?
        } else {
            make(&env, next_sequence, !self.clean)?
        };
        let mut ready = VecDeque::new();
        let mut sequence = next_sequence + 1;
        while self.obsolete.contains(&sequence) {
            ready.push_back(open_spare(&env, sequence)?);
            sequence += 1;
        }
        let file = activate(&env, spare, base, &tail)?;
        let spares = Spares::new(env.clone(), ready, sequence);
        let mut live: Vec<_> = self
            .live
            .iter()
            .map(|live| {
                let spare = Spare {
                    file: Arc::clone(&live.file),
                    sequence: live.header.sequence,
                    direct: false,
                };
                Arc::new(WalFile::new(&env, spare, live.header.base))
            })
            .collect();
        live.push(file);
        let last_frame = self.last_frame.filter(|_| !tail.is_empty());
        let parts = Parts {
            files: env,
            options,
            clock,
            queue,
            spares,
            live,
        };
        let wal = Wal::assemble(parts, self.end, last_frame);
        // Files before the snapshot's that a crash kept from being used again.
        for obsolete in self.obsolete.iter().filter(|old| **old < next_sequence) {
            wal.give_back_obsolete(*obsolete)?;
        }
        Ok(wal)
    }

    /// Makes the header of the last file durable: it may have been read from
    /// the page cache, and the next file is nothing without it. Written once
    /// more, since a sync that failed before may have left it clean.
    fn settle_last(&self, env: &FilesEnv) -> Result<()> {
        let last = &self.last;
        debug_assert_eq!(last.header.store, env.store, "live files are of this store");
        last.file
            .write_all_at(&header_block(&last.header), 0)
            .map_err(|error| Error::io(format!("write {}", last.path()), error))?;
        last.file
            .sync_data()
            .map_err(|error| Error::io(format!("sync {}", last.path()), error))
    }

    /// The blocks from `base` to the end, sealed for the next generation.
    fn copy_tail(&self, base: Lsn, store: crate::ids::StoreId) -> Result<Blocks> {
        let file = &self.last;
        let mut tail = Blocks::zeroed(to_usize(self.exact_end.since(base)));
        let attempt = || format!("read {}", file.path());
        file.file
            .read_exact_at(&mut tail, file.position(base))
            .map_err(|error| Error::io(attempt(), error))?;
        let to = Seed::wal(store, file.header.sequence + 1);
        let whole = frame::reseal(&mut tail, file.seed, to, BLOCK_LEN);
        if whole != tail.len() && padded(base.saturating_add(to_u64(whole))) < self.end {
            return Err(Error::corrupt(format!(
                "{} reads differently the second time, at LSN {}; nothing was changed",
                file.path(),
                base.saturating_add(to_u64(whole)),
            )));
        }
        tail.resize(to_usize(self.end.since(base)));
        Ok(tail)
    }
}

fn open_spare(env: &FilesEnv, sequence: u64) -> Result<Spare> {
    let name = name(sequence);
    let attempt = |step: &str| format!("{step} wal/{name}");
    let file = env
        .dir
        .open(&name, OpenMode::Write)
        .map_err(|error| Error::io(attempt("open"), error))?;
    let len = file
        .len()
        .map_err(|error| Error::io(attempt("measure"), error))?;
    if len != env.file_bytes {
        // The size was changed, or making it was cut short.
        return make(env, sequence, true);
    }
    let direct = env.go_direct(&*file, sequence)?;
    Ok(Spare {
        file,
        sequence,
        direct,
    })
}

/// Makes `spare` the file that is written to. In a crash before the last
/// sync the file is still a spare; after it, all of it counts.
fn activate(env: &FilesEnv, spare: Spare, base: Lsn, tail: &Blocks) -> Result<Arc<WalFile>> {
    let file = WalFile::new(env, spare, base);
    let attempt = |step: &str| format!("{step} {}", file.path());
    if !tail.is_empty() {
        file.file
            .write_blocks(tail, to_u64(BLOCK_LEN), false)
            .map_err(|error| Error::io(attempt("write"), error))?;
        file.file
            .sync_data()
            .map_err(|error| Error::io(attempt("sync"), error))?;
    }
    let mut header = Blocks::zeroed(BLOCK_LEN);
    header.copy_from_slice(&file.header_block(env.store));
    file.file
        .write_blocks(&header, 0, false)
        .map_err(|error| Error::io(attempt("begin"), error))?;
    file.file
        .sync_data()
        .map_err(|error| Error::io(attempt("sync"), error))?;
    env.dir
        .sync()
        .map_err(|error| Error::io("sync directory wal", error))?;
    Ok(Arc::new(file))
}

/// What a log is put together from.
struct Parts {
    files: FilesEnv,
    options: WalOptions,
    clock: Arc<dyn Clock>,
    queue: Option<Box<dyn WriteQueue>>,
    spares: Spares,
    /// The last one is written to.
    live: Vec<Arc<WalFile>>,
}

impl Wal {
    /// The log of a new store: one file, nothing in it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn create(env: &FilesEnv) -> Result<()> {
        let spare = make(env, 1, false)?;
        activate(env, spare, Lsn::ZERO, &Blocks::new()).map(|_| ())
    }

    fn assemble(parts: Parts, end: Lsn, last_frame: Option<Lsn>) -> Self {
        let live = parts.live;
        let active = Arc::clone(live.last().expect("the active file is one of them"));
        let building = Group::new(end, active, false, Blocks::new());
        Self {
            files: parts.files,
            options: parts.options,
            clock: parts.clock,
            queue: parts.queue,
            inner: Mutex::new(Inner {
                building,
                ready: VecDeque::new(),
                pending: 0,
                leading: false,
                last_frame,
                live: live.into(),
                unsynced: false,
                unsynced_since: Duration::ZERO,
                written: end,
                flights: VecDeque::new(),
                departing: 0,
                syncing: None,
                ended: false,
                memory: Vec::new(),
            }),
            pending: AtomicUsize::new(0),
            end: AtomicU64::new(end.get()),
            room: Condvar::new(),
            departed: Condvar::new(),
            spares: parts.spares,
            durable: AtomicU64::new(end.get()),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            work: Arc::new(Signal::default()),
            counters: WalCounters::default(),
        }
    }

    fn give_back_obsolete(&self, sequence: u64) -> Result<()> {
        let spare = open_spare(&self.files, sequence)?;
        let file = WalFile::new(&self.files, spare, Lsn::ZERO);
        self.spares.give_back(&file, self.options.spares_max)
    }
}
