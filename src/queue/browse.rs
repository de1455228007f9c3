//! Looking at messages without taking them; cancelling, purging, replaying.

use bytes::Bytes;

use super::dead::{between, death_note, done_each};
use super::lane::{Lane, Stored};
use super::ledger::{Delay, Ledger};
use super::{DeathNote, MessageId, QueueState};
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::Entry;
use crate::format::ledger::Change;
use crate::ids::{Offset, Timestamp, to_u64};
use crate::options::Durability;
use crate::partition::How;
use crate::wal::CommitHandle;

/// What a message of a queue is at present.
///
/// # Examples
///
/// See [`Queue::browse`](crate::Queue::browse).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum MessageState {
    /// A consumer could get it, or it waits for its order key.
    Ready,
    /// A consumer has it.
    InFlight,
    /// It waits until this time.
    Delayed(Timestamp),
}

/// A message that was looked at and not taken.
///
/// # Examples
///
/// See [`Queue::browse`](crate::Queue::browse).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Browsed {
    /// Where it lies.
    pub id: MessageId,
    /// What it is at present.
    pub state: MessageState,
    /// How often it failed so far.
    pub failures: u32,
    /// When it was sent; kept through dead letters and moves.
    pub sent: Timestamp,
    /// Its order key.
    pub order_key: Option<Bytes>,
    /// Its body.
    pub body: Bytes,
    /// Names and values, in order; those of the engine begin with `duolog-`.
    pub headers: Vec<(String, Bytes)>,
    /// Of a message in a dead-letter queue: why it is there.
    pub death: Option<DeathNote>,
}

impl Browsed {
    /// The value of the first header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value)
    }
}

impl QueueState {
    /// Messages that are not done, from `from` on, at most `max`: lane by lane,
    /// oldest first. `wanted` chooses.
    pub(crate) fn browse(
        &self,
        from: Option<MessageId>,
        max: usize,
        wanted: &mut dyn FnMut(&Browsed) -> bool,
    ) -> Result<Vec<Browsed>> {
        self.check_open()?;
        let mut out = Vec::new();
        let first = from.map_or(0, |from| from.lane);
        for number in first..self.lane_count() {
            let start = from.filter(|from| from.lane == number);
            let start = start.map_or(Offset::ZERO, |from| from.offset);
            if let Some(lane) = self.lane_if_used(number)? {
                self.browse_lane(lane, start, max, wanted, &mut out)?;
            }
            if out.len() >= max {
                break;
            }
        }
        Ok(out)
    }

    fn browse_lane(
        &self,
        lane: &Lane,
        start: Offset,
        max: usize,
        wanted: &mut dyn FnMut(&Browsed) -> bool,
        out: &mut Vec<Browsed>,
    ) -> Result<()> {
        let mut at = start;
        let end = lane.partition.end();
        while out.len() < max {
            at = lane.lock().ledger.first_open(at);
            if at >= end {
                break;
            }
            let (stored, next) = lane.read(at)?;
            if next <= at {
                break;
            }
            at = next;
            // Without the lock: who chooses may want to know more of the queue.
            for browsed in self.open_among(lane, stored) {
                if out.len() < max && wanted(&browsed) {
                    out.push(browsed);
                }
            }
        }
        Ok(())
    }

    /// Of messages that were read, those that are not done.
    pub(super) fn open_among(&self, lane: &Lane, stored: Vec<Stored>) -> Vec<Browsed> {
        let ledger = &lane.lock().ledger;
        let open = stored
            .into_iter()
            .filter(|stored| !ledger.is_done(stored.offset) && self.wants(stored));
        open.map(|stored| seen(lane, ledger, stored)).collect()
    }

    /// One message, if it is not done.
    pub(crate) fn look(&self, id: MessageId) -> Result<Option<Browsed>> {
        self.check_open()?;
        let Some(lane) = self.lane_if_used(id.lane)? else {
            return Ok(None);
        };
        let stored = lane.read_one(id.offset)?;
        let state = lane.lock();
        let open = stored.filter(|stored| !state.ledger.is_done(stored.offset));
        Ok(open.map(|stored| seen(lane, &state.ledger, stored)))
    }

    /// Takes a message out that nobody has.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is done or was never there; `Busy` if it is in flight.
    pub(crate) fn cancel(&self, id: MessageId) -> Result<Option<CommitHandle>> {
        self.check_open()?;
        let gone = || {
            let text = format!(
                "queue {:?} has no message {id}: it is done, or never was",
                self.name
            );
            Error::new(ErrorKind::NotFound, text)
        };
        let lane = self.lane_if_used(id.lane)?.ok_or_else(gone)?;
        let mut state = lane.lock();
        if state.ledger.is_done(id.offset) || id.offset >= lane.partition.seal()? {
            return Err(gone());
        }
        if state.ledger.is_in_flight(id.offset) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("message {id} is in flight; only its consumer can answer for it"),
            ));
        }
        let changes = done_each(std::iter::once(id.offset));
        let handle = self.settle_all(lane, &changes)?;
        state.apply(&changes);
        drop(state);
        self.shorten(1);
        self.signal.notify();
        Ok(handle)
    }

    fn settle_all(&self, lane: &Lane, changes: &[Change]) -> Result<Option<CommitHandle>> {
        let entry = |_: &[_]| vec![Entry::Ledger(lane.id, changes.to_vec())];
        let accepted = self.env.commit(&[], self.own_how(), entry)?;
        Ok(accepted.handle)
    }

    /// How it writes what somebody asked for who is no consumer.
    pub(super) fn own_how(&self) -> How {
        let options = self.options();
        How {
            durability: Durability::Durable,
            codec: options.codec,
            detached: false,
        }
    }

    /// Delivers messages once more that are done: of a subscription, whose topic
    /// still has them. Returns how many of `ids` were done.
    ///
    /// # Errors
    ///
    /// `Invalid` for a queue that owns its messages; `OutOfRange` for one that the
    /// topic does not keep, and nothing is changed.
    pub(crate) fn replay_done(&self, ids: &[MessageId]) -> Result<(u64, Option<CommitHandle>)> {
        self.check_open()?;
        if self.owns() {
            return Err(Error::invalid(format!(
                "queue {:?} owns its messages: what is done is gone; a subscription can replay",
                self.name
            )));
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        for id in &ids {
            let lane = self.lane(id.lane)?;
            let (start, end) = (lane.partition.start(), lane.partition.end());
            if !(start..end).contains(&id.offset) {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    format!("message {id} is out of range: the topic keeps {start} to {end} there"),
                ));
            }
        }
        let (mut count, mut last) = (0, None);
        for group in ids.chunk_by(|a, b| a.lane == b.lane) {
            let lane = self.lane(group.first().map_or(0, |id| id.lane))?;
            let mut state = lane.lock();
            let done = group.iter().map(|id| id.offset);
            let done = done.filter(|offset| state.ledger.is_done(*offset));
            let changes: Vec<_> = done.map(|offset| Change::Again { offset }).collect();
            if changes.is_empty() {
                continue;
            }
            last = self.settle_all(lane, &changes)?.or(last);
            state.apply(&changes);
            count += to_u64(changes.len());
        }
        self.signal.notify();
        Ok((count, last))
    }

    /// Takes all messages out that nobody has; returns how many.
    pub(crate) fn purge(&self) -> Result<(u64, Option<CommitHandle>)> {
        self.check_open()?;
        let (mut purged, mut last) = (0, None);
        for number in 0..self.lane_count() {
            let Some(lane) = self.lane_if_used(number)? else {
                continue;
            };
            let mut state = lane.lock();
            let end = lane.partition.seal()?;
            let before = state.ledger.ready(end) + state.ledger.delayed();
            if before == 0 {
                continue;
            }
            let changes = between(state.ledger.floor(), end, &state.ledger.all_in_flight());
            last = self.settle_all(lane, &changes)?.or(last);
            state.apply(&changes);
            purged += before;
            self.shorten(before);
        }
        self.signal.notify();
        Ok((purged, last))
    }
}

fn seen(lane: &Lane, ledger: &Ledger, stored: Stored) -> Browsed {
    let at = stored.offset;
    let state = match ledger.delay_of(at) {
        // Sends write it with the message.
        Some(Delay::First) => MessageState::Delayed(stored.due().unwrap_or(stored.timestamp)),
        Some(Delay::Retry(due)) => MessageState::Delayed(due),
        None if ledger.is_in_flight(at) => MessageState::InFlight,
        None => MessageState::Ready,
    };
    Browsed {
        id: lane.message(at),
        state,
        failures: ledger.failures(at).map_or(0, |failed| failed.count),
        sent: stored.timestamp,
        death: death_note(&stored),
        order_key: stored.key,
        body: stored.body,
        headers: stored.headers,
    }
}
