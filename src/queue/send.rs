//! Sending: messages to lanes, in one commit with their delays.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::message::{DEDUP_ID, DUE, EXPIRES};
use super::work::{Later, Load, Work};
use super::{Message, MessageId, QueueState};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::format::dedup;
use crate::format::ledger::Change;
use crate::ids::{Lsn, PartitionId, Timestamp, to_u64};
use crate::options::{Durability, OnLimit, Overflow};
use crate::partition::{Appended, How, Part, Picked, commit_together};
use crate::timers::{Timer, TimerKind};
use crate::wal::CommitHandle;

/// How a send was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sending {
    pub(crate) durability: Option<Durability>,
    pub(crate) on_limit: Option<OnLimit>,
    /// No thread is going to wait for it at once.
    pub(crate) detached: bool,
}

/// A send that was accepted.
#[derive(Debug)]
pub(crate) struct Sent {
    /// In the order of the messages.
    pub(crate) ids: Vec<MessageId>,
    /// To wait on, if it is to be durable.
    pub(crate) handle: Option<CommitHandle>,
    /// End of its frame; `None` if that is not in the log, or not yet.
    pub(super) end: Option<Lsn>,
}

/// What became of a wish for room.
pub(super) enum Reserved {
    /// The messages are counted in.
    Fits,
    /// They are counted in, and so many of the oldest have to go.
    Over(u64),
    /// They are not counted in, for this reason.
    Full(Error),
}

impl QueueState {
    /// Stores messages, all or none. To be called without locks.
    ///
    /// # Errors
    ///
    /// `Invalid` for a message that is not allowed, `Busy` for a queue that is
    /// full, and what appends say.
    pub(crate) fn send(&self, messages: &[Message<'_>], how: Sending) -> Result<Sent> {
        self.check_open()?;
        let options = self.options();
        let Some(first) = messages.first() else {
            return Err(Error::invalid("a send needs at least one message"));
        };
        self.check_own()?;
        for message in messages {
            message.check(options.priority_max)?;
            message.check_size(options.message_bytes_max)?;
        }
        self.env
            .parts
            .admit(how.on_limit.unwrap_or(OnLimit::Block))?;
        let how = How {
            durability: how.durability.unwrap_or(options.durability),
            codec: options.codec,
            detached: how.detached,
        };
        let known = messages.iter().any(|message| message.dedup_id.is_some());
        if let Some(window) = options.dedup_window.filter(|_| known) {
            return self.send_once(messages, how, window);
        }
        let plain = messages.iter().all(Message::is_plain);
        let alike = messages.iter().all(|message| {
            message.record.key_bytes().is_none() && message.priority == first.priority
        });
        self.make_room(to_u64(messages.len()), messages)?;
        let sent = if plain && alike {
            self.send_alike(messages, how)
        } else {
            self.send_mixed(messages, how, None)
        };
        if sent.is_err() {
            self.shorten(to_u64(messages.len()));
        }
        sent
    }

    /// Refuses messages for a subscription.
    pub(super) fn check_own(&self) -> Result<()> {
        match &self.source {
            None => Ok(()),
            Some(_) => Err(Error::invalid(format!(
                "queue {:?} is a subscription: it takes its messages from topic {:?}; append there",
                self.name, self.topic.name
            ))),
        }
    }

    /// Messages that all go to one lane, as they are.
    fn send_alike(&self, messages: &[Message<'_>], how: How) -> Result<Sent> {
        let terms = self.topic.terms();
        let first = messages.first();
        let number = first.map_or(0, |first| self.lane_for(first, self.next_turn()));
        let lane = self.lane(number)?;
        let records: Vec<_> = messages.iter().map(|message| &message.record).collect();
        let part = Part::new(&lane.partition, terms, Picked::Some(&records));
        let accepted = commit_together(&[part], how)?;
        let mut ids = Vec::with_capacity(messages.len());
        for appended in &accepted.appended {
            let offsets = (0..u64::from(appended.count)).map(|n| appended.offset.saturating_add(n));
            ids.extend(offsets.map(|offset| lane.message(offset)));
        }
        Ok(Sent {
            ids,
            handle: accepted.handle,
            end: accepted.end,
        })
    }

    /// Messages that go to several lanes, or not as they are.
    pub(super) fn send_mixed(
        &self,
        messages: &[Message<'_>],
        how: How,
        until: Option<Timestamp>,
    ) -> Result<Sent> {
        let now = self.env.parts.clock.now();
        let texts = messages.iter().map(|message| Times::of(message, now));
        let texts: Vec<_> = texts.collect();
        let whole = messages.iter().zip(&texts);
        let whole: Vec<_> = whole
            .map(|(message, times)| complete(message, times))
            .collect();
        let mut loads = Vec::new();
        self.load(messages, &whole, now, until, &mut loads)?;
        loads.sort_by_key(|load| load.partition.id);
        let work = Work {
            loads,
            settlings: Vec::new(),
        };
        let accepted = work.commit(&self.env, how)?;
        Ok(Sent {
            ids: ids(&work.loads, &accepted.appended, messages.len()),
            handle: accepted.handle,
            end: accepted.end,
        })
    }

    /// Sorts messages to lanes, keeping their order in each. With `until`, their
    /// deduplication ids are known until then.
    fn load<'w>(
        &'w self,
        messages: &'w [Message<'_>],
        whole: &'w [Record<'w>],
        now: Timestamp,
        until: Option<Timestamp>,
        loads: &mut Vec<Load<'w>>,
    ) -> Result<()> {
        let turn = self.next_turn();
        for (place, (message, record)) in messages.iter().zip(whole).enumerate() {
            let lane = self.lane(self.lane_for(message, turn))?;
            let hash = message.dedup_id.map(|id| dedup::hash(id.as_bytes()));
            let later = Later {
                seen: hash.zip(until),
                ..Later::of(message, now)
            };
            // The engine's headers are not the sender's: what that may send was
            // checked.
            let load = Load::of_lane(loads, lane, self.terms_inside());
            load.push(place, record, later);
        }
        Ok(())
    }

    pub(super) fn next_turn(&self) -> u32 {
        self.send_turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The lane that a message goes to: by its order key; without one, to the
    /// shard whose turn it is.
    pub(super) fn lane_for(&self, message: &Message<'_>, turn: u32) -> u32 {
        let shards = self.options().shards;
        let shard = match message.record.key_bytes() {
            Some(_) => self.topic.route(&message.record, shards),
            None => turn % shards,
        };
        u32::from(message.priority) * shards + shard
    }

    /// Counts messages in, if the queue may be so long, or can make room.
    pub(super) fn make_room(&self, count: u64, messages: &[Message<'_>]) -> Result<()> {
        let full = match self.reserve(count, 0)? {
            Reserved::Fits => return Ok(()),
            Reserved::Over(over) => {
                return self.drop_oldest(over).inspect_err(|_| self.shorten(count));
            }
            Reserved::Full(full) => full,
        };
        if self.options().overflow != Overflow::DeadLetter {
            return Err(full);
        }
        self.overflow_to_dead_letter(messages)?;
        let text = format!("{full}; what was sent is in its dead-letter queue");
        Err(Error::new(ErrorKind::Busy, text))
    }

    /// Counts messages in, if the queue may be so long once `freed` others are
    /// done, or once the oldest make room.
    ///
    /// # Errors
    ///
    /// `Invalid` for more than ever fit.
    pub(super) fn reserve(&self, count: u64, freed: u64) -> Result<Reserved> {
        self.lengthen(count);
        let options = self.options();
        let Some(most) = options.length_max else {
            return Ok(Reserved::Fits);
        };
        let over = self.length().saturating_sub(freed).saturating_sub(most);
        if over == 0 {
            return Ok(Reserved::Fits);
        }
        if count <= most && options.overflow == Overflow::DropOldest && self.free() >= over {
            return Ok(Reserved::Over(over));
        }
        self.shorten(count);
        if count > most {
            return Err(Error::invalid(format!(
                "{count} messages at once never fit into queue {:?}, whose `length_max` is {most}; \
                 send fewer at a time",
                self.name
            )));
        }
        let text = format!(
            "queue {:?} has its `length_max` of {most} messages; retry when some are done",
            self.name
        );
        Ok(Reserved::Full(Error::new(ErrorKind::Busy, text)))
    }

    /// How many messages are not done, and on their way.
    pub(super) fn length(&self) -> u64 {
        u64::try_from(self.length.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Counts messages out.
    pub(super) fn shorten(&self, count: u64) {
        let by = i64::try_from(count).unwrap_or(i64::MAX);
        self.length.fetch_sub(by, Ordering::Relaxed);
    }

    /// Counts messages in that come from inside.
    pub(super) fn lengthen(&self, count: u64) {
        let by = i64::try_from(count).unwrap_or(i64::MAX);
        self.length.fetch_add(by, Ordering::Relaxed);
    }
}

/// Where each message of a send went, in its order.
fn ids(loads: &[Load<'_>], appended: &[Appended], count: usize) -> Vec<MessageId> {
    let nowhere = MessageId {
        lane: 0,
        offset: crate::ids::Offset::ZERO,
    };
    let mut ids = vec![nowhere; count];
    for (load, appended) in loads.iter().zip(appended) {
        for (n, place) in load.places.iter().enumerate() {
            if let Some(id) = ids.get_mut(*place) {
                *id = MessageId {
                    lane: load.partition.id.partition,
                    offset: appended.offset.saturating_add(to_u64(n)),
                };
            }
        }
    }
    ids
}

/// A time so long after `now`.
pub(super) fn after(now: Timestamp, span: Duration) -> Timestamp {
    now.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// The times of a message as its headers have them.
#[derive(Default)]
pub(super) struct Times {
    due: Option<String>,
    expires: Option<String>,
}

impl Times {
    pub(super) fn of(message: &Message<'_>, now: Timestamp) -> Self {
        let text = |at: Timestamp| at.millis().to_string();
        let later = Later::of(message, now);
        Self {
            due: later.due.map(text),
            expires: later.expires.map(text),
        }
    }
}

/// The record of a message, with what the engine adds.
pub(super) fn complete<'m>(message: &'m Message<'_>, times: &'m Times) -> Record<'m> {
    let mut record = message.record.clone();
    if let Some(text) = &times.due {
        record = record.header(DUE, text);
    }
    if let Some(text) = &times.expires {
        record = record.header(EXPIRES, text);
    }
    if let Some(id) = message.dedup_id {
        record = record.header(DEDUP_ID, id);
    }
    record
}

impl super::QueueEnv {
    /// Sets the clock for a change that has a time.
    pub(super) fn note(&self, id: PartitionId, change: &Change) {
        let (kind, offset, due) = match *change {
            Change::Delayed { offset, due, .. } => (TimerKind::Wake, offset, due),
            Change::Expires { offset, due } => (TimerKind::Expire, offset, due),
            Change::Done { .. }
            | Change::Failed { .. }
            | Change::Ready { .. }
            | Change::Again { .. } => return,
        };
        self.add_timer(Timer {
            due,
            kind,
            partition: id,
            offset,
        });
    }
}
