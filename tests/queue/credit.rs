//! Prefetch: how much a consumer may hold.

use std::sync::atomic::{AtomicBool, Ordering};

use duolog::{Consumer, ConsumerOptions, ErrorKind, Queue, QueueOptions};

use crate::support::{fails, watched};
use crate::world::{World, ms, secs, send, send_numbers, take, take_one, worker};

fn consumer(queue: &Queue, prefetch: u32) -> Consumer {
    let options = ConsumerOptions::default().prefetch(prefetch);
    queue.consumer(options).unwrap()
}

#[test]
fn a_consumer_holds_fifty_if_nobody_says_otherwise() {
    let (_world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 200);
    let consumer = queue.consumer(ConsumerOptions::default()).unwrap();
    let first = take(&consumer, 30);
    let second = take(&consumer, 1000);
    assert_eq!((first.len(), second.len(), consumer.held()), (30, 20, 50));
    assert!(take(&consumer, 1).is_empty());
    assert_eq!(
        take(&worker(&queue), 1000).len(),
        150,
        "no limit by its name"
    );
}

#[test]
fn a_prefetch_of_none_is_refused() {
    let (_world, queue) = World::with(QueueOptions::default());
    let none = queue.consumer(ConsumerOptions::default().prefetch(0));
    fails(
        none,
        ErrorKind::Invalid,
        &["prefetch", "unlimited_prefetch"],
    );
    let consumer = consumer(&queue, 1);
    fails(
        consumer.set_prefetch(0),
        ErrorKind::Invalid,
        &["at least 1"],
    );
    send(&queue, &["a"]);
    assert_eq!(take(&consumer, 9).len(), 1, "it has what it had");
}

#[test]
fn prefetch_changes_while_it_runs() {
    let (_world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 20);
    let consumer = consumer(&queue, 2);
    let mut held = take(&consumer, 20);
    assert_eq!(held.len(), 2);
    consumer.set_prefetch(5).unwrap();
    held.extend(take(&consumer, 20));
    assert_eq!(held.len(), 5);
    // Less than it holds: nothing new before it is below.
    consumer.set_prefetch(3).unwrap();
    held.pop().unwrap().ack().unwrap();
    held.pop().unwrap().ack().unwrap();
    assert!(take(&consumer, 20).is_empty());
    held.pop().unwrap().ack().unwrap();
    assert_eq!(take(&consumer, 20).len(), 1);
}

#[test]
fn every_end_of_a_delivery_gives_room_for_another() {
    let (world, queue, _dead) = World::with_dead(QueueOptions::default().lease(secs(10)));
    send_numbers(&queue, 20);
    let consumer = consumer(&queue, 1);
    take_one(&consumer).ack().unwrap();
    take_one(&consumer).nack().unwrap();
    take_one(&consumer).dead_letter(None).unwrap();
    let forgotten = take_one(&consumer);
    assert_eq!(consumer.held(), 1);
    world.pass(secs(10));
    assert_eq!(consumer.held(), 0, "the lease of {forgotten:?} is over");
    let mut tx = world.engine.transaction();
    tx.ack(&take_one(&consumer));
    tx.commit().unwrap();
    assert_eq!(consumer.held(), 0);
    let last = take_one(&consumer);
    consumer.ack_through(&last).unwrap();
    assert_eq!(consumer.held(), 0);
}

#[test]
fn an_answer_after_the_lease_gives_no_room_twice() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(10)));
    send_numbers(&queue, 3);
    let consumer = consumer(&queue, 2);
    let late = take(&consumer, 2);
    world.pass(secs(10));
    assert_eq!(consumer.held(), 0);
    for late in &late {
        late.ack().unwrap();
    }
    assert_eq!(consumer.held(), 0);
    assert_eq!(take(&consumer, 5).len(), 1);
}

#[test]
fn threads_that_share_a_consumer_never_hold_more_than_it_may() {
    watched("shared consumer", || {
        let (_world, queue) = World::with(QueueOptions::default());
        send_numbers(&queue, 2000);
        let consumer = consumer(&queue, 3);
        let over = AtomicBool::new(false);
        let work = || {
            loop {
                let taken = take(&consumer, 2);
                if consumer.held() > 3 {
                    over.store(true, Ordering::Relaxed);
                }
                let stats = queue.stats().unwrap();
                if stats.in_flight > 3 {
                    over.store(true, Ordering::Relaxed);
                }
                for taken in &taken {
                    taken.ack().unwrap();
                }
                if stats.ready + stats.in_flight == 0 {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(work);
            }
        });
        assert!(!over.load(Ordering::Relaxed));
        assert_eq!(consumer.held(), 0);
    });
}

#[test]
fn a_receive_that_waits_for_room_wakes_when_there_is() {
    watched("room", || {
        let (_world, queue) = World::with(QueueOptions::default());
        send(&queue, &["a", "b"]);
        let consumer = consumer(&queue, 1);
        let first = take_one(&consumer);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| consumer.receive(1, secs(60)).unwrap());
            std::thread::sleep(ms(50));
            first.ack().unwrap();
            let got = waits.join().unwrap();
            assert_eq!(&got[0].body()[..], b"b");
        });
    });
}
