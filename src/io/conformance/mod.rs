//! One suite that every back end passes: what the traits of `io` promise.
//!
//! Run it on a back end of your own with [`check`]. What needs objects that
//! only an operating system has (symbolic links, FIFOs, modes) is tested
//! beside that back end.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::{Advice, BLOCK_LEN, Directory, EntryKind, File, FileSystem, OpenMode};
use crate::ids::to_u64;

mod blocks;

/// Slices of the vectored write: more than `IOV_MAX`.
const SLICES: usize = 1100;

/// Checks all that a back end promises, in the directory `root`, which must
/// not exist yet (its parent may be missing too).
///
/// # Panics
///
/// With a sentence that says which promise was broken.
pub fn check(fs: &dyn FileSystem, root: &Path) {
    check_root(fs, root);
    let dir = fs.open_root(root, true).expect("open_root creates");
    check_modes(&*dir);
    check_reads_and_writes(&*dir);
    check_vectored(&*dir);
    check_lengths(&*dir);
    check_allocate(&*dir);
    blocks::check_blocks(&*dir);
    blocks::check_queue(fs, &*dir);
    check_map(&*dir);
    check_rename(&*dir);
    check_remove(&*dir);
    check_dirs(&*dir);
    check_names(&*dir);
    check_locks(&*dir);
    check_random(fs);
    assert_eq!(dir.list().expect("list"), [], "a check left something over");
}

fn check_root(fs: &dyn FileSystem, root: &Path) {
    fails(
        fs.open_root(root, false),
        ErrorKind::NotFound,
        "a root that is missing",
    );
    let deep = root.join("a").join("b");
    fs.open_root(&deep, true)
        .expect("open_root makes missing parents");
    fs.open_root(&deep, true)
        .expect("open_root takes what is there");
    let dir = fs
        .open_root(root, false)
        .expect("open_root opens what is there");
    let a = dir.open_dir("a").expect("a parent that was made");
    drop(create(&*dir, "file", b""));
    fails(
        fs.open_root(&root.join("file"), false),
        ErrorKind::NotADirectory,
        "a file as root",
    );
    dir.remove_file("file").expect("clean up");
    a.remove_dir("b").expect("clean up");
    dir.remove_dir("a").expect("clean up");
    assert!(!fs.name().is_empty(), "a back end has a name");
}

fn check_modes(dir: &dyn Directory) {
    fails(
        dir.open("f", OpenMode::Read),
        ErrorKind::NotFound,
        "Read of nothing",
    );
    fails(
        dir.open("f", OpenMode::Write),
        ErrorKind::NotFound,
        "Write of nothing",
    );
    let made = dir
        .open("f", OpenMode::CreateNew)
        .expect("CreateNew makes the file");
    made.write_all_at(b"kept", 0)
        .expect("a new file is written");
    fails(
        dir.open("f", OpenMode::CreateNew),
        ErrorKind::AlreadyExists,
        "CreateNew of an existing file",
    );
    let again = dir
        .open("f", OpenMode::Create)
        .expect("Create opens what is there");
    assert_eq!(content(&*again), b"kept", "Create does not truncate");
    let write = dir
        .open("f", OpenMode::Write)
        .expect("Write opens what is there");
    write.write_all_at(b"K", 0).expect("write");
    let read = dir
        .open("f", OpenMode::Read)
        .expect("Read opens what is there");
    assert_eq!(content(&*read), b"Kept", "handles see each other's writes");
    assert!(read.write_all_at(b"x", 0).is_err(), "Read does not write");
    assert!(read.set_len(0).is_err(), "Read does not truncate");
    read.sync_data().expect("a handle for reading syncs");
    dir.remove_file("f").expect("remove");
    drop(
        dir.open("f", OpenMode::Create)
            .expect("Create makes the file"),
    );
    dir.remove_file("f").expect("remove");
}

fn check_reads_and_writes(dir: &dyn Directory) {
    let file = create(dir, "f", b"0123456789");
    let mut buf = [0; 4];
    assert_eq!(
        file.read_at(&mut buf, 8).expect("read"),
        2,
        "short at the end"
    );
    assert_eq!(
        file.read_at(&mut buf, 10).expect("read"),
        0,
        "nothing at the end"
    );
    assert_eq!(
        file.read_at(&mut buf, 1 << 40).expect("read"),
        0,
        "nothing beyond"
    );
    assert_eq!(
        file.read_at(&mut [], 0).expect("read"),
        0,
        "nothing into nothing"
    );
    file.read_exact_at(&mut buf, 3).expect("read_exact");
    assert_eq!(&buf, b"3456", "bytes of the middle");
    fails(
        file.read_exact_at(&mut buf, 7),
        ErrorKind::UnexpectedEof,
        "read_exact over the end",
    );
    file.write_all_at(b"AB", 4).expect("overwrite");
    file.write_all_at(b"", 100).expect("nothing is written");
    assert_eq!(
        content(&*file),
        b"0123AB6789",
        "an overwrite, and no growth by nothing"
    );
    let far = to_u64(3 * BLOCK_LEN + 5);
    file.write_all_at(b"far", far)
        .expect("write beyond the end");
    let bytes = content(&*file);
    assert_eq!(bytes.len(), 3 * BLOCK_LEN + 8, "grown by the write");
    assert!(
        bytes
            .iter()
            .skip(10)
            .take(3 * BLOCK_LEN - 5)
            .all(|&byte| byte == 0),
        "the hole reads as zeros"
    );
    file.sync_data().expect("sync");
    for advice in [Advice::Sequential, Advice::DontNeed, Advice::WriteOut] {
        file.advise(0, far, advice);
        file.advise(0, 0, advice);
    }
    assert_eq!(content(&*file), bytes, "a sync and advice change nothing");
    dir.remove_file("f").expect("remove");
}

fn check_vectored(dir: &dyn Directory) {
    let file = create(dir, "f", b"head");
    let parts: Vec<Vec<u8>> = (0..SLICES)
        .map(|i| i.to_string().repeat(i % 9).into_bytes())
        .collect();
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    file.write_all_vectored_at(&slices, 4)
        .expect("vectored write");
    let whole = [b"head".as_slice(), &parts.concat()].concat();
    assert!(content(&*file) == whole, "slices follow one another");
    file.write_all_vectored_at(&[], 0).expect("no slices");
    file.write_all_vectored_at(&[b"", b""], 0)
        .expect("empty slices");
    assert!(content(&*file) == whole, "nothing was written");
    dir.remove_file("f").expect("remove");
}

fn check_lengths(dir: &dyn Directory) {
    let file = create(dir, "f", b"0123456789");
    assert_eq!(file.len().expect("len"), 10, "length after a write");
    file.set_len(4).expect("cut");
    file.set_len(8).expect("extend");
    assert_eq!(
        content(&*file),
        b"0123\0\0\0\0",
        "cut bytes do not come back"
    );
    file.set_len(0).expect("cut to nothing");
    assert_eq!(content(&*file), b"", "nothing is left");
    dir.remove_file("f").expect("remove");
}

fn check_allocate(dir: &dyn Directory) {
    let file = create(dir, "f", b"abc");
    file.allocate(0).expect("allocate nothing");
    file.allocate(2).expect("allocate what is there");
    assert_eq!(content(&*file), b"abc", "allocate never shortens");
    file.allocate(10_000).expect("allocate");
    let bytes = content(&*file);
    assert_eq!(bytes.len(), 10_000, "allocate grows the length");
    assert!(bytes.starts_with(b"abc"), "allocate keeps the bytes");
    assert!(
        bytes.iter().skip(3).all(|&byte| byte == 0),
        "the rest is zero"
    );
    dir.remove_file("f").expect("remove");
}

fn check_map(dir: &dyn Directory) {
    let whole: Vec<u8> = (0..20_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let file = create(dir, "f", &whole);
    file.sync_data().expect("sync");
    if let Some(map) = file.map(20_000).expect("map") {
        assert!(map == whole, "a map equals a read");
        let part = file.map(5_000).expect("map a part").expect("a map again");
        assert!(
            whole.starts_with(&part) && part.len() == 5_000,
            "a map of a part"
        );
        let none = file.map(0).expect("map nothing").expect("a map again");
        assert!(none.is_empty(), "a map of nothing");
        fails(
            file.map(20_001),
            ErrorKind::UnexpectedEof,
            "a map beyond the end",
        );
        drop(file);
        assert!(map == whole, "a map outlives its handle");
    }
    dir.remove_file("f").expect("remove");
}

fn check_rename(dir: &dyn Directory) {
    let old = create(dir, "old", b"old");
    let new = create(dir, "new", b"new");
    dir.rename("new", "old").expect("rename over a file");
    dir.sync().expect("sync");
    assert_eq!(names(dir), ["old"], "one name is left");
    let there = dir.open("old", OpenMode::Read).expect("open");
    assert_eq!(
        content(&*there),
        b"new",
        "the name leads to the renamed file"
    );
    assert_eq!(content(&*old), b"old", "the replaced file stays readable");
    new.write_all_at(b"NEW", 0)
        .expect("a handle follows the rename");
    assert_eq!(content(&*there), b"NEW", "the same file");
    dir.rename("old", "old").expect("rename to itself");
    fails(
        dir.rename("none", "x"),
        ErrorKind::NotFound,
        "rename of nothing",
    );
    dir.remove_file("old").expect("remove");
}

fn check_remove(dir: &dyn Directory) {
    let file = create(dir, "f", b"still here");
    dir.remove_file("f").expect("remove");
    dir.sync().expect("sync");
    assert!(names(dir).is_empty(), "the name is gone");
    assert_eq!(
        content(&*file),
        b"still here",
        "an open handle stays readable"
    );
    file.write_all_at(b"S", 0).expect("and writable");
    file.sync_data().expect("and can be synced");
    fails(
        dir.remove_file("f"),
        ErrorKind::NotFound,
        "remove of nothing",
    );
    let again = create(dir, "f", b"another");
    assert_eq!(
        content(&*file),
        b"Still here",
        "a new file of that name is another"
    );
    drop(again);
    dir.remove_file("f").expect("remove");
}

fn check_dirs(dir: &dyn Directory) {
    fails(
        dir.open_dir("d"),
        ErrorKind::NotFound,
        "a directory that is missing",
    );
    dir.create_dir("d").expect("create_dir");
    fails(
        dir.create_dir("d"),
        ErrorKind::AlreadyExists,
        "create_dir twice",
    );
    let sub = dir.open_dir("d").expect("open_dir");
    for name in ["b", "a", "10", "9"] {
        drop(create(&*sub, name, b""));
    }
    sub.create_dir("aa").expect("create_dir");
    let list = sub.list().expect("list");
    let found: Vec<_> = list.iter().map(|e| (e.name.as_str(), e.kind)).collect();
    let expected = [
        ("10", EntryKind::File),
        ("9", EntryKind::File),
        ("a", EntryKind::File),
        ("aa", EntryKind::Directory),
        ("b", EntryKind::File),
    ];
    assert_eq!(
        found, expected,
        "a list is sorted, complete, and knows its kinds"
    );
    fails(
        dir.remove_dir("d"),
        ErrorKind::DirectoryNotEmpty,
        "remove_dir of a full one",
    );
    fails(
        sub.open_dir("a"),
        ErrorKind::NotADirectory,
        "open_dir of a file",
    );
    fails(
        sub.open("aa", OpenMode::Read),
        ErrorKind::InvalidInput,
        "open of a directory",
    );
    fails(
        sub.open("aa", OpenMode::Create),
        ErrorKind::InvalidInput,
        "Create over a directory",
    );
    assert!(sub.remove_file("aa").is_err(), "remove_file of a directory");
    assert!(sub.remove_dir("a").is_err(), "remove_dir of a file");
    sub.remove_dir("aa").expect("remove_dir");
    for name in ["b", "a", "10", "9"] {
        sub.remove_file(name).expect("remove");
    }
    sub.sync().expect("sync");
    dir.remove_dir("d").expect("remove_dir");
    dir.sync().expect("sync");
    fails(
        dir.remove_dir("d"),
        ErrorKind::NotFound,
        "remove_dir of nothing",
    );
}

fn check_names(dir: &dyn Directory) {
    let file = create(dir, "f", b"");
    for name in ["", ".", "..", "a/b", "/", "../f", "f\0", "f/"] {
        let what = format!("the name {name:?}");
        fails(
            dir.open(name, OpenMode::Create),
            ErrorKind::InvalidInput,
            &what,
        );
        fails(dir.open_dir(name), ErrorKind::InvalidInput, &what);
        fails(dir.create_dir(name), ErrorKind::InvalidInput, &what);
        fails(dir.rename(name, "g"), ErrorKind::InvalidInput, &what);
        fails(dir.rename("f", name), ErrorKind::InvalidInput, &what);
        fails(dir.remove_file(name), ErrorKind::InvalidInput, &what);
        fails(dir.remove_dir(name), ErrorKind::InvalidInput, &what);
        fails(dir.lock(name, true, ""), ErrorKind::InvalidInput, &what);
        fails(dir.lock_note(name), ErrorKind::InvalidInput, &what);
    }
    drop(file);
    dir.remove_file("f").expect("remove");
}

fn check_locks(dir: &dyn Directory) {
    fails(
        dir.lock("LOCK", false, ""),
        ErrorKind::NotFound,
        "a shared lock on nothing",
    );
    let alone = dir
        .lock("LOCK", true, "pid 1\nnode\u{1b}[31m a")
        .expect("lock");
    assert!(
        alone.is_some(),
        "an exclusive lock makes the file and takes it"
    );
    let second = dir.lock("LOCK", true, "pid 2").expect("lock");
    assert!(second.is_none(), "an exclusive lock excludes another");
    assert!(
        dir.lock("LOCK", false, "").expect("lock").is_none(),
        "and shared ones"
    );
    let note = dir.lock_note("LOCK").expect("lock_note");
    assert_eq!(
        note, "pid 1 node [31m a",
        "the note of the owner, cleaned, is left alone"
    );
    drop(alone);

    let one = dir
        .lock("LOCK", false, "ignored")
        .expect("lock")
        .expect("free again");
    let two = dir
        .lock("LOCK", false, "ignored")
        .expect("lock")
        .expect("shared locks share");
    assert!(
        dir.lock("LOCK", true, "pid 3").expect("lock").is_none(),
        "shared excludes exclusive"
    );
    drop(one);
    assert!(
        dir.lock("LOCK", true, "pid 3").expect("lock").is_none(),
        "until the last one goes"
    );
    drop(two);

    let long = "x".repeat(5_000);
    let last = dir
        .lock("LOCK", true, &long)
        .expect("lock")
        .expect("free again");
    assert_eq!(
        dir.lock_note("LOCK").expect("note").len(),
        4096,
        "notes are read to 4 KiB"
    );
    drop(last);
    let last = dir
        .lock("LOCK", true, "short")
        .expect("lock")
        .expect("free again");
    assert_eq!(
        dir.lock_note("LOCK").expect("note"),
        "short",
        "nothing of an old note is left"
    );
    drop(last);
    dir.remove_file("LOCK").expect("remove");
}

fn check_random(fs: &dyn FileSystem) {
    let (mut one, mut two) = ([0; 300], [0; 300]);
    fs.random(&mut one).expect("random");
    fs.random(&mut two).expect("random");
    assert!(one != two, "random bytes differ from call to call");
    assert!(
        one.iter().skip(290).any(|&byte| byte != 0),
        "all of the buffer is filled"
    );
    fs.random(&mut []).expect("nothing");
}

/// A new file that holds `bytes`.
fn create(dir: &dyn Directory, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = dir.open(name, OpenMode::CreateNew).expect("create a file");
    file.write_all_at(bytes, 0).expect("write a new file");
    file
}

/// All that `file` holds.
fn content(file: &dyn File) -> Vec<u8> {
    let len = file.len().expect("len");
    let mut bytes = vec![0; usize::try_from(len).expect("a small file")];
    file.read_exact_at(&mut bytes, 0).expect("read the file");
    bytes
}

fn names(dir: &dyn Directory) -> Vec<String> {
    let list = dir.list().expect("list");
    list.into_iter().map(|entry| entry.name).collect()
}

/// Expects an error of `kind`.
#[track_caller]
fn fails<T>(result: std::io::Result<T>, kind: ErrorKind, what: &str) {
    match result {
        Ok(_) => panic!("{what}: expected {kind:?}, found success"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}
