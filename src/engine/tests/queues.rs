//! Defects of queues, each found by a review or a simulation.

use std::sync::Mutex;

use super::*;
use crate::clock::Clock;
use crate::io::sim::{FaultRule, OpKind};
use crate::{
    Consumer, ConsumerOptions, DeadReason, Delivery, Filter, Message, Queue, QueueOptions,
};
use crate::{ErrorKind, SendOptions};

/// A store on a simulated disk, with a clock that is set by hand.
struct Bench {
    disk: SimFs,
    clock: Arc<ManualClock>,
}

impl Bench {
    fn new() -> Self {
        Self {
            disk: SimFs::new(1),
            clock: Arc::new(ManualClock::new(1_000_000)),
        }
    }

    fn open(&self) -> Engine {
        self.open_with(options())
    }

    fn open_with(&self, options: Options) -> Engine {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        let disk = Arc::new(self.disk.clone());
        Engine::open_with(disk, "/data", options.clock(clock)).unwrap()
    }

    /// Ends the process without closing.
    fn kill(&mut self, engine: Engine) -> Engine {
        let left = self.disk.fork();
        drop(engine);
        self.disk = left;
        self.open()
    }

    fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

/// Receives all there is; what the consumer holds is ready again when it goes.
fn all(queue: &Queue) -> (Consumer, Vec<Delivery>) {
    let options = ConsumerOptions::default().unlimited_prefetch();
    let consumer = queue.consumer(options).unwrap();
    let got = consumer.receive(usize::MAX, Duration::ZERO).unwrap();
    (consumer, got)
}

fn bodies(queue: &Queue) -> Vec<Vec<u8>> {
    let (_consumer, got) = all(queue);
    got.iter().map(|it| it.body().to_vec()).collect()
}

fn send(queue: &Queue, body: &[u8], durability: Durability) {
    let options = SendOptions::default().durability(durability);
    queue.send_batch(&[Message::new(body)], &options).unwrap();
}

/// Symptom: a process that opened and closed stores with queues grew without
/// end. Cause: each queue kept what all queues share, which kept the list of
/// queues. Fix: the list goes with the engine.
#[test]
fn an_engine_with_queues_leaves_no_memory_behind() {
    let bench = Bench::new();
    for life in 0..2 {
        let engine = bench.open();
        let queue = match life {
            0 => engine.create_queue("q", QueueOptions::default()),
            _ => engine.queue("q"),
        };
        send(&queue.unwrap(), b"kept", Durability::Durable);
        drop(engine);
        assert_eq!(Arc::strong_count(&bench.clock), 1, "life {life}");
    }
}

/// Symptom: a receive failed, and messages were in flight with nobody; when
/// their leases ended, the consumer's credit fell below zero, and it never got
/// a message again. Cause: the failure to bury what had expired was returned in
/// the place of what had been leased. Fix: what is leased goes out first.
#[test]
fn what_was_leased_is_delivered_though_what_expired_cannot_be_buried() {
    let bench = Bench::new();
    let engine = bench.open();
    let queue = engine.create_queue("q", QueueOptions::default()).unwrap();
    let old = Message::new("old").ttl(Duration::from_millis(10));
    queue.send(&old).unwrap();
    queue.send(&Message::new("good")).unwrap();
    bench.advance(20);
    let rule = FaultRule::new(OpKind::Sync, FaultRule::EIO).path("/wal/");
    bench.disk.fail(rule);
    let failed = queue.send(&Message::new("lost")).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Poisoned);
    let consumer = queue.consumer(ConsumerOptions::default()).unwrap();
    let got = consumer.receive(10, Duration::ZERO).unwrap();
    let bodies: Vec<_> = got.iter().map(|it| it.body().to_vec()).collect();
    assert_eq!(bodies, [b"good"]);
    assert_eq!(consumer.held(), 1);
}

/// Symptom: messages that had been purged were back after a crash. Cause: the
/// end of buffered ones was in the log before they were, and a replay leaves
/// out what is said of messages that are not there. Fix: what gathers goes to
/// the log first.
#[test]
fn buffered_messages_that_were_purged_or_cancelled_stay_away() {
    let mut bench = Bench::new();
    let mut engine = bench.open();
    for purge in [true, false] {
        let name = format!("q{purge}");
        let queue = engine.create_queue(&name, QueueOptions::default()).unwrap();
        let options = SendOptions::default().durability(Durability::Buffered);
        let sent = queue.send_batch(&[Message::new("gone")], &options).unwrap();
        if purge {
            assert_eq!(queue.purge().unwrap(), 1);
        } else {
            queue.cancel(sent[0]).unwrap();
        }
        engine.sync().unwrap();
        drop(queue);
        engine = bench.kill(engine);
        let queue = engine.queue(&name).unwrap();
        assert_eq!(bodies(&queue), [b""; 0], "{name}");
        drop(queue);
    }
}

/// The same for what lay in a topic before a subscription that starts at its end.
#[test]
fn a_subscription_of_what_is_to_come_never_shows_what_was_there() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    let options = AppendOptions::default().durability(Durability::Buffered);
    topic.append_with(&Record::new("before"), &options).unwrap();
    let view = engine.subscribe("v", "t", Filter::default(), QueueOptions::default(), false);
    view.unwrap();
    topic.append(&Record::new("after")).unwrap();
    drop(topic);
    let engine = bench.kill(engine);
    assert_eq!(bodies(&engine.queue("v").unwrap()), [b"after"]);
}

/// Symptom: after a crash a queue counted messages that it had not, and took
/// fewer than its `length_max` for ever. Cause: offsets of transient messages
/// that were lost with their process counted as messages. Fix: those that are
/// known to be lost are done when a store opens, others when they are met.
#[test]
fn messages_that_were_lost_with_their_process_count_for_nothing() {
    let mut bench = Bench::new();
    let engine = bench.open();
    let options = QueueOptions::default().length_max(3);
    let queue = engine.create_queue("q", options).unwrap();
    send(&queue, b"lost in a segment", Durability::Transient);
    send(&queue, b"kept", Durability::Durable);
    send(&queue, b"lost in memory", Durability::Transient);
    engine.checkpoint().unwrap();
    drop(queue);
    let engine = bench.kill(engine);
    let queue = engine.queue("q").unwrap();
    // One of them is in a segment, which opening does not read.
    assert_eq!(queue.stats().unwrap().ready, 2);
    assert_eq!(bodies(&queue), [b"kept"]);
    assert_eq!(queue.stats().unwrap().ready, 1);
    send(&queue, b"new", Durability::Durable);
    send(&queue, b"new", Durability::Durable);
    let full = queue.send(&Message::new("one too many")).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Busy);
}

/// Symptom: while checkpoints failed, no delay and no lease ended. Cause: one
/// step came after the other, and not at all after its failure. Fix: queues
/// come first.
#[test]
fn delays_end_while_checkpoints_fail() {
    let bench = Bench::new();
    let engine = bench.open();
    let queue = engine.create_queue("q", QueueOptions::default()).unwrap();
    queue
        .send(&Message::new("later").delay(Duration::from_secs(1)))
        .unwrap();
    let rule = FaultRule::new(OpKind::Create, FaultRule::ENOSPC).path("/snapshot/");
    bench.disk.fail(rule.forever());
    bench.advance(24 * 3600 * 1000);
    assert!(engine.run_pending().is_err(), "a checkpoint is due");
    assert_eq!(bodies(&queue), [b"later"]);
}

/// Symptom: a message that died was delivered, or its lease ended, again and
/// again, each time with an error. Cause: its dead letter was too large: for
/// the queue that dead letters go to, or, with others that died at the same
/// time, for a commit. Fix: that queue takes any, and commits follow their limit.
#[test]
fn dead_letters_of_any_size_and_number_find_their_queue() {
    let bench = Bench::new();
    // A commit takes 16 KiB.
    let engine = bench.open();
    let narrow = QueueOptions::default().message_bytes_max(1 << 10);
    let dead = engine.create_queue("dead", narrow).unwrap();
    let options = QueueOptions::default()
        .message_bytes_max(12 << 10)
        .dead_letter("dead");
    let queue = engine.create_queue("q", options).unwrap();
    queue.send(&Message::new(&[7; 12 << 10])).unwrap();
    let (consumer, got) = all(&queue);
    got[0].dead_letter(Some("too large to swallow")).unwrap();
    drop(consumer);
    for _ in 0..100 {
        let short = Message::new(&[8; 1000]).ttl(Duration::from_millis(5));
        queue.send(&short).unwrap();
    }
    bench.advance(10);
    assert_eq!(bodies(&queue), [b""; 0]);
    let (_consumer, letters) = all(&dead);
    assert_eq!(letters.len(), 101);
    let reasons = letters.iter().map(|it| it.death().unwrap().reason);
    assert_eq!(reasons.filter(|it| *it == DeadReason::Expired).count(), 100);
    // The same for messages that are moved.
    let other = engine
        .create_queue("other", QueueOptions::default())
        .unwrap();
    for _ in 0..40 {
        queue.send(&Message::new(&[9; 1000])).unwrap();
    }
    assert_eq!(queue.move_to(&other, u64::MAX, |_| true).unwrap(), 40);
}

/// Symptom: records in partitions that a topic got after a subscription was made
/// reached it only once the store was opened again; and where that went back to
/// an older snapshot, it failed. Cause: the number of lanes was that of
/// partitions when the queue came to be. Fix: it is asked of the topic.
#[test]
fn a_subscription_sees_the_partitions_that_its_topic_gets_later() {
    let bench = Bench::new();
    let engine = bench.open();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    let view = engine
        .subscribe("v", "t", Filter::default(), QueueOptions::default(), true)
        .unwrap();
    topic.append(&Record::new("first")).unwrap();
    engine.checkpoint().unwrap();
    engine
        .alter_topic("t", TopicOptions::default().partitions(4))
        .unwrap();
    let later = AppendOptions::default().partition(3);
    topic.append_with(&Record::new("later"), &later).unwrap();
    {
        let (consumer, got) = all(&view);
        let bodies: Vec<_> = got.iter().map(|it| it.body().to_vec()).collect();
        assert_eq!(bodies, [&b"first"[..], b"later"]);
        consumer.ack_all(&got).unwrap();
    }
    drop((topic, view));
    engine.close().unwrap();
    drop(engine);
    // The newest snapshot is damaged: the one before has one partition.
    let files = bench.disk.list_files().into_iter().map(|(path, _)| path);
    let newest = files.filter(|path| path.contains("snapshot/")).max();
    bench.disk.flip_bit(newest.unwrap(), 70, 1);
    let engine = bench.open();
    assert_eq!(bodies(&engine.queue("v").unwrap()), [b""; 0]);
}

/// A clock that does something, once, when it is asked for the time.
struct Hooked {
    clock: Arc<ManualClock>,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Clock for Hooked {
    fn now(&self) -> crate::ids::Timestamp {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

/// Symptom: a store did not open any more, with `Corrupt`: its snapshot had
/// state of a partition that the topic had not. Cause: the topic got it, and
/// records in it, while a checkpoint was under way: the snapshot had the options
/// from before and the partitions from after. Fix: what came after the cut is
/// left to the log.
#[test]
fn partitions_that_come_while_a_checkpoint_is_made_are_left_to_the_log() {
    let mut bench = Bench::new();
    let clock = Arc::new(Hooked {
        clock: Arc::clone(&bench.clock),
        hook: Mutex::new(None),
    });
    let engine = bench.open_with(options());
    drop(engine);
    let shared: Arc<dyn Clock> = Arc::<Hooked>::clone(&clock);
    let disk = Arc::new(bench.disk.clone());
    let engine = Engine::open_with(disk, "/data", options().clock(shared)).unwrap();
    engine.create_queue("a", QueueOptions::default()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::default()).unwrap();
    let view = engine
        .subscribe("v", "t", Filter::default(), QueueOptions::default(), true)
        .unwrap();
    topic.append(&Record::new("before")).unwrap();
    let grow = {
        let (engine, topic) = (engine.clone(), topic.clone());
        move || {
            let grown = TopicOptions::default().partitions(4);
            engine.alter_topic("t", grown).unwrap();
            let later = AppendOptions::default().partition(3);
            topic.append_with(&Record::new("done"), &later).unwrap();
            let (consumer, got) = all(&view);
            let done: Vec<_> = got.into_iter().filter(|it| it.id().lane == 3).collect();
            assert_eq!(done.len(), 1);
            consumer.ack_all(&done).unwrap();
            topic.append_with(&Record::new("after"), &later).unwrap();
        }
    };
    *clock.hook.lock().unwrap() = Some(Box::new(grow));
    engine.checkpoint().unwrap();
    assert!(clock.hook.lock().unwrap().is_none(), "it came to pass");
    drop(topic);
    let engine = bench.kill(engine);
    let view = engine.queue("v").unwrap();
    let mut found = bodies(&view);
    found.sort_unstable();
    assert_eq!(found, [&b"after"[..], b"before"]);
}
