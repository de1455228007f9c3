//! Criterion benches of the parts: encode, decode, append, scan.
//!
//! Run them with `cargo bench --bench engine`. They measure the code, in
//! memory or in the page cache; what the disk costs is for `duolog bench`,
//! which puts the raw limit of the same disk beside it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on ends here")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use duolog::{
    AppendOptions, Codec, Durability, Engine, Fetch, Options, Record, Start, Topic, TopicOptions,
};
use tempfile::TempDir;

/// Records of a batch.
const BATCH: usize = 100;

/// A store with one topic, gone when dropped.
struct Store {
    engine: Engine,
    topic: Topic,
    // After the engine: dropped last.
    _dir: TempDir,
}

fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path().join("data"), Options::default()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    Store {
        engine,
        topic,
        _dir: dir,
    }
}

fn value(size: usize) -> Vec<u8> {
    // Half noise, half repeats: compresses about as text does.
    (0_u32..)
        .flat_map(|n| [b'a', n.wrapping_mul(2_654_435_761).to_le_bytes()[3]])
        .take(size)
        .collect()
}

fn records(value: &[u8]) -> Vec<Record<'_>> {
    vec![Record::new(value); BATCH]
}

/// Encoding without the log: transient batches go to memory. Small ones: what
/// memory has no room for is spilled, and that would be measured instead.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let value = value(100);
    let records = records(&value);
    group.throughput(Throughput::Elements(BATCH as u64));
    for codec in [Codec::None, Codec::Lz4] {
        let store = store();
        let how = AppendOptions::default()
            .durability(Durability::Transient)
            .codec(codec);
        group.bench_function(format!("{codec:?}/100"), |bench| {
            bench.iter(|| store.topic.append_batch(&records, &how).unwrap());
        });
    }
    group.finish();
}

/// Decoding: all records of batches that lie in memory.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for size in [100, 1024] {
        let value = value(size);
        let records = records(&value);
        group.throughput(Throughput::Elements(BATCH as u64));
        for codec in [Codec::None, Codec::Lz4] {
            let store = store();
            let how = AppendOptions::default()
                .durability(Durability::Transient)
                .codec(codec);
            store.topic.append_batch(&records, &how).unwrap();
            let mut reader = store.topic.reader(0, Start::Earliest).unwrap();
            let fetched = reader.fetch(&Fetch::default()).unwrap();
            let batch = fetched.batches().first().unwrap().clone();
            group.bench_function(format!("{codec:?}/{size}"), |bench| {
                bench.iter(|| {
                    let records = batch.records().unwrap();
                    let bytes = records.iter().map(|record| record.unwrap().value().len());
                    assert_eq!(bytes.sum::<usize>(), size * BATCH);
                });
            });
        }
    }
    group.finish();
}

/// One call a record, without a wait for the disk.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    let value = value(100);
    let record = Record::new(&value);
    group.throughput(Throughput::Elements(1));
    for durability in [Durability::Buffered, Durability::Transient] {
        let store = store();
        let how = AppendOptions::default().durability(durability);
        group.bench_function(format!("{durability:?}/100"), |bench| {
            bench.iter(|| store.topic.append_with(&record, &how).unwrap());
        });
    }
    group.finish();
}

/// A thousand records a call, without a wait for the disk: to one partition,
/// and picked by key for several.
fn append_batch(criterion: &mut Criterion) {
    const COUNT: u32 = 1000;
    let mut group = criterion.benchmark_group("append_batch");
    let value = value(100);
    let keys: Vec<_> = (0..COUNT).map(u32::to_le_bytes).collect();
    let keyed = keys.iter().map(|key| Record::new(&value).key(key));
    let kinds = [
        ("one", 1, vec![Record::new(&value); keys.len()]),
        ("by key", 4, keyed.collect()),
    ];
    group.throughput(Throughput::Elements(COUNT.into()));
    for (name, partitions, records) in kinds {
        let store = store();
        let topic = TopicOptions::default().partitions(partitions);
        let topic = store.engine.create_topic("many", topic).unwrap();
        let how = AppendOptions::default().durability(Durability::Transient);
        group.bench_function(format!("{name}/100"), |bench| {
            bench.iter(|| topic.append_batch(&records, &how).unwrap());
        });
    }
    group.finish();
}

/// A replay of 10,000 records from segments in the page cache, every batch
/// checked.
fn scan(criterion: &mut Criterion) {
    const COUNT: u64 = 10_000;
    let mut group = criterion.benchmark_group("scan");
    for size in [100, 1024] {
        let value = value(size);
        let records = records(&value);
        let store = store();
        let how = AppendOptions::default().durability(Durability::Buffered);
        for _ in 0..COUNT / BATCH as u64 {
            store.topic.append_batch(&records, &how).unwrap();
        }
        store.engine.checkpoint().unwrap();
        let fetch = Fetch::default().max_records(u32::MAX);
        group.throughput(Throughput::Bytes(COUNT * size as u64));
        group.bench_function(format!("{size}"), |bench| {
            bench.iter_batched(
                || store.topic.reader(0, Start::Earliest).unwrap(),
                |mut reader| {
                    let mut count = 0;
                    while count < COUNT {
                        let fetched = reader.fetch(&fetch).unwrap();
                        for batch in fetched.batches() {
                            count += batch.records().unwrap().iter().count() as u64;
                        }
                    }
                    count
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode, append, append_batch, scan);
criterion_main!(benches);
