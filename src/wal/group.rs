//! Groups: the frames that one commit writes, and who waits for them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;

use super::files::WalFile;
use crate::clock::Deadline;
use crate::error::Result;
use crate::ids::{Lsn, to_u64};
use crate::io::BLOCK_LEN;
use crate::signal::lock;

/// Told when what it put into a group is durable.
pub(crate) trait Observer: Send + Sync {
    /// Runs on the thread that wrote the group, without locks of the log held.
    /// Must not wait.
    fn committed(&self);
}

/// A group under construction, or on its way to the disk.
pub(super) struct Group {
    /// Frames, back to back; padded to a block when it is written.
    pub(super) buf: BytesMut,
    /// Where it starts. Invariant: a multiple of the block length.
    pub(super) start: Lsn,
    /// Where it goes. Invariant: it fits.
    pub(super) file: Arc<WalFile>,
    /// True if it is the first of its file: the header goes with it.
    pub(super) first: bool,
    /// True if a durable append is in it.
    pub(super) sync: bool,
    /// True if something is in it that no thread waits for.
    pub(super) detached: bool,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) state: Arc<GroupState>,
}

impl Group {
    pub(super) fn new(start: Lsn, file: Arc<WalFile>, first: bool, buf: BytesMut) -> Self {
        debug_assert!(start.get().is_multiple_of(to_u64(BLOCK_LEN)), "aligned");
        Self {
            buf,
            start,
            file,
            first,
            sync: false,
            detached: false,
            observers: Vec::new(),
            state: Arc::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// LSN after its last frame.
    pub(super) fn end(&self) -> Lsn {
        self.start.saturating_add(to_u64(self.buf.len()))
    }

    /// LSN after its padding: where the next group starts.
    pub(super) fn padded_end(&self) -> Lsn {
        padded(self.end())
    }
}

/// The next multiple of the block length.
pub(super) fn padded(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.get().next_multiple_of(to_u64(BLOCK_LEN)))
}

/// How a group ended, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    inner: Mutex<Outcome>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Outcome {
    result: Option<Result<()>>,
    threads: u32,
    tasks: Vec<Waker>,
    /// The lead was handed to one of the waiting threads.
    ///
    /// Invariant: only while there is a waiting thread to take it.
    baton: bool,
}

/// Why a thread stopped waiting for a group.
pub(super) enum Woken {
    Done(Result<()>),
    /// It now leads, and must.
    Lead,
    TimedOut,
}

impl GroupState {
    pub(super) fn result(&self) -> Option<Result<()>> {
        lock(&self.inner).result.clone()
    }

    /// Ends the group and wakes all who wait for it.
    pub(super) fn finish(&self, result: Result<()>) {
        let mut outcome = lock(&self.inner);
        outcome.result = Some(result);
        let tasks = std::mem::take(&mut outcome.tasks);
        let threads = outcome.threads;
        drop(outcome);
        if threads > 0 {
            self.changed.notify_all();
        }
        tasks.into_iter().for_each(Waker::wake);
    }

    /// Counts the calling thread in; called with the log locked, so that a
    /// leader sees it when it looks for a successor.
    pub(super) fn enter(&self) {
        lock(&self.inner).threads += 1;
    }

    /// Hands the lead to a waiting thread, if there is one.
    pub(super) fn hand_over(&self) -> bool {
        let mut outcome = lock(&self.inner);
        if outcome.threads == 0 || outcome.result.is_some() {
            return false;
        }
        outcome.baton = true;
        drop(outcome);
        self.changed.notify_one();
        true
    }

    /// Sleeps until the group ended or the lead came to this thread. After
    /// [`Self::enter`].
    pub(super) fn sleep(&self, deadline: Deadline) -> Woken {
        let mut outcome = lock(&self.inner);
        while outcome.result.is_none() && !outcome.baton {
            outcome = match deadline.left() {
                None => self
                    .changed
                    .wait(outcome)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let woken = self.changed.wait_timeout(outcome, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        outcome.threads -= 1;
        // A baton that came with the result is for nobody: the leader that
        // finished the group looks for its successor afterwards.
        if let Some(result) = outcome.result.clone() {
            return Woken::Done(result);
        }
        if std::mem::take(&mut outcome.baton) {
            return Woken::Lead;
        }
        Woken::TimedOut
    }

    /// Wakes `waker` when the group has ended; the result if it has.
    pub(super) fn poll(&self, waker: &Waker) -> Option<Result<()>> {
        let mut outcome = lock(&self.inner);
        if outcome.result.is_none() && !outcome.tasks.iter().any(|task| task.will_wake(waker)) {
            outcome.tasks.push(waker.clone());
        }
        outcome.result.clone()
    }
}
