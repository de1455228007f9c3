//! Answers to deliveries: ack, nack, reject, extend. Each is fenced: an answer
//! that comes too late changes nothing, and says so.

use std::time::Duration;

use super::dead::{Dead, done_each};
use super::lane::{Lane, LaneState, Stored};
use super::ledger::{Fence, Held, Receipt};
use super::send::after;
use super::{ConsumerState, DeadReason, MessageId, QueueState};
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::Entry;
use crate::format::ledger::Change;
use crate::ids::{Offset, Timestamp, to_u64};
use crate::options::{Durability, check_lease};
use crate::partition::How;
use crate::wal::CommitHandle;

/// A delivery that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    pub(crate) id: MessageId,
    pub(crate) receipt: Receipt,
    /// Its message is in no log: neither is its end.
    pub(crate) transient: bool,
}

/// How a delivery failed.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// To be delivered again, after this time or what the backoff says.
    Nack {
        delay: Option<Duration>,
        error: Option<String>,
    },
    /// Never to be delivered again.
    Reject { error: Option<String> },
}

/// A delivery whose answer came too late, and what its holder is told.
pub(crate) type Refused = (Answer, Error);

impl QueueState {
    /// Takes messages out for good, those whose receipts are good. Returns what
    /// is wrong with the others, and what to wait on.
    pub(crate) fn ack(
        &self,
        consumer: Option<&ConsumerState>,
        answers: &[Answer],
        durability: Durability,
        detached: bool,
    ) -> Result<(Vec<Refused>, Option<CommitHandle>)> {
        self.check_open()?;
        let mut answers = answers.to_vec();
        answers.sort_unstable();
        answers.dedup();
        let mut fenced = Vec::new();
        let mut handle = None;
        for group in answers.chunk_by(|a, b| a.id.lane == b.id.lane) {
            let number = group.first().map_or(0, |answer| answer.id.lane);
            let lane = self.known_lane(number)?;
            let mut state = lane.lock();
            let mut good = Vec::with_capacity(group.len());
            let mut held = Vec::new();
            for answer in group {
                match state.ledger.check(answer.receipt) {
                    Ok(Held::Open { consumer, .. }) => {
                        held.push(consumer);
                        good.push(answer);
                    }
                    Ok(Held::Ended) => good.push(answer),
                    Err(fence) => fenced.push((*answer, fence_error(answer.id, fence))),
                }
            }
            if good.is_empty() {
                continue;
            }
            let changes = done_each(good.iter().map(|answer| answer.id.offset));
            let logged = good.iter().any(|answer| !answer.transient);
            let how = How {
                durability: if logged {
                    durability
                } else {
                    Durability::Transient
                },
                codec: crate::options::Codec::None,
                detached,
            };
            let entry = |_: &[_]| vec![Entry::Ledger(lane.id, changes.clone())];
            let accepted = self.env.commit(&[], how, entry)?;
            handle = accepted.handle.or(handle);
            state.apply(&changes);
            let woke = state.ledger.next_returned().is_some();
            drop(state);
            let room = self.end_deliveries(consumer, &held);
            self.shorten(to_u64(good.len()));
            if woke || room {
                self.signal.notify();
            }
        }
        Ok((fenced, handle))
    }

    /// Answers for all that `consumer` was delivered up to `last`.
    ///
    /// # Errors
    ///
    /// `Fenced` if `last` is not its own any more.
    pub(crate) fn delivered_through(
        &self,
        consumer: &ConsumerState,
        last: Answer,
    ) -> Result<Vec<Answer>> {
        self.check_open()?;
        let own = self
            .known_lane(last.id.lane)?
            .lock()
            .ledger
            .check(last.receipt);
        own.map_err(|fence| fence_error(last.id, fence))?;
        let mut answers = vec![last];
        for lane in self.used() {
            let state = lane.lock();
            for receipt in state.ledger.receipts_of(consumer.id) {
                // Deliveries of a queue are numbered over all its lanes.
                if receipt.nonce < last.receipt.nonce {
                    answers.push(Answer {
                        id: lane.message(receipt.offset),
                        receipt,
                        transient: false,
                    });
                }
            }
        }
        Ok(answers)
    }

    /// Answers for all that `consumer` holds of one lane, from `first` to `last`.
    pub(crate) fn delivered_between(
        &self,
        consumer: &ConsumerState,
        first: MessageId,
        last: MessageId,
    ) -> Result<Vec<Answer>> {
        self.check_open()?;
        let lane = self.known_lane(first.lane)?;
        let receipts = lane.lock().ledger.receipts_of(consumer.id);
        let within = |receipt: &Receipt| (first.offset..=last.offset).contains(&receipt.offset);
        let answers = receipts.into_iter().filter(within).map(|receipt| Answer {
            id: lane.message(receipt.offset),
            receipt,
            transient: false,
        });
        Ok(answers.collect())
    }

    /// True if a consumer has room again that had none: somebody may wait for it.
    fn end_deliveries(&self, consumer: Option<&ConsumerState>, held: &[u64]) -> bool {
        let own = consumer.map(|consumer| consumer.id);
        let mine = held.iter().filter(|id| Some(**id) == own).count();
        let mut room = false;
        if let Some(consumer) = consumer.filter(|_| mine > 0) {
            room = consumer.let_go(u32::try_from(mine).unwrap_or(u32::MAX));
        }
        for other in held.iter().filter(|id| Some(**id) != own) {
            room |= self.let_go(*other);
        }
        room
    }

    pub(super) fn known_lane(&self, number: u32) -> Result<&Lane> {
        let lane = self.used_lane(number)?;
        lane.ok_or_else(|| self.unknown_lane(number))
    }

    /// Ends a delivery that failed.
    ///
    /// # Errors
    ///
    /// `Fenced` if the delivery is not this consumer's any more.
    pub(crate) fn fail(
        &self,
        answer: Answer,
        stored: &Stored,
        deliveries: u32,
        verdict: Verdict,
        durability: Durability,
    ) -> Result<Option<CommitHandle>> {
        self.check_open()?;
        let lane = self.known_lane(answer.id.lane)?;
        let mut state = lane.lock();
        let held = state.ledger.check(answer.receipt);
        let held = held.map_err(|fence| fence_error(answer.id, fence))?;
        let handle = match verdict {
            Verdict::Reject { error } => {
                let failed = state.ledger.failures(answer.id.offset);
                let dead = Dead {
                    stored: stored.clone(),
                    reason: DeadReason::Rejected,
                    error,
                    deliveries,
                    first: failed.map(|failed| failed.first),
                };
                self.bury(lane, &mut state, vec![dead], durability)?
            }
            Verdict::Nack { delay, error } => match held {
                // The end of its lease counted it already.
                Held::Ended => None,
                Held::Open { .. } => {
                    self.fail_open(lane, &mut state, stored.clone(), (delay, error), durability)?
                }
            },
        };
        drop(state);
        if let Held::Open { consumer, .. } = held {
            _ = self.let_go(consumer);
        }
        self.signal.notify();
        Ok(handle)
    }

    /// Counts a failure of a message in flight, and decides what comes of it:
    /// ready again, later, or dead. The lane is locked.
    pub(super) fn fail_open(
        &self,
        lane: &Lane,
        state: &mut LaneState,
        stored: Stored,
        (delay, error): (Option<Duration>, Option<String>),
        durability: Durability,
    ) -> Result<Option<CommitHandle>> {
        let options = self.options();
        let now = self.env.parts.clock.now();
        let offset = stored.offset;
        let before = state.ledger.failures(offset);
        let count = before.map_or(0, |failed| failed.count).saturating_add(1);
        let first = before.map_or(now, |failed| failed.first);
        if options.max_deliveries.is_some_and(|most| count >= most) {
            let dead = Dead {
                stored,
                reason: DeadReason::MaxDeliveries,
                error,
                deliveries: count,
                first: Some(first),
            };
            return self.bury(lane, state, vec![dead], durability);
        }
        let wait =
            delay.unwrap_or_else(|| options.backoff.delay(count, chance(offset, count, now)));
        let mut changes = vec![Change::Failed {
            offset,
            failures: count,
            first,
        }];
        if !wait.is_zero() {
            changes.push(Change::Delayed {
                offset,
                due: after(now, wait),
                key: stored.key_hash(),
            });
        }
        let how = How {
            durability: if stored.transient {
                Durability::Transient
            } else {
                durability
            },
            codec: options.codec,
            detached: true,
        };
        let entry = |_: &[_]| vec![Entry::Ledger(lane.id, changes.clone())];
        let accepted = self.env.commit(&[], how, entry)?;
        state.ledger.fail(offset, now);
        for change in &changes {
            if let Change::Delayed { offset, due, key } = *change {
                state.ledger.delay(offset, due, key);
                self.env.note(lane.id, change);
            }
        }
        Ok(accepted.handle)
    }

    /// Gives a delivery more time, or less: its lease ends `lease` from now.
    ///
    /// # Errors
    ///
    /// `Invalid` for a lease out of range; `Fenced`.
    pub(crate) fn extend(&self, answer: Answer, lease: Duration) -> Result<()> {
        self.check_open()?;
        check_lease(lease)?;
        let lane = self.known_lane(answer.id.lane)?;
        let until = self.env.parts.clock.monotonic().saturating_add(lease);
        let extended = lane.lock().ledger.extend(answer.receipt, until);
        extended.map_err(|fence| fence_error(answer.id, fence))
    }
}

/// What chance says of a message's backoff: from what is known of it, so that a
/// run can be repeated.
fn chance(offset: Offset, failures: u32, now: Timestamp) -> f64 {
    let mut seed = offset.get() ^ (u64::from(failures) << 48) ^ now.millis().cast_unsigned();
    // Splitmix64.
    seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let top = u32::try_from((seed ^ (seed >> 31)) >> 32).unwrap_or(0);
    f64::from(top) / f64::from(u32::MAX)
}

/// What a receipt that is not good tells its holder.
pub(super) fn fence_error(id: MessageId, fence: Fence) -> Error {
    let (kind, why) = match fence {
        Fence::Redelivered => (
            ErrorKind::Fenced,
            "its lease ended, and it was delivered again; somebody else answers for it now",
        ),
        Fence::Done => (
            ErrorKind::Fenced,
            "it is done: acknowledged before, dead, expired or purged",
        ),
        Fence::Ended => (
            ErrorKind::Fenced,
            "its lease ended, and there is nothing to extend; it may still be acknowledged",
        ),
        Fence::NotDelivered | Fence::Unknown => (
            ErrorKind::Invalid,
            "it was not delivered with this receipt since the store was opened",
        ),
    };
    Error::new(kind, format!("cannot answer for message {id}: {why}"))
}
