//! What a simulated disk promises to the tests that rely on it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::{Crash, FaultRule, OpKind, SimFs};
use crate::io::{Directory, File, FileSystem, OpenMode, conformance};

mod crash;
mod faults;
mod model;

const LOG: &str = "/data/log";
const PAGE: usize = 4096;

/// A disk with an empty durable directory `/data`.
fn store(seed: u64) -> (SimFs, Arc<dyn Directory>) {
    let disk = SimFs::new(seed);
    let dir = disk.open_root(Path::new("/data"), true).unwrap();
    (disk, dir)
}

/// The same, with a durable file `/data/log` that holds `bytes`.
fn with_log(bytes: &[u8]) -> (SimFs, Arc<dyn Directory>, Arc<dyn File>) {
    let (disk, dir) = store(1);
    let file = dir.open("log", OpenMode::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    dir.sync().unwrap();
    assert_eq!(disk.pending_units(), 0);
    (disk, dir, file)
}

/// What the file holds in every image of all subsets.
fn outcomes(disk: &SimFs, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    disk.crash_images(20, 0, 0)
        .map(|(_, image)| held(&image, path))
        .collect()
}

fn held(disk: &SimFs, path: &str) -> Option<Vec<u8>> {
    let there = disk.list_files().iter().any(|(name, _)| name == path);
    there.then(|| disk.read_file(path))
}

fn names(disk: &SimFs) -> Vec<String> {
    disk.list_files()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn the_simulation_conforms() {
    conformance::check(&SimFs::new(1), Path::new("/missing/store"));
    let mapped = SimFs::new(2).with_maps(true).with_unit_len(512);
    conformance::check(&mapped, Path::new("store"));
    let queued = SimFs::new(2).with_queue(true);
    conformance::check(&queued, Path::new("store"));
}

#[test]
fn a_run_is_a_function_of_seed_and_calls() {
    let run = |seed| {
        let (disk, dir) = store(seed);
        let file = dir.open("log", OpenMode::Create).unwrap();
        for i in 0..20_u8 {
            file.write_all_at(&[i; 3000], u64::from(i) * 2500).unwrap();
        }
        let mut id = [0; 16];
        disk.random(&mut id).unwrap();
        let image = disk.crash(Crash::Seeded(9));
        let mut image_id = [0; 16];
        image.random(&mut image_id).unwrap();
        (disk.trace(), id, held(&image, LOG), image_id)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1, "another seed, another identity");
    assert_ne!(run(5).1, run(5).3, "an image has chance of its own");
}

#[test]
fn steps_are_counted_and_traced() {
    let (disk, dir) = store(1);
    let before = disk.steps();
    assert_eq!(before, 2, "mkdir and sync of its parent");
    let file = dir.open("log", OpenMode::CreateNew).unwrap();
    file.write_all_vectored_at(&[b"a", b"bc"], 7).unwrap();
    file.sync_data().unwrap();
    file.read_at(&mut [0; 4], 0).unwrap();
    drop(dir.open("log", OpenMode::Write).unwrap());
    file.set_len(5).unwrap();
    file.allocate(9).unwrap();
    dir.rename("log", "old").unwrap();
    dir.sync().unwrap();
    file.write_all_at(b"x", 0).unwrap();
    dir.remove_file("old").unwrap();
    assert_eq!(
        disk.trace()[2..],
        [
            "3 create /data/log",
            "4 write /data/log 7..10",
            "5 sync /data/log",
            "6 set length /data/log 5",
            "7 allocate /data/log 9",
            "8 rename /data/log to /data/old",
            "9 sync dir /data",
            "10 write /data/old 0..1",
            "11 remove /data/old",
        ]
    );
    assert_eq!(disk.steps(), 11);
    let counts = disk.counts();
    assert_eq!((counts.syncs(), counts.dir_syncs()), (1, 2));
    assert_eq!((counts.bytes_written(), counts.bytes_read()), (4, 4));
    assert_eq!(counts.of(OpKind::Open), 2);
    assert_eq!(counts.of(OpKind::Create), 1);
}

#[test]
fn a_fork_does_not_touch_the_original() {
    let (disk, dir, file) = with_log(b"one");
    file.write_all_at(b"two", 3).unwrap();
    let guard = dir.lock("LOCK", true, "first").unwrap().unwrap();
    let fork = disk.fork();
    assert_eq!(fork.steps(), 0);
    assert_eq!(
        fork.pending(),
        disk.pending(),
        "the cache outlives the process"
    );
    let root = fork.open_root(Path::new("/data"), false).unwrap();
    assert!(
        root.lock("LOCK", true, "").unwrap().is_some(),
        "its locks do not"
    );
    let other = root.open("log", OpenMode::Write).unwrap();
    other.write_all_at(b"THREE", 3).unwrap();
    root.remove_file("log").unwrap();
    assert_eq!(disk.read_file(LOG), b"onetwo");
    assert_eq!(held(&fork, LOG), None);
    drop(guard);
}

#[test]
fn a_process_that_dies_loses_nothing_it_wrote() {
    let (disk, _dir, file) = with_log(b"one");
    file.write_all_at(b"two", 3).unwrap();
    disk.cut_power();
    assert_eq!(disk.fork().read_file(LOG), b"onetwo");
    assert!(!disk.fork().is_off());
}

#[test]
fn tampering_is_durable_and_no_step() {
    let (disk, dir, file) = with_log(b"0123");
    let steps = disk.steps();
    file.write_all_at(b"4567", 4).unwrap();
    disk.flip_bit(LOG, 0, 0);
    disk.flip_bit(LOG, 5, 7);
    let flipped = b"11234\xb567";
    disk.write_file("/data/sub/other", b"planted");
    assert_eq!(disk.steps(), steps + 1);
    assert_eq!(disk.read_file(LOG)[..2], [b'1', b'1']);
    assert_eq!(disk.read_file(LOG)[5], b'5' ^ 0x80);
    file.sync_data().unwrap();
    let image = disk.crash(Crash::NothingUnsynced);
    assert_eq!(image.read_file(LOG), disk.read_file(LOG), "{flipped:?}");
    assert_eq!(image.read_file("/data/sub/other"), b"planted");

    disk.rename("/data/sub/other", "/data/log");
    assert_eq!(names(&disk), ["/data/log"]);
    assert_eq!(
        disk.crash(Crash::NothingUnsynced).read_file(LOG),
        b"planted"
    );
    assert_eq!(dir.open("log", OpenMode::Read).unwrap().len().unwrap(), 7);
    assert_eq!(file.len().unwrap(), 8, "an open handle keeps what it had");
    disk.remove(LOG);
    assert!(names(&disk.crash(Crash::AllUnsynced)).is_empty());
}

#[test]
#[should_panic(expected = "cannot read /data/none")]
fn reading_what_is_not_there_is_a_mistake_in_the_test() {
    let (disk, _dir) = store(1);
    drop(disk.read_file("/data/none"));
}

#[test]
fn memory_of_removed_files_is_given_back() {
    let (disk, dir) = store(1);
    for _ in 0..50 {
        let file = dir.open("x.tmp", OpenMode::CreateNew).unwrap();
        file.write_all_at(&[1; PAGE], 0).unwrap();
        drop(file);
        dir.rename("x.tmp", "x").unwrap();
        dir.sync().unwrap();
        drop(dir.open("y", OpenMode::CreateNew).unwrap());
        dir.remove_file("y").unwrap();
        dir.create_dir("d").unwrap();
        dir.remove_dir("d").unwrap();
        dir.sync().unwrap();
    }
    assert_eq!(disk.disk().nodes.len(), 3, "the root, the store, and x");
    assert_eq!(disk.used_bytes(), 4096);
    let held = dir.open("x", OpenMode::Read).unwrap();
    dir.remove_file("x").unwrap();
    dir.sync().unwrap();
    assert_eq!(disk.used_bytes(), 4096, "a handle keeps the space");
    drop(held);
    assert_eq!(disk.used_bytes(), 0);
    assert_eq!(disk.disk().nodes.len(), 2);
}

#[test]
fn images_are_cheap() {
    // Not a benchmark: without sharing this would copy half a terabyte.
    let (disk, _dir, file) = with_log(&vec![7; 16 << 20]);
    for i in 0..10 {
        file.write_all_at(&[9; 100], i * 100_000).unwrap();
    }
    let mut different = BTreeSet::new();
    for (choice, image) in disk.crash_images(10, 0, 0) {
        let Crash::Subset(mask) = choice else {
            panic!("10 units are few: {choice:?}");
        };
        if mask % 32 == 0 {
            different.insert(image.read_file(LOG));
        }
    }
    assert_eq!(different.len(), 32);
}
