//! One topic, three subscriptions: everybody gets what concerns them, and the
//! bodies are stored once.
//!
//! Run it with `cargo run --release --example fanout`.
//!
//! With a topic and queues of their own behind it, each message would be copied
//! into each queue. Here a subscription is a queue that is a *view* of the
//! topic: leases, retries and dead letters are its own, the records are the
//! topic's. What to look for in the output:
//!
//! * A filter looks at headers. `billing` wants two kinds of event, `europe` all
//!   of one region, `audit` everything.
//! * An ack in one subscription takes nothing from another, nor from the topic:
//!   a reader of the topic still finds all of it.
//! * `audit` was made last and starts at the beginning; the others started where
//!   the topic ended when they were made.
//! * Subscriptions have no segments: their price on disk is what they know of
//!   their messages, not the messages.
//!
//! How long records are there is up to the topic's retention: what it drops is
//! gone for slow subscribers, too.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use duolog::{
    ConsumerOptions, Engine, Fetch, Filter, Options, Queue, QueueOptions, Record, Retention, Start,
    TopicOptions,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const EVENTS: [(&str, &str, &str); 6] = [
    ("order", "eu-north", "two apples"),
    ("click", "eu-west", "page 1"),
    ("order", "us-east", "a pear"),
    ("refund", "us-east", "half a pear"),
    ("click", "us-east", "page 2"),
    ("order", "eu-west", "ten plums"),
];

/// Takes what there is, and says what it was.
fn work_off(subscription: &Queue) -> Outcome<()> {
    println!("{}", subscription.name());
    let worker = subscription.consumer(ConsumerOptions::default())?;
    loop {
        let received = worker.receive(100, Duration::ZERO)?;
        let Some(last) = received.last() else {
            return Ok(());
        };
        for delivery in &received {
            let header = |name| {
                let value = delivery.header(name).map(|value| &value[..]);
                String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
            };
            let body = String::from_utf8_lossy(delivery.body());
            println!("  {:<7}{:<9}{body}", header("kind"), header("region"));
        }
        // All of them in one commit.
        worker.ack_through(last)?;
    }
}

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path().join("data"), Options::default())?;
    let week = Retention::default().age(Duration::from_secs(7 * 24 * 3600));
    let shop = engine.create_topic("shop", TopicOptions::default().retention(week))?;

    let subscribe = |name: &str, filter: Filter, from_start: bool| {
        engine.subscribe(name, "shop", filter, QueueOptions::default(), from_start)
    };
    let money = Filter::default().any_of("kind", ["order", "refund"]);
    let billing = subscribe("billing", money, false)?;
    let europe = subscribe("europe", Filter::default().prefix("region", "eu-"), false)?;

    let records = EVENTS.map(|(kind, region, body)| {
        Record::new(body)
            .header("kind", kind)
            .header("region", region)
    });
    shop.append_batch(&records, &duolog::AppendOptions::default())?;

    let audit = subscribe("audit", Filter::default(), true)?;
    for subscription in [&billing, &europe, &audit] {
        work_off(subscription)?;
    }

    let mut reader = shop.reader(0, Start::Earliest)?;
    let kept = reader.fetch(&Fetch::default())?.records()?.len();
    println!("the topic still has {kept} records");
    engine.checkpoint()?;
    for info in engine.queues() {
        let stats = engine.queue(&info.name)?.stats()?;
        println!(
            "{:<8} ready {}, segments {} bytes",
            info.name, stats.ready, stats.segment_bytes
        );
    }
    engine.close()?;
    Ok(())
}
