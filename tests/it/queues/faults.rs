//! Every error at every call in turn, with queues: nothing that was accepted is
//! lost or doubled for it, in the same life or in the next.
//!
//! A failure prints kind, error and number of the call: they are all it takes
//! to repeat it.

use duolog::io::sim::{FaultRule, OpKind};
use duolog::{Durability, ErrorKind, SyncPolicy};

use super::world::{Op, Send, World, small};
use crate::world::Setup;

const SETUP: Setup = Setup {
    seed: 1,
    unit_len: 4096,
    maps: false,
    queue: true,
    sync_policy: SyncPolicy::Never,
};

fn send(sizes: &[usize], durability: Durability) -> Op {
    Op::Send(Send {
        sizes: sizes.to_vec(),
        durability,
        ..Send::default()
    })
}

/// A run that meets every call there is.
fn sweep() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("dead", small()),
        Op::Create("jobs", small().dead_letter("dead").max_deliveries(2)),
        Op::Create("more", small().shards(2)),
    ];
    for n in 0..3 {
        ops.push(send(&[1500, 1500, 1500], Durability::Durable));
        ops.push(send(&[200, 20], Durability::Buffered));
        ops.push(Op::Send(Send {
            sizes: vec![30, 40],
            delay_ms: Some(300),
            ..Send::default()
        }));
        ops.push(Op::Send(Send {
            queue: "more",
            sizes: vec![50, 60],
            ttl_ms: Some(100),
            ..Send::default()
        }));
        ops.push(Op::Receive("jobs", 4));
        ops.push(Op::Ack("jobs", 1));
        ops.push(Op::Nack("jobs", 1, Some(0)));
        ops.push(Op::Reject("jobs", 1));
        ops.push(Op::Transact("jobs", "more"));
        ops.push(Op::Advance(200));
        ops.push(Op::Step);
        ops.push(Op::Checkpoint);
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Nack("jobs", 2, None));
        ops.push(Op::Move("more", "jobs"));
        ops.push(Op::Redrive("dead"));
        match n {
            0 => ops.push(Op::Reopen),
            1 => ops.push(Op::Purge("more")),
            _ => ops.push(Op::Kill),
        }
        ops.push(Op::Checkpoint);
        if n == 1 {
            ops.push(Op::Delete("more"));
            ops.push(Op::Create("more", small()));
        }
    }
    ops
}

/// Opens what a power cut leaves of the world, in a few ways.
fn survives_power_cuts(world: &World, at: &str) {
    for (choice, image) in world.disk.crash_images(3, 3, 5) {
        let place = format!("{at}, power cut {choice:?}");
        image.set_capacity(None);
        let went_on = world.resume(image).go_on(false, &place);
        went_on.unwrap_or_else(|error| panic!("{place}: {error:?}"));
    }
}

/// Runs with one fault. Operations may fail; nothing may be lost for it.
/// Returns false if the run was over before the fault struck.
fn strike(kind: OpKind, errno: i32, nth: u64, queue: bool) -> bool {
    let at = format!("{kind} number {nth} fails with error {errno}, queue: {queue}");
    let mut world = World::new(Setup { queue, ..SETUP }, false);
    let mut left = nth;
    let mut struck = false;
    world.disk.fail(FaultRule::new(kind, errno).nth(nth));
    for op in sweep() {
        let before = world.disk.counts().of(kind);
        let disk = world.disk.clone();
        let result = world.run(&op, &format!("{at}: {op:?}"));
        // A kill goes on with another disk, which has no rules.
        let done = disk.counts().of(kind) - before;
        struck |= left <= done;
        left = left.saturating_sub(done);
        if let Err(error) = result {
            assert!(struck, "{at}: {op:?} failed without a fault: {error:?}");
            let follows = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Exists);
            let typed = matches!(
                error.kind(),
                ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned
            );
            assert!(typed || follows, "{at}: {op:?}: {error:?}");
            // What a poisoned engine refuses, it refuses until it is opened again.
            if error.kind() == ErrorKind::Poisoned {
                world.abandon();
            }
            world.check_live(&format!("{at}: after {op:?}: {error}"));
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
    world.abandon();
    let went_on = world.go_on(true, &at);
    went_on.unwrap_or_else(|error| panic!("{at}: after it: {error:?}"));
    true
}

fn sweep_errors(kind: OpKind, errors: &[i32]) {
    let mut runs = 0_u64;
    for errno in errors {
        for queue in [false, true] {
            // The first sync of a directory is for the name of the store's own,
            // which `open_root` makes: where that failed, the user has to look.
            let mut nth = if kind == OpKind::DirSync { 2 } else { 1 };
            while strike(kind, *errno, nth, queue) {
                nth += 1;
                runs += 1;
            }
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
    queues_survive_every_failed_open Open [EMFILE],
    queues_survive_every_failed_creation Create [ENOSPC],
    queues_survive_every_failed_creation_of_a_directory CreateDir [ENOSPC],
    queues_survive_every_failed_read Read [EIO],
    queues_survive_every_failed_write Write [EIO, ENOSPC],
    queues_survive_every_failed_change_of_length SetLen [EIO],
    queues_survive_every_failed_reservation Allocate [ENOSPC],
    queues_survive_every_failed_sync Sync [EIO, ENOSPC],
    queues_survive_every_failed_sync_of_a_directory DirSync [EIO],
    queues_survive_every_failed_rename Rename [EIO],
    queues_survive_every_failed_removal Remove [EIO],
}

#[test]
fn a_queue_of_a_poisoned_store_takes_and_ends_nothing_and_shows_what_was_durable() {
    for keep in [0, 50, 100] {
        let at = format!("{keep} percent of the failed sync were kept");
        let mut world = World::new(SETUP, false);
        for op in [
            Op::Create("dead", small()),
            Op::Create("jobs", small().dead_letter("dead")),
            send(&[10, 20, 30, 40], Durability::Durable),
            Op::Receive("jobs", 3),
        ] {
            world.run(&op, &at).expect("a disk without faults");
        }
        let rule = FaultRule::new(OpKind::Sync, FaultRule::EIO).path("/wal/");
        world.disk.fail(rule.keep(keep));
        for op in [
            // The first meets the fault, the others what it left.
            Op::Ack("jobs", 1),
            Op::Nack("jobs", 1, None),
            Op::Reject("jobs", 1),
            send(&[1], Durability::Durable),
            send(&[2], Durability::Buffered),
            Op::Move("jobs", "dead"),
            Op::Purge("jobs"),
            Op::Create("more", small()),
            Op::Delete("jobs"),
            Op::Checkpoint,
        ] {
            let refused = world.run(&op, &at).map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::Poisoned), "{at}: {op:?}");
        }
        let engine = world.engine.clone().expect("it is open");
        let jobs = engine.queue("jobs").expect("it is there");
        let seen = jobs.browse(None, 10).expect("looking goes on");
        // The one whose ack failed is done as far as this life can tell.
        assert_eq!(seen.len(), 3, "{at}");
        survives_power_cuts(&world, &at);
        drop((engine, jobs));
        world.abandon();
        world.go_on(true, &at).expect("a disk without faults");
    }
}

/// Everything that makes room goes on working, as long as the log has any.
#[test]
fn a_full_disk_refuses_messages_and_lets_them_go() {
    let mut world = World::new(SETUP, false);
    let at = "on a full disk";
    for op in [
        Op::Create("dead", small()),
        Op::Create("jobs", small().dead_letter("dead")),
    ] {
        world.run(&op, &at).expect("there is space");
    }
    for _ in 0..6 {
        let sent = world.run(&send(&[2500, 2500], Durability::Durable), &at);
        sent.expect("there is space");
    }
    world.run(&Op::Checkpoint, &at).expect("there is space");
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    let mut full = 0;
    for n in 0..80_usize {
        let op = match n % 8 {
            0 => Op::Receive("jobs", 2),
            1 => Op::Ack("jobs", 1),
            2 => Op::Nack("jobs", 1, Some(10)),
            3 => Op::Checkpoint,
            4 => Op::Step,
            5 => Op::Advance(50),
            _ => send(&[3000, n], Durability::Durable),
        };
        if let Err(error) = world.run(&op, &at) {
            assert_eq!(error.kind(), ErrorKind::Full, "{op:?}: {error:?}");
            full += 1;
        }
        world.check_live(&format!("{at}: after {op:?}"));
    }
    assert!(full > 3, "the disk was full {full} times");
    survives_power_cuts(&world, at);
    world.disk.set_capacity(None);
    world.go_on(true, &at).expect("space returned");
}
