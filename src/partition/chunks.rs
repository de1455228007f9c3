//! Chunks of memory that batches were built in, used again once nobody reads
//! them: fresh memory costs a page fault for every 4 KiB, which is more than
//! encoding into it.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::BytesMut;

use crate::format::batch::CHUNK_BYTES_MAX;
use crate::signal::lock;

/// Used chunks that are looked at for one that is free: the oldest come first,
/// and are the likeliest.
const LOOKS: usize = 4;

/// Chunks of the largest size, oldest first. A chunk in here may still be read;
/// then it costs no memory of its own.
#[derive(Debug)]
pub(crate) struct Chunks {
    used: Mutex<VecDeque<BytesMut>>,
    max: usize,
}

impl Chunks {
    /// Keeps at most `bytes` of memory that nobody reads.
    pub(crate) fn new(bytes: u64) -> Self {
        let max = crate::ids::to_usize(bytes) / CHUNK_BYTES_MAX;
        Self {
            used: Mutex::default(),
            max,
        }
    }

    /// An empty chunk with room for `size` bytes.
    pub(super) fn take(&self, size: usize) -> BytesMut {
        if size == CHUNK_BYTES_MAX {
            let mut used = lock(&self.used);
            for _ in 0..LOOKS.min(used.len()) {
                let Some(mut chunk) = used.pop_front() else {
                    break;
                };
                if chunk.try_reclaim(size) {
                    return chunk;
                }
                used.push_back(chunk);
            }
        }
        BytesMut::with_capacity(size)
    }

    /// Takes back what is left of a chunk of the largest size.
    pub(super) fn give_back(&self, mut chunk: BytesMut) {
        chunk.clear();
        let mut used = lock(&self.used);
        if used.len() < self.max {
            used.push_back(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    #[test]
    fn a_chunk_is_used_again_once_nobody_reads_it() {
        let chunks = Chunks::new(1 << 20);
        let mut chunk = chunks.take(CHUNK_BYTES_MAX);
        chunk.put_slice(b"batch");
        let place = chunk.as_ptr();
        let batch = chunk.split().freeze();
        chunks.give_back(chunk);
        let other = chunks.take(CHUNK_BYTES_MAX);
        assert_ne!(other.as_ptr(), place, "still read");
        assert_eq!(&batch[..], b"batch");
        drop(batch);
        let again = chunks.take(CHUNK_BYTES_MAX);
        assert_eq!(again.as_ptr(), place);
        assert!(again.capacity() >= CHUNK_BYTES_MAX && again.is_empty());
    }
}
