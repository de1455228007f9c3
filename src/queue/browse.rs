//! Looking at messages without taking them, and moving, cancelling and purging
//! them.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::dead::{between, carried, death_note, done_each};
use super::lane::{Lane, LaneState, Stored};
use super::message::{DEAD_COUNT, DEDUP_ID, EXPIRES, ORIGIN, RESERVED_PREFIX};
use super::{DeathNote, MessageId, QueueState};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::format::entry::Entry;
use crate::format::ledger::Change;
use crate::ids::{Offset, Timestamp, to_u64};
use crate::options::Durability;
use crate::partition::{Appended, How, Part, Picked};
use crate::sync::FairMutexGuard;
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

/// Messages that one commit moves.
const MOVE_MESSAGES: usize = 128;
const MOVE_BYTES: u64 = 1 << 20;

/// What a message that was moved has beside what it had, without the name of
/// its queue, and its encoding.
const MOVED_BYTES: u64 = 128;

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
    fn open_among(&self, lane: &Lane, stored: Vec<Stored>) -> Vec<Browsed> {
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
    fn own_how(&self) -> How {
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

    /// Moves messages that nobody has to another queue, those that `wanted`
    /// chooses, at most `max`; each commit takes up to `at_once` from here and puts
    /// them there. `pause` is called between commits with how many were moved.
    pub(crate) fn move_to(
        &self,
        target: &Self,
        (max, at_once): (u64, usize),
        wanted: &mut dyn FnMut(&Browsed) -> bool,
        pause: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        self.check_open()?;
        if target.id == self.id || !target.owns() {
            return Err(Error::invalid(format!(
                "cannot move messages from queue {:?} to {:?}; choose another queue that is no \
                 subscription",
                self.name, target.name
            )));
        }
        let mut moved = 0;
        for number in 0..self.lane_count() {
            let Some(lane) = self.lane_if_used(number)? else {
                continue;
            };
            let (mut at, end) = (Offset::ZERO, lane.partition.end());
            while moved < max {
                at = lane.lock().ledger.first_open(at);
                if at >= end {
                    break;
                }
                let (stored, next) = lane.read(at)?;
                if next <= at {
                    break;
                }
                at = next;
                let mut rest = stored;
                while !rest.is_empty() && moved < max {
                    let most = usize::try_from(max - moved).unwrap_or(usize::MAX);
                    let most = most.min(at_once).max(1);
                    let bytes = self.env.load_bytes_max(MOVE_BYTES);
                    let later = rest.split_off(first_load(&rest, most, bytes));
                    moved += self.move_some(lane, target, rest, wanted)?;
                    rest = later;
                    pause(moved);
                }
            }
        }
        self.signal.notify();
        Ok(moved)
    }

    fn move_some(
        &self,
        lane: &Lane,
        target: &Self,
        stored: Vec<Stored>,
        wanted: &mut dyn FnMut(&Browsed) -> bool,
    ) -> Result<u64> {
        // Without the lock: who chooses may want to know more of the queue.
        let open = self.open_among(lane, stored.clone()).into_iter();
        let chosen: BTreeSet<_> = open
            .filter(|browsed| browsed.state != MessageState::InFlight && wanted(browsed))
            .map(|browsed| browsed.id.offset)
            .collect();
        let to = target.lane(target.lane_like(lane.id.partition, self))?;
        let (mut state, mut to_state) = lock_both(lane, to);
        let free = |at| !state.ledger.is_done(at) && !state.ledger.is_in_flight(at);
        let mut moved = stored;
        moved.retain(|stored| chosen.contains(&stored.offset) && free(stored.offset));
        if moved.is_empty() {
            return Ok(0);
        }
        let origins: Vec<_> = moved
            .iter()
            .map(|stored| format!("{}/{}", self.name, lane.message(stored.offset)))
            .collect();
        let records = moved.iter().zip(&origins);
        let records: Vec<_> = records
            .map(|(stored, origin)| self.moved_record(stored, origin))
            .collect();
        let all: Vec<_> = records.iter().collect();
        let done = done_each(moved.iter().map(|stored| stored.offset));
        let expire = |at: &Appended| self.expiries(&moved, at.offset);
        let part = Part::new(&to.partition, target.terms_inside(), Picked::Some(&all));
        let entries = |appended: &[Appended]| {
            let expire = appended.first().map(expire).unwrap_or_default();
            let lanes = [(lane.id, done.clone()), (to.id, expire)].into_iter();
            let changed = lanes.filter(|(_, changes)| !changes.is_empty());
            changed
                .map(|(id, changes)| Entry::Ledger(id, changes))
                .collect()
        };
        let accepted = self.env.commit(&[part], self.own_how(), entries)?;
        state.apply(&done);
        let expire = accepted.appended.first().map(expire).unwrap_or_default();
        to_state.apply(&expire);
        for change in &expire {
            self.env.note(to.id, change);
        }
        drop((state, to_state));
        let count = to_u64(moved.len());
        self.shorten(count);
        target.lengthen(count);
        if let Some(handle) = accepted.handle {
            handle.wait(self.env.parts.wal()?)?;
        }
        Ok(count)
    }

    /// A message as it is moved. Where it was sent first, how often it died and
    /// when it expires stay with it; the rest of what it died of does not.
    fn moved_record<'r>(&self, stored: &'r Stored, origin: &'r String) -> Record<'r> {
        // Headers of a topic's records are not the engine's.
        let stays = [ORIGIN, DEDUP_ID, EXPIRES, DEAD_COUNT];
        let record = carried(stored, 1, |name| {
            !name.starts_with(RESERVED_PREFIX) || (self.owns() && stays.contains(&name))
        });
        if self.owns() && stored.header(ORIGIN).is_some() {
            return record;
        }
        record.header(ORIGIN, origin)
    }

    /// When messages expire, once they lie at `first` and behind it.
    fn expiries(&self, moved: &[Stored], first: Offset) -> Vec<Change> {
        let own = moved.iter().enumerate().filter(|_| self.owns());
        let expiries = own.filter_map(|(n, stored)| {
            let due = stored.expires()?;
            let offset = first.saturating_add(to_u64(n));
            Some(Change::Expires { offset, due })
        });
        expiries.collect()
    }
}

/// Locks two lanes in the order of their ids, as everybody does.
fn lock_both<'l>(
    one: &'l Lane,
    other: &'l Lane,
) -> (FairMutexGuard<'l, LaneState>, FairMutexGuard<'l, LaneState>) {
    if one.id < other.id {
        let first = one.lock();
        (first, other.lock())
    } else {
        let first = other.lock();
        (one.lock(), first)
    }
}

fn first_load(stored: &[Stored], most: usize, bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fits = stored
        .iter()
        .take(MOVE_MESSAGES.min(most))
        .take_while(|stored| {
            bytes += stored.bytes() + MOVED_BYTES;
            bytes <= bytes_max
        });
    fits.count().max(1)
}

fn seen(lane: &Lane, ledger: &super::ledger::Ledger, stored: Stored) -> Browsed {
    let at = stored.offset;
    let state = match ledger.due(at) {
        Some(due) => MessageState::Delayed(due),
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
