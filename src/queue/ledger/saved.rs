//! What outlives the process: the ledger in a snapshot, and changes replayed
//! from the log.
//!
//! Open leases are in neither. At a restart, whatever was in flight is ready
//! again at its place, and the cursor begins at the floor.

use super::{Delay, Ledger, Mark};
use crate::format::ledger::{Change, LedgerState, SavedDelay, SavedFailures};
use crate::ids::{Offset, PartitionId, Timestamp};
use crate::queue::offsets::OffsetSet;

impl Ledger {
    /// The ledger as a snapshot had it.
    pub(crate) fn restore(saved: &LedgerState) -> Self {
        let mut ledger = Self::new(saved.floor);
        for &(from, to) in &saved.done {
            ledger.done(from, to);
        }
        if !saved.sleeping.is_empty() {
            let sleeping = &mut ledger.rest.get_or_insert_default().sleeping;
            for (from, to) in &saved.sleeping {
                sleeping.insert_run(from.get()..to.get());
            }
        }
        for delay in &saved.delayed {
            ledger.put_off(delay.offset, Delay::Retry(delay.due), delay.key);
        }
        for failed in &saved.failures {
            ledger.count(failed.offset, failed.failures, failed.first);
        }
        ledger
    }

    /// The ledger as a snapshot has it, of the partition `id`.
    pub(crate) fn save(&self, id: PartitionId) -> LedgerState {
        let mut saved = LedgerState {
            id,
            floor: Offset::new(self.floor),
            done: runs_of(&self.done),
            sleeping: Vec::new(),
            delayed: Vec::new(),
            failures: Vec::new(),
        };
        let Some(rest) = &self.rest else {
            return saved;
        };
        saved.sleeping = runs_of(&rest.sleeping);
        saved
            .delayed
            .extend(rest.delays.iter().map(|(at, due)| SavedDelay {
                offset: Offset::new(*at),
                due: *due,
                key: rest.keys.held_by(*at),
            }));
        let failed = rest.marks.iter().filter(|(_, mark)| mark.failures > 0);
        saved
            .failures
            .extend(failed.map(|(at, mark)| SavedFailures {
                offset: Offset::new(*at),
                failures: mark.failures,
                first: mark.first,
            }));
        saved
    }

    /// Makes a change of the log, be it for the first time or again. Of a
    /// message that is done, nothing but that is ever true.
    pub(crate) fn apply(&mut self, change: &Change) {
        match *change {
            Change::Done { from, to } => self.done(from, to),
            Change::Delayed { offset, due, key } => self.delay(offset, due, key),
            Change::Failed {
                offset,
                failures,
                first,
            } => {
                if !self.is_done(offset) {
                    self.count(offset, failures, first);
                    self.put_back(offset);
                    self.ready_now(offset);
                }
            }
            Change::Ready { offset } => {
                self.ready_now(offset);
            }
            Change::Again { offset } => {
                self.again(offset);
            }
            // The timers' business.
            Change::Expires { .. } => {}
        }
    }

    /// Forgets all that lies at `end` or beyond: the log ends there, and what was
    /// there before was never durable. Others will have these offsets.
    pub(crate) fn clip(&mut self, end: Offset) {
        let end = end.get();
        self.done.remove_run(end..u64::MAX);
        if let Some(rest) = &mut self.rest {
            rest.forget_run(end, u64::MAX);
            if rest.is_empty() {
                self.rest = None;
            }
        }
        self.floor = self.floor.min(end);
        self.cursor = self.cursor.min(end);
    }

    fn count(&mut self, offset: Offset, failures: u32, first: Timestamp) {
        let marks = &mut self.rest.get_or_insert_default().marks;
        let mark = marks.entry(offset.get()).or_insert(Mark {
            failures,
            first,
            nonce: None,
        });
        (mark.failures, mark.first) = (failures, first);
    }
}

fn runs_of(set: &OffsetSet) -> Vec<(Offset, Offset)> {
    set.runs()
        .map(|run| (Offset::new(run.start), Offset::new(run.end)))
        .collect()
}
