//! The oldest messages that nobody has: looked at where they lie, whether they
//! are ready, delayed, or behind their order key. For what a queue lets go by
//! itself: what is too old, and what is too much.

use super::dead::Dead;
use super::lane::{Lane, LaneState, Stored};
use super::{DeadReason, QueueState};
use crate::error::Result;
use crate::ids::{Offset, to_usize};
use crate::options::Durability;

/// Messages in flight that one look passes over; behind more, nothing is found
/// until some of them are done.
const PASSED_MAX: usize = 65_536;

impl QueueState {
    /// The oldest messages of a lane that are not done and that no consumer has,
    /// as long as `wanted` wants them; at most `most`.
    pub(super) fn oldest_free(
        &self,
        lane: &Lane,
        state: &LaneState,
        most: usize,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        let (mut at, mut passed, mut records) = (Offset::ZERO, 0, 1);
        while found.len() < most && passed < PASSED_MAX {
            at = state.ledger.first_open(at);
            if at >= lane.partition.end() {
                break;
            }
            if state.ledger.is_in_flight(at) {
                at = at.saturating_add(1);
                passed += 1;
                continue;
            }
            let (stored, next) = lane.read_some(at, records)?;
            for stored in stored {
                let free = |at| !state.ledger.is_done(at) && !state.ledger.is_in_flight(at);
                if !free(stored.offset) || !self.wants(&stored) {
                    continue;
                }
                if found.len() == most || !wanted(&stored) {
                    return Ok(found);
                }
                found.push(stored);
            }
            if next <= at {
                // Not to be seen yet.
                break;
            }
            at = next;
            // Where the first one is wanted, others are likely to be.
            records = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, 512);
        }
        Ok(found)
    }

    /// Makes the queue as short as it may be, if it can: see
    /// [`Self::drop_oldest`].
    pub(super) fn cut_to_length(&self) -> Result<()> {
        match self.options().length_max {
            Some(most) => self.drop_oldest(self.length().saturating_sub(most)),
            None => Ok(()),
        }
    }

    /// How many messages no consumer has.
    pub(super) fn free(&self) -> u64 {
        let free = self.used().map(|lane| {
            let ledger = &lane.lock().ledger;
            ledger.ready(lane.partition.end()) + ledger.delayed()
        });
        free.sum()
    }

    /// Lets messages go that no consumer has: those of the lowest priority, and
    /// of these the oldest.
    pub(super) fn drop_oldest(&self, count: u64) -> Result<()> {
        let shards = self.shards();
        let mut left = to_usize(count);
        for first in (0..self.lane_count()).step_by(to_usize(u64::from(shards))) {
            // Looked at lane by lane, and taken out after that: meanwhile a
            // consumer may have come.
            let mut oldest = Vec::new();
            for number in first..first.saturating_add(shards) {
                if let Some(lane) = self.used_lane(number)? {
                    let found = self.oldest_free(lane, &lane.lock(), left, |_| true)?;
                    oldest.extend(found.into_iter().map(|stored| (number, stored)));
                }
            }
            oldest.sort_by_key(|(number, stored)| (stored.timestamp, *number, stored.offset));
            oldest.truncate(left);
            oldest.sort_by_key(|(number, stored)| (*number, stored.offset));
            for of_lane in oldest.chunk_by(|a, b| a.0 == b.0) {
                let number = of_lane.first().map_or(first, |(number, _)| *number);
                let lane = self.known_lane(number)?;
                let mut state = lane.lock();
                let mut dead = Vec::with_capacity(of_lane.len());
                for (_, stored) in of_lane {
                    let at = stored.offset;
                    if !state.ledger.is_done(at) && !state.ledger.is_in_flight(at) {
                        let failed = state.ledger.failures(at);
                        dead.push(Dead::of(stored.clone(), DeadReason::Overflow, failed));
                    }
                }
                let dropped = dead.len();
                self.bury(lane, &mut state, dead, Durability::Buffered)?;
                left -= dropped;
            }
            if left == 0 {
                break;
            }
        }
        Ok(())
    }
}
