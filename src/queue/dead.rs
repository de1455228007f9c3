//! Dead letters: a move from one queue to another in one commit, with the
//! reason and the history in headers.

use std::sync::Arc;

use super::lane::{Lane, LaneState, Stored};
use super::ledger::Failures;
use super::message::{
    DEAD_COUNT, DEAD_DELIVERIES, DEAD_ERROR, DEAD_FIRST, DEAD_LAST, DEAD_QUEUE, DEAD_REASON, DUE,
    EXPIRES, ORIGIN, number,
};
use super::work::{Later, Load};
use super::{DeadReason, DeathNote, Message, MessageId, QueueState};
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::ledger::Change;
use crate::format::{HEADERS_MAX, Record};
use crate::ids::{Offset, Timestamp, to_u64};
use crate::options::Durability;
use crate::partition::How;
use crate::wal::CommitHandle;

/// Bytes of an error's text that a dead letter keeps.
const ERROR_LEN_MAX: usize = 8 << 10;

/// Most messages, and bytes of them, that one commit buries.
const BURY_MESSAGES: usize = 128;
const BURY_BYTES: u64 = 1 << 20;

/// What a letter has beside the message, without the names of queues and the
/// word of the consumer: headers and their encoding.
const LETTER_BYTES: u64 = 512;

/// Headers that a letter has beside those of the message.
const LETTER_HEADERS: usize = 8;

/// A message that is to be taken out for good.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) stored: Stored,
    pub(super) reason: DeadReason,
    pub(super) error: Option<String>,
    pub(super) deliveries: u32,
    pub(super) first: Option<Timestamp>,
}

impl Dead {
    /// One that nobody has, and that failed so often.
    pub(super) fn of(stored: Stored, reason: DeadReason, failed: Option<Failures>) -> Self {
        Self {
            stored,
            reason,
            error: None,
            deliveries: failed.map_or(0, |failed| failed.count),
            first: failed.map(|failed| failed.first),
        }
    }
}

/// The texts of the headers that a dead letter gets.
pub(super) struct Texts {
    deliveries: String,
    first: String,
    last: String,
    count: String,
    origin: String,
}

impl Texts {
    pub(super) fn new(dead: &Dead, queue: &str, id: MessageId, now: Timestamp) -> Self {
        let before = dead.stored.header(DEAD_COUNT);
        let before: u32 = before.and_then(|value| number(value)).unwrap_or(0);
        let origin = dead.stored.header(ORIGIN);
        let origin = origin.map(|origin| String::from_utf8_lossy(origin).into_owned());
        Self {
            deliveries: dead.deliveries.to_string(),
            first: dead.first.unwrap_or(now).millis().to_string(),
            last: now.millis().to_string(),
            count: before.saturating_add(1).to_string(),
            origin: origin.unwrap_or_else(|| format!("{queue}/{id}")),
        }
    }
}

/// True for a header that a death writes anew, or that ends with it.
fn is_replaced(name: &str) -> bool {
    name.starts_with("duolog-dead-") || [ORIGIN, EXPIRES, DUE].contains(&name)
}

/// The message as its next queue gets it: body, key and headers as they were.
/// A record of a topic may have so many that the last do not fit beside the
/// `added`.
pub(super) fn carried(stored: &Stored, added: usize, keep: impl Fn(&str) -> bool) -> Record<'_> {
    let mut record = Record::new(&stored.body).timestamp(stored.timestamp);
    if let Some(key) = &stored.key {
        record = record.key(key);
    }
    let kept = stored.headers.iter().filter(|(name, _)| keep(name));
    for (name, value) in kept.take(HEADERS_MAX - added) {
        record = record.header(name, value);
    }
    record
}

impl QueueState {
    /// The queue that dead messages go to, if there is one.
    pub(super) fn dead_letter(&self) -> Result<Option<Arc<Self>>> {
        let name = self.options().dead_letter.clone();
        name.map(|name| self.env.registry().get(&name)).transpose()
    }

    /// Takes messages out of a lane for good: to the dead-letter queue if there
    /// is one, and in the same commit. The lane is locked.
    pub(super) fn bury(
        &self,
        lane: &Lane,
        state: &mut LaneState,
        dead: Vec<Dead>,
        durability: Durability,
    ) -> Result<Option<CommitHandle>> {
        let target = self.dead_letter()?;
        let mut rest = dead;
        let mut last = None;
        while !rest.is_empty() {
            let count = first_load(&rest, self.env.load_bytes_max(BURY_BYTES));
            let later = rest.split_off(count);
            last = self
                .bury_some(lane, state, &rest, target.as_deref(), durability)?
                .or(last);
            rest = later;
        }
        self.signal.notify();
        Ok(last)
    }

    fn bury_some(
        &self,
        lane: &Lane,
        state: &mut LaneState,
        dead: &[Dead],
        target: Option<&Self>,
        durability: Durability,
    ) -> Result<Option<CommitHandle>> {
        let now = self.env.parts.clock.now();
        let changes = done_each(dead.iter().map(|dead| dead.stored.offset));
        let how = How {
            durability: durability.max(Durability::Buffered),
            codec: self.options().codec,
            detached: true,
        };
        let entry = || vec![Entry::Ledger(lane.id, changes.clone())];
        let accepted = match target {
            None => self.env.commit(&[], how, |_| entry())?,
            Some(target) => {
                let id = |dead: &Dead| lane.message(dead.stored.offset);
                let texts: Vec<_> = dead
                    .iter()
                    .map(|dead| Texts::new(dead, &self.name, id(dead), now))
                    .collect();
                let records = dead.iter().zip(&texts);
                let records: Vec<_> = records
                    .map(|(dead, text)| self.letter(dead, text))
                    .collect();
                let from = lane.id.partition;
                let from = records.iter().map(|it| (from, it, Later::default()));
                let loads = target.arrivals(self, from)?;
                let parts: Vec<_> = loads.iter().map(Load::part).collect();
                let accepted = self.env.commit(&parts, how, |_| entry())?;
                target.lengthen(to_u64(dead.len()));
                accepted
            }
        };
        state.apply(&changes);
        self.shorten(to_u64(dead.len()));
        Ok(accepted.handle)
    }

    /// Where messages go that come from lanes of another queue: with their
    /// priority, and to the shard of their order key. What comes from one lane and
    /// has no key stays together.
    pub(super) fn arrivals<'w>(
        &'w self,
        from: &Self,
        records: impl Iterator<Item = (u32, &'w Record<'w>, Later)>,
    ) -> Result<Vec<Load<'w>>> {
        let mut loads = Vec::new();
        for (place, (number, record, later)) in records.enumerate() {
            let lane = self.lane(self.lane_like(number, from, record))?;
            let load = Load::of_lane(&mut loads, lane, self.terms_inside());
            load.push(place, record, later);
        }
        loads.sort_by_key(|load| load.partition.id);
        Ok(loads)
    }

    /// The lane here for a message that comes from lane `number` of another queue.
    pub(super) fn lane_like(&self, number: u32, other: &Self, record: &Record<'_>) -> u32 {
        let (mine, theirs) = (self.options(), other.options());
        let priority = if other.owns() {
            number / theirs.shards
        } else {
            0
        };
        let shard = match record.key_bytes() {
            Some(_) => self.topic.route(record, mine.shards),
            None => number % mine.shards,
        };
        priority.min(u32::from(mine.priority_max)) * mine.shards + shard
    }

    pub(super) fn letter<'d>(&'d self, dead: &'d Dead, texts: &'d Texts) -> Record<'d> {
        let mut record = carried(&dead.stored, LETTER_HEADERS, |name| !is_replaced(name))
            .header(ORIGIN, &texts.origin)
            .header(DEAD_REASON, dead.reason.as_str())
            .header(DEAD_QUEUE, &self.name)
            .header(DEAD_DELIVERIES, &texts.deliveries)
            .header(DEAD_FIRST, &texts.first)
            .header(DEAD_LAST, &texts.last)
            .header(DEAD_COUNT, &texts.count);
        if let Some(error) = &dead.error {
            record = record.header(DEAD_ERROR, clipped(error));
        }
        record
    }

    /// Sends messages that the queue has no room for to its dead-letter queue.
    pub(super) fn overflow_to_dead_letter(&self, messages: &[Message<'_>]) -> Result<()> {
        let Some(target) = self.dead_letter()? else {
            return Err(Error::invalid("overflow to a dead-letter queue needs one"));
        };
        let now = self.env.parts.clock.now();
        let at = now.millis().to_string();
        let letters: Vec<_> = messages
            .iter()
            .map(|message| {
                let record = message.record.clone();
                let record = record.header(DEAD_REASON, DeadReason::Overflow.as_str());
                let record = record
                    .header(DEAD_QUEUE, &self.name)
                    .header(DEAD_DELIVERIES, "0");
                record
                    .header(DEAD_FIRST, &at)
                    .header(DEAD_LAST, &at)
                    .header(DEAD_COUNT, "1")
            })
            .collect();
        let shards = self.options().shards;
        let from = messages.iter().zip(&letters).map(|(message, letter)| {
            let lane = u32::from(message.priority) * shards;
            (lane, letter, Later::default())
        });
        let loads = target.arrivals(self, from)?;
        let parts: Vec<_> = loads.iter().map(Load::part).collect();
        let how = How {
            durability: self.options().durability.max(Durability::Buffered),
            codec: self.options().codec,
            detached: false,
        };
        let accepted = self.env.commit(&parts, how, |_| Vec::new())?;
        target.lengthen(to_u64(messages.len()));
        match accepted.handle {
            Some(handle) => handle.wait(self.env.parts.wal()?),
            None => Ok(()),
        }
    }
}

/// As much of an error's text as is kept.
fn clipped(text: &str) -> &str {
    let ends = text
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8());
    let end = ends.take_while(|end| *end <= ERROR_LEN_MAX).last();
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// How many of the first messages make one commit; at least one.
fn first_load(dead: &[Dead], bytes_max: u64) -> usize {
    let mut bytes = 0;
    let fits = dead.iter().take(BURY_MESSAGES).take_while(|dead| {
        let error = dead.error.as_ref().map_or(0, String::len);
        bytes += dead.stored.bytes() + to_u64(error) + LETTER_BYTES;
        bytes <= bytes_max
    });
    fits.count().max(1)
}

/// Runs of offsets that are done; the offsets in any order.
pub(super) fn done_each(offsets: impl Iterator<Item = Offset>) -> Vec<Change> {
    let mut offsets: Vec<_> = offsets.collect();
    offsets.sort_unstable();
    let mut changes: Vec<Change> = Vec::new();
    for offset in offsets {
        let next = offset.saturating_add(1);
        match changes.last_mut() {
            Some(Change::Done { to, .. }) if *to >= offset => *to = next,
            _ => changes.push(Change::Done {
                from: offset,
                to: next,
            }),
        }
    }
    changes
}

/// Runs from `from` to `to` without what is in flight, which rises.
pub(super) fn between(from: Offset, to: Offset, in_flight: &[Offset]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut at = from;
    for offset in in_flight.iter().chain(std::iter::once(&to)) {
        if at < *offset {
            changes.push(Change::Done {
                from: at,
                to: *offset,
            });
        }
        at = offset.saturating_add(1);
    }
    changes
}

/// What the headers of a message say of its death; `None` if it lives its first
/// life.
pub(crate) fn death_note(stored: &Stored) -> Option<DeathNote> {
    let text = |name| {
        stored
            .header(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let time = |name| {
        let value = stored.header(name).and_then(|value| number(value));
        Timestamp::from_millis(value.unwrap_or(0))
    };
    Some(DeathNote {
        reason: DeadReason::parse(stored.header(DEAD_REASON)?)?,
        error: text(DEAD_ERROR),
        queue: text(DEAD_QUEUE)?,
        deliveries: stored
            .header(DEAD_DELIVERIES)
            .and_then(|value| number(value))?,
        first: time(DEAD_FIRST),
        last: time(DEAD_LAST),
        count: stored.header(DEAD_COUNT).and_then(|value| number(value))?,
    })
}
