//! Names of the files and directories of a store, and which are none of ours.
//!
//! docs/format.md section 11 has the drawing. What is not ours is left alone:
//! opening and verification say that it is there.

use crate::ids::Lsn;

/// Name of the lock file.
pub(crate) const LOCK: &str = "LOCK";
/// Name of the identity file.
pub(crate) const IDENTITY: &str = "store";
/// Name of an identity that is being written.
pub(crate) const IDENTITY_TMP: &str = "store.tmp";
/// Name of a snapshot that is being written.
pub(crate) const SNAPSHOT_TMP: &str = "snapshot.tmp";
/// The directories of a store.
pub(crate) const DIRECTORIES: [&str; 4] = ["wal", "snapshot", "topics", TIMERS];

/// The directory of timer runs.
pub(crate) const TIMERS: &str = "timers";

/// Most names of one directory that a report lists.
pub(crate) const STRANGERS_MAX: usize = 100;

/// Name of the snapshot at this LSN.
pub(crate) fn snapshot_name(lsn: Lsn) -> String {
    format!("{:020}.snap", lsn.get())
}

/// The LSN that a name says, if it is a name of a snapshot.
pub(crate) fn parse_snapshot_name(name: &str) -> Option<Lsn> {
    parse_twenty_digits(name.strip_suffix(".snap")?).map(Lsn::new)
}

/// Name of the timer run with this number.
pub(crate) fn run_name(number: u64) -> String {
    format!("{number:020}.run")
}

/// The number that a name says, if it is a name of a timer run.
pub(crate) fn parse_run_name(name: &str) -> Option<u64> {
    parse_twenty_digits(name.strip_suffix(".run")?)
}

fn parse_twenty_digits(digits: &str) -> Option<u64> {
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The number of a topic or a partition that a directory's name says.
pub(crate) fn parse_number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number.to_string() == name).then_some(number)
}

/// True if the store's own directory has a file or directory of this name.
pub(crate) fn is_in_root(name: &str) -> bool {
    [LOCK, IDENTITY, IDENTITY_TMP].contains(&name) || DIRECTORIES.contains(&name)
}

/// True if the directory `snapshot` has files of this name.
pub(crate) fn is_in_snapshot(name: &str) -> bool {
    name == SNAPSHOT_TMP || parse_snapshot_name(name).is_some()
}

/// Notes on `names`, which lie in the directory at `path` (with its slash) and
/// are not ours.
pub(crate) fn note_strangers(path: &str, names: Vec<String>, notes: &mut Vec<String>) {
    let more = names.len().saturating_sub(STRANGERS_MAX);
    for name in names.into_iter().take(STRANGERS_MAX) {
        notes.push(format!("{path}{name} is not of the store; left alone"));
    }
    if more > 0 {
        notes.push(format!("{more} more in {path} are not of the store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_are_written_are_ours() {
        assert_eq!(parse_number("0"), Some(0));
        assert_eq!(parse_number("4294967295"), Some(u32::MAX));
        for name in ["", "00", "+1", "-1", "4294967296", "1 ", "x"] {
            assert_eq!(parse_number(name), None, "{name}");
        }
        let lsn = Lsn::new(4096);
        assert_eq!(parse_snapshot_name(&snapshot_name(lsn)), Some(lsn));
        assert!(is_in_snapshot(SNAPSHOT_TMP) && !is_in_snapshot("1.snap"));
        assert!(is_in_root("wal") && is_in_root(TIMERS) && !is_in_root("lock"));
        assert_eq!(parse_run_name(&run_name(u64::MAX)), Some(u64::MAX));
        for name in [
            "1.run",
            "000000000000000000001.run",
            "0000000000000000000x.run",
        ] {
            assert_eq!(parse_run_name(name), None, "{name}");
        }
        assert_eq!(parse_run_name(&snapshot_name(lsn)), None);
    }

    #[test]
    fn a_directory_full_of_strangers_is_a_short_report() {
        let mut notes = Vec::new();
        let names = (0..150).map(|n| n.to_string()).collect();
        note_strangers("topics/", names, &mut notes);
        assert_eq!(notes.len(), STRANGERS_MAX + 1);
        assert_eq!(
            notes.last().unwrap(),
            "50 more in topics/ are not of the store"
        );
    }
}
