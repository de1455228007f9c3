//! Group commit in front of a peer that has none: many threads, one writer.
//!
//! Whoever comes while nobody writes takes all that waits, commits it as one
//! batch, and wakes those whose records were in it. An embedder of such a peer
//! would do the same, and without it these peers sync once a record.

use std::sync::{Condvar, Mutex, MutexGuard};

use crate::Result;
use crate::peers::{Call, Writer};

/// One writer for many threads.
pub(crate) struct Combiner<'a> {
    writer: Mutex<Box<dyn Writer + 'a>>,
    state: Mutex<State>,
    committed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Vec<u8>>,
    /// Records that were handed in.
    arrived: u64,
    /// Invariant: at most `arrived`.
    done: u64,
    busy: bool,
    failed: Option<String>,
}

impl<'a> Combiner<'a> {
    /// Commits through `writer`.
    pub(crate) fn new(writer: Box<dyn Writer + 'a>) -> Self {
        Self {
            writer: Mutex::new(writer),
            state: Mutex::default(),
            committed: Condvar::new(),
        }
    }

    /// Returns when all of `values` are committed.
    pub(crate) fn append(&self, values: &[&[u8]]) -> Result<()> {
        let mut state = lock(&self.state);
        for value in values {
            state.waiting.push(value.to_vec());
            state.arrived += 1;
        }
        let mine = state.arrived;
        while state.done < mine {
            if let Some(failed) = &state.failed {
                return Err(failed.clone().into());
            }
            state = if state.busy {
                self.committed.wait(state).expect("nobody panics with it")
            } else {
                self.lead(state)
            };
        }
        Ok(())
    }

    fn lead<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        state.busy = true;
        let group = std::mem::take(&mut state.waiting);
        let upto = state.arrived;
        drop(state);
        let values: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        let values = Call {
            index: 0,
            values: &values,
        };
        let outcome = lock(&self.writer).append(&values);
        let mut state = lock(&self.state);
        state.busy = false;
        match outcome {
            Ok(()) => state.done = upto,
            Err(error) => state.failed = Some(error.to_string()),
        }
        self.committed.notify_all();
        state
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
