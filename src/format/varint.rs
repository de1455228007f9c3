//! Varints: seven bits a byte, lowest first, high bit set on all but the last
//! (LEB128, as in Protocol Buffers). Signed numbers are zigzagged first.
//!
//! Every number has one encoding: a longer one than needed is refused, so that
//! equal values are equal bytes. docs/format.md section 1 has the last word.

use super::DecodeError;

/// Longest varint: ten bytes hold 64 bits.
pub(crate) const VARINT_LEN_MAX: usize = 10;

/// Encodes `value` into `scratch` and returns the part that it takes.
pub(crate) fn encode(mut value: u64, scratch: &mut [u8; VARINT_LEN_MAX]) -> &[u8] {
    let mut len = 0;
    for slot in scratch.iter_mut() {
        len += 1;
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            *slot = low;
            break;
        }
        *slot = low | 0x80;
    }
    scratch.get(..len).expect("at most ten bytes")
}

/// Bytes that `value` takes.
pub(crate) const fn len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Splits a varint off the front of `bytes`.
#[inline]
pub(crate) fn split<'a>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(u64, &'a [u8]), DecodeError> {
    // One byte is by far the most common case: deltas and short lengths.
    if let Some((first, rest)) = bytes.split_first()
        && *first < 0x80
    {
        return Ok((u64::from(*first), rest));
    }
    split_long(bytes, what)
}

#[inline(never)]
fn split_long<'a>(bytes: &'a [u8], what: &'static str) -> Result<(u64, &'a [u8]), DecodeError> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(VARINT_LEN_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index;
        let last = index + 1 == VARINT_LEN_MAX;
        if last && *byte > 1 {
            return Err(too_long(what, *byte));
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            if *byte == 0 && index > 0 {
                return Err(too_long(what, *byte));
            }
            let rest = bytes.get(index + 1..).unwrap_or_default();
            return Ok((value, rest));
        }
    }
    Err(DecodeError::Incomplete {
        what,
        needed: bytes.len() + 1,
        found: bytes.len(),
    })
}

fn too_long(what: &'static str, byte: u8) -> DecodeError {
    DecodeError::Value {
        what,
        found: u64::from(byte),
        expected: "the shortest varint of at most 64 bits",
    }
}

/// Small numbers of either sign to small numbers.
pub(crate) const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_grow_every_seven_bits() {
        for bits in 0..64_u32 {
            let value = 1_u64 << bits;
            let mut scratch = [0; VARINT_LEN_MAX];
            assert_eq!(encode(value, &mut scratch).len(), len(value), "bit {bits}");
            assert_eq!(len(value), (bits as usize) / 7 + 1);
        }
        assert_eq!(len(0), 1);
        assert_eq!(len(u64::MAX), VARINT_LEN_MAX);
    }

    #[test]
    fn a_padded_varint_is_refused() {
        assert!(split(&[0x80, 0x00], "n").is_err());
        assert!(split(&[0xff; 10], "n").is_err());
        assert!(split(&[0x80; 11], "n").is_err());
    }

    proptest! {
        #[test]
        fn any_number_comes_back(value: u64, tail: Vec<u8>) {
            let mut scratch = [0; VARINT_LEN_MAX];
            let mut bytes = encode(value, &mut scratch).to_vec();
            for cut in 0..bytes.len() {
                prop_assert!(split(&bytes[..cut], "n").is_err());
            }
            bytes.extend_from_slice(&tail);
            prop_assert_eq!(split(&bytes, "n"), Ok((value, tail.as_slice())));
        }

        #[test]
        fn zigzag_has_an_inverse(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
