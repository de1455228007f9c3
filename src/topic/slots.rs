//! Places by number, found without a lock: partitions of a topic, lanes of a queue.
//!
//! ```text
//!  row 0: 0     row 1: 1 2     row 2: 3 4 5 6     row 3: 7 ... 14     ...
//! ```
//!
//! A row is made when one of its places is first used, and never moves: what was
//! found can be borrowed for as long as its owner.

use std::sync::OnceLock;

use crate::format::PARTITIONS_MAX;
use crate::ids::to_usize;

/// Rows for as many partitions as a topic may have.
const ROWS: usize = PARTITIONS_MAX.ilog2() as usize + 1;

type Row<T> = OnceLock<Box<[OnceLock<T>]>>;

/// Places. One pointer, until one of them is used.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    rows: OnceLock<Box<[Row<T>; ROWS]>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            rows: OnceLock::new(),
        }
    }
}

/// The row of a number, and its place there.
fn place(number: u32) -> (usize, usize) {
    let nth = u64::from(number) + 1;
    let row = nth.ilog2();
    (to_usize(u64::from(row)), to_usize(nth - (1 << row)))
}

impl<T> Slots<T> {
    /// What has this number, if it was used.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let (row, at) = place(number);
        self.rows.get()?.get(row)?.get()?.get(at)?.get()
    }

    /// Where it goes; `None` beyond the partitions that a topic may have.
    pub(crate) fn slot(&self, number: u32) -> Option<&OnceLock<T>> {
        let (row, at) = place(number);
        let make = || (0..1_usize << row).map(|_| OnceLock::new()).collect();
        let rows = self
            .rows
            .get_or_init(|| Box::new([const { OnceLock::new() }; ROWS]));
        rows.get(row)?.get_or_init(make).get(at)
    }

    /// What was used, in the order of its numbers.
    pub(crate) fn used(&self) -> impl Iterator<Item = &T> {
        let rows = self.rows.get().into_iter().flat_map(|rows| rows.iter());
        let rows = rows.filter_map(OnceLock::get);
        rows.flatten().filter_map(OnceLock::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_place_of_its_own() {
        let slots = Slots::<u8>::default();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..PARTITIONS_MAX {
            let slot = slots.slot(number).expect("a place");
            assert!(seen.insert(std::ptr::from_ref(slot)), "{number}");
            assert!(slots.get(number).is_none(), "{number} was not used");
        }
        assert!(slots.slot(u32::MAX).is_none());
        assert!(slots.get(u32::MAX).is_none());
    }
}
