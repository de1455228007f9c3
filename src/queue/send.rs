//! Sending: messages to lanes, in one commit with their delays.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::message::{DEDUP_ID, EXPIRES};
use super::{Message, MessageId, QueueState};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Record;
use crate::format::entry::Entry;
use crate::format::ledger::Change;
use crate::ids::{PartitionId, Timestamp, to_u64};
use crate::options::{Durability, OnLimit, Overflow};
use crate::partition::{Appended, How, Part, Picked, commit_along, commit_together};
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
}

/// What is to happen to a message at a time that is known when it is sent.
#[derive(Clone, Copy, Debug, Default)]
struct Later {
    due: Option<Timestamp>,
    expires: Option<Timestamp>,
}

/// Messages of one send that go to one lane.
struct Load<'m> {
    lane: u32,
    /// Their places in the send.
    places: Vec<usize>,
    records: Vec<&'m Record<'m>>,
    laters: Vec<Later>,
}

impl Load<'_> {
    fn has_laters(&self) -> bool {
        let later = |later: &Later| later.due.is_some() || later.expires.is_some();
        self.laters.iter().any(later)
    }

    /// What the ledger and the timers are told, once it is known where the
    /// messages go.
    fn changes(&self, appended: &Appended) -> Vec<Change> {
        let mut changes = Vec::new();
        for (n, later) in self.laters.iter().enumerate() {
            let offset = appended.offset.saturating_add(to_u64(n));
            if let Some(due) = later.due {
                let key = None;
                changes.push(Change::Delayed { offset, due, key });
            }
            if let Some(due) = later.expires {
                changes.push(Change::Expires { offset, due });
            }
        }
        changes
    }
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
        if let Some(source) = &self.source {
            return Err(Error::invalid(format!(
                "queue {:?} is a subscription: it takes its messages from topic {}; append there",
                self.name, source.topic
            )));
        }
        for message in messages {
            message.check(options.priority_max)?;
        }
        self.env
            .parts
            .admit(how.on_limit.unwrap_or(OnLimit::Block))?;
        let how = How {
            durability: how.durability.unwrap_or(options.durability),
            codec: options.codec,
            detached: how.detached,
        };
        let plain = messages.iter().all(Message::is_plain);
        let alike = messages.iter().all(|message| {
            message.record.key_bytes().is_none() && message.priority == first.priority
        });
        self.make_room(to_u64(messages.len()), messages)?;
        let sent = if plain && alike {
            self.send_alike(messages, how)
        } else {
            self.send_mixed(messages, how)
        };
        if sent.is_err() {
            self.shorten(to_u64(messages.len()));
        }
        sent
    }

    /// Messages that all go to one lane, as they are.
    fn send_alike(&self, messages: &[Message<'_>], how: How) -> Result<Sent> {
        let terms = self.topic.terms();
        let priority = messages.first().map_or(0, |message| message.priority);
        let number = self.lane_of(u32::from(priority), None);
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
        })
    }

    fn send_mixed(&self, messages: &[Message<'_>], how: How) -> Result<Sent> {
        let now = self.env.parts.clock.now();
        let texts: Vec<_> = messages
            .iter()
            .map(|message| expiry_text(message, now))
            .collect();
        let whole: Vec<_> = messages
            .iter()
            .zip(&texts)
            .map(|(m, text)| complete(m, text.as_ref()))
            .collect();
        let loads = self.load(messages, &whole, now);
        let mut lanes = Vec::with_capacity(loads.len());
        for load in &loads {
            lanes.push(self.lane(load.lane)?);
        }
        let terms = self.topic.terms();
        let parts: Vec<_> = loads
            .iter()
            .zip(&lanes)
            .map(|(load, lane)| Part::new(&lane.partition, terms, Picked::Some(&load.records)))
            .collect();
        if !loads.iter().any(Load::has_laters) {
            let accepted = commit_together(&parts, how)?;
            let ids = ids(&loads, &accepted.appended, messages.len());
            return Ok(Sent {
                ids,
                handle: accepted.handle,
            });
        }
        // Locked from before the messages can be seen: nobody takes one that is
        // delayed.
        let mut states: Vec<_> = lanes.iter().map(|lane| lane.lock()).collect();
        let changes = |appended: &[Appended]| -> Vec<(PartitionId, Vec<Change>)> {
            let loads = loads.iter().zip(&lanes).zip(appended);
            let made = loads.map(|((load, lane), appended)| (lane.id, load.changes(appended)));
            made.filter(|(_, changes)| !changes.is_empty()).collect()
        };
        let accepted = commit_along(&parts, how, |appended| {
            let changes = changes(appended).into_iter();
            changes
                .map(|(id, changes)| Entry::Ledger(id, changes))
                .collect()
        })?;
        for (id, changes) in changes(&accepted.appended) {
            let at = lanes.iter().position(|lane| lane.id == id);
            let state = at.and_then(|at| states.get_mut(at));
            let state = state.expect("changes are of lanes of this send");
            for change in &changes {
                state.ledger.apply(change);
                self.env.note(id, change);
            }
        }
        let ids = ids(&loads, &accepted.appended, messages.len());
        Ok(Sent {
            ids,
            handle: accepted.handle,
        })
    }

    /// Sorts messages to lanes, keeping their order in each.
    fn load<'m>(
        &self,
        messages: &'m [Message<'_>],
        whole: &'m [Record<'m>],
        now: Timestamp,
    ) -> Vec<Load<'m>> {
        let mut loads: Vec<Load<'m>> = Vec::new();
        let keyless = self.turn.fetch_add(1, Ordering::Relaxed);
        for (place, (message, record)) in messages.iter().zip(whole).enumerate() {
            let number = match message.record.key_bytes() {
                Some(_) => self.lane_of(u32::from(message.priority), Some(record)),
                None => self.lane_at(u32::from(message.priority), keyless),
            };
            let at = loads.iter().position(|load| load.lane == number);
            let at = at.unwrap_or_else(|| {
                loads.push(Load {
                    lane: number,
                    places: Vec::new(),
                    records: Vec::new(),
                    laters: Vec::new(),
                });
                loads.len() - 1
            });
            if let Some(load) = loads.get_mut(at) {
                load.places.push(place);
                load.records.push(record);
                load.laters.push(Later {
                    due: message
                        .delay
                        .filter(|it| !it.is_zero())
                        .map(|it| after(now, it)),
                    expires: message.ttl.map(|it| after(now, it)),
                });
            }
        }
        loads.sort_by_key(|load| load.lane);
        loads
    }

    fn lane_at(&self, priority: u32, turn: u32) -> u32 {
        let shards = self.options().shards;
        priority * shards + turn % shards
    }

    fn lane_of(&self, priority: u32, keyed: Option<&Record<'_>>) -> u32 {
        let shards = self.options().shards;
        let shard = match keyed {
            Some(record) => self.topic.route(record, shards),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % shards,
        };
        priority * shards + shard
    }

    /// Counts messages in, if the queue may be so long.
    fn make_room(&self, count: u64, messages: &[Message<'_>]) -> Result<()> {
        let by = i64::try_from(count).unwrap_or(i64::MAX);
        let length = self
            .length
            .fetch_add(by, Ordering::Relaxed)
            .saturating_add(by);
        let options = self.options();
        let Some(most) = options.length_max else {
            return Ok(());
        };
        let over = u64::try_from(length).unwrap_or(0).saturating_sub(most);
        if over == 0 {
            return Ok(());
        }
        let full = |note: &str| {
            self.shorten(count);
            Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "queue {:?} has its `length_max` of {most} messages{note}; retry when some are \
                     done",
                    self.name
                ),
            ))
        };
        match options.overflow {
            Overflow::DropOldest if count <= most => {
                self.drop_oldest(over)?;
                Ok(())
            }
            Overflow::DeadLetter => {
                self.overflow_to_dead_letter(messages)?;
                full(" (what was sent is in its dead-letter queue)")
            }
            Overflow::Reject | Overflow::DropOldest => full(""),
        }
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
                    lane: load.lane,
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

fn expiry_text(message: &Message<'_>, now: Timestamp) -> Option<String> {
    let ttl = message.ttl?;
    Some(after(now, ttl).millis().to_string())
}

/// The record of a message, with what the engine adds.
fn complete<'m>(message: &'m Message<'_>, expiry: Option<&'m String>) -> Record<'m> {
    let mut record = message.record.clone();
    if let Some(text) = expiry {
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
            Change::Done { .. } | Change::Failed { .. } | Change::Ready { .. } => return,
        };
        self.add_timer(Timer {
            due,
            kind,
            partition: id,
            offset,
        });
    }
}
