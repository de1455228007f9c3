//! Tests of what only an operating system has.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use crate::io::{Directory, EntryKind, FileSystem, OpenMode, OsFileSystem, conformance};

const MODES: [OpenMode; 4] = [
    OpenMode::Read,
    OpenMode::Write,
    OpenMode::CreateNew,
    OpenMode::Create,
];

fn store() -> (TempDir, PathBuf, Arc<dyn Directory>) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("store");
    let dir = OsFileSystem::new().open_root(&path, true).unwrap();
    (temp, path, dir)
}

fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_operating_system_conforms() {
    let temp = tempfile::tempdir().unwrap();
    conformance::check(&OsFileSystem::new(), &temp.path().join("missing/store"));
}

#[test]
fn a_symbolic_link_is_never_followed() {
    let (temp, path, dir) = store();
    let target = temp.path().join("target");
    let outside = OsFileSystem::new().open_root(temp.path(), false).unwrap();
    drop(outside.open("target", OpenMode::CreateNew).unwrap());
    symlink(&target, path.join("to-file")).unwrap();
    symlink(temp.path(), path.join("to-dir")).unwrap();
    symlink("nowhere", path.join("dangling")).unwrap();
    for mode in MODES {
        for name in ["to-file", "to-dir", "dangling"] {
            let error = dir.open(name, mode).unwrap_err();
            if mode == OpenMode::CreateNew {
                assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{name} {mode:?}");
            } else {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name} {mode:?}");
                assert!(error.to_string().contains("symbolic link"), "{error}");
            }
        }
    }
    let error = dir.open_dir("to-dir").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADirectory);
    let error = dir.lock("to-file", true, "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        dir.list()
            .unwrap()
            .iter()
            .all(|e| e.kind == EntryKind::Other)
    );
    // The name itself can be removed; what it leads to stays.
    dir.remove_file("to-file").unwrap();
    assert!(target.exists());
}

#[test]
fn a_fifo_is_refused_without_waiting_on_it() {
    let (_temp, path, dir) = store();
    mkfifoat(CWD, path.join("fifo"), Mode::RWXU).unwrap();
    for mode in [OpenMode::Read, OpenMode::Write, OpenMode::Create] {
        let error = dir.open("fifo", mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{mode:?}");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
    assert_eq!(dir.list().unwrap()[0].kind, EntryKind::Other);
}

#[test]
fn a_socket_is_refused() {
    let (_temp, path, dir) = store();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("s")).unwrap();
    let error = dir.open("s", OpenMode::Read).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_root_that_others_may_write_to_is_refused() {
    let (_temp, path, _dir) = store();
    for mode in [0o770, 0o702, 0o777] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let error = OsFileSystem::new().open_root(&path, true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{mode:o}");
        assert!(error.to_string().contains("group or others"), "{error}");
        assert_eq!(
            mode_of(&path),
            mode,
            "it is not changed behind the user's back"
        );
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    OsFileSystem::new().open_root(&path, true).unwrap();
}

#[test]
fn a_root_may_be_reached_through_a_symbolic_link() {
    let (temp, path, dir) = store();
    dir.create_dir("inside").unwrap();
    symlink(&path, temp.path().join("link")).unwrap();
    for create in [false, true] {
        let same = OsFileSystem::new()
            .open_root(&temp.path().join("link"), create)
            .unwrap();
        assert_eq!(same.list().unwrap(), dir.list().unwrap());
    }
}

/// The umask belongs to the process, so this test runs itself in another one.
#[test]
fn modes_do_not_depend_on_the_umask() {
    let name = "io::blocking::tests::modes_under_a_umask";
    for umask in ["000", "022", "277"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored"])
            .env("DUOLOG_TEST_UMASK", umask)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "umask {umask}: {text}");
        assert!(text.contains("1 passed"), "umask {umask}: {text}");
    }
}

#[test]
#[ignore = "changes the umask: run by modes_do_not_depend_on_the_umask"]
fn modes_under_a_umask() {
    let temp = tempfile::tempdir().unwrap();
    let umask = std::env::var("DUOLOG_TEST_UMASK").unwrap();
    let umask = u32::from_str_radix(&umask, 8).unwrap();
    rustix::process::umask(Mode::from_raw_mode(umask));
    let path = temp.path().join("a/b");
    let dir = OsFileSystem::new().open_root(&path, true).unwrap();
    dir.create_dir("sub").unwrap();
    drop(dir.open("new", OpenMode::CreateNew).unwrap());
    drop(dir.open("either", OpenMode::Create).unwrap());
    drop(dir.lock("LOCK", true, "me").unwrap().unwrap());
    for name in ["", "../../a", "sub"] {
        assert_eq!(mode_of(&path.join(name)), 0o700, "{name:?}");
    }
    for name in ["new", "either", "LOCK"] {
        assert_eq!(mode_of(&path.join(name)), 0o600, "{name:?}");
    }
}

#[test]
fn the_mode_of_a_file_that_was_there_is_left_alone() {
    let (_temp, path, dir) = store();
    drop(dir.open("f", OpenMode::CreateNew).unwrap());
    std::fs::set_permissions(path.join("f"), PermissionsExt::from_mode(0o640)).unwrap();
    drop(dir.open("f", OpenMode::Create).unwrap());
    assert_eq!(mode_of(&path.join("f")), 0o640);
}

#[test]
fn allocated_space_is_really_there() {
    let (_temp, path, dir) = store();
    let file = dir.open("f", OpenMode::CreateNew).unwrap();
    file.allocate(1 << 20).unwrap();
    let blocks = std::fs::metadata(path.join("f")).unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks");
}

#[test]
fn an_allocation_that_fails_leaves_the_length_alone() {
    let (_temp, _path, dir) = store();
    let file = dir.open("f", OpenMode::CreateNew).unwrap();
    file.write_all_at(b"abc", 0).unwrap();
    // More than any disk has.
    file.allocate(1 << 60).unwrap_err();
    assert_eq!(file.len().unwrap(), 3);
}
