//! Queues: sections that do not go together, and runs of timers, changed in
//! every block. What opening refuses, verification finds.

use std::time::Duration;

use super::engine::{open, verify};
use super::*;
use crate::{ConsumerOptions, Filter, Message, QueueOptions};

/// Messages in one send; more than a commit takes otherwise.
const AT_ONCE: usize = 200;

/// A closed store with a queue, a subscription, and more delays than stay in
/// memory.
fn store() -> SimFs {
    let disk = SimFs::new(1);
    let engine = open(&disk).unwrap();
    let topic = engine
        .create_topic("events", TopicOptions::default().partitions(2))
        .unwrap();
    let jobs = engine
        .create_queue("jobs", QueueOptions::default())
        .unwrap();
    let view = engine.subscribe(
        "view",
        "events",
        Filter::default(),
        QueueOptions::default(),
        true,
    );
    topic.append(&Record::new("seen")).unwrap();
    let worker = view.unwrap().consumer(ConsumerOptions::default()).unwrap();
    for delivery in worker.receive(9, Duration::ZERO).unwrap() {
        delivery.ack().unwrap();
    }
    let later = Message::new("later").delay(Duration::from_secs(3600));
    for _ in 0..45 {
        jobs.send_batch(
            &vec![later.clone(); AT_ONCE],
            &crate::SendOptions::default(),
        )
        .unwrap();
    }
    drop((topic, jobs, worker));
    engine.close().unwrap();
    drop(engine);
    disk
}

fn files(disk: &SimFs, end: &str) -> Vec<String> {
    let files = disk.list_files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.ends_with(end)).collect()
}

/// Verification calls it corrupt; opening does so, too, if it looks there.
#[track_caller]
fn refused(disk: &SimFs, opening: Option<bool>, context: &str) {
    let report = verify(disk).unwrap();
    assert_eq!(report.outcome(), Outcome::Corrupt, "{context}: {report}");
    let before = disk.list_files();
    match open(disk) {
        Ok(_) => assert_ne!(opening, Some(true), "{context}: it opened\n{report}"),
        Err(error) => {
            assert_ne!(opening, Some(false), "{context}: {error}");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {error}");
            assert_eq!(disk.list_files(), before, "{context}: it was changed");
        }
    }
}

#[test]
fn a_store_with_queues_and_runs_of_timers_is_clean() {
    let disk = store();
    let report = verify(&disk).unwrap();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(report.notes, [""; 0]);
    let runs = files(&disk, ".run");
    assert!(!runs.is_empty(), "there are timers on disk");
    disk.write_file("/store/timers/notes.txt", b"not yours");
    let report = verify(&disk).unwrap();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert!(report.notes[0].starts_with("timers/notes.txt "), "{report}");
}

#[test]
fn a_flipped_bit_in_any_block_of_a_run_is_found() {
    let whole = store();
    let path = &files(&whole, ".run")[0];
    let len = to_u64(whole.read_file(path).len());
    for block in (0..len).step_by(4096) {
        for byte in [0, 3, 5, 12, 40, 60, 4000] {
            let disk = whole.fork();
            disk.flip_bit(path, block + byte, 3);
            // Of the blocks behind the first, opening looks at some.
            let opening = (block < 8192).then_some(true);
            let context = format!("byte {} of {path}", block + byte);
            refused(&disk, opening, &context);
            let report = verify(&disk).unwrap();
            let [problem] = &report.problems[..] else {
                panic!("{context}: {report}");
            };
            assert_eq!(problem.position, block, "{context}: {report}");
        }
    }
}

#[test]
fn a_run_that_is_gone_cut_longer_or_another_one_is_refused_by_both() {
    let whole = store();
    let path = &files(&whole, ".run")[0];
    let bytes = whole.read_file(path);
    let disk = whole.fork();
    disk.remove(path);
    refused(&disk, Some(true), "it is gone");
    for len in [0, 100, 4096, bytes.len() - 4096, bytes.len() - 1] {
        let disk = whole.fork();
        disk.write_file(path, &bytes[..len]);
        refused(&disk, Some(true), &format!("cut to {len}"));
    }
    let disk = whole.fork();
    disk.write_file(path, &[&bytes[..], &[0; 4096]].concat());
    refused(&disk, Some(true), "a block too many");
    let disk = whole.fork();
    disk.rename(path, "/store/timers/00000000000000000999.run");
    refused(&disk, Some(true), "renamed");
}

#[test]
fn a_directory_of_timers_that_is_gone_is_refused_by_both() {
    let whole = SimFs::new(1);
    open(&whole).unwrap().close().unwrap();
    // A copy without it.
    let disk = SimFs::new(2);
    for path in whole.list_files().into_iter().map(|(path, _)| path) {
        disk.write_file(&path, &whole.read_file(&path));
    }
    drop(disk.open_root(Path::new("/store/topics"), true).unwrap());
    refused(&disk, Some(true), "there is no directory timers");
}

/// Changes the newest snapshot, and removes the other.
fn with_snapshot(whole: &SimFs, change: impl Fn(&mut Snapshot)) -> SimFs {
    let disk = whole.fork();
    let mut snapshots = files(&disk, ".snap");
    let newest = snapshots.pop().unwrap();
    for older in snapshots {
        disk.remove(older);
    }
    let identity = Identity::decode(&disk.read_file("/store/store"), true).unwrap();
    let mut snapshot = Snapshot::decode(&disk.read_file(&newest), identity.store).unwrap();
    change(&mut snapshot);
    disk.write_file(&newest, &snapshot.encode(identity.store));
    disk
}

type Change = (&'static str, fn(&mut Snapshot));

#[test]
fn sections_that_do_not_go_together_are_refused_by_both() {
    let whole = store();
    let same = with_snapshot(&whole, |_| {});
    assert_eq!(verify(&same).unwrap().outcome(), Outcome::Clean);
    drop(open(&same).unwrap());
    let changes: [Change; 7] = [
        ("a ledger of no queue", |it| {
            it.queues.retain(|queue| queue.name != "view");
        }),
        ("a queue over no topic", |it| {
            for queue in &mut it.queues {
                if let Some(source) = &mut queue.source {
                    source.topic = TopicId::new(900);
                }
            }
        }),
        ("a lane that the queue has not", |it| {
            it.ledgers[0].id.partition = 1000;
        }),
        ("a lane that the subscription has not", |it| {
            it.ledgers.last_mut().unwrap().id.partition = 2;
        }),
        ("a ledger twice", |it| {
            it.ledgers.push(it.ledgers[0].clone());
        }),
        ("a partition that the topic has not", |it| {
            it.partitions[0].id.partition = 1000;
        }),
        ("a run that is not there", |it| {
            it.timers.runs[0].number += 7;
        }),
    ];
    for (what, change) in changes {
        refused(&with_snapshot(&whole, change), Some(true), what);
    }
}
