//! Retention: which whole segments may go, and what time to believe.
//!
//! Pure: segments and times in, an offset out. The engine writes the trim to
//! the log and removes the files.

use std::time::Duration;

use crate::format::snapshot::SegmentMeta;
use crate::ids::{Offset, Timestamp};
use crate::options::Retention;

/// At most this part of a partition's sealed segments goes for its age in one
/// pass (at least one): a wrong clock leaves time to notice.
const AGE_SHARE: usize = 4;

/// A record may claim to be of so much later than its segment was sealed; a
/// later one is not believed, or it would keep its segment for ever.
const FUTURE_MS: i64 = 24 * 3600 * 1000;

/// The first offset to keep; `None` if nothing may go.
///
/// `segments` are all of a partition, oldest first; `tail_bytes` is what is not
/// in segments yet, `end` the next offset. Only sealed segments go, and only a
/// prefix.
pub(crate) fn first_to_keep(
    retention: &Retention,
    segments: &[SegmentMeta],
    tail_bytes: u64,
    end: Offset,
    now: Timestamp,
) -> Option<Offset> {
    let sealed = segments
        .iter()
        .take_while(|meta| meta.sealed.is_some())
        .count();
    let mut bytes: u64 = segments.iter().map(|meta| meta.bytes).sum();
    bytes = bytes.saturating_add(tail_bytes);
    let may_age = sealed.div_ceil(AGE_SHARE);
    let mut keep = None;
    for (n, meta) in segments.iter().take(sealed).enumerate() {
        let aged = n < may_age && is_aged(retention, meta, now);
        let left = bytes.saturating_sub(meta.bytes);
        let large = retention.bytes.is_some_and(|limit| left >= limit);
        let many = retention
            .records
            .is_some_and(|limit| end.since(meta.end) >= limit);
        if !(aged || large || many) {
            break;
        }
        bytes = left;
        keep = Some(meta.end);
    }
    keep
}

fn is_aged(retention: &Retention, meta: &SegmentMeta, now: Timestamp) -> bool {
    let (Some(age), Some(sealed)) = (retention.age, meta.sealed) else {
        return false;
    };
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let newest = if meta.max_timestamp > sealed.saturating_add(FUTURE_MS) {
        sealed
    } else {
        meta.max_timestamp.max(sealed)
    };
    now > newest.saturating_add(age)
}

/// A wall clock that is believed only as far as the monotonic one bears it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeGuard {
    wall: Timestamp,
    monotonic: Duration,
}

impl TimeGuard {
    /// A clock that was set, or slept, catches up twice as fast as time
    /// passes, and by so much more on each look.
    const SLACK_MS: i64 = 1_000;

    /// Starts at the time of opening. What passed while the store was closed
    /// cannot be checked: a jump then is held by the share that may go in a
    /// pass.
    pub(crate) fn new(saved: Timestamp, now: Timestamp, monotonic: Duration) -> Self {
        Self {
            wall: saved.max(now),
            monotonic,
        }
    }

    /// The time to believe: never backwards, never much faster than time passes.
    pub(crate) fn look(&mut self, now: Timestamp, monotonic: Duration) -> Timestamp {
        let passed = monotonic.saturating_sub(self.monotonic).as_millis();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let gain = passed.saturating_mul(2).saturating_add(Self::SLACK_MS);
        let most = self.wall.saturating_add(gain);
        self.wall = now.min(most).max(self.wall);
        self.monotonic = monotonic;
        self.wall
    }

    /// The latest time that was believed.
    pub(crate) fn trusted(&self) -> Timestamp {
        self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(count: u64) -> Vec<SegmentMeta> {
        (0..count)
            .map(|n| SegmentMeta {
                base: Offset::new(n * 10),
                end: Offset::new(n * 10 + 10),
                bytes: 100,
                records: 10,
                max_timestamp: Timestamp::from_millis(i64::try_from(n).unwrap() * 1000),
                created: Timestamp::from_millis(0),
                sealed: (n + 1 < count)
                    .then(|| Timestamp::from_millis(i64::try_from(n).unwrap() * 1000)),
            })
            .collect()
    }

    fn keep(retention: Retention, count: u64, now: i64) -> Option<u64> {
        let end = Offset::new(count * 10);
        let now = Timestamp::from_millis(now);
        first_to_keep(&retention, &segments(count), 0, end, now).map(Offset::get)
    }

    #[test]
    fn nothing_goes_without_a_limit() {
        assert_eq!(keep(Retention::default(), 9, i64::MAX), None);
    }

    #[test]
    fn bytes_and_records_keep_at_least_the_limit() {
        assert_eq!(keep(Retention::default().bytes(250), 9, 0), Some(60));
        assert_eq!(keep(Retention::default().bytes(900), 9, 0), None);
        assert_eq!(keep(Retention::default().records(25), 9, 0), Some(60));
        assert_eq!(keep(Retention::default().records(0), 9, 0), Some(80));
    }

    #[test]
    fn the_active_segment_never_goes() {
        assert_eq!(keep(Retention::default().bytes(0), 1, i64::MAX), None);
        assert_eq!(keep(Retention::default().bytes(0), 3, i64::MAX), Some(20));
    }

    #[test]
    fn a_clock_far_in_the_future_takes_a_share_a_pass_not_all() {
        let age = Retention::default().age(Duration::from_secs(1));
        assert_eq!(keep(age, 9, i64::MAX), Some(20), "a quarter of eight");
    }

    #[test]
    fn age_counts_from_the_later_of_event_and_seal() {
        let age = Retention::default().age(Duration::from_secs(5));
        assert_eq!(keep(age, 9, 5_000), None);
        assert_eq!(keep(age, 9, 5_001), Some(10));
    }

    #[test]
    fn a_record_from_the_future_does_not_keep_its_segment_for_ever() {
        let mut list = segments(3);
        list[0].max_timestamp = Timestamp::from_millis(i64::MAX);
        let age = Retention::default().age(Duration::from_secs(5));
        let now = Timestamp::from_millis(10_000);
        let kept = first_to_keep(&age, &list, 0, Offset::new(30), now);
        assert_eq!(kept, Some(Offset::new(10)));
    }

    #[test]
    fn a_jump_of_the_clock_is_not_believed() {
        let at = Timestamp::from_millis;
        let mut guard = TimeGuard::new(at(0), at(1_000), Duration::ZERO);
        assert_eq!(guard.look(at(2_000), Duration::from_secs(1)), at(2_000));
        let century = 100 * 366 * 24 * 3_600_000;
        let believed = guard.look(at(century), Duration::from_secs(2));
        assert_eq!(believed, at(2_000 + 2 * 1_000 + TimeGuard::SLACK_MS));
        assert_eq!(guard.look(at(5), Duration::from_secs(3)), believed);
        assert_eq!(guard.trusted(), believed);
    }
}
