//! The writes that are under way: what is left of each, and what a completion
//! means for it.
//!
//! A slot owns the memory and the file of its write until the kernel has told of
//! it. Short writes go on from where they stopped; what the kernel turns away for
//! the moment is to be submitted again, a bounded number of times. Nothing here
//! calls the kernel.

use std::io;
use std::sync::Arc;

use crate::ids::to_u64;
use crate::io::{BLOCK_LEN, BlockWrite, Blocks, Written};

/// How often the kernel may turn a write away before that is its result.
pub(super) const TRIES_MAX: u32 = 1000;

/// Largest piece that is submitted at once: the kernel takes less than 2 GiB.
const PIECE_LEN_MAX: usize = 1 << 30;

/// One place for each write that may be under way.
#[derive(Debug)]
pub(super) struct Slots {
    places: Vec<Option<Slot>>,
}

#[derive(Debug)]
struct Slot {
    write: BlockWrite,
    /// Bytes that are done: whole blocks.
    done: usize,
    tries: u32,
    /// Given up: the kernel may still read the memory, and nobody waits.
    dead: bool,
}

/// What the kernel is asked to write of a slot.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) write: &'a BlockWrite,
    pub(super) bytes: &'a [u8],
    /// Where in the file.
    pub(super) position: u64,
}

/// What a completion means.
#[derive(Debug)]
pub(super) enum Settled {
    /// The write has ended with it.
    Ended(Written),
    /// The rest has to be submitted.
    Again,
    /// It belongs to a write that was given up: the place is free again.
    Late,
}

impl Slots {
    pub(super) fn new(depth: usize) -> Self {
        let mut places = Vec::new();
        places.resize_with(depth.max(1), || None);
        Self { places }
    }

    /// Takes a write, to be submitted under the number that is returned, or
    /// gives it back: there is no place, or the file is of another back end.
    pub(super) fn put(&mut self, write: BlockWrite) -> Result<usize, BlockWrite> {
        let free = self.places.iter().position(Option::is_none);
        let (Some(index), Some(_)) = (free, write.file.descriptor()) else {
            return Err(write);
        };
        let slot = Slot {
            write,
            done: 0,
            tries: 0,
            dead: false,
        };
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(slot);
        }
        Ok(index)
    }

    /// What is to be submitted of the write in place `index`.
    pub(super) fn piece(&self, index: usize) -> Option<Piece<'_>> {
        let slot = self.places.get(index)?.as_ref()?;
        let rest = slot.write.bytes().get(slot.done..).unwrap_or_default();
        Some(Piece {
            write: &slot.write,
            bytes: rest.get(..PIECE_LEN_MAX).unwrap_or(rest),
            position: slot.write.position.saturating_add(to_u64(slot.done)),
        })
    }

    /// Takes what the kernel says of a piece: how many bytes it wrote, or the
    /// negative number of an error.
    pub(super) fn settle(&mut self, index: usize, result: i32) -> Settled {
        let place = self.places.get_mut(index);
        let place = place.expect("a completion has the number of a place");
        let slot = place.as_mut().expect("and belongs to a write under way");
        if slot.dead {
            // The kernel is done with the memory after all.
            *place = None;
            return Settled::Late;
        }
        let Some(result) = slot.advance(result) else {
            return Settled::Again;
        };
        let write = place.take().expect("looked at above").write;
        Settled::Ended(Written { write, result })
    }

    /// True if nobody waits for a write any more.
    pub(super) fn is_idle(&self) -> bool {
        self.places.iter().flatten().all(|slot| slot.dead)
    }

    /// Ends a write of which the kernel does not tell any more. It may still
    /// read the memory, which therefore stays where it is.
    pub(super) fn give_up(&mut self) -> Option<Written> {
        let slot = self.places.iter_mut().flatten().find(|slot| !slot.dead)?;
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

    /// Leaves to the kernel what it may still read, for good.
    pub(super) fn leak(&mut self) {
        for slot in std::mem::take(&mut self.places).into_iter().flatten() {
            std::mem::forget(slot);
        }
    }
}

impl Slot {
    /// Goes on by the result of a piece; how the write ended, if it has.
    fn advance(&mut self, result: i32) -> Option<io::Result<()>> {
        let left = self.write.bytes().len() - self.done;
        match usize::try_from(result) {
            Ok(done) if done >= left => Some(Ok(())),
            // The rest of a block that was written in part is written again.
            Ok(done) if done >= BLOCK_LEN => {
                self.done += done / BLOCK_LEN * BLOCK_LEN;
                None
            }
            Ok(_) => Some(Err(io::ErrorKind::WriteZero.into())),
            Err(_) => {
                let error = io::Error::from_raw_os_error(result.saturating_neg());
                self.tries += 1;
                let again = is_passing(&error) && self.tries < TRIES_MAX;
                (!again).then_some(Err(error))
            }
        }
    }
}

/// True if the kernel wants to be asked again. A direct write leaves nothing in
/// the cache, so that writing it again is no second try of a failed sync.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    let cancelled = rustix::io::Errno::CANCELED.raw_os_error();
    matches!(error.kind(), Interrupted | WouldBlock) || error.raw_os_error() == Some(cancelled)
}
