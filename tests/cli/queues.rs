//! Queues: made and altered, messages in and out, looked at, moved.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::store::{Store, duolog, interrupt, text};

impl Store {
    /// A store whose queue `q` was made with `flags`.
    fn with_queue(flags: &str) -> Self {
        let store = Self::new();
        store.output(&format!("queue create q {flags}"));
        store
    }

    /// A store whose queue `q` hands every failed message to the queue `dead`.
    fn with_dead_letters() -> Self {
        let store = Self::new();
        store.output("queue create dead");
        store.output("queue create q --dead-letter dead --max-deliveries 1");
        store
    }

    /// Sends the lines of `input` to the queue `q`.
    fn send(&self, flags: &str, input: &[u8]) {
        let output = self.run_with(&format!("send -q q {flags}"), input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }

    fn describe(&self, queue: &str) -> Value {
        let line = format!("queue describe {queue} --json");
        self.json(&line).remove(0)
    }

    /// One field of all messages of a queue.
    fn browse(&self, queue: &str, flags: &str, field: &str) -> Vec<String> {
        let messages = self.json(&format!("queue browse {queue} --json {flags}"));
        let get = |message: &Value| message[field].as_str().unwrap().to_owned();
        messages.iter().map(get).collect()
    }

    /// Runs the tool, which must succeed, and returns its standard error.
    fn said(&self, line: &str) -> String {
        let output = self.run(line);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        stderr
    }
}

/// Lines that say where in the input they are.
fn numbered(lines: u64) -> Vec<u8> {
    let lines = (0..lines).map(|n| format!("message {n} of many\n"));
    lines.collect::<String>().into_bytes()
}

fn count(lines: &[u8]) -> usize {
    lines.split(|byte| *byte == b'\n').count() - 1
}

#[test]
fn a_queue_is_made_with_the_options_that_were_asked_for() {
    let store = Store::new();
    store.output("queue create dead");
    store.output(
        "queue create q --shards 4 --priority-max 3 --durability buffered --compress lz4 \
         --message-bytes-max 64KiB --lease 1m --max-deliveries 5 --dead-letter dead \
         --backoff 1s,2,1m,0.2 --ttl 7d --length-max 1000 --overflow drop-oldest \
         --dedup-window 5m --single-active --segment-bytes 1MiB",
    );
    let queue = store.describe("q");
    for (field, value) in [
        ("name", json!("q")),
        ("shards", json!(4)),
        ("priority_max", json!(3)),
        ("durability", json!("buffered")),
        ("codec", json!("lz4")),
        ("message_bytes_max", json!(64 << 10)),
        ("lease_ms", json!(60_000)),
        ("max_deliveries", json!(5)),
        ("dead_letter", json!("dead")),
        (
            "backoff",
            json!({"base_ms": 1000, "factor": 2.0, "cap_ms": 60_000, "jitter": 0.2}),
        ),
        ("ttl_ms", json!(604_800_000)),
        ("length_max", json!(1000)),
        ("overflow", json!("drop-oldest")),
        ("dedup_window_ms", json!(300_000)),
        ("single_active", json!(true)),
        ("segment_bytes_max", json!(1 << 20)),
        ("ready", json!(0)),
        ("topic", json!(null)),
    ] {
        assert_eq!(queue[field], value, "{field}");
    }
    let shown = text(&store.output("queue describe q"));
    for part in ["1s, times 2 each time, up to 1m, jitter 0.2", "7d", "ready"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn altering_a_queue_changes_what_is_given_and_nothing_else() {
    let store = Store::with_dead_letters();
    let mut expected = store.describe("q");
    store.output("queue alter q --lease 5s --max-deliveries none --backoff 1s");
    let found = store.describe("q");
    expected["lease_ms"] = json!(5000);
    expected["max_deliveries"] = Value::Null;
    expected["backoff"] = json!({"base_ms": 1000, "factor": 1.0, "cap_ms": 1000, "jitter": 0.0});
    expected["memory_bytes"] = found["memory_bytes"].clone();
    assert_eq!(found, expected);
    for (flags, part) in [
        ("", "at least one option"),
        ("--shards 2", "cannot be altered"),
        ("--max-deliveries 2 --dead-letter none", "dead_letter"),
        ("--dead-letter nowhere", "nowhere"),
        ("--dead-letter q", "q -> q"),
    ] {
        let said = store.refused(&format!("queue alter q {flags}"), 3);
        assert!(said.contains(part), "{flags}: {said}");
    }
    expected["memory_bytes"] = store.describe("q")["memory_bytes"].clone();
    assert_eq!(store.describe("q"), expected);
}

#[test]
fn queues_are_listed_by_name_until_they_are_deleted() {
    let store = Store::with_dead_letters();
    store.send("", b"one\ntwo\n");
    let names = || -> Vec<Value> {
        let queues = store.json("queue list --json");
        queues.iter().map(|queue| queue["name"].clone()).collect()
    };
    assert_eq!(names(), ["dead", "q"]);
    let table = text(&store.output("queue list"));
    assert!(table.starts_with("NAME"), "{table}");
    assert!(table.contains(" ago "), "{table}");
    assert_eq!(store.json("queue list --json")[1]["ready"], 2);
    let said = store.refused("queue delete dead", 3);
    assert!(said.contains("\"q\""), "{said}");
    store.output("queue delete q");
    assert_eq!(names(), ["dead"]);
    assert!(store.refused("queue delete q", 3).contains("\"q\""));
    assert!(store.refused("queue create dead", 3).contains("already"));
}

#[test]
fn what_is_not_there_is_named() {
    let lines = |queue: &str| {
        [
            format!("queue describe {queue}"),
            format!("queue alter {queue} --lease 1s"),
            format!("queue delete {queue}"),
            format!("queue purge {queue}"),
            format!("queue browse {queue}"),
            format!("queue peek {queue} 0-0"),
            format!("queue cancel {queue} 0-0"),
            format!("queue redrive {queue}"),
            format!("queue move {queue} --to {queue}"),
            format!("receive --queue {queue}"),
            format!("receive --queue {queue} --ack"),
            format!("send --queue {queue} --no-create"),
            format!("queue subscribe s --topic {queue}"),
        ]
    };
    let store = Store::new();
    let dir = store.dir().display().to_string();
    for line in lines("jobs") {
        let said = store.refused(&line, 3);
        assert!(said.contains(&dir), "{line}: {said}");
        assert!(!store.dir().exists(), "{line} made a store");
    }
    let store = Store::with_queue("");
    for line in lines("jobs") {
        let said = store.refused(&line, 3);
        assert!(said.contains("\"jobs\""), "{line}: {said}");
    }
    assert_eq!(store.json("queue list --json").len(), 1);
}

#[test]
fn a_wrong_command_line_says_what_is_right() {
    for (line, part) in [
        ("queue create q --backoff 1s,x", "1s,2,1m"),
        ("queue create q --overflow burst", "drop-oldest"),
        ("queue create q --ttl soon", "7d"),
        ("queue create q --max-deliveries many", "none"),
        ("queue subscribe s -t t --filter !a=b", "name^=start"),
        ("queue peek q first", "0-1042"),
        ("queue redrive q --reason bad", "max_deliveries"),
        ("queue redrive q --rate 0", "0"),
        ("send -q q --header kind", "NAME=VALUE"),
        ("receive -q q --ack --nack", "--nack"),
        ("receive -q q --delay 1s", "--nack"),
        ("receive -q q --follow", "--ack"),
        ("receive -q q --max 0", "0"),
    ] {
        let output = duolog(line).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{line}: {said}");
        assert!(said.contains(part), "{line}: {said}");
    }
}

#[test]
fn lines_that_were_sent_are_the_lines_that_are_received() {
    let mut input = b"one\n\n  two \r\n\xff\x00\xfe\n".to_vec();
    for n in 0..2000 {
        input.extend_from_slice(format!("line {n}\n").as_bytes());
    }
    for flags in ["", "--batch 1", "--batch 7", "--durability buffered"] {
        let store = Store::new();
        store.send(flags, &input);
        let output = store.run("receive -q q --ack");
        assert!(output.stdout == input, "{flags}");
        let said = text(&output.stderr);
        assert!(said.contains("2,004 messages acknowledged"), "{said}");
        let output = store.run("receive -q q --ack");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), "", "{flags}: they are gone");
        assert!(text(&output.stderr).contains("nothing to receive"));
    }
}

#[test]
fn messages_that_are_only_shown_stay_as_they_are() {
    let store = Store::new();
    store.send("--header kind=a -k :", b"k:one\nk:two\nthree\xff\n");
    for _ in 0..2 {
        // The second message with a key waits for the first.
        assert_eq!(store.output("receive -q q"), b"one\nthree\xff\n");
        let messages = store.json("receive -q q --json");
        assert_eq!(messages[0]["id"], "0-0");
        assert_eq!(messages[0]["deliveries"], 1);
        assert_eq!(messages[0]["order_key"], "k");
        assert_eq!(messages[0]["body"], "one");
        let headers = json!([{"name": "kind", "value": "a"}]);
        assert_eq!(messages[0]["headers"], headers);
        assert_eq!(messages[1]["order_key"], Value::Null);
        assert_eq!(messages[1]["body_base64"], "dGhyZWX/");
    }
    assert_eq!(store.output("receive -q q -k = --max 1"), b"k=one\n");
    assert_eq!(store.output("receive -q q --ack"), b"one\nthree\xff\ntwo\n");
}

#[test]
fn a_message_that_is_given_back_comes_again_when_it_is_due() {
    let store = Store::new();
    store.send("", b"one\ntwo\n");
    let line = "receive -q q --max 1 --nack";
    assert_eq!(store.output(&format!("{line} --delay 1h")), b"one\n");
    let said = store.said(line);
    assert!(said.contains("1 message given back"), "{said}");
    let message = store.json("receive -q q --json").remove(0);
    assert_eq!(
        (&message["body"], &message["deliveries"]),
        (&json!("two"), &json!(2))
    );
    assert_eq!(store.browse("q", "--state delayed", "body"), ["one"]);
    assert_eq!(store.output("receive -q q --ack"), b"two\n");
    let said = store.said("receive -q q --ack");
    assert!(said.contains("1 wait for their time"), "{said}");
}

#[test]
fn dead_letters_say_why_and_go_back_where_they_came_from() {
    let store = Store::with_dead_letters();
    let lines = numbered(200);
    store.send("--header kind=a", &lines);
    // All at once, although each could come again: no line is shown twice.
    let shown = store.output("receive -q q --nack --error broken");
    assert_eq!(text(&shown), text(&lines));
    store.send("--ttl 1ms", b"late\n");
    thread::sleep(Duration::from_millis(20));
    store.output("receive -q q");

    let death = store.json("queue peek dead 0-0 --json").remove(0)["death"].clone();
    assert_eq!(
        (&death["reason"], &death["queue"]),
        (&json!("max_deliveries"), &json!("q"))
    );
    assert_eq!(
        (&death["error"], &death["count"]),
        (&json!("broken"), &json!(1))
    );
    let table = text(&store.output("queue browse dead --max 1"));
    assert!(table.contains("max_deliveries"), "{table}");
    assert_eq!(store.browse("dead", "--reason expired", "body"), ["late"]);

    let redriven = |flags: &str, moved: &str| {
        let said = store.said(&format!("queue redrive dead {flags}"));
        assert!(said.contains(moved), "{flags}: {said}");
    };
    redriven("--reason overflow", "0 messages");
    redriven("--id 0-7", "1 message");
    redriven("--max 9", "9 messages");
    redriven("--filter kind=b", "0 messages");
    let said = store.refused("queue redrive dead --id 0-7 --id 0-9", 3);
    assert!(
        said.contains("1 of 2 messages") || said.contains("2 of 2"),
        "{said}"
    );
    redriven("--reason max-deliveries --rate 1000", " messages");
    assert_eq!(store.browse("dead", "", "body"), ["late"]);
    assert_eq!(store.describe("q")["ready"], 200);
    let message = store.json("receive -q q --json --max 1").remove(0);
    assert_eq!(message["deliveries"], 1);
    let origin = json!({"name": "duolog-origin", "value": "q/0-7"});
    assert!(
        message["headers"].as_array().unwrap().contains(&origin),
        "{message}"
    );
}

#[test]
fn dead_letters_go_back_at_a_rate_until_a_signal_says_stop() {
    let store = Store::with_dead_letters();
    store.send("", &b"x\n".repeat(30));
    store.output("receive -q q --nack");
    let started = Instant::now();
    store.output("queue redrive dead --rate 5 --max 10");
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(store.describe("dead")["ready"], 20);

    // Would take 19 seconds.
    let mut command = store.command("queue redrive dead --rate 1");
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let holder = child.id().to_string();
    let lock = store.dir().join("LOCK");
    while !fs::read_to_string(&lock).unwrap().contains(&holder) {
        thread::sleep(Duration::from_millis(5));
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let left = store.describe("dead")["ready"].as_u64().unwrap();
    assert!((10..=20).contains(&left), "{left}");
}

#[test]
fn the_highest_priority_goes_first() {
    let store = Store::new();
    store.send("", b"low\n");
    store.send("--priority 9", b"high\n");
    store.send("--priority 5", b"middle\n");
    let said = {
        let output = store.run_with("send -q q --priority 10", b"over\n");
        assert_eq!(output.status.code(), Some(3));
        text(&output.stderr)
    };
    assert!(said.contains("priority_max"), "{said}");
    assert_eq!(store.json("receive -q q --json")[0]["priority"], 9);
    assert_eq!(store.output("receive -q q --ack"), b"high\nmiddle\nlow\n");
}

#[test]
fn a_delayed_message_waits_and_can_be_cancelled() {
    let store = Store::new();
    store.send("--delay 1h", b"later\nnever\n");
    let said = store.said("receive -q q --ack");
    assert!(said.contains("2 wait for their time"), "{said}");
    assert_eq!(
        store.browse("q", "--state ready", "id"),
        Vec::<String>::new()
    );
    store.output("queue cancel q 0-1");
    assert_eq!(store.browse("q", "--state delayed", "body"), ["later"]);
    let said = store.refused("queue cancel q 0-1", 3);
    assert!(said.contains("0-1"), "{said}");

    let store = Store::new();
    store.send("--delay 400ms", b"soon\n");
    assert_eq!(store.output("receive -q q --ack --wait 20s"), b"soon\n");
}

#[test]
fn messages_are_browsed_in_pages_and_peeked_at_in_full() {
    let store = Store::new();
    store.send("--header kind=a", &numbered(600));
    store.send("--header kind=b", b"odd \x1b[2J\xff\n");
    let table = store.run("queue browse q");
    assert_eq!(text(&table.stdout).lines().count(), 101);
    let said = text(&table.stderr);
    assert!(said.contains("--from 0-100"), "{said}");
    assert_eq!(store.browse("q", "--max 1000", "id").len(), 601);
    assert_eq!(
        store.browse("q", "--from 0-100 --max 1", "body"),
        ["message 100 of many"]
    );
    assert_eq!(
        store.browse("q", "--id 0-599", "body"),
        ["message 599 of many"]
    );
    assert_eq!(store.browse("q", "--filter kind=b|c", "id"), ["0-600"]);
    assert_eq!(store.browse("q", "--filter kind^=b", "id"), ["0-600"]);
    assert_eq!(
        store.browse("q", "--filter !kind", "id"),
        Vec::<String>::new()
    );
    let shown = text(&store.output("queue peek q 0-600"));
    for part in ["header kind=b", "odd \\u{1b}[2J", "state"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(
        store.output("queue peek q 0-600 --body"),
        b"odd \x1b[2J\xff"
    );
    let said = store.refused("queue peek q 0-601", 3);
    assert!(said.contains("0-601"), "{said}");
    store.refused("queue peek q 99-0", 3);
}

#[test]
fn messages_are_moved_and_purged() {
    let store = Store::with_queue("");
    store.output("queue create other");
    store.send("--header kind=a", b"1\n2\n3\n");
    store.send("--header kind=b", b"4\n");
    let said = store.said("queue move q --to other --filter kind=a --max 2");
    assert!(said.contains("moved 2 messages"), "{said}");
    assert_eq!(store.browse("other", "", "body"), ["1", "2"]);
    assert_eq!(store.browse("q", "", "body"), ["3", "4"]);
    for line in ["queue move q --to q", "queue move q --to nowhere"] {
        store.refused(line, 3);
    }
    let said = store.said("queue purge q");
    assert!(said.contains("2 messages"), "{said}");
    assert_eq!(store.describe("q")["ready"], 0);
    assert_eq!(store.output("receive -q other --ack"), b"1\n2\n");
}

#[test]
fn a_full_queue_does_what_it_was_told_to() {
    let store = Store::with_queue("--length-max 3");
    let output = store.run_with("send -q q --batch 2", b"1\n2\n3\n4\n");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("2 messages acknowledged"), "{said}");
    assert!(said.contains("length_max"), "{said}");
    store.output("queue alter q --overflow drop-oldest");
    store.send("--batch 2", b"3\n4\n");
    assert_eq!(store.browse("q", "", "body"), ["2", "3", "4"]);
}

#[test]
fn a_line_over_the_limit_is_refused_and_those_before_it_are_sent() {
    let store = Store::with_queue("--message-bytes-max 1KiB");
    let long = [b"one\n", &b"x".repeat(2000)[..], b"\ntwo\n"].concat();
    let output = store.run_with("send -q q", &long);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("line 2 is longer"), "{said}");
    assert!(said.contains("--message-bytes-max"), "{said}");
    assert_eq!(store.output("receive -q q"), b"one\n");
}

#[test]
fn a_subscription_has_the_records_of_its_topic() {
    let store = Store::with_lines(b"one\ntwo\n");
    store.output("queue subscribe all -t t --from-start --filter !kind --lease 5s");
    store.output("queue subscribe later -t t");
    store.output("queue subscribe none -t t --from-start --filter kind=a|b --filter region^=eu");
    store.run_with("produce -t t", b"three\n");
    assert_eq!(store.output("receive -q all --ack"), b"one\ntwo\nthree\n");
    assert_eq!(store.output("receive -q later --ack"), b"three\n");
    assert_eq!(store.output("receive -q none --ack"), b"");
    assert_eq!(store.output("consume -t t"), b"one\ntwo\nthree\n");
    let queue = store.describe("none");
    assert_eq!(queue["topic"], "t");
    assert_eq!(queue["filter"], json!(["kind=a|b", "region^=eu"]));
    let shown = text(&store.output("queue describe none"));
    assert!(shown.contains("kind=a|b, region^=eu"), "{shown}");
    for (line, part) in [
        ("queue subscribe s -t t --shards 2", "shards"),
        ("queue subscribe s -t all", "queue"),
        ("send -q all", ""),
        ("topic delete t", "subscription"),
    ] {
        let output = store.run_with(line, b"x\n");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{line}: {said}");
        assert!(said.contains(part), "{line}: {said}");
    }
    store.output("queue delete all");
    assert_eq!(store.output("consume -t t"), b"one\ntwo\nthree\n");
}

#[test]
fn who_waits_lets_others_send() {
    let store = Store::with_queue("");
    let mut command = store.command("receive -q q --ack --max 1 --wait 60s");
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    store.send("", b"one\ntwo\n");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"one\n");
    assert_eq!(store.output("receive -q q"), b"two\n");
}

#[test]
fn following_takes_what_others_send_later() {
    let store = Store::new();
    store.send("", b"before\n");
    let mut command = store.command("receive -q q --ack --follow");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "before");
    for n in 0..3 {
        let line = format!("after {n}");
        store.send("", line.as_bytes());
        assert_eq!(lines.next().unwrap().unwrap(), line);
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(lines.next().is_none());
    assert_eq!(store.output("receive -q q"), b"");
}

#[test]
fn a_reader_of_messages_that_goes_away_is_no_failure() {
    let store = Store::new();
    let input = b"a line that is repeated\n".repeat(50_000);
    store.send("--durability buffered", &input);
    let mut command = store.command("receive -q q --ack");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 7];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // What did not fit into the pipe was not acknowledged.
    let left = store.describe("q")["ready"].as_u64().unwrap();
    assert!((40_000..50_000).contains(&left), "{left}");
}

#[test]
fn messages_that_were_acknowledged_to_the_sender_survive_a_kill() {
    let input = numbered(1_000_000);
    for (flags, after) in [("--batch 1", 50), ("--batch 100", 5000)] {
        let store = Store::new();
        let mut sender = store.producer(&format!("send -q q {flags}"));
        let mut lines = sender.take_lines();
        let acknowledged = thread::scope(|scope| {
            // Ends when the sender does.
            scope.spawn(|| lines.write_all(&input).ok());
            let seen = sender.wait_for(after);
            sender.kill().max(seen)
        });
        let found = store.output("receive -q q --ack");
        assert!(input.starts_with(&found), "{flags}: not a prefix");
        let found = u64::try_from(count(&found)).unwrap();
        assert!(found >= acknowledged, "{flags}: {acknowledged}, {found}");
    }
}

#[test]
fn a_receiver_that_is_killed_loses_nothing_and_repeats_one_batch_at_most() {
    let total = 30_000;
    let input = numbered(total);
    let store = Store::new();
    store.send("--batch 1000", &input);
    let mut command = store.command("receive -q q --ack");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = vec![0; 200_000];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut printed).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    stdout.read_to_end(&mut printed).unwrap();
    let rest = store.output("receive -q q --ack");
    assert!(input.starts_with(&printed), "printed is no prefix");
    assert!(input.ends_with(&rest), "the rest is no suffix");
    let total = usize::try_from(total).unwrap();
    let lines = count(&printed) + count(&rest);
    assert!(count(&printed) < total, "it was killed in the middle");
    assert!(
        (total - 1..=total + 100).contains(&lines),
        "{lines} of {total}"
    );
    assert!(printed.len() + rest.len() >= input.len(), "a part was lost");
    let code = store.run("verify").status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}
