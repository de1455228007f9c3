//! From keys to partitions, as Kafka's default partitioner does it, so that a
//! broker that speaks its protocol finds records where its clients put them.

/// The partition of a key: murmur2, made positive, modulo.
pub(super) fn by_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// Murmur2 with 32 bits and Kafka's seed (`Utils.murmur2` in Apache Kafka;
/// <https://github.com/aappleby/smhasher>, public domain, by Austin Appleby).
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Lengths beyond 32 bits wrap, as they do there.
    let bytes = data.len().to_le_bytes();
    let (len, _) = bytes.split_first_chunk().expect("a usize has 8 bytes");
    let mut hash = SEED ^ u32::from_le_bytes(*len);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        let tail = rest
            .iter()
            .rev()
            .fold(0, |tail, byte| tail << 8 | u32::from(*byte));
        hash = (hash ^ tail).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own test (`UtilsTest.testMurmur2`).
    #[test]
    fn hashes_are_kafkas() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key.as_bytes()), hash.cast_unsigned(), "{key}");
        }
    }

    #[test]
    fn every_partition_gets_its_share() {
        let mut counts = [0_u32; 12];
        for n in 0..12_000_u32 {
            counts[by_key(&n.to_le_bytes(), 12) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }
}
