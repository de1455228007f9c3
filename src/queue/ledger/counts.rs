//! How many messages are what, and what the ledger takes.

use super::{Ledger, Rest};
use crate::ids::{Offset, to_u64};

impl Ledger {
    pub(crate) fn in_flight(&self) -> u64 {
        self.leases.len()
    }

    /// Payload of what is in flight.
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.leases.bytes()
    }

    pub(crate) fn delayed(&self) -> u64 {
        self.rest.as_ref().map_or(0, |rest| rest.delayed())
    }

    /// How many wait for their order key.
    pub(crate) fn parked(&self) -> u64 {
        self.rest
            .as_ref()
            .map_or(0, |rest| to_u64(rest.keys.parked()))
    }

    /// How many are done above the floor.
    pub(crate) fn done_len(&self) -> u64 {
        self.done.len()
    }

    /// How many are done since the first offset there was. Rises.
    pub(crate) fn done_count(&self) -> u64 {
        self.floor + self.done.len()
    }

    /// How many are not done and lie below one that is.
    pub(crate) fn holes(&self) -> u64 {
        let end = self.done.last().map_or(self.floor, |last| last + 1);
        end - self.floor - self.done.len()
    }

    /// How many before `end` are neither done, in flight nor delayed. `end` is
    /// that of the log: not below the cursor.
    pub(crate) fn ready(&self, end: Offset) -> u64 {
        let end = end.get();
        let delayed = |rest: &Rest| rest.delayed_below(end);
        let delayed = self.rest.as_deref().map_or(0, delayed);
        end.saturating_sub(self.floor)
            .saturating_sub(self.done.len_below(end))
            .saturating_sub(self.leases.len())
            .saturating_sub(delayed)
    }

    /// Bytes that the ledger takes, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let own = to_u64(size_of::<Self>());
        let rest = self.rest.as_ref().map_or(0, |rest| rest.memory_bytes());
        own + self.done.memory_bytes() + self.leases.memory_bytes() + rest
    }

    /// Gives memory back that a burst left. For a lane that has been idle.
    pub(crate) fn shrink(&mut self) {
        self.leases.shrink();
        match &mut self.rest {
            Some(rest) if !rest.is_empty() => rest.keys.shrink(),
            rest => *rest = None,
        }
    }
}
