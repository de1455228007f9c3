//! The kernel's side of a ring: `io_uring` itself.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, Probe, opcode, types};

use super::Kernel;
use super::slots::Slots;
use crate::ids::to_u64;

/// `RWF_DSYNC` of `linux/fs.h`: the call is done when the device has it.
const RWF_DSYNC: u32 = 2;

/// A submission and a completion ring that are shared with the kernel.
pub(super) struct Uring(IoUring);

impl Uring {
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
        Ok(Self(ring))
    }
}

impl Kernel for Uring {
    #[expect(unsafe_code, reason = "the kernel borrows memory beyond the call")]
    fn push(&self, slots: &mut Slots, index: usize) {
        let Some(piece) = slots.piece(index) else {
            return;
        };
        let fd = piece.write.file.descriptor().map(|fd| fd.as_raw_fd());
        let fd = types::Fd(fd.expect("checked when it was submitted"));
        let len = u32::try_from(piece.bytes.len()).expect("at most PIECE_LEN_MAX");
        let flags = if piece.write.sync { RWF_DSYNC } else { 0 };
        let entry = opcode::Write::new(fd, piece.bytes.as_ptr(), len)
            .offset(piece.position)
            .rw_flags(flags.cast_signed())
            .build()
            .user_data(to_u64(index));
        // SAFETY: `slots` is locked, so no other thread has a submission queue.
        let mut queue = unsafe { self.0.submission_shared() };
        // SAFETY: the slot owns the memory and keeps the descriptor open until
        // its completion was seen; nobody changes the memory meanwhile.
        let pushed = unsafe { queue.push(&entry) };
        pushed.expect("the ring has an entry for each slot");
    }

    #[expect(unsafe_code, reason = "the ring is shared between threads")]
    fn pop(&self, _slots: &mut Slots) -> Option<(usize, i32)> {
        // SAFETY: `_slots` is locked, so no other thread has a completion queue.
        let mut queue = unsafe { self.0.completion_shared() };
        let entry = queue.next()?;
        let index = usize::try_from(entry.user_data()).expect("an index that was pushed");
        Some((index, entry.result()))
    }

    fn submit(&self) -> io::Result<()> {
        self.0.submit().map(drop)
    }

    fn submit_and_wait(&self) -> io::Result<()> {
        self.0.submit_and_wait(1).map(drop)
    }
}
