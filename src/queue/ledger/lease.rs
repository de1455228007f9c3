//! Leases: which message is with which consumer, and until when.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::ends::{End, Ends, Moment};
use crate::ids::to_u64;

/// A table with room for more leases is given back once there are none.
pub(super) const KEPT_MAX: usize = 1024;

/// A message that is with a consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) nonce: u64,
    pub(super) consumer: u64,
    pub(super) bytes: u64,
    pub(super) until: Moment,
    /// Number of its end: another one is of a time before it was extended.
    pub(super) end: u64,
}

/// All leases of a ledger.
#[derive(Debug, Default)]
pub(super) struct Leases {
    open: OffsetMap<Lease>,
    /// Payload of the messages that are in flight.
    bytes: u64,
    ends: Ends,
}

impl Leases {
    pub(super) fn len(&self) -> u64 {
        to_u64(self.open.len())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Lease> {
        self.open.get(&offset)
    }

    pub(super) fn offsets(&self) -> impl Iterator<Item = (u64, &Lease)> {
        self.open.iter().map(|(offset, lease)| (*offset, lease))
    }

    /// Opens a lease.
    ///
    /// # Panics
    ///
    /// If the message is in flight already: it would be with two consumers.
    pub(super) fn open(
        &mut self,
        offset: u64,
        nonce: u64,
        consumer: u64,
        bytes: u64,
        until: Duration,
    ) {
        let until = Moment::of(until);
        let end = self.ends.number();
        let lease = Lease {
            nonce,
            consumer,
            bytes,
            until,
            end,
        };
        let before = self.open.insert(offset, lease);
        assert!(before.is_none(), "one consumer a message");
        self.bytes = self.bytes.saturating_add(bytes);
        self.ends.push(End::new(until, end, offset), &self.open);
    }

    /// Gives an open lease another end.
    pub(super) fn extend(&mut self, offset: u64, until: Duration) {
        let until = Moment::of(until);
        if let Some(lease) = self.open.get_mut(&offset)
            && lease.until != until
        {
            let end = self.ends.number();
            (lease.until, lease.end) = (until, end);
            self.ends.push(End::new(until, end, offset), &self.open);
            self.ends.trim(&self.open);
        }
    }

    pub(super) fn close(&mut self, offset: u64) -> Option<Lease> {
        let lease = self.open.remove(&offset)?;
        self.bytes = self.bytes.saturating_sub(lease.bytes);
        self.after_close();
        Some(lease)
    }

    /// Closes those of a run, at the price of the fewer: offsets, or leases.
    pub(super) fn close_run(&mut self, from: u64, to: u64) {
        if self.open.is_empty() {
            return;
        }
        let mut bytes = 0_u64;
        if to - from <= self.len() {
            for offset in from..to {
                let lease = self.open.remove(&offset);
                bytes = bytes.saturating_add(lease.map_or(0, |lease| lease.bytes));
            }
        } else {
            self.open.retain(|offset, lease| {
                let closes = (from..to).contains(offset);
                bytes = bytes.saturating_add(if closes { lease.bytes } else { 0 });
                !closes
            });
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.after_close();
    }

    fn after_close(&mut self) {
        if self.open.is_empty() {
            self.bytes = 0;
            self.ends.clear();
            if self.open.capacity() > KEPT_MAX {
                self.open = OffsetMap::default();
            }
        } else {
            self.ends.trim(&self.open);
        }
    }

    /// Gives memory back that a burst left.
    pub(super) fn shrink(&mut self) {
        self.open.shrink_to_fit();
        self.ends.shrink(&self.open);
    }

    /// Of the leases that end at `now` or before, at most `max`, earliest
    /// first.
    pub(super) fn ended(&self, now: Duration, max: usize) -> Vec<u64> {
        self.ends.until(Moment::of(now), max, &self.open)
    }

    pub(super) fn next_end(&self) -> Option<Duration> {
        self.ends.first().map(Moment::duration)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        // A slot of the table has a byte of its own; seven of eight are used.
        let slot = size_of::<(u64, Lease)>() + 1;
        to_u64(self.open.capacity() * slot * 8 / 7) + self.ends.memory_bytes()
    }
}

/// By offset. The engine gives offsets out one after the other, so that no
/// consumer and no producer can choose those that collide.
pub(super) type OffsetMap<T> = HashMap<u64, T, BuildHasherDefault<OffsetHasher>>;

/// One multiplication: spreads neighbours, and what is far apart in even steps.
#[derive(Debug, Default)]
pub(super) struct OffsetHasher(u64);

impl Hasher for OffsetHasher {
    fn write_u64(&mut self, offset: u64) {
        // 2^64 over the golden ratio. The low bits of the product depend on the
        // low bits of the offset alone, so the high half is mixed in.
        let spread = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the table has numbers only");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
