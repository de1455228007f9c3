//! When leases end, in order.
//!
//! ```text
//!  queues   [ 10 s | 10 s | 11 s | .. ]       one for each length of lease
//!           [ 40 s | 41 s | .. ]
//!  rest     { 12 s, 35 s }                    a tree, where no queue fits
//! ```
//!
//! Leases of one length end in the order in which they are given, so that
//! their ends make a queue. An end goes to the queue whose last one is the
//! latest that is not later: each length finds a queue of its own, without
//! being asked for it. An end whose lease is over is left where it is, until it
//! is at the front, or until there are more of that kind than of others.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::lease::{KEPT_MAX, Lease, OffsetMap};
use crate::ids::to_u64;

/// Most queues of ends: so many lengths of lease cost nothing extra.
const QUEUES_MAX: usize = 8;

/// Ends of leases that are over, beyond as many as there are leases.
const STALE_MAX: usize = 1024;

/// Nanoseconds of the monotonic clock, which reach for 584 years. The largest
/// number is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    const NEVER: Self = Self(u64::MAX);

    pub(super) fn of(at: Duration) -> Self {
        Self(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn duration(self) -> Duration {
        if self == Self::NEVER {
            return Duration::MAX;
        }
        Duration::from_nanos(self.0)
    }
}

/// When a lease ends, or would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    until: Moment,
    /// As in the lease, while this is its end.
    number: u64,
    offset: u64,
}

impl End {
    pub(super) fn new(until: Moment, number: u64, offset: u64) -> Self {
        Self {
            until,
            number,
            offset,
        }
    }

    fn is_live(&self, open: &OffsetMap<Lease>) -> bool {
        open.get(&self.offset)
            .is_some_and(|lease| lease.end == self.number)
    }
}

/// Ends in order. See the module for how.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Each rises. Invariant: the first of each is of an open lease.
    queues: Vec<VecDeque<End>>,
    /// As its first one.
    rest: BTreeSet<End>,
    next: u64,
}

impl Ends {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn len(&self) -> usize {
        self.rest.len() + self.queues.iter().map(VecDeque::len).sum::<usize>()
    }

    pub(super) fn push(&mut self, end: End, open: &OffsetMap<Lease>) {
        if end.until == Moment::NEVER {
            return;
        }
        if self.len() > 2 * open.len() + STALE_MAX {
            for queue in &mut self.queues {
                queue.retain(|end| end.is_live(open));
            }
            self.rest.retain(|end| end.is_live(open));
        }
        let has_room = self.queues.len() < QUEUES_MAX;
        // An empty queue is earlier than all that are not, and fits any.
        let fitting = self.queues.iter_mut().filter_map(|queue| {
            let last = queue.back().map(|last| last.until);
            (last <= Some(end.until)).then_some((last, queue))
        });
        match fitting.max_by_key(|fitting| fitting.0) {
            Some((_, queue)) => queue.push_back(end),
            None if has_room => self.queues.push(VecDeque::from([end])),
            None => {
                self.rest.insert(end);
            }
        }
    }

    /// Takes from the front what is over.
    pub(super) fn trim(&mut self, open: &OffsetMap<Lease>) {
        for queue in &mut self.queues {
            while queue.front().is_some_and(|end| !end.is_live(open)) {
                queue.pop_front();
            }
        }
        while self.rest.first().is_some_and(|end| !end.is_live(open)) {
            self.rest.pop_first();
        }
    }

    pub(super) fn clear(&mut self) {
        for queue in &mut self.queues {
            queue.clear();
            if queue.capacity() > KEPT_MAX {
                queue.shrink_to(KEPT_MAX);
            }
        }
        self.rest.clear();
    }

    pub(super) fn shrink(&mut self, open: &OffsetMap<Lease>) {
        self.queues.retain_mut(|queue| {
            queue.retain(|end| end.is_live(open));
            queue.shrink_to_fit();
            !queue.is_empty()
        });
        self.queues.shrink_to_fit();
        self.rest.retain(|end| end.is_live(open));
    }

    pub(super) fn first(&self) -> Option<Moment> {
        let fronts = self.queues.iter().filter_map(|queue| queue.front());
        fronts.chain(self.rest.first()).map(|end| end.until).min()
    }

    pub(super) fn until(&self, now: Moment, max: usize, open: &OffsetMap<Lease>) -> Vec<u64> {
        let due = |end: &&End| end.until <= now;
        let mut ended: Vec<End> = Vec::new();
        for queue in &self.queues {
            let live = queue.iter().take_while(due).filter(|end| end.is_live(open));
            ended.extend(live.take(max));
        }
        let live = self.rest.iter().take_while(due);
        ended.extend(live.filter(|end| end.is_live(open)).take(max));
        ended.sort_unstable();
        ended.into_iter().take(max).map(|end| end.offset).collect()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let queued = self.queues.iter().map(VecDeque::capacity);
        let places = queued.sum::<usize>() + self.rest.len() * 3 / 2;
        let heads = self.queues.capacity() * size_of::<VecDeque<End>>();
        to_u64(places * size_of::<End>() + heads)
    }
}
