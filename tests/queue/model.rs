//! Random work on one queue, against a naive model of messages.
//!
//! The model keeps every message with what has become of it. After each step
//! the queue's counts have to be the model's; a receive has to bring what the
//! model allows, and all of it; an answer has to be good or fenced as the model
//! says. At the end all is drained, and every message was acknowledged once, or
//! is a dead letter once.

use std::collections::BTreeSet;
use std::time::Duration;

use duolog::{Backoff, Consumer, Delivery, ErrorKind, Message, Queue, QueueOptions};
use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::world::{World, browse, counts, secs, take, text, worker};

const LEASE: u64 = 10;
const BACKOFF: u64 = 5;
const DELIVERIES: u32 = 3;
const CONSUMERS: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    Send {
        priority: u8,
        key: Option<u8>,
        delay: Option<u64>,
    },
    Receive {
        consumer: usize,
        max: usize,
    },
    Ack(prop::sample::Index),
    Nack(prop::sample::Index),
    Extend(prop::sample::Index, u64),
    Advance(u64),
    Leave(usize),
    Checkpoint,
    Reopen {
        kill: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        8 => (0..3_u8, prop::option::of(0..3_u8), prop::option::weighted(0.2, 1..20_u64))
            .prop_map(|(priority, key, delay)| Op::Send { priority, key, delay }),
        8 => (0..CONSUMERS, 1..5_usize)
            .prop_map(|(consumer, max)| Op::Receive { consumer, max }),
        6 => index().prop_map(Op::Ack),
        4 => index().prop_map(Op::Nack),
        2 => (index(), 1..30_u64).prop_map(|(which, lease)| Op::Extend(which, lease)),
        4 => (1..12_u64).prop_map(Op::Advance),
        1 => (0..CONSUMERS).prop_map(Op::Leave),
        1 => Just(Op::Checkpoint),
        1 => any::<bool>().prop_map(|kill| Op::Reopen { kill }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Delayed(u64),
    InFlight { consumer: usize, until: u64 },
    Done,
    Dead,
}

#[derive(Debug)]
struct Sent {
    priority: u8,
    key: Option<u8>,
    /// It was not to come at once: those of its key need not wait for it.
    delayed: bool,
    state: State,
    failures: u32,
    /// Deliveries in this life.
    taken: u32,
}

/// Whose answer is awaited.
struct Held {
    message: usize,
    /// Which of its deliveries in this life.
    number: u32,
    delivery: Delivery,
}

#[derive(Default)]
struct Model {
    now: u64,
    all: Vec<Sent>,
}

impl Model {
    fn fail(&mut self, message: usize) {
        let (now, sent) = (self.now, &mut self.all[message]);
        sent.failures += 1;
        sent.state = if sent.failures == DELIVERIES {
            State::Dead
        } else {
            State::Delayed(now + BACKOFF)
        };
    }

    fn advance(&mut self, by: u64) {
        self.now += by;
        for message in 0..self.all.len() {
            if let State::InFlight { until, .. } = self.all[message].state
                && until <= self.now
            {
                self.fail(message);
            }
        }
        for sent in &mut self.all {
            if let State::Delayed(due) = sent.state
                && due <= self.now
            {
                sent.state = State::Ready;
            }
        }
    }

    fn give_back(&mut self, gone: impl Fn(usize) -> bool) {
        for sent in &mut self.all {
            if let State::InFlight { consumer, .. } = sent.state
                && gone(consumer)
            {
                sent.state = State::Ready;
            }
        }
    }

    fn counts(&self) -> (u64, u64, u64) {
        let mut counts = (0, 0, 0);
        for sent in &self.all {
            match sent.state {
                State::Ready => counts.0 += 1,
                State::InFlight { .. } => counts.1 += 1,
                State::Delayed(_) => counts.2 += 1,
                State::Done | State::Dead => {}
            }
        }
        counts
    }

    /// Others with the same key.
    fn siblings(&self, message: usize) -> impl Iterator<Item = (usize, &Sent)> {
        let sent = &self.all[message];
        self.all.iter().enumerate().filter(move |(n, other)| {
            let same = (other.key, other.priority) == (sent.key, sent.priority);
            *n != message && same && sent.key.is_some()
        })
    }

    /// True if one of its key is under way: in flight, or about to be tried
    /// again.
    fn is_blocked(&self, message: usize) -> bool {
        self.siblings(message).any(|(_, other)| match other.state {
            State::InFlight { .. } => true,
            State::Delayed(_) => other.failures > 0,
            State::Ready | State::Done | State::Dead => false,
        })
    }

    /// Checks that a delivery may come now, and takes it.
    fn deliver(&mut self, message: usize, consumer: usize, deliveries: u32) {
        let sent = &self.all[message];
        assert_eq!(sent.state, State::Ready, "message {message} was delivered");
        assert_eq!(deliveries, sent.failures + 1, "deliveries of {message}");
        assert!(
            !self.is_blocked(message),
            "message {message}: its key is busy"
        );
        let open = |sent: &Sent| matches!(sent.state, State::Ready | State::Delayed(_));
        let overtaken = self.siblings(message).find(|(n, other)| {
            // One that had a delay is behind whoever was met meanwhile.
            *n < message && open(other) && !other.delayed
        });
        assert!(overtaken.is_none(), "{message} overtook {overtaken:?}");
        let mut ready = self.all.iter().enumerate().filter(|(n, other)| {
            let higher = other.priority > sent.priority;
            let older = other.priority == sent.priority && *n < message && sent.key.is_none();
            other.state == State::Ready && other.key.is_none() && (higher || older)
        });
        assert!(ready.next().is_none(), "{message} came before its turn");
        let sent = &mut self.all[message];
        sent.taken += 1;
        sent.state = State::InFlight {
            consumer,
            until: self.now + LEASE,
        };
    }

    /// After a receive that brought less than it was asked for.
    fn check_nothing_left(&self) {
        for (message, sent) in self.all.iter().enumerate() {
            if sent.state == State::Ready {
                assert!(self.is_blocked(message), "{message} was left behind");
            }
        }
    }
}

struct Run {
    world: World,
    queue: Queue,
    consumers: Vec<Consumer>,
    held: Vec<Held>,
    model: Model,
}

fn options() -> QueueOptions {
    QueueOptions::default()
        .priority_max(2)
        .lease(secs(LEASE))
        .max_deliveries(DELIVERIES)
        .backoff(Backoff::fixed(secs(BACKOFF)))
        .segment_bytes_max(4096)
}

impl Run {
    fn new() -> Self {
        let (world, queue, _dead) = World::with_dead(options());
        Self {
            consumers: (0..CONSUMERS).map(|_| worker(&queue)).collect(),
            world,
            queue,
            held: Vec::new(),
            model: Model::default(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Send {
                priority,
                key,
                delay,
            } => self.send(*priority, *key, *delay),
            Op::Receive { consumer, max } => self.receive(*consumer, *max),
            Op::Ack(which) => self.answer(*which, Delivery::ack, |model, message| {
                model.all[message].state = State::Done;
            }),
            Op::Nack(which) => self.answer(*which, Delivery::nack, |model, message| {
                // The end of the lease counted already.
                if let State::InFlight { .. } = model.all[message].state {
                    model.fail(message);
                }
            }),
            Op::Extend(which, lease) => self.extend(*which, *lease),
            Op::Advance(by) => {
                self.world.pass(secs(*by));
                self.model.advance(*by);
            }
            Op::Leave(consumer) => {
                let new = worker(&self.queue);
                drop(std::mem::replace(&mut self.consumers[*consumer], new));
                self.model.give_back(|gone| gone == *consumer);
            }
            Op::Checkpoint => self.world.engine.checkpoint().unwrap(),
            Op::Reopen { kill } => self.reopen(*kill),
        }
        assert_eq!(counts(&self.queue), self.model.counts(), "after {op:?}");
    }

    fn send(&mut self, priority: u8, key: Option<u8>, delay: Option<u64>) {
        let body = self.model.all.len().to_string();
        let key_text = key.map(|key| key.to_string());
        let mut message = Message::new(&body).priority(priority);
        if let Some(key) = &key_text {
            message = message.order_key(key);
        }
        if let Some(delay) = delay {
            message = message.delay(secs(delay));
        }
        self.queue.send(&message).unwrap();
        self.model.all.push(Sent {
            priority,
            key,
            delayed: delay.is_some(),
            state: delay.map_or(State::Ready, |delay| State::Delayed(self.model.now + delay)),
            failures: 0,
            taken: 0,
        });
    }

    fn receive(&mut self, consumer: usize, max: usize) {
        let taken = take(&self.consumers[consumer], max);
        let all = taken.len() < max;
        for delivery in taken {
            let message = text(delivery.body()).parse().unwrap();
            self.model.deliver(message, consumer, delivery.deliveries());
            self.held.push(Held {
                message,
                number: self.model.all[message].taken,
                delivery,
            });
        }
        if all {
            self.model.check_nothing_left();
        }
    }

    /// One of those that were delivered in this life, answered or not; and
    /// whether its answer is good.
    fn pick(&self, which: prop::sample::Index) -> Option<(&Held, bool)> {
        if self.held.is_empty() {
            return None;
        }
        let held = &self.held[which.index(self.held.len())];
        let sent = &self.model.all[held.message];
        let open = !matches!(sent.state, State::Done | State::Dead);
        Some((held, open && sent.taken == held.number))
    }

    fn answer(
        &mut self,
        which: prop::sample::Index,
        answer: impl Fn(&Delivery) -> duolog::Result<()>,
        good: impl Fn(&mut Model, usize),
    ) {
        let Some((held, is_good)) = self.pick(which) else {
            return;
        };
        let message = held.message;
        match answer(&held.delivery) {
            Ok(()) => {
                assert!(is_good, "a late answer for {message} was taken");
                good(&mut self.model, message);
            }
            Err(error) => {
                assert!(!is_good, "message {message}: {error}");
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
            }
        }
    }

    fn extend(&mut self, which: prop::sample::Index, lease: u64) {
        let Some((held, is_good)) = self.pick(which) else {
            return;
        };
        let (message, extended) = (held.message, held.delivery.extend(secs(lease)));
        let end = self.model.now + lease;
        match &mut self.model.all[message].state {
            State::InFlight { until, .. } if is_good => {
                extended.unwrap();
                *until = end;
            }
            _ => assert_eq!(extended.unwrap_err().kind(), ErrorKind::Fenced),
        }
    }

    fn reopen(&mut self, kill: bool) {
        self.held.clear();
        self.consumers.clear();
        if kill {
            // Ends of leases are written when they may.
            self.world.engine.sync().unwrap();
            self.world.kill();
        } else {
            self.world.reopen();
        }
        // What is due by the log is let go once more.
        self.world.step();
        self.queue = self.world.queue("jobs");
        self.consumers = (0..CONSUMERS).map(|_| worker(&self.queue)).collect();
        self.model.give_back(|_| true);
        self.model.all.iter_mut().for_each(|sent| sent.taken = 0);
    }

    /// Takes and acknowledges all that is left.
    fn drain(mut self) {
        self.world.pass(secs(60));
        self.model.advance(60);
        // A lease that ended there waits for its retry.
        self.world.pass(secs(60));
        self.model.advance(60);
        let mut rounds = 0;
        while self.model.counts() != (0, 0, 0) {
            self.held.clear();
            self.receive(0, 1000);
            for held in std::mem::take(&mut self.held) {
                held.delivery.ack().unwrap();
                self.model.all[held.message].state = State::Done;
            }
            assert_eq!(counts(&self.queue), self.model.counts());
            rounds += 1;
            assert!(rounds <= self.model.all.len(), "it comes to no end");
        }
        self.consumers.clear();
        self.world.engine.checkpoint().unwrap();
        self.world.kill();
        let queue = self.world.queue("jobs");
        assert_eq!((counts(&queue), browse(&queue).len()), ((0, 0, 0), 0));
        let letters = browse(&self.world.queue("dead"));
        let found: BTreeSet<usize> = letters
            .iter()
            .map(|letter| text(&letter.body).parse().unwrap())
            .collect();
        assert_eq!(found.len(), letters.len(), "a dead letter came twice");
        let dead = self.model.all.iter().enumerate();
        let dead = dead.filter(|(_, sent)| sent.state == State::Dead);
        assert_eq!(found, dead.map(|(message, _)| message).collect());
    }
}

/// Few, since each is a store on a disk.
fn config() -> Config {
    Config {
        cases: 48,
        max_shrink_time: u32::try_from(Duration::from_secs(60).as_millis()).unwrap(),
        failure_persistence: None,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_queue_is_its_model(ops in prop::collection::vec(op(), 1..120)) {
        let mut run = Run::new();
        for op in &ops {
            run.apply(op);
        }
        run.drain();
    }
}
