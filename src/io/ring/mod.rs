//! A queue of writes on `io_uring`.
//!
//! ```text
//!  submit --> slot (file, memory) --> submission ring --> kernel
//!                                                            |
//!  complete <-- slot, result <---- completion ring <---------+
//! ```
//!
//! The kernel reads the memory of a write until its completion, so a slot owns
//! memory and file until then ([`slots`]), and a ring that is dropped waits first.
//! What of this is the kernel's part is a trait, so that a test can stand in for
//! it: it turns writes away, ends them in part, and falls silent on demand.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::kernel::Uring;
use self::slots::{Settled, Slots, TRIES_MAX, is_passing};
use super::{BlockWrite, WriteQueue, Written};
use crate::sync::thread;

mod kernel;
mod slots;
#[cfg(test)]
mod tests;

/// What the kernel does for a ring. Whoever has the slots in hand has locked
/// them, so that no other thread is in `push` or `pop`.
trait Kernel: Send + Sync {
    /// Puts what is left of the write in place `index` into the submission ring.
    fn push(&self, slots: &mut Slots, index: usize);

    /// The next completion: the place, and bytes written or a negative error.
    fn pop(&self, slots: &mut Slots) -> Option<(usize, i32)>;

    /// Hands over what is in the submission ring.
    fn submit(&self) -> io::Result<()>;

    /// Hands over what is in the submission ring, and waits for a completion.
    fn submit_and_wait(&self) -> io::Result<()>;
}

/// A queue on `io_uring`, for `depth` writes.
///
/// # Errors
///
/// Why the kernel has none for us: too old, or forbidden, as it often is in
/// containers.
pub(super) fn queue(depth: usize) -> io::Result<Box<dyn WriteQueue>> {
    Ok(Box::new(Ring::on(Uring::new(depth)?, depth)))
}

/// Writes under way through one ring.
struct Ring<K: Kernel> {
    kernel: K,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Slots,
    /// Writes that ended before the kernel saw them.
    refused: VecDeque<Written>,
}

impl<K: Kernel> fmt::Debug for Ring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({:?})", self.state)
    }
}

impl<K: Kernel> Ring<K> {
    fn on(kernel: K, depth: usize) -> Self {
        Self {
            kernel,
            state: Mutex::new(State {
                slots: Slots::new(depth),
                refused: VecDeque::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the kernel. False if it does not answer any more.
    fn wait(&self) -> bool {
        for _ in 0..TRIES_MAX {
            match self.kernel.submit_and_wait() {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
                Err(error) if is_passing(&error) || is_busy(&error) => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return false,
            }
        }
        false
    }
}

fn is_busy(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, ResourceBusy};
    matches!(error.kind(), OutOfMemory | ResourceBusy)
}

impl<K: Kernel> WriteQueue for Ring<K> {
    fn submit(&self, write: BlockWrite) {
        let mut state = self.state();
        let index = match state.slots.put(write) {
            Ok(index) => index,
            Err(write) => {
                let result = Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "expected a file of this back end, and no more writes than the queue is for",
                ));
                state.refused.push_back(Written { write, result });
                return;
            }
        };
        self.kernel.push(&mut state.slots, index);
        drop(state);
        // What is not taken now is taken when somebody waits.
        match self.kernel.submit() {
            Ok(()) | Err(_) => {}
        }
    }

    fn complete(&self) -> Option<Written> {
        loop {
            {
                let mut state = self.state();
                if let Some(refused) = state.refused.pop_front() {
                    return Some(refused);
                }
                while let Some((index, result)) = self.kernel.pop(&mut state.slots) {
                    match state.slots.settle(index, result) {
                        Settled::Ended(written) => return Some(written),
                        Settled::Again => self.kernel.push(&mut state.slots, index),
                        Settled::Late => {}
                    }
                }
                // Not before all that the kernel told of was looked at; and
                // with nothing under way it would never tell of anything.
                if state.slots.is_idle() {
                    return None;
                }
            }
            if !self.wait() {
                return self.state().slots.give_up();
            }
        }
    }
}

impl<K: Kernel> Drop for Ring<K> {
    fn drop(&mut self) {
        // The kernel reads the memory of what is under way.
        while self.complete().is_some() {}
        self.state().slots.leak();
    }
}
