//! Runs of timers that are damaged at rest: what cannot be read is told, what
//! can be read fires, nothing is lost, and nothing comes twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use duolog::clock::ManualClock;
use duolog::io::sim::SimFs;
use duolog::{
    ConsumerOptions, Durability, Engine, Error, ErrorKind, Message, QueueOptions, SendOptions,
};

use super::model::{body, number_of};
use crate::world::{EPOCH_MS, PATH, Setup};

/// Delayed messages of one send.
const AT_ONCE: u64 = 500;

/// More than stay in memory.
const SPILLED: u64 = 18 * AT_ONCE;

const BLOCK: u64 = 4096;

struct Store {
    disk: SimFs,
    clock: Arc<ManualClock>,
}

impl Store {
    fn new() -> Self {
        Self {
            disk: Setup::default().disk(),
            clock: Arc::new(ManualClock::new(EPOCH_MS)),
        }
    }

    fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            clock: Arc::new(ManualClock::new(EPOCH_MS)),
        }
    }

    fn open(&self) -> Result<Engine, Error> {
        let options = Setup::default().options(&self.clock);
        let options = options
            .wal_file_bytes(4 << 20)
            .wal_bytes_max(32 << 20)
            .tail_bytes_max(64 << 20)
            .group_bytes_max(1 << 20);
        Engine::open_with(Arc::new(self.disk.clone()), PATH, options)
    }

    fn runs(&self) -> Vec<String> {
        let files = self.disk.list_files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.contains("timers/")).collect()
    }
}

/// Sends messages with numbers from `first` on, to come after `delay_ms`.
fn send(engine: &Engine, name: &str, first: u64, count: u64, delay_ms: u64) {
    let queue = engine.queue(name).expect("it is there");
    let options = SendOptions::default().durability(Durability::Buffered);
    for from in (first..first + count).step_by(usize::try_from(AT_ONCE).expect("small")) {
        let to = (first + count).min(from + AT_ONCE);
        let bodies: Vec<_> = (from..to).map(|number| body(number, 0)).collect();
        let messages: Vec<_> = bodies
            .iter()
            .map(|body| Message::new(body).delay(Duration::from_millis(delay_ms)))
            .collect();
        let sent = queue.send_batch(&messages, &options);
        sent.expect("a disk without faults");
    }
}

/// Receives and acknowledges all that is ready; says whether there was an error.
fn work(engine: &Engine, name: &str, got: &mut BTreeSet<u64>, at: &str) -> bool {
    let queue = engine.queue(name).expect("it is there");
    let options = ConsumerOptions::default()
        .unlimited_prefetch()
        .ack_durability(Durability::Buffered);
    let consumer = queue.consumer(options).expect("it may join");
    let mut failed = false;
    for _ in 0..SPILLED / 1024 + 2 {
        let received = match consumer.receive(usize::MAX, Duration::ZERO) {
            Ok(received) => received,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {error:?}");
                failed = true;
                continue;
            }
        };
        for delivery in &received {
            let number = number_of(delivery.body(), &at);
            assert!(got.insert(number), "{at}: message {number} came twice");
        }
        let acked = consumer.ack_all(&received).expect("a disk without faults");
        assert!(acked.iter().all(Result::is_ok), "{at}: {acked:?}");
    }
    failed
}

/// A closed store with one run of timers.
fn spilled() -> Store {
    let store = Store::new();
    let engine = store.open().expect("a new store");
    let small = QueueOptions::default().priority_max(0);
    engine
        .create_queue("jobs", small.clone())
        .expect("it is new");
    engine.create_queue("more", small).expect("it is new");
    send(&engine, "jobs", 0, SPILLED, 1000);
    engine.checkpoint().expect("a disk without faults");
    engine.close().expect("a disk without faults");
    store
}

#[test]
fn behind_a_damaged_block_of_timers_messages_wait_and_none_is_lost() {
    let whole = spilled();
    let path = whole.runs().pop().expect("there is a run");
    let good = whole.disk.read_file(&path);
    let blocks = good.len() as u64 / BLOCK;
    let mut opened = 0;
    for block in 1..blocks {
        let at = format!("block {block} of {blocks}");
        let store = whole.fork();
        store.disk.flip_bit(&path, block * BLOCK + 100, 5);
        let engine = match store.open() {
            Ok(engine) => engine,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}: {error:?}");
                continue;
            }
        };
        opened += 1;
        // What has nothing to do with it goes on.
        send(&engine, "jobs", SPILLED, 1, 0);
        send(&engine, "jobs", SPILLED + 1, 1, 10);
        store.clock.advance(Duration::from_secs(2));
        let mut got = BTreeSet::new();
        assert!(
            work(&engine, "jobs", &mut got, &at),
            "{at}: nobody was told"
        );
        let others = got.range(SPILLED..).count();
        assert_eq!(others, 2, "{at}: other messages came");
        assert!(engine.run_pending().is_err(), "{at}: nobody was told");
        send(&engine, "more", 0, 1, 10);
        send(&engine, "more", 1, 1, 1_000_000);
        store.clock.advance(Duration::from_millis(10));
        let mut more = BTreeSet::new();
        let failed = work(&engine, "more", &mut more, &at);
        assert!(!failed && more.len() == 1, "{at}: other queues go on");
        let came = got.len() as u64;
        assert!(came < SPILLED, "{at}: all came, though it is damaged");
        let jobs = engine.queue("jobs").expect("it is there");
        let left = jobs.stats().expect("it is open").delayed;
        assert_eq!(came + left, SPILLED + 2, "{at}: the others wait");
        engine.checkpoint().expect("the rest can be saved");
        drop(jobs);
        engine.close().expect("the rest can be saved");
        drop(engine);
        // The file is put back from a copy.
        store.disk.write_file(&path, &good);
        let engine = store.open().expect("all is well again");
        assert!(
            !work(&engine, "jobs", &mut got, &at),
            "{at}: it is whole again"
        );
        assert_eq!(got.len() as u64, SPILLED + 2, "{at}");
    }
    assert!(opened > 2, "opening read all of {blocks} blocks");
}

/// Symptom: with more than eight runs, one of which was damaged, no checkpoint
/// was made any more, and the log filled up. Cause: a merge that cannot read what
/// it merges was taken for a checkpoint that cannot be made. Fix: runs stay as
/// they are, and whoever needs the timers is told.
#[test]
fn a_damaged_run_that_is_to_be_merged_stops_no_checkpoint() {
    let store = Store::new();
    let engine = store.open().expect("a new store");
    let small = QueueOptions::default().priority_max(0);
    engine.create_queue("jobs", small).expect("it is new");
    let mut first = 0;
    while store.runs().len() < 9 {
        send(&engine, "jobs", first, SPILLED, 1_000_000 + first);
        first += SPILLED;
        engine.checkpoint().expect("a disk without faults");
        if store.runs().len() == 8 {
            let path = &store.runs()[3];
            store.disk.flip_bit(path, 5 * BLOCK + 100, 5);
        }
    }
    for n in 0..3 {
        send(&engine, "jobs", first + n, 1, 0);
        let made = engine.stats().checkpoints;
        engine.checkpoint().expect("timers are not what it is for");
        assert!(engine.stats().checkpoints > made);
    }
    assert_eq!(engine.stats().timers, first);
}
