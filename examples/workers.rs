//! Three workers share a queue; what fails is tried again, later each time,
//! and what never works ends in a dead-letter queue.
//!
//! Run it with `cargo run --release --example workers`; it takes two seconds.
//!
//! What to look for in the output:
//!
//! * One worker a message: each job is named once, unless it failed.
//! * The waits grow: 200, 400, 800 ms. A job that waits is in nobody's way, the
//!   others go on.
//! * `max_deliveries(4)` is one delivery and three retries. After the fourth
//!   failure the job moves to the dead-letter queue, in the commit that takes
//!   it from its own: it is never in both, and never in none.
//! * The dead letter says why it died, what the worker said last, and how often
//!   it was tried. `redrive` brings it back once the cause is gone.
//!
//! A worker that dies with a job in its hands needs no code here: when its
//! lease ends the job goes to another one, and that counts as a failure.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use duolog::clock::{Clock, SystemClock};
use duolog::{
    Backoff, Consumer, ConsumerOptions, Delivery, Engine, Message, Options, Queue, QueueOptions,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const WORKERS: [&str; 3] = ["ann", "bob", "cy"];

/// What all workers know.
struct Shop {
    jobs: Queue,
    clock: SystemClock,
    /// The cause of one kind of failure; mended half way.
    printer_works: AtomicBool,
}

impl Shop {
    fn say(&self, text: &str) {
        println!("{:>5} ms  {text}", self.clock.monotonic().as_millis());
    }

    /// The work itself: what a program of yours would do with a message.
    fn work(&self, delivery: &Delivery) -> Result<(), &'static str> {
        std::thread::sleep(Duration::from_millis(10));
        match &delivery.body()[..] {
            b"label 5" if delivery.deliveries() < 3 => Err("the scale was not ready"),
            b"label 7" if !self.printer_works.load(Ordering::Relaxed) => Err("no such printer"),
            _ => Ok(()),
        }
    }

    fn answer(&self, worker: &str, delivery: &Delivery) -> Outcome<()> {
        let job = String::from_utf8_lossy(delivery.body());
        let number = delivery.deliveries();
        match self.work(delivery) {
            Ok(()) => {
                self.say(&format!("{worker}: {job} done, delivery {number}"));
                delivery.ack()?;
            }
            Err(error) => {
                // The engine asks the same of the queue's options; here to be seen.
                let options = self.jobs.options();
                let next = if options.max_deliveries == Some(number) {
                    "that was its last try".to_owned()
                } else {
                    let wait = options.backoff.delay(number, 0.0);
                    format!("again in {} ms", wait.as_millis())
                };
                self.say(&format!(
                    "{worker}: {job} failed, delivery {number}: {error}; {next}"
                ));
                // No delay of its own: the queue's backoff counts.
                delivery.nack_with(None, Some(error))?;
            }
        }
        Ok(())
    }

    /// Works until nothing is left: neither ready, nor with anybody, nor waiting.
    fn run(&self, worker: &str, consumer: &Consumer) -> Outcome<()> {
        loop {
            // One at a time spreads slow work evenly; see `prefetch`.
            let received = consumer.receive(1, Duration::from_millis(100))?;
            for delivery in &received {
                self.answer(worker, delivery)?;
            }
            let stats = self.jobs.stats()?;
            if stats.ready + stats.in_flight + stats.delayed == 0 {
                return Ok(());
            }
        }
    }

    fn run_all(&self) -> Outcome<()> {
        std::thread::scope(|scope| {
            let workers = WORKERS.map(|worker| {
                scope.spawn(move || {
                    let one = ConsumerOptions::default().prefetch(1);
                    self.run(worker, &self.jobs.consumer(one)?)
                })
            });
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().expect("no worker panics"))
        })
    }
}

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path().join("data"), Options::default())?;
    let dead = engine.create_queue("labels-dead", QueueOptions::default())?;
    let options = QueueOptions::default()
        .lease(Duration::from_secs(5))
        .max_deliveries(4)
        .dead_letter("labels-dead")
        .backoff(Backoff::exponential(Duration::from_millis(200), 2.0));
    let jobs = engine.create_queue("labels", options)?;

    let labels: Vec<_> = (1..=9).map(|n| format!("label {n}")).collect();
    let messages: Vec<_> = labels.iter().map(Message::new).collect();
    jobs.send_batch(&messages, &duolog::SendOptions::default())?;
    let shop = Shop {
        jobs,
        clock: SystemClock::new(),
        printer_works: AtomicBool::new(false),
    };
    shop.run_all()?;

    for letter in dead.browse(None, 10)? {
        let death = letter.death.clone().ok_or("a dead letter has a note")?;
        println!("\ndead letter {}", String::from_utf8_lossy(&letter.body));
        println!("  reason      {}", death.reason);
        println!("  error       {}", death.error.unwrap_or_default());
        println!(
            "  deliveries  {} in queue {}",
            death.deliveries, death.queue
        );
        let tried = death.last.millis() - death.first.millis();
        println!("  tried for   {tried} ms after its first failure\n");
    }

    shop.printer_works.store(true, Ordering::Relaxed);
    let back = dead.redrive(u64::MAX, |_| true, None)?;
    shop.say(&format!("the printer is mended, {back} label back to work"));
    shop.run_all()?;
    engine.close()?;
    Ok(())
}
