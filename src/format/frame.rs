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

use std::ops::{Deref, DerefMut};

use bytes::BufMut;

use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32, patch_u64};
use super::{DecodeError, FRAME_PAYLOAD_LEN_MAX};
use crate::ids::{Lsn, to_usize};

/// Bytes before the payload.
pub(crate) const FRAME_HEADER_LEN: usize = 32;

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

/// The fields of a header, before it is known that they can be believed.
struct RawHeader {
    crc: u32,
    payload_len: usize,
    lsn: Lsn,
    durable: Lsn,
    previous: u32,
    kind: u8,
    zeros: [u8; 3],
}

/// What the header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
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

impl RawHeader {
    /// Reads the fields; only the length is checked, since it is used first.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
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
        Ok(Self {
            crc,
            payload_len,
            lsn: Lsn::new(cursor.u64("frame lsn")?),
            durable: Lsn::new(cursor.u64("durable lsn")?),
            previous: cursor.u32("distance to the previous frame")?,
            kind: cursor.u8("frame kind")?,
            zeros: [
                cursor.u8("frame byte 29")?,
                cursor.u8("frame byte 30")?,
                cursor.u8("frame byte 31")?,
            ],
        })
    }

    /// What the fields mean; called once the checksum says that they were
    /// written so. What is unknown then is not torn: a later version wrote it.
    fn check(&self) -> Result<FrameHeader, DecodeError> {
        let kind = match self.kind {
            1 => FrameKind::Commit,
            2 => FrameKind::Close,
            0 => {
                return Err(DecodeError::Value {
                    what: "frame kind",
                    found: 0,
                    expected: "1 (commit) or 2 (close)",
                });
            }
            other => {
                return Err(DecodeError::Unsupported {
                    what: "frame kind",
                    found: u64::from(other),
                    supported: "1 (commit) and 2 (close)",
                });
            }
        };
        if let Some(byte) = self.zeros.iter().find(|byte| **byte != 0) {
            return Err(DecodeError::Unsupported {
                what: "frame bytes 29 to 31",
                found: u64::from(*byte),
                supported: "zeros",
            });
        }
        if self.durable > self.lsn {
            return Err(DecodeError::Value {
                what: "durable lsn",
                found: self.durable.get(),
                expected: "at most the frame's own lsn",
            });
        }
        Ok(FrameHeader {
            payload_len: self.payload_len,
            lsn: self.lsn,
            durable: self.durable,
            previous: self.previous,
            kind,
        })
    }
}

impl FrameHeader {
    /// Decodes a header that nothing vouches for yet: its checksum needs the
    /// whole frame, see [`split_first`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        RawHeader::decode(bytes)?.check()
    }

    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> usize {
        FRAME_HEADER_LEN + self.payload_len
    }
}

/// Bytes of the frame that starts `bytes`, if its length is to be believed:
/// within the limit, whatever kind it is.
pub(crate) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let raw = RawHeader::decode(bytes).ok()?;
    Some(FRAME_HEADER_LEN + raw.payload_len)
}

/// Splits the first frame off `bytes`, checked for the generation of `seed`.
///
/// After a frame use [`split_next`]: padding may be shorter than a header.
///
/// # Errors
///
/// `Incomplete` if `bytes` ends inside the frame, `Unsupported` if its checksum
/// is valid and a later version wrote it, other errors if what stands there is
/// no frame of this generation. Whether the first and the last are a torn tail
/// or damage only recovery can say.
pub(crate) fn split_first(bytes: &[u8], seed: Seed) -> Result<Found<'_>, DecodeError> {
    let front = bytes.get(..FRAME_HEADER_LEN).unwrap_or(bytes);
    if front.iter().all(|byte| *byte == 0) {
        return Ok(Found::Zeros);
    }
    let raw = RawHeader::decode(bytes)?;
    let len = FRAME_HEADER_LEN + raw.payload_len;
    let Some(whole) = bytes.get(..len) else {
        return Err(DecodeError::Incomplete {
            what: "frame",
            needed: len,
            found: bytes.len(),
        });
    };
    seed.verify(whole.get(4..).unwrap_or_default(), raw.crc, "frame")?;
    let payload = whole.get(FRAME_HEADER_LEN..).unwrap_or_default();
    Ok(Found::Frame(raw.check()?, payload))
}

/// The same after a frame, where the padding of its group may stand: `Zeros`
/// if what is left of the block, `in_block` bytes, is zeros and no frame starts
/// in it, however few they are.
pub(crate) fn split_next(
    bytes: &[u8],
    in_block: usize,
    seed: Seed,
) -> Result<Found<'_>, DecodeError> {
    let found = split_first(bytes, seed);
    // A header may begin with zeros too, so the checksum is asked first.
    let padding = bytes.get(..in_block.min(FRAME_HEADER_LEN));
    match found {
        Err(DecodeError::Unsupported { .. }) | Ok(_) => found,
        Err(_) if padding.is_some_and(|pad| pad.iter().all(|byte| *byte == 0)) && in_block > 0 => {
            Ok(Found::Zeros)
        }
        Err(_) => found,
    }
}

/// Starts a frame at the end of `group`; returns where it starts there. The
/// payload follows, then [`finish`].
pub(crate) fn start(
    group: &mut (impl BufMut + Deref<Target = [u8]>),
    lsn: Lsn,
    previous: u32,
    kind: FrameKind,
) -> usize {
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
///
/// # Panics
///
/// If the payload is longer than [`FRAME_PAYLOAD_LEN_MAX`]: whoever accepted
/// the commit checked that.
pub(crate) fn finish(group: &mut impl DerefMut<Target = [u8]>, at: usize) {
    let len = group.len() - at - FRAME_HEADER_LEN;
    assert!(len <= FRAME_PAYLOAD_LEN_MAX, "refused before");
    let len = u32::try_from(len).expect("bounded by FRAME_PAYLOAD_LEN_MAX");
    patch_u32(group, at + 4, len);
}

/// Seals all frames of a group, just before it is written: what is durable by
/// now, and the checksum of the generation that it goes to.
///
/// # Panics
///
/// If `group` is not what [`start`] and [`finish`] left, or `durable` lies
/// beyond its start.
pub(crate) fn seal_group(group: &mut [u8], durable: Lsn, seed: Seed) {
    let mut at = 0;
    while let Some(rest) = group.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let header = RawHeader::decode(rest).expect("the group was built by this module");
        assert_ne!(header.kind, 0, "sealed before it is padded");
        assert!(durable <= header.lsn, "what is sealed is not yet durable");
        let len = FRAME_HEADER_LEN + header.payload_len;
        let whole = rest.get_mut(..len).expect("the frame was finished");
        patch_u64(whole, AT_DURABLE, durable.get());
        let crc = seed.checksum(whole.get(4..).unwrap_or_default());
        patch_u32(whole, 0, crc);
        at += len;
    }
}

/// Gives every frame of `group`, which was read from another generation, a
/// checksum of this one. Padding between groups stays as it is. `group` starts
/// at a multiple of `block`. Returns where the frames end: at the first that is
/// none of `from`, or after the last.
pub(crate) fn reseal(group: &mut [u8], from: Seed, to: Seed, block: usize) -> usize {
    let (mut at, mut end) = (0, 0);
    while let Some(rest) = group.get_mut(at..).filter(|rest| !rest.is_empty()) {
        let in_block = block - at % block;
        let len = match split_next(rest, in_block, from) {
            Ok(Found::Frame(header, _)) => header.len(),
            Ok(Found::Zeros) => {
                at += in_block;
                continue;
            }
            Err(_) => break,
        };
        let whole = rest.get_mut(..len).expect("split_next saw it whole");
        let crc = to.checksum(whole.get(4..).unwrap_or_default());
        patch_u32(whole, 0, crc);
        at += len;
        end = at;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{StoreId, to_u64};
    use bytes::BytesMut;

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

    /// Groups of one frame each, padded, as a file of the log holds them.
    fn log(payloads: &[usize], seed: Seed) -> Vec<u8> {
        let mut log = BytesMut::new();
        for payload in payloads {
            let mut group = BytesMut::new();
            let lsn = Lsn::new(BLOCK as u64 + to_u64(log.len()));
            let at = start(&mut group, lsn, 0, FrameKind::Commit);
            group.put_bytes(0xee, *payload);
            finish(&mut group, at);
            seal_group(&mut group, lsn, seed);
            log.extend_from_slice(&group);
            log.resize(log.len().next_multiple_of(BLOCK), 0);
        }
        log.to_vec()
    }

    const BLOCK: usize = 4096;

    fn payloads(log: &[u8], seed: Seed) -> Vec<usize> {
        let (mut at, mut found) = (0, Vec::new());
        while at < log.len() {
            let in_block = BLOCK - at % BLOCK;
            match split_next(&log[at..], in_block, seed).unwrap() {
                Found::Zeros => at += in_block,
                Found::Frame(header, payload) => {
                    found.push(payload.len());
                    at += header.len();
                }
            }
        }
        found
    }

    #[test]
    fn padding_of_any_length_is_passed_over_and_resealed() {
        let store = StoreId::new([3; 16]);
        let (old, new) = (Seed::wal(store, 1), Seed::wal(store, 2));
        // Symptom: a log with 1 to 31 bytes of padding was called damaged.
        // Cause: they are fewer than a header, so the next group's bytes were
        // taken for the rest of one. Fix: `split_next`.
        for padding in (0..70).chain([4000, 4063, 4064]) {
            let first = 2 * BLOCK - FRAME_HEADER_LEN - padding;
            let all = [first, 9, 9000];
            let mut log = log(&all, old);
            assert_eq!(payloads(&log, old), all, "padding {padding}");
            let end = log.len() - (3 * BLOCK - (FRAME_HEADER_LEN + 9000));
            assert_eq!(reseal(&mut log, old, new, BLOCK), end, "padding {padding}");
            assert_eq!(payloads(&log, new), all, "padding {padding}");
            assert!(split_first(&log, old).is_err());
            assert_eq!(reseal(&mut log, old, new, BLOCK), 0, "none is of `old`");
        }
    }

    #[test]
    fn a_frame_that_follows_at_once_is_not_taken_for_padding() {
        let (group, seed) = group();
        for in_block in [1, 3, 31, 32, 4096] {
            let found = split_next(&group, in_block, seed);
            assert!(matches!(found, Ok(Found::Frame(..))), "{in_block} left");
        }
        let mut damaged = group.to_vec();
        damaged[1] ^= 1;
        assert!(split_next(&damaged, 7, seed).is_err());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_are_asked_for() {
        let (mut group, seed) = group();
        patch_u32(&mut group, 4, u32::MAX);
        let found = split_first(&group, seed);
        assert!(matches!(found, Err(DecodeError::Value { .. })), "{found:?}");
    }

    #[test]
    fn a_frame_that_knows_of_later_syncs_is_refused() {
        let (mut group, seed) = group();
        patch_u64(&mut group, AT_DURABLE, 4097);
        let crc = seed.checksum(&group[4..39]);
        patch_u32(&mut group, 0, crc);
        let found = split_first(&group, seed);
        assert!(matches!(found, Err(DecodeError::Value { .. })), "{found:?}");
    }

    #[test]
    fn a_frame_of_another_generation_does_not_pass() {
        let (group, _) = group();
        let next = Seed::wal(StoreId::new([3; 16]), 8);
        assert!(split_first(&group, next).is_err());
    }
}
