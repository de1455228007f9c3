//! Checksums: CRC-32 (IEEE, as in zlib and Ethernet) from a seed.
//!
//! The seed says what the bytes belong to: the store, and the partition or the
//! generation of a WAL file. Starting a CRC from another state changes the
//! result for every content of the same length, so a block that lands in the
//! wrong place, or is left over from an earlier use of a file, never passes.
//! docs/format.md section 2 has the last word.

use crc32fast::Hasher;

use super::DecodeError;
use crate::ids::{PartitionId, StoreId};

/// Where a checksum starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    /// For what is read before the store id is known: the identity file.
    pub(crate) const NONE: Self = Self(0);

    /// For structures of the store as a whole: snapshots, headers of WAL files.
    pub(crate) fn store(store: StoreId) -> Self {
        Self(crc32fast::hash(store.bytes()))
    }

    /// For frames of the WAL file with this sequence number.
    pub(crate) fn wal(store: StoreId, generation: u64) -> Self {
        let mut hasher = Hasher::new_with_initial(Self::store(store).0);
        hasher.update(b"wal");
        hasher.update(&generation.to_le_bytes());
        Self(hasher.finalize())
    }

    /// For batches, segment headers and index entries of a partition.
    pub(crate) fn partition(store: StoreId, id: PartitionId) -> Self {
        let mut hasher = Hasher::new_with_initial(Self::store(store).0);
        hasher.update(b"partition");
        hasher.update(&id.topic.get().to_le_bytes());
        hasher.update(&id.partition.to_le_bytes());
        Self(hasher.finalize())
    }

    /// This seed, narrowed to one file or place.
    pub(crate) fn and(self, number: u64) -> Self {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(&number.to_le_bytes());
        Self(hasher.finalize())
    }

    /// The checksum of `bytes` from this seed.
    pub(crate) fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }

    /// Compares the checksum of `bytes` with the one that is `stored`.
    pub(crate) fn verify(
        self,
        bytes: &[u8],
        stored: u32,
        what: &'static str,
    ) -> Result<(), DecodeError> {
        let computed = self.checksum(bytes);
        if computed == stored {
            return Ok(());
        }
        Err(DecodeError::Checksum {
            what,
            stored,
            computed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicId;

    #[test]
    fn equal_bytes_of_different_owners_have_different_checksums() {
        let store = StoreId::new([7; 16]);
        let id = |topic, partition| PartitionId {
            topic: TopicId::new(topic),
            partition,
        };
        let seeds = [
            Seed::NONE,
            Seed::store(store),
            Seed::store(StoreId::new([8; 16])),
            Seed::wal(store, 1),
            Seed::wal(store, 2),
            Seed::partition(store, id(0, 1)),
            Seed::partition(store, id(1, 0)),
            Seed::partition(store, id(1, 0)).and(9),
        ];
        for (n, a) in seeds.iter().enumerate() {
            for b in &seeds[n + 1..] {
                assert_ne!(a.checksum(b"same"), b.checksum(b"same"), "{a:?} {b:?}");
            }
        }
    }
}
