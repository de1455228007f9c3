//! Leading: writing the oldest group for all that are in it.
//!
//! The order of steps decides what a crash leaves, so it stands in one place:
//! `Wal::write_group`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::group::{Group, GroupState, Woken};
use super::{Ask, Inner, Wal, WalFile};
use crate::clock::{Deadline, Stopwatch};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{FRAME_HEADER_LEN, FrameKind, seal_group};
use crate::ids::{Lsn, to_u64, to_usize};
use crate::options::SyncPolicy;
use crate::signal::lock;

impl Wal {
    /// Writes the oldest group. The caller has set `leading`; it is handed on
    /// or given up here.
    pub(super) fn lead(&self) {
        let mut inner = lock(&self.inner);
        if inner.ready.is_empty() {
            inner.seal_building();
        }
        let Some(mut group) = inner.ready.pop_front() else {
            self.finish_leading(inner);
            return;
        };
        inner.pending -= group.buf.len();
        self.pending.store(inner.pending, Ordering::Relaxed);
        inner.in_flight = Some(Arc::clone(&group.state));
        let unsynced = inner.unsynced;
        let due = match self.options.sync_policy {
            SyncPolicy::Always => true,
            SyncPolicy::Interval(interval) => {
                unsynced && self.clock.monotonic() >= inner.unsynced_since + interval
            }
            SyncPolicy::Never => false,
        };
        let older = group
            .first
            .then(|| {
                inner
                    .live
                    .iter()
                    .rev()
                    .find(|file| file.sequence < group.file.sequence)
            })
            .flatten()
            .filter(|_| unsynced)
            .map(Arc::clone);
        drop(inner);
        self.room.notify_all();

        let sync = group.sync || due;
        let end = group.padded_end();
        let written = match older.map(|file| self.sync_file(&file)).transpose() {
            Ok(_) => self.write_group(&mut group, sync),
            Err(error) => Err(error),
        };

        let mut inner = lock(&self.inner);
        if let Err(error) = written {
            self.poison_all(inner, &error, &group.state);
            for observer in &group.observers {
                observer.committed();
            }
            return;
        }
        inner.written = end;
        inner.in_flight = None;
        if sync {
            inner.unsynced = false;
            self.durable.store(end.get(), Ordering::Release);
        } else if group.first || !inner.unsynced {
            // What came before this file is durable: see `write_group`.
            self.durable
                .fetch_max(group.file.base.get(), Ordering::AcqRel);
            inner.unsynced = true;
            inner.unsynced_since = self.clock.monotonic();
        }
        if inner.buffer.is_none() && group.buf.capacity() <= 2 * self.options.group_bytes_max {
            group.buf.clear();
            inner.buffer = Some(std::mem::take(&mut group.buf));
        }
        self.finish_leading(inner);
        group.state.finish(Ok(()));
        group
            .observers
            .iter()
            .for_each(|observer| observer.committed());
    }

    /// Writes one group and makes it durable if `sync`.
    ///
    /// What a power cut leaves: before the sync, any blocks of the group, in
    /// any mix with what was there: nobody was told, and the chain of frames
    /// ends at the first that is not whole. A group that begins a file brings
    /// the file's header along: header without frames is an empty file, frames
    /// without header are a spare.
    fn write_group(&self, group: &mut Group, sync: bool) -> Result<()> {
        let file = Arc::clone(&group.file);
        let frames = group.buf.len();
        // What the frames say is durable must be so: below the start of this
        // group everything is, if that is what `durable` says.
        let durable = Lsn::new(self.durable.load(Ordering::Acquire)).max(file.base);
        seal_group(&mut group.buf, durable, file.seed);
        let padded = to_usize(group.padded_end().since(group.start));
        group.buf.resize(padded, 0);
        let position = file.position(group.start);
        let attempt = || format!("write {padded} bytes at byte {position} of {}", file.path());
        if group.first {
            let header = file.header_block(self.files.store);
            file.file
                .write_all_vectored_at(&[&header, &group.buf], 0)
                .map_err(|error| Error::io(attempt(), error))?;
        } else {
            file.file
                .write_all_at(&group.buf, position)
                .map_err(|error| Error::io(attempt(), error))?;
        }
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.counters
            .bytes
            .fetch_add(to_u64(padded), Ordering::Relaxed);
        debug_assert!(frames <= padded, "padding only adds");
        if sync { self.sync_file(&file) } else { Ok(()) }
    }

    fn sync_file(&self, file: &WalFile) -> Result<()> {
        let watch = Stopwatch::start();
        file.file
            .sync_data()
            .map_err(|error| Error::io(format!("sync {}", file.path()), error))?;
        let us = watch.micros();
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.counters.sync_us.fetch_add(us, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the lead to a thread that waits for the next group, or up.
    fn finish_leading(&self, mut inner: MutexGuard<'_, Inner>) {
        let next = inner.ready.front().unwrap_or(&inner.building);
        let handed = !next.is_empty() && next.state.hand_over();
        let orphan = !handed && (next.detached || !inner.ready.is_empty());
        inner.leading = handed;
        drop(inner);
        if orphan {
            self.work.notify();
        }
    }

    /// After a failed write or sync: nothing is acknowledged any more.
    fn poison_all(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        error: &Error,
        failed: &Arc<GroupState>,
    ) {
        // The first failure is the one to report; a second cannot happen, since
        // only a leader writes and there is none after this.
        let stored = self.poison.set(error.clone());
        debug_assert!(stored.is_ok(), "nobody leads after a failure");
        let mut states = vec![Arc::clone(failed)];
        let mut observers = std::mem::take(&mut inner.building.observers);
        for group in inner.ready.drain(..) {
            states.push(group.state);
            observers.extend(group.observers);
        }
        states.push(Arc::clone(&inner.building.state));
        inner.pending = 0;
        self.pending.store(0, Ordering::Relaxed);
        // `leading` stays true: nobody may write again.
        drop(inner);
        self.room.notify_all();
        let answer = error.clone().because(
            ErrorKind::Poisoned,
            "the commit may or may not survive: writing the log failed; close and reopen the store",
        );
        for state in states {
            state.finish(Err(answer.clone()));
        }
        // Who waits for the records learns that they do not come.
        for observer in observers {
            observer.committed();
        }
        self.work.notify();
    }

    /// Waits until the group of `state` is written (and synced, if it has
    /// durable frames), writing for itself if nobody else does.
    pub(super) fn wait(&self, state: &Arc<GroupState>, deadline: Deadline) -> Option<Result<()>> {
        loop {
            {
                let mut inner = lock(&self.inner);
                if let Some(result) = state.result() {
                    return Some(result);
                }
                if inner.leading {
                    state.enter();
                } else {
                    inner.leading = true;
                    drop(inner);
                    self.lead();
                    continue;
                }
            }
            match state.sleep(deadline) {
                Woken::Done(result) => return Some(result),
                Woken::Lead => self.lead(),
                Woken::TimedOut => return state.result(),
            }
        }
    }

    /// Writes all that waits, and syncs what is due: the step of the
    /// background. True if it did anything.
    pub(crate) fn commit_step(&self) -> bool {
        let mut did = false;
        loop {
            let mut inner = lock(&self.inner);
            let empty = inner.ready.is_empty() && inner.building.is_empty();
            if inner.leading || empty {
                break;
            }
            inner.leading = true;
            drop(inner);
            self.lead();
            did = true;
        }
        did | self.sync_if_due()
    }

    fn sync_if_due(&self) -> bool {
        let SyncPolicy::Interval(interval) = self.options.sync_policy else {
            return false;
        };
        let mut inner = lock(&self.inner);
        let due = inner.unsynced && self.clock.monotonic() >= inner.unsynced_since + interval;
        if inner.leading || !due {
            return false;
        }
        inner.leading = true;
        self.sync_written(inner);
        true
    }

    /// Makes everything that was enqueued so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let target = lock(&self.inner).building.padded_end();
        while self.durable() < target {
            self.check_poison()?;
            let mut inner = lock(&self.inner);
            let state = if !inner.building.is_empty() {
                inner.building.sync = true;
                Arc::clone(&inner.building.state)
            } else if let Some(last) = inner.ready.back_mut() {
                last.sync = true;
                Arc::clone(&last.state)
            } else if let Some(state) = &inner.in_flight {
                // It may be going out without a sync; look again after it.
                Arc::clone(state)
            } else {
                inner.leading = true;
                self.sync_written(inner);
                continue;
            };
            drop(inner);
            self.wait(&state, Deadline::NEVER)
                .expect("a wait without a deadline ends with a result")?;
        }
        self.check_poison()
    }

    /// Syncs what has been written; as the leader.
    fn sync_written(&self, mut inner: MutexGuard<'_, Inner>) {
        let state = Arc::<GroupState>::default();
        inner.in_flight = Some(Arc::clone(&state));
        let written = inner.written;
        // Older files were synced before the first write to this one. The
        // newest may not have been begun yet.
        let begun = |file: &&Arc<WalFile>| file.base < written;
        let file = inner.live.iter().rev().find(begun).map(Arc::clone);
        drop(inner);
        let synced = file.map_or(Ok(()), |file| self.sync_file(&file));
        let mut inner = lock(&self.inner);
        if let Err(error) = synced {
            self.poison_all(inner, &error, &state);
            return;
        }
        inner.in_flight = None;
        inner.unsynced = false;
        self.durable.store(written.get(), Ordering::Release);
        self.finish_leading(inner);
        state.finish(Ok(()));
    }

    fn check_poison(&self) -> Result<()> {
        match self.poison.get() {
            None => Ok(()),
            Some(error) => Err(error.clone().because(
                ErrorKind::Poisoned,
                "writing the log failed; close and reopen the store",
            )),
        }
    }

    /// Makes all durable and marks the end, so that the next open knows that
    /// nothing is missing. Afterwards the log takes no more commits.
    pub(crate) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.sync()?;
        let handle = {
            let mut inner = lock(&self.inner);
            if self.make_room(&mut inner, FRAME_HEADER_LEN).is_err() {
                // No space for another file: the next open finds the end by
                // itself, as after a crash.
                return Ok(());
            }
            let ask = Ask {
                sync: true,
                ..Ask::default()
            };
            self.put_frame(&mut inner, FrameKind::Close, &[], ask)
        };
        handle.wait(self)
    }
}
