//! Tests of sets of offsets.

use std::collections::BTreeSet;

use super::part::CHUNK;
use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Where the offsets of the tests lie: five chunks and a bit.
const SPACE: u64 = 5 * CHUNK + 100;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    InsertRun(u64, u64),
    /// Every second one of so many: what makes bitmaps.
    InsertComb(u64, u64),
    Remove(u64),
    RemoveRun(u64, u64),
    RemoveBelow(u64),
    PopFirst,
}

fn op() -> impl Strategy<Value = Op> {
    // Borders of chunks are where it goes wrong.
    let at = || {
        prop_oneof![
            0..SPACE,
            (0..5_u64, 0..5_u64).prop_map(|(chunk, by)| (chunk * CHUNK + by).saturating_sub(2)),
        ]
    };
    prop_oneof![
        4 => at().prop_map(Op::Insert),
        4 => (at(), at()).prop_map(|(a, b)| Op::InsertRun(a.min(b), a.max(b))),
        2 => (at(), 1..600_u64).prop_map(|(a, n)| Op::InsertComb(a, n)),
        4 => at().prop_map(Op::Remove),
        3 => (at(), at()).prop_map(|(a, b)| Op::RemoveRun(a.min(b), a.max(b))),
        1 => at().prop_map(Op::RemoveBelow),
        2 => Just(Op::PopFirst),
    ]
}

/// Does the same to both, and compares what they say of it.
fn apply(op: &Op, set: &mut OffsetSet, model: &mut BTreeSet<u64>) {
    let before = model.len();
    match *op {
        Op::Insert(at) => assert_eq!(set.insert(at), model.insert(at)),
        Op::InsertRun(from, to) => {
            let added = set.insert_run(from..to);
            model.extend(from..to);
            assert_eq!(added, to_u64(model.len() - before));
        }
        Op::InsertComb(from, count) => {
            for at in (from..).step_by(2).take(crate::ids::to_usize(count)) {
                assert_eq!(set.insert(at), model.insert(at));
            }
        }
        Op::Remove(at) => assert_eq!(set.remove(at), model.remove(&at)),
        Op::RemoveRun(from, to) => {
            let removed = set.remove_run(from..to);
            model.retain(|at| !(from..to).contains(at));
            assert_eq!(removed, to_u64(before - model.len()));
        }
        Op::RemoveBelow(end) => {
            let removed = set.remove_below(end);
            *model = model.split_off(&end);
            assert_eq!(removed, to_u64(before - model.len()));
        }
        Op::PopFirst => {
            let first = set.first();
            assert_eq!(first, model.pop_first());
            first.map(|first| set.remove(first));
        }
    }
}

fn runs_of(model: &BTreeSet<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &at in model {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// What the set promises of how it keeps its chunks.
fn check_shape(set: &OffsetSet) {
    let mut free = 0;
    let mut full = None;
    for (&chunk, found) in &set.chunks {
        assert!(chunk >= free, "chunk {chunk} is there twice");
        match found {
            Chunk::Full(count) => {
                assert!(*count > 0 && full != Some(chunk), "two full ones touch");
                free = chunk + count;
                full = Some(free);
            }
            Chunk::Part(part) => {
                assert!(!part.is_empty() && !part.is_full(), "not a part");
                assert!(part.heap_bytes() <= 1024, "{}", part.heap_bytes());
                free = chunk + 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_set_of_offsets_is_what_a_plain_set_is(
        ops in vec(op(), 1..40),
        probes in vec(0..SPACE, 20),
    ) {
        let (mut set, mut model) = (OffsetSet::default(), BTreeSet::new());
        for op in &ops {
            apply(op, &mut set, &mut model);
            check_shape(&set);
            prop_assert_eq!(set.len(), to_u64(model.len()));
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert_eq!(set.first(), model.first().copied());
            prop_assert_eq!(set.last(), model.last().copied());
        }
        let runs = runs_of(&model);
        prop_assert_eq!(set.runs().collect::<Vec<_>>(), runs.clone());
        for &at in &probes {
            prop_assert_eq!(set.contains(at), model.contains(&at));
            prop_assert_eq!(set.first_from(at), model.range(at..).next().copied());
            prop_assert_eq!(set.len_below(at), to_u64(model.range(..at).count()));
            let run = runs.iter().find(|run| run.contains(&at));
            prop_assert_eq!(set.run_end(at), run.map_or(at, |run| run.end));
        }
        let mut again = OffsetSet::default();
        for run in set.runs() {
            again.insert_run(run);
        }
        prop_assert_eq!(again, set);
    }
}

#[test]
fn a_run_of_ten_million_is_one_step_and_a_few_bytes() {
    let mut set = OffsetSet::default();
    assert_eq!(set.insert_run(100..10_000_100), 10_000_000);
    assert_eq!(set.chunks.len(), 3, "a part, full chunks, a part");
    assert!(set.memory_bytes() < 200, "{}", set.memory_bytes());
    assert_eq!(set.runs().collect::<Vec<_>>(), vec![100..10_000_100]);
    assert_eq!(set.run_end(100), 10_000_100);
    assert_eq!(set.remove_run(5_000_000..5_000_001), 1);
    assert_eq!(
        set.runs().collect::<Vec<_>>(),
        vec![100..5_000_000, 5_000_001..10_000_100]
    );
    assert!(set.insert(5_000_000));
    assert_eq!(set.chunks.len(), 3, "whole again");
    assert_eq!(set.remove_below(10_000_099), 9_999_999);
    assert_eq!(set.first(), Some(10_000_099));
    assert!(set.remove(10_000_099));
    assert_eq!(set, OffsetSet::default());
}

#[test]
fn a_hole_at_every_second_offset_costs_little_more_than_a_quarter_byte() {
    let mut set = OffsetSet::default();
    for at in (0..1_000_000).step_by(2) {
        assert!(set.insert(at));
    }
    let bytes = set.memory_bytes();
    assert!(bytes * 100 <= set.len() * 28, "{bytes} bytes");
}

#[test]
fn the_last_offsets_that_there_can_be_have_a_place() {
    let mut set = OffsetSet::default();
    let last = u64::MAX - 1;
    assert!(set.insert(last));
    assert_eq!(set.insert_run(u64::MAX - 10_000..u64::MAX), 9_999);
    assert_eq!(set.run_end(last), u64::MAX);
    assert_eq!(set.last(), Some(last));
    assert!(!set.contains(u64::MAX));
    assert!(!set.remove(u64::MAX));
    assert_eq!(set.first_from(u64::MAX), None);
    assert_eq!(set.remove_below(u64::MAX), 10_000);
    assert!(set.is_empty());
}

#[test]
fn an_empty_run_changes_nothing() {
    let mut set = OffsetSet::default();
    assert_eq!(set.insert_run(5..5), 0);
    set.insert(5);
    assert_eq!(set.remove_run(6..6), 0);
    assert_eq!(set.remove_below(0), 0);
    assert_eq!(set.len(), 1);
}
