//! Timers: when a delayed message is ready, and when one expires.
//!
//! One index for the whole store, for delays of a second or a year. What was
//! added lately is in memory; the rest lies in sorted runs on disk, which are
//! read forward as time goes by. Ten million timers take about 80 MB of disk,
//! and in memory no more than a few blocks of each run.
//!
//! ```text
//!        add                                  take_due
//!         |                                       ^   the earliest of all
//!   +-----v----+  begin_spill   +-----------+     |
//!   |  fresh   |--------------->| list that |-----+
//!   | (memory) |                | is spilled|     |
//!   +----------+                +-----v-----+     |
//!                    Rewrite::step    |           |
//!                   +-----+-----+-----v-----+     |
//!                   | run | run |    run    |-----+
//!                   +-----+-----+-----------+
//!                      merged when there are many
//! ```
//!
//! Nothing of this is logged. [`Timers::save`] is for the snapshot, and what
//! was added after it comes back with the replay of the log. So the rule is:
//! **a timer is in `fresh`, or in a run beyond `taken`, or was taken.** After a
//! crash some that were taken come again; whoever takes one looks whether it
//! still means something. None is ever lost.
//!
//! Files change by adding and removing only: a run is written once, synced with
//! its name, and only then listed by a snapshot. One that is no longer needed
//! stays until no snapshot that is kept can list it ([`Timers::retire`]).
//!
//! A clock that jumps does no harm here: with an earlier time nothing is due.
//!
//! docs/format.md section 16 has the last word on the bytes.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::checksum::Seed;
use crate::format::layout::{TIMERS, parse_run_name, run_name};
use crate::format::timers::{RunMeta, run_seed};
use crate::ids::{StoreId, Timestamp, to_u64};
use crate::io::Directory;

mod merge;
mod run;
mod source;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use crate::format::timers::{Timer, TimerKind, TimerState};
pub(crate) use merge::Rewrite;

use merge::State;
use run::Run;
use source::{Source, earliest, take_from};

/// Timers that may stay in memory, and that a snapshot holds; more are spilled.
/// About 80 KiB of a snapshot.
pub(crate) const SPILL_MIN: u64 = 8192;

/// What a timer in a tree takes: 32 bytes, in nodes that are half full after
/// insertions in order.
const TREE_BYTES: u64 = 64;

/// Where runs live and what their checksums are seeded with.
#[derive(Clone, Debug)]
pub(crate) struct TimersEnv {
    /// `timers`.
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) store: StoreId,
}

/// Counts calls of [`Timers::save`]; that of a snapshot from before the store
/// was opened is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// What [`Timers::save`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// To be kept with the snapshot, in memory, for [`Timers::retire`].
    pub(crate) turn: Turn,
    /// To be part of the snapshot.
    pub(crate) state: TimerState,
}

/// All timers of a store.
#[derive(Debug)]
pub(crate) struct Timers {
    env: TimersEnv,
    /// Added since the last spill.
    fresh: BTreeSet<Timer>,
    /// Runs, and at most one list in memory.
    ///
    /// Invariant: none is used up. Each is loaded, unless it is damaged.
    sources: Vec<Source>,
    /// Number of the run that a spill under way makes.
    spilling: Option<u64>,
    /// The same for a merge.
    merging: Option<u64>,
    /// Files that are no source any more, and how many saves there were by
    /// then. The latter rises.
    dead: VecDeque<(u64, Turn)>,
    /// Number of the next run: higher than all that lie in the directory.
    next: u64,
    turn: Turn,
}

impl Timers {
    /// The timers of `state`, which is that of the snapshot that was opened;
    /// the default if it has none. Changes nothing on disk.
    ///
    /// Reads a few blocks of each run, not the whole.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a run is missing or is not what the snapshot says.
    pub(crate) fn open(env: TimersEnv, state: &TimerState) -> Result<Self> {
        let entries = env.dir.list();
        let entries = entries.map_err(|error| Error::io("list timers", error))?;
        let found = entries
            .iter()
            .filter_map(|entry| parse_run_name(&entry.name));
        let found: BTreeSet<u64> = found.collect();
        let mut timers = Self {
            fresh: state.fresh.iter().copied().collect(),
            sources: Vec::with_capacity(state.runs.len()),
            spilling: None,
            merging: None,
            dead: VecDeque::new(),
            next: found.last().map_or(1, |last| last.saturating_add(1)),
            turn: Turn::default(),
            env,
        };
        let mut listed = BTreeSet::new();
        for meta in &state.runs {
            if !listed.insert(meta.number) {
                return Err(damaged(meta.number, "is listed twice"));
            }
            timers
                .sources
                .push(Source::Disk(Run::open(&timers.env, meta)?));
        }
        // An older snapshot may list them; or a crash left them behind.
        let dead = found.difference(&listed);
        timers
            .dead
            .extend(dead.map(|number| (*number, timers.turn)));
        Ok(timers)
    }

    /// Adds a timer. Costs memory only, until the next spill. One that is there
    /// already fires once or twice.
    pub(crate) fn add(&mut self, timer: Timer) {
        self.fresh.insert(timer);
    }

    /// Takes the earliest timers that are due at `now`, at most `max`, and
    /// appends them to `out`, in order.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a run is damaged, or whatever the operating system says. All
    /// that is in `out` is taken nevertheless; that run is left out, and is
    /// tried again by the next call.
    pub(crate) fn take_due(
        &mut self,
        now: Timestamp,
        max: usize,
        out: &mut Vec<Timer>,
    ) -> Result<()> {
        let mut failed = None;
        for source in &mut self.sources {
            failed = failed.or(source.load().err());
        }
        for _ in 0..max {
            let fresh = self.fresh.first().copied();
            let timer = match (earliest(&self.sources), fresh) {
                (Some((n, head)), fresh)
                    if head.due <= now && fresh.is_none_or(|it| head <= it) =>
                {
                    failed = failed.or(take_from(&mut self.sources, n).err());
                    head
                }
                (_, Some(fresh)) if fresh.due <= now => {
                    self.fresh.pop_first();
                    fresh
                }
                _ => break,
            };
            out.push(timer);
        }
        self.drop_used_up();
        failed.map_or(Ok(()), Err)
    }

    fn drop_used_up(&mut self) {
        let used_up = self.sources.extract_if(.., |source| source.left() == 0);
        let runs = used_up.filter(|source| source.run().is_some());
        let turn = self.turn;
        self.dead.extend(runs.map(|source| (source.number(), turn)));
    }

    /// When the next timer is due. Runs that cannot be read are left out.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let heads = self.sources.iter().filter_map(Source::head);
        heads
            .chain(self.fresh.first().copied())
            .map(|timer| timer.due)
            .min()
    }

    /// How many timers there are, those that are there twice counted twice.
    pub(crate) fn len(&self) -> u64 {
        let sources: u64 = self.sources.iter().map(Source::left).sum();
        to_u64(self.fresh.len()) + sources
    }

    /// Timers in memory, as against those in runs.
    pub(crate) fn in_memory(&self) -> u64 {
        let lists = self.sources.iter().map(|source| source.in_memory().len());
        to_u64(self.fresh.len() + lists.sum::<usize>())
    }

    /// About how much memory all of it takes: 64 bytes for each timer that is
    /// in no run, and up to 100 KiB for each run.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let sources: u64 = self.sources.iter().map(Source::memory_bytes).sum();
        to_u64(self.fresh.len()) * TREE_BYTES + sources
    }

    /// Begins to move all that is in memory to a run, if that is more than
    /// [`SPILL_MIN`]. Before [`Self::save`], so that the snapshot stays small.
    ///
    /// One at a time: one that was begun before counts for nothing any more.
    pub(crate) fn begin_spill(&mut self) -> Option<Rewrite> {
        if self.in_memory() <= SPILL_MIN {
            return None;
        }
        // The list of a spill that failed goes with what was added since.
        let lists = self.sources.extract_if(.., |source| source.run().is_none());
        for list in lists {
            self.fresh.extend(list.in_memory());
        }
        let number = self.take_number();
        let source = Source::Memory {
            number,
            timers: std::mem::take(&mut self.fresh).into_iter().collect(),
            taken: 0,
        };
        self.spilling = Some(number);
        let rewrite = Rewrite::new(&self.env, number, vec![source.fork()]);
        self.sources.push(source);
        Some(rewrite)
    }

    /// Begins to merge the smallest runs, if there are more than eight, or to
    /// write anew those of which little is left. Leaves out what cannot be read.
    ///
    /// One at a time: one that was begun before counts for nothing any more.
    pub(crate) fn begin_merge(&mut self) -> Option<Rewrite> {
        let runs = self.sources.iter().filter_map(Source::run);
        let runs: Vec<&Run> = runs.filter(|run| run.head().is_some()).collect();
        let metas: Vec<RunMeta> = runs.iter().map(|run| run.meta()).collect();
        let chosen = merge::choose(&metas);
        let runs = chosen.iter().filter_map(|n| runs.get(*n));
        let sources: Vec<Source> = runs.map(|run| Source::Disk(run.fork())).collect();
        if sources.is_empty() {
            return None;
        }
        let number = self.take_number();
        self.merging = Some(number);
        Some(Rewrite::new(&self.env, number, sources))
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// Puts the new run in the place of what it was made of; of one that was not
    /// finished nothing remains.
    ///
    /// # Errors
    ///
    /// As reading the new run has it. Then what it was made of stays.
    pub(crate) fn finish(&mut self, rewrite: Rewrite) -> Result<()> {
        let number = Some(rewrite.number);
        let current = self.spilling == number || self.merging == number;
        for under_way in [&mut self.spilling, &mut self.merging] {
            if *under_way == number {
                *under_way = None;
            }
        }
        match rewrite.state {
            State::Written(run) if current => self.replace(&rewrite.of, run),
            State::Begun | State::Failed(false) => Ok(()),
            State::Writing(_) | State::Written(_) | State::Failed(true) => {
                self.bury(rewrite.number);
                Ok(())
            }
        }
    }

    /// Puts `run` in the place of those of the sources `of` that are left.
    fn replace(&mut self, of: &[u64], mut run: Run) -> Result<()> {
        let number = run.meta().number;
        let is_old = |source: &Source| of.contains(&source.number());
        let old = self.sources.iter().filter(|source| is_old(source));
        let heads: Option<Vec<Timer>> = old.map(Source::head).collect();
        // What was taken meanwhile is before what is next in all of them. If
        // that is not known of each, more comes again than has to.
        let bound = heads.map(|heads| heads.into_iter().min());
        match bound {
            Some(None) => {
                self.bury(number);
                return Ok(());
            }
            Some(Some(bound)) => {
                if let Err(error) = run.skip_below(bound) {
                    self.bury(number);
                    return Err(error);
                }
            }
            None => {}
        }
        let turn = self.turn;
        let old = self.sources.extract_if(.., |source| is_old(source));
        let runs = old.filter(|source| source.run().is_some());
        self.dead.extend(runs.map(|source| (source.number(), turn)));
        self.sources.push(Source::Disk(run));
        Ok(())
    }

    /// Notes that nothing needs this file any more but snapshots that are kept.
    fn bury(&mut self, number: u64) {
        self.dead.push_back((number, self.turn));
    }

    /// Spills in one call. True if it did.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says. Then all stays in memory, and the
    /// call can be made again.
    #[cfg(test)]
    pub(crate) fn spill(&mut self) -> Result<bool> {
        let rewrite = self.begin_spill();
        self.complete(rewrite)
    }

    /// Merges in one call. True if it did.
    ///
    /// # Errors
    ///
    /// As [`Rewrite::step`]. Then nothing has changed.
    #[cfg(test)]
    pub(crate) fn merge(&mut self) -> Result<bool> {
        let rewrite = self.begin_merge();
        self.complete(rewrite)
    }

    #[cfg(test)]
    fn complete(&mut self, rewrite: Option<Rewrite>) -> Result<bool> {
        let Some(mut rewrite) = rewrite else {
            return Ok(false);
        };
        let done = rewrite.run();
        self.finish(rewrite)?;
        done.map(|()| true)
    }

    /// What a snapshot has to hold.
    pub(crate) fn save(&mut self) -> Saved {
        self.turn = Turn(self.turn.0 + 1);
        let mut fresh = self.fresh.clone();
        for source in &self.sources {
            fresh.extend(source.in_memory());
        }
        let runs = self.sources.iter().filter_map(Source::run);
        let mut runs: Vec<RunMeta> = runs.map(Run::meta).collect();
        runs.sort_by_key(|meta| meta.number);
        Saved {
            turn: self.turn,
            state: TimerState {
                runs,
                fresh: fresh.into_iter().collect(),
            },
        }
    }

    /// Runs whose files may be removed, if the oldest snapshot that is kept is
    /// of `oldest`. They are named once: what is not removed then is named
    /// again after the next open.
    pub(crate) fn retire(&mut self, oldest: Turn) -> Vec<u64> {
        // Saved before it died: that snapshot may list it.
        let kept = self.dead.partition_point(|(_, died)| *died < oldest);
        self.dead.drain(..kept).map(|(number, _)| number).collect()
    }
}

impl TimersEnv {
    /// Removes the files of these runs. One that is missing is fine. The
    /// directory need not be synced: what comes back is found by the next open.
    ///
    /// # Errors
    ///
    /// The first that the operating system has; the others are tried.
    pub(crate) fn remove(&self, numbers: &[u64]) -> Result<()> {
        let mut failed = None;
        for number in numbers {
            match self.dir.remove_file(&run_name(*number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let path = path_of(*number);
                    failed = failed.or(Some(Error::io(format!("remove {path}"), error)));
                }
                _ => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reads a run from its first block to its last, and returns its length in
    /// bytes. For who checks a store that is closed.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not what the snapshot says, and the byte at which.
    pub(crate) fn check(&self, meta: &RunMeta) -> Result<u64, (u64, Error)> {
        Run::check(self, meta)
    }

    fn seed(&self, number: u64) -> Seed {
        run_seed(self.store, number)
    }
}

/// The run as errors show it, from the directory of the store on.
fn path_of(number: u64) -> String {
    format!("{TIMERS}/{}", run_name(number))
}

/// A run is not what it was.
fn damaged(number: u64, what: impl fmt::Display) -> Error {
    Error::corrupt(format!(
        "timer run {} {what}; put the file back from a copy of the store",
        path_of(number)
    ))
}
