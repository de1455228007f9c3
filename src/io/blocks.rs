//! Memory for whole blocks, aligned so that a disk can take it as it is.
//!
//! A direct write goes past the page cache: the device reads the caller's own
//! memory, which therefore starts at a multiple of the block length.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::BufMut;
use bytes::buf::UninitSlice;

use super::BLOCK_LEN;

/// Least room that is made at once when it runs out.
const GROWTH_MIN: usize = 16 * BLOCK_LEN;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_LEN]);

const ZEROS: Block = Block([0; BLOCK_LEN]);

const _: () = assert!(size_of::<Block>() == BLOCK_LEN && align_of::<Block>() == BLOCK_LEN);

/// Bytes that grow at the end, and whose first lies at a multiple of
/// [`BLOCK_LEN`] in memory.
///
/// # Examples
///
/// ```
/// use bytes::BufMut;
/// use duolog::io::{BLOCK_LEN, Blocks};
///
/// let mut blocks = Blocks::new();
/// blocks.put_slice(b"frame");
/// blocks.pad();
/// assert_eq!(blocks.len(), BLOCK_LEN);
/// assert_eq!(&blocks[..6], b"frame\0");
/// assert!(blocks.as_ptr().addr().is_multiple_of(BLOCK_LEN));
/// ```
#[derive(Default)]
pub struct Blocks {
    /// All of it is initialized.
    blocks: Vec<Block>,
    /// Bytes in use.
    ///
    /// Invariant: at most `blocks.len() * BLOCK_LEN`.
    len: usize,
}

impl Blocks {
    /// No bytes, and no memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
        }
    }

    /// `len` zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut blocks = Self::new();
        blocks.resize(len);
        blocks
    }

    /// Bytes that fit without more memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_LEN
    }

    /// Forgets the bytes, and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Cuts to `len` bytes, or extends with zeros.
    pub fn resize(&mut self, len: usize) {
        let old = self.len;
        if len > old {
            self.reserve(len - old);
        }
        self.len = len;
        if let Some(new) = self.get_mut(old..) {
            new.fill(0);
        }
    }

    /// Extends with zeros to whole blocks.
    pub fn pad(&mut self) {
        self.resize(self.len.next_multiple_of(BLOCK_LEN));
    }

    /// Makes room for `more` bytes.
    fn reserve(&mut self, more: usize) {
        let needed = self.len + more;
        if needed > self.capacity() {
            // Doubling: what is copied stays in proportion to what is written.
            let wanted = needed.max(2 * self.capacity()).max(GROWTH_MIN);
            self.blocks.resize(wanted.div_ceil(BLOCK_LEN), ZEROS);
        }
    }

    /// All memory there is, used or not.
    #[expect(unsafe_code, reason = "blocks are bytes, and nothing safe says so")]
    fn memory(&mut self) -> &mut [u8] {
        let len = self.capacity();
        // SAFETY: the vector owns `capacity()` initialized bytes at this
        // address, without padding between its elements, and is borrowed
        // mutably for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), len) }
    }
}

impl Deref for Blocks {
    type Target = [u8];

    #[expect(unsafe_code, reason = "blocks are bytes, and nothing safe says so")]
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes of the vector are initialized, lie
        // without padding at this address, and are borrowed for as long as
        // the slice lives.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Blocks {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.memory().get_mut(..len).expect("within the memory")
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks({} bytes)", self.len)
    }
}

#[expect(unsafe_code, reason = "the trait promises that memory is initialized")]
// SAFETY: `chunk_mut` hands out memory that is initialized and not in use, and
// `advance_mut` refuses to count more than there is.
unsafe impl BufMut for Blocks {
    fn remaining_mut(&self) -> usize {
        isize::MAX.unsigned_abs() - self.len
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(
            count <= self.capacity() - self.len,
            "more than was asked for"
        );
        self.len += count;
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        if self.len == self.capacity() {
            self.reserve(1);
        }
        let len = self.len;
        UninitSlice::new(self.memory().get_mut(len..).expect("within the memory"))
    }

    fn put_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let (from, to) = (self.len, self.len + bytes.len());
        self.len = to;
        let free = self.get_mut(from..to).expect("reserved above");
        free.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_where_they_were_put_while_memory_grows() {
        let mut blocks = Blocks::new();
        let mut expected = Vec::new();
        for n in 0..200_u32 {
            let bytes = vec![u8::try_from(n % 251).unwrap(); 1 + 37 * usize::try_from(n).unwrap()];
            blocks.put_slice(&bytes);
            blocks.put_u32_le(n);
            expected.extend_from_slice(&bytes);
            expected.extend_from_slice(&n.to_le_bytes());
            assert_eq!(blocks.as_ptr().addr() % BLOCK_LEN, 0);
        }
        assert_eq!(&*blocks, &expected[..]);
    }

    #[test]
    fn padding_is_zeros_where_memory_was_used_before() {
        let mut blocks = Blocks::zeroed(3);
        blocks.fill(0xee);
        blocks.put_bytes(0xee, 3 * BLOCK_LEN);
        blocks.clear();
        blocks.put_slice(b"x");
        blocks.pad();
        assert_eq!(blocks.len(), BLOCK_LEN);
        assert_eq!(blocks[0], b'x');
        assert!(blocks[1..].iter().all(|byte| *byte == 0));
        blocks.pad();
        assert_eq!(blocks.len(), BLOCK_LEN, "whole blocks stay as they are");
    }
}
