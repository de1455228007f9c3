//! The ledger against a model that keeps a row for each message and knows no
//! shortcut.

use super::*;
use crate::format::ledger::{SavedDelay, SavedFailures};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// At or above the cursor.
    Unmet,
    /// Below it, and may go.
    Free,
    Parked,
    Flight {
        consumer: u64,
        until: u64,
    },
    /// Since it was sent.
    Sleeping,
    /// To be tried again.
    Delayed(u64),
    Done,
}

#[derive(Clone, Debug)]
struct Row {
    /// Whether the log has it at all.
    there: bool,
    key: Option<u64>,
    state: State,
    /// It is the one of its key that is under way.
    owns: bool,
    failures: u32,
    first: u64,
    nonce: Option<u64>,
}

impl Row {
    fn is_delayed(&self) -> bool {
        matches!(self.state, State::Sleeping | State::Delayed(_))
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    rows: Vec<Row>,
    cursor: usize,
    /// First nonce of this life, and the next.
    base: u64,
    next: u64,
}

impl Model {
    fn floor(&self) -> usize {
        let open = self.rows.iter().position(|row| row.state != State::Done);
        open.unwrap_or(self.rows.len())
    }

    fn owner(&self, key: u64) -> Option<usize> {
        self.rows
            .iter()
            .position(|row| row.owns && row.key == Some(key))
    }

    fn let_go(&mut self, n: usize) {
        if !std::mem::take(&mut self.rows[n].owns) {
            return;
        }
        let key = self.rows[n].key;
        let parked = |row: &Row| row.state == State::Parked && row.key == key;
        if let Some(next) = self.rows.iter().position(parked) {
            self.rows[next].owns = true;
            self.rows[next].state = State::Free;
        }
    }

    fn ready(&mut self, n: usize) {
        if n >= self.cursor {
            self.rows[n].state = State::Unmet;
            return self.let_go(n);
        }
        let owner = self.rows[n].key.and_then(|key| self.owner(key));
        let free = owner.is_none_or(|owner| owner == n);
        self.rows[n].owns = free && self.rows[n].key.is_some();
        self.rows[n].state = if free { State::Free } else { State::Parked };
    }

    fn done(&mut self, from: usize, to: usize) {
        let owners: Vec<_> = (from..to).filter(|n| self.rows[*n].owns).collect();
        for n in from..to {
            self.rows[n].state = State::Done;
        }
        for n in owners {
            self.let_go(n);
        }
        self.cursor = self.cursor.max(self.floor());
    }

    fn meet(&mut self, n: usize) -> Met {
        for absent in self.cursor..n {
            self.rows[absent].state = State::Done;
        }
        self.cursor = n + 1;
        match self.rows[n].state {
            State::Done => Met::Done,
            State::Sleeping | State::Delayed(_) => Met::Delayed,
            _ => {
                self.ready(n);
                match self.rows[n].state {
                    State::Parked => Met::Parked,
                    _ => Met::Deliver,
                }
            }
        }
    }

    fn check(&self, receipt: Receipt) -> Result<(), Fence> {
        let row = &self.rows[to_usize(receipt.offset.get())];
        if receipt.nonce >= self.next {
            Err(Fence::Unknown)
        } else if row.state == State::Done {
            Err(Fence::Done)
        } else if receipt.nonce < self.base {
            Err(Fence::Unknown)
        } else {
            match row.nonce {
                None => Err(Fence::NotDelivered),
                Some(last) if receipt.nonce == last => Ok(()),
                Some(last) if receipt.nonce < last => Err(Fence::Redelivered),
                Some(_) => Err(Fence::Unknown),
            }
        }
    }

    fn restart(&mut self) {
        self.base = self.next;
        for row in &mut self.rows {
            row.nonce = None;
            if row.state != State::Done && !row.is_delayed() {
                row.state = State::Unmet;
                row.owns = false;
            }
        }
        self.cursor = self.floor();
    }

    fn save(&self) -> LedgerState {
        let mut saved = LedgerState {
            id: ID,
            floor: at(to_u64(self.floor())),
            done: Vec::new(),
            sleeping: Vec::new(),
            delayed: Vec::new(),
            failures: Vec::new(),
        };
        for (row, n) in self.rows.iter().zip(0..).skip(self.floor()) {
            match row.state {
                State::Done => push(&mut saved.done, n),
                State::Sleeping => push(&mut saved.sleeping, n),
                State::Delayed(due) => saved.delayed.push(SavedDelay {
                    offset: at(n),
                    due: seconds(due),
                    key: row.key.filter(|_| row.owns),
                }),
                _ => {}
            }
            if row.failures > 0 && row.state != State::Done {
                saved.failures.push(SavedFailures {
                    offset: at(n),
                    failures: row.failures,
                    first: seconds(row.first),
                });
            }
        }
        saved
    }

    fn count(&self, is: impl Fn(&State) -> bool) -> u64 {
        to_u64(self.rows.iter().filter(|row| is(&row.state)).count())
    }
}

/// Adds `n` to runs that it is behind.
fn push(runs: &mut Vec<(Offset, Offset)>, n: u64) {
    match runs.last_mut() {
        Some(run) if run.1 == at(n) => run.1 = at(n + 1),
        _ => runs.push((at(n), at(n + 1))),
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// With one of three keys or none; not in the log at all; with a delay.
    Send(Option<u64>),
    Absent,
    SendDelayed(Option<u64>, u64),
    Receive(u64, u64, u64),
    MeetAndPutBack,
    Ack(Index),
    Done(Index, usize),
    Nack(Index),
    Retry(Index, u64),
    Delay(Index, u64),
    PutBack(Index),
    Wake(Index),
    ReadyNow(Index),
    Extend(Index, u64),
    Expire(u64, usize),
    Close(u64),
    Restart,
    Replay(Index),
}

fn op() -> impl Strategy<Value = Op> {
    let key = || prop_oneof![Just(None), (1..4_u64).prop_map(Some)];
    let any = any::<Index>;
    prop_oneof![
        6 => key().prop_map(Op::Send),
        1 => Just(Op::Absent),
        1 => (key(), 1..100_u64).prop_map(|(key, due)| Op::SendDelayed(key, due)),
        6 => (1..4_u64, 1..4_u64, 0..20_u64).prop_map(|(n, by, len)| Op::Receive(n, by, len)),
        1 => Just(Op::MeetAndPutBack),
        5 => any().prop_map(Op::Ack),
        1 => (any(), 1..6_usize).prop_map(|(n, len)| Op::Done(n, len)),
        3 => any().prop_map(Op::Nack),
        2 => (any(), 1..100_u64).prop_map(|(n, due)| Op::Retry(n, due)),
        1 => (any(), 1..100_u64).prop_map(|(n, due)| Op::Delay(n, due)),
        1 => any().prop_map(Op::PutBack),
        2 => any().prop_map(Op::Wake),
        1 => any().prop_map(Op::ReadyNow),
        2 => (any(), 0..20_u64).prop_map(|(n, until)| Op::Extend(n, until)),
        2 => (0..10_u64, 1..5_usize).prop_map(|(by, max)| Op::Expire(by, max)),
        1 => (1..4_u64).prop_map(Op::Close),
        1 => Just(Op::Restart),
        1 => any().prop_map(Op::Replay),
    ]
}

/// Both, and what the log and the snapshots have of them.
struct Pair {
    ledger: Ledger,
    model: Model,
    receipts: Vec<Receipt>,
    log: Vec<Change>,
    /// How much of the log each has.
    snapshots: Vec<(usize, LedgerState)>,
    now: u64,
}

impl Pair {
    fn new() -> Self {
        let ledger = Ledger::new(Offset::ZERO);
        Self {
            snapshots: vec![(0, ledger.save(ID))],
            ledger,
            model: Model::default(),
            receipts: Vec::new(),
            log: Vec::new(),
            now: 0,
        }
    }

    fn send(&mut self, there: bool, key: Option<u64>) {
        self.model.rows.push(Row {
            there,
            key,
            state: State::Unmet,
            owns: false,
            failures: 0,
            first: 0,
            nonce: None,
        });
    }

    /// One of the messages that are `like` this.
    fn pick(&self, index: Index, like: impl Fn(&Row) -> bool) -> Option<usize> {
        let rows = self.model.rows.iter().enumerate();
        let found: Vec<_> = rows.filter(|row| like(row.1)).map(|row| row.0).collect();
        (!found.is_empty()).then(|| *index.get(&found))
    }

    fn next(&mut self) -> Option<usize> {
        let free = |row: &Row| row.state == State::Free;
        let back = self.model.rows.iter().position(free);
        assert_eq!(
            self.ledger.next_returned(),
            back.map(|n| at(to_u64(n))),
            "what came back"
        );
        if back.is_some() {
            return back;
        }
        loop {
            let unmet = self.model.rows.iter().enumerate().skip(self.model.cursor);
            let n = unmet.filter(|row| row.1.there).map(|row| row.0).next()?;
            let met = self.ledger.meet(at(to_u64(n)), self.model.rows[n].key);
            assert_eq!(met, self.model.meet(n), "meeting {n}");
            if met == Met::Deliver {
                return Some(n);
            }
        }
    }

    fn lease(&mut self, n: usize, consumer: u64, until: u64) {
        let ask = LeaseAsk {
            number: 0,
            consumer,
            until: Duration::from_secs(until),
            bytes: 3,
        };
        let (receipt, deliveries) = self.ledger.lease(at(to_u64(n)), ask);
        let row = &mut self.model.rows[n];
        assert_eq!(deliveries, row.failures + 1);
        assert_eq!(receipt.nonce, self.model.next, "numbers rise by one");
        row.state = State::Flight { consumer, until };
        row.nonce = Some(receipt.nonce);
        self.model.next += 1;
        self.receipts.push(receipt);
    }

    fn done(&mut self, from: usize, to: usize) {
        let (first, end) = (at(to_u64(from)), at(to_u64(to)));
        self.ledger.done(first, end);
        self.model.done(from, to);
        self.log.push(Change::Done {
            from: first,
            to: end,
        });
    }

    fn fail(&mut self, n: usize) {
        let offset = at(to_u64(n));
        let row = &mut self.model.rows[n];
        row.first = if row.failures == 0 {
            self.now
        } else {
            row.first
        };
        row.failures += 1;
        let failures = Failures {
            count: row.failures,
            first: seconds(row.first),
        };
        assert_eq!(self.ledger.fail(offset, seconds(self.now)), Some(failures));
        self.model.ready(n);
        self.log.push(Change::Failed {
            offset,
            failures: failures.count,
            first: failures.first,
        });
    }

    fn delay(&mut self, n: usize, due: u64, keep: bool) {
        let (offset, row) = (at(to_u64(n)), &mut self.model.rows[n]);
        let key = row.key.filter(|_| keep);
        row.state = match (key, row.failures) {
            (None, 0) => State::Sleeping,
            _ => State::Delayed(due),
        };
        if !keep {
            self.model.let_go(n);
        }
        let due = seconds(due);
        self.ledger.delay(offset, due, key);
        self.log.push(Change::Delayed { offset, due, key });
    }

    fn put_back(&mut self, n: usize) {
        self.ledger.put_back(at(to_u64(n)));
        self.model.ready(n);
    }

    fn act(&mut self, op: &Op) {
        match op {
            Op::Send(key) => self.send(true, *key),
            Op::Absent => self.send(false, None),
            Op::SendDelayed(key, due) => {
                self.send(true, *key);
                self.delay(self.model.rows.len() - 1, *due, false);
            }
            Op::Receive(count, consumer, length) => {
                for _ in 0..*count {
                    if let Some(n) = self.next() {
                        self.lease(n, *consumer, self.now + length);
                    }
                }
            }
            Op::MeetAndPutBack => {
                if let Some(n) = self.next() {
                    self.put_back(n);
                }
            }
            Op::Wake(index) => self.wake(*index, false),
            Op::ReadyNow(index) => self.wake(*index, true),
            Op::Restart => self.restart(),
            Op::Replay(index) => self.replay(*index),
            other => self.settle(other),
        }
    }

    /// What is done about messages that are with somebody.
    fn settle(&mut self, op: &Op) {
        let in_flight = |row: &Row| matches!(row.state, State::Flight { .. });
        let is_open = |row: &Row| row.state != State::Done && row.there;
        match op {
            Op::Ack(index) if !self.receipts.is_empty() => {
                let receipt = *index.get(&self.receipts);
                if self.ledger.check(receipt).is_ok() {
                    let n = to_usize(receipt.offset.get());
                    self.done(n, n + 1);
                }
            }
            Op::Done(index, len) => {
                if let Some(from) = self.pick(*index, |_| true) {
                    self.done(from, self.model.rows.len().min(from + len));
                }
            }
            Op::Nack(index) => {
                if let Some(n) = self.pick(*index, in_flight) {
                    self.fail(n);
                }
            }
            Op::Retry(index, due) => {
                if let Some(n) = self.pick(*index, in_flight) {
                    self.fail(n);
                    self.delay(n, *due, true);
                }
            }
            Op::Delay(index, due) => {
                if let Some(n) = self.pick(*index, is_open) {
                    self.delay(n, *due, false);
                }
            }
            Op::PutBack(index) => {
                if let Some(n) = self.pick(*index, in_flight) {
                    self.put_back(n);
                }
            }
            Op::Extend(index, by) if !self.receipts.is_empty() => {
                self.extend(*index.get(&self.receipts), self.now + by);
            }
            Op::Expire(by, max) => self.expire(*by, *max),
            Op::Close(consumer) => {
                for offset in self.ledger.of_consumer(*consumer) {
                    self.put_back(to_usize(offset.get()));
                }
            }
            // Nothing was delivered yet, so there is nothing to show.
            _ => {}
        }
    }

    fn wake(&mut self, index: Index, early: bool) {
        let Some(n) = self.pick(index, Row::is_delayed) else {
            return;
        };
        let offset = at(to_u64(n));
        if early {
            assert!(self.ledger.ready_now(offset));
            self.log.push(Change::Ready { offset });
        } else if let State::Delayed(due) = self.model.rows[n].state {
            assert!(!self.ledger.wake(offset, seconds(due + 1)));
            assert!(self.ledger.wake(offset, seconds(due)));
        } else {
            assert!(self.ledger.wake(offset, seconds(self.now)));
        }
        self.model.ready(n);
    }

    fn extend(&mut self, receipt: Receipt, to: u64) {
        let row = &mut self.model.rows[to_usize(receipt.offset.get())];
        let extended = self.ledger.extend(receipt, Duration::from_secs(to));
        if let State::Flight { until, .. } = &mut row.state
            && row.nonce == Some(receipt.nonce)
        {
            *until = to;
            assert_eq!(extended, Ok(()));
        } else {
            let fence = self.model.check(receipt).err().unwrap_or(Fence::Ended);
            assert_eq!(extended, Err(fence));
        }
    }

    fn expire(&mut self, by: u64, max: usize) {
        self.now += by;
        let rows = self.model.rows.iter().enumerate();
        let ends = rows.filter_map(|(n, row)| match row.state {
            State::Flight { until, .. } if until <= self.now => Some((until, n)),
            _ => None,
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable();
        let found = self.ledger.expired(Duration::from_secs(self.now), max);
        assert_eq!(found.len(), ends.len().min(max));
        let latest = ends.get(found.len().saturating_sub(1)).map(|end| end.0);
        for receipt in found {
            let n = to_usize(receipt.offset.get());
            let row = &self.model.rows[n];
            assert_eq!(row.nonce, Some(receipt.nonce));
            assert!(
                matches!(row.state, State::Flight { until, .. } if Some(until) <= latest),
                "an earlier one was passed over"
            );
            self.fail(n);
        }
    }

    fn restart(&mut self) {
        let saved = through_bytes(&self.ledger.save(ID));
        self.ledger = Ledger::restore(&saved);
        self.ledger.number_from(self.model.next);
        self.model.restart();
        self.snapshots.push((self.log.len(), saved));
    }

    /// What recovery does: an earlier snapshot, and the log after it, though it
    /// be applied twice. Wake-ups are not in the log: their timers fire again.
    fn replay(&self, index: Index) {
        let (from, saved) = index.get(&self.snapshots);
        for (each, all) in [(1, 1), (2, 1), (1, 2)] {
            let mut replayed = Ledger::restore(saved);
            for _ in 0..all {
                for change in &self.log[*from..] {
                    (0..each).for_each(|_| replayed.apply(change));
                }
            }
            for n in 0..to_u64(self.model.rows.len()) {
                let due = match replayed.delay_of(at(n)) {
                    Some(Delay::First) => seconds(self.now),
                    Some(Delay::Retry(due)) => due,
                    None => continue,
                };
                if self.ledger.delay_of(at(n)).is_none() {
                    assert!(replayed.wake(at(n), due));
                }
            }
            // What is absent is found out again by whoever meets what follows.
            let rows = self.model.rows.iter().zip(0..);
            for (_, n) in rows.filter(|(row, _)| !row.there && row.state == State::Done) {
                replayed.done(at(n), at(n + 1));
            }
            assert_eq!(replayed.save(ID), self.ledger.save(ID));
        }
    }

    fn compare(&self) {
        let (ledger, model) = (&self.ledger, &self.model);
        let end = to_u64(model.rows.len());
        assert_eq!(ledger.save(ID), model.save());
        assert_eq!(ledger.cursor(), at(to_u64(model.cursor)));
        for (row, n) in model.rows.iter().zip(0..) {
            assert_eq!(ledger.is_done(at(n)), row.state == State::Done, "{n}");
            let failures = ledger.failures(at(n)).map_or(0, |failed| failed.count);
            let is_open = row.state != State::Done;
            assert_eq!(failures, if is_open { row.failures } else { 0 }, "{n}");
        }
        for receipt in &self.receipts {
            let found = ledger.check(*receipt);
            assert_eq!(found.map(|_| ()), model.check(*receipt), "{receipt:?}");
            let row = &model.rows[to_usize(receipt.offset.get())];
            if let (Ok(held), State::Flight { consumer, until }) = (found, row.state) {
                let until = Duration::from_secs(until);
                assert_eq!(held, Held::Open { consumer, until });
            }
        }
        let flight = model.count(|state| matches!(state, State::Flight { .. }));
        let is_delayed = |state: &State| matches!(state, State::Sleeping | State::Delayed(_));
        let delayed = model.count(is_delayed);
        let done = model.count(|state| *state == State::Done);
        assert_eq!(ledger.in_flight(), flight);
        assert_eq!(ledger.in_flight_bytes(), 3 * flight);
        assert_eq!(ledger.delayed(), delayed);
        assert_eq!(
            ledger.parked(),
            model.count(|state| *state == State::Parked)
        );
        assert_eq!(ledger.done_len(), done - ledger.floor().get());
        assert_eq!(ledger.ready(at(end)), end - flight - delayed - done);
        let ends = model.rows.iter().filter_map(|row| match row.state {
            State::Flight { until, .. } => Some(Duration::from_secs(until)),
            _ => None,
        });
        assert_eq!(ledger.next_lease_end(), ends.min());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_ledger_does_what_a_row_for_each_message_says(ops in vec(op(), 1..80)) {
        let mut pair = Pair::new();
        for op in &ops {
            pair.act(op);
            pair.compare();
        }
    }
}
