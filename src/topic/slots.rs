//! The partitions of a topic, found without a lock.
//!
//! ```text
//!  row 0: 0     row 1: 1 2     row 2: 3 4 5 6     row 3: 7 ... 14     ...
//! ```
//!
//! A row is made when one of its partitions is first used, and never moves: a
//! partition that was found can be borrowed for as long as the topic.

use std::sync::{Arc, OnceLock};

use crate::format::PARTITIONS_MAX;
use crate::ids::to_usize;
use crate::partition::Partition;

type Slot = OnceLock<Arc<Partition>>;

/// Rows for as many partitions as a topic may have.
const ROWS: usize = PARTITIONS_MAX.ilog2() as usize + 1;

/// Places of partitions. One pointer, until one of them is used.
#[derive(Debug, Default)]
pub(super) struct Slots {
    rows: OnceLock<Box<[OnceLock<Box<[Slot]>>; ROWS]>>,
}

/// The row of a partition, and its place there.
fn place(number: u32) -> (usize, usize) {
    let nth = u64::from(number) + 1;
    let row = nth.ilog2();
    (to_usize(u64::from(row)), to_usize(nth - (1 << row)))
}

impl Slots {
    /// The partition with this number, if it was used.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Partition>> {
        let (row, at) = place(number);
        self.rows.get()?.get(row)?.get()?.get(at)?.get()
    }

    /// Where the partition goes; `None` beyond what a topic may have.
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        let (row, at) = place(number);
        let make = || (0..1_usize << row).map(|_| OnceLock::new()).collect();
        let rows = self.rows.get_or_init(Box::default);
        rows.get(row)?.get_or_init(make).get(at)
    }

    /// Partitions that were used, in the order of their numbers.
    pub(super) fn used(&self) -> impl Iterator<Item = &Arc<Partition>> {
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
        let slots = Slots::default();
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
