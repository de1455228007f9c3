//! What verification says of the log and what opening does with it, compared
//! for damage at every block of it.

use super::engine::{live, open, verify};
use super::*;

/// What became of a store, in the words of both.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Cut(u64),
    Refused,
    Unsupported,
}

fn said(disk: &SimFs) -> (Verdict, String) {
    match verify(disk) {
        Ok(report) => {
            let verdict = match report.outcome() {
                Outcome::Clean => Verdict::Clean,
                Outcome::Torn => Verdict::Cut(report.torn_bytes),
                Outcome::Corrupt => Verdict::Refused,
            };
            (verdict, report.to_string())
        }
        Err(error) => (of_error(&error), error.to_string()),
    }
}

fn did(disk: &SimFs) -> (Verdict, String) {
    let before = disk.list_files();
    match open(disk) {
        Ok(engine) => {
            let verdict = match engine.recovery().torn_bytes {
                0 => Verdict::Clean,
                bytes => Verdict::Cut(bytes),
            };
            (verdict, format!("{:?}", engine.recovery()))
        }
        Err(error) => {
            assert_eq!(disk.list_files(), before, "refused, and changed: {error}");
            (of_error(&error), error.to_string())
        }
    }
}

fn of_error(error: &crate::Error) -> Verdict {
    match error.kind() {
        ErrorKind::Corrupt => Verdict::Refused,
        ErrorKind::Unsupported => Verdict::Unsupported,
        kind => panic!("{kind:?}: {error}"),
    }
}

#[track_caller]
fn agree(disk: &SimFs, context: &str) -> Verdict {
    let (said, report) = said(disk);
    let (did, outcome) = did(disk);
    assert_eq!(said, did, "{context}\n{report}\n{outcome}");
    did
}

/// A store that was killed, with several files of the log; files of the log,
/// with how much of them is not zeros.
fn killed() -> (SimFs, Vec<(String, Vec<u8>)>) {
    let disk = SimFs::new(1);
    live(&disk, &mut 0).unwrap();
    let files = disk.list_files().into_iter().map(|(path, _)| path);
    let log = files.filter(|path| path.starts_with("/store/wal/"));
    let log = log.map(|path| {
        let bytes = disk.read_file(&path);
        (path, bytes)
    });
    let log = log.collect();
    (disk, log)
}

/// Calls `damage` for every block of the log that is not all zeros, and for
/// the first one after those; counts what came of it.
fn each_block(damage: impl Fn(&mut [u8])) -> [u32; 3] {
    let (whole, log) = killed();
    let mut counts = [0; 3];
    for (path, bytes) in &log {
        let used = bytes.iter().rposition(|byte| *byte != 0);
        let used = used.map_or(0, |last| last + 1).next_multiple_of(4096);
        for at in (0..bytes.len().min(used + 4096)).step_by(4096) {
            let disk = whole.fork();
            let mut bytes = bytes.clone();
            damage(&mut bytes[at..at + 4096]);
            disk.write_file(path, &bytes);
            match agree(&disk, &format!("block at {at} of {path}")) {
                Verdict::Clean => counts[0] += 1,
                Verdict::Cut(_) => counts[1] += 1,
                Verdict::Refused | Verdict::Unsupported => counts[2] += 1,
            }
        }
    }
    counts
}

#[test]
fn of_a_flipped_bit_in_any_block_of_the_log_both_say_the_same() {
    for byte in [0, 5, 9, 20, 25, 29, 40, 300, 4095] {
        let [clean, cut, refused] = each_block(|block| block[byte] ^= 4);
        assert!(clean > 0, "byte {byte}: spares and old files do not count");
        if byte < 32 {
            assert!(cut > 0 && refused > 0, "byte {byte}: {cut}, {refused}");
        }
    }
}

#[test]
fn of_any_block_of_the_log_that_became_zeros_both_say_the_same() {
    let [clean, _, refused] = each_block(|block| block.fill(0));
    assert!(clean > 0 && refused > 0);
}

#[test]
fn of_any_block_of_the_log_that_is_garbage_or_half_written_both_say_the_same() {
    each_block(|block| block.fill(0xa5));
    each_block(|block| block[512..].fill(0));
    each_block(|block| block[..512].fill(0));
    each_block(|block| block[16..].fill(0));
}

#[test]
fn of_a_log_cut_short_or_gone_both_say_the_same() {
    let (whole, log) = killed();
    for (path, bytes) in &log {
        for len in (0..bytes.len()).step_by(4096 + 512) {
            let disk = whole.fork();
            disk.write_file(path, &bytes[..len]);
            agree(&disk, &format!("{path} cut to {len}"));
        }
        let disk = whole.fork();
        disk.remove(path);
        agree(&disk, &format!("{path} gone"));
        for (other, _) in &log {
            let disk = whole.fork();
            disk.write_file(other, bytes);
            agree(&disk, &format!("{path} copied to {other}"));
        }
    }
}

/// Symptom: a file of another store's log, where this one goes on, was removed
/// by the next open to make room. Cause: whatever had no header of this store
/// was taken for a first write that was torn. Fix: it is damage.
#[test]
fn a_file_of_another_store_where_the_log_goes_on_is_refused_and_kept() {
    let (disk, log) = killed();
    let last = log.len();
    let foreign = WalHeader {
        store: StoreId::new([9; 16]),
        sequence: 900,
        base: Lsn::new(1 << 20),
        blocks: 2,
    };
    let mut bytes = foreign.encode().to_vec();
    bytes.resize(8192, 0);
    let path = "/store/wal/00000000000000000900.wal";
    disk.write_file(path, &bytes);
    assert!(last > 1, "several files");
    assert_eq!(agree(&disk, "a foreign file"), Verdict::Refused);
    assert_eq!(disk.read_file(path), bytes);
}
