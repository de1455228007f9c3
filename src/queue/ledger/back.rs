//! What a ledger has beyond leases and what is done: messages that came back,
//! that wait for their time, that failed, that have an order key.

use std::collections::BTreeMap;

use super::keys::Keys;
use crate::ids::{Timestamp, to_u64};
use crate::queue::offsets::OffsetSet;

/// Messages that do not simply go from ready to done.
///
/// Invariant: none of them is done.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Below the cursor and ready to go, neither in flight nor delayed.
    pub(super) returned: OffsetSet,
    /// Sent with a delay that is not over: see [`super::delay`].
    ///
    /// Invariant: none of them failed, keeps a key busy, or is in `delays`.
    pub(super) sleeping: OffsetSet,
    /// Until when those wait that are to be tried again.
    pub(super) delays: BTreeMap<u64, Timestamp>,
    pub(super) marks: BTreeMap<u64, Mark>,
    pub(super) keys: Keys,
}

/// What is kept of deliveries that are over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) failures: u32,
    pub(super) first: Timestamp,
    /// Number of the last delivery, if there was one in this life.
    pub(super) nonce: Option<u64>,
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            returned,
            sleeping,
            delays,
            marks,
            keys,
        } = self;
        returned.is_empty()
            && sleeping.is_empty()
            && delays.is_empty()
            && marks.is_empty()
            && keys.is_empty()
    }

    /// Below the cursor and ready again, unless another one of its key is
    /// before it.
    pub(super) fn come_back(&mut self, at: u64) {
        if self.keys.come_back(at) {
            self.returned.insert(at);
        }
    }

    pub(super) fn mark_delivery(&mut self, at: u64, nonce: u64) -> &mut Mark {
        let mark = self.marks.entry(at).or_insert(Mark {
            failures: 0,
            first: Timestamp::default(),
            nonce: None,
        });
        mark.nonce = Some(nonce);
        mark
    }

    /// How often it failed. The lease has the number of the delivery now.
    pub(super) fn delivered_again(&mut self, at: u64) -> u32 {
        match self.marks.get(&at).map(|mark| mark.failures) {
            Some(0) => {
                self.marks.remove(&at);
                0
            }
            failures => failures.unwrap_or(0),
        }
    }

    pub(super) fn is_delayed(&self, at: u64) -> bool {
        self.sleeping.contains(at) || self.delays.contains_key(&at)
    }

    /// Whether it was delayed.
    pub(super) fn end_delay(&mut self, at: u64) -> bool {
        self.sleeping.remove(at) || self.delays.remove(&at).is_some()
    }

    /// How many wait for their time.
    pub(super) fn delayed(&self) -> u64 {
        self.sleeping.len() + to_u64(self.delays.len())
    }

    /// How many of them are before `end`.
    pub(super) fn delayed_below(&self, end: u64) -> u64 {
        let beyond = to_u64(self.delays.range(end..).count());
        self.sleeping.len_below(end) + to_u64(self.delays.len()) - beyond
    }

    pub(super) fn forget_run(&mut self, from: u64, to: u64) {
        self.returned.remove_run(from..to);
        self.sleeping.remove_run(from..to);
        remove_run(&mut self.delays, from, to);
        remove_run(&mut self.marks, from, to);
        for next in self.keys.forget_run(from, to) {
            self.returned.insert(next);
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        // A third of the places of a tree is free.
        let delays = self.delays.len() * size_of::<(u64, Timestamp)>() * 3 / 2;
        let marks = self.marks.len() * size_of::<(u64, Mark)>() * 3 / 2;
        let own = to_u64(size_of::<Self>() + delays + marks);
        let sets = self.returned.memory_bytes() + self.sleeping.memory_bytes();
        own + sets + self.keys.memory_bytes()
    }
}

fn remove_run<T>(tree: &mut BTreeMap<u64, T>, from: u64, to: u64) {
    while let Some((&at, _)) = tree.range(from..to).next() {
        tree.remove(&at);
    }
}
