//! What runs while the power is cut: each workload is for one part of the
//! engine, small enough to cut it everywhere.

use std::time::Duration;

use duolog::{Codec, Durability, Retention, SyncPolicy};

use crate::world::{Append, Op, Setup, small};

/// A run to be cut.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) setup: Setup,
    pub(super) ops: fn() -> Vec<Op>,
}

const PLAIN: Setup = Setup {
    seed: 1,
    unit_len: 4096,
    maps: false,
    queue: true,
    sync_policy: SyncPolicy::Never,
};

const ALWAYS: Setup = Setup {
    sync_policy: SyncPolicy::Always,
    ..PLAIN
};

const INTERVAL: Setup = Setup {
    sync_policy: SyncPolicy::Interval(Duration::from_millis(50)),
    ..PLAIN
};

const MAPPED: Setup = Setup {
    maps: true,
    ..PLAIN
};

pub(super) const WORKLOADS: &[Workload] = &[
    workload("durable", PLAIN, durable),
    workload("tickets", PLAIN, tickets),
    workload("buffered", INTERVAL, buffered),
    workload("always", ALWAYS, buffered),
    workload("transient", PLAIN, transient),
    workload("partitions", PLAIN, partitions),
    workload("roll", MAPPED, roll),
    workload("retention", MAPPED, retention),
    workload("seal", PLAIN, seal),
    workload("topics", PLAIN, topics),
    workload("restarts", INTERVAL, restarts),
    workload("lz4", MAPPED, lz4),
];

const fn workload(name: &'static str, setup: Setup, ops: fn() -> Vec<Op>) -> Workload {
    Workload { name, setup, ops }
}

fn append(topic: &'static str, partition: u32, sizes: &[usize], durability: Durability) -> Op {
    Op::Append(Append {
        topic,
        partition: Some(partition),
        sizes: sizes.to_vec(),
        keyed: false,
        durability,
        codec: Codec::None,
    })
}

fn durable() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", small())];
    for n in 0..6 {
        ops.push(append("t", 0, &[n * 17], Durability::Durable));
        ops.push(append("t", 0, &[3000, 10, 2000], Durability::Durable));
    }
    ops.push(append("t", 0, &[9000], Durability::Durable));
    ops
}

fn tickets() -> Vec<Op> {
    vec![
        Op::Create("t", small().partitions(3)),
        Op::Tickets("t", 5),
        Op::Tickets("t", 40),
        Op::Checkpoint,
        Op::Tickets("t", 30),
        Op::Sync,
        Op::Tickets("t", 2),
    ]
}

fn buffered() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("t", small()),
        Op::Create("u", small().partitions(2)),
    ];
    for n in 0..4 {
        ops.push(append("t", 0, &[100, 200], Durability::Buffered));
        ops.push(append("t", 0, &[700, 50], Durability::Buffered));
        ops.push(append("u", 1, &[300], Durability::Buffered));
        ops.push(Op::RunPending);
        ops.push(append("u", 0, &[2000, 2000, 2000], Durability::Buffered));
        ops.push(Op::Advance(60));
        ops.push(Op::RunPending);
        ops.push(append("t", 0, &[10], Durability::Buffered));
        match n {
            0 => ops.push(append("t", 0, &[20], Durability::Durable)),
            1 => ops.push(Op::Sync),
            2 => ops.push(Op::Checkpoint),
            _ => ops.push(Op::RunPending),
        }
    }
    ops
}

fn transient() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", small())];
    for n in 0..3 {
        ops.push(append("t", 0, &[100], Durability::Transient));
        ops.push(append("t", 0, &[120, 30], Durability::Durable));
        ops.push(append("t", 0, &[90, 10], Durability::Transient));
        ops.push(append("t", 0, &[80], Durability::Buffered));
        ops.push(append("t", 0, &[70, 1500], Durability::Transient));
        match n {
            0 => ops.push(Op::Checkpoint),
            1 => ops.push(Op::Reopen),
            _ => ops.push(Op::Kill),
        }
        ops.push(append("t", 0, &[60], Durability::Transient));
        ops.push(append("t", 0, &[50], Durability::Durable));
    }
    ops.push(Op::Checkpoint);
    ops.push(Op::Reopen);
    ops
}

fn partitions() -> Vec<Op> {
    let many = |sizes: &[usize], durability| {
        Op::Append(Append {
            topic: "t",
            partition: None,
            sizes: sizes.to_vec(),
            keyed: true,
            durability,
            codec: Codec::None,
        })
    };
    vec![
        Op::Create("t", small().partitions(5)),
        many(&[10; 20], Durability::Durable),
        many(&[400; 12], Durability::Buffered),
        many(&[1; 3], Durability::Durable),
        Op::RunPending,
        many(&[900; 14], Durability::Durable),
        Op::Checkpoint,
        many(&[100; 9], Durability::Buffered),
        many(&[10; 20], Durability::Transient),
        many(&[300; 30], Durability::Durable),
        Op::Kill,
        many(&[50; 6], Durability::Durable),
    ]
}

fn roll() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", small())];
    for n in 0..8 {
        // A quarter of a file of the log is the most that a commit takes.
        ops.push(append("t", 0, &[5000, 5000, 2000], Durability::Durable));
        ops.push(append("t", 0, &[1000, 900], Durability::Durable));
        if n % 2 == 1 {
            ops.push(Op::RunPending);
        }
        if n % 3 == 2 {
            ops.push(Op::Checkpoint);
        }
    }
    ops
}

fn retention() -> Vec<Op> {
    let kept = small().retention(Retention::default().records(4));
    let aged = small()
        .segment_age_max(Duration::from_secs(5))
        .retention(Retention::default().age(Duration::from_secs(10)));
    let mut ops = vec![Op::Create("t", kept), Op::Create("u", aged)];
    for _ in 0..3 {
        ops.push(append("t", 0, &[1500, 1500, 1500], Durability::Durable));
        ops.push(append("u", 0, &[800, 200], Durability::Durable));
        ops.push(Op::Checkpoint);
        ops.push(Op::Advance(8000));
        ops.push(Op::Retention);
    }
    ops.push(Op::Trim("t", 0, 50));
    ops.push(append("t", 0, &[100], Durability::Buffered));
    ops.push(Op::RunPending);
    ops.push(Op::Trim("u", 0, 100));
    ops.push(Op::Checkpoint);
    ops.push(append("u", 0, &[5], Durability::Durable));
    ops.push(Op::Trim("t", 0, 100));
    ops.push(append("t", 0, &[6], Durability::Durable));
    ops
}

/// Symptom: after a crash every checkpoint said that a segment was missing.
/// Cause: retention sealed the active segment for its age and removed it in
/// one pass; the snapshot still had it as active, and the replayed trim let
/// only sealed ones go. Fix: what a replayed trim covers goes in any case.
fn seal() -> Vec<Op> {
    let kept = small()
        .segment_age_max(Duration::from_secs(5))
        .retention(Retention::default().records(0).age(Duration::from_secs(60)));
    let mut ops = vec![Op::Create("t", kept)];
    for end in [Op::Kill, Op::Reopen] {
        ops.push(append("t", 0, &[500, 100], Durability::Durable));
        ops.push(Op::Checkpoint);
        ops.push(Op::Advance(8000));
        ops.push(Op::Retention);
        ops.push(append("t", 0, &[30], Durability::Durable));
        ops.push(end);
        ops.push(append("t", 0, &[10], Durability::Durable));
        ops.push(Op::Checkpoint);
    }
    ops
}

fn topics() -> Vec<Op> {
    vec![
        Op::Create("t", small()),
        append("t", 0, &[100, 5000], Durability::Durable),
        Op::Create("u", small().partitions(2)),
        append("u", 1, &[100], Durability::Durable),
        Op::Checkpoint,
        Op::Alter("u", small().partitions(4).batch_bytes_max(2048)),
        append("u", 3, &[100], Durability::Durable),
        Op::Delete("t"),
        append("u", 0, &[10], Durability::Buffered),
        Op::Create("t", small().partitions(2)),
        append("t", 1, &[7], Durability::Durable),
        Op::Checkpoint,
        Op::Delete("u"),
        Op::Reopen,
        Op::Create("u", small()),
        append("u", 0, &[3], Durability::Durable),
        Op::Delete("t"),
    ]
}

fn restarts() -> Vec<Op> {
    let mut ops = vec![Op::Create("t", small().partitions(2))];
    for n in 0..3 {
        ops.push(append("t", 0, &[200, 100], Durability::Durable));
        ops.push(append("t", 1, &[500], Durability::Buffered));
        if n == 1 {
            ops.push(Op::Checkpoint);
        }
        ops.push(Op::RunPending);
        ops.push(append("t", 0, &[60], Durability::Buffered));
        ops.push(Op::Kill);
        ops.push(append("t", 0, &[40, 3000], Durability::Durable));
        ops.push(append("t", 1, &[30], Durability::Buffered));
        ops.push(Op::Reopen);
        ops.push(append("t", 1, &[20], Durability::Durable));
    }
    ops
}

fn lz4() -> Vec<Op> {
    let packed = |sizes: &[usize], durability| {
        Op::Append(Append {
            topic: "t",
            partition: None,
            sizes: sizes.to_vec(),
            keyed: true,
            durability,
            codec: if cfg!(feature = "lz4") {
                Codec::Lz4
            } else {
                Codec::None
            },
        })
    };
    vec![
        Op::Create("t", small().partitions(2)),
        packed(&[700; 8], Durability::Durable),
        packed(&[50; 4], Durability::Buffered),
        packed(&[3], Durability::Durable),
        Op::Checkpoint,
        packed(&[2000; 5], Durability::Durable),
        Op::Kill,
        packed(&[900; 9], Durability::Buffered),
        Op::Checkpoint,
        packed(&[10; 2], Durability::Durable),
    ]
}
