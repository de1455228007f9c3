//! Rewriting: what some sources have left becomes one run.
//!
//! Spilling is that with a list in memory, merging with a few runs. The work is
//! done on readers of its own, in steps and without [`Timers`](super::Timers),
//! which goes on adding and taking meanwhile: no lock has to be held while
//! files are written and synced.

use super::TimersEnv;
use super::run::Run;
use super::source::{Source, earliest, take_from};
use super::writer::RunWriter;
use crate::error::Result;
use crate::format::layout::run_name;
use crate::format::timers::{RunMeta, Timer};

/// Runs that may stay side by side; more are merged.
pub(super) const RUNS_MAX: usize = 8;

/// Most runs that are merged at once: each is open twice meanwhile, and takes
/// about 100 KiB of memory.
const MERGED_MAX: usize = 16;

/// Timers in a run from which on it is written anew when a quarter is left of
/// it: a file of about 2 MiB.
const SPARSE_MIN: u64 = 1 << 18;

/// Timers that one step copies: some milliseconds.
const STEP_TIMERS: usize = 1 << 16;

/// Which of `runs` are to become one, by their index; none if all is well.
///
/// The smallest go together, as many as do not outweigh those before them: a
/// timer that is copied is in a run of at least twice the size then, but for
/// the second smallest, so that ten million timers are copied about ten times
/// at most. Runs of which little is left go, too: they keep their whole file.
pub(super) fn choose(runs: &[RunMeta]) -> Vec<usize> {
    let left = |run: &RunMeta| run.entries - run.taken;
    let sparse = |run: &RunMeta| run.entries >= SPARSE_MIN && left(run) < run.entries / 4;
    let mut all: Vec<(usize, &RunMeta)> = runs.iter().enumerate().collect();
    all.sort_by_key(|(_, run)| left(run));
    if runs.len() <= RUNS_MAX {
        all.retain(|(_, run)| sparse(run));
        all.truncate(MERGED_MAX);
        return all.into_iter().map(|(n, _)| n).collect();
    }
    let (mut chosen, mut sum) = (Vec::new(), 0_u64);
    for (n, run) in all {
        let small = chosen.len() < 2 || left(run) <= sum;
        if !small || chosen.len() == MERGED_MAX {
            break;
        }
        chosen.push(n);
        sum = sum.saturating_add(left(run));
    }
    chosen
}

/// A run that is made of others, step by step.
///
/// From [`Timers::begin_spill`](super::Timers::begin_spill) or
/// [`Timers::begin_merge`](super::Timers::begin_merge), and back to
/// [`Timers::finish`](super::Timers::finish), whatever came of it.
#[derive(Debug)]
pub(crate) struct Rewrite {
    env: TimersEnv,
    /// That of the new run.
    pub(super) number: u64,
    /// Numbers of the sources.
    pub(super) of: Vec<u64>,
    sources: Vec<Source>,
    /// What was copied last: the same timer again is left out.
    last: Option<Timer>,
    pub(super) state: State,
}

/// How far a [`Rewrite`] is.
#[derive(Debug)]
pub(super) enum State {
    Begun,
    Writing(RunWriter),
    /// Durable, and open at its first timer.
    Written(Run),
    /// The sources are what counts. True if there may be a file.
    Failed(bool),
}

impl Rewrite {
    pub(super) fn new(env: &TimersEnv, number: u64, sources: Vec<Source>) -> Self {
        Self {
            env: env.clone(),
            number,
            of: sources.iter().map(Source::number).collect(),
            sources,
            last: None,
            state: State::Begun,
        }
    }

    /// Does a bounded piece of the work. True if there is more to do.
    ///
    /// The last step syncs all that was written.
    ///
    /// # Errors
    ///
    /// `Corrupt` if a source is damaged, and whatever the operating system
    /// says. Then nothing has changed, and the file is gone, if it can be.
    pub(crate) fn step(&mut self) -> Result<bool> {
        let stepped = self.try_step();
        if stepped.is_err() {
            // Nothing refers to it: on a full disk its space is needed now. If
            // it cannot be removed, it is with the other dead runs.
            let removed = self.env.dir.remove_file(&run_name(self.number));
            self.state = State::Failed(removed.is_err());
            self.sources.clear();
        }
        stepped
    }

    /// Does all that is left.
    ///
    /// # Errors
    ///
    /// As [`Self::step`].
    pub(crate) fn run(&mut self) -> Result<()> {
        while self.step()? {}
        Ok(())
    }

    fn try_step(&mut self) -> Result<bool> {
        if matches!(self.state, State::Begun) {
            self.state = State::Writing(RunWriter::create(&self.env, self.number)?);
        }
        let State::Writing(writer) = &mut self.state else {
            return Ok(false);
        };
        for source in &mut self.sources {
            source.load()?;
        }
        for _ in 0..STEP_TIMERS {
            let Some((n, timer)) = earliest(&self.sources) else {
                return self.finish().map(|()| false);
            };
            if self.last != Some(timer) {
                writer.push(timer)?;
                self.last = Some(timer);
            }
            take_from(&mut self.sources, n)?;
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<()> {
        if let State::Writing(writer) = std::mem::replace(&mut self.state, State::Failed(true)) {
            let meta = writer.finish()?;
            self.state = State::Written(Run::open(&self.env, &meta)?);
            self.sources.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(left: &[u64]) -> Vec<usize> {
        let runs = left.iter().map(|&left| RunMeta {
            number: 0,
            entries: left,
            taken: 0,
        });
        choose(&runs.collect::<Vec<_>>())
    }

    #[test]
    fn a_few_runs_stay_as_they_are() {
        assert_eq!(chosen(&[]), [0; 0]);
        assert_eq!(chosen(&[1; RUNS_MAX]), [0; 0]);
    }

    #[test]
    fn runs_of_one_size_go_together_and_a_large_one_stays() {
        assert_eq!(chosen(&[9; 9]), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            chosen(&[5, 5, 999, 5, 5, 5, 5, 5, 5]),
            [0, 1, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn there_are_fewer_runs_after_a_merge_whatever_their_sizes() {
        assert_eq!(chosen(&[1, 3, 9, 27, 81, 243, 729, 2187, 6561]), [0, 1]);
        assert_eq!(chosen(&[5; 100]).len(), MERGED_MAX);
        assert_eq!(chosen(&[u64::MAX; 9]).len(), 9);
    }

    #[test]
    fn a_large_run_is_written_anew_when_little_is_left_of_it() {
        let run = |entries, left| RunMeta {
            number: 0,
            entries,
            taken: entries - left,
        };
        let large = SPARSE_MIN;
        assert_eq!(choose(&[run(large, large / 4), run(9, 1)]), [0; 0]);
        assert_eq!(choose(&[run(large, 100), run(large, large)]), [0]);
        assert_eq!(choose(&[run(large, 100), run(large, 7)]), [1, 0]);
    }

    /// Ten million timers, spilled by 10 000: the copies of each.
    #[test]
    fn a_timer_is_copied_a_few_times_until_there_are_ten_million() {
        let (mut runs, mut copied): (Vec<RunMeta>, u64) = (Vec::new(), 0);
        for number in 0..1_000 {
            let run = RunMeta {
                number,
                entries: 10_000,
                taken: 0,
            };
            runs.push(run);
            let mut merged = choose(&runs);
            if merged.is_empty() {
                continue;
            }
            merged.sort_unstable();
            let parts = merged.iter().rev().map(|n| runs.remove(*n).entries);
            let entries = parts.sum();
            copied += entries;
            runs.push(RunMeta { entries, ..run });
        }
        assert!(runs.len() <= RUNS_MAX, "{}", runs.len());
        assert!(copied < 10 * 10_000_000, "{copied}");
    }
}
