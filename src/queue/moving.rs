//! Moving messages from one queue to another, each in the commit that takes it
//! out: none is lost or doubled, whatever happens.

use std::collections::BTreeSet;

use super::browse::MessageState;
use super::dead::{carried, done_each};
use super::lane::{Lane, Stored};
use super::message::{DEAD_COUNT, DEDUP_ID, EXPIRES, ORIGIN, RESERVED_PREFIX};
use super::work::{Later, Load, find, lock_all};
use super::{Browsed, QueueState};
use crate::error::{Error, Result};
use crate::format::Record;
use crate::format::entry::Entry;
use crate::ids::{Offset, to_u64};
use crate::partition::Appended;

/// Messages that one commit moves.
const MOVE_MESSAGES: usize = 128;
const MOVE_BYTES: u64 = 1 << 20;

/// What a message that was moved has beside what it had, without the name of
/// its queue, and its encoding.
const MOVED_BYTES: u64 = 128;

impl QueueState {
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
        let mut moved = stored;
        moved.retain(|stored| chosen.contains(&stored.offset));
        let origins: Vec<_> = moved
            .iter()
            .map(|stored| format!("{}/{}", self.name, lane.message(stored.offset)))
            .collect();
        let records = moved.iter().zip(&origins);
        let records: Vec<_> = records
            .map(|(stored, origin)| self.moved_record(stored, origin))
            .collect();
        let goes = |record| target.lane(target.lane_like(lane.id.partition, self, record));
        let lanes: Vec<_> = records.iter().map(goes).collect::<Result<_>>()?;
        let mut locked = lock_all(lanes.into_iter().chain([lane]));

        let ledger = &find(&mut locked, lane.id).ledger;
        let free = |at| !ledger.is_done(at) && !ledger.is_in_flight(at);
        let there = moved.iter().zip(&records);
        let there: Vec<_> = there.filter(|(stored, _)| free(stored.offset)).collect();
        if there.is_empty() {
            return Ok(0);
        }
        let done = done_each(there.iter().map(|(stored, _)| stored.offset));
        let arriving = there.iter().map(|(stored, record)| {
            let expires = stored.expires().filter(|_| self.owns());
            let later = Later {
                expires,
                ..Later::default()
            };
            (lane.id.partition, *record, later)
        });
        let loads = target.arrivals(self, arriving)?;
        let parts: Vec<_> = loads.iter().map(Load::part).collect();
        let changes = |appended: &[Appended]| {
            let new = loads.iter().zip(appended);
            let new = new.map(|(load, appended)| (load.partition.id, load.changes(appended)));
            let all = new.chain([(lane.id, done.clone())]);
            all.filter(|(_, changes)| !changes.is_empty())
                .collect::<Vec<_>>()
        };
        let entries = |appended: &[Appended]| {
            let changes = changes(appended).into_iter();
            changes
                .map(|(id, changes)| Entry::Ledger(id, changes))
                .collect()
        };
        let accepted = self.env.commit(&parts, self.own_how(), entries)?;
        for (id, changes) in changes(&accepted.appended) {
            find(&mut locked, id).apply(&changes);
            for change in &changes {
                self.env.note(id, change);
            }
        }
        drop(locked);
        let count = to_u64(there.len());
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
