//! The tool among other processes: locks, pipes, signals, permissions.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::store::{Store, duolog, interrupt, text};

#[test]
fn a_second_process_is_refused_and_told_who_has_the_store() {
    let store = Store::new();
    let mut producer = store.producer("produce --topic t");
    producer.send(b"one\n");
    producer.wait_for(1);
    let holder = producer.child.id().to_string();
    for line in ["topic list", "consume --topic t", "topic create u"] {
        let said = store.refused(line, 3);
        assert!(said.contains(&holder), "{line}: {said}");
    }
    assert_eq!(producer.finish(), Some(0));
    assert_eq!(store.output("consume --topic t"), b"one\n");
}

#[test]
fn a_line_does_not_wait_for_its_batch_to_fill() {
    let store = Store::new();
    let mut producer = store.producer("produce --topic t --batch 1000 --linger 1");
    for n in 1..=3 {
        producer.send(b"a line\nand half of ");
        assert_eq!(producer.wait_for(n), n);
    }
    assert_eq!(producer.finish(), Some(0));
    let half = "and half of a line\n";
    let expected = format!("a line\n{half}{half}and half of \n");
    assert_eq!(text(&store.output("consume --topic t")), expected);
}

#[test]
fn a_signal_ends_produce_in_order() {
    let store = Store::new();
    let mut producer = store.producer("produce --topic t");
    producer.send(b"one\ntwo\nhalf");
    producer.wait_for(2);
    assert_eq!(producer.interrupt(), Some(130));
    assert_eq!(store.output("consume --topic t"), b"one\ntwo\n");
    assert_eq!(store.run("verify").status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let store = Store::with_lines(&b"a line that is repeated\n".repeat(50_000));
    let mut command = store.command("consume --topic t");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 7];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(&first, b"a line ");
}

#[test]
fn lines_are_appended_although_nobody_reads_the_numbers() {
    let store = Store::new();
    let input = b"a line\n".repeat(10_000);
    let path = store.temp.path().join("lines");
    fs::write(&path, &input).unwrap();
    let line = format!("produce --topic t --acks {}", path.display());
    let mut child = store.command(&line).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(store.output("consume --topic t") == input);
}

#[test]
fn an_output_that_is_full_is_a_failure() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let store = Store::with_lines(b"one\n");
    let full = OpenOptions::new().write(true).open(full).unwrap();
    let mut command = store.command("consume --topic t");
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("standard output"), "{stderr}");
}

#[test]
fn following_prints_what_others_append_later() {
    let store = Store::with_lines(b"before\n");
    let mut command = store.command("consume --topic t --follow");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "before");
    for n in 0..3 {
        let line = format!("after {n}");
        let output = store.run_with("produce --topic t", line.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(lines.next().unwrap().unwrap(), line);
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(lines.next().is_none());
}

#[test]
fn following_ends_at_its_limit() {
    let store = Store::with_lines(b"one\ntwo\n");
    let output = store.output("consume --topic t --follow --limit 2");
    assert_eq!(output, b"one\ntwo\n");
}

/// All files and directories under `dir`.
fn set_writable(dir: &Path, writable: bool) {
    let (dir_mode, file_mode) = if writable {
        (0o700, 0o600)
    } else {
        (0o500, 0o400)
    };
    fs::set_permissions(dir, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            set_writable(&path, writable);
        } else {
            fs::set_permissions(&path, Permissions::from_mode(file_mode)).unwrap();
        }
    }
    fs::set_permissions(dir, Permissions::from_mode(dir_mode)).unwrap();
}

#[test]
fn a_store_that_may_not_be_written_can_be_read() {
    let store = Store::with_lines(b"one\n");
    set_writable(&store.dir(), false);
    // Permissions do not hold the superuser back.
    let bound = fs::write(store.dir().join("probe"), b"").is_err();
    let read = store.run("consume --topic t");
    let verified = store.run("verify");
    let written = store.run_with("produce --topic t", b"two\n");
    set_writable(&store.dir(), true);
    assert_eq!(text(&read.stdout), "one\n", "{}", text(&read.stderr));
    if bound {
        assert_eq!(verified.status.code(), Some(0));
        assert_eq!(written.status.code(), Some(3));
        let stderr = text(&written.stderr);
        assert!(stderr.contains("ermission denied"), "{stderr}");
    }
}

#[test]
fn a_wrong_command_line_is_not_taken_for_damage() {
    for line in ["", "verify --nonsense", "produce", "bench append --size 1x"] {
        let output = duolog(line).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{line}");
    }
    for line in ["--help", "--version", "produce --help", "help topic create"] {
        let output = duolog(line).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(!output.stdout.is_empty(), "{line}");
    }
}
