//! What an append allocates once the store has warmed up: memory that is asked
//! for on the thread that appends, call by call.
//!
//! Without background threads, so that all work is done here; the steps of the
//! background are called between what is measured.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends here")]

use allocation_counter::measure;
use duolog::{AppendOptions, Background, Durability, Engine, Options, Record, Topic, TopicOptions};

/// Allocations of a call that seals a batch: its share of a new chunk, who is
/// told when it is durable, its place in the group and in the tail.
const PER_SEALED_BATCH_MAX: u64 = 8;

/// The batch under construction, and the same plus the answer.
const PER_BATCH_CALL_MAX: u64 = PER_SEALED_BATCH_MAX + 1;

/// The batch, its frame, its group, who waits for it, and the write.
const PER_DURABLE_CALL_MAX: u64 = 16;

struct Store {
    engine: Engine,
    topic: Topic,
    // After the engine: dropped last.
    _dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::default().background(Background::Manual);
        let engine = Engine::open(dir.path().join("data"), options).unwrap();
        let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
        Self {
            engine,
            topic,
            _dir: dir,
        }
    }

    fn batches(&self) -> u64 {
        self.engine.stats().batches_appended
    }
}

/// Allocations of this thread while it does `work`.
fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

#[test]
fn a_buffered_record_allocates_nothing_but_when_its_batch_is_sealed() {
    const COUNT: u64 = 20_000;
    let store = Store::new();
    let value = [7; 100];
    let record = Record::new(&value);
    let how = AppendOptions::default().durability(Durability::Buffered);
    let append = || count(|| _ = store.topic.append_with(&record, &how).unwrap());
    for _ in 0..COUNT {
        append();
    }
    store.engine.run_pending().unwrap();
    let before = store.batches();
    let counts: Vec<u64> = (0..COUNT).map(|_| append()).collect();
    let sealed = store.batches() - before;
    let allocating = counts.iter().filter(|count| **count > 0).count() as u64;
    let total: u64 = counts.iter().sum();
    assert!((20..100).contains(&sealed), "{sealed} batches");
    // A chunk is full at another record than a batch is.
    assert!(
        allocating <= 2 * sealed,
        "{allocating} calls, {sealed} batches"
    );
    assert!(
        total <= PER_SEALED_BATCH_MAX * sealed,
        "{total} for {sealed} batches"
    );
}

#[test]
fn a_batch_of_a_thousand_allocates_as_a_batch_and_not_as_a_thousand() {
    let store = Store::new();
    let value = [7; 100];
    let records = vec![Record::new(&value); 1000];
    let how = AppendOptions::default().durability(Durability::Buffered);
    let append = || {
        let count = count(|| drop(store.topic.append_batch(&records, &how).unwrap()));
        // A call that finds the groups full writes one of them by itself.
        store.engine.run_pending().unwrap();
        count
    };
    for _ in 0..20 {
        append();
    }
    for n in 0..20 {
        let count = append();
        assert!(count <= PER_BATCH_CALL_MAX, "call {n}: {count}");
    }
}

#[test]
fn a_durable_append_allocates_a_bounded_number_of_times() {
    let store = Store::new();
    let value = [7; 100];
    let record = Record::new(&value);
    let append = || count(|| _ = store.topic.append(&record).unwrap());
    for _ in 0..100 {
        append();
    }
    for n in 0..100 {
        let count = append();
        assert!(count <= PER_DURABLE_CALL_MAX, "call {n}: {count}");
    }
}
