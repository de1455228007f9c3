//! What timers promise: each comes when it is due, whatever happens meanwhile.

use std::path::Path;

use super::*;
use crate::error::ErrorKind;
use crate::format::timers::{BLOCK_TIMERS_MAX, TIMER_BLOCK_LEN, TimerKind};
use crate::ids::{Offset, PartitionId, TopicId, to_usize};
use crate::io::FileSystem;
use crate::io::sim::{Crash, FaultRule, OpKind, SimFs};

mod crash;
mod damage;
mod model;

const DIR: &str = "/store/timers";
const STORE: StoreId = StoreId::new([7; 16]);

/// Just enough to be spilled.
const BURST: u64 = SPILL_MIN + 1;

fn env(disk: &SimFs) -> TimersEnv {
    TimersEnv {
        dir: disk.open_root(Path::new(DIR), true).unwrap(),
        store: STORE,
    }
}

fn empty(disk: &SimFs) -> Timers {
    Timers::open(env(disk), &TimerState::default()).unwrap()
}

fn at(due: i64) -> Timestamp {
    Timestamp::from_millis(due)
}

/// Timer `n`, due then. The number makes it unlike all others.
fn timer(due: i64, n: u64) -> Timer {
    Timer {
        due: at(due),
        kind: if n.is_multiple_of(3) {
            TimerKind::Expire
        } else {
            TimerKind::Wake
        },
        partition: PartitionId {
            topic: TopicId::new(u32::try_from(n % 5).unwrap()),
            partition: u32::try_from(n % 7).unwrap(),
        },
        offset: Offset::new(n),
    }
}

/// Timers `from` to `from + count`, due at one and the same 100 times, so that
/// the runs of several bursts interleave.
fn burst(from: u64, count: u64) -> Vec<Timer> {
    let due = |n: u64| i64::try_from(n * 37 % 100).unwrap();
    (from..from + count).map(|n| timer(due(n), n)).collect()
}

fn add(timers: &mut Timers, all: &[Timer]) {
    for timer in all {
        timers.add(*timer);
    }
}

fn take(timers: &mut Timers, now: i64, max: usize) -> Vec<Timer> {
    let mut out = Vec::new();
    timers.take_due(at(now), max, &mut out).unwrap();
    out
}

fn sorted(timers: impl IntoIterator<Item = Timer>) -> Vec<Timer> {
    let set: BTreeSet<Timer> = timers.into_iter().collect();
    set.into_iter().collect()
}

fn files(disk: &SimFs) -> Vec<String> {
    let all = disk.list_files().into_iter();
    all.map(|(path, _)| path.rsplit('/').next().unwrap().to_owned())
        .collect()
}

/// `count` runs of a burst each, and what is in them.
fn with_runs(disk: &SimFs, count: u64) -> (Timers, Vec<Timer>) {
    with_runs_of(disk, count, BURST)
}

/// The same with `each` timers a run. 25 000 are more than is read at once.
fn with_runs_of(disk: &SimFs, count: u64, each: u64) -> (Timers, Vec<Timer>) {
    let mut timers = empty(disk);
    let mut all = Vec::new();
    for n in 0..count {
        let more = burst(n * each, each);
        add(&mut timers, &more);
        assert!(timers.spill().unwrap());
        all.extend(more);
    }
    (timers, sorted(all))
}

#[test]
fn a_timer_comes_when_it_is_due_and_not_before() {
    let mut timers = empty(&SimFs::new(1));
    let (first, second) = (timer(1_000, 1), timer(2_000, 2));
    add(&mut timers, &[second, first]);
    assert_eq!((timers.len(), timers.next_due()), (2, Some(at(1_000))));
    assert_eq!(take(&mut timers, 999, 10), []);
    assert_eq!(take(&mut timers, 1_000, 10), [first]);
    assert_eq!(timers.next_due(), Some(at(2_000)));
    assert_eq!(take(&mut timers, i64::MAX, 10), [second]);
    assert_eq!((timers.len(), timers.next_due()), (0, None));
}

#[test]
fn runs_and_memory_come_out_as_one_sequence() {
    let (mut timers, mut all) = with_runs(&SimFs::new(1), 3);
    let more = burst(9 * BURST, 500);
    add(&mut timers, &more);
    all.extend(more);
    assert_eq!(timers.len(), to_u64(all.len()));
    let expected = sorted(all);
    assert_eq!(take(&mut timers, 99, usize::MAX), expected);
    assert_eq!((timers.len(), timers.next_due()), (0, None));
}

#[test]
fn a_backlog_comes_out_in_steps_of_a_bounded_size() {
    let (mut timers, all) = with_runs(&SimFs::new(1), 2);
    let mut found = Vec::new();
    while timers.next_due().is_some() {
        let step = take(&mut timers, 99, 1_000);
        assert!(step.len() == 1_000 || timers.len() == 0);
        found.extend(step);
    }
    assert_eq!(found, all);
}

#[test]
fn a_clock_that_jumps_back_takes_nothing_and_does_no_harm() {
    let (mut timers, all) = with_runs(&SimFs::new(1), 2);
    let mut found = take(&mut timers, 50, usize::MAX);
    assert_eq!(take(&mut timers, -1_000, 10), []);
    assert_eq!(take(&mut timers, i64::MIN, 10), []);
    assert_eq!(take(&mut timers, 50, 10), []);
    let late = timer(3, 1 << 40);
    timers.add(late);
    assert_eq!(timers.next_due(), Some(at(3)));
    assert_eq!(take(&mut timers, 50, 10), [late]);
    found.extend(take(&mut timers, i64::MAX, usize::MAX));
    assert_eq!(found, all);
}

#[test]
fn times_at_the_ends_of_the_scale_come_back() {
    let mut timers = empty(&SimFs::new(1));
    let ends = [timer(i64::MIN, 1), timer(0, u64::MAX), timer(i64::MAX, 2)];
    add(&mut timers, &ends);
    add(&mut timers, &burst(10, BURST));
    assert!(timers.spill().unwrap());
    assert_eq!(take(&mut timers, i64::MIN, 10), [ends[0]]);
    let rest = take(&mut timers, i64::MAX, usize::MAX);
    assert_eq!(rest.len(), to_usize(BURST) + 2);
    assert_eq!(rest.last(), Some(&ends[2]));
    assert!(rest.contains(&ends[1]));
}

#[test]
fn a_timer_that_was_added_again_comes_once_or_twice() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs(&disk, 1);
    add(&mut timers, &all);
    add(&mut timers, &all[..10]);
    let found = take(&mut timers, 99, usize::MAX);
    assert_eq!(found.len(), 2 * all.len());
    assert_eq!(sorted(found), all);
}

#[test]
fn a_merge_makes_one_of_a_timer_that_is_there_twice() {
    let (mut timers, all) = with_runs(&SimFs::new(1), 1);
    for _ in 0..8 {
        add(&mut timers, &all);
        assert!(timers.spill().unwrap());
    }
    assert!(timers.merge().unwrap());
    assert_eq!(timers.len(), BURST);
    assert_eq!(take(&mut timers, 99, usize::MAX), all);
}

#[test]
fn what_fits_into_a_snapshot_is_not_spilled() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    add(&mut timers, &burst(0, SPILL_MIN));
    let begun = disk.steps();
    assert!(!timers.spill().unwrap());
    assert_eq!(disk.steps(), begun);
    assert_eq!(to_u64(timers.save().state.fresh.len()), SPILL_MIN);
    timers.add(timer(5, BURST));
    assert!(timers.spill().unwrap());
    let state = timers.save().state;
    assert_eq!((state.fresh.len(), state.runs.len()), (0, 1));
}

#[test]
fn a_backlog_on_disk_takes_no_memory_to_speak_of() {
    let (timers, all) = with_runs(&SimFs::new(1), 8);
    let block = 2 * BLOCK_TIMERS_MAX * size_of::<Timer>();
    let most = 8 * to_u64(block + (64 << 10));
    assert!(
        timers.memory_bytes() <= most,
        "{} bytes",
        timers.memory_bytes()
    );
    assert_eq!((timers.len(), timers.in_memory()), (to_u64(all.len()), 0));
}

#[test]
fn a_saved_state_opens_at_the_timer_where_it_was_saved() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs(&disk, 1);
    for step in [1, 2, 500, 1, 700, 1_000, 3_000] {
        take(&mut timers, 99, step);
        let saved = timers.save();
        let taken = to_usize(saved.state.runs[0].taken);
        let mut again = Timers::open(env(&disk), &saved.state).unwrap();
        assert_eq!(again.next_due(), Some(all[taken].due));
        assert_eq!(again.len(), BURST - to_u64(taken));
        assert_eq!(take(&mut again, 99, usize::MAX), all[taken..]);
    }
}

#[test]
fn timers_are_added_and_taken_while_they_are_spilled() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    let (first, second) = (burst(0, 3 * BURST), burst(3 * BURST, 100));
    add(&mut timers, &first);
    let mut spill = timers.begin_spill().unwrap();
    let mut found = take(&mut timers, 99, 5_000);
    add(&mut timers, &second);
    spill.run().unwrap();
    // All that is not in a listed run is saved, also half way through.
    let saved = timers.save().state;
    assert_eq!(to_u64(saved.fresh.len()), timers.len());
    assert_eq!(saved.runs, []);
    found.extend(take(&mut timers, 99, 5_000));
    timers.finish(spill).unwrap();
    let saved = timers.save().state;
    assert_eq!(saved.runs.len(), 1);
    assert!(saved.runs[0].taken > 9_000, "{:?}", saved.runs);
    assert_eq!(timers.len() + 10_000, 3 * BURST + 100);
    found.extend(take(&mut timers, 99, usize::MAX));
    assert_eq!(sorted(found.clone()), sorted([first, second].concat()));
    assert_eq!(found.len(), to_usize(3 * BURST) + 100, "one came twice");
}

#[test]
fn timers_are_added_and_taken_while_runs_are_merged() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs(&disk, 9);
    let mut merge = timers.begin_merge().unwrap();
    assert!(merge.step().unwrap(), "more than one step");
    let mut found = take(&mut timers, 99, 20_000);
    let more = burst(100 * BURST, BURST);
    add(&mut timers, &more);
    timers.spill().unwrap();
    found.extend(take(&mut timers, 99, 20_000));
    merge.run().unwrap();
    timers.finish(merge).unwrap();
    assert_eq!(timers.save().state.runs.len(), 2);
    found.extend(take(&mut timers, 99, usize::MAX));
    assert_eq!(found.len(), all.len() + more.len(), "one came twice");
    assert_eq!(sorted(found), sorted([all, more].concat()));
}

#[test]
fn a_rewrite_of_what_was_all_taken_meanwhile_adds_nothing() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    add(&mut timers, &burst(0, BURST));
    let mut spill = timers.begin_spill().unwrap();
    spill.run().unwrap();
    take(&mut timers, 99, usize::MAX);
    timers.finish(spill).unwrap();
    assert_eq!((timers.len(), timers.next_due()), (0, None));
    let state = timers.save().state;
    assert_eq!(state, TimerState::default());
}

#[test]
fn a_rewrite_that_another_one_replaced_counts_for_nothing() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    let all = burst(0, BURST);
    add(&mut timers, &all);
    let mut old = timers.begin_spill().unwrap();
    let mut new = timers.begin_spill().unwrap();
    new.run().unwrap();
    old.run().unwrap();
    timers.finish(old).unwrap();
    timers.finish(new).unwrap();
    assert_eq!(take(&mut timers, 99, usize::MAX), sorted(all));
    assert_eq!(timers.save().turn, Turn(1));
    assert_eq!(timers.retire(Turn(1)), [1, 2]);
}

#[test]
fn a_merge_that_another_one_replaced_does_not_bring_timers_twice() {
    let disk = SimFs::new(1);
    let (mut timers, mut all) = with_runs(&disk, 9);
    let mut old = timers.begin_merge().unwrap();
    old.run().unwrap();
    let more = burst(100 * BURST, BURST);
    add(&mut timers, &more);
    timers.spill().unwrap();
    let mut new = timers.begin_merge().unwrap();
    new.run().unwrap();
    timers.finish(old).unwrap();
    timers.finish(new).unwrap();
    all.extend(more);
    assert_eq!(timers.len(), to_u64(all.len()));
    assert_eq!(take(&mut timers, 99, usize::MAX), sorted(all));
}

#[test]
fn a_dead_run_stays_until_no_kept_snapshot_can_list_it() {
    let disk = SimFs::new(1);
    let (mut timers, _) = with_runs(&disk, 1);
    let first = timers.save();
    take(&mut timers, 99, usize::MAX);
    // Two snapshots are kept: the one before it died, and one after.
    let second = timers.save();
    assert_eq!(timers.retire(first.turn), [0; 0]);
    assert!(Timers::open(env(&disk), &first.state).is_ok());
    timers.save();
    assert_eq!(timers.retire(second.turn), [1]);
    env(&disk).remove(&[1, 77]).unwrap();
    assert_eq!(files(&disk), [""; 0]);
    assert_eq!(timers.retire(second.turn), [0; 0], "named once");
}

#[test]
fn a_run_that_was_saved_while_it_was_merged_stays_too() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs(&disk, 9);
    let mut merge = timers.begin_merge().unwrap();
    merge.run().unwrap();
    let saved = timers.save();
    timers.finish(merge).unwrap();
    timers.save();
    assert_eq!(timers.retire(saved.turn), [0; 0]);
    let mut again = Timers::open(env(&disk), &saved.state).unwrap();
    assert_eq!(take(&mut again, 99, usize::MAX), all);
}

#[test]
fn what_a_crash_left_behind_goes_after_two_snapshots() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs(&disk, 2);
    let state = timers.save().state;
    add(&mut timers, &burst(50 * BURST, BURST));
    timers.spill().unwrap();
    disk.write_file(format!("{DIR}/notes.txt"), b"not of the store");
    let before = disk.list_files();
    let mut timers = Timers::open(env(&disk), &state).unwrap();
    assert_eq!(disk.list_files(), before, "opening changes nothing");
    let (first, second) = (timers.save().turn, timers.save().turn);
    assert_eq!(timers.retire(Turn::default()), [0; 0]);
    assert_eq!(timers.retire(first), [3]);
    env(&disk).remove(&[3]).unwrap();
    assert_eq!(timers.retire(second), [0; 0]);
    assert_eq!(files(&disk), [run_name(1), run_name(2), "notes.txt".into()]);
    // The number is not used again while somebody might know it.
    add(&mut timers, &burst(60 * BURST, BURST));
    assert_eq!(timers.begin_spill().unwrap().number, 4);
    assert_eq!(take(&mut timers, 99, usize::MAX).len(), all.len() + 8193);
}

#[test]
fn a_large_run_of_which_little_is_left_makes_room() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    let count = 1 << 18;
    let all = burst(0, count);
    add(&mut timers, &all);
    timers.spill().unwrap();
    take(&mut timers, 90, usize::MAX);
    let (left, before) = (timers.len(), disk.list_files()[0].1);
    assert!(timers.merge().unwrap());
    assert!(!timers.merge().unwrap(), "once is enough");
    let after = disk.list_files()[1].1;
    assert!(after * 4 < before, "{after} of {before} bytes");
    assert_eq!(timers.len(), left);
    let expected: Vec<Timer> = sorted(all)
        .into_iter()
        .filter(|it| it.due > at(90))
        .collect();
    assert_eq!(take(&mut timers, 99, usize::MAX), expected);
}
