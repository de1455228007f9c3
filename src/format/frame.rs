//! Frames: the unit in which the write-ahead log is written and recovered.
//!
//! One frame holds one commit: entirely there, or not at all. The frames that
//! one sync covers are a group; a group starts at a multiple of 4 KiB and is
//! padded with zeros to the next, so that it never rewrites a block that an
//! earlier group acknowledged.
//!
//! ```text
//!  0     4        8     16            24         28     29     32
//!  +-----+--------+-----+-------------+----------+------+------+---//----+
//!  | crc | length | lsn | durable lsn | previous | kind | zero | payload |
//!  +-----+--------+-----+-------------+----------+------+------+---//----+
//!        |<----------------- crc covers this --------------------------->|
//! ```
//!
//! `previous` is the distance to the frame before, 0 for the first of a file:
//! a chain that a lost group in the middle breaks. `durable lsn` is what the
//! writer knew to be durable: the evidence by which recovery tells a torn tail
//! from damage. Kind 0 is never valid. docs/format.md section 7 has the last
//! word.

use bytes::{BufMut, BytesMut};

use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32, patch_u64};
use super::{DecodeError, FRAME_PAYLOAD_LEN_MAX};
use crate::ids::{Lsn, to_usize};

/// Bytes before the payload.
pub const FRAME_HEADER_LEN: usize = 32;

const AT_DURABLE: usize = 16;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Entries that take effect together.
    Commit,
    /// The store was closed in order: nothing follows in this file.
    Close,
}

impl FrameKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::Close => 2,
        }
    }
}

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    crc: u32,
    pub(crate) payload_len: usize,
    pub(crate) lsn: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) previous: u32,
    pub(crate) kind: FrameKind,
}

/// What stands at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A whole, valid frame.
    Frame(FrameHeader, &'a [u8]),
    /// Zeros where a header would be: the padding of a group, or never written.
    Zeros,
}

impl FrameHeader {
    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEADER_LEN + self.payload_len
    }

    /// Decodes a header; its checksum needs the whole frame, see [`split_first`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let crc = cursor.u32("frame checksum")?;
        let length = cursor.u32("frame length")?;
        let payload_len = to_usize(u64::from(length));
        if payload_len > FRAME_PAYLOAD_LEN_MAX {
            return Err(DecodeError::Value {
                what: "frame length",
                found: u64::from(length),
                expected: "at most 64 MiB",
            });
        }
        let lsn = Lsn::new(cursor.u64("frame lsn")?);
        let durable = Lsn::new(cursor.u64("durable lsn")?);
        let previous = cursor.u32("distance to the previous frame")?;
        let kind = match cursor.u8("frame kind")? {
            1 => FrameKind::Commit,
            2 => FrameKind::Close,
            other => {
                return Err(DecodeError::Value {
                    what: "frame kind",
                    found: u64::from(other),
                    expected: "1 (commit) or 2 (close)",
                });
            }
        };
        cursor.zeros(3, "frame bytes 29 to 31")?;
        Ok(Self {
            crc,
            payload_len,
            lsn,
            durable,
            previous,
            kind,
        })
    }
}

/// Splits the first frame off `bytes`, checked for the generation of `seed`.
///
/// # Errors
///
/// `Incomplete` if `bytes` ends inside the frame, other errors if what stands
/// there is no frame of this generation. Whether either is a torn tail or
/// damage only recovery can say.
pub(crate) fn split_first(bytes: &[u8], seed: Seed) -> Result<Found<'_>, DecodeError> {
    let front = bytes.get(..FRAME_HEADER_LEN).unwrap_or(bytes);
    if front.iter().all(|byte| *byte == 0) {
        return Ok(Found::Zeros);
    }
    let header = FrameHeader::decode(bytes)?;
    let Some(whole) = bytes.get(..header.len()) else {
        return Err(DecodeError::Incomplete {
            what: "frame",
            needed: header.len(),
            found: bytes.len(),
        });
    };
    let (head, payload) = whole
        .split_at_checked(FRAME_HEADER_LEN)
        .unwrap_or((whole, &[]));
    let covered = whole.get(4..).unwrap_or_default();
    seed.verify(covered, header.crc, "frame")?;
    debug_assert_eq!(head.len(), FRAME_HEADER_LEN);
    Ok(Found::Frame(header, payload))
}

/// Starts a frame at the end of `group`; returns where it starts there. The
/// payload follows, then [`finish`].
pub(crate) fn start(group: &mut BytesMut, lsn: Lsn, previous: u32, kind: FrameKind) -> usize {
    let at = group.len();
    group.put_u32_le(0);
    group.put_u32_le(0);
    group.put_u64_le(lsn.get());
    group.put_u64_le(0);
    group.put_u32_le(previous);
    group.put_u8(kind.byte());
    group.put_bytes(0, 3);
    at
}

/// Fills in the length of the frame that starts at `at` and ends `group`.
pub(crate) fn finish(group: &mut BytesMut, at: usize) {
    let len = group.len() - at - FRAME_HEADER_LEN;
    let len = u32::try_from(len).expect("bounded by FRAME_PAYLOAD_LEN_MAX");
    patch_u32(group, at + 4, len);
}

/// Seals all frames of a group, just before it is written: what is durable by
/// now, and the checksum of the generation that it goes to.
///
/// # Panics
///
/// If `group` is not what [`start`] and [`finish`] left.
pub(crate) fn seal_group(group: &mut [u8], durable: Lsn, seed: Seed) {
    let mut at = 0;
    while let Some(rest) = group.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let header = FrameHeader::decode(rest).expect("the group was built by this module");
        let whole = rest
            .get_mut(..header.len())
            .expect("the frame was finished");
        patch_u64(whole, AT_DURABLE, durable.get());
        let crc = seed.checksum(whole.get(4..).unwrap_or_default());
        patch_u32(whole, 0, crc);
        at += header.len();
    }
}

/// Gives every frame of `group`, which was read from another generation, a
/// checksum of this one. Returns where the frames end: at the first that is
/// none of `from`, or at the end.
pub(crate) fn reseal(group: &mut [u8], from: Seed, to: Seed, block: usize) -> usize {
    let mut at = 0;
    let mut end = 0;
    while let Some(rest) = group.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let len = match split_first(rest, from) {
            Ok(Found::Frame(header, _)) => header.len(),
            Ok(Found::Zeros) => {
                at = (at + 1).next_multiple_of(block);
                continue;
            }
            // Less than a header is left of the block, and a group behind it.
            Err(_) if padding(rest, at, block) => {
                at = at.next_multiple_of(block);
                continue;
            }
            Err(_) => break,
        };
        let whole = rest.get_mut(..len).expect("split_first saw it whole");
        let crc = to.checksum(whole.get(4..).unwrap_or_default());
        patch_u32(whole, 0, crc);
        at += len;
        end = at;
    }
    end
}

fn padding(rest: &[u8], at: usize, block: usize) -> bool {
    let left = at.next_multiple_of(block) - at;
    left > 0 && rest.iter().take(left).all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StoreId;

    fn group() -> (BytesMut, Seed) {
        let seed = Seed::wal(StoreId::new([3; 16]), 7);
        let mut group = BytesMut::new();
        let first = start(&mut group, Lsn::new(4096), 0, FrameKind::Commit);
        group.put_slice(b"payload");
        finish(&mut group, first);
        let second = start(&mut group, Lsn::new(4135), 39, FrameKind::Close);
        finish(&mut group, second);
        seal_group(&mut group, Lsn::new(4096), seed);
        (group, seed)
    }

    #[test]
    fn a_group_comes_back_frame_by_frame() {
        let (group, seed) = group();
        let Ok(Found::Frame(first, payload)) = split_first(&group, seed) else {
            panic!("first frame");
        };
        assert_eq!((first.lsn, first.durable), (Lsn::new(4096), Lsn::new(4096)));
        assert_eq!(payload, b"payload");
        let rest = &group[first.len()..];
        let Ok(Found::Frame(second, payload)) = split_first(rest, seed) else {
            panic!("second frame");
        };
        assert_eq!((second.kind, second.previous), (FrameKind::Close, 39));
        assert_eq!(payload, b"");
    }

    #[test]
    fn every_proper_prefix_of_a_frame_is_no_frame() {
        let (group, seed) = group();
        for cut in 1..39 {
            let found = split_first(&group[..cut], seed);
            assert!(!matches!(found, Ok(Found::Frame(..))), "cut at {cut}");
        }
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let (group, seed) = group();
        for bit in 0..39 * 8 {
            let mut damaged = group.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(split_first(&damaged, seed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_generation_does_not_pass() {
        let (group, _) = group();
        let next = Seed::wal(StoreId::new([3; 16]), 8);
        assert!(split_first(&group, next).is_err());
    }
}
