//! Committing: groups depart to the disk, land, and are acknowledged.
//!
//! ```text
//!  building -> ready -> flights ------------------------> acknowledged
//!               depart: sealed, submitted    land: in the order of the log
//! ```
//!
//! One thread at a time leads: it lets groups depart and waits for the disk.
//! A thread that finds a leader, and a place among the flights, lets its group
//! depart by itself, and sleeps until it has landed. Where the back end has no
//! queue there is one flight, and the leader makes the write itself.
//!
//! Which group may depart when is decided in `Inner::next_departure`, and what
//! a crash leaves at each step follows from that.

use std::sync::Arc;
use std::time::Duration;

use super::fail::{Departing, Lead};
use super::flight::{Departure, Landed};
use super::group::{GroupState, Sealed, Woken};
use super::{Ask, Inner, Wal, WalFile};
use crate::clock::{Deadline, Stopwatch};
use crate::error::{Error, Result};
use crate::format::frame::{FRAME_HEADER_LEN, FrameKind};
use crate::ids::Lsn;
use crate::io::{BlockWrite, Blocks};
use crate::signal::lock;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

/// Longest sleep of who waits for a leader to finish.
const LOOK: Duration = Duration::from_millis(1);

impl Wal {
    /// Leads until `own` has ended, or, without it, until nothing is left to
    /// do. The caller has set `leading`; it is handed on or given up here.
    pub(super) fn lead(&self, own: Option<&GroupState>) {
        let _lead = Lead::of(self);
        loop {
            let mut inner = lock(&self.inner);
            let done = own.is_some_and(|own| own.result().is_some());
            // Once its own group is done a leader writes for nobody else, but
            // lets one more go where that takes no waiting.
            let may_go = !done || inner.may_join(self.queue.is_some());
            if may_go && let Some(departure) = self.next_departure(&mut inner) {
                drop(inner);
                self.depart(departure);
                continue;
            }
            if self.poison.get().is_some() {
                // `leading` stays true: nobody writes any more.
                return;
            }
            if inner.flights.is_empty() || done {
                self.finish_leading(inner);
                return;
            }
            let departing = inner.departing > 0;
            drop(inner);
            self.wait_for_disk(departing);
        }
    }

    /// Waits for one completion and acknowledges what it completes.
    fn wait_for_disk(&self, departing: bool) {
        let queue = self.queue.as_ref();
        let Some(written) = queue.and_then(|queue| queue.complete()) else {
            // Whoever took the group off the list has not submitted it yet.
            if departing {
                let inner = lock(&self.inner);
                if inner.departing > 0 {
                    drop(self.departed.wait(inner));
                }
            }
            return;
        };
        let start = Lsn::new(written.write.token);
        let result = written.result.map_err(|error| {
            let (bytes, position) = (written.write.bytes().len(), written.write.position);
            match self.file_of(start) {
                Some(file) => attempt_failed(&file, bytes, position, error),
                None => Error::io(format!("write {bytes} bytes at LSN {start}"), error),
            }
        });
        self.land(start, result, written.write.blocks);
    }

    fn file_of(&self, start: Lsn) -> Option<Arc<WalFile>> {
        let inner = lock(&self.inner);
        let mut flights = inner.flights.iter();
        let flight = flights.find(|flight| flight.start == start);
        flight.map(|flight| Arc::clone(&flight.file))
    }

    /// Lets groups depart, as a thread that does not lead.
    fn help(&self) {
        loop {
            let mut inner = lock(&self.inner);
            if !inner.leading || !inner.may_join(self.queue.is_some()) {
                return;
            }
            let Some(departure) = self.next_departure(&mut inner) else {
                return;
            };
            drop(inner);
            self.depart(departure);
        }
    }

    /// Takes the group that may depart now, if there is one.
    fn next_departure(&self, inner: &mut Inner) -> Option<Departure> {
        if self.poison.get().is_some() {
            return None;
        }
        let now = || self.clock.monotonic();
        let crowded = inner.pending >= self.options.pending_max();
        let departure = inner.next_departure(&self.options, self.queue.is_some(), now)?;
        self.pending.store(inner.pending, Ordering::Relaxed);
        // Only then somebody may wait for it: a call costs.
        if crowded {
            self.room.notify_all();
        }
        Some(departure)
    }

    /// Writes a group, or hands it to the queue.
    fn depart(&self, departure: Departure) {
        let Departure {
            group,
            sync,
            alone,
            older,
        } = departure;
        let start = group.start;
        // What the frames say is durable must be so: below the start of this
        // file everything is.
        let durable = Lsn::new(self.durable.load(Ordering::Acquire)).max(group.file.base);
        let padded = group.padded_end().since(start);
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(padded, Ordering::Relaxed);
        let file = Arc::clone(&group.file);
        let sealed = group.seal(durable, self.files.store);
        if alone {
            let older = older.map_or(Ok(()), |older| self.sync_file(&older));
            let written = older.and_then(|()| self.write(&file, &sealed, sync));
            self.land(start, written, sealed.blocks);
            return;
        }
        let _departing = Departing::of(self);
        let queue = self.queue.as_ref().expect("others depart alone");
        queue.submit(BlockWrite {
            file: Arc::clone(&file.file),
            blocks: sealed.blocks,
            from: sealed.from,
            position: sealed.position,
            sync,
            token: start.get(),
        });
    }

    /// Writes one group with a blocking call, and makes it durable if `sync`,
    /// together with all that was written before and not synced.
    ///
    /// What a power cut leaves: before the sync, any blocks of the group, in
    /// any mix with what was there: nobody was told, and the chain of frames
    /// ends at the first that is not whole. A group that begins a file brings
    /// the file's header along: header without frames is an empty file, frames
    /// without header are a spare.
    fn write(&self, file: &WalFile, sealed: &Sealed, sync: bool) -> Result<()> {
        let unsynced = lock(&self.inner).unsynced;
        // A synced direct write vouches for itself only.
        let whole_file = sync && (unsynced || !file.direct);
        let watch = Stopwatch::start();
        file.file
            .write_blocks(sealed.bytes(), sealed.position, sync && !whole_file)
            .map_err(|error| attempt_failed(file, sealed.bytes().len(), sealed.position, error))?;
        if whole_file {
            return self.sync_file(file);
        }
        if sync {
            self.count_sync(&watch);
        }
        Ok(())
    }

    fn sync_file(&self, file: &WalFile) -> Result<()> {
        let watch = Stopwatch::start();
        file.file
            .sync_data()
            .map_err(|error| Error::io(format!("sync {}", file.path()), error))?;
        self.count_sync(&watch);
        Ok(())
    }

    fn count_sync(&self, watch: &Stopwatch) {
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        let us = watch.micros();
        self.counters.sync_us.fetch_add(us, Ordering::Relaxed);
        let recent = &self.counters.recent_sync_us;
        let before = recent.load(Ordering::Relaxed);
        // The first one stands for itself.
        let share = if before == 0 {
            us
        } else {
            (7 * before + us) / 8
        };
        recent.store(share, Ordering::Relaxed);
    }

    /// A flight has ended: acknowledges it, and those behind it that had ended
    /// before, once all before it are.
    fn land(&self, start: Lsn, result: Result<()>, blocks: Blocks) {
        // Asked before anything is changed: it is the embedder's, and may panic.
        let now = self.clock.monotonic();
        let mut inner = lock(&self.inner);
        inner.keep_memory(blocks, &self.options);
        let flight = inner
            .flights
            .iter_mut()
            .find(|flight| flight.start == start);
        let Some(flight) = flight else {
            // Another thread's failure has ended it.
            return;
        };
        flight.landed = true;
        if !flight.alone && flight.sync && result.is_ok() {
            self.count_sync(&flight.watch);
        }
        if let Err(error) = result {
            drop(inner);
            self.fail(&error);
            return;
        }
        let landed = inner.acknowledge(now);
        if let Some(durable) = landed.durable {
            self.durable.fetch_max(durable.get(), Ordering::AcqRel);
        }
        drop(inner);
        tell(landed);
    }

    /// Gives the lead to a thread that waits, or up.
    fn finish_leading(&self, mut inner: MutexGuard<'_, Inner>) {
        let flying = inner.flights.iter().map(|flight| &flight.state);
        let waiting = inner.ready.iter().map(|group| &group.state);
        let last = (!inner.building.is_empty()).then_some(&inner.building.state);
        let mut states = flying.chain(waiting).chain(last);
        let handed = states.any(|state| state.hand_over());
        let left = inner.building.detached || inner.is_busy();
        inner.leading = handed;
        // Who waits for room waits for a departure, and without a leader there
        // is none: it leads itself. Only where it may be: a call costs.
        let crowded = !handed && inner.pending >= self.options.pending_max();
        drop(inner);
        if crowded {
            self.room.notify_all();
        }
        self.departed.notify_all();
        if !handed && left {
            self.work.notify();
        }
    }

    /// Waits until the group of `state` is written (and synced, if it has
    /// durable frames), writing for itself if nobody else does.
    pub(super) fn wait(&self, state: &Arc<GroupState>, deadline: Deadline) -> Option<Result<()>> {
        let mut helped = false;
        loop {
            {
                let mut inner = lock(&self.inner);
                if let Some(result) = state.result() {
                    return Some(result);
                }
                if !inner.leading {
                    inner.leading = true;
                    drop(inner);
                    self.lead(Some(state));
                    continue;
                }
                if helped {
                    state.enter();
                }
            }
            if !helped {
                // Its group may find a place beside those that are flying.
                self.help();
                helped = true;
                continue;
            }
            match state.sleep(deadline) {
                Woken::Done(result) => return Some(result),
                Woken::Lead => self.lead(Some(state)),
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
            let empty = inner.building.is_empty() && !inner.is_busy();
            if inner.leading || empty {
                break;
            }
            inner.leading = true;
            drop(inner);
            self.lead(None);
            did = true;
        }
        did | self.sync_if_due()
    }

    fn sync_if_due(&self) -> bool {
        let mut inner = lock(&self.inner);
        let due = inner.is_sync_due(&self.options, || self.clock.monotonic());
        if inner.leading || !due || !inner.flights.is_empty() {
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
            let mut inner = lock(&self.inner);
            // Under the lock, or the last news of all may have been before the
            // wait below.
            self.check_poison()?;
            let state = if !inner.building.is_empty() {
                inner.building.sync = true;
                Arc::clone(&inner.building.state)
            } else if let Some(last) = inner.ready.back_mut() {
                last.sync = true;
                Arc::clone(&last.state)
            } else if let Some(state) = inner.last_under_way() {
                // It may be going out without a sync; look again after it.
                state
            } else if inner.leading {
                // A leader that has just told of the last flight, and is about
                // to look for more.
                drop(self.departed.wait_timeout(inner, LOOK));
                continue;
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

    /// Syncs what has been written; as the leader, with nothing under way.
    fn sync_written(&self, mut inner: MutexGuard<'_, Inner>) {
        let _lead = Lead::of(self);
        let state = Arc::<GroupState>::default();
        inner.syncing = Some(Arc::clone(&state));
        let written = inner.written;
        // Older files were synced before the first write to this one. The
        // newest may not have been begun yet.
        let begun = |file: &&Arc<WalFile>| file.base < written;
        let file = inner.live.iter().rev().find(begun).map(Arc::clone);
        drop(inner);
        let synced = file.map_or(Ok(()), |file| self.sync_file(&file));
        if let Err(error) = synced {
            self.fail(&error);
            return;
        }
        let mut inner = lock(&self.inner);
        inner.syncing = None;
        inner.unsynced = false;
        self.durable.store(written.get(), Ordering::Release);
        self.finish_leading(inner);
        state.finish(Ok(()));
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
            self.check_poison()?;
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

/// A write of the log that failed.
fn attempt_failed(file: &WalFile, bytes: usize, position: u64, error: std::io::Error) -> Error {
    let attempt = format!("write {bytes} bytes at byte {position} of {}", file.path());
    Error::io(attempt, error)
}

/// Wakes who waited for flights that are acknowledged.
fn tell(landed: Landed) {
    for flight in landed.flights {
        flight.state.finish(Ok(()));
        let observers = flight.observers.iter();
        observers.for_each(|observer| observer.committed());
    }
}
