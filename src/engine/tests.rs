//! Tests of the engine on the simulated disk: one for each defect that a review
//! or a simulation found in it, telling symptom, cause and fix.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::ManualClock;
use crate::io::FileSystem;
use crate::io::sim::{Crash, SimFs};
use crate::{
    AppendOptions, Background, Durability, Engine, Fetch, Options, Record, Result, Start, Topic,
    TopicOptions,
};

mod queues;

fn options() -> Options {
    Options::default()
        .background(Background::Manual)
        .clock(Arc::new(ManualClock::new(1_000_000)))
        .wal_file_bytes(64 << 10)
        .wal_bytes_max(256 << 10)
        .tail_bytes_max(256 << 10)
        .linger(Duration::ZERO)
}

fn open(sim: &SimFs) -> Result<Engine> {
    let disk: Arc<dyn FileSystem> = Arc::new(sim.clone());
    Engine::open_with(disk, "/data", options())
}

fn count(topic: &Topic) -> u64 {
    let mut reader = topic.reader(0, Start::Earliest).unwrap();
    let fetch = Fetch::default().max_records(u32::MAX);
    let mut count = 0;
    loop {
        let fetched = reader.fetch(&fetch).unwrap();
        if fetched.is_empty() {
            return count;
        }
        count += fetched.record_count();
    }
}

/// Symptom: killed, opened again, and then the power cut: the next open failed
/// with `Corrupt`, or records were missing. Cause: names and the header of the
/// newest file of the log had been read from the page cache only, and what was
/// written next relied on them. Fix: opening makes durable what it relies on.
#[test]
fn a_kill_then_a_reopen_then_a_power_cut_loses_nothing() {
    let workload = |sim: &SimFs, appends: u64, acked: &mut u64| -> Result<()> {
        let engine = open(sim)?;
        let topic = match engine.topic("t") {
            Ok(topic) => topic,
            Err(_) => engine.create_topic("t", TopicOptions::default())?,
        };
        for n in 0..appends {
            topic.append(&Record::new(&[7; 3000]))?;
            *acked += 1;
            if n % 13 == 12 {
                engine.checkpoint()?;
            }
        }
        // A crash follows: no orderly close.
        std::mem::forget(engine);
        Ok(())
    };
    let steps = {
        let sim = SimFs::new(3);
        workload(&sim, 40, &mut 0).unwrap();
        sim.steps()
    };
    for step in 1..=steps {
        // What the cache has, as after `kill -9`; then more work, then the cut.
        let sim = SimFs::new(3);
        let mut acked = 0;
        sim.cut_power_at(step);
        workload(&sim, 40, &mut acked).unwrap_err();
        let killed = sim.fork();
        for appends in [1, 40] {
            let (again, mut acked) = (killed.fork(), acked);
            workload(&again, appends, &mut acked).unwrap();
            let image = again.crash(Crash::NothingUnsynced);
            let engine = open(&image).unwrap_or_else(|error| panic!("step {step}: {error}"));
            let found = count(&engine.topic("t").unwrap());
            assert!(
                found >= acked,
                "step {step}: {acked} acknowledged, {found} found"
            );
        }
    }
}

/// Symptom: `sync` answered yes, and a power cut lost what it had answered for.
/// Cause: buffered batches that found no space in the log lay in memory, and
/// `sync` knew of the log only. Fix: it makes a checkpoint for them.
#[test]
fn sync_covers_batches_that_found_no_space_in_the_log() {
    let sim = SimFs::new(4);
    let engine = open(&sim).unwrap();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    let buffered = AppendOptions::default().durability(Durability::Buffered);
    sim.set_capacity(Some(sim.used_bytes()));
    let mut sent = 0;
    while engine.stats().batches_unlogged == 0 {
        topic
            .append_with(&Record::new(&[7; 4000]), &buffered)
            .unwrap();
        sent += 1;
        engine.shared().seal_all().unwrap();
        assert!(sent < 100, "the log never filled up");
    }
    sim.set_capacity(None);
    engine.sync().unwrap();
    let image = sim.crash(Crash::NothingUnsynced);
    let engine = open(&image).unwrap();
    assert_eq!(count(&engine.topic("t").unwrap()), sent);
}

/// Symptom: buffered batches of small stores never reached the log. Cause: they
/// were sealed at `batch_bytes_max`, which may be more than a frame holds. Fix:
/// what a frame holds bounds them, too.
#[test]
fn a_batch_limit_above_a_frame_does_not_keep_batches_from_the_log() {
    let sim = SimFs::new(5);
    let engine = open(&sim).unwrap();
    let large = TopicOptions::default().batch_bytes_max(1 << 20);
    let topic = engine.create_topic("t", large).unwrap();
    let buffered = AppendOptions::default().durability(Durability::Buffered);
    for _ in 0..100 {
        topic
            .append_with(&Record::new(&[7; 500]), &buffered)
            .unwrap();
    }
    engine.sync().unwrap();
    assert_eq!(engine.stats().batches_unlogged, 0);
    let image = sim.crash(Crash::NothingUnsynced);
    assert_eq!(count(&open(&image).unwrap().topic("t").unwrap()), 100);
}

/// Symptom: `records_replayed` of a killed store was far too low. Cause: it
/// counted batches. Fix: it counts their records.
#[test]
fn replayed_records_are_counted_one_by_one() {
    let sim = SimFs::new(5);
    let engine = open(&sim).unwrap();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    let records: Vec<_> = (0..7).map(|_| Record::new("x")).collect();
    for _ in 0..3 {
        let options = AppendOptions::default();
        topic.append_batch(&records, &options).unwrap();
    }
    let killed = sim.fork();
    std::mem::forget(engine);
    let engine = open(&killed).unwrap();
    assert_eq!(engine.recovery().records_replayed, 21);
    // The topic, and the three batches.
    assert_eq!(engine.recovery().frames_replayed, 4);
}

/// Symptom: a snapshot that a crash kept from being removed stayed for good.
/// Cause: opening forgot those before the newest two. Fix: it remembers them,
/// and the next checkpoint removes them.
#[test]
fn a_snapshot_that_a_crash_left_over_goes_at_the_next_checkpoint() {
    let sim = SimFs::new(6);
    let engine = open(&sim).unwrap();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    let snapshots = |sim: &SimFs| -> Vec<String> {
        let files = sim.list_files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.contains("/snapshot/")).collect()
    };
    let checkpoint = |topic: &Topic, engine: &Engine| {
        topic.append(&Record::new("x")).unwrap();
        engine.checkpoint().unwrap();
    };
    checkpoint(&topic, &engine);
    let old = snapshots(&sim).remove(0);
    let bytes = sim.read_file(&old);
    checkpoint(&topic, &engine);
    checkpoint(&topic, &engine);
    assert!(!snapshots(&sim).contains(&old));
    let killed = sim.fork();
    std::mem::forget(engine);
    killed.write_file(&old, &bytes);
    let engine = open(&killed).unwrap();
    assert_eq!(snapshots(&killed).len(), 3);
    checkpoint(&engine.topic("t").unwrap(), &engine);
    assert_eq!(snapshots(&killed).len(), 2);
    assert!(!snapshots(&killed).contains(&old));
}
