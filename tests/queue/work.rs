//! Many at once: real threads that send, take, fail and acknowledge.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use duolog::{Consumer, ConsumerOptions, Message, Queue, QueueOptions, SendOptions};

use crate::support::{Place, small, watched};
use crate::world::{counts, ms, text, worker};

const SENDERS: usize = 16;
const CONSUMERS: usize = 16;
const EACH: usize = 200;

/// Sends `EACH` messages from every sender, in batches, while `work` is done by
/// every consumer until all are done.
fn compete(queue: &Queue, work: impl Fn(&Consumer, &AtomicUsize) + Sync) {
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || {
                let bodies: Vec<_> = (0..EACH).map(|n| format!("{sender}-{n:03}")).collect();
                let key = format!("key {sender}");
                for part in bodies.chunks(20) {
                    let messages = part.iter().map(|body| {
                        let message = Message::new(body);
                        if sender % 2 == 0 {
                            message.order_key(&key)
                        } else {
                            message
                        }
                    });
                    let messages: Vec<_> = messages.collect();
                    queue
                        .send_batch(&messages, &SendOptions::default())
                        .unwrap();
                }
            });
        }
        for _ in 0..CONSUMERS {
            scope.spawn(|| {
                let options = ConsumerOptions::default().prefetch(10);
                let consumer = queue.consumer(options).unwrap();
                while done.load(Ordering::SeqCst) < SENDERS * EACH {
                    work(&consumer, &done);
                }
            });
        }
    });
}

#[test]
fn of_competing_consumers_each_message_reaches_exactly_one() {
    watched("competing consumers", || {
        let place = Place::new();
        let engine = place.open(small());
        let queue = engine
            .create_queue("jobs", QueueOptions::default().shards(4))
            .unwrap();
        let seen = Mutex::new(BTreeMap::<String, u32>::new());
        compete(&queue, |consumer, done| {
            let taken = consumer.receive(10, ms(20)).unwrap();
            for result in consumer.ack_all(&taken).unwrap() {
                result.unwrap();
            }
            let mut seen = seen.lock().unwrap();
            for it in &taken {
                *seen.entry(text(it.body())).or_default() += 1;
            }
            done.fetch_add(taken.len(), Ordering::SeqCst);
        });
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), SENDERS * EACH, "none is lost");
        assert!(seen.values().all(|times| *times == 1), "none comes twice");
        assert_eq!(counts(&queue), (0, 0, 0));
        drop(queue);
        engine.close().unwrap();
        let engine = place.open(small());
        assert_eq!(counts(&engine.queue("jobs").unwrap()), (0, 0, 0));
    });
}

#[test]
fn among_failures_and_short_leases_each_message_is_acknowledged_once_and_keys_keep_their_order() {
    watched("failures", || {
        let place = Place::new();
        let engine = place.open(small());
        let options = QueueOptions::default().shards(3).lease(ms(500));
        let queue = engine.create_queue("jobs", options).unwrap();
        let acked = Mutex::new(Vec::new());
        let turn = AtomicUsize::new(0);
        compete(&queue, |consumer, done| {
            for it in consumer.receive(5, ms(20)).unwrap() {
                match turn.fetch_add(1, Ordering::Relaxed) % 5 {
                    0 => drop(it.nack()),
                    // Forgotten, now and then: the lease brings it back.
                    1 if turn.load(Ordering::Relaxed) % 200 == 7 => {}
                    _ => {
                        // Before the ack: the next of its key may go at once.
                        let mut acked = acked.lock().unwrap();
                        if it.ack().is_ok() {
                            acked.push(text(it.body()));
                            done.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        });
        let acked = acked.into_inner().unwrap();
        assert_eq!(acked.len(), SENDERS * EACH);
        let mut all: Vec<_> = acked.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), SENDERS * EACH, "none is acknowledged twice");
        for sender in (0..SENDERS).step_by(2) {
            let prefix = format!("{sender}-");
            let of_it: Vec<_> = acked.iter().filter(|it| it.starts_with(&prefix)).collect();
            assert!(of_it.is_sorted(), "the key of sender {sender}: {of_it:?}");
        }
    });
}

#[test]
fn transactions_that_cross_do_not_wait_for_each_other() {
    watched("crossing transactions", || {
        let place = Place::new();
        let engine = place.open(small());
        let left = engine
            .create_queue("left", QueueOptions::default())
            .unwrap();
        let right = engine
            .create_queue("right", QueueOptions::default())
            .unwrap();
        for n in 0..20 {
            left.send(&Message::new(&n.to_string())).unwrap();
            right.send(&Message::new(&(n + 20).to_string())).unwrap();
        }
        let pass = |from: &Queue, to: &Queue| {
            let consumer = worker(from);
            for _ in 0..50 {
                for it in consumer.receive(3, ms(1)).unwrap() {
                    let body = text(it.body());
                    let mut tx = engine.transaction();
                    tx.ack(&it).send(to, Message::new(&body).delay(ms(1)));
                    tx.commit().unwrap();
                }
                from.move_to(to, 1, |_| true).unwrap();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| pass(&left, &right));
                scope.spawn(|| pass(&right, &left));
            }
        });
        let mut all = Vec::new();
        for queue in [&left, &right] {
            let seen = queue.browse(None, usize::MAX).unwrap();
            all.extend(seen.iter().map(|it| text(&it.body).parse::<u32>().unwrap()));
        }
        all.sort_unstable();
        assert_eq!(all, (0..40).collect::<Vec<_>>(), "none is lost or doubled");
    });
}
