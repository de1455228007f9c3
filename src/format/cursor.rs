//! Reading and writing fixed-width little-endian fields, with bounds.
//!
//! The only way that decoders touch bytes: every `take` is checked, none
//! panics, and a failure says which field it was.

use bytes::BufMut;

use super::{DecodeError, varint};

/// Reads fields from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn bytes(
        &mut self,
        len: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let Some((front, rest)) = self.rest.split_at_checked(len) else {
            return Err(DecodeError::Incomplete {
                what,
                needed: len,
                found: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(front)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let Some((front, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::Incomplete {
                what,
                needed: N,
                found: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(*front)
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.array(what).map(i64::from_le_bytes)
    }

    pub(crate) fn id(&mut self, what: &'static str) -> Result<[u8; 16], DecodeError> {
        self.array(what)
    }

    /// An unsigned varint.
    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let (value, rest) = varint::split(self.rest, what)?;
        self.rest = rest;
        Ok(value)
    }

    /// A zigzag varint.
    #[inline]
    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        self.varint(what).map(varint::unzigzag)
    }

    /// Fields that are written as zero and kept for later; anything else was
    /// written by a version that gave them a meaning.
    pub(crate) fn zeros(&mut self, len: usize, what: &'static str) -> Result<(), DecodeError> {
        match self.bytes(len, what)?.iter().find(|byte| **byte != 0) {
            None => Ok(()),
            Some(byte) => Err(DecodeError::Value {
                what,
                found: u64::from(*byte),
                expected: "zero",
            }),
        }
    }

    /// A magic number.
    pub(crate) fn magic(&mut self, magic: u32, what: &'static str) -> Result<(), DecodeError> {
        let found = self.u32(what)?;
        if found == magic {
            return Ok(());
        }
        Err(DecodeError::Value {
            what,
            found: u64::from(found),
            expected: "the magic number of this structure",
        })
    }

    /// A version that this build must know.
    pub(crate) fn version(&mut self, what: &'static str) -> Result<(), DecodeError> {
        let found = self.u16(what)?;
        if found == super::FORMAT_VERSION {
            return Ok(());
        }
        Err(DecodeError::Unsupported {
            what,
            found: u64::from(found),
            supported: "1",
        })
    }
}

/// Overwrites the four bytes at `at` of `buf`: a length or a checksum that is
/// known only once the rest is written.
///
/// # Panics
///
/// If `buf` is shorter: the caller wrote those bytes itself.
pub(crate) fn patch_u32(buf: &mut [u8], at: usize, value: u32) {
    buf.get_mut(at..at + 4)
        .expect("the field was written before")
        .copy_from_slice(&value.to_le_bytes());
}

/// The same for eight bytes.
pub(crate) fn patch_u64(buf: &mut [u8], at: usize, value: u64) {
    buf.get_mut(at..at + 8)
        .expect("the field was written before")
        .copy_from_slice(&value.to_le_bytes());
}

/// Appends an unsigned varint.
pub(crate) fn put_varint(buf: &mut impl BufMut, value: u64) {
    let mut scratch = [0; varint::VARINT_LEN_MAX];
    buf.put_slice(varint::encode(value, &mut scratch));
}

/// Appends bytes with their length before them.
pub(crate) fn put_blob(buf: &mut impl BufMut, bytes: &[u8]) {
    put_varint(buf, crate::ids::to_u64(bytes.len()));
    buf.put_slice(bytes);
}

impl<'a> Cursor<'a> {
    /// Bytes with their length before them, at most `max`.
    #[inline]
    pub(crate) fn blob(&mut self, max: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.varint(what)?;
        match usize::try_from(len) {
            Ok(len) if len <= max => self.bytes(len, what),
            _ => Err(DecodeError::Value {
                what,
                found: len,
                expected: "a length within the limit",
            }),
        }
    }
}
