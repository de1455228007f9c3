//! Faults that the operating system reports: failed syncs, full disks, no
//! descriptors, and every error at every call in turn.
//!
//! A failure of the sweep prints kind, error and number of the call: they are
//! all it takes to repeat it.

use std::time::Duration;

use duolog::io::sim::{FaultRule, OpKind};
use duolog::{Codec, Durability, ErrorKind, Retention, SyncPolicy};

use crate::observe::read_all;
use crate::world::{Append, Op, Setup, World, small};

/// Of the calls of one kind, every so many-th fails in a run of its own.
const CALL_STRIDE: u64 = 1;

fn append(sizes: &[usize], durability: Durability) -> Op {
    Op::Append(Append {
        topic: "t",
        partition: Some(0),
        sizes: sizes.to_vec(),
        keyed: false,
        durability,
        codec: Codec::None,
    })
}

/// A world with a topic `t` and a few durable records in it.
fn begun(queue: bool) -> World {
    let mut world = World::new(Setup {
        queue,
        sync_policy: SyncPolicy::Never,
        ..Setup::default()
    });
    world
        .run(&Op::Create("t", small()), &"begin")
        .expect("a disk without faults");
    for n in 0..3 {
        world
            .run(&append(&[n * 100], Durability::Durable), &"begin")
            .expect("a disk without faults");
    }
    world
}

/// Opens what a power cut leaves of the world, in many ways.
fn survives_power_cuts(world: &World, at: &str) {
    for (choice, image) in world.disk.crash_images(6, 12, 5) {
        let place = format!("{at}, power cut {choice:?}");
        let clock = std::sync::Arc::clone(&world.clock);
        image.set_capacity(None);
        let mut after = World::resume(world.setup, image, clock, world.model.clone());
        let opened = after.ensure_open(&place).map(|_| ());
        opened.unwrap_or_else(|error| panic!("{place}: {error:?}"));
    }
}

/// Every test runs on both back ends.
macro_rules! on_each_back_end {
    ($($name:ident,)*) => {
        mod one_in_flight {
            $(#[test] fn $name() { super::$name(false) })*
        }
        mod several_in_flight {
            $(#[test] fn $name() { super::$name(true) })*
        }
    };
}

on_each_back_end! {
    after_a_failed_sync_nothing_is_acknowledged_and_durable_records_stay_readable,
    buffered_records_are_hidden_after_a_failed_sync,
    a_full_disk_refuses_and_goes_on_when_space_returns,
    deleting_makes_room_on_a_full_disk,
    too_many_open_files_fail_one_operation_and_poison_nothing,
}

fn after_a_failed_sync_nothing_is_acknowledged_and_durable_records_stay_readable(queue: bool) {
    for keep in [0, 50, 100] {
        let at = format!("{keep} percent of the failed sync were kept");
        let mut world = begun(queue);
        let rule = FaultRule::new(OpKind::Sync, FaultRule::EIO).path("/wal/");
        world.disk.fail(rule.keep(keep));
        let failed = world.run(&append(&[50], Durability::Durable), &at);
        assert_eq!(
            failed.map_err(|e| e.kind()),
            Err(ErrorKind::Poisoned),
            "{at}"
        );
        // Nothing that follows is accepted, though the disk is well again.
        for op in [
            append(&[1], Durability::Durable),
            append(&[2], Durability::Buffered),
            append(&[3], Durability::Transient),
            Op::Create("u", small()),
            Op::Alter("t", small().partitions(2)),
            Op::Delete("t"),
            Op::Trim("t", 0, 50),
            Op::Sync,
            Op::Checkpoint,
            Op::Retention,
        ] {
            let refused = world.run(&op, &at);
            assert_eq!(
                refused.map_err(|e| e.kind()),
                Err(ErrorKind::Poisoned),
                "{at}: {op:?}"
            );
        }
        let engine = world.engine.clone().expect("it is open");
        let records = read_all(&engine, "t", 0).expect("reads go on");
        assert_eq!(records.len(), 3, "{at}: what was durable, and no more");
        survives_power_cuts(&world, &at);
        // A restart without a power cut may find the record or not.
        world.engine = None;
        drop(engine);
        world.ensure_open(&at).expect("opens");
        world
            .run(&append(&[4], Durability::Durable), &at)
            .expect("takes records again");
        let engine = world.engine.as_ref().expect("it is open");
        world.model.check_live(engine, &at);
        survives_power_cuts(&world, &at);
    }
}

fn buffered_records_are_hidden_after_a_failed_sync(queue: bool) {
    let mut world = begun(queue);
    world
        .run(&append(&[9], Durability::Buffered), &"buffered")
        .expect("accepted");
    world
        .run(&Op::RunPending, &"written")
        .expect("no fault yet");
    let engine = world.engine.clone().expect("it is open");
    let seen = read_all(&engine, "t", 0).expect("reads");
    assert_eq!(seen.len(), 4, "its producer asked for no more than this");
    world
        .disk
        .fail(FaultRule::new(OpKind::Sync, FaultRule::EIO));
    let failed = world.run(&Op::Sync, &"the sync");
    assert_eq!(failed.map_err(|e| e.kind()), Err(ErrorKind::Poisoned));
    let seen = read_all(&engine, "t", 0).expect("reads go on");
    assert_eq!(seen.len(), 3, "what may not be on disk is not shown");
}

fn a_full_disk_refuses_and_goes_on_when_space_returns(queue: bool) {
    let mut world = begun(queue);
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    let mut full = 0;
    for n in 0..60 {
        let op = match n % 10 {
            8 => Op::Checkpoint,
            9 => Op::RunPending,
            _ => append(&[3000, n], Durability::Durable),
        };
        let at = format!("operation {n} on a full disk");
        if let Err(error) = world.run(&op, &at) {
            assert_eq!(error.kind(), ErrorKind::Full, "{at}: {error:?}");
            full += 1;
        }
        // Nothing that was refused is there, everything else is.
        world.model.doubts.clear();
        let engine = world.engine.as_ref().expect("it stays open");
        world.model.check_live(engine, &at);
    }
    assert!(full > 3, "the disk was full {full} times");
    survives_power_cuts(&world, "on the full disk");
    world.disk.set_capacity(None);
    for op in [
        append(&[3000, 1], Durability::Durable),
        Op::Checkpoint,
        append(&[3000, 2], Durability::Durable),
        Op::Reopen,
    ] {
        let done = world.run(&op, &"space returned");
        done.unwrap_or_else(|error| panic!("{op:?} with space: {error:?}"));
        let engine = world.engine.as_ref().expect("it is open");
        world.model.check_live(engine, &"space returned");
    }
}

fn deleting_makes_room_on_a_full_disk(queue: bool) {
    let mut world = begun(queue);
    for n in 0..8 {
        world
            .run(&append(&[3000, n], Durability::Durable), &"fill")
            .expect("there is space");
    }
    world.run(&Op::Checkpoint, &"fill").expect("there is space");
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    let before = world.disk.used_bytes();
    world
        .run(&Op::Trim("t", 0, 100), &"trim")
        .expect("a full disk can be trimmed");
    let after = world.disk.used_bytes();
    assert!(after < before, "{before} bytes before, {after} after");
    world
        .run(&Op::Delete("t"), &"delete")
        .expect("a full disk can be emptied");
}

fn too_many_open_files_fail_one_operation_and_poison_nothing(queue: bool) {
    for kind in [OpKind::Open, OpKind::Create, OpKind::OpenDir] {
        for nth in 1..12 {
            let at = format!("{kind} number {nth} without descriptors");
            let mut world = begun(queue);
            let rule = FaultRule::new(kind, FaultRule::EMFILE);
            world.disk.fail(rule.nth(nth));
            for n in 0..12 {
                let op = match n % 4 {
                    3 => Op::Checkpoint,
                    _ => append(&[5000, 4000], Durability::Durable),
                };
                if let Err(error) = world.run(&op, &at) {
                    assert_eq!(error.kind(), ErrorKind::Io, "{at}: {op:?}: {error:?}");
                }
                world.disk.clear_faults();
                world
                    .disk
                    .fail(FaultRule::new(kind, FaultRule::EMFILE).nth(nth));
            }
            world.disk.clear_faults();
            world.model.doubts.clear();
            for op in [append(&[7], Durability::Durable), Op::Checkpoint] {
                let done = world.run(&op, &at);
                done.unwrap_or_else(|error| panic!("{at}: {op:?} after it: {error:?}"));
            }
            let engine = world.engine.as_ref().expect("it is open");
            world.model.check_live(engine, &at);
        }
    }
}

/// A run that meets every call there is.
fn sweep() -> Vec<Op> {
    let kept = small().retention(Retention::default().records(3));
    let mut ops = vec![
        Op::Create("t", kept),
        Op::Create("u", small().partitions(3)),
    ];
    for n in 0..3 {
        ops.push(append(&[1500, 1500, 1500], Durability::Durable));
        ops.push(append(&[200, n], Durability::Buffered));
        ops.push(append(&[100], Durability::Transient));
        ops.push(Op::Append(Append {
            topic: "u",
            partition: None,
            sizes: vec![300; 12],
            keyed: true,
            durability: Durability::Durable,
            codec: Codec::None,
        }));
        ops.push(append(&[5000, 5000, 5000], Durability::Durable));
        ops.push(Op::Advance(200));
        ops.push(Op::RunPending);
        ops.push(Op::Checkpoint);
        ops.push(Op::Retention);
        match n {
            0 => ops.push(Op::Reopen),
            1 => ops.push(Op::Delete("u")),
            _ => ops.push(Op::Kill),
        }
        if n == 1 {
            ops.push(Op::Create("u", small().partitions(2)));
        }
    }
    ops.push(Op::Trim("t", 0, 100));
    ops.push(append(&[1], Durability::Durable));
    ops.push(Op::Reopen);
    ops
}

/// Runs with one fault. Operations may fail; nothing may be lost for it.
/// Returns false if the run was over before the fault struck.
fn strike(kind: OpKind, errno: i32, nth: u64, queue: bool) -> bool {
    let at = format!("{kind} number {nth} fails with error {errno}, queue: {queue}");
    let mut world = World::new(Setup {
        queue,
        sync_policy: SyncPolicy::Interval(Duration::from_millis(100)),
        ..Setup::default()
    });
    world.model.gaps = true;
    let mut left = nth;
    let mut struck = false;
    world.disk.fail(FaultRule::new(kind, errno).nth(nth));
    for op in sweep() {
        let before = world.disk.counts().of(kind);
        let disk = world.disk.clone();
        let result = world.run(&op, &at);
        // A kill goes on with another disk, which has no rules.
        let done = disk.counts().of(kind) - before;
        struck |= left <= done;
        left = left.saturating_sub(done);
        if let Err(error) = result {
            assert!(struck, "{at}: {op:?} failed without a fault: {error:?}");
            let follows = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Exists);
            let typed = matches!(
                error.kind(),
                ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned | ErrorKind::ReadOnly
            );
            assert!(typed || follows, "{at}: {op:?}: {error:?}");
            // What a poisoned engine refuses, it refuses until it is opened again.
            if error.kind() == ErrorKind::Poisoned {
                world.engine = None;
            }
        }
        if !struck && matches!(op, Op::Kill) {
            world.disk.fail(FaultRule::new(kind, errno).nth(left));
        }
    }
    if !struck {
        return false;
    }
    world.disk.clear_faults();
    survives_power_cuts(&world, &at);
    world.engine = None;
    let opened = world.ensure_open(&at).map(|_| ());
    opened.unwrap_or_else(|error| panic!("{at}: opening after it: {error:?}"));
    true
}

fn sweep_errors(kind: OpKind, errors: &[i32]) {
    let mut runs = 0_u64;
    let back_ends = errors
        .iter()
        .flat_map(|errno| [(errno, false), (errno, true)]);
    for (errno, queue) in back_ends {
        // The first sync of a directory is for the name of the store's own,
        // which `open_root` makes: where that failed, the user has to look.
        let mut nth = if kind == OpKind::DirSync { 2 } else { 1 };
        while strike(kind, *errno, nth, queue) {
            nth += CALL_STRIDE;
            runs += 1;
        }
    }
    println!("{kind}: {runs} runs with a fault each");
    assert!(runs > 0, "the run has no {kind}");
}

macro_rules! sweep {
    ($($test:ident $kind:ident [$($errno:ident),*]),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                sweep_errors(OpKind::$kind, &[$(FaultRule::$errno),*]);
            }
        )*
    };
}

sweep! {
    every_failed_open_is_survived Open [EMFILE, EIO, ENOMEM],
    every_failed_creation_is_survived Create [ENOSPC, EMFILE, EIO],
    every_failed_opening_of_a_directory_is_survived OpenDir [EMFILE, EIO],
    every_failed_creation_of_a_directory_is_survived CreateDir [ENOSPC, EIO],
    every_failed_read_is_survived Read [EIO],
    every_failed_write_is_survived Write [EIO, ENOSPC],
    every_failed_change_of_length_is_survived SetLen [EIO, ENOSPC],
    every_failed_reservation_is_survived Allocate [ENOSPC, EIO],
    every_failed_sync_is_survived Sync [EIO, ENOSPC],
    every_failed_sync_of_a_directory_is_survived DirSync [EIO],
    every_failed_rename_is_survived Rename [EIO, ENOSPC],
    every_failed_removal_is_survived Remove [EIO],
    every_failed_removal_of_a_directory_is_survived RemoveDir [EIO],
    every_failed_listing_is_survived List [EIO],
    every_failed_question_for_a_length_is_survived Len [EIO],
}
