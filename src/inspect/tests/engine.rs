//! Stores that the engine made: it and verification read the rules alike.

use super::*;
use crate::clock::ManualClock;
use crate::{
    AppendOptions, Background, Durability, Engine, Fetch, Options, Retention, Start, Topic,
};

const PATH: &str = "/store";

fn options() -> Options {
    Options::default()
        .background(Background::Manual)
        .clock(Arc::new(ManualClock::new(1_000)))
        .group_bytes_max(16 << 10)
        .wal_file_bytes(64 << 10)
        .wal_bytes_max(512 << 10)
        .tail_bytes_max(512 << 10)
}

pub(super) fn open(disk: &SimFs) -> Result<Engine> {
    Engine::open_with(Arc::new(disk.clone()), PATH, options())
}

pub(super) fn verify(disk: &SimFs) -> Result<VerifyReport> {
    verify_with(Arc::new(disk.clone()), Path::new(PATH), &mut |_, _| {})
}

/// A life with several files of the log, segments that are sealed and dropped,
/// and a restart. Returns how many records were acknowledged.
pub(super) fn live(disk: &SimFs, acked: &mut u64) -> Result<()> {
    for life in 0..2 {
        let engine = open(disk)?;
        let topic = TopicOptions::default()
            .partitions(2)
            .segment_bytes_max(8 << 10)
            .index_interval_bytes(512)
            .retention(Retention::default().bytes(40 << 10));
        let topic = engine
            .create_topic("orders", topic)
            .or_else(|_| engine.topic("orders"))?;
        for round in 0..4 {
            append(&topic, acked)?;
            if round % 2 == 1 {
                engine.checkpoint()?;
                engine.enforce_retention()?;
                while engine.run_pending()? {}
            }
        }
        if life == 0 {
            engine.close()?;
        } else {
            append(&topic, acked)?;
        }
    }
    Ok(())
}

fn append(topic: &Topic, acked: &mut u64) -> Result<()> {
    for n in 0..6_usize {
        let value = vec![b'x'; 100 + 700 * n];
        let record = Record::new(&value);
        topic.append(&record)?;
        *acked += 1;
        let buffered = AppendOptions::default().durability(Durability::Buffered);
        topic.append_with(&record, &buffered)?;
    }
    Ok(())
}

/// Reads all there is.
fn read(engine: &Engine) -> Result<u64> {
    let topic = engine.topic("orders")?;
    let mut records = 0;
    for partition in 0..2 {
        let mut reader = topic.reader(partition, Start::Earliest)?;
        loop {
            let fetched = reader.fetch(&Fetch::default())?;
            if fetched.is_empty() {
                break;
            }
            records += fetched.record_count();
        }
    }
    Ok(records)
}

#[test]
fn what_the_engine_leaves_is_clean_and_counted() {
    let disk = SimFs::new(1);
    live(&disk, &mut 0).unwrap();
    let report = verify(&disk).unwrap();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(report.notes, [""; 0]);
    let engine = open(&disk).unwrap();
    let records = read(&engine).unwrap();
    assert_eq!(report.records, records, "{report}");
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    drop(engine);
    let report = verify(&disk).unwrap();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(report.records, records, "{report}");
}

#[test]
fn no_power_cut_leaves_what_verification_calls_damage() {
    let whole = SimFs::new(1);
    live(&whole, &mut 0).unwrap();
    let steps = whole.steps();
    for step in (1..=steps).step_by(7) {
        let disk = SimFs::new(step);
        disk.cut_power_at(step);
        // Dropped at the cut: what it returned no longer matters.
        drop(live(&disk, &mut 0));
        for (choice, after) in disk.crash_images(2, 4, step) {
            let context = format!("step {step}, {choice:?}");
            let report = match verify(&after) {
                Ok(report) => report,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => panic!("{context}: {error}"),
            };
            assert_ne!(report.outcome(), Outcome::Corrupt, "{context}: {report}");
            let engine = open(&after).expect(&context);
            let torn = engine.recovery().torn_bytes;
            assert_eq!(report.torn_bytes, torn, "{context}: {report}");
        }
    }
}

#[test]
fn the_engine_opens_what_verification_passes_and_reads_all_of_it() {
    let whole = SimFs::new(1);
    live(&whole, &mut 0).unwrap();
    let files = whole.list_files();
    for seed in 0..400_u64 {
        let disk = whole.fork();
        let at = to_usize(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20);
        let (path, len) = &files[at % files.len()];
        if *len == 0 {
            continue;
        }
        let byte = to_u64(at / files.len()) % len;
        disk.flip_bit(path, byte, 2);
        let context = format!("seed {seed}: byte {byte} of {path}");
        let sound = verify(&disk).map(|report| report.outcome() != Outcome::Corrupt);
        let opened = open(&disk).and_then(|engine| read(&engine));
        // The engine does not read what nobody asks for, and may find that an
        // older snapshot will do: it may be content, never the reverse.
        if matches!(sound, Ok(true)) {
            opened.expect(&context);
        }
    }
}
