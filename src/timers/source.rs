//! Where timers come from, in their order: a run on disk, or a sorted list in
//! memory that is on its way to become one. Both are taken from the front.

use std::sync::Arc;

use super::run::Run;
use crate::error::Result;
use crate::format::timers::Timer;
use crate::ids::to_u64;

/// Timers that rise, and how far they were taken.
#[derive(Debug)]
pub(super) enum Source {
    Memory {
        /// That of the run which this is to become.
        number: u64,
        timers: Arc<[Timer]>,
        taken: usize,
    },
    Disk(Run),
}

impl Source {
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Memory { number, .. } => *number,
            Self::Disk(run) => run.meta().number,
        }
    }

    /// The run, if it is on disk.
    pub(super) fn run(&self) -> Option<&Run> {
        match self {
            Self::Memory { .. } => None,
            Self::Disk(run) => Some(run),
        }
    }

    /// What was not taken, if it is in memory; nothing, if it is on disk.
    pub(super) fn in_memory(&self) -> &[Timer] {
        match self {
            Self::Memory { timers, taken, .. } => timers.get(*taken..).unwrap_or_default(),
            Self::Disk(_) => &[],
        }
    }

    /// Makes [`Self::head`] known, if there is one. See [`Run::load`].
    pub(super) fn load(&mut self) -> Result<()> {
        match self {
            Self::Memory { .. } => Ok(()),
            Self::Disk(run) => run.load(),
        }
    }

    /// The next timer; `None` if there is none, or it has to be loaded first.
    pub(super) fn head(&self) -> Option<Timer> {
        match self {
            Self::Memory { .. } => self.in_memory().first().copied(),
            Self::Disk(run) => run.head(),
        }
    }

    /// Takes [`Self::head`].
    pub(super) fn pop(&mut self) -> Option<Timer> {
        match self {
            Self::Memory { timers, taken, .. } => {
                let head = timers.get(*taken).copied()?;
                *taken += 1;
                Some(head)
            }
            Self::Disk(run) => run.pop(),
        }
    }

    pub(super) fn left(&self) -> u64 {
        match self {
            Self::Memory { .. } => to_u64(self.in_memory().len()),
            Self::Disk(run) => run.left(),
        }
    }

    /// A second reader, which stands where this one stands.
    pub(super) fn fork(&self) -> Self {
        match self {
            Self::Memory {
                number,
                timers,
                taken,
            } => Self::Memory {
                number: *number,
                timers: Arc::clone(timers),
                taken: *taken,
            },
            Self::Disk(run) => Self::Disk(run.fork()),
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        to_u64(match self {
            Self::Memory { timers, .. } => size_of_val::<[Timer]>(timers),
            Self::Disk(run) => run.memory_bytes(),
        })
    }
}

/// The source with the earliest timer, and that timer.
pub(super) fn earliest(sources: &[Source]) -> Option<(usize, Timer)> {
    let heads = sources.iter().enumerate();
    heads
        .filter_map(|(n, source)| source.head().map(|head| (n, head)))
        .min_by_key(|(_, head)| *head)
}

/// Takes the head of source `n`, and loads the next one.
pub(super) fn take_from(sources: &mut [Source], n: usize) -> Result<()> {
    let Some(source) = sources.get_mut(n) else {
        return Ok(());
    };
    source.pop();
    source.load()
}
