//! The ledger of a lane: of each record, whether it is done, in flight,
//! delayed, or ready.
//!
//! ```text
//!            floor                                   cursor
//!  ----------|---------------------------------------|--------------------->
//!   done     | done above the floor, in flight, came | never looked at, but
//!            | back, delayed, parked behind its key  | perhaps done or delayed
//! ```
//!
//! What came back is delivered again before anything at the cursor, lowest
//! offset first, so that place and order are kept. Of an order key, one message
//! at most is under way: while it is in flight, came back, or is delayed for
//! another try, later ones of its key are parked, and other keys flow.
//!
//! Pure: no I/O, no clock, no lock. The engine reads the records, logs each
//! change, and tells the ledger once it is durable.

mod back;
mod counts;
mod delay;
mod ends;
mod keys;
mod lease;
mod receipt;
mod saved;

use crate::ids::{Offset, Timestamp};
use crate::queue::offsets::OffsetSet;
use back::{Mark, Rest};
use lease::Leases;

pub(crate) use delay::Delay;
pub(crate) use receipt::{Fence, Held, LeaseAsk, Receipt};

/// Most messages that one ledger parks behind busy order keys while it looks
/// further ahead. Each takes about 60 bytes.
pub(crate) const ORDER_LOOKAHEAD_MAX: usize = 131_072;

/// What the record at the cursor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// It may go, and keeps its key busy from now on. A lease has to follow, or
    /// `done`, `delay` or `put_back`: the cursor is past it.
    Deliver,
    Done,
    /// Its time has not come. It comes back by [`Ledger::wake`].
    Delayed,
    /// Its key is busy. It comes back when it is its turn.
    Parked,
    /// Its key is busy, and too many are parked. The cursor stays at it.
    LookaheadFull,
}

/// How often a message failed, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    pub(crate) first: Timestamp,
}

/// The ledger of one lane. Empty, it takes no heap.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// All below is done, and this one is not.
    floor: u64,
    /// First one that was never looked at.
    ///
    /// Invariant: `floor <= cursor`, and what is in flight, came back or is
    /// parked lies below.
    cursor: u64,
    /// First nonce of this life, and the next one.
    nonces: (u64, u64),
    /// Invariant: all above the floor.
    done: OffsetSet,
    leases: Leases,
    /// Most ledgers, most of the time, need none of it.
    rest: Option<Box<Rest>>,
}

const _: () = assert!(size_of::<Ledger>() <= 200, "there may be a million");

impl Ledger {
    /// A ledger of which all below `floor` is done, and nothing else.
    pub(crate) fn new(floor: Offset) -> Self {
        Self {
            floor: floor.get(),
            cursor: floor.get(),
            nonces: (0, 0),
            done: OffsetSet::default(),
            leases: Leases::default(),
            rest: None,
        }
    }

    /// All below is done.
    pub(crate) fn floor(&self) -> Offset {
        Offset::new(self.floor)
    }

    /// First one that was never looked at.
    pub(crate) fn cursor(&self) -> Offset {
        Offset::new(self.cursor)
    }

    /// Moves the cursor over what is known to be done, and returns it: the next
    /// record that is worth reading.
    pub(crate) fn skip_done(&mut self) -> Offset {
        self.cursor = self.done.run_end(self.cursor);
        self.cursor()
    }

    pub(crate) fn is_done(&self, offset: Offset) -> bool {
        offset.get() < self.floor || self.done.contains(offset.get())
    }

    /// The first offset that is `from` or beyond and not done. What lies before
    /// it is of no more use to this lane.
    pub(crate) fn first_open(&self, from: Offset) -> Offset {
        Offset::new(self.done.run_end(from.get().max(self.floor)))
    }

    /// The lowest of those that came back and may go now. They go before
    /// anything at the cursor.
    pub(crate) fn next_returned(&self) -> Option<Offset> {
        let first = self.rest.as_ref()?.returned.first();
        first.map(Offset::new)
    }

    /// Looks at the record at the cursor and moves past it. Offsets between are
    /// absent from the log, and so done.
    ///
    /// # Panics
    ///
    /// If `offset` lies before the cursor.
    pub(crate) fn meet(&mut self, offset: Offset, key: Option<u64>) -> Met {
        let at = offset.get();
        assert!(at >= self.cursor, "a record is met once, in order");
        if at > self.cursor {
            self.done(Offset::new(self.cursor), offset);
            self.cursor = at;
        }
        let met = self.look(at, key);
        if met != Met::LookaheadFull {
            self.cursor = at.checked_add(1).expect("no record has this offset");
        }
        met
    }

    fn look(&mut self, at: u64, key: Option<u64>) -> Met {
        if self.is_done(Offset::new(at)) {
            return Met::Done;
        }
        if let Some(rest) = &mut self.rest
            && rest.is_delayed(at)
        {
            if let Some(key) = key {
                rest.keys.remember(at, key);
            }
            return Met::Delayed;
        }
        let Some(key) = key else {
            return Met::Deliver;
        };
        let keys = &mut self.rest.get_or_insert_default().keys;
        if keys.claim(at, key) {
            return Met::Deliver;
        }
        if keys.parked() >= ORDER_LOOKAHEAD_MAX {
            return Met::LookaheadFull;
        }
        keys.park(at, key);
        Met::Parked
    }

    /// Takes one that came back off that list. Without a lease, it has to be put
    /// back, or done.
    pub(crate) fn claim_returned(&mut self, offset: Offset) {
        if let Some(rest) = &mut self.rest {
            rest.returned.remove(offset.get());
        }
    }

    pub(crate) fn is_in_flight(&self, offset: Offset) -> bool {
        self.leases.get(offset.get()).is_some()
    }

    /// Delivers a message that [`Ledger::next_returned`] or [`Ledger::meet`]
    /// said may go. Returns its receipt, and the number of this delivery: the
    /// first is 1, and one that was put back counts as if it had not been.
    ///
    /// # Panics
    ///
    /// If it is done, in flight, delayed or was never met.
    pub(crate) fn lease(&mut self, offset: Offset, ask: LeaseAsk) -> (Receipt, u32) {
        let at = offset.get();
        let met = at < self.cursor && !self.is_done(offset);
        assert!(met, "only what was met and is not done can be delivered");
        let mut failures = 0;
        if let Some(rest) = &mut self.rest {
            assert!(!rest.is_delayed(at), "its time has not come");
            debug_assert!(
                !rest.keys.is_parked(at),
                "another one of its key is before it"
            );
            rest.returned.remove(at);
            failures = rest.delivered_again(at);
        }
        let nonce = self.nonces.1.max(ask.number);
        self.nonces.1 = nonce.checked_add(1).expect("2^64 deliveries take a while");
        self.leases
            .open(at, nonce, ask.consumer, ask.bytes, ask.until);
        (Receipt { offset, nonce }, failures.saturating_add(1))
    }

    /// The offsets from `from` on and before `to` are done, whatever they were.
    /// Keys that they kept busy pass on. Costs what is known of them, not their
    /// number.
    pub(crate) fn done(&mut self, from: Offset, to: Offset) {
        let (from, to) = (from.get().max(self.floor), to.get());
        if from >= to {
            return;
        }
        self.leases.close_run(from, to);
        if let Some(rest) = &mut self.rest {
            rest.forget_run(from, to);
            if rest.is_empty() {
                self.rest = None;
            }
        }
        if from > self.floor {
            self.done.insert_run(from..to);
            return;
        }
        // The usual case: what was first in is first out, and there is no hole.
        self.floor = to;
        if !self.done.is_empty() {
            self.floor = self.done.run_end(to);
            self.done.remove_below(self.floor);
        }
        self.cursor = self.cursor.max(self.floor);
    }

    /// One that is done is to be delivered once more, after all that came back
    /// before it. Whether it was done.
    pub(crate) fn again(&mut self, offset: Offset) -> bool {
        let at = offset.get();
        if !self.is_done(offset) {
            return false;
        }
        if at < self.floor {
            // All behind it stays done.
            if at + 1 < self.floor {
                self.done.insert_run(at + 1..self.floor);
            }
            self.floor = at;
        } else {
            self.done.remove(at);
        }
        if at < self.cursor {
            self.rest.get_or_insert_default().come_back(at);
        }
        true
    }

    /// A delivery ended without an ack: the message is ready again at its place,
    /// and keeps its key. Returns how often it failed by now, this time
    /// included; `None` if it was not in flight, and so nothing is counted.
    pub(crate) fn fail(&mut self, offset: Offset, now: Timestamp) -> Option<Failures> {
        let lease = self.leases.close(offset.get())?;
        let rest = self.rest.get_or_insert_default();
        let mark = rest.mark_delivery(offset.get(), lease.nonce);
        if mark.failures == 0 {
            mark.first = now;
        }
        mark.failures = mark.failures.saturating_add(1);
        let failures = Failures {
            count: mark.failures,
            first: mark.first,
        };
        rest.come_back(offset.get());
        Some(failures)
    }

    /// How often a message that is not done failed so far; `None` if never.
    pub(crate) fn failures(&self, offset: Offset) -> Option<Failures> {
        let mark = self.mark(offset.get()).filter(|mark| mark.failures > 0)?;
        Some(Failures {
            count: mark.failures,
            first: mark.first,
        })
    }

    /// The message is ready again at its place as if it had not been delivered:
    /// its consumer is gone, or it was met and then not leased.
    pub(crate) fn put_back(&mut self, offset: Offset) {
        let at = offset.get();
        if let Some(lease) = self.leases.close(at) {
            let rest = self.rest.get_or_insert_default();
            rest.mark_delivery(at, lease.nonce);
        }
        if at < self.cursor && !self.is_done(offset) && self.delay_of(offset).is_none() {
            self.rest.get_or_insert_default().come_back(at);
        }
    }

    fn mark(&self, at: u64) -> Option<&Mark> {
        self.rest.as_ref()?.marks.get(&at)
    }
}

#[cfg(test)]
mod tests;
