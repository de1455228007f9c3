//! What a power cut may and may not leave.

use super::*;

#[test]
fn synced_bytes_survive_every_power_cut() {
    let (disk, _dir, file) = with_log(&[7; 3 * PAGE]);
    file.write_all_at(&vec![9; 5 * PAGE], to_end(3)).unwrap();
    for seed in 0..500 {
        let image = disk.crash(Crash::Seeded(seed));
        assert_eq!(
            image.read_file(LOG)[..3 * PAGE],
            [7; 3 * PAGE],
            "seed {seed}"
        );
    }
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, LOG).len(), 1);
}

#[test]
fn an_unsynced_write_is_lost_or_kept_page_by_page_in_any_order() {
    let (disk, _dir, file) = with_log(&[0; 3 * PAGE]);
    file.write_all_at(&[1; 3 * PAGE], 0).unwrap();
    assert_eq!(
        disk.pending(),
        [
            "/data/log: write 0..4096",
            "/data/log: write 4096..8192",
            "/data/log: write 8192..12288"
        ]
    );
    let seen = outcomes(&disk, LOG);
    assert_eq!(seen.len(), 8, "all subsets of three pages");
    for bytes in seen.into_iter().flatten() {
        for page in bytes.chunks(PAGE) {
            assert!(page.iter().all(|&byte| byte == page[0]), "pages stay whole");
        }
    }
    // The third page without the first: a reordered write.
    let image = disk.crash(Crash::Subset(0b100));
    assert_eq!(image.read_file(LOG)[2 * PAGE - 1..=2 * PAGE], [0, 1]);
}

#[test]
fn a_smaller_unit_tears_within_a_page() {
    let (disk, _dir, file) = with_log(&[0; PAGE]);
    let disk = disk.with_unit_len(512);
    file.write_all_at(&[1; 1000], 500).unwrap();
    assert_eq!(
        disk.pending(),
        [
            "/data/log: write 0..512",
            "/data/log: write 512..1024",
            "/data/log: write 1024..1536"
        ]
    );
    let bytes = disk.crash(Crash::Subset(0b101)).read_file(LOG);
    assert_eq!(bytes[499..513], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]);
    assert_eq!(bytes[1023..1025], [0, 1]);
    assert_eq!(bytes[1499..1501], [1, 0]);
}

#[test]
fn length_and_data_survive_apart() {
    let (disk, _dir, file) = with_log(b"");
    file.write_all_at(&[1; 100], 0).unwrap();
    let seen = outcomes(&disk, LOG);
    let expected = [Vec::new(), vec![0; 100], vec![1; 100]].map(Some);
    assert_eq!(seen, BTreeSet::from(expected), "none, length only, all");
}

#[test]
fn a_lost_growth_hides_what_was_written_beyond_it() {
    let (disk, _dir, file) = with_log(b"");
    file.write_all_at(&[1; 100], 0).unwrap();
    // Data kept, length lost; then somebody extends the file again.
    let image = disk.crash(Crash::Subset(0b01));
    let dir = image.open_root(Path::new("/data"), false).unwrap();
    let file = dir.open("log", OpenMode::Write).unwrap();
    assert_eq!(file.len().unwrap(), 0);
    file.set_len(100).unwrap();
    assert_eq!(image.read_file(LOG), [0; 100]);
}

#[test]
fn a_page_is_written_back_as_it_is_in_the_cache() {
    let (disk, _dir, file) = with_log(&[0; PAGE]);
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b"second", 5).unwrap();
    let heads: BTreeSet<_> = outcomes(&disk, LOG)
        .into_iter()
        .flatten()
        .map(|bytes| bytes[..11].to_vec())
        .collect();
    let expected = [&[0; 11], b"first\0\0\0\0\0\0", b"firstsecond"];
    assert_eq!(heads, BTreeSet::from(expected.map(|head| head.to_vec())));
}

#[test]
fn an_unsynced_cut_may_come_undone() {
    let (disk, _dir, file) = with_log(b"0123456789");
    file.set_len(4).unwrap();
    let seen = outcomes(&disk, LOG);
    let expected = [b"0123".to_vec(), b"0123456789".to_vec()].map(Some);
    assert_eq!(seen, BTreeSet::from(expected));
    file.sync_data().unwrap();
    assert_eq!(disk.crash(Crash::NothingUnsynced).read_file(LOG), b"0123");
}

#[test]
fn seeded_cuts_tear_overwrites_only_into_old_and_new() {
    let (disk, _dir, file) = with_log(&[1; 4 * PAGE]);
    file.write_all_at(&[2; 4 * PAGE], 0).unwrap();
    let mut torn = 0;
    for seed in 0..300 {
        let bytes = disk.crash(Crash::Seeded(seed)).read_file(LOG);
        assert_eq!(bytes.len(), 4 * PAGE, "seed {seed}");
        for page in bytes.chunks(PAGE) {
            for sector in page.chunks(512) {
                let whole = sector.iter().all(|&byte| byte == sector[0]);
                assert!(whole && matches!(sector[0], 1 | 2), "seed {seed}");
            }
            torn += usize::from(page.iter().any(|&byte| byte != page[0]));
        }
    }
    assert!(torn > 50, "{torn} torn pages of 1200");
}

#[test]
fn seeded_cuts_leave_zeros_garbage_and_stale_pages_where_nothing_was_durable() {
    let (disk, _dir, file) = with_log(&[1; PAGE]);
    file.write_all_at(&[2; 2 * PAGE], to_end(1)).unwrap();
    let (mut zeros, mut garbage, mut stale, mut new, mut short) = (0, 0, 0, 0, 0);
    for seed in 0..1000 {
        let bytes = disk.crash(Crash::Seeded(seed)).read_file(LOG);
        assert_eq!(bytes[..PAGE], [1; PAGE], "seed {seed}");
        short += u32::from(bytes.len() == PAGE);
        for sector in bytes[PAGE..].chunks(512) {
            match sector {
                [0, .., 0] => zeros += 1,
                [1, .., 1] => stale += 1,
                [2, .., 2] => new += 1,
                _ => garbage += 1,
            }
        }
    }
    for (what, times) in [
        ("zeros", zeros),
        ("garbage", garbage),
        ("stale", stale),
        ("new", new),
        ("length lost", short),
    ] {
        assert!(times > 50, "{what}: {times} times in 1000 images");
    }
}

#[test]
fn a_hole_that_was_durable_never_holds_garbage() {
    let (disk, _dir, file) = with_log(b"");
    file.set_len(to_end(4)).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[2; 2 * PAGE], to_end(1)).unwrap();
    for seed in 0..500 {
        let bytes = disk.crash(Crash::Seeded(seed)).read_file(LOG);
        assert_eq!(bytes.len(), 4 * PAGE);
        assert!(
            bytes.iter().all(|byte| matches!(byte, 0 | 2)),
            "seed {seed}"
        );
    }
}

#[test]
fn a_file_without_a_synced_name_may_be_gone() {
    let (disk, dir) = store(1);
    let file = dir.open("log", OpenMode::CreateNew).unwrap();
    file.write_all_at(b"data", 0).unwrap();
    file.sync_data().unwrap();
    let expected = BTreeSet::from([None, Some(b"data".to_vec())]);
    assert_eq!(outcomes(&disk, LOG), expected);
    dir.sync().unwrap();
    assert_eq!(outcomes(&disk, LOG).len(), 1);
}

#[test]
fn a_synced_name_may_lead_to_an_empty_file() {
    let (disk, dir) = store(1);
    let file = dir.open("log", OpenMode::CreateNew).unwrap();
    file.write_all_at(b"data", 0).unwrap();
    dir.sync().unwrap();
    assert_eq!(disk.crash(Crash::NothingUnsynced).read_file(LOG), b"");
}

#[test]
fn a_rename_is_atomic() {
    let (disk, dir, _file) = with_log(b"old");
    let tmp = dir.open("tmp", OpenMode::CreateNew).unwrap();
    tmp.write_all_at(b"new", 0).unwrap();
    tmp.sync_data().unwrap();
    dir.rename("tmp", "log").unwrap();
    let seen: BTreeSet<_> = disk
        .crash_images(8, 0, 0)
        .map(|(_, image)| (held(&image, "/data/tmp"), held(&image, LOG)))
        .collect();
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    let expected = [(None, old.clone()), (new.clone(), old), (None, new)];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_rename_kept_without_its_creation_has_the_new_name() {
    let (disk, dir) = store(1);
    drop(dir.open("a", OpenMode::CreateNew).unwrap());
    dir.rename("a", "b").unwrap();
    assert_eq!(names(&disk.crash(Crash::Subset(0b10))), ["/data/b"]);
    dir.rename("b", "c").unwrap();
    // The middle one is lost: the file has one name, not two.
    assert_eq!(names(&disk.crash(Crash::Subset(0b101))), ["/data/c"]);
}

#[test]
fn an_unsynced_removal_may_come_undone() {
    let (disk, dir, file) = with_log(b"data");
    dir.remove_file("log").unwrap();
    drop(file);
    drop(dir.open("log", OpenMode::CreateNew).unwrap());
    let seen = outcomes(&disk, LOG);
    let expected = [None, Some(Vec::new()), Some(b"data".to_vec())];
    assert_eq!(
        seen,
        BTreeSet::from(expected),
        "gone, the new one, the old one"
    );
    dir.sync().unwrap();
    assert_eq!(outcomes(&disk, LOG), BTreeSet::from([Some(Vec::new())]));
}

#[test]
fn what_lies_in_a_lost_directory_is_lost() {
    let (disk, dir) = store(1);
    dir.create_dir("sub").unwrap();
    let sub = dir.open_dir("sub").unwrap();
    let file = sub.open("f", OpenMode::CreateNew).unwrap();
    file.sync_data().unwrap();
    sub.sync().unwrap();
    assert!(names(&disk.crash(Crash::NothingUnsynced)).is_empty());
    dir.sync().unwrap();
    assert_eq!(names(&disk.crash(Crash::NothingUnsynced)), ["/data/sub/f"]);
    dir.rename("sub", "moved").unwrap();
    assert_eq!(names(&disk), ["/data/moved/f"]);
    assert_eq!(names(&disk.crash(Crash::NothingUnsynced)), ["/data/sub/f"]);
    assert_eq!(names(&disk.crash(Crash::AllUnsynced)), ["/data/moved/f"]);
}

#[test]
fn the_power_is_off_after_the_cut() {
    let (disk, dir, file) = with_log(b"data");
    disk.cut_power_at(disk.steps() + 2);
    file.write_all_at(b"D", 0).unwrap();
    let error = file.write_all_at(b"A", 1).unwrap_err();
    assert!(error.to_string().contains("power is off"), "{error}");
    assert!(disk.is_off());
    assert_eq!(disk.pending_units(), 2, "the write under way is pending");
    let off = "power is off";
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().to_string(), off);
    assert_eq!(file.len().unwrap_err().to_string(), off);
    assert_eq!(file.sync_data().unwrap_err().to_string(), off);
    assert_eq!(dir.list().unwrap_err().to_string(), off);
    assert_eq!(dir.sync().unwrap_err().to_string(), off);
    assert_eq!(
        dir.open("log", OpenMode::Read).unwrap_err().to_string(),
        off
    );
    assert_eq!(dir.lock("LOCK", true, "").unwrap_err().to_string(), off);
    let root = disk.open_root(Path::new("/data"), true);
    assert_eq!(root.unwrap_err().to_string(), off);
    assert_eq!(disk.random(&mut [0]).unwrap_err().to_string(), off);
}

#[test]
fn a_sync_that_is_cut_off_may_have_done_any_part() {
    let (disk, dir, file) = with_log(b"old!");
    file.write_all_at(b"new!", 0).unwrap();
    disk.cut_power_at(disk.steps() + 1);
    file.sync_data().unwrap_err();
    let expected = [Some(b"new!".to_vec()), Some(b"old!".to_vec())];
    assert_eq!(outcomes(&disk, LOG), BTreeSet::from(expected));
    drop((dir, file));

    let (disk, dir, _file) = with_log(b"old!");
    dir.remove_file("log").unwrap();
    disk.cut_power_at(disk.steps() + 1);
    dir.sync().unwrap_err();
    assert_eq!(outcomes(&disk, LOG).len(), 2);
}

#[test]
fn an_image_can_be_cut_again() {
    let (disk, dir, file) = with_log(b"data");
    let guard = dir.lock("LOCK", true, "me").unwrap().unwrap();
    dir.sync().unwrap();
    file.write_all_at(b"DATA", 0).unwrap();
    disk.cut_power_at(1);
    file.sync_data().unwrap_err();
    let image = disk.crash(Crash::NothingUnsynced);
    drop((guard, disk, dir, file));

    assert_eq!((image.steps(), image.pending_units()), (0, 0));
    let dir = image.open_root(Path::new("/data"), false).unwrap();
    let lock = dir.lock("LOCK", true, "you").unwrap();
    assert!(lock.is_some(), "a power cut frees locks");
    let file = dir.open("log", OpenMode::Write).unwrap();
    file.set_len(2).unwrap();
    file.sync_data().unwrap();
    image.cut_power_at(image.steps() + 1);
    file.write_all_at(b"xyz", 2).unwrap_err();
    let second = image.crash(Crash::NothingUnsynced);
    assert_eq!(second.read_file(LOG), b"da");
}

#[test]
fn few_units_are_tried_in_every_subset_and_many_by_sample() {
    let (disk, _dir, file) = with_log(&vec![0; 30 * PAGE]);
    file.write_all_at(&[1; 3 * PAGE], 0).unwrap();
    let all = disk.crash_choices(3, 10, 0);
    assert_eq!(all, (0..8).map(Crash::Subset).collect::<Vec<_>>());
    let some = disk.crash_choices(2, 10, 0);
    assert_eq!(some[..2], [Crash::NothingUnsynced, Crash::AllUnsynced]);
    assert_eq!(some.len(), 12);
    file.write_all_at(&vec![2; 27 * PAGE], to_end(3)).unwrap();
    assert_eq!(
        disk.crash_choices(u32::MAX, 10, 0).len(),
        12,
        "2^30 is too many"
    );
    assert_eq!(
        disk.crash(Crash::AllUnsynced).read_file(LOG),
        disk.read_file(LOG)
    );
}

fn to_end(pages: u64) -> u64 {
    pages * 4096
}
