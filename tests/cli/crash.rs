//! What was acknowledged is still there after `kill -9`.

use std::io::Write;
use std::thread;

use crate::store::Store;

/// Lines that say where in the input they are.
fn numbered(lines: u64) -> Vec<u8> {
    let lines = (0..lines).map(|n| format!("line {n} of many, with something to tell it by\n"));
    lines.collect::<String>().into_bytes()
}

/// Kills a producer once it acknowledged `after` lines; returns the number of
/// lines acknowledged, and what is found afterwards.
fn kill_in_the_middle(line: &str, input: &[u8], after: u64) -> (u64, Vec<u8>) {
    let store = Store::new();
    let mut producer = store.producer(line);
    let mut lines = producer.take_lines();
    let acknowledged = thread::scope(|scope| {
        // Ends when the producer does.
        scope.spawn(move || lines.write_all(input).ok());
        let seen = producer.wait_for(after);
        producer.kill().max(seen)
    });
    (acknowledged, store.output("consume --topic t"))
}

#[test]
fn acknowledged_lines_survive_a_kill_as_an_exact_prefix() {
    let input = numbered(2_000_000);
    for (flags, after) in [
        ("--batch 1", 50),
        ("--batch 7", 700),
        ("--batch 100", 100),
        ("--batch 100 --compress lz4", 5_000),
        ("--batch 1000", 50_000),
    ] {
        let line = format!("produce --topic t {flags}");
        let (acknowledged, found) = kill_in_the_middle(&line, &input, after);
        let lines = found.split_inclusive(|byte| *byte == b'\n').count();
        let lines = u64::try_from(lines).unwrap();
        assert!(input.starts_with(&found), "{flags}: not a prefix");
        assert!(found.ends_with(b"\n"), "{flags}: half a line");
        assert!(
            lines >= acknowledged,
            "{flags}: {acknowledged} acknowledged, {lines} found"
        );
    }
}

#[test]
fn a_store_goes_on_where_it_was_killed() {
    let store = Store::new();
    let mut expected = Vec::new();
    for n in 0..4 {
        let mut producer = store.producer("produce --topic t");
        let line = format!("round {n}\n");
        producer.send(line.as_bytes());
        producer.wait_for(1);
        producer.kill();
        expected.extend_from_slice(line.as_bytes());
        assert_eq!(store.output("consume --topic t"), expected);
    }
    let code = store.run("verify").status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}
