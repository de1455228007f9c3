//! The payload of a batch, compressed and back, with a hard bound on what
//! comes out.
//!
//! Blocks of lz4 (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>)
//! without a frame: length and checksum are the batch's own. docs/format.md
//! section 4.1.

use super::{BATCH_LEN_MAX, DecodeError};
use crate::options::Codec;

/// More than a byte of lz4 can stand for: the most that one adds to a length is
/// 255, and every sequence takes bytes besides.
const EXPANSION_MAX: usize = 255;

/// Compresses `payload`; `None` where that would not make it smaller, or where
/// this build has no such codec.
pub(crate) fn compress(codec: Codec, payload: &[u8]) -> Option<Vec<u8>> {
    match codec {
        Codec::None => None,
        Codec::Lz4 => compress_lz4(payload),
    }
}

#[cfg(feature = "lz4")]
fn compress_lz4(payload: &[u8]) -> Option<Vec<u8>> {
    let packed = lz4_flex::block::compress(payload);
    (packed.len() < payload.len()).then_some(packed)
}

#[cfg(not(feature = "lz4"))]
fn compress_lz4(_payload: &[u8]) -> Option<Vec<u8>> {
    None
}

/// The `len` bytes that were compressed into `packed`.
pub(crate) fn decompress(codec: Codec, packed: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
    // The declared length is the bound of the output: a bomb fails to decode
    // instead of asking for memory.
    let possible = packed.len().saturating_mul(EXPANSION_MAX);
    if codec != Codec::None && len > possible.min(BATCH_LEN_MAX) {
        return Err(DecodeError::Value {
            what: "uncompressed length",
            found: crate::ids::to_u64(len),
            expected: "at most 32 MiB, and 255 times the compressed length",
        });
    }
    match codec {
        Codec::None if packed.len() != len => Err(wrong_length(packed.len())),
        Codec::None => Ok(packed.to_vec()),
        Codec::Lz4 => decompress_lz4(packed, len),
    }
}

fn wrong_length(found: usize) -> DecodeError {
    DecodeError::Value {
        what: "length of decompressed payload",
        found: crate::ids::to_u64(found),
        expected: "the length in the batch header",
    }
}

#[cfg(feature = "lz4")]
fn decompress_lz4(packed: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; len];
    match lz4_flex::block::decompress_into(packed, &mut out) {
        Ok(found) if found == len => Ok(out),
        Ok(found) => Err(wrong_length(found)),
        Err(_) => Err(wrong_length(0)),
    }
}

#[cfg(not(feature = "lz4"))]
fn decompress_lz4(_packed: &[u8], _len: usize) -> Result<Vec<u8>, DecodeError> {
    Err(DecodeError::Unsupported {
        what: "codec of a batch",
        found: 1,
        supported: "0 (built without the feature `lz4`)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_nothing_expands_to_is_refused_before_memory_is_taken() {
        for len in [256, BATCH_LEN_MAX, BATCH_LEN_MAX + 1, usize::MAX] {
            // The length itself is refused, not what came of decompressing.
            match decompress(Codec::Lz4, &[0], len) {
                Err(DecodeError::Value { what, .. }) => assert_eq!(what, "uncompressed length"),
                other => panic!("{len}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_payload_of_another_length_is_refused() {
        assert!(decompress(Codec::None, b"abc", 2).is_err());
        assert_eq!(decompress(Codec::None, b"abc", 3).unwrap(), b"abc");
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn a_bomb_is_refused() {
        // Miri takes minutes for a megabyte.
        const LEN: usize = if cfg!(miri) { 16 << 10 } else { 1 << 20 };
        let packed = compress(Codec::Lz4, &vec![0; LEN]).unwrap();
        assert!(packed.len() < LEN / 150);
        let raw = decompress(Codec::Lz4, &packed, LEN).unwrap();
        assert!(raw.iter().all(|byte| *byte == 0));
        for len in [1, 1000, LEN - 1] {
            assert!(decompress(Codec::Lz4, &packed, len).is_err(), "{len}");
        }
        assert!(decompress(Codec::Lz4, &packed, LEN + 1).is_err());
        for cut in [0, 1, packed.len() / 2, packed.len() - 1] {
            let found = decompress(Codec::Lz4, &packed[..cut], LEN);
            assert!(found.is_err(), "cut at {cut}");
        }
    }
}
