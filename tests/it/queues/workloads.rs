//! What runs while the power is cut: each workload is for one part of the
//! queues, small enough to cut it everywhere.

use std::time::Duration;

use duolog::{Backoff, Durability, SyncPolicy};

use super::world::{Op, Send, small};
use crate::world::Setup;

/// A run to be cut.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) setup: Setup,
    pub(super) large: bool,
    pub(super) ops: fn() -> Vec<Op>,
}

const PLAIN: Setup = Setup {
    seed: 1,
    unit_len: 4096,
    maps: false,
    queue: true,
    sync_policy: SyncPolicy::Never,
};

const MAPPED: Setup = Setup {
    maps: true,
    ..PLAIN
};

const INTERVAL: Setup = Setup {
    sync_policy: SyncPolicy::Interval(Duration::from_millis(50)),
    ..PLAIN
};

pub(super) const WORKLOADS: &[Workload] = &[
    workload("acks", PLAIN, acks),
    workload("levels", INTERVAL, levels),
    workload("nacks", PLAIN, nacks),
    workload("dead letters", MAPPED, dead_letters),
    workload("expiry", INTERVAL, expiry),
    workload("checkpoints", MAPPED, checkpoints),
    workload("moves", PLAIN, moves),
    workload("catalog", PLAIN, catalog),
    workload("views", MAPPED, views),
    workload("restarts", INTERVAL, restarts),
    workload("transactions", PLAIN, transactions),
    workload("ids", INTERVAL, ids),
    Workload {
        name: "timers",
        setup: PLAIN,
        large: true,
        ops: timers,
    },
];

const fn workload(name: &'static str, setup: Setup, ops: fn() -> Vec<Op>) -> Workload {
    Workload {
        name,
        setup,
        large: false,
        ops,
    }
}

fn send(sizes: &[usize], durability: Durability) -> Op {
    Op::Send(Send {
        sizes: sizes.to_vec(),
        durability,
        ..Send::default()
    })
}

fn durable(sizes: &[usize]) -> Op {
    send(sizes, Durability::Durable)
}

fn delayed(sizes: &[usize], delay_ms: u64) -> Op {
    Op::Send(Send {
        sizes: sizes.to_vec(),
        delay_ms: Some(delay_ms),
        ..Send::default()
    })
}

fn acks() -> Vec<Op> {
    let mut ops = vec![Op::Create("jobs", small())];
    for n in 0..4 {
        ops.push(durable(&[10, 200 * n, 30]));
        ops.push(Op::Receive("jobs", 2));
        ops.push(Op::Ack("jobs", 1));
        ops.push(Op::Send(Send {
            sizes: vec![50, 60],
            priority: 1,
            ..Send::default()
        }));
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Ack("jobs", 2));
    }
    ops.push(Op::Leave);
    ops.push(Op::Receive("jobs", 2));
    ops.push(Op::Ack("jobs", 9));
    ops
}

/// Sends and acks of every level, mixed.
fn levels() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("jobs", small()),
        Op::Create("more", small().durability(Durability::Buffered)),
    ];
    let to_more = |durability| {
        Op::Send(Send {
            queue: "more",
            sizes: vec![20, 30],
            durability,
            ..Send::default()
        })
    };
    for n in 0..3 {
        ops.push(send(&[100, 20], Durability::Buffered));
        ops.push(send(&[30], Durability::Transient));
        ops.push(to_more(Durability::Durable));
        ops.push(Op::Receive("more", 1));
        ops.push(Op::Ack("more", 1));
        ops.push(durable(&[40]));
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Ack("jobs", 2));
        ops.push(to_more(Durability::Buffered));
        ops.push(to_more(Durability::Transient));
        ops.push(Op::Receive("more", 2));
        ops.push(Op::Nack("more", 1, None));
        ops.push(Op::Step);
        ops.push(Op::Advance(60));
        ops.push(Op::Step);
        match n {
            0 => ops.push(Op::Purge("more")),
            1 => ops.push(Op::Checkpoint),
            _ => ops.push(Op::Kill),
        }
    }
    ops.push(send(&[5], Durability::Buffered));
    ops.push(Op::Purge("jobs"));
    ops.push(send(&[7], Durability::Buffered));
    ops.push(Op::Sync);
    ops.push(durable(&[6]));
    ops
}

fn nacks() -> Vec<Op> {
    let backoff = Backoff::exponential(Duration::from_millis(100), 2.0);
    let mut ops = vec![
        Op::Create("jobs", small().backoff(backoff)),
        durable(&[10, 20, 30]),
        Op::Send(Send {
            sizes: vec![5; 6],
            keyed: true,
            ..Send::default()
        }),
    ];
    for _ in 0..3 {
        ops.push(Op::Receive("jobs", 4));
        ops.push(Op::Nack("jobs", 2, None));
        ops.push(Op::Nack("jobs", 1, Some(5000)));
        ops.push(Op::Nack("jobs", 1, Some(0)));
        ops.push(Op::Advance(150));
        ops.push(Op::Step);
    }
    ops.push(Op::Checkpoint);
    // Its lease ends without an answer.
    ops.push(Op::Receive("jobs", 2));
    ops.push(Op::Advance(30_000));
    ops.push(Op::Step);
    ops.push(Op::Receive("jobs", 1));
    ops.push(Op::Nack("jobs", 1, Some(10)));
    ops
}

fn dead_letters() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("dead", small()),
        Op::Create("jobs", small().dead_letter("dead").max_deliveries(2)),
        durable(&[10, 300, 20, 40]),
    ];
    for n in 0..3 {
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Nack("jobs", 1, None));
        ops.push(Op::Reject("jobs", 1));
        ops.push(Op::Ack("jobs", 1));
        ops.push(durable(&[70, 80]));
        if n == 1 {
            ops.push(Op::Checkpoint);
            ops.push(Op::Redrive("dead"));
        }
    }
    // The lease of the last try ends.
    ops.push(Op::Receive("jobs", 1));
    ops.push(Op::Nack("jobs", 1, None));
    ops.push(Op::Receive("jobs", 2));
    ops.push(Op::Advance(30_000));
    ops.push(Op::Step);
    ops.push(Op::Receive("dead", 1));
    ops.push(Op::Ack("dead", 1));
    ops.push(Op::Redrive("dead"));
    ops
}

fn expiry() -> Vec<Op> {
    let short = |ttl_ms, delay_ms| {
        Op::Send(Send {
            sizes: vec![10, 20],
            ttl_ms: Some(ttl_ms),
            delay_ms,
            ..Send::default()
        })
    };
    vec![
        Op::Create("dead", small()),
        Op::Create("jobs", small().dead_letter("dead")),
        Op::Create("more", small()),
        short(100, None),
        short(5000, Some(200)),
        durable(&[30]),
        Op::Send(Send {
            queue: "more",
            sizes: vec![8, 9],
            ttl_ms: Some(100),
            ..Send::default()
        }),
        Op::Advance(150),
        Op::Step,
        Op::Checkpoint,
        Op::Advance(100),
        Op::Step,
        Op::Receive("jobs", 1),
        short(50, None),
        Op::Advance(60),
        // Found to be too old by who comes for it.
        Op::Receive("jobs", 5),
        Op::Ack("jobs", 1),
        short(70, Some(5000)),
        Op::Advance(80),
        Op::Step,
        Op::Kill,
        short(20, None),
        Op::Advance(5000),
        Op::Step,
    ]
}

/// Acks in any order, between checkpoints: trims, segments that go, garbage.
fn checkpoints() -> Vec<Op> {
    let mut ops = vec![Op::Create("jobs", small())];
    for n in 0..4 {
        ops.push(durable(&[1500, 1500, 1500, 900]));
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Ack("jobs", 1));
        ops.push(Op::Checkpoint);
        ops.push(Op::Ack("jobs", 1));
        ops.push(delayed(&[40], 300));
        ops.push(Op::Checkpoint);
        ops.push(Op::Ack("jobs", 1));
        if n == 2 {
            ops.push(Op::Purge("jobs"));
        }
        ops.push(Op::Advance(200));
        ops.push(Op::Step);
    }
    ops
}

fn moves() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("jobs", small()),
        Op::Create("more", small().shards(2)),
        durable(&[10; 5]),
        delayed(&[20, 30], 1000),
    ];
    ops.push(Op::Receive("jobs", 1));
    ops.push(Op::Move("jobs", "more"));
    ops.push(delayed(&[1, 2], 2000));
    ops.push(Op::Cancel("jobs"));
    ops.push(Op::Checkpoint);
    ops.push(Op::Move("more", "jobs"));
    ops.push(send(&[9, 9], Durability::Buffered));
    ops.push(Op::Move("jobs", "more"));
    ops.push(Op::Receive("more", 2));
    ops.push(Op::Purge("more"));
    ops.push(durable(&[77; 3]));
    ops.push(Op::Purge("jobs"));
    ops.push(Op::Move("more", "jobs"));
    ops
}

fn catalog() -> Vec<Op> {
    vec![
        Op::Create("jobs", small()),
        durable(&[10, 2000]),
        Op::Create("dead", small()),
        Op::Alter("jobs", small().dead_letter("dead").max_deliveries(3)),
        Op::Receive("jobs", 1),
        Op::Reject("jobs", 1),
        Op::Checkpoint,
        Op::Create("more", small().shards(3)),
        Op::Send(Send {
            queue: "more",
            sizes: vec![1500; 4],
            ..Send::default()
        }),
        delayed(&[5, 6], 500),
        Op::Checkpoint,
        Op::Delete("jobs"),
        Op::Create("jobs", small().priority_max(3)),
        durable(&[1]),
        Op::Delete("dead"),
        Op::Advance(600),
        Op::Step,
        Op::Delete("more"),
        Op::Reopen,
        Op::Create("more", small()),
        Op::Receive("jobs", 1),
        Op::Ack("jobs", 1),
    ]
}

fn views() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("dead", small()),
        Op::Topic("events"),
        Op::Append("events", 3),
        Op::Subscribe("view", "events", true),
        Op::Subscribe("wide", "events", false),
    ];
    for n in 0..3 {
        ops.push(Op::Append("events", 2));
        ops.push(Op::Receive("view", 3));
        ops.push(Op::Ack("view", 2));
        ops.push(Op::Reject("view", 1));
        ops.push(Op::Receive("wide", 1));
        ops.push(Op::Nack("wide", 1, Some(100 * n)));
        ops.push(match n {
            0 => Op::Checkpoint,
            1 => Op::Kill,
            _ => Op::Reopen,
        });
        ops.push(Op::Advance(150));
        ops.push(Op::Step);
    }
    ops.push(Op::Purge("wide"));
    ops.push(Op::Append("events", 1));
    ops.push(Op::Delete("view"));
    ops
}

fn restarts() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("dead", small()),
        Op::Create("jobs", small().dead_letter("dead").max_deliveries(3)),
    ];
    for n in 0..3 {
        ops.push(durable(&[200, 100]));
        ops.push(send(&[50], Durability::Buffered));
        ops.push(send(&[60], Durability::Transient));
        ops.push(delayed(&[30], 400));
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Ack("jobs", 1));
        ops.push(Op::Nack("jobs", 1, Some(100)));
        if n == 1 {
            ops.push(Op::Checkpoint);
        }
        ops.push(Op::Kill);
        ops.push(Op::Receive("jobs", 1));
        ops.push(Op::Reject("jobs", 1));
        ops.push(Op::Advance(150));
        ops.push(Op::Reopen);
        ops.push(Op::Receive("jobs", 2));
        ops.push(Op::Nack("jobs", 1, None));
    }
    ops
}

fn transactions() -> Vec<Op> {
    let mut ops = vec![
        Op::Create("dead", small()),
        Op::Create("jobs", small().dead_letter("dead")),
        Op::Create("more", small().shards(2)),
    ];
    for n in 0..3 {
        ops.push(durable(&[10, 20, 30]));
        ops.push(Op::Receive("jobs", 3));
        ops.push(Op::Transact("jobs", "more"));
        ops.push(Op::Receive("more", 2));
        ops.push(Op::Transact("more", "jobs"));
        ops.push(match n {
            0 => Op::Checkpoint,
            1 => Op::Kill,
            _ => Op::Reopen,
        });
    }
    ops
}

/// Messages that are sent twice, and stored once.
fn ids() -> Vec<Op> {
    let once = |dedup_id, durability| {
        Op::Send(Send {
            sizes: vec![10, 20],
            durability,
            dedup_id: Some(dedup_id),
            ..Send::default()
        })
    };
    let window = Duration::from_secs(3600);
    let mut ops = vec![Op::Create("jobs", small().dedup_window(window))];
    for n in 0..3 {
        ops.push(once("a", Durability::Durable));
        ops.push(once("b", Durability::Buffered));
        ops.push(once("b", Durability::Durable));
        ops.push(Op::Receive("jobs", 2));
        ops.push(Op::Ack("jobs", 2));
        ops.push(once("a", Durability::Buffered));
        ops.push(match n {
            0 => Op::Checkpoint,
            1 => Op::Kill,
            _ => Op::Reopen,
        });
        ops.push(once("c", Durability::Durable));
    }
    ops
}

/// More delays than stay in memory: runs are written, taken from and removed.
pub(super) fn timers() -> Vec<Op> {
    let mut ops = vec![Op::Create("jobs", small().segment_bytes_max(1 << 20))];
    for n in 0..42 {
        ops.push(Op::Send(Send {
            sizes: vec![0; 200],
            durability: Durability::Buffered,
            delay_ms: Some(1000 + n / 21 * 1000),
            ..Send::default()
        }));
    }
    ops.extend([
        Op::Checkpoint,
        delayed(&[1; 3], 500),
        Op::Advance(1000),
        Op::Step,
        Op::Receive("jobs", 2000),
        Op::Ack("jobs", 1000),
        Op::Checkpoint,
        Op::Purge("jobs"),
        Op::Checkpoint,
        Op::Checkpoint,
    ]);
    ops
}
