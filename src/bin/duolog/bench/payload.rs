//! Values to append, made before the clock runs.

use duolog::Record;

/// Bytes that values are cut from. Larger than a cache of the second level, so
/// that values come from where a broker's would.
pub(super) const POOL_LEN: usize = 8 << 20;

/// Records that are made beforehand, at least and at most, but for one batch.
const RECORDS_MIN: usize = 1024;
const RECORDS_MAX: usize = 16_384;

/// Words of a text that compresses about as well as logs do.
const WORDS: &[&str] = &[
    "order ", "paid ", "user=", "id=", "GET /", "status=", "200 ", "error ", "ms ", "the ",
];

/// A pool of bytes that values are cut from.
#[derive(Debug)]
pub(super) struct Payload {
    pool: Vec<u8>,
    size: usize,
}

impl Payload {
    /// Values of `size` bytes: noise, or words if they are to be compressed.
    pub(super) fn new(size: usize, words: bool) -> Self {
        let len = POOL_LEN.max(2 * size);
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut pool = Vec::with_capacity(len + 32);
        while pool.len() < len {
            let drawn = random.next();
            let word = usize::try_from(drawn % 64).unwrap_or(0);
            match WORDS.get(word % 16).filter(|_| words) {
                Some(word) => pool.extend_from_slice(word.as_bytes()),
                None => pool.extend_from_slice(&drawn.to_le_bytes()),
            }
        }
        Self { pool, size }
    }

    /// Batches of `batch` records, in which no two values are the same. Values
    /// lie one behind the other, as they came in.
    pub(super) fn batches(&self, batch: usize) -> Vec<Vec<Record<'_>>> {
        let values = self.values(batch);
        let records = |values: Vec<_>| values.into_iter().map(Record::new).collect();
        values.into_iter().map(records).collect()
    }

    /// The values of such batches.
    pub(super) fn values(&self, batch: usize) -> Vec<Vec<&[u8]>> {
        let fit = self.pool.len() / self.size.max(1);
        let records = fit.clamp(RECORDS_MIN, RECORDS_MAX).max(batch);
        let room = self.pool.len() - self.size;
        let step = self.size.min(room / records).max(1);
        let value = |n: usize| {
            let from = n * step % (room + 1);
            self.pool.get(from..from + self.size).unwrap_or_default()
        };
        let make = |first: usize| (first..first + batch).map(value).collect();
        (0..records).step_by(batch).map(make).collect()
    }

    /// The first `len` bytes, over and over if need be.
    pub(super) fn bytes(&self, len: usize) -> Vec<u8> {
        self.pool.iter().copied().cycle().take(len).collect()
    }
}

/// splitmix64: the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_the_size_that_was_asked_for() {
        for size in [0, 1, 100, 1 << 20, 16 << 20] {
            for batch in [1, 7, 2000] {
                let payload = Payload::new(size, size % 2 == 1);
                let batches = payload.batches(batch);
                assert!(batches.iter().all(|records| records.len() == batch));
                let values = batches.iter().flatten();
                let lens = values.map(|record| record.value_bytes().map(<[u8]>::len));
                assert!(lens.into_iter().all(|len| len == Some(size)), "{size}");
            }
        }
    }

    #[test]
    fn raw_bytes_are_as_many_as_asked_for() {
        let payload = Payload::new(1, false);
        assert_eq!(payload.bytes(POOL_LEN + 5000).len(), POOL_LEN + 5000);
    }
}
