//! Messages that wait for their time.
//!
//! ```text
//!  sleeping   sent with a delay: that they wait       a bit each at the worst
//!  delays     to be tried again: and until when       some 24 bytes each
//! ```
//!
//! A message that was sent with a delay has a timer, and what outlives the
//! process has it too. That knows until when; the ledger need not. Whatever
//! timer fires for such a message, it is that one:
//!
//! * a further delay comes after a failure, and what failed is in `delays`;
//! * what the log or a snapshot brings back is the same delay, with the same
//!   timer, or with a copy of it;
//! * an offset is given away again only after a crash that left nothing of the
//!   message: none of its timers either, since a snapshot has timers of offsets
//!   that it counts, and those of the log come with their messages.
//!
//! A message that failed is another matter. A crash may bring back the timers of
//! earlier delays, so it waits for its own time and for no other.

use super::Ledger;
use crate::ids::{Offset, Timestamp};

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    /// For its timer, since it was sent.
    First,
    /// To be tried again then.
    Retry(Timestamp),
}

impl Ledger {
    /// The message is not ready before `due`, until it is woken. With a `key` it
    /// keeps that busy, as a retry does; without, it is behind whoever of its
    /// key is met meanwhile.
    pub(crate) fn delay(&mut self, offset: Offset, due: Timestamp, key: Option<u64>) {
        let delay = match (key, self.failures(offset)) {
            (None, None) => Delay::First,
            _ => Delay::Retry(due),
        };
        self.put_off(offset, delay, key);
    }

    pub(super) fn put_off(&mut self, offset: Offset, delay: Delay, key: Option<u64>) {
        if self.is_done(offset) {
            return;
        }
        let at = offset.get();
        let lease = self.leases.close(at);
        let rest = self.rest.get_or_insert_default();
        if let Some(lease) = lease {
            rest.mark_delivery(at, lease.nonce);
        }
        rest.returned.remove(at);
        rest.end_delay(at);
        match delay {
            Delay::First => {
                rest.sleeping.insert(at);
            }
            Delay::Retry(due) => {
                rest.delays.insert(at, due);
            }
        }
        if let Some(next) = rest.keys.delay(at, key) {
            rest.returned.insert(next);
        }
    }

    /// What a delayed message waits for; `None` if it is not delayed.
    pub(crate) fn delay_of(&self, offset: Offset) -> Option<Delay> {
        let (at, rest) = (offset.get(), self.rest.as_ref()?);
        if rest.sleeping.contains(at) {
            return Some(Delay::First);
        }
        rest.delays.get(&at).copied().map(Delay::Retry)
    }

    /// A timer has fired: the message is ready, if it was sent with a delay, or
    /// waits for `due` and no other time. Whether it did.
    pub(crate) fn wake(&mut self, offset: Offset, due: Timestamp) -> bool {
        match self.delay_of(offset) {
            Some(Delay::First) => self.ready_now(offset),
            Some(Delay::Retry(until)) => until == due && self.ready_now(offset),
            None => false,
        }
    }

    /// A delayed message is ready before its time. Whether it was delayed.
    pub(crate) fn ready_now(&mut self, offset: Offset) -> bool {
        let (at, cursor) = (offset.get(), self.cursor);
        let Some(rest) = &mut self.rest else {
            return false;
        };
        if !rest.end_delay(at) {
            return false;
        }
        if at < cursor {
            rest.come_back(at);
        } else if let Some(next) = rest.keys.let_go(at) {
            // It will be met in its order. Who waited for it is before it.
            rest.returned.insert(next);
        }
        true
    }
}
