//! Permissions and planted links: whose files they are, and where they lie.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use duolog::{Engine, ErrorKind, Options, Record, TopicOptions};

use crate::support::{Place, other_process, picture, says, small, topic};

const MAKE: &str = "DUOLOG_TEST_MAKE";

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).unwrap();
}

#[test]
fn a_directory_that_others_may_write_is_refused_with_the_remedy() {
    for mode in [0o770, 0o707, 0o777] {
        let place = Place::new();
        std::fs::create_dir(place.path()).unwrap();
        set_mode(&place.path(), mode);
        let before = picture(&place.path());
        says(&place.refused(small()), ErrorKind::Io, &["chmod go-w"]);
        assert_eq!(picture(&place.path()), before);
        set_mode(&place.path(), 0o755);
        place.open(small());
    }
}

#[test]
fn files_belong_to_their_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "777"] {
        let place = Place::new();
        let test = other_process("directory::makes_a_store", MAKE, &place.path());
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
            .arg(test.get_program())
            .args(test.get_args())
            .env(MAKE, place.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "umask {umask}");
        let mut files = 0;
        for path in picture(&place.path()).keys() {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(path), expected, "umask {umask}: {}", path.display());
            files += u32::from(path.is_file());
        }
        // Lock, identity, log, snapshots, segment and index.
        assert!(files >= 6, "{files}");
    }
}

#[test]
#[ignore = "the other process of the test above"]
fn makes_a_store() {
    let Some(path) = std::env::var_os(MAKE) else {
        return;
    };
    let engine = Engine::open(path, small()).unwrap();
    let options = TopicOptions::default().segment_bytes_max(4096);
    let topic = engine.create_topic("t", options).unwrap();
    for n in 0..3 {
        topic.append(&Record::new(&[n; 3000])).unwrap();
        engine.checkpoint().unwrap();
    }
    engine.close().unwrap();
}

/// A link in place of a part of the store, to what it was.
fn plant(place: &Place, name: &str) {
    let path = place.path().join(name);
    let elsewhere = place.path().with_extension(name.replace('/', "-"));
    std::fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
}

#[test]
fn a_link_in_place_of_a_part_of_the_store_is_not_followed() {
    for name in ["store", "LOCK", "wal", "snapshot", "topics"] {
        let place = Place::new();
        place.open(small()).close().unwrap();
        plant(&place, name);
        // Whoever tries takes the lock first, which leaves a note.
        let seen = || {
            let mut all = picture(place.path().parent().unwrap());
            all.remove(&place.path().join("LOCK"));
            all
        };
        let before = seen();
        for options in [small(), small().read_only(true)] {
            let error = place.refused(options);
            says(&error, ErrorKind::Io, &[name, "link"]);
        }
        assert_eq!(seen(), before, "{name}");
    }
}

#[test]
fn a_link_in_place_of_a_file_of_the_log_or_a_snapshot_is_not_followed() {
    for dir in ["wal", "snapshot"] {
        let place = Place::new();
        let engine = place.open(small());
        topic(&engine, "t").append(&Record::new("x")).unwrap();
        engine.close().unwrap();
        let entries = std::fs::read_dir(place.path().join(dir)).unwrap();
        for entry in entries.map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap();
            plant(&place, &format!("{dir}/{name}"));
        }
        let error = place.refused(small());
        says(&error, ErrorKind::Io, &[dir, "link"]);
    }
}

#[test]
fn what_cannot_be_read_or_written_is_an_error_of_the_system() {
    let place = Place::new();
    place.open(small()).close().unwrap();
    let store = place.path().join("store");
    set_mode(&store, 0);
    if std::fs::read(&store).is_ok() {
        eprintln!("skipped: this user may read everything (root?)");
        return;
    }
    says(&place.refused(small()), ErrorKind::Io, &["store"]);
    set_mode(&store, 0o600);
    set_mode(&place.path(), 0o500);
    says(&place.refused(Options::default()), ErrorKind::Io, &["data"]);
    set_mode(&place.path(), 0o700);
}
