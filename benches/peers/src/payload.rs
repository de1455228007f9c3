//! Values to append: noise, which no peer can compress.

/// Batches that a thread goes through in turn.
const BATCHES: usize = 16;

/// Bytes of noise, cut into values.
#[derive(Debug)]
pub(crate) struct Payload {
    noise: Vec<u8>,
    size: usize,
    batch: usize,
}

impl Payload {
    /// Noise for batches of `batch` values of `size` bytes.
    pub(crate) fn new(size: usize, batch: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (size * batch * BATCHES).div_ceil(8);
        let noise = (0..words).flat_map(|_| {
            // Xorshift: Marsaglia, 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self {
            noise: noise.collect(),
            size,
            batch,
        }
    }

    /// The batches.
    pub(crate) fn batches(&self) -> Vec<Vec<&[u8]>> {
        let values: Vec<&[u8]> = self.noise.chunks_exact(self.size).collect();
        let batches = values.chunks_exact(self.batch);
        batches.take(BATCHES).map(<[_]>::to_vec).collect()
    }
}
