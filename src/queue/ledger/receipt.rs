//! Receipts: the proof that a message was delivered, and what it is worth.
//!
//! A receipt has the number of its delivery. It is good until the message is
//! done or delivered again, whether or not its lease is over: an ack that comes
//! late but before anybody else got the message is an ack. For that the ledger
//! keeps one number for each message that is not done and was delivered: that of
//! its last delivery. All else that a receipt can be follows from this number.

use std::cmp::Ordering;
use std::time::Duration;

use super::Ledger;
use crate::ids::Offset;

/// Proof that a message was delivered: what an ack has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Receipt {
    pub(crate) offset: Offset,
    /// Number of the delivery; rises, and no other of this ledger has it.
    pub(crate) nonce: u64,
}

/// To whom a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseAsk {
    /// Number of the delivery, if it is higher than the last one's: a queue
    /// numbers those of all its lanes.
    pub(crate) number: u64,
    pub(crate) consumer: u64,
    /// Monotonic time at which the lease ends; [`Duration::MAX`] for never.
    pub(crate) until: Duration,
    /// Payload of the message.
    pub(crate) bytes: u64,
}

/// What a good receipt stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The message is in flight.
    Open { consumer: u64, until: Duration },
    /// The lease is over, but nobody else got the message yet.
    Ended,
}

/// Why a receipt is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// This message was not delivered since the store was opened.
    NotDelivered,
    /// Its lease is over, and there is nothing to extend. It may be done yet.
    Ended,
    /// It was delivered again, to whoever has it now.
    Redelivered,
    /// It is acknowledged, dead, expired or purged.
    Done,
    /// No delivery of this message has this number.
    Unknown,
}

impl Ledger {
    /// Numbers deliveries from `nonce` on. Receipts of a smaller number are
    /// [`Fence::Unknown`]: a number that rises from one opening of the store to
    /// the next keeps apart what clients still hold of an earlier one.
    ///
    /// # Panics
    ///
    /// After the first delivery.
    pub(crate) fn number_from(&mut self, nonce: u64) {
        assert!(self.nonces.0 == self.nonces.1, "receipts are out already");
        self.nonces = (nonce, nonce);
    }

    /// What a receipt is worth. It is good until the message is done or
    /// delivered again, whether or not its lease is over.
    ///
    /// # Errors
    ///
    /// Why it is not good. For that the ledger keeps one number for each message
    /// that is not done and was delivered before: that of its last delivery.
    pub(crate) fn check(&self, receipt: Receipt) -> Result<Held, Fence> {
        let Receipt { offset, nonce } = receipt;
        if nonce >= self.nonces.1 {
            return Err(Fence::Unknown);
        }
        if self.is_done(offset) {
            return Err(Fence::Done);
        }
        if nonce < self.nonces.0 {
            return Err(Fence::Unknown);
        }
        let (last, held) = match self.leases.get(offset.get()) {
            Some(lease) => (
                lease.nonce,
                Held::Open {
                    consumer: lease.consumer,
                    until: lease.until.duration(),
                },
            ),
            None => match self.mark(offset.get()).and_then(|mark| mark.nonce) {
                Some(last) => (last, Held::Ended),
                None => return Err(Fence::NotDelivered),
            },
        };
        match nonce.cmp(&last) {
            Ordering::Less => Err(Fence::Redelivered),
            Ordering::Equal => Ok(held),
            Ordering::Greater => Err(Fence::Unknown),
        }
    }

    /// Gives a lease another end, be it later or earlier.
    ///
    /// # Errors
    ///
    /// As [`Ledger::check`], and [`Fence::Ended`] if the lease is over.
    pub(crate) fn extend(&mut self, receipt: Receipt, until: Duration) -> Result<(), Fence> {
        match self.check(receipt)? {
            Held::Open { .. } => {
                self.leases.extend(receipt.offset.get(), until);
                Ok(())
            }
            Held::Ended => Err(Fence::Ended),
        }
    }

    /// Receipts of leases that end at `now` or before, at most `max`, earliest
    /// first. They stay open: it is for the caller to fail them.
    pub(crate) fn expired(&self, now: Duration, max: usize) -> Vec<Receipt> {
        let ended = self.leases.ended(now, max).into_iter();
        let receipts = ended.filter_map(|at| {
            let nonce = self.leases.get(at)?.nonce;
            let offset = Offset::new(at);
            Some(Receipt { offset, nonce })
        });
        receipts.collect()
    }

    /// When the first lease ends; `None` if none does.
    pub(crate) fn next_lease_end(&self) -> Option<Duration> {
        self.leases.next_end()
    }

    /// Receipts of what is in flight with a consumer, in no order.
    pub(crate) fn receipts_of(&self, consumer: u64) -> Vec<Receipt> {
        let leases = self.leases.offsets();
        let held = leases.filter(|(_, lease)| lease.consumer == consumer);
        let receipts = held.map(|(at, lease)| Receipt {
            offset: Offset::new(at),
            nonce: lease.nonce,
        });
        receipts.collect()
    }

    /// All that is in flight, rising.
    pub(crate) fn all_in_flight(&self) -> Vec<Offset> {
        let leases = self.leases.offsets();
        let mut offsets: Vec<_> = leases.map(|(at, _)| Offset::new(at)).collect();
        offsets.sort_unstable();
        offsets
    }

    /// What is in flight with a consumer, rising. Looks at all that is in
    /// flight.
    pub(crate) fn of_consumer(&self, consumer: u64) -> Vec<Offset> {
        let leases = self.leases.offsets();
        let held = leases.filter(|(_, lease)| lease.consumer == consumer);
        let mut offsets: Vec<_> = held.map(|(at, _)| Offset::new(at)).collect();
        offsets.sort_unstable();
        offsets
    }
}
