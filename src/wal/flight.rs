//! Flights: groups on their way to the disk, and the rules by which they go.
//!
//! Groups may be written in any order and end in any order; they are
//! acknowledged in the order of the log. A power cut therefore leaves some of
//! the groups that nobody was told of, and perhaps a later one without an
//! earlier one: the chain of frames ends at the first that is missing, and
//! what later frames say is durable lies before that.

use std::sync::Arc;
use std::time::Duration;

use super::files::WalFile;
use super::group::{Group, GroupState, Observer};
use super::{Inner, WalOptions};
use crate::clock::Stopwatch;
use crate::ids::Lsn;
use crate::io::Blocks;
use crate::options::SyncPolicy;

/// A group of this size is worth a write of its own beside others.
const GROUP_BYTES_GOOD: usize = 64 << 10;

/// A group that was taken off the list, to be written.
pub(super) struct Departure {
    pub(super) group: Group,
    /// To be on stable storage when it lands.
    pub(super) sync: bool,
    /// Nothing else is under way until it has landed, and the thread that let
    /// it depart writes it.
    pub(super) alone: bool,
    /// The file before, to be synced first.
    pub(super) older: Option<Arc<WalFile>>,
}

/// A group on its way.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts of a group that have nothing to do with each other"
)]
pub(super) struct Flight {
    pub(super) start: Lsn,
    /// After its padding.
    pub(super) end: Lsn,
    pub(super) file: Arc<WalFile>,
    pub(super) first: bool,
    pub(super) sync: bool,
    pub(super) alone: bool,
    /// Written; those before it may not be.
    pub(super) landed: bool,
    /// Commits in it.
    pub(super) frames: usize,
    pub(super) state: Arc<GroupState>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) watch: Stopwatch,
}

/// What a landing made known.
#[derive(Default)]
pub(super) struct Landed {
    /// Flights that are acknowledged, oldest first.
    pub(super) flights: Vec<Flight>,
    /// All below is durable.
    pub(super) durable: Option<Lsn>,
}

impl Inner {
    /// Takes the oldest group off the list, if it may depart.
    ///
    /// * At most `in_flight_max` are under way; one where there is no queue.
    /// * What begins a file waits for all before it: its header says that they
    ///   are durable.
    /// * What is synced after something that was not departs alone: a synced
    ///   direct write vouches for itself only, so the whole file is synced.
    pub(super) fn next_departure(
        &mut self,
        options: &WalOptions,
        queue: bool,
        now: impl Fn() -> Duration,
    ) -> Option<Departure> {
        if self.syncing.is_some() || self.flights.len() >= options.in_flight_max {
            return None;
        }
        if self.flights.iter().any(|flight| flight.alone) {
            return None;
        }
        let next = self.next_group_to_go()?;
        let sync = next.sync || self.is_due(options, now);
        let unsynced = self.unsynced || self.flights.iter().any(|flight| !flight.sync);
        let alone = !queue || !next.file.direct || (unsynced && (sync || next.first));
        let joins = !alone && !next.first && self.is_worth_a_flight(next, options);
        if !joins && !self.flights.is_empty() {
            return None;
        }
        if self.ready.is_empty() {
            self.seal_building();
        }
        let mut group = self.ready.pop_front()?;
        self.pending -= group.len();
        let older = self.file_to_sync_before(&group);
        self.flights.push_back(Flight {
            start: group.start,
            end: group.padded_end(),
            file: Arc::clone(&group.file),
            first: group.first,
            sync,
            alone,
            landed: false,
            frames: group.frames,
            state: Arc::clone(&group.state),
            observers: std::mem::take(&mut group.observers),
            watch: Stopwatch::start(),
        });
        self.departing += usize::from(!alone);
        Some(Departure {
            group,
            sync,
            alone,
            older,
        })
    }

    fn next_group_to_go(&self) -> Option<&Group> {
        let next = self.ready.front().unwrap_or(&self.building);
        (!next.is_empty()).then_some(next)
    }

    /// True if the next group is worth a write beside those under way.
    ///
    /// A small one waits until it has as many commits as they have: who has
    /// just been told comes back in a moment, and shares it.
    fn is_worth_a_flight(&self, next: &Group, options: &WalOptions) -> bool {
        let good = GROUP_BYTES_GOOD.min(options.group_bytes_max);
        let frames: usize = self.flights.iter().map(|flight| flight.frames).sum();
        next.len() >= good || (self.flights.len() < 2 && next.frames >= frames)
    }

    /// True if a thread that does not lead may let the next group depart: one
    /// that goes beside others. What departs alone is the leader's to write.
    pub(super) fn may_join(&self, queue: bool) -> bool {
        let calm = !self.unsynced && self.flights.iter().all(|flight| flight.sync);
        let joins = |next: &Group| next.file.direct && !next.first;
        queue && calm && !self.flights.is_empty() && self.next_group_to_go().is_some_and(joins)
    }

    /// True if the policy wants the next group synced, whatever is in it.
    fn is_due(&self, options: &WalOptions, now: impl Fn() -> Duration) -> bool {
        options.sync_policy == SyncPolicy::Always || self.is_sync_due(options, now)
    }

    /// True if the policy wants what was written to be synced by now.
    pub(super) fn is_sync_due(&self, options: &WalOptions, now: impl Fn() -> Duration) -> bool {
        match options.sync_policy {
            SyncPolicy::Interval(interval) => {
                self.unsynced && now() >= self.unsynced_since + interval
            }
            SyncPolicy::Always | SyncPolicy::Never => false,
        }
    }

    /// A group that begins a file may go only when the file before is durable.
    fn file_to_sync_before(&self, group: &Group) -> Option<Arc<WalFile>> {
        let older = |file: &&Arc<WalFile>| file.sequence < group.file.sequence;
        let needed = group.first && self.unsynced;
        let file = needed.then(|| self.live.iter().rev().find(older)).flatten();
        file.map(Arc::clone)
    }

    /// Takes flights off the front that have landed, and notes what they say.
    pub(super) fn acknowledge(&mut self, now: Duration) -> Landed {
        let mut landed = Landed::default();
        while self.flights.front().is_some_and(|flight| flight.landed) {
            let Some(flight) = self.flights.pop_front() else {
                break;
            };
            self.written = flight.end;
            if flight.sync {
                self.unsynced = false;
                landed.durable = Some(flight.end);
            } else if flight.first || !self.unsynced {
                // What came before this file is durable: that it began says so.
                landed.durable = landed.durable.max(Some(flight.file.base));
                self.unsynced = true;
                self.unsynced_since = now;
            }
            landed.flights.push(flight);
        }
        landed
    }

    /// True if groups wait for a place or are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty() || !self.flights.is_empty()
    }

    /// What was last handed to the disk and has not landed.
    pub(super) fn last_under_way(&self) -> Option<Arc<GroupState>> {
        let last = self.flights.back().map(|flight| &flight.state);
        last.or(self.syncing.as_ref()).map(Arc::clone)
    }

    /// Takes memory back that a group was written from.
    pub(super) fn keep_memory(&mut self, blocks: Blocks, options: &WalOptions) {
        let usual = blocks.capacity() <= 2 * options.group_bytes_max;
        if usual && self.memory.len() <= options.in_flight_max {
            self.memory.push(blocks);
        }
    }
}
