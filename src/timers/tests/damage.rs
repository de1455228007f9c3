//! Faults and damage: what fails is said, and nothing is lost by it.

use super::*;
use crate::format::timers::{RunHeader, encode_block};

/// Every operation of a spill that can fail, with how often it is done.
const STEPS: [(OpKind, u64); 6] = [
    (OpKind::Create, 1),
    (OpKind::Write, 1),
    (OpKind::Write, 2),
    (OpKind::Sync, 1),
    (OpKind::DirSync, 1),
    (OpKind::Read, 1),
];

#[test]
fn a_spill_that_failed_leaves_all_in_memory_and_is_made_again() {
    for (kind, nth) in STEPS {
        let disk = SimFs::new(1);
        let mut timers = empty(&disk);
        let all = burst(0, BURST + 10);
        add(&mut timers, &all);
        disk.fail(FaultRule::new(kind, FaultRule::EIO).nth(nth));
        let error = timers.spill().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{kind} {nth}: {error}");
        assert_eq!(timers.in_memory(), BURST + 10, "{kind} {nth}");
        assert_eq!(files(&disk), [""; 0], "{kind} {nth}: its space is free");
        let state = timers.save().state;
        assert_eq!(state.fresh, sorted(all.clone()), "{kind} {nth}");
        let mut found = take(&mut timers, 99, 10);
        let more = timer(5, 1 << 40);
        timers.add(more);
        assert!(timers.spill().unwrap(), "{kind} {nth}: more than fits");
        assert_eq!(timers.in_memory(), 0);
        found.extend(take(&mut timers, 99, usize::MAX));
        let expected = sorted(all.into_iter().chain([more]));
        assert_eq!(sorted(found), expected, "{kind} {nth}");
    }
}

#[test]
fn a_full_disk_is_said_to_be_full_and_costs_nothing() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    let all = burst(0, 4 * BURST);
    add(&mut timers, &all);
    disk.set_capacity(Some(16 << 10));
    for _ in 0..3 {
        assert_eq!(timers.spill().unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(disk.used_bytes(), 0);
    }
    disk.set_capacity(None);
    assert!(timers.spill().unwrap());
    assert_eq!(take(&mut timers, 99, usize::MAX), sorted(all));
}

#[test]
fn a_merge_that_failed_leaves_the_runs_as_they_were() {
    for (kind, nth) in STEPS {
        let disk = SimFs::new(1);
        let (mut timers, all) = with_runs(&disk, 9);
        let before = (timers.save().state, files(&disk));
        let path = if kind == OpKind::DirSync {
            DIR
        } else {
            "10.run"
        };
        disk.fail(FaultRule::new(kind, FaultRule::EIO).path(path).nth(nth));
        timers.merge().unwrap_err();
        disk.clear_faults();
        assert_eq!((timers.save().state, files(&disk)), before, "{kind} {nth}");
        assert!(timers.merge().unwrap(), "{kind} {nth}");
        assert_eq!(timers.save().state.runs.len(), 1);
        assert_eq!(take(&mut timers, 99, usize::MAX), all, "{kind} {nth}");
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_dead_and_goes_later() {
    let disk = SimFs::new(1);
    let mut timers = empty(&disk);
    add(&mut timers, &burst(0, BURST));
    disk.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO));
    disk.fail(FaultRule::new(OpKind::Remove, FaultRule::EIO).forever());
    timers.spill().unwrap_err();
    assert_eq!(files(&disk), [run_name(1)]);
    let turn = timers.save().turn;
    assert_eq!(timers.retire(turn), [1]);
    let error = env(&disk).remove(&[1]).unwrap_err();
    assert!(error.to_string().contains(&run_name(1)), "{error}");
    disk.clear_faults();
    env(&disk).remove(&[1]).unwrap();
    assert_eq!(files(&disk), [""; 0]);
}

/// A run on a disk, and the state that lists it.
fn saved() -> (SimFs, TimerState, String) {
    let disk = SimFs::new(1);
    let (mut timers, _) = with_runs(&disk, 1);
    let state = timers.save().state;
    (disk, state, format!("{DIR}/{}", run_name(1)))
}

#[track_caller]
fn refused(disk: &SimFs, state: &TimerState, why: &str) {
    let error = Timers::open(env(disk), state).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let text = error.to_string();
    let name = format!("timers/{}", run_name(1));
    let remedy = "put the file back from a copy of the store";
    for part in [why, &name, remedy] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

#[test]
fn a_run_that_is_missing_is_named() {
    let (disk, state, path) = saved();
    disk.remove(path);
    refused(&disk, &state, "is missing");
}

#[test]
fn a_run_that_is_shorter_or_longer_is_named() {
    let (disk, state, path) = saved();
    let bytes = disk.read_file(&path);
    for len in [0, 100, TIMER_BLOCK_LEN, bytes.len() - 1, bytes.len() + 1] {
        let mut bytes = bytes.clone();
        bytes.resize(len, 0);
        disk.write_file(&path, &bytes);
        let why = if len < TIMER_BLOCK_LEN {
            "ends before byte 4096"
        } else {
            "bytes, not"
        };
        refused(&disk, &state, why);
    }
}

#[test]
fn a_flipped_bit_in_what_is_read_first_is_named() {
    let (disk, state, path) = saved();
    for byte in [0, 5, 40, 4_000, 4_096, 5_000] {
        disk.flip_bit(&path, byte, 3);
        let block = byte / 4096 * 4096;
        refused(&disk, &state, &format!("is damaged at byte {block}"));
        disk.flip_bit(&path, byte, 3);
    }
    Timers::open(env(&disk), &state).unwrap();
}

#[test]
fn a_run_of_another_store_or_number_is_refused() {
    let (disk, state, path) = saved();
    let other = SimFs::new(1);
    let theirs = TimersEnv {
        store: StoreId::new([8; 16]),
        ..env(&other)
    };
    let mut timers = Timers::open(theirs, &TimerState::default()).unwrap();
    add(&mut timers, &burst(0, BURST));
    timers.spill().unwrap();
    let good = disk.read_file(&path);
    disk.write_file(&path, &other.read_file(&path));
    refused(&disk, &state, "is of store 0808");
    let (other, _, _) = saved();
    other.rename(&path, format!("{DIR}/{}", run_name(2)));
    let mut renamed = state.clone();
    renamed.runs[0].number = 2;
    let error = Timers::open(env(&other), &renamed).unwrap_err();
    assert!(error.to_string().contains("it was renamed"), "{error}");
    disk.write_file(&path, &good);
    Timers::open(env(&disk), &state).unwrap();
}

#[test]
fn a_state_that_the_run_does_not_bear_out_is_refused() {
    let (disk, state, _) = saved();
    let with = |entries, taken| {
        let mut state = state.clone();
        (state.runs[0].entries, state.runs[0].taken) = (entries, taken);
        state
    };
    refused(&disk, &with(BURST + 1, 0), "are listed");
    refused(&disk, &with(BURST, BURST), "has no timer left");
    refused(&disk, &with(BURST, u64::MAX), "has no timer left");
    let mut twice = state.clone();
    twice.runs.push(state.runs[0]);
    refused(&disk, &twice, "is listed twice");
}

/// A file with three blocks that check out, whatever they say.
fn forged(disk: &SimFs, entries: u64, blocks: [(u64, &[Timer]); 3]) {
    let header = RunHeader {
        store: STORE,
        number: 1,
        entries,
        blocks: 3,
    };
    let (mut out, run) = (header.encode(), run_seed(STORE, 1));
    for ((first, timers), number) in blocks.into_iter().zip(1..) {
        encode_block(timers, first, run, number, &mut out);
    }
    disk.write_file(format!("{DIR}/{}", run_name(1)), &out);
}

#[test]
fn blocks_that_do_not_follow_each_other_are_refused() {
    let all: Vec<Timer> = (0..13).map(|n| timer(100 + n, 1)).collect();
    let (one, two, three) = (&all[..4], &all[4..9], &all[9..]);
    for (case, entries, first, second) in [
        ("as it should be", 13, 4, two),
        ("too few before", 13, 3, two),
        ("too many before", 13, 5, two),
        ("more before than there are", 13, u64::MAX, two),
        ("not as many as promised", 14, 4, two),
        ("more than promised", 12, 4, two),
        ("the last one again", 13, 4, &all[3..8]),
        ("one that is missing", 13, 4, &all[5..9]),
    ] {
        let disk = SimFs::new(1);
        forged(&disk, entries, [(0, one), (first, second), (9, three)]);
        let run = RunMeta {
            number: 1,
            entries,
            taken: 0,
        };
        let state = TimerState {
            runs: vec![run],
            fresh: Vec::new(),
        };
        let mut out = Vec::new();
        let read = Timers::open(env(&disk), &state)
            .and_then(|mut timers| timers.take_due(at(999), 99, &mut out));
        if case == "as it should be" {
            read.unwrap();
            assert_eq!(out, all);
        } else {
            assert_eq!(read.expect_err(case).kind(), ErrorKind::Corrupt, "{case}");
        }
    }
}

#[test]
fn damage_within_a_run_is_named_and_does_not_stop_the_others() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs(&disk, 2);
    let state = timers.save().state;
    // Past the block that is read first.
    let path = format!("{DIR}/{}", run_name(1));
    let (block, len) = (4 * 4096 + 77, disk.read_file(&path).len());
    assert!(len > 6 * 4096, "{len}");
    disk.flip_bit(&path, block, 0);
    let mut timers = Timers::open(env(&disk), &state).unwrap();
    let mut found = Vec::new();
    for _ in 0..2 {
        let error = timers.take_due(at(99), usize::MAX, &mut found).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains("01.run is damaged at byte 16384"), "{text}");
    }
    let second: Vec<Timer> = burst(BURST, BURST);
    assert!(second.iter().all(|timer| found.contains(timer)));
    assert_eq!(timers.len(), 2 * BURST - to_u64(found.len()));
    assert_eq!(timers.next_due(), None, "nothing that can be read");
    // Put back from a copy: the rest comes.
    disk.flip_bit(&path, block, 0);
    found.extend(take(&mut timers, 99, usize::MAX));
    assert_eq!((sorted(found), timers.len()), (all, 0));
}

#[test]
fn a_read_that_failed_once_delays_a_run_and_loses_nothing() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs_of(&disk, 2, 8 * BURST);
    let state = timers.save().state;
    for nth in 1..=6 {
        let mut timers = Timers::open(env(&disk), &state).unwrap();
        disk.fail(FaultRule::new(OpKind::Read, FaultRule::EIO).nth(nth));
        let mut found = Vec::new();
        let error = timers.take_due(at(99), usize::MAX, &mut found);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Io, "{nth}");
        assert!(found.len() < all.len(), "{nth}");
        found.extend(take(&mut timers, 99, usize::MAX));
        assert_eq!((sorted(found), timers.len()), (all.clone(), 0), "{nth}");
    }
}

#[test]
fn a_merge_that_ends_while_a_run_cannot_be_read_loses_nothing() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs_of(&disk, 9, 4 * BURST);
    let mut merge = timers.begin_merge().unwrap();
    merge.run().unwrap();
    let rule = FaultRule::new(OpKind::Read, FaultRule::EIO).path("3.run");
    disk.fail(rule.forever());
    // The others go on past what that run has next.
    let mut found = Vec::new();
    let blocked = timers.take_due(at(90), usize::MAX, &mut found);
    assert_eq!(blocked.unwrap_err().kind(), ErrorKind::Io);
    disk.clear_faults();
    timers.finish(merge).unwrap();
    found.extend(take(&mut timers, 99, usize::MAX));
    assert_eq!(sorted(found), all);
}

#[test]
fn a_run_that_cannot_be_read_does_not_keep_the_others_from_being_merged() {
    let disk = SimFs::new(1);
    let (mut timers, all) = with_runs_of(&disk, 10, 4 * BURST);
    let rule = FaultRule::new(OpKind::Read, FaultRule::EIO).path("3.run");
    disk.fail(rule.forever());
    let mut found = Vec::new();
    let blocked = timers.take_due(at(60), usize::MAX, &mut found);
    assert_eq!(blocked.unwrap_err().kind(), ErrorKind::Io);
    assert!(timers.merge().unwrap());
    let runs = timers.save().state.runs;
    let numbers: Vec<u64> = runs.iter().map(|run| run.number).collect();
    assert_eq!(numbers, [3, 11]);
    disk.clear_faults();
    found.extend(take(&mut timers, 99, usize::MAX));
    assert_eq!(sorted(found), all);
}
