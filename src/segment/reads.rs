//! What all reads of the segments of a store share: memory for `pread`, used
//! again, and a count of what was checked.
//!
//! Batches that were read are slices of the piece they came in, and whoever
//! fetched them keeps it. The last few pieces are remembered: once nobody has a
//! batch of one any more, the next read goes into its memory. Fresh memory costs
//! a page fault every 4 KiB and has to be zeroed; memory of a moment ago is also
//! still in the processor's cache.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::scan::PIECE_LEN_MAX;
use crate::signal::lock;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Pieces that are remembered. A reader that goes through a log has two in hand:
/// a fetch seldom ends where a piece does.
pub(super) const PIECES_KEPT_MAX: usize = 4;

/// What reads share.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// The last pieces that were read, the oldest first. Each has the length it
    /// was made with, which is a power of two up to [`PIECE_LEN_MAX`].
    pieces: Mutex<VecDeque<Bytes>>,
    checked: AtomicU64,
}

impl Reads {
    /// Batches whose checksum was computed.
    pub(crate) fn batches_checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    pub(super) fn add_checked(&self, batches: u64) {
        self.checked.fetch_add(batches, Ordering::Relaxed);
    }

    /// Memory of at least `len` bytes. What is in it may be of an earlier read.
    pub(super) fn take(&self, len: usize) -> BytesMut {
        if len > PIECE_LEN_MAX {
            return BytesMut::zeroed(len);
        }
        let len = len.next_power_of_two();
        let spare = {
            let mut list = lock(&self.pieces);
            // Only this list can hand out a piece that nobody else has.
            let free = |piece: &Bytes| piece.len() == len && piece.is_unique();
            let found = list.iter().position(free);
            found.and_then(|index| list.remove(index))
        };
        let spare = spare.and_then(|piece| piece.try_into_mut().ok());
        spare.unwrap_or_else(|| BytesMut::zeroed(len))
    }

    /// Remembers a piece that [`Self::take`] gave, for when it is free again.
    pub(super) fn keep(&self, piece: &Bytes) {
        if piece.len() > PIECE_LEN_MAX {
            return;
        }
        let mut list = lock(&self.pieces);
        if list.len() == PIECES_KEPT_MAX {
            list.pop_front();
        }
        list.push_back(piece.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a read does with memory.
    fn read(list: &Reads, len: usize) -> Bytes {
        let piece = list.take(len).freeze();
        list.keep(&piece);
        piece
    }

    #[test]
    fn memory_is_used_again_when_nobody_has_a_slice_of_it() {
        let list = Reads::default();
        let piece = read(&list, 100_000);
        let address = piece.as_ptr();
        let slice = piece.slice(10..20);
        drop(piece);
        let other = read(&list, 100_000);
        assert_ne!(other.as_ptr(), address, "a slice is still in use");
        drop(slice);
        assert_eq!(read(&list, 90_000).as_ptr(), address, "of the same size");
        assert_ne!(read(&list, 10_000).as_ptr(), address, "not for a small one");
    }

    #[test]
    fn a_piece_is_as_long_as_was_asked_for_each_time_it_is_used() {
        let list = Reads::default();
        for len in [
            1 << 16,
            100_000,
            1 << 17,
            70_000,
            1 << 20,
            PIECE_LEN_MAX + 1,
        ] {
            for _ in 0..3 {
                assert!(read(&list, len).len() >= len, "{len}");
            }
        }
    }

    #[test]
    fn no_more_than_a_few_pieces_are_kept_and_none_beyond_the_longest() {
        let list = Reads::default();
        let held: Vec<_> = (0..10).map(|_| read(&list, PIECE_LEN_MAX)).collect();
        assert_eq!(lock(&list.pieces).len(), PIECES_KEPT_MAX);
        drop(held);
        assert_eq!(lock(&list.pieces).len(), PIECES_KEPT_MAX);
        let long = read(&list, PIECE_LEN_MAX + 1);
        assert!(long.is_unique(), "who read a longer one has it alone");
    }
}
