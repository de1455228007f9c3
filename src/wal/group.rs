//! Groups: the frames that one commit writes, and who waits for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use super::files::WalFile;
use crate::clock::Deadline;
use crate::error::Result;
use crate::format::frame;
use crate::ids::{Lsn, StoreId, to_u64};
use crate::io::{BLOCK_LEN, Blocks};
use crate::signal::lock;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};

/// Told when what it put into a group is durable.
pub(crate) trait Observer: Send + Sync {
    /// Runs on the thread that wrote the group, without locks of the log held.
    /// Must not wait.
    fn committed(&self);
}

/// A group under construction, or on its way to the disk.
pub(super) struct Group {
    /// A block for the header of a file, then frames, back to back; padded when
    /// they are written.
    ///
    /// Invariant: at least [`BLOCK_LEN`] bytes.
    blocks: Blocks,
    /// Where it starts. Invariant: a multiple of the block length.
    pub(super) start: Lsn,
    /// Where it goes. Invariant: it fits.
    pub(super) file: Arc<WalFile>,
    /// True if it is the first of its file: the header goes with it.
    pub(super) first: bool,
    /// Commits in it.
    pub(super) frames: usize,
    /// True if a durable append is in it.
    pub(super) sync: bool,
    /// True if something is in it that no thread waits for.
    pub(super) detached: bool,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) state: Arc<GroupState>,
}

impl Group {
    /// An empty group, to be built in `blocks`.
    pub(super) fn new(start: Lsn, file: Arc<WalFile>, first: bool, mut blocks: Blocks) -> Self {
        debug_assert!(start.get().is_multiple_of(to_u64(BLOCK_LEN)), "aligned");
        blocks.clear();
        blocks.resize(BLOCK_LEN);
        Self {
            blocks,
            start,
            file,
            first,
            frames: 0,
            sync: false,
            detached: false,
            observers: Vec::new(),
            state: Arc::default(),
        }
    }

    /// Bytes of its frames.
    pub(super) fn len(&self) -> usize {
        self.blocks.len() - BLOCK_LEN
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where frames are added: behind the block for the header.
    pub(super) fn out(&mut self) -> &mut Blocks {
        &mut self.blocks
    }

    /// LSN after its last frame.
    pub(super) fn end(&self) -> Lsn {
        self.start.saturating_add(to_u64(self.len()))
    }

    /// LSN after its padding: where the next group starts.
    pub(super) fn padded_end(&self) -> Lsn {
        padded(self.end())
    }

    /// Adds an observer, unless it is the one that was added last.
    pub(super) fn observe(&mut self, observer: Arc<dyn Observer>) {
        let last = self.observers.last();
        if !last.is_some_and(|last| Arc::ptr_eq(last, &observer)) {
            self.observers.push(observer);
        }
    }

    /// Seals its frames, pads them and takes them out, ready to be written.
    pub(super) fn seal(self, durable: Lsn, store: StoreId) -> Sealed {
        let mut blocks = self.blocks;
        let frames = blocks.get_mut(BLOCK_LEN..).unwrap_or_default();
        frame::seal_group(frames, durable, self.file.seed);
        blocks.pad();
        if !self.first {
            let position = self.file.position(self.start);
            return Sealed {
                blocks,
                from: BLOCK_LEN,
                position,
            };
        }
        let header = self.file.header_block(store);
        let front = blocks.get_mut(..BLOCK_LEN).expect("kept for this");
        front.copy_from_slice(&header);
        Sealed {
            blocks,
            from: 0,
            position: 0,
        }
    }
}

/// What is written of a group: all of `blocks` from `from` on.
pub(super) struct Sealed {
    pub(super) blocks: Blocks,
    pub(super) from: usize,
    /// Where in the file.
    pub(super) position: u64,
}

impl Sealed {
    pub(super) fn bytes(&self) -> &[u8] {
        self.blocks.get(self.from..).unwrap_or_default()
    }
}

/// The next multiple of the block length.
pub(super) fn padded(lsn: Lsn) -> Lsn {
    Lsn::new(lsn.get().next_multiple_of(to_u64(BLOCK_LEN)))
}

/// How a group ended, and who waits for that.
///
/// Threads are parked one by one, and look at the result without a lock: of
/// many that are woken at once none waits for another.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    result: OnceLock<Result<()>>,
    /// The lead was handed to the threads that wait; one of them takes it.
    baton: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    threads: Vec<Thread>,
    tasks: Vec<Waker>,
}

/// Wakes a task. One whose waker panics harms nobody but itself: the others are
/// told, and the log goes on.
fn wake(task: Waker) {
    drop(catch_unwind(AssertUnwindSafe(|| task.wake())));
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
        self.result.get().cloned()
    }

    /// Ends the group and wakes all who wait for it.
    pub(super) fn finish(&self, result: Result<()>) {
        let first = self.result.set(result).is_ok();
        debug_assert!(first, "a group ends once");
        // Who comes after this sees the result.
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.threads.iter().for_each(Thread::unpark);
        waiting.tasks.into_iter().for_each(wake);
    }

    /// Counts the calling thread in; called with the log locked, so that a
    /// leader sees it when it looks for a successor.
    pub(super) fn enter(&self) {
        lock(&self.waiting).threads.push(thread::current());
    }

    fn leave(&self) {
        let me = thread::current().id();
        lock(&self.waiting)
            .threads
            .retain(|thread| thread.id() != me);
    }

    /// Hands the lead to a waiting thread, if there is one.
    pub(super) fn hand_over(&self) -> bool {
        let waiting = lock(&self.waiting);
        let Some(thread) = waiting.threads.last() else {
            return false;
        };
        self.baton.store(true, Ordering::Release);
        thread.unpark();
        true
    }

    /// Sleeps until the group ended or the lead came to this thread. After
    /// [`Self::enter`].
    pub(super) fn sleep(&self, deadline: Deadline) -> Woken {
        loop {
            if let Some(result) = self.result() {
                return Woken::Done(result);
            }
            if self.baton.swap(false, Ordering::AcqRel) {
                self.leave();
                return Woken::Lead;
            }
            match deadline.left() {
                None => thread::park(),
                Some(Duration::ZERO) => break,
                Some(left) => thread::park_timeout(left),
            }
        }
        self.leave();
        // It may have come between the last look and leaving.
        if self.baton.swap(false, Ordering::AcqRel) {
            return Woken::Lead;
        }
        Woken::TimedOut
    }

    /// Wakes `waker` when the group has ended; the result if it has.
    pub(super) fn poll(&self, waker: &Waker) -> Option<Result<()>> {
        {
            let mut waiting = lock(&self.waiting);
            if !waiting.tasks.iter().any(|task| task.will_wake(waker)) {
                waiting.tasks.push(waker.clone());
            }
        }
        // After that: a group that ends now finds the waker.
        self.result()
    }
}
