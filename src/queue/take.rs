//! Receiving: what came back first, then what is new, each with a lease.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::dead::{Dead, between};
use super::lane::{Lane, LaneState, Stored};
use super::ledger::{LeaseAsk, Met, Receipt};
use super::step::RELEASE_MAX;
use super::{ConsumerState, DeadReason, MessageId, QueueState};
use crate::error::Result;
use crate::ids::Timestamp;
use crate::options::Durability;
use crate::signal::lock;

/// A message that was delivered.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) id: MessageId,
    pub(crate) stored: Stored,
    pub(crate) receipt: Receipt,
    /// The first is 1.
    pub(crate) deliveries: u32,
}

/// What is next in a lane.
pub(super) enum Next {
    /// It may be delivered, and has no lease yet.
    Message(Stored),
    Nothing,
}

/// What a receive asks of each lane.
struct Want<'c> {
    consumer: &'c ConsumerState,
    until: Duration,
    now: Timestamp,
    ttl_ms: Option<i64>,
    left: u32,
    durability: Durability,
}

impl QueueState {
    /// Takes up to `max` messages, as far as the consumer may have more; none if
    /// there are none.
    pub(crate) fn take(&self, consumer: &ConsumerState, max: u32) -> Result<Vec<Taken>> {
        self.check_open()?;
        let options = self.options();
        let clock = &self.env.parts.clock;
        if !self.is_active(consumer, options.single_active) {
            return Ok(Vec::new());
        }
        let mut want = Want {
            consumer,
            until: clock
                .monotonic()
                .saturating_add(consumer.lease(options.lease)),
            now: clock.now(),
            ttl_ms: options.ttl.map(millis),
            left: max.min(consumer.credit()),
            durability: options.durability.min(Durability::Buffered),
        };
        let mut out = Vec::new();
        let taken = self.take_from_each(&mut want, &mut out);
        // What is leased goes out first: nobody else would ever answer for it.
        if out.is_empty() {
            taken?;
        }
        Ok(out)
    }

    fn take_from_each(&self, want: &mut Want<'_>, out: &mut Vec<Taken>) -> Result<()> {
        let turn = self.take_turn.fetch_add(1, Ordering::Relaxed);
        for number in self.in_turn(turn) {
            if want.left == 0 {
                break;
            }
            if !want.consumer.takes_from(number % self.shards()) {
                continue;
            }
            if let Some(lane) = self.lane_if_used(number)? {
                self.take_from(lane, want, out)?;
            }
        }
        Ok(())
    }

    fn take_from(&self, lane: &Lane, want: &mut Want<'_>, out: &mut Vec<Taken>) -> Result<()> {
        let mut state = lane.lock();
        self.skip_trimmed(lane, &mut state);
        let mut dead = Vec::new();
        let mut taken = Ok(());
        while want.left > 0 {
            let stored = match self.next_of(lane, &mut state) {
                Ok(Next::Message(stored)) => stored,
                Ok(Next::Nothing) => break,
                Err(error) => {
                    taken = Err(error);
                    break;
                }
            };
            if self.has_expired(&stored, want.ttl_ms, want.now) {
                let failed = state.ledger.failures(stored.offset);
                dead.push(Dead::of(stored, DeadReason::Expired, failed));
                // A backlog that expired while nobody was there is no request for
                // memory.
                if dead.len() >= RELEASE_MAX {
                    let some = std::mem::take(&mut dead);
                    self.bury_or_return(lane, &mut state, some, want.durability)?;
                }
                continue;
            }
            // Other threads take for this consumer, too.
            if !want.consumer.try_hold() {
                state.ledger.put_back(stored.offset);
                break;
            }
            let ask = LeaseAsk {
                number: self.deliveries.fetch_add(1, Ordering::Relaxed),
                consumer: want.consumer.id,
                until: want.until,
                bytes: stored.bytes(),
            };
            let (receipt, deliveries) = state.ledger.lease(stored.offset, ask);
            want.left -= 1;
            out.push(Taken {
                id: lane.message(stored.offset),
                stored,
                receipt,
                deliveries,
            });
        }
        if state.ledger.in_flight() > 0 && !std::mem::replace(&mut state.listed, true) {
            lock(&self.env.leased).push(lane.id);
        }
        if want.left > 0 {
            state.shrink();
        }
        if !dead.is_empty() {
            self.bury_or_return(lane, &mut state, dead, want.durability)?;
        }
        taken
    }

    /// Buries; messages that cannot be buried now are ready again.
    pub(super) fn bury_or_return(
        &self,
        lane: &Lane,
        state: &mut LaneState,
        dead: Vec<Dead>,
        durability: Durability,
    ) -> Result<()> {
        let offsets: Vec<_> = dead.iter().map(|dead| dead.stored.offset).collect();
        let buried = self.bury(lane, state, dead, durability);
        if buried.is_err() {
            for offset in offsets {
                state.ledger.put_back(offset);
            }
        }
        buried.map(|_| ())
    }

    /// The next message of a lane that may be delivered. A lease has to follow,
    /// or its end, or `put_back`.
    pub(super) fn next_of(&self, lane: &Lane, state: &mut LaneState) -> Result<Next> {
        let before = state.ledger.done_count();
        let next = self.look_for_next(lane, state);
        // Records that are absent counted until somebody came by.
        self.shorten(state.ledger.done_count() - before);
        next
    }

    fn look_for_next(&self, lane: &Lane, state: &mut LaneState) -> Result<Next> {
        while let Some(offset) = state.ledger.next_returned() {
            if let Some(stored) = lane.read_one(offset)?.filter(|stored| self.wants(stored)) {
                // Out of the list: the caller answers for it from here on.
                state.ledger.claim_returned(offset);
                return Ok(Next::Message(stored));
            }
            // Its record is gone (transient, of an earlier life, or trimmed), or it
            // is replayed and not wanted.
            state.ledger.done(offset, offset.saturating_add(1));
        }
        while let Some(stored) = state.next(lane)? {
            let (offset, key) = (stored.offset, stored.key_hash());
            if !self.wants(stored) {
                state.take_next();
                state.ledger.done(offset, offset.saturating_add(1));
                continue;
            }
            match state.ledger.meet(offset, key) {
                Met::Deliver => {
                    let stored = state.take_next().expect("looked at above");
                    return Ok(Next::Message(stored));
                }
                Met::LookaheadFull => return Ok(Next::Nothing),
                Met::Done | Met::Delayed | Met::Parked => drop(state.take_next()),
            }
        }
        Ok(Next::Nothing)
    }

    /// True if the message is too old: by its own time, or by what the queue
    /// allows. Headers of a topic's records are not the engine's.
    pub(super) fn has_expired(&self, stored: &Stored, ttl_ms: Option<i64>, now: Timestamp) -> bool {
        let own = stored.expires().filter(|_| self.owns());
        let queue = ttl_ms.map(|ttl| stored.timestamp.saturating_add(ttl));
        own.into_iter().chain(queue).any(|at| at <= now)
    }

    /// Of a subscription: what the topic's retention dropped is done, but for
    /// what a consumer has.
    pub(super) fn skip_trimmed(&self, lane: &Lane, state: &mut LaneState) {
        if self.owns() {
            return;
        }
        let start = lane.partition.start();
        let floor = state.ledger.floor();
        if floor >= start {
            return;
        }
        let mut held = state.ledger.all_in_flight();
        held.retain(|offset| *offset < start);
        state.apply(&between(floor, start, &held));
    }

    /// True if a subscription wants the message; a queue wants all its own.
    pub(super) fn wants(&self, stored: &Stored) -> bool {
        let Some(source) = &self.source else {
            return true;
        };
        let headers = stored.headers.iter();
        source.filter.is_empty()
            || source
                .filter
                .matches(headers.map(|(name, value)| (name.as_str(), &**value)))
    }

    pub(super) fn shards(&self) -> u32 {
        match self.source {
            None => self.options().shards,
            Some(_) => self.lane_count().max(1),
        }
    }

    /// The lane, if there is anything in it.
    pub(super) fn lane_if_used(&self, number: u32) -> Result<Option<&Lane>> {
        if let Some(lane) = self.used_lane(number)? {
            return Ok(Some(lane));
        }
        if !self.owns() && self.topic.is_used(number) {
            return self.lane(number).map(Some);
        }
        Ok(None)
    }
}

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
