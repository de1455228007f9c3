//! What a store of queues must still do after whatever happened to it: take a
//! message, and give away each that there is, exactly once.

use std::fmt::Display;

use duolog::Error;

use super::world::{Op, Send, World, small};

/// Rounds after which a message is taken to be stuck.
const ROUNDS_MAX: usize = 20;

impl World {
    /// Opens the store, uses it, and takes everything out of it. Ends early if
    /// the power goes.
    ///
    /// # Errors
    ///
    /// What the engine says while the power is on.
    pub(super) fn go_on(&mut self, thorough: bool, at: &dyn Display) -> Result<(), Error> {
        self.ensure_open(at)?;
        if !self.model.queues.contains_key("jobs") {
            // Its dead letters may be missing, too: it has none.
            self.run(&Op::Create("jobs", small()), at)?;
        }
        self.run(&Op::Send(Send::default()), at)?;
        if thorough {
            self.run(&Op::Checkpoint, at)?;
            self.run(&Op::Send(Send::default()), at)?;
            self.run(&Op::Reopen, at)?;
        }
        self.drain(at)?;
        self.check_live(at);
        if thorough {
            self.run(&Op::Kill, at)?;
            self.check_live(at);
        }
        Ok(())
    }

    /// Receives and acknowledges all that there is, delayed or not.
    fn drain(&mut self, at: &dyn Display) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            self.run(&Op::Step, at)?;
            for queue in QUEUES {
                if !self.model.queues.contains_key(queue) {
                    continue;
                }
                self.run(&Op::Receive(queue, usize::MAX), at)?;
                self.run(&Op::Ack(queue, usize::MAX), at)?;
            }
            let left = self.model.keys_where(|_, _| true);
            if left.is_empty() {
                return Ok(());
            }
            let life = |key| self.model.messages[key].now().as_ref();
            let dues = left.iter().filter_map(|key| life(key)?.due);
            if let Some(next) = dues.filter(|due| *due > self.now()).min() {
                let wait = u64::try_from(next - self.now()).expect("it is later");
                // Not a moment before.
                self.run(&Op::Advance(wait - 1), at)?;
                self.run(&Op::Step, at)?;
                self.check_live(at);
                self.run(&Op::Advance(1), at)?;
            }
        }
        let left = self.model.keys_where(|_, _| true);
        let known: Vec<_> = left
            .iter()
            .map(|key| (key, &self.model.messages[key]))
            .collect();
        panic!("{at}: nobody gets {known:#?}");
    }
}

/// All queues of all workloads, where messages go on to later ones.
const QUEUES: [&str; 5] = ["jobs", "more", "view", "wide", "dead"];
