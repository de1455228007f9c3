//! What the golden files hold of queues: a queue, its ledger, what changes in
//! one, a timer, and an id that was seen.

use std::time::Duration;

use super::{NOW, PARTITION, after};
use crate::format::dedup::{self, Seen, SeenIds};
use crate::format::ledger::{Change, LedgerState, SavedDelay, SavedFailures};
use crate::format::queue::{QueueMeta, Source};
use crate::format::timers::{Timer, TimerKind, TimerState};
use crate::ids::{Offset, TopicId};
use crate::options::{Backoff, Filter, QueueOptions};

pub(super) fn changes() -> Vec<Change> {
    let (offset, due) = (Offset::new(1003), after(5000));
    let key = Some(0x1122_3344_5566_7788);
    vec![
        Change::Done {
            from: Offset::new(1000),
            to: Offset::new(1002),
        },
        Change::Failed {
            offset,
            failures: 2,
            first: NOW,
        },
        Change::Delayed { offset, due, key },
        Change::Ready { offset },
        Change::Expires { offset, due },
        Change::Again { offset },
    ]
}

pub(super) fn queue() -> QueueMeta {
    QueueMeta {
        id: PARTITION.topic,
        name: "jobs".to_owned(),
        options: QueueOptions::default()
            .max_deliveries(5)
            .dead_letter("jobs-dead")
            .backoff(Backoff::exponential(Duration::from_secs(1), 2.0)),
        source: Some(Source {
            topic: TopicId::new(6),
            filter: Filter::default().any_of("kind", ["a", "b"]).exists("trace"),
        }),
    }
}

pub(super) fn ledger() -> LedgerState {
    LedgerState {
        id: PARTITION,
        floor: Offset::new(1002),
        done: vec![(Offset::new(1004), Offset::new(1006))],
        sleeping: vec![(Offset::new(1007), Offset::new(1009))],
        delayed: vec![SavedDelay {
            offset: Offset::new(1006),
            due: after(5000),
            key: Some(0x1122_3344_5566_7788),
        }],
        failures: vec![SavedFailures {
            offset: Offset::new(1006),
            failures: 2,
            first: NOW,
        }],
    }
}

pub(super) fn timers() -> TimerState {
    TimerState {
        runs: Vec::new(),
        fresh: vec![Timer {
            due: after(5000),
            kind: TimerKind::Wake,
            partition: PARTITION,
            offset: Offset::new(1006),
        }],
    }
}

pub(super) fn seen() -> SeenIds {
    SeenIds {
        queue: PARTITION.topic,
        seen: vec![Seen {
            hash: dedup::hash(b"order-17"),
            lane: 3,
            offset: Offset::new(1003),
            until: after(9000),
        }],
    }
}
