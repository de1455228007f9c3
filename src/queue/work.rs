//! One commit over many lanes: messages with their delays, records of topics,
//! acks and dead letters, in one frame.
//!
//! All lanes that the commit changes are locked first, in the order of their
//! ids, so that nobody takes a message that is delayed, and no two commits wait
//! for each other. Then receipts are checked, the frame is logged, and the
//! ledgers are told. What fails before the log has changed nothing.

use std::sync::Arc;

use super::lane::{Lane, LaneState};
use super::ledger::Held;
use super::send::after;
use super::settle::{Answer, fence_error};
use super::{Message, QueueEnv, QueueState};
use crate::error::Result;
use crate::format::Record;
use crate::format::dedup::{Seen, SeenIds};
use crate::format::entry::Entry;
use crate::format::ledger::Change;
use crate::ids::{Offset, PartitionId, Timestamp, to_u64};
use crate::partition::{Accepted, Appended, How, Part, Partition, Picked, Terms, commit_together};
use crate::sync::FairMutexGuard;

/// What is to happen to a message at a time that is known when it is sent, and
/// by which id it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Later {
    pub(super) due: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    pub(super) seen: Option<(u128, Timestamp)>,
}

impl Later {
    pub(super) fn of(message: &Message<'_>, now: Timestamp) -> Self {
        Self {
            due: message
                .delay
                .filter(|it| !it.is_zero())
                .map(|it| after(now, it)),
            expires: message.ttl.map(|it| after(now, it)),
            seen: None,
        }
    }

    fn changes_lane(&self) -> bool {
        self.due.is_some() || self.expires.is_some()
    }
}

/// Records that go to one partition.
pub(super) struct Load<'w> {
    /// Of a queue: the lane.
    pub(super) lane: Option<&'w Lane>,
    pub(super) partition: &'w Arc<Partition>,
    pub(super) terms: Terms,
    /// Their places in what was asked for.
    pub(super) places: Vec<usize>,
    pub(super) records: Vec<&'w Record<'w>>,
    /// One for each record.
    pub(super) laters: Vec<Later>,
}

impl<'w> Load<'w> {
    /// No records yet, for a partition of a topic.
    fn new(partition: &'w Arc<Partition>, terms: Terms) -> Self {
        Self {
            lane: None,
            partition,
            terms,
            places: Vec::new(),
            records: Vec::new(),
            laters: Vec::new(),
        }
    }

    /// That of a lane among `loads`, added if it is not there yet.
    pub(super) fn of_lane<'l>(
        loads: &'l mut Vec<Self>,
        lane: &'w Lane,
        terms: Terms,
    ) -> &'l mut Self {
        let load = Self::of(loads, &lane.partition, terms);
        load.lane = Some(lane);
        load
    }

    /// That of a partition among `loads`, added if it is not there yet.
    pub(super) fn of<'l>(
        loads: &'l mut Vec<Self>,
        partition: &'w Arc<Partition>,
        terms: Terms,
    ) -> &'l mut Self {
        let at = loads
            .iter()
            .position(|load| load.partition.id == partition.id);
        let at = at.unwrap_or(loads.len());
        if at == loads.len() {
            loads.push(Self::new(partition, terms));
        }
        loads.get_mut(at).expect("it was there, or was added")
    }

    pub(super) fn push(&mut self, place: usize, record: &'w Record<'w>, later: Later) {
        self.places.push(place);
        self.records.push(record);
        self.laters.push(later);
    }

    pub(super) fn part(&self) -> Part<'_, 'w> {
        Part::new(self.partition, self.terms, Picked::Some(&self.records))
    }

    /// What the ledger and the timers are told, once it is known where the
    /// messages go.
    pub(super) fn changes(&self, appended: &Appended) -> Vec<Change> {
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

    /// Which ids its messages have.
    fn seen(&self, lane: u32, first: Offset) -> Vec<Seen> {
        let seen = self.laters.iter().enumerate().filter_map(|(n, later)| {
            let (hash, until) = later.seen?;
            Some(Seen {
                hash,
                lane,
                offset: first.saturating_add(to_u64(n)),
                until,
            })
        });
        seen.collect()
    }

    fn has_laters(&self) -> bool {
        self.laters
            .iter()
            .any(|later| later.changes_lane() || later.seen.is_some())
    }

    fn changes_lane(&self) -> bool {
        self.laters.iter().any(Later::changes_lane)
    }
}

/// Deliveries that are answered with an ack, all in one lane.
pub(super) struct Settling<'w> {
    pub(super) queue: &'w QueueState,
    pub(super) lane: &'w Lane,
    pub(super) answers: Vec<Answer>,
}

/// What one commit does.
pub(super) struct Work<'w> {
    /// Sorted by partition, without repeats.
    pub(super) loads: Vec<Load<'w>>,
    /// Sorted by lane, without repeats.
    pub(super) settlings: Vec<Settling<'w>>,
}

pub(super) type Locked<'w> = Vec<(PartitionId, FairMutexGuard<'w, LaneState>)>;

impl Work<'_> {
    /// Commits it. Consumers are told by the caller.
    ///
    /// # Errors
    ///
    /// `Fenced` if a delivery is no longer its consumer's, and what appends say.
    /// Nothing is changed then.
    pub(super) fn commit(&self, env: &QueueEnv, how: How) -> Result<Accepted> {
        let mut locked = self.lock();
        let mut held = Vec::new();
        for settling in &self.settlings {
            let state = find(&mut locked, settling.lane.id);
            for answer in &settling.answers {
                let checked = state.ledger.check(answer.receipt);
                let checked = checked.map_err(|fence| fence_error(answer.id, fence))?;
                if let Held::Open { consumer, .. } = checked {
                    held.push((settling.queue, consumer));
                }
            }
        }
        let parts: Vec<_> = self.loads.iter().map(Load::part).collect();
        let plain = self.settlings.is_empty() && !self.loads.iter().any(Load::has_laters);
        let accepted = if plain {
            commit_together(&parts, how)?
        } else {
            env.commit(&parts, how, |appended| self.entries(appended))?
        };
        for (id, changes) in self.changes(&accepted.appended) {
            let state = find(&mut locked, id);
            state.apply(&changes);
            for change in &changes {
                env.note(id, change);
            }
        }
        drop(locked);
        for (queue, consumer) in held {
            _ = queue.let_go(consumer);
        }
        for settling in &self.settlings {
            settling.queue.shorten(to_u64(settling.answers.len()));
            settling.queue.signal.notify();
        }
        Ok(accepted)
    }

    /// Locks every lane that it changes.
    fn lock(&self) -> Locked<'_> {
        let loads = self.loads.iter().filter(|load| load.changes_lane());
        let loads = loads.filter_map(|load| load.lane);
        let settled = self.settlings.iter().map(|settling| settling.lane);
        lock_all(loads.chain(settled))
    }

    /// What the ledgers are told.
    fn changes(&self, appended: &[Appended]) -> Vec<(PartitionId, Vec<Change>)> {
        let mut all = Vec::new();
        for (load, appended) in self.loads.iter().zip(appended) {
            let changes = load.changes(appended);
            if let Some(lane) = load.lane.filter(|_| !changes.is_empty()) {
                all.push((lane.id, changes));
            }
        }
        for settling in &self.settlings {
            let offsets = settling.answers.iter().map(|answer| answer.id.offset);
            all.push((settling.lane.id, super::dead::done_each(offsets)));
        }
        all
    }

    fn entries<'e>(&self, appended: &[Appended]) -> Vec<Entry<'e>> {
        let changes = self.changes(appended).into_iter();
        let mut entries: Vec<_> = changes
            .map(|(id, changes)| Entry::Ledger(id, changes))
            .collect();
        for (load, appended) in self.loads.iter().zip(appended) {
            if let Some(lane) = load.lane {
                let seen = load.seen(lane.id.partition, appended.offset);
                let queue = lane.id.topic;
                if !seen.is_empty() {
                    entries.push(Entry::Seen(SeenIds { queue, seen }));
                }
            }
        }
        entries
    }
}

/// Locks lanes in the order of their ids, as everybody does.
pub(super) fn lock_all<'w>(lanes: impl Iterator<Item = &'w Lane>) -> Locked<'w> {
    let mut lanes: Vec<_> = lanes.collect();
    lanes.sort_by_key(|lane| lane.id);
    lanes.dedup_by_key(|lane| lane.id);
    lanes
        .into_iter()
        .map(|lane| (lane.id, lane.lock()))
        .collect()
}

pub(super) fn find<'l>(locked: &'l mut Locked<'_>, id: PartitionId) -> &'l mut LaneState {
    let found = locked.iter_mut().find(|(lane, _)| *lane == id);
    &mut found.expect("every lane that is changed was locked").1
}
