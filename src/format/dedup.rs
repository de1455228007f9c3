//! Deduplication: ids of messages that a queue took lately, so that it takes
//! none of them again. docs/format.md section 7.5.

use bytes::BufMut;

use super::DecodeError;
use super::cursor::{Cursor, put_varint};
use super::topic::narrow;
use super::varint::{VARINT_LEN_MAX, zigzag};
use crate::ids::{Offset, Timestamp, TopicId, to_u64};

/// Most bytes of one id.
const SEEN_LEN_MAX: usize = 16 + 3 * VARINT_LEN_MAX;

/// An id that a queue has seen, and the message that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// FNV-1a with 128 bits of the id.
    pub(crate) hash: u128,
    pub(crate) lane: u32,
    pub(crate) offset: Offset,
    /// When it may come again.
    pub(crate) until: Timestamp,
}

/// The ids of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenIds {
    pub(crate) queue: TopicId,
    pub(crate) seen: Vec<Seen>,
}

/// FNV-1a with 128 bits: a part of the format.
pub(crate) fn hash(id: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
    id.iter().fold(BASIS, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

impl SeenIds {
    pub(crate) fn len_max(&self) -> usize {
        4 + VARINT_LEN_MAX + self.seen.len() * SEEN_LEN_MAX
    }

    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.queue.get());
        put_varint(out, to_u64(self.seen.len()));
        for seen in &self.seen {
            out.put_u128_le(seen.hash);
            put_varint(out, u64::from(seen.lane));
            put_varint(out, seen.offset.get());
            put_varint(out, zigzag(seen.until.millis()));
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let queue = TopicId::new(cursor.u32("queue id")?);
        let count = cursor.varint("count of ids")?;
        // Grows with what is there: a count is no request for memory.
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.push(Seen {
                hash: u128::from_le_bytes(cursor.id("hash of a deduplication id")?),
                lane: narrow(cursor.varint("lane")?, "lane")?,
                offset: Offset::new(cursor.varint("offset")?),
                until: Timestamp::from_millis(cursor.signed("end of the window")?),
            });
        }
        Ok(Self { queue, seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_that_of_the_published_test_vectors() {
        assert_eq!(hash(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(hash(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    proptest! {
        #[test]
        fn ids_come_back_and_their_prefixes_do_not(
            queue: u32,
            seen in proptest::collection::vec(any::<(u128, u32, u64, i64)>(), 0..5),
        ) {
            let seen = seen.into_iter().map(|(hash, lane, offset, until)| Seen {
                hash,
                lane,
                offset: Offset::new(offset),
                until: Timestamp::from_millis(until),
            });
            let ids = SeenIds { queue: TopicId::new(queue), seen: seen.collect() };
            let mut bytes = BytesMut::new();
            ids.encode(&mut bytes);
            prop_assert!(bytes.len() <= ids.len_max());
            for cut in 0..bytes.len() {
                prop_assert!(SeenIds::decode(&mut Cursor::new(&bytes[..cut])).is_err());
            }
            prop_assert_eq!(SeenIds::decode(&mut Cursor::new(&bytes)), Ok(ids));
        }

        #[test]
        fn any_bytes_are_refused_or_mean_one_thing(bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            if let Ok(ids) = SeenIds::decode(&mut cursor) {
                let mut again = BytesMut::new();
                ids.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - cursor.rest().len()]);
            }
        }
    }
}
