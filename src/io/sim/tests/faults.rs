//! Faults by script, failed syncs, and a disk that is full.

use super::*;

#[test]
fn a_failed_sync_loses_the_data_and_later_syncs_do_not_mend_it() {
    let (disk, _dir, file) = with_log(b"");
    file.write_all_at(b"lost", 0).unwrap();
    disk.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO));
    let error = file.sync_data().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(FaultRule::EIO));
    assert_eq!(disk.read_file(LOG), b"lost", "it stays readable");
    assert_eq!(disk.pending_units(), 0, "and the kernel thinks it clean");
    file.sync_data().unwrap();
    assert_eq!(disk.crash(Crash::AllUnsynced).read_file(LOG), b"");
    assert_eq!(disk.fork().read_file(LOG), b"lost", "in the same boot");

    // Another page is made durable, the lost one is not.
    file.write_all_at(b"kept", 2 * 4096).unwrap();
    file.sync_data().unwrap();
    let bytes = disk.crash(Crash::AllUnsynced).read_file(LOG);
    assert_eq!(bytes.len(), 2 * PAGE + 4);
    assert_eq!(bytes[..4], [0; 4]);
    assert_eq!(bytes[2 * PAGE..], *b"kept");
}

#[test]
fn a_fork_remembers_what_a_failed_sync_lost() {
    let (disk, _dir, file) = with_log(b"");
    file.write_all_at(b"lost", 0).unwrap();
    disk.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO));
    file.sync_data().unwrap_err();
    let fork = disk.fork();
    let root = fork.open_root(Path::new("/data"), false).unwrap();
    let again = root.open("log", OpenMode::Write).unwrap();
    again.sync_data().unwrap();
    assert_eq!(fork.crash(Crash::AllUnsynced).read_file(LOG), b"");
    // Written anew, it is dirty anew.
    again.write_all_at(b"lost", 0).unwrap();
    again.set_len(0).unwrap();
    again.set_len(4).unwrap();
    again.write_all_at(b"lost", 0).unwrap();
    again.sync_data().unwrap();
    assert_eq!(fork.crash(Crash::NothingUnsynced).read_file(LOG), b"lost");
}

#[test]
fn a_failed_directory_sync_loses_the_names() {
    let (disk, dir) = store(1);
    drop(dir.open("log", OpenMode::CreateNew).unwrap());
    disk.fail(FaultRule::new(OpKind::DirSync, FaultRule::EIO));
    dir.sync().unwrap_err();
    dir.sync().unwrap();
    assert_eq!(names(&disk), [LOG]);
    assert!(names(&disk.crash(Crash::AllUnsynced)).is_empty());
}

#[test]
fn a_failed_sync_may_have_made_some_of_it_durable() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimFs::new(seed);
        disk.write_file(LOG, &[0; 2 * PAGE]);
        let dir = disk.open_root(Path::new("/data"), false).unwrap();
        let file = dir.open("log", OpenMode::Write).unwrap();
        file.write_all_at(&[1; 2 * PAGE], 0).unwrap();
        disk.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO).keep(50));
        file.sync_data().unwrap_err();
        let image = disk.crash(Crash::AllUnsynced).read_file(LOG);
        seen.insert((image[0], image[PAGE]));
    }
    assert_eq!(seen, BTreeSet::from([(0, 0), (0, 1), (1, 0), (1, 1)]));
}

#[test]
fn a_sync_that_lies_leaves_everything_to_the_power_cut() {
    let (disk, dir, file) = with_log(b"old!");
    disk.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO).lie());
    disk.fail(FaultRule::new(OpKind::DirSync, FaultRule::EIO).lie());
    file.write_all_at(b"new!", 0).unwrap();
    file.sync_data().unwrap();
    dir.rename("log", "moved").unwrap();
    dir.sync().unwrap();
    assert_eq!(disk.pending_units(), 2);
    assert_eq!(disk.crash(Crash::NothingUnsynced).read_file(LOG), b"old!");
    file.sync_data().unwrap();
    dir.sync().unwrap();
    assert_eq!(disk.pending_units(), 0, "the next sync is honest");
}

#[test]
fn a_full_disk_does_not_keep_its_owner_out() {
    let (disk, dir) = store(1);
    disk.set_capacity(Some(0));
    let lock = dir.lock("LOCK", true, "me").unwrap();
    assert!(lock.is_some());
    assert_eq!(dir.lock_note("LOCK").unwrap(), "");
    drop(lock);
    disk.set_capacity(None);
    drop(dir.lock("LOCK", true, "me again").unwrap().unwrap());
    disk.set_capacity(Some(0));
    let _lock = dir.lock("LOCK", true, "third").unwrap().unwrap();
    assert_eq!(dir.lock_note("LOCK").unwrap(), "third");
}

#[test]
fn a_root_whose_maker_died_is_made_durable_by_the_next() {
    let disk = SimFs::new(1);
    disk.cut_power_at(2);
    disk.open_root(Path::new("/data"), true).unwrap_err();
    let next = disk.fork();
    next.open_root(Path::new("/data"), true).unwrap();
    let image = next.crash(Crash::NothingUnsynced);
    image.open_root(Path::new("/data"), false).unwrap();
}

#[test]
fn a_rule_strikes_the_nth_match_of_kind_and_path() {
    let (disk, dir) = store(1);
    let a = dir.open("a", OpenMode::Create).unwrap();
    let b = dir.open("b", OpenMode::Create).unwrap();
    disk.fail(
        FaultRule::new(OpKind::Write, FaultRule::EDQUOT)
            .path("/b")
            .nth(2),
    );
    a.write_all_at(b"1", 0).unwrap();
    b.write_all_at(b"1", 0).unwrap();
    a.write_all_at(b"2", 1).unwrap();
    let error = b.write_all_at(b"2", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    b.write_all_at(b"3", 1).unwrap();
    assert_eq!(disk.read_file("/data/b"), b"13");
}

#[test]
fn a_rule_can_hold_for_ever_until_it_is_taken_back() {
    let (disk, dir, _file) = with_log(b"data");
    disk.fail(
        FaultRule::new(OpKind::Open, FaultRule::EMFILE)
            .nth(2)
            .forever(),
    );
    drop(dir.open("log", OpenMode::Read).unwrap());
    for _ in 0..3 {
        let error = dir.open("new", OpenMode::Create).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(FaultRule::EMFILE));
    }
    assert_eq!(names(&disk), [LOG], "nothing was created");
    disk.clear_faults();
    drop(dir.open("new", OpenMode::Create).unwrap());
}

#[test]
fn every_kind_of_operation_can_fail() {
    let (disk, dir, file) = with_log(b"data");
    let errno = FaultRule::ENOMEM;
    let strike = |kind| disk.fail(FaultRule::new(kind, errno));
    let check = |what: &str, error: std::io::Error| {
        assert_eq!(error.raw_os_error(), Some(errno), "{what}");
    };
    strike(OpKind::Read);
    check("read", file.read_at(&mut [0; 4], 0).unwrap_err());
    strike(OpKind::SetLen);
    check("set_len", file.set_len(0).unwrap_err());
    strike(OpKind::Allocate);
    check("allocate", file.allocate(99).unwrap_err());
    strike(OpKind::Len);
    check("len", file.len().unwrap_err());
    strike(OpKind::Map);
    check("map", file.map(1).unwrap_err());
    strike(OpKind::Create);
    check("create", dir.open("x", OpenMode::Create).unwrap_err());
    strike(OpKind::CreateDir);
    check("create_dir", dir.create_dir("x").unwrap_err());
    strike(OpKind::OpenDir);
    check("open_dir", dir.open_dir("x").unwrap_err());
    strike(OpKind::Rename);
    check("rename", dir.rename("log", "x").unwrap_err());
    strike(OpKind::Remove);
    check("remove", dir.remove_file("log").unwrap_err());
    strike(OpKind::RemoveDir);
    check("remove_dir", dir.remove_dir("x").unwrap_err());
    strike(OpKind::List);
    check("list", dir.list().unwrap_err());
    strike(OpKind::Lock);
    check("lock", dir.lock("x", true, "").unwrap_err());
    assert_eq!(disk.read_file(LOG), b"data");
    assert_eq!(names(&disk), [LOG]);
    assert_eq!(disk.pending_units(), 0, "none of them did anything");
}

#[test]
fn a_short_write_does_its_part_and_fails() {
    let (disk, _dir, file) = with_log(b"");
    disk.fail(FaultRule::new(OpKind::Write, FaultRule::ENOSPC).short(5));
    let error = file
        .write_all_vectored_at(&[b"abc", b"defg"], 0)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read_file(LOG), b"abcde");
    disk.fail(FaultRule::new(OpKind::Read, 0).short(2));
    let mut buf = [0; 5];
    assert_eq!(
        file.read_at(&mut buf, 0).unwrap(),
        2,
        "a short read is no error"
    );
    disk.fail(FaultRule::new(OpKind::Read, 0).short(2));
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"abcde");
}

#[test]
fn a_full_disk_takes_overwrites_and_nothing_else() {
    let (disk, dir, file) = with_log(&[1; 2 * PAGE]);
    disk.set_capacity(Some(3 * 4096));
    file.write_all_at(&[2; 2 * PAGE], 0).unwrap();
    let error = file.write_all_at(&[3; 2 * PAGE], 2 * 4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 3 * 4096, "what fits is written");
    let error = file.allocate(4 * 4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 3 * 4096);
    file.set_len(100 * 4096).unwrap();
    assert_eq!(disk.used_bytes(), 3 * 4096, "a hole takes no space");
    file.write_all_at(&[4; 3 * PAGE], 0).unwrap();

    let other = dir.open("other", OpenMode::CreateNew).unwrap();
    other.write_all_at(b"x", 0).unwrap_err();
    file.set_len(2 * 4096).unwrap();
    other.write_all_at(b"x", 0).unwrap();
    disk.set_capacity(None);
    other.allocate(1 << 20).unwrap();
    assert_eq!(disk.used_bytes(), 2 * 4096 + (1 << 20));
}

#[test]
fn allocated_space_can_be_written_on_a_full_disk() {
    let (disk, _dir, file) = with_log(b"");
    disk.set_capacity(Some(4 * 4096));
    file.allocate(4 * 4096).unwrap();
    file.sync_data().unwrap();
    let image = disk.crash(Crash::NothingUnsynced);
    let root = image.open_root(Path::new("/data"), false).unwrap();
    let file = root.open("log", OpenMode::Write).unwrap();
    file.write_all_at(&[1; 4 * PAGE], 0).unwrap();
    file.write_all_at(b"x", 4 * 4096).unwrap_err();
}

#[test]
fn a_wild_position_is_an_error_and_not_a_request_for_memory() {
    let (_disk, _dir, file) = with_log(b"");
    for position in [u64::MAX, u64::MAX - 1, 1 << 60] {
        let error = file.write_all_at(b"xy", position).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(file.set_len(position).is_err());
        assert!(file.allocate(position).is_err());
    }
    assert_eq!(file.read_at(&mut [0; 4], u64::MAX).unwrap(), 0);
}
