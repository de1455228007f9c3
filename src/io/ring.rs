//! A queue of writes on `io_uring`.
//!
//! ```text
//!  submit --> slot (file, memory) --> submission ring --> kernel
//!                                                            |
//!  complete <-- slot, result <---- completion ring <---------+
//! ```
//!
//! The kernel reads the memory of a write until its completion, so a slot owns
//! memory and file until then, and a ring that is dropped waits first. Short
//! writes go on from where they stopped; what the kernel turns away for the
//! moment is submitted again, a bounded number of times.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use io_uring::{IoUring, Probe, opcode, types};

use super::{BLOCK_LEN, BlockWrite, Blocks, WriteQueue, Written};
use crate::ids::to_u64;
use crate::sync::thread;

/// `RWF_DSYNC` of `linux/fs.h`: the call is done when the device has it.
const RWF_DSYNC: u32 = 2;

/// How often the kernel may turn a write away before that is its result.
const TRIES_MAX: u32 = 1000;

/// Largest piece that is submitted at once: the kernel takes less than 2 GiB.
const WRITE_LEN_MAX: usize = 1 << 30;

/// Writes under way through one `io_uring`.
pub(super) struct Ring {
    ring: IoUring,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// One place for each write that may be under way.
    slots: Vec<Option<Slot>>,
    /// Writes that ended before the kernel saw them.
    refused: VecDeque<Written>,
}

#[derive(Debug)]
struct Slot {
    write: BlockWrite,
    /// Bytes that are done.
    done: usize,
    tries: u32,
    /// Given up: the kernel may still read the memory, and nobody waits.
    dead: bool,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({:?})", self.state)
    }
}

impl Ring {
    /// A ring for `depth` writes.
    ///
    /// # Errors
    ///
    /// Why the kernel has none for us: too old, or forbidden, as it often is
    /// in containers.
    pub(super) fn new(depth: usize) -> io::Result<Self> {
        let entries = u32::try_from(depth).unwrap_or(u32::MAX).clamp(1, 4096);
        let ring = IoUring::new(entries)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Write::CODE) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel's io_uring cannot write; Linux 5.6 or later can",
            ));
        }
        let mut slots = Vec::new();
        slots.resize_with(depth.max(1), || None);
        Ok(Self {
            ring,
            state: Mutex::new(State {
                slots,
                refused: VecDeque::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the rest of slot `index` into the submission ring.
    #[expect(unsafe_code, reason = "the kernel borrows memory beyond the call")]
    fn push(&self, state: &mut State, index: usize) {
        let Some(Some(slot)) = state.slots.get(index) else {
            return;
        };
        let rest = slot.write.bytes().get(slot.done..).unwrap_or_default();
        let rest = rest.get(..WRITE_LEN_MAX).unwrap_or(rest);
        let fd = slot.write.file.descriptor().map(|fd| fd.as_raw_fd());
        let fd = types::Fd(fd.expect("checked when it was submitted"));
        let len = u32::try_from(rest.len()).expect("at most WRITE_LEN_MAX");
        let flags = if slot.write.sync { RWF_DSYNC } else { 0 };
        let entry = opcode::Write::new(fd, rest.as_ptr(), len)
            .offset(slot.write.position.saturating_add(to_u64(slot.done)))
            .rw_flags(flags.cast_signed())
            .build()
            .user_data(to_u64(index));
        // SAFETY: `state` is locked, so no other thread has a submission queue.
        let mut queue = unsafe { self.ring.submission_shared() };
        // SAFETY: the slot owns the memory and keeps the descriptor open until
        // its completion was seen; nobody changes the memory meanwhile.
        let pushed = unsafe { queue.push(&entry) };
        pushed.expect("the ring has an entry for each slot");
    }

    /// The next completion that the kernel has told of.
    #[expect(unsafe_code, reason = "the ring is shared between threads")]
    fn pop(&self, _state: &mut State) -> Option<(usize, i32)> {
        // SAFETY: `_state` is locked, so no other thread has a completion queue.
        let mut queue = unsafe { self.ring.completion_shared() };
        let entry = queue.next()?;
        let index = usize::try_from(entry.user_data()).expect("an index that was pushed");
        Some((index, entry.result()))
    }

    /// Takes the result of a piece; the write, if it has ended with that.
    fn settle(&self, state: &mut State, index: usize, result: i32) -> Option<Written> {
        let slot = state.slots.get_mut(index).and_then(Option::as_mut);
        let slot = slot.expect("a completion belongs to a write under way");
        if slot.dead {
            // The kernel is done with it after all.
            state.slots.get_mut(index).map(Option::take);
            return None;
        }
        let left = slot.write.bytes().len() - slot.done;
        let ended = match usize::try_from(result) {
            Ok(done) if done >= left => Some(Ok(())),
            // The rest of a block that was written in part is written again.
            Ok(done) if done >= BLOCK_LEN => {
                slot.done += done / BLOCK_LEN * BLOCK_LEN;
                None
            }
            Ok(_) => Some(Err(io::ErrorKind::WriteZero.into())),
            Err(_) => {
                let error = io::Error::from_raw_os_error(-result);
                slot.tries += 1;
                let again = is_passing(&error) && slot.tries < TRIES_MAX;
                (!again).then_some(Err(error))
            }
        };
        let Some(result) = ended else {
            self.push(state, index);
            return None;
        };
        let slot = state.slots.get_mut(index).and_then(Option::take);
        slot.map(|slot| Written {
            write: slot.write,
            result,
        })
    }

    /// Waits for the kernel. False if it does not answer any more.
    fn wait(&self) -> bool {
        for _ in 0..TRIES_MAX {
            match self.ring.submit_and_wait(1) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
                Err(error) if is_passing(&error) || is_busy(&error) => {
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(_) => return false,
            }
        }
        false
    }
}

/// True if the kernel wants to be asked again. A direct write leaves nothing in
/// the cache, so that writing it again is no second try of a failed sync.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    let cancelled = rustix::io::Errno::CANCELED.raw_os_error();
    matches!(error.kind(), Interrupted | WouldBlock) || error.raw_os_error() == Some(cancelled)
}

fn is_busy(error: &io::Error) -> bool {
    use io::ErrorKind::{OutOfMemory, ResourceBusy};
    matches!(error.kind(), OutOfMemory | ResourceBusy)
}

impl WriteQueue for Ring {
    fn submit(&self, write: BlockWrite) {
        let mut state = self.state();
        let free = state.slots.iter().position(Option::is_none);
        let (Some(index), Some(_)) = (free, write.file.descriptor()) else {
            let result = Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "expected a file of this back end, and no more writes than the queue is for",
            ));
            state.refused.push_back(Written { write, result });
            return;
        };
        let slot = Slot {
            write,
            done: 0,
            tries: 0,
            dead: false,
        };
        if let Some(place) = state.slots.get_mut(index) {
            *place = Some(slot);
        }
        self.push(&mut state, index);
        drop(state);
        // What is not taken now is taken when somebody waits.
        match self.ring.submit() {
            Ok(_) | Err(_) => {}
        }
    }

    fn complete(&self) -> Option<Written> {
        loop {
            {
                let mut state = self.state();
                if let Some(refused) = state.refused.pop_front() {
                    return Some(refused);
                }
                let mut told = false;
                while let Some((index, result)) = self.pop(&mut state) {
                    told = true;
                    if let Some(written) = self.settle(&mut state, index, result) {
                        return Some(written);
                    }
                }
                let mut under_way = state.slots.iter().flatten();
                if !told && under_way.all(|slot| slot.dead) {
                    return None;
                }
            }
            if !self.wait() {
                return self.give_up();
            }
        }
    }
}

impl Ring {
    /// Ends a write of which the kernel does not tell any more. It may still
    /// read the memory, which therefore stays where it is.
    fn give_up(&self) -> Option<Written> {
        let mut state = self.state();
        let mut alive = state.slots.iter_mut().flatten().filter(|slot| !slot.dead);
        let slot = alive.next()?;
        slot.dead = true;
        Some(Written {
            write: BlockWrite {
                file: Arc::clone(&slot.write.file),
                blocks: Blocks::new(),
                ..slot.write
            },
            result: Err(io::Error::other("io_uring does not answer")),
        })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel reads the memory of what is under way.
        while self.complete().is_some() {}
        for dead in std::mem::take(&mut self.state().slots)
            .into_iter()
            .flatten()
        {
            std::mem::forget(dead);
        }
    }
}
