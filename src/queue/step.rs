//! What time brings: leases that end, delays that are over, messages that
//! expire. Steps that return; each does a bounded amount, so that a backlog
//! after a downtime comes out evenly.

use std::sync::Arc;
use std::time::Duration;

use super::browse::{Browsed, MessageState};
use super::dead::Dead;
use super::lane::{Lane, Stored};
use super::send::after;
use super::take::millis;
use super::{DeadReason, QueueEnv, QueueState};
use crate::error::Result;
use crate::ids::{Offset, Timestamp};
use crate::options::Durability;
use crate::signal::lock;
use crate::timers::{Timer, TimerKind};

/// Timers that one step lets go, and leases of a lane that it ends.
pub(super) const RELEASE_MAX: usize = 1024;

/// Messages that are read to find out whether one is overdue.
const OVERDUE_LOOK_MAX: u32 = 1024;

/// Time between two looks for messages that are too old.
const SWEEP: Duration = Duration::from_millis(100);

/// Time until a message that was in flight when it expired is looked at again,
/// at the least.
const AGAIN_MIN: Duration = Duration::from_secs(1);

impl QueueEnv {
    /// Does what is due. True if there was anything.
    ///
    /// # Errors
    ///
    /// The first that came up; the rest was done nevertheless, and what failed
    /// is tried again.
    pub(crate) fn step(&self) -> Result<bool> {
        // Leases first: what comes back may have expired meanwhile.
        let leases = self.lease_step();
        let timers = self.timer_step();
        let swept = self.sweep_step();
        Ok(leases? | timers? | swept?)
    }

    fn timer_step(&self) -> Result<bool> {
        let now = self.parts.clock.now();
        let mut due = Vec::new();
        let _firing = lock(&self.firing);
        // Of a run that is damaged; those of the others are taken, and fire.
        let mut result = lock(&self.timers).take_due(now, RELEASE_MAX, &mut due);
        for timer in &due {
            let queue = self.registry().by_id(timer.partition.topic).map(Arc::clone);
            if let Some(queue) = queue.filter(|queue| !queue.is_deleted())
                && let Err(error) = queue.fire(timer)
            {
                // Not lost: it is tried again.
                self.add_timer(*timer);
                result = Err(error);
            }
        }
        result.map(|()| !due.is_empty())
    }

    fn lease_step(&self) -> Result<bool> {
        let listed = std::mem::take(&mut *lock(&self.leased));
        let mut result = Ok(false);
        for id in listed {
            let queue = self.registry().by_id(id.topic).map(Arc::clone);
            let Some(queue) = queue.filter(|queue| !queue.is_deleted()) else {
                continue;
            };
            match queue.end_leases(id.partition) {
                Ok(ended) => result = result.map(|did| did | ended),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    /// Looks at the oldest messages of queues that let none grow too old.
    fn sweep_step(&self) -> Result<bool> {
        let now = self.parts.clock.monotonic();
        {
            let mut swept = lock(&self.swept);
            if now.saturating_sub(*swept) < SWEEP {
                return Ok(false);
            }
            *swept = now;
        }
        let queues: Vec<_> = self.registry().all().map(Arc::clone).collect();
        let mut result = Ok(false);
        for queue in queues {
            if let Some(ttl) = queue.options().ttl {
                match queue.sweep(millis(ttl)) {
                    Ok(swept) => result = result.map(|did| did | swept),
                    Err(error) => result = Err(error),
                }
            }
        }
        result
    }
}

impl QueueState {
    fn fire(&self, timer: &Timer) -> Result<()> {
        let Some(lane) = self.lane_if_used(timer.partition.partition)? else {
            return Ok(());
        };
        match timer.kind {
            TimerKind::Wake => {
                if lane.lock().ledger.wake(timer.offset, timer.due) {
                    self.signal.notify();
                }
                Ok(())
            }
            TimerKind::Expire => self.expire(lane, timer.offset),
        }
    }

    /// A message's time is over, unless it is in flight: then it is looked at
    /// again when it may have come back.
    fn expire(&self, lane: &Lane, offset: Offset) -> Result<()> {
        let mut state = lane.lock();
        if state.ledger.is_done(offset) {
            return Ok(());
        }
        if state.ledger.is_in_flight(offset) {
            let clock = &self.env.parts.clock;
            let end = state.ledger.next_lease_end().unwrap_or_default();
            let wait = end.saturating_sub(clock.monotonic()).max(AGAIN_MIN);
            self.env.add_timer(Timer {
                due: after(clock.now(), wait),
                kind: TimerKind::Expire,
                partition: lane.id,
                offset,
            });
            return Ok(());
        }
        let Some(stored) = lane.read_one(offset)? else {
            return Ok(());
        };
        let failed = state.ledger.failures(offset);
        let dead = Dead::of(stored, DeadReason::Expired, failed);
        self.bury(lane, &mut state, vec![dead], self.background_durability())?;
        Ok(())
    }

    fn background_durability(&self) -> Durability {
        // Nobody waits for it: written with the next group.
        self.options().durability.min(Durability::Buffered)
    }

    /// Ends the leases of a lane that are over. True if there were any.
    fn end_leases(&self, number: u32) -> Result<bool> {
        let Some(lane) = self.lane_if_used(number)? else {
            return Ok(false);
        };
        let now = self.env.parts.clock.monotonic();
        let mut state = lane.lock();
        let ended = state.ledger.expired(now, RELEASE_MAX);
        let mut result = Ok(());
        for receipt in &ended {
            let Ok(super::ledger::Held::Open { consumer, .. }) = state.ledger.check(*receipt)
            else {
                continue;
            };
            let failed = match lane.read_one(receipt.offset) {
                Ok(Some(stored)) => {
                    let no_word = (None, Some("the lease ended without an answer".to_owned()));
                    let durability = self.background_durability();
                    self.fail_open(lane, &mut state, stored, no_word, durability)
                        .map(|_| ())
                }
                Ok(None) => {
                    let next = receipt.offset.saturating_add(1);
                    state.ledger.done(receipt.offset, next);
                    self.shorten(1);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match failed {
                Ok(()) => _ = self.let_go(consumer),
                Err(error) => result = Err(error),
            }
        }
        state.listed = state.ledger.in_flight() > 0;
        if state.listed {
            lock(&self.env.leased).push(lane.id);
        }
        drop(state);
        if !ended.is_empty() {
            self.signal.notify();
        }
        result.map(|()| !ended.is_empty())
    }

    /// Buries the oldest messages that are older than the queue lets them be.
    fn sweep(&self, ttl_ms: i64) -> Result<bool> {
        let now = self.env.parts.clock.now();
        let mut did = false;
        for lane in self.used() {
            let mut state = lane.lock();
            let too_old = |stored: &Stored| self.has_expired(stored, Some(ttl_ms), now);
            let dead: Vec<_> = self
                .oldest_free(lane, &state, RELEASE_MAX, too_old)?
                .into_iter()
                .map(|stored| {
                    let failed = state.ledger.failures(stored.offset);
                    Dead::of(stored, DeadReason::Expired, failed)
                })
                .collect();
            did |= !dead.is_empty();
            self.bury(lane, &mut state, dead, self.background_durability())?;
        }
        Ok(did)
    }

    /// True if a message is still delayed although its time has come, or if that
    /// is not known: the messages say when it comes, and this reads 1024 of them
    /// at most. For who is told of trouble with timers.
    pub(crate) fn is_overdue(&self, now: Timestamp) -> bool {
        let mut looked = 0;
        let mut overdue = |seen: &Browsed| {
            looked += 1;
            let late = matches!(seen.state, MessageState::Delayed(due) if due <= now);
            late || looked > OVERDUE_LOOK_MAX
        };
        let delayed = self.used().any(|lane| lane.lock().ledger.delayed() > 0);
        let found = delayed.then(|| self.browse(None, 1, &mut overdue));
        found.is_some_and(|found| found.map_or(true, |found| !found.is_empty()))
    }

    /// Monotonic time at which the first lease ends here.
    pub(crate) fn next_lease_end(&self) -> Option<Duration> {
        self.used()
            .filter_map(|lane| lane.lock().ledger.next_lease_end())
            .min()
    }

    /// Time until something may come due that a receive waits for.
    pub(crate) fn until_due(&self) -> Option<Duration> {
        let clock = &self.env.parts.clock;
        let lease = self.next_lease_end();
        let lease = lease.map(|at| at.saturating_sub(clock.monotonic()));
        let timer = self.env.next_due().map(|due| between(clock.now(), due));
        lease.into_iter().chain(timer).min()
    }
}

fn between(now: Timestamp, due: Timestamp) -> Duration {
    let ms = due.millis().saturating_sub(now.millis());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
