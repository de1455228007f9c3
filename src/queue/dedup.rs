//! Deduplication: which ids a queue took lately. Pure.

use std::collections::{HashMap, VecDeque};

use super::MessageId;
use crate::format::dedup::Seen;
use crate::ids::{Lsn, Timestamp, to_u64};

/// Most ids that one queue remembers.
pub(super) const IDS_MAX: usize = 1 << 20;

/// What an id takes in memory, about: in the table, and in the order of age.
const ID_BYTES: u64 = 64;

/// The ids that a queue took within its window.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    by_hash: HashMap<u128, Known>,
    /// In the order in which they came, which is that of their ends unless the
    /// window or the clock was changed: then some stay a little longer.
    order: VecDeque<(Timestamp, u128)>,
}

/// The message that had an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) id: MessageId,
    until: Timestamp,
    /// End of the frame that has it; zero for one that was recovered, `None` for a
    /// transient message: its id dies with it.
    pub(super) frame: Option<Lsn>,
}

impl Dedup {
    /// Forgets what is over at `now`.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((until, hash)) = self.order.front().copied() {
            if until > now {
                break;
            }
            self.order.pop_front();
            // It may have come again since, with another end.
            if self
                .by_hash
                .get(&hash)
                .is_some_and(|known| known.until == until)
            {
                self.by_hash.remove(&hash);
            }
        }
    }

    pub(super) fn get(&self, hash: u128, now: Timestamp) -> Option<Known> {
        let known = self.by_hash.get(&hash).copied();
        known.filter(|known| known.until > now)
    }

    pub(super) fn insert(&mut self, seen: &Seen, frame: Option<Lsn>) {
        let known = Known {
            id: MessageId {
                lane: seen.lane,
                offset: seen.offset,
            },
            until: seen.until,
            frame,
        };
        let before = self.by_hash.insert(seen.hash, known);
        // The log is replayed over a snapshot that may have it.
        if before.is_none_or(|before| before.until != seen.until) {
            self.order.push_back((seen.until, seen.hash));
        }
    }

    /// True if `more` ids would be too many.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.order.len() + more > IDS_MAX
    }

    /// What is not over and outlives the process, in the order in which it came.
    pub(super) fn save(&self, now: Timestamp) -> Vec<Seen> {
        let alive = self.order.iter().filter(|(until, _)| *until > now);
        let seen = alive.filter_map(|(until, hash)| {
            let known = self
                .by_hash
                .get(hash)
                .filter(|known| known.until == *until && known.frame.is_some())?;
            Some(Seen {
                hash: *hash,
                lane: known.id.lane,
                offset: known.id.offset,
                until: *until,
            })
        });
        seen.collect()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        to_u64(self.order.len()) * ID_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Offset;

    fn seen(hash: u128, offset: u64, until: i64) -> Seen {
        Seen {
            hash,
            lane: 0,
            offset: Offset::new(offset),
            until: Timestamp::from_millis(until),
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn an_id_is_known_until_its_window_is_over() {
        let mut dedup = Dedup::default();
        dedup.insert(&seen(7, 1, 100), Some(Lsn::ZERO));
        assert_eq!(dedup.get(7, at(99)).unwrap().id.offset, Offset::new(1));
        assert!(dedup.get(7, at(100)).is_none());
        // Again, before the first was forgotten.
        dedup.insert(&seen(7, 2, 200), Some(Lsn::ZERO));
        dedup.forget(at(100));
        assert_eq!(dedup.get(7, at(150)).unwrap().id.offset, Offset::new(2));
        assert_eq!(dedup.save(at(150)), [seen(7, 2, 200)]);
        dedup.forget(at(200));
        assert!(dedup.by_hash.is_empty() && dedup.order.is_empty());
    }

    #[test]
    fn as_many_as_are_allowed_fit_and_no_more() {
        let mut dedup = Dedup::default();
        let most = u64::try_from(IDS_MAX).unwrap();
        assert!(!dedup.is_full(IDS_MAX) && dedup.is_full(IDS_MAX + 1));
        for n in 0..most {
            assert!(!dedup.is_full(1), "after {n}");
            let until = i64::try_from(n).unwrap() + 1;
            dedup.insert(&seen(u128::from(n), n, until), Some(Lsn::ZERO));
        }
        assert!(dedup.is_full(1) && !dedup.is_full(0));
        assert_eq!(dedup.memory_bytes(), most * ID_BYTES);
        assert_eq!(dedup.save(at(0)).len(), IDS_MAX);
        // The oldest ends, and there is room for one.
        dedup.forget(at(1));
        assert!(!dedup.is_full(1) && dedup.is_full(2));
    }

    #[test]
    fn what_is_replayed_over_a_snapshot_is_there_once() {
        let mut dedup = Dedup::default();
        for _ in 0..3 {
            dedup.insert(&seen(7, 1, 100), Some(Lsn::ZERO));
        }
        assert_eq!(dedup.order.len(), 1);
        assert_eq!(dedup.save(at(0)), [seen(7, 1, 100)]);
    }

    #[test]
    fn an_id_of_a_transient_message_is_in_no_snapshot() {
        let mut dedup = Dedup::default();
        dedup.insert(&seen(7, 1, 100), None);
        dedup.insert(&seen(8, 2, 100), Some(Lsn::ZERO));
        assert_eq!(dedup.save(at(0)), [seen(8, 2, 100)]);
        assert!(dedup.get(7, at(0)).unwrap().frame.is_none());
    }
}
