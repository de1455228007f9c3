//! A store whose time and background move by hand, and what every test does
//! with its queues.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duolog::clock::ManualClock;
use duolog::{
    Browsed, Consumer, ConsumerOptions, Delivery, Engine, Message, Options, Queue, QueueOptions,
    SendOptions,
};

use crate::support::{Place, manual};

/// When the clock of a world starts: some day in 2026.
pub(crate) const EPOCH_MS: i64 = 1_780_000_000_000;

/// Steps after which a background that always has more to do is broken.
const STEPS_MAX: usize = 100_000;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A store, and its time.
pub(crate) struct World {
    place: Place,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) engine: Engine,
}

impl World {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let clock = Arc::new(ManualClock::new(EPOCH_MS));
        let engine = place.open(options(&clock));
        Self {
            place,
            clock,
            engine,
        }
    }

    /// A queue `jobs`, made with these options.
    pub(crate) fn with(options: QueueOptions) -> (Self, Queue) {
        let world = Self::new();
        let queue = world.create("jobs", options);
        (world, queue)
    }

    /// A queue `jobs` whose dead letters go to a queue `dead`.
    pub(crate) fn with_dead(options: QueueOptions) -> (Self, Queue, Queue) {
        let world = Self::new();
        let dead = world.create("dead", QueueOptions::default());
        let queue = world.create("jobs", options.dead_letter("dead"));
        (world, queue, dead)
    }

    pub(crate) fn create(&self, name: &str, options: QueueOptions) -> Queue {
        self.engine.create_queue(name, options).unwrap()
    }

    pub(crate) fn queue(&self, name: &str) -> Queue {
        self.engine.queue(name).unwrap()
    }

    /// Runs the background until it has nothing to do.
    pub(crate) fn step(&self) {
        for _ in 0..STEPS_MAX {
            if !self.engine.run_pending().unwrap() {
                return;
            }
        }
        panic!("the background never comes to rest");
    }

    /// Lets time pass, and the background see it.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.step();
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(&mut self) {
        self.engine.close().unwrap();
        self.engine = self.place.open(options(&self.clock));
    }

    /// The store as a process leaves it that is killed now: opened from a copy
    /// of its files.
    pub(crate) fn kill(&mut self) {
        let place = Place::new();
        copy(&self.place.path(), &place.path());
        self.engine.close().unwrap();
        self.engine = place.open(options(&self.clock));
        self.place = place;
    }
}

/// As [`manual`], with this clock.
fn options(clock: &Arc<ManualClock>) -> Options {
    let clock: Arc<ManualClock> = Arc::clone(clock);
    manual().clock(clock)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap();
        }
    }
    // As the store makes its own: it refuses directories that others can write.
    let mode = std::fs::metadata(from).unwrap().permissions();
    std::fs::set_permissions(to, mode).unwrap();
}

pub(crate) fn send(queue: &Queue, bodies: &[&str]) {
    for body in bodies {
        queue.send(&Message::new(*body)).unwrap();
    }
}

/// Sends `count` messages: `0`, `1` and so on.
pub(crate) fn send_numbers(queue: &Queue, count: usize) {
    let bodies: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    let messages: Vec<_> = bodies.iter().map(Message::new).collect();
    queue
        .send_batch(&messages, &SendOptions::default())
        .unwrap();
}

/// A consumer that may hold any number.
pub(crate) fn worker(queue: &Queue) -> Consumer {
    let options = ConsumerOptions::default().unlimited_prefetch();
    queue.consumer(options).unwrap()
}

/// Takes up to `max` messages, without waiting.
pub(crate) fn take(consumer: &Consumer, max: usize) -> Vec<Delivery> {
    consumer.receive(max, Duration::ZERO).unwrap()
}

/// Takes one message, which must be there.
#[track_caller]
pub(crate) fn take_one(consumer: &Consumer) -> Delivery {
    let taken = take(consumer, 1).pop();
    taken.expect("there is a message to take")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn body(delivery: &Delivery) -> String {
    text(delivery.body())
}

pub(crate) fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(body).collect()
}

/// Bodies of what can be taken now.
pub(crate) fn take_bodies(consumer: &Consumer, max: usize) -> Vec<String> {
    bodies(&take(consumer, max))
}

/// What is in the queue, taken or not.
pub(crate) fn browse(queue: &Queue) -> Vec<Browsed> {
    queue.browse(None, usize::MAX).unwrap()
}

pub(crate) fn browse_bodies(queue: &Queue) -> Vec<String> {
    browse(queue).iter().map(|seen| text(&seen.body)).collect()
}

/// Ready, in flight, delayed.
pub(crate) fn counts(queue: &Queue) -> (u64, u64, u64) {
    let stats = queue.stats().unwrap();
    (stats.ready, stats.in_flight, stats.delayed)
}
