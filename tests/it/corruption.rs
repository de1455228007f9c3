//! Damage at rest: every byte of every file of a small store is changed in
//! turn, and files are cut, lost, renamed and swapped with another store's.
//!
//! An open that fails says why and has changed nothing. One that succeeds
//! shows exactly what was appended, or errors; never other bytes, and never
//! fewer records than were acknowledged. There is one exception, and the test
//! holds it to that: in a store that was not closed in order, damage to the
//! very last group of the log is not to be told from a torn write, for nothing
//! written later says that it was durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use duolog::clock::ManualClock;
use duolog::io::sim::SimFs;
use duolog::{Codec, Durability, Engine, Error, ErrorKind};

use crate::model::Model;
use crate::observe::read_all;
use crate::payload::Placed;
use crate::world::{Append, EPOCH_MS, Op, Setup, World, small};

/// Of the bytes beyond the first block of a file of the log, which are mostly
/// padding, so many-th are flipped; all others always are.
const PADDING_STRIDE: u64 = 61;

const BLOCK: u64 = 4096;

/// A store at rest, and what was acknowledged of it.
struct Store {
    disk: SimFs,
    model: Model,
    setup: Setup,
    /// Set for a store that was not closed: its last group may be taken for torn.
    killed: bool,
}

fn append(partition: u32, sizes: &[usize]) -> Op {
    Op::Append(Append {
        topic: "t",
        partition: Some(partition),
        sizes: sizes.to_vec(),
        keyed: true,
        durability: Durability::Durable,
        codec: Codec::None,
    })
}

/// Sealed and active segments, two snapshots, and records in the log only.
fn store(seed: u64, killed: bool) -> Store {
    let setup = Setup {
        seed,
        ..Setup::default()
    };
    let mut world = World::new(setup);
    let mut ops = vec![Op::Create("t", small().partitions(2))];
    ops.extend((0..3).map(|n| append(0, &[900, n])));
    ops.push(append(1, &[10]));
    ops.push(Op::Checkpoint);
    ops.push(append(0, &[2500, 1]));
    ops.push(Op::Checkpoint);
    ops.push(append(1, &[20, 30]));
    ops.push(append(0, &[40]));
    ops.push(append(1, &[50]));
    for op in &ops {
        world.run(op, &"a store to damage").expect("a good disk");
    }
    let engine = world.engine.take().expect("it is open");
    let disk = if killed {
        world.disk.fork()
    } else {
        engine.close().expect("a good disk");
        world.disk.fork()
    };
    drop(engine);
    Store {
        disk,
        model: world.model,
        setup,
        killed,
    }
}

fn files(disk: &SimFs) -> BTreeMap<String, Vec<u8>> {
    let list = disk.list_files().into_iter();
    // Who holds the lock is written even if the open fails.
    list.filter(|(path, _)| !path.ends_with("/LOCK"))
        .map(|(path, _)| {
            let bytes = disk.read_file(&path);
            (path, bytes)
        })
        .collect()
}

/// How a damaged store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// It opened, and everything is there.
    Whole,
    /// It opened, and some reads say that something is damaged.
    ReadsFail,
    /// It did not open.
    Refused,
    /// It opened without the records of the last group.
    Torn,
}

fn is_typed(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Invalid | ErrorKind::NotFound
    )
}

/// Opens the damaged disk and holds it to the promises.
fn answer(store: &Store, disk: &SimFs, what: &str) -> Answer {
    let before = files(disk);
    let clock = Arc::new(ManualClock::new(EPOCH_MS));
    let engine = match store.setup.open(disk, &clock) {
        Ok(engine) => engine,
        Err(error) => {
            assert!(is_typed(&error), "{what}: {error:?}");
            let after = files(disk);
            for (path, bytes) in &before {
                let same = after.get(path) == Some(bytes);
                assert!(
                    same,
                    "{what}: {path} was changed by an open that failed: {error}"
                );
            }
            assert_eq!(before.len(), after.len(), "{what}: files came: {error}");
            return Answer::Refused;
        }
    };
    let Some(topic) = store.model.topics.get("t") else {
        return Answer::Whole;
    };
    assert!(
        !engine.topics().is_empty(),
        "{what}: opened without the topic"
    );
    let mut worst = Answer::Whole;
    for (number, known) in (0..).zip(&topic.partitions) {
        let found = check(store, &engine, number, &known.records, what);
        worst = worst.max(found);
    }
    drop(engine);
    worst
}

/// What can be read of a partition, by all ways in: from the start, and from
/// each offset, so that damage does not hide what lies behind it.
fn check(store: &Store, engine: &Engine, number: u32, known: &[Placed], what: &str) -> Answer {
    let payload = |record: &duolog::StoredRecord| {
        let placed = known.iter().find(|known| known.offset == record.offset);
        let right = placed
            .is_some_and(|known| known.sent.payload().is(record) && known.time == record.timestamp);
        assert!(
            right,
            "{what}: t/{number} reads {record:?}, which is {placed:?}"
        );
    };
    match read_all(engine, "t", number) {
        Err(error) => {
            assert!(is_typed(&error), "{what}: reading t/{number}: {error:?}");
            let topic = engine.topic("t").expect("it is there");
            for placed in known {
                let start = duolog::Start::Offset(placed.offset);
                let fetched = topic
                    .reader(number, start)
                    .and_then(|mut reader| reader.fetch(&duolog::Fetch::default().max_bytes(1)))
                    .and_then(|fetched| fetched.records());
                fetched.iter().flatten().for_each(payload);
            }
            Answer::ReadsFail
        }
        Ok(records) => {
            records.iter().for_each(payload);
            if records.len() == known.len() {
                return Answer::Whole;
            }
            let missing = known.len() - records.len();
            let last = store.killed && number == 1 && missing == 1;
            let prefix = records.iter().zip(known).all(|(r, k)| r.offset == k.offset);
            assert!(
                last && prefix,
                "{what}: {missing} acknowledged records of t/{number} are missing without a word"
            );
            Answer::Torn
        }
    }
}

/// Counts answers, and prints them.
#[derive(Default)]
struct Tally(BTreeMap<Answer, u64>);

impl Tally {
    fn add(&mut self, answer: Answer) {
        *self.0.entry(answer).or_default() += 1;
    }
}

/// Changes every byte in three ways.
fn flip(killed: bool) {
    let store = store(1, killed);
    let mut tally = Tally::default();
    for (path, bytes) in files(&store.disk) {
        let dense = dense_end(&path, &bytes);
        for (at, byte) in (0..).zip(&bytes) {
            if at >= dense && at % PADDING_STRIDE != 0 {
                continue;
            }
            let bit = u8::try_from((at * 7 + 3) % 8).expect("below 8");
            for to in [byte ^ (1 << bit), 0, 0xff] {
                if to == *byte {
                    continue;
                }
                let disk = store.disk.fork();
                let mut damaged = bytes.clone();
                damaged[usize::try_from(at).expect("small")] = to;
                disk.write_file(&path, &damaged);
                let what = format!("killed {killed}, {path} byte {at}: {byte:#04x} to {to:#04x}");
                tally.add(answer(&store, &disk, &what));
            }
        }
    }
    println!("killed {killed}: {:?}", tally.0);
    let torn = tally.0.contains_key(&Answer::Torn);
    assert_eq!(torn, killed, "only a store that was killed has a torn tail");
}

/// Where the part of a file ends that has something in it.
fn dense_end(path: &str, bytes: &[u8]) -> u64 {
    if !path.contains("/wal/") {
        return u64::MAX;
    }
    let used = bytes.iter().rposition(|byte| *byte != 0);
    used.map_or(0, |last| u64::try_from(last).expect("small") + 1)
}

#[test]
fn every_flipped_byte_of_a_closed_store_is_told_or_harmless() {
    flip(false);
}

#[test]
fn every_flipped_byte_of_a_killed_store_is_told_or_harmless() {
    flip(true);
}

#[test]
fn a_file_that_was_cut_is_told_or_harmless() {
    for killed in [false, true] {
        let store = store(1, killed);
        let mut tally = Tally::default();
        for (path, bytes) in files(&store.disk) {
            let len = u64::try_from(bytes.len()).expect("small");
            let blocks = (0..len).step_by(usize::try_from(BLOCK).expect("small"));
            for cut in blocks.chain([len.saturating_sub(1), len / 2]) {
                let disk = store.disk.fork();
                disk.write_file(&path, &bytes[..usize::try_from(cut).expect("small")]);
                let what = format!("killed {killed}, {path} cut to {cut}");
                tally.add(answer(&store, &disk, &what));
            }
        }
        println!("cut, killed {killed}: {:?}", tally.0);
    }
}

#[test]
fn a_file_that_is_missing_is_told_or_harmless() {
    for killed in [false, true] {
        let store = store(1, killed);
        for path in files(&store.disk).keys() {
            let disk = store.disk.fork();
            disk.remove(path);
            let what = format!("killed {killed}, {path} is missing");
            println!("{what}: {:?}", answer(&store, &disk, &what));
        }
    }
}

#[test]
fn a_file_under_another_name_is_told_or_harmless() {
    for killed in [false, true] {
        let store = store(1, killed);
        let all: Vec<_> = files(&store.disk).into_keys().collect();
        for from in &all {
            for to in &all {
                let same = |path: &str| path.rsplit_once('.').map(|(_, end)| end.to_owned());
                if from == to || same(from) != same(to) {
                    continue;
                }
                for copy in [false, true] {
                    let disk = store.disk.fork();
                    if copy {
                        disk.write_file(to, &disk.read_file(from));
                    } else {
                        disk.rename(from, to);
                    }
                    let what = format!("killed {killed}, {from} as {to}, copied: {copy}");
                    answer(&store, &disk, &what);
                }
            }
        }
    }
}

#[test]
fn a_file_of_another_store_is_told_or_harmless() {
    for killed in [false, true] {
        let store = store(1, killed);
        let other = self::store(2, killed);
        for (path, bytes) in files(&other.disk) {
            let disk = store.disk.fork();
            disk.write_file(&path, &bytes);
            let what = format!("killed {killed}, {path} of another store");
            println!("{what}: {:?}", answer(&store, &disk, &what));
        }
    }
}
