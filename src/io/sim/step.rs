//! Steps: every change of the disk has a number, and power can go at each.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::fault::{Counts, Fault, Faults, OpKind};

/// Steps that the trace keeps; older ones are dropped.
const TRACE_LEN_MAX: usize = 10_000;

/// Numbers operations, lets them fail, and cuts the power.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) steps: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) off: bool,
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    trace: VecDeque<Step>,
}

/// One numbered operation.
#[derive(Debug)]
struct Step {
    number: u64,
    kind: OpKind,
    path: Arc<str>,
    range: Range<u64>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.number, self.kind, self.path)?;
        match self.kind {
            OpKind::Write => write!(f, " {}..{}", self.range.start, self.range.end),
            OpKind::SetLen | OpKind::Allocate => write!(f, " {}", self.range.end),
            _ => Ok(()),
        }
    }
}

/// What is to happen to one operation.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass {
    /// It is to fail like this.
    fault: Option<Fault>,
    /// Power goes while it is under way.
    cut: bool,
}

impl Gate {
    /// Counts the operation and says what is to happen to it.
    pub(super) fn enter(
        &mut self,
        kind: OpKind,
        path: &Arc<str>,
        range: Range<u64>,
    ) -> io::Result<Pass> {
        self.powered()?;
        self.counts.add(kind);
        let mut cut = false;
        if kind.is_step() {
            self.steps += 1;
            cut = self.cut_at.is_some_and(|at| self.steps >= at);
            if self.trace.len() == TRACE_LEN_MAX {
                self.trace.pop_front();
            }
            self.trace.push_back(Step {
                number: self.steps,
                kind,
                path: Arc::clone(path),
                range,
            });
        }
        let fault = self.faults.strike(kind, path);
        Ok(Pass { fault, cut })
    }

    /// [`Self::enter`] for operations that fail as a whole or not at all.
    pub(super) fn enter_whole(
        &mut self,
        kind: OpKind,
        path: &Arc<str>,
        range: Range<u64>,
    ) -> io::Result<Pass> {
        let pass = self.enter(kind, path, range)?;
        match pass.fault {
            Some(fault) => Err(self.fail(&pass, fault.error())),
            None => Ok(pass),
        }
    }

    /// The fault of `pass`, if it has one.
    pub(super) fn fault(pass: &Pass) -> Option<Fault> {
        pass.fault
    }

    /// True if power goes during the operation: then a sync does not commit.
    pub(super) fn is_cut(pass: &Pass) -> bool {
        pass.cut
    }

    /// Ends an operation that failed.
    pub(super) fn fail(&mut self, pass: &Pass, error: io::Error) -> io::Error {
        self.off |= pass.cut;
        error
    }

    /// Ends an operation that was done.
    pub(super) fn leave(&mut self, pass: &Pass) -> io::Result<()> {
        self.off |= pass.cut;
        self.powered()
    }

    /// Fails if the power is off.
    pub(super) fn powered(&self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("power is off"));
        }
        Ok(())
    }

    /// The steps, oldest first.
    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.iter().map(Step::to_string).collect()
    }
}
