//! Stories about a lane, each line a step: what is done, and `->` what comes
//! of it. A time is in seconds.
//!
//! ```text
//!  send 3 | send a b -      so many records, or with these order keys (- none)
//!  absent 2                 offsets that the log does not have
//!  receive 2 -> 0 1         as consumer 1; `receive 2 by 7` as another
//!  ack 0 | done 3 9         with the last receipt of it; a run, whatever it is
//!  nack 0 -> 2              it failed for the second time
//!  delay 0 50 | delay 0 50 keep    until then; `keep` keeps its key busy
//!  wake 0 50 -> true | now 0 -> true
//!  time 30 | expire -> 0 1  sets the clock; fails what ran out
//!  extend 0 60 | check 0 2 -> redelivered     by the second receipt of 0
//!  meet 0 -> parked          looks at it, and no more
//!  back 0 | close 7         met or leased; all of a consumer
//!  floor -> 0               and other numbers: `Lane::look`
//!  restart                  saved, encoded, decoded, restored
//! ```

mod model;
mod sleeping;

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::format::cursor::Cursor;
use crate::format::ledger::{Change, LedgerState};
use crate::ids::{PartitionId, TopicId, to_u64, to_usize};
use bytes::BytesMut;

const ID: PartitionId = PartitionId {
    topic: TopicId::new(7),
    partition: 3,
};

const LEASE: u64 = 30;

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn seconds(n: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(n * 1000).unwrap())
}

/// Through the bytes of a snapshot.
fn through_bytes(saved: &LedgerState) -> LedgerState {
    let mut bytes = BytesMut::new();
    saved.encode(&mut bytes);
    LedgerState::decode(&mut Cursor::new(&bytes)).expect("what is saved is valid")
}

#[derive(Clone, Copy)]
enum Entry {
    Absent,
    /// With its order key, if it has one.
    There(Option<u64>),
}

/// A lane and all that was ever sent to it.
struct Lane {
    ledger: Ledger,
    /// By offset.
    records: Vec<Entry>,
    receipts: HashMap<u64, Vec<Receipt>>,
    now: u64,
}

impl Lane {
    fn new() -> Self {
        Self {
            ledger: Ledger::new(Offset::ZERO),
            records: Vec::new(),
            receipts: HashMap::new(),
            now: 0,
        }
    }

    fn send(&mut self, words: &[&str]) {
        if let [count] = words
            && let Ok(count) = count.parse()
        {
            self.records.extend(vec![Entry::There(None); count]);
            return;
        }
        let key = |word: &&str| (*word != "-").then(|| u64::from(word.as_bytes()[0]));
        self.records.extend(words.iter().map(key).map(Entry::There));
    }

    /// The next one that may go: what the engine does.
    fn next(&mut self) -> Option<Offset> {
        if let Some(back) = self.ledger.next_returned() {
            return Some(back);
        }
        loop {
            let from = to_usize(self.ledger.skip_done().get());
            let mut rest = self.records.iter().zip(0..).skip(from);
            let (n, key) = rest.find_map(|(entry, n)| match entry {
                Entry::There(key) => Some((n, *key)),
                Entry::Absent => None,
            })?;
            let offset = at(n);
            if self.ledger.meet(offset, key) == Met::Deliver {
                return Some(offset);
            }
        }
    }

    fn receive(&mut self, count: u64, consumer: u64) -> Vec<u64> {
        let mut got = Vec::new();
        while to_u64(got.len()) < count
            && let Some(offset) = self.next()
        {
            let ask = LeaseAsk {
                number: 0,
                consumer,
                until: Duration::from_secs(self.now + LEASE),
                bytes: 10,
            };
            let (receipt, deliveries) = self.ledger.lease(offset, ask);
            let failures = self
                .ledger
                .failures(offset)
                .map_or(0, |failed| failed.count);
            assert_eq!(deliveries, failures + 1);
            self.receipts.entry(offset.get()).or_default().push(receipt);
            got.push(offset.get());
        }
        got
    }

    fn expire(&mut self) -> Vec<u64> {
        let now = Duration::from_secs(self.now);
        let expired = self.ledger.expired(now, 100);
        for receipt in &expired {
            let failed = self.ledger.fail(receipt.offset, seconds(self.now));
            assert!(failed.is_some(), "an open lease ended");
        }
        expired.iter().map(|receipt| receipt.offset.get()).collect()
    }

    fn key(&self, n: u64) -> Option<u64> {
        match self.records[to_usize(n)] {
            Entry::There(key) => key,
            Entry::Absent => None,
        }
    }

    /// What a word alone asks for.
    fn look(&self, word: &str) -> Option<String> {
        let ledger = &self.ledger;
        let number = match word {
            "floor" => ledger.floor().get(),
            "cursor" => ledger.cursor().get(),
            "ready" => ledger.ready(at(to_u64(self.records.len()))),
            "flight" => ledger.in_flight(),
            "bytes" => ledger.in_flight_bytes(),
            "delayed" => ledger.delayed(),
            "parked" => ledger.parked(),
            "above" => ledger.done_len(),
            "holes" => ledger.holes(),
            "ends" => match ledger.next_lease_end() {
                Some(end) => end.as_secs(),
                None => return Some("never".to_owned()),
            },
            _ => return None,
        };
        Some(number.to_string())
    }

    /// What is done with a receipt.
    fn show(&mut self, verb: &str, n: u64, number: u64) -> String {
        let given = &self.receipts[&n];
        let latest = *given.last().unwrap();
        let answer = match verb {
            "ack" => self.ledger.check(latest).map(|_| {
                self.ledger.done(at(n), at(n + 1));
                String::new()
            }),
            "extend" => {
                let extended = self.ledger.extend(latest, Duration::from_secs(number));
                extended.map(|()| String::new())
            }
            _ => {
                let held = self.ledger.check(given[to_usize(number) - 1]);
                held.map(|held| match held {
                    Held::Open { consumer, .. } => format!("with {consumer}"),
                    Held::Ended => "good".to_owned(),
                })
            }
        };
        answer.unwrap_or_else(|fence| format!("{fence:?}"))
    }

    fn restart(&mut self) {
        let saved = through_bytes(&self.ledger.save(ID));
        let numbers = self.ledger.nonces.1;
        self.ledger = Ledger::restore(&saved);
        self.ledger.number_from(numbers);
        assert_eq!(
            self.ledger.save(ID),
            saved,
            "what was restored is saved again"
        );
    }

    fn step(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = words.split_first().expect("a line has a verb");
        let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        let list = |offsets: Vec<u64>| {
            let words: Vec<_> = offsets.iter().map(u64::to_string).collect();
            words.join(" ")
        };
        match (*verb, numbers.as_slice()) {
            (word, &[]) if self.look(word).is_some() => return self.look(word).unwrap(),
            ("send", _) => self.send(words),
            ("absent", &[n]) => self.records.extend(vec![Entry::Absent; to_usize(n)]),
            ("receive", &[n]) => return list(self.receive(n, 1)),
            ("receive", &[n, consumer]) => return list(self.receive(n, consumer)),
            ("ack", &[n]) => return self.show("ack", n, 0),
            ("extend" | "check", &[n, number]) => return self.show(verb, n, number),
            ("done", &[from, to]) => self.ledger.done(at(from), at(to)),
            ("nack", &[n]) => {
                let failed = self.ledger.fail(at(n), seconds(self.now));
                return failed.map_or("none".to_owned(), |failed| failed.count.to_string());
            }
            ("delay", &[n, due]) => {
                let key = self.key(n).filter(|_| words.contains(&"keep"));
                self.ledger.delay(at(n), seconds(due), key);
            }
            ("wake", &[n, due]) => return self.ledger.wake(at(n), seconds(due)).to_string(),
            ("now", &[n]) => return self.ledger.ready_now(at(n)).to_string(),
            ("time", &[n]) => self.now = n,
            ("expire", _) => return list(self.expire()),
            ("back", &[n]) => self.ledger.put_back(at(n)),
            ("meet", &[n]) => return format!("{:?}", self.ledger.meet(at(n), self.key(n))),
            ("close", &[consumer]) => {
                for offset in self.ledger.of_consumer(consumer) {
                    self.ledger.put_back(offset);
                }
            }
            ("restart", _) => self.restart(),
            _ => panic!("no such step: {line}"),
        }
        String::new()
    }
}

/// Plays a story, and compares what comes of each step.
fn story(text: &str) -> Lane {
    let mut lane = Lane::new();
    for line in text.split([';', '\n']).map(str::trim) {
        if line.is_empty() {
            continue;
        }
        let (step, expected) = line.split_once("->").unwrap_or((line, ""));
        let found = lane.step(step.trim());
        assert_eq!(found.to_lowercase(), expected.trim(), "{line}\n{text}");
    }
    lane
}

#[test]
fn the_floor_moves_over_all_that_is_done_and_nothing_else() {
    story(
        "send 5; receive 2 -> 0 1; ack 1; floor -> 0; above -> 1; holes -> 1
         ack 0; floor -> 2; above -> 0; holes -> 0; receive 9 -> 2 3 4; receive 1 ->
         done 2 5; floor -> 5; ready -> 0; flight -> 0",
    );
}

#[test]
fn what_came_back_goes_first_in_its_place() {
    story(
        "send 6; receive 4 -> 0 1 2 3; nack 2 -> 1; nack 1 -> 1; receive 3 -> 1 2 4
         nack 1 -> 2; nack 1 -> none; receive 1 -> 1; back 0; receive 2 -> 0 5",
    );
}

#[test]
fn each_message_is_counted_as_one_thing() {
    story(
        "send 9; absent 1; receive 3 -> 0 1 2; ack 1; delay 5 99
         ready -> 6; flight -> 2; bytes -> 20; delayed -> 1; above -> 1; holes -> 1
         nack 0 -> 1; ready -> 7; flight -> 1; bytes -> 10
         delay 0 99; ready -> 6; delayed -> 2; done 0 9; ready -> 1; bytes -> 0; delayed -> 0",
    );
}

#[test]
fn offsets_that_the_log_does_not_have_are_done() {
    story(
        "absent 2; send 1; absent 3; send 1; receive 9 -> 2 6; floor -> 2
         ack 2; floor -> 6; ack 6; floor -> 7; cursor -> 7",
    );
}

#[test]
fn an_ack_is_good_until_the_message_is_delivered_again() {
    story(
        "send 1; receive 1 -> 0; check 0 1 -> with 1; time 30; expire -> 0
         check 0 1 -> good; receive 1 by 2 -> 0; check 0 1 -> redelivered
         check 0 2 -> with 2; nack 0 -> 2; check 0 1 -> redelivered; check 0 2 -> good
         ack 0; check 0 1 -> done; check 0 2 -> done; floor -> 1",
    );
    story("send 1; receive 1 by 7 -> 0; close 7; check 0 1 -> good; ack 0; floor -> 1");
    story("send 1; receive 1 -> 0; delay 0 50; check 0 1 -> good; ack 0; delayed -> 0");
}

#[test]
fn a_receipt_that_nobody_was_given_is_unknown() {
    let mut lane = story("send 3; receive 2 -> 0 1");
    let with = |offset, nonce| Receipt {
        offset: at(offset),
        nonce,
    };
    assert_eq!(lane.ledger.check(with(0, 2)), Err(Fence::Unknown));
    assert_eq!(
        lane.ledger.check(with(0, 1)),
        Err(Fence::Unknown),
        "of another"
    );
    assert_eq!(lane.ledger.check(with(2, 1)), Err(Fence::NotDelivered));
    lane.step("restart");
    assert_eq!(
        lane.ledger.check(with(0, 0)),
        Err(Fence::Unknown),
        "of before"
    );
    assert_eq!(lane.receive(1, 1), [0]);
    assert_eq!(
        lane.ledger.check(with(0, 0)),
        Err(Fence::Unknown),
        "of before"
    );
    assert!(lane.ledger.check(with(0, 2)).is_ok());
}

#[test]
fn a_lease_ends_when_it_was_last_said_to() {
    story(
        "send 3; receive 1 -> 0; time 10; receive 2 -> 1 2; ends -> 30
         extend 0 100; ends -> 40; extend 1 20; ends -> 20
         time 20; expire -> 1; expire ->; ends -> 40; time 40; expire -> 2; ends -> 100
         extend 2 200 -> ended; extend 0 60; extend 0 50; extend 0 60; time 59; expire ->
         time 60; expire -> 0; ends -> never; ack 0; extend 0 70 -> done",
    );
}

#[test]
fn expired_leases_come_earliest_first_and_no_more_than_asked_for() {
    let mut ledger = Ledger::new(Offset::ZERO);
    // More lengths, each before the last, than there are queues.
    for n in 0..100 {
        assert_eq!(ledger.meet(at(n), None), Met::Deliver);
        let ask = LeaseAsk {
            number: 0,
            consumer: 1,
            until: Duration::from_secs(1000 - n),
            bytes: 0,
        };
        ledger.lease(at(n), ask);
    }
    let ended = |ledger: &Ledger, now, max| {
        let receipts = ledger.expired(Duration::from_secs(now), max);
        let offsets = receipts.iter().map(|receipt| receipt.offset.get());
        offsets.collect::<Vec<_>>()
    };
    assert!(ended(&ledger, 900, 9).is_empty());
    assert_eq!(ended(&ledger, 903, 9), [99, 98, 97]);
    assert_eq!(ended(&ledger, 2000, 2), [99, 98]);
    ledger.done(at(90), at(99));
    assert_eq!(ended(&ledger, 2000, 2), [99, 89]);
    assert_eq!(ledger.next_lease_end(), Some(Duration::from_secs(901)));
    assert_eq!(ended(&ledger, 2000, 1000).len(), 91);
}

#[test]
fn a_lease_may_never_end() {
    let mut lane = story("send 2");
    let ask = LeaseAsk {
        number: 0,
        consumer: 1,
        until: Duration::MAX,
        bytes: 0,
    };
    lane.next();
    let (receipt, _) = lane.ledger.lease(at(0), ask);
    assert_eq!(lane.ledger.next_lease_end(), None);
    assert_eq!(lane.ledger.expired(Duration::from_secs(1 << 40), 9), []);
    let until = Duration::MAX;
    assert_eq!(
        lane.ledger.check(receipt),
        Ok(Held::Open { consumer: 1, until })
    );
    let soon = Duration::from_secs(1);
    assert_eq!(lane.ledger.extend(receipt, soon), Ok(()));
    assert_eq!(lane.ledger.expired(soon, 9), [receipt]);
}

#[test]
fn the_first_failure_is_remembered_and_every_one_counted() {
    let mut lane = story(
        "send 1; time 5; receive 1 -> 0; nack 0 -> 1; time 9; receive 1 -> 0; nack 0 -> 2; restart",
    );
    let failures = Failures {
        count: 2,
        first: seconds(5),
    };
    assert_eq!(lane.ledger.failures(at(0)), Some(failures));
    assert_eq!(lane.receive(1, 1), [0]);
    lane.step("ack 0");
    assert_eq!(lane.ledger.failures(at(0)), None);
}

#[test]
fn a_consumer_that_is_gone_takes_nothing_with_it_and_nothing_is_counted() {
    let lane = story(
        "send 5; receive 2 by 7 -> 0 1; receive 1 by 8 -> 2; close 7
         receive 3 by 8 -> 0 1 3; flight -> 4; bytes -> 40",
    );
    assert_eq!(lane.ledger.of_consumer(7), []);
    assert_eq!(lane.ledger.of_consumer(8), [0, 1, 2, 3].map(at));
    assert_eq!(lane.ledger.failures(at(0)), None);
}

#[test]
fn a_delayed_message_waits_for_its_own_time() {
    story(
        "send 4; delay 1 50; receive 9 -> 0 2 3; wake 1 50 -> true; wake 1 50 -> false
         receive 9 -> 1; nack 1 -> 1; delay 1 60; receive 9 ->; wake 1 50 -> false
         delay 1 70; wake 1 60 -> false; wake 1 70 -> true; receive 9 -> 1",
    );
    story("send 3; delay 1 50; wake 1 50 -> true; receive 9 -> 0 1 2");
    story("send 3; delay 1 50; receive 9 -> 0 2; now 1 -> true; now 1 -> false; receive 9 -> 1");
    story("send 1; done 0 1; delay 0 50; delayed -> 0; wake 0 50 -> false");
}

#[test]
fn a_key_has_one_message_in_flight_and_others_flow() {
    story(
        "send a a b - a; receive 9 -> 0 2 3; parked -> 2; ready -> 2; ack 0
         receive 9 -> 1; ack 2; receive 9 ->; ack 1; receive 9 -> 4; parked -> 0",
    );
}

#[test]
fn a_key_survives_a_retry_in_order() {
    story(
        "send a b a; receive 9 -> 0 1; nack 0 -> 1; receive 1 -> 0; nack 0 -> 2
         delay 0 50 keep; receive 9 ->; wake 0 50 -> true; receive 9 -> 0; ack 0; receive 9 -> 2",
    );
    story("send a a; receive 9 -> 0; back 0; receive 9 -> 0; done 0 1; receive 9 -> 1");
    story("send a a; receive 9 -> 0; nack 0 -> 1; delay 0 50 keep; done 0 1; receive 9 -> 1");
}

#[test]
fn a_message_sent_with_a_delay_keeps_no_key_until_it_is_ready() {
    story(
        "send a a a; delay 0 50; receive 9 -> 1; parked -> 1; wake 0 50 -> true
         parked -> 2; receive 9 ->; ack 1; receive 9 -> 0; ack 0; receive 9 -> 2",
    );
    story("send a; delay 0 50; receive 9 ->; wake 0 50 -> true; send a; receive 9 -> 0");
    story("send a a; receive 9 -> 0; delay 0 50; receive 9 -> 1; wake 0 50 -> true; receive 9 ->");
    story(
        "send a a; receive 9 -> 0; delay 1 50; ack 0; receive 9 ->; now 1 -> true; receive 9 -> 1",
    );
}

#[test]
fn a_purge_passes_no_key_to_what_it_purged() {
    story(
        "send a a a a b; receive 9 -> 0 4; done 0 3; receive 9 -> 3; parked -> 0
         done 3 5; floor -> 5; flight -> 0",
    );
    story("send a a a a; receive 9 -> 0; done 1 3; receive 9 ->; ack 0; receive 9 -> 3");
}

#[test]
fn what_was_in_flight_is_ready_after_a_restart() {
    story(
        "send 6; receive 4 -> 0 1 2 3; ack 1; nack 2 -> 1; restart; floor -> 0; cursor -> 0
         flight -> 0; bytes -> 0; ready -> 5; above -> 1; receive 9 -> 0 2 3 4 5
         check 0 1 -> unknown
         check 1 1 -> done; check 0 2 -> with 1",
    );
}

#[test]
fn a_delayed_retry_keeps_its_key_busy_through_a_restart() {
    story(
        "send a b a; receive 9 -> 0 1; nack 0 -> 1; delay 0 50 keep; restart
         receive 9 -> 1; parked -> 1; wake 0 50 -> true; receive 9 -> 0; ack 0; receive 9 -> 2",
    );
    // Woken before the cursor comes by: it is met in its order.
    story(
        "send a b a; receive 9 -> 0 1; nack 0 -> 1; delay 0 50 keep; restart
         wake 0 50 -> true; receive 9 -> 0 1; ack 0; receive 9 -> 2",
    );
    // One that was sent with a delay is before the retry, and is ready first.
    story(
        "send a a a; delay 0 50; receive 9 -> 1; nack 1 -> 1; delay 1 60 keep; now 0 -> true
         parked -> 2; restart; receive 9 ->; parked -> 2; wake 1 60 -> true
         receive 9 -> 1; ack 1; receive 9 -> 0",
    );
}

#[test]
fn a_failure_that_is_replayed_ends_the_delay_before_it() {
    let (offset, first) = (at(0), seconds(9));
    let mut ledger = Ledger::new(Offset::ZERO);
    let (due, failures) = (seconds(50), 2);
    ledger.apply(&Change::Delayed {
        offset,
        due,
        key: None,
    });
    // That it was woken and delivered between the two is not in the log.
    let failed = Change::Failed {
        offset,
        failures,
        first,
    };
    ledger.apply(&failed);
    assert_eq!(ledger.delay_of(offset), None);
    ledger.done(offset, at(1));
    ledger.apply(&failed);
    assert_eq!(ledger.failures(offset), None, "done is done");
}

#[test]
fn who_waited_for_a_key_goes_when_it_is_given_back_above_the_cursor() {
    let mut lane = story("send a a a");
    lane.ledger.delay(at(1), seconds(50), Some(u64::from(b'a')));
    assert_eq!(lane.step("meet 0"), "Parked");
    assert_eq!(lane.step("wake 1 50"), "true");
    assert_eq!(lane.receive(9, 1), [0]);
    assert_eq!(lane.ledger.parked(), 2);
}

#[test]
fn the_lookahead_over_a_busy_key_is_bounded() {
    let mut ledger = Ledger::new(Offset::ZERO);
    assert_eq!(ledger.meet(at(0), Some(1)), Met::Deliver);
    let max = to_u64(ORDER_LOOKAHEAD_MAX);
    for n in 1..=max {
        assert_eq!(ledger.meet(at(n), Some(1)), Met::Parked);
    }
    let next = at(max + 5);
    assert_eq!(ledger.meet(next, Some(1)), Met::LookaheadFull);
    assert_eq!(ledger.meet(next, Some(1)), Met::LookaheadFull);
    assert_eq!(ledger.cursor(), next, "it stays at it");
    assert_eq!(ledger.parked(), max);
    let bytes = ledger.memory_bytes() / max;
    assert!(bytes < 100, "{bytes} bytes each");
    assert_eq!(
        ledger.meet(next, Some(2)),
        Met::Deliver,
        "another key flows"
    );
    let after = at(max + 6);
    assert_eq!(ledger.meet(after, None), Met::Deliver, "and none");
    ledger.done(at(0), at(1));
    assert_eq!(ledger.next_returned(), Some(at(1)));
    assert_eq!(ledger.meet(at(max + 7), Some(1)), Met::Parked);
}

#[test]
fn an_empty_ledger_takes_no_heap_and_a_drained_one_gives_it_back() {
    let own = to_u64(size_of::<Ledger>());
    assert!(own < 200, "{own}");
    let used = allocation_counter::measure(|| {
        let mut ledger = Ledger::new(at(77));
        ledger.done(at(77), at(100));
        assert_eq!(ledger.memory_bytes(), own);
    });
    assert_eq!(used.count_total, 0);
    let mut lane = story("send a a 3 b; receive 2 -> 0 2; nack 0 -> 1; delay 0 50 keep");
    assert!(lane.ledger.memory_bytes() > own);
    lane.step("done 0 4");
    lane.ledger.shrink();
    assert_eq!(lane.ledger.memory_bytes(), own);
}

#[test]
fn a_purge_of_ten_million_costs_what_is_known_of_them() {
    let mut lane = story("send 5; receive 5 -> 0 1 2 3 4; nack 3 -> 1; delay 4 50");
    let million = 1_000_000;
    lane.ledger.done(at(10), at(20 * million));
    lane.ledger.delay(at(30 * million), seconds(50), None);
    let used = allocation_counter::measure(|| lane.ledger.done(at(1), at(10 * million)));
    assert!(used.count_total < 10, "{used:?}");
    assert_eq!((lane.ledger.in_flight(), lane.ledger.delayed()), (1, 1));
    assert_eq!(lane.ledger.first_open(at(1)), at(20 * million));
    lane.ledger.done(at(0), at(1));
    assert_eq!(lane.ledger.floor(), at(20 * million));
    assert_eq!(lane.ledger.cursor(), at(20 * million));
}

#[test]
fn extending_back_and_forth_does_not_grow() {
    let mut lane = story("send 2; receive 2 -> 0 1");
    for n in 0..100_000 {
        lane.step(if n % 2 == 0 {
            "extend 0 40"
        } else {
            "extend 0 35"
        });
    }
    assert!(lane.ledger.memory_bytes() < 200_000);
    assert_eq!(lane.step("ends"), "30");
    lane.step("time 35");
    assert_eq!(lane.expire(), [1, 0]);
}

#[test]
#[should_panic(expected = "one consumer a message")]
fn a_message_in_flight_is_not_delivered_to_a_second_consumer() {
    let mut lane = story("send 1; receive 1 -> 0");
    let ask = LeaseAsk {
        number: 0,
        consumer: 2,
        until: Duration::MAX,
        bytes: 0,
    };
    lane.ledger.lease(at(0), ask);
}

#[test]
#[should_panic(expected = "only what was met")]
fn a_message_that_was_never_met_is_not_delivered() {
    let ask = LeaseAsk {
        number: 0,
        consumer: 2,
        until: Duration::MAX,
        bytes: 0,
    };
    Ledger::new(Offset::ZERO).lease(at(0), ask);
}

#[test]
fn what_is_done_can_be_delivered_once_more() {
    let mut ledger = Ledger::new(Offset::ZERO);
    let at = Offset::new;
    for n in 0..5 {
        assert_eq!(ledger.meet(at(n), None), Met::Deliver);
    }
    ledger.done(at(0), at(5));
    assert!(!ledger.again(at(5)), "it was never done");
    assert!(ledger.again(at(1)) && ledger.again(at(3)));
    assert_eq!((ledger.floor(), ledger.ready(at(5))), (at(1), 2));
    assert!(!ledger.again(at(1)), "it is not done any more");
    assert_eq!(ledger.next_returned(), Some(at(1)));
    ledger.done(at(1), at(2));
    assert_eq!(ledger.next_returned(), Some(at(3)));
    ledger.done(at(3), at(4));
    assert_eq!((ledger.floor(), ledger.cursor()), (at(5), at(5)));
    // The same from the log, and after a restart.
    let again = Change::Again { offset: at(2) };
    ledger.apply(&again);
    let id = PartitionId {
        topic: TopicId::new(1),
        partition: 0,
    };
    let mut other = Ledger::restore(&ledger.save(id));
    other.apply(&again);
    assert_eq!((other.floor(), other.cursor()), (at(2), at(2)));
    assert_eq!(other.meet(at(2), None), Met::Deliver);
}
