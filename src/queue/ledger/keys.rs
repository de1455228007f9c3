//! Order keys: of each, one message at most is under way, and the others wait.
//!
//! ```text
//!  owners   key -> offset       the one that may go, is in flight, came back, or
//!                               is delayed for another try
//!  parked   (key, offset)       met while the key was busy; the lowest is next
//!  known    offset -> key       all of the above, and delayed ones that were met
//! ```
//!
//! A key is the hash of what the producer gave. Two keys with one hash wait for
//! each other, which costs time and no order.

use std::collections::{BTreeMap, BTreeSet};

use super::lease::OffsetMap;
use crate::ids::to_u64;

/// The keys of the messages that are below the cursor or delayed, and not done.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// A tree, not a hash table: producers choose the keys, and could choose
    /// those that collide.
    ///
    /// Invariant: each has its key in `known`.
    owners: BTreeMap<u64, u64>,
    /// Invariant: their keys have owners, and `known` has them.
    parked: BTreeSet<(u64, u64)>,
    known: OffsetMap<u64>,
}

impl Keys {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Whether `offset` is now the one of its key that is under way.
    pub(super) fn claim(&mut self, offset: u64, key: u64) -> bool {
        let owner = *self.owners.entry(key).or_insert(offset);
        if owner == offset {
            self.known.insert(offset, key);
        }
        owner == offset
    }

    pub(super) fn park(&mut self, offset: u64, key: u64) {
        self.known.insert(offset, key);
        self.parked.insert((key, offset));
    }

    /// Keeps the key of a delayed message for the time when it is ready.
    pub(super) fn remember(&mut self, offset: u64, key: u64) {
        self.known.entry(offset).or_insert(key);
    }

    /// The key that `offset` keeps busy.
    pub(super) fn held_by(&self, offset: u64) -> Option<u64> {
        let key = self.known.get(&offset)?;
        (self.owners.get(key) == Some(&offset)).then_some(*key)
    }

    pub(super) fn is_parked(&self, offset: u64) -> bool {
        let key = self.known.get(&offset);
        key.is_some_and(|key| self.parked.contains(&(*key, offset)))
    }

    /// `offset` is delayed from now on, and keeps `key` busy, unless another
    /// one does. Returns who gets the key that it had.
    pub(super) fn delay(&mut self, offset: u64, key: Option<u64>) -> Option<u64> {
        let before = self.known.get(&offset).copied();
        let next = before
            .filter(|before| key != Some(*before))
            .and_then(|before| {
                self.parked.remove(&(before, offset));
                self.release(offset, before)
            });
        if let Some(key) = key {
            self.known.insert(offset, key);
            self.parked.remove(&(key, offset));
            self.owners.entry(key).or_insert(offset);
        }
        next
    }

    /// `offset` is before nobody any more. Returns who gets its key.
    pub(super) fn let_go(&mut self, offset: u64) -> Option<u64> {
        let key = self.known.remove(&offset)?;
        self.parked.remove(&(key, offset));
        self.release(offset, key)
    }

    /// `offset` is below the cursor and ready again. If its key is busy with
    /// another one, it is parked, and this is false.
    pub(super) fn come_back(&mut self, offset: u64) -> bool {
        let Some(key) = self.known.get(&offset).copied() else {
            return true;
        };
        let may_go = self.claim(offset, key);
        if !may_go {
            self.park(offset, key);
        }
        may_go
    }

    /// Forgets a run that is done. Returns who gets the keys it had.
    pub(super) fn forget_run(&mut self, from: u64, to: u64) -> Vec<u64> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let gone: Vec<u64> = if to - from <= to_u64(self.known.len()) {
            let offsets = from..to;
            offsets.filter(|at| self.known.contains_key(at)).collect()
        } else {
            let known = self.known.keys().copied();
            known.filter(|at| (from..to).contains(at)).collect()
        };
        // First all that waited in the run, so that none of them is next.
        for at in &gone {
            if let Some(key) = self.known.get(at) {
                self.parked.remove(&(*key, *at));
            }
        }
        let next = gone.iter().filter_map(|at| self.let_go(*at));
        next.collect()
    }

    /// The key passes from `offset` to the lowest one that waits for it.
    fn release(&mut self, offset: u64, key: u64) -> Option<u64> {
        if self.owners.get(&key) != Some(&offset) {
            return None;
        }
        let next = self.parked.range((key, 0)..=(key, u64::MAX)).next();
        let next = next.map(|next| next.1);
        if let Some(next) = next {
            self.parked.remove(&(key, next));
            self.owners.insert(key, next);
        } else {
            self.owners.remove(&key);
        }
        next
    }

    pub(super) fn shrink(&mut self) {
        self.known.shrink_to_fit();
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let trees = (self.owners.len() + self.parked.len()) * 24;
        to_u64(trees + self.known.capacity() * 17 * 8 / 7)
    }
}
