//! Files that are not of the store: reported, never touched.

use super::engine::{live, open, verify};
use super::*;

/// One at each level; those below a topic come last.
const STRANGERS: [&str; 9] = [
    "notes.txt",
    "wal/readme",
    "wal/1.wal",
    "snapshot/00000000000000000000.snap.bak",
    "topics/core",
    "topics/007",
    "topics/0/backup",
    "topics/0/0/00000000000000000000.log.gz",
    "topics/0/1/lost+found",
];
const IN_TOPIC: usize = 6;

fn plant(disk: &SimFs) {
    for path in STRANGERS {
        disk.write_file(format!("/store/{path}"), b"not yours");
    }
}

fn noted<'a>(notes: &[String], paths: &[&'a str]) -> Vec<&'a str> {
    let said = |path: &&&str| {
        notes
            .iter()
            .any(|note| note.starts_with(&format!("{path} ")))
    };
    paths.iter().filter(said).copied().collect()
}

#[track_caller]
fn all_there(disk: &SimFs, paths: &[&str]) {
    let files = disk.list_files();
    for path in paths {
        let path = format!("/store/{path}");
        let found = files.iter().any(|(name, _)| *name == path);
        assert!(found && disk.read_file(&path) == b"not yours", "{path}");
    }
}

#[test]
fn every_stranger_is_noted_by_verification_and_those_above_topics_by_opening() {
    let disk = SimFs::new(1);
    live(&disk, &mut 0).unwrap();
    assert_eq!(verify(&disk).unwrap().notes, [""; 0]);
    plant(&disk);
    let report = verify(&disk).unwrap();
    assert_eq!(report.outcome(), Outcome::Clean, "{report}");
    assert_eq!(noted(&report.notes, &STRANGERS), STRANGERS, "{report}");
    assert_eq!(report.notes.len(), STRANGERS.len(), "{report}");
    let engine = open(&disk).unwrap();
    let (upper, _) = STRANGERS.split_at(IN_TOPIC);
    let notes = &engine.recovery().notes;
    assert_eq!(noted(notes, upper), upper, "{notes:?}");
    assert_eq!(notes.len(), upper.len(), "{notes:?}");
}

#[test]
fn a_stranger_outlives_everything_but_the_topic_that_it_lies_in() {
    let disk = SimFs::new(1);
    live(&disk, &mut 0).unwrap();
    plant(&disk);
    // Checkpoints, retention and restarts, with files of the log used again.
    for _ in 0..3 {
        live(&disk, &mut 0).unwrap();
        all_there(&disk, &STRANGERS);
    }
    let engine = open(&disk).unwrap();
    let topic = engine.topic("orders").unwrap();
    for partition in 0..2 {
        topic.trim(partition, Offset::new(20)).unwrap();
    }
    engine.checkpoint().unwrap();
    while engine.run_pending().unwrap() {}
    all_there(&disk, &STRANGERS);
    drop(topic);
    engine.delete_topic("orders").unwrap();
    engine.close().unwrap();
    drop(engine);
    drop(open(&disk).unwrap());
    let (upper, inside) = STRANGERS.split_at(IN_TOPIC);
    all_there(&disk, upper);
    let left = disk.list_files();
    for path in inside {
        let path = format!("/store/{path}");
        assert!(left.iter().all(|(name, _)| *name != path), "{path} stayed");
    }
}

#[test]
fn a_directory_of_no_topic_is_noted() {
    let disk = SimFs::new(1);
    live(&disk, &mut 0).unwrap();
    disk.write_file("/store/topics/99/0/00000000000000000000.log", b"?");
    let report = verify(&disk).unwrap();
    assert_eq!(noted(&report.notes, &["topics/99"]).len(), 1, "{report}");
    let engine = open(&disk).unwrap();
    assert_eq!(noted(&engine.recovery().notes, &["topics/99"]).len(), 1);
}
