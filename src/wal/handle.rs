//! What a commit leaves in the hands of its caller: something to wait on.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::Wal;
use super::group::GroupState;
use crate::clock::Deadline;
use crate::error::Result;
use crate::ids::Lsn;

/// A commit that has been enqueued.
#[derive(Clone, Debug)]
pub(crate) struct CommitHandle {
    state: Arc<GroupState>,
    end: Lsn,
}

impl CommitHandle {
    pub(super) fn new(state: Arc<GroupState>, end: Lsn) -> Self {
        Self { state, end }
    }

    /// LSN after the frame: durable once the log is durable up to here.
    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    /// Waits for the group, writing it if nobody else does.
    pub(crate) fn wait(&self, wal: &Wal) -> Result<()> {
        wal.wait(&self.state, Deadline::NEVER)
            .expect("a wait without a deadline ends with a result")
    }

    /// The same for at most `timeout`; `None` if that passed.
    pub(crate) fn wait_timeout(&self, wal: &Wal, timeout: Duration) -> Option<Result<()>> {
        wal.wait(&self.state, Deadline::after(timeout))
    }

    /// The result if it is there; else `waker` is woken when it is. Somebody
    /// has to write: the background is told to.
    pub(crate) fn poll(&self, wal: &Wal, waker: &Waker) -> Option<Result<()>> {
        let result = self.state.poll(waker);
        if result.is_none() {
            wal.work().notify();
        }
        result
    }
}
