//! Failure: after a write or a sync that failed nothing is acknowledged.
//!
//! First no group departs any more, then what is under way is waited for, and
//! only then those who wait are told: whoever closes the store after that leaves
//! nothing behind that could still be written when it is opened again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Wal;
use crate::error::{Error, ErrorKind, Result};
use crate::signal::lock;
use crate::sync::atomic::Ordering;
use crate::sync::thread;

/// Poisons the log if its holder panics, so that nobody waits for ever.
pub(super) struct Lead<'a> {
    wal: &'a Wal,
    /// A store may be closed by a thread that is panicking already.
    before: bool,
}

impl<'a> Lead<'a> {
    pub(super) fn of(wal: &'a Wal) -> Self {
        let before = thread::panicking();
        Self { wal, before }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !self.before {
            self.wal.fail(&Error::new(
                ErrorKind::Poisoned,
                "a thread that wrote the log panicked (in a clock or a file system of the \
                 embedder, or by a defect)",
            ));
        }
    }
}

/// A group that is being handed to the queue: whoever waits for that hears of
/// its end, also if handing it over panics.
pub(super) struct Departing<'a> {
    wal: &'a Wal,
    _lead: Lead<'a>,
}

impl<'a> Departing<'a> {
    pub(super) fn of(wal: &'a Wal) -> Self {
        let lead = Lead::of(wal);
        Self { wal, _lead: lead }
    }
}

impl Drop for Departing<'_> {
    fn drop(&mut self) {
        lock(&self.wal.inner).departing -= 1;
        self.wal.departed.notify_all();
    }
}

impl Wal {
    /// A write or a sync has failed: ends everything.
    pub(super) fn fail(&self, error: &Error) {
        // The first failure is the one to report.
        if self.poison.set(error.clone()).is_err() {
            return;
        }
        // A queue of the embedder's that panics has nothing under way to tell of.
        drop(catch_unwind(AssertUnwindSafe(|| self.drain())));
        self.end_all(error);
    }

    /// Waits for what is under way. No group departs any more.
    fn drain(&self) {
        let Some(queue) = &self.queue else {
            return;
        };
        loop {
            while queue.complete().is_some() {}
            let inner = lock(&self.inner);
            if inner.departing == 0 {
                break;
            }
            drop(self.departed.wait(inner));
        }
        while queue.complete().is_some() {}
    }

    /// Tells everybody that their commits may be lost.
    fn end_all(&self, error: &Error) {
        let mut inner = lock(&self.inner);
        let mut states = Vec::new();
        let mut observers = std::mem::take(&mut inner.building.observers);
        for flight in inner.flights.drain(..) {
            states.push(flight.state);
            observers.extend(flight.observers);
        }
        for group in inner.ready.drain(..) {
            states.push(group.state);
            observers.extend(group.observers);
        }
        states.extend(inner.syncing.take());
        states.push(Arc::clone(&inner.building.state));
        inner.pending = 0;
        self.pending.store(0, Ordering::Relaxed);
        // Nobody may write again.
        inner.leading = true;
        inner.ended = true;
        drop(inner);
        self.room.notify_all();
        // A sync that waits for the leader to finish: it never does now.
        self.departed.notify_all();
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

    /// After a failure: waits until nothing of the log is under way any more.
    /// The lock of the store is not to be given up before.
    pub(crate) fn wait_for_end(&self) {
        let mut inner = lock(&self.inner);
        while self.poison.get().is_some() && !inner.ended {
            inner = self
                .departed
                .wait(inner)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    pub(super) fn check_poison(&self) -> Result<()> {
        match self.poison.get() {
            None => Ok(()),
            Some(error) => Err(error.clone().because(
                ErrorKind::Poisoned,
                "writing the log failed; close and reopen the store",
            )),
        }
    }
}
