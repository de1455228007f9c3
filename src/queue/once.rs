//! Sending once: messages whose deduplication id came before are not stored
//! again.

use std::collections::HashMap;
use std::time::Duration;

use super::dedup::Dedup;
use super::send::after;
use super::{Message, MessageId, QueueState, Sent};
use crate::error::{Error, ErrorKind, Result};
use crate::format::dedup::{Seen, hash};
use crate::ids::{Lsn, Timestamp, to_u64};
use crate::options::Durability;
use crate::partition::How;
use crate::signal::lock;

/// The messages of a send, sorted by whether they came before.
struct Sorted<'m> {
    fresh: Vec<Message<'m>>,
    /// For each message: its place among the fresh ones, or the id that it has.
    answers: Vec<Result<usize, MessageId>>,
    /// Ids that are new.
    ids: usize,
    /// End of the newest frame that has one of the others.
    newest: Lsn,
}

impl<'m> Sorted<'m> {
    fn new(messages: &[Message<'m>], how: How, dedup: &Dedup, now: Timestamp) -> Self {
        let mut here = HashMap::new();
        let mut sorted = Self {
            fresh: Vec::new(),
            answers: Vec::with_capacity(messages.len()),
            ids: 0,
            newest: Lsn::ZERO,
        };
        // What dies with the process does not stand for what must not.
        let transient = how.durability == Durability::Transient;
        for message in messages {
            let hash = message.dedup_id.map(|id| hash(id.as_bytes()));
            let known = hash.and_then(|hash| dedup.get(hash, now));
            if let Some(known) = known.filter(|known| transient || known.frame.is_some()) {
                sorted.newest = sorted.newest.max(known.frame.unwrap_or_default());
                sorted.answers.push(Err(known.id));
                continue;
            }
            let next = sorted.fresh.len();
            let place = hash.map_or(next, |hash| *here.entry(hash).or_insert(next));
            if place == next {
                sorted.fresh.push(message.clone());
            }
            sorted.answers.push(Ok(place));
        }
        sorted.ids = here.len();
        sorted
    }
}

impl QueueState {
    /// Messages of which some may have been sent before: those are not stored
    /// again, and get the id of the first.
    pub(super) fn send_once(
        &self,
        messages: &[Message<'_>],
        how: How,
        window: Duration,
    ) -> Result<Sent> {
        let now = self.env.parts.clock.now();
        let mut dedup = lock(&self.dedup);
        dedup.forget(now);
        let sorted = Sorted::new(messages, how, &dedup, now);
        if dedup.is_full(sorted.ids) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "queue {:?} remembers 1,048,576 deduplication ids, which is the most; retry \
                     when some are over, or make `dedup_window` shorter",
                    self.name
                ),
            ));
        }
        let stored = self.store_fresh(&sorted.fresh, how, after(now, window), &mut dedup)?;
        drop(dedup);
        let wal = self.env.parts.wal()?;
        if how.durability == Durability::Durable && sorted.newest > wal.durable() {
            // The first one is on its way: its answer is this one's.
            wal.sync()?;
        }
        let id = |answer| match answer {
            Ok(place) => stored.ids.get::<usize>(place).copied(),
            Err(id) => Some(id),
        };
        Ok(Sent {
            ids: sorted.answers.into_iter().filter_map(id).collect(),
            handle: stored.handle,
            end: stored.end,
        })
    }

    fn store_fresh(
        &self,
        fresh: &[Message<'_>],
        how: How,
        until: Timestamp,
        dedup: &mut Dedup,
    ) -> Result<Sent> {
        if fresh.is_empty() {
            return Ok(Sent {
                ids: Vec::new(),
                handle: None,
                end: None,
            });
        }
        self.make_room(to_u64(fresh.len()), fresh)?;
        let sent = self
            .send_mixed(fresh, how, Some(until))
            .inspect_err(|_| self.shorten(to_u64(fresh.len())))?;
        for (message, id) in fresh.iter().zip(&sent.ids) {
            if let Some(dedup_id) = message.dedup_id {
                let seen = Seen {
                    hash: hash(dedup_id.as_bytes()),
                    lane: id.lane,
                    offset: id.offset,
                    until,
                };
                dedup.insert(&seen, sent.end);
            }
        }
        Ok(sent)
    }
}
