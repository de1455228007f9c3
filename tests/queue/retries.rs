//! Retries: how often, and how long between them.

use std::time::Duration;

use duolog::{Backoff, DeadReason, Durability, ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{EPOCH_MS, World, body, browse, counts, ms, secs, send, take, take_one, worker};

#[test]
fn three_retries_after_one_two_and_four_seconds_and_then_dead() {
    let options = QueueOptions::default()
        .max_deliveries(4)
        .backoff(Backoff::exponential(secs(1), 2.0));
    let (world, queue, dead) = World::with_dead(options);
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    for (delivery, wait) in [(1, 1), (2, 2), (3, 4)] {
        let taken = take_one(&consumer);
        assert_eq!(taken.deliveries(), delivery);
        taken.nack().unwrap();
        world.pass(secs(wait).checked_sub(ms(1)).unwrap());
        assert!(take(&consumer, 1).is_empty(), "too early after {delivery}");
        world.pass(ms(1));
    }
    let last = take_one(&consumer);
    assert_eq!(last.deliveries(), 4);
    last.nack_with(None, Some("still no such file")).unwrap();
    assert_eq!(counts(&queue), (0, 0, 0));

    let seen = browse(&dead);
    let note = seen[0].death.as_ref().unwrap();
    assert_eq!(note.reason, DeadReason::MaxDeliveries);
    assert_eq!(note.error.as_deref(), Some("still no such file"));
    assert_eq!((note.deliveries, note.count), (4, 1));
    assert_eq!(note.first.millis(), EPOCH_MS);
    assert_eq!(note.last.millis(), EPOCH_MS + 7000);
    assert_eq!(seen[0].sent.millis(), EPOCH_MS);
}

#[test]
fn retries_go_on_where_they_were_after_a_restart() {
    let options = QueueOptions::default()
        .max_deliveries(3)
        .backoff(Backoff::fixed(secs(1)));
    for checkpoint in [false, true] {
        let (mut world, queue, _dead) = World::with_dead(options.clone());
        send(&queue, &["a"]);
        let consumer = worker(&queue);
        take_one(&consumer).nack().unwrap();
        drop(consumer);
        if checkpoint {
            world.engine.checkpoint().unwrap();
        }
        world.kill();
        world.pass(secs(1));
        let consumer = worker(&world.queue("jobs"));
        let second = take_one(&consumer);
        assert_eq!(second.deliveries(), 2);
        second.nack().unwrap();
        world.pass(secs(1));
        take_one(&consumer).nack().unwrap();
        let note = browse(&world.queue("dead"))[0].death.clone().unwrap();
        assert_eq!((note.deliveries, note.first.millis()), (3, EPOCH_MS));
        drop(consumer);
    }
}

#[test]
fn leases_that_end_count_as_failures_and_wait_as_long() {
    let options = QueueOptions::default()
        .lease(secs(10))
        .max_deliveries(2)
        .backoff(Backoff::fixed(secs(5)));
    let (world, queue, dead) = World::with_dead(options);
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let _first = take_one(&consumer);
    world.pass(secs(10));
    assert_eq!(counts(&queue), (0, 0, 1));
    world.pass(secs(5));
    let _second = take_one(&consumer);
    world.pass(secs(10));
    assert_eq!(counts(&queue), (0, 0, 0));
    let note = browse(&dead)[0].death.clone().unwrap();
    assert_eq!(
        (note.reason, note.deliveries),
        (DeadReason::MaxDeliveries, 2)
    );
    assert_eq!(
        note.error.as_deref(),
        Some("the lease ended without an answer")
    );
}

#[test]
fn a_nack_may_choose_its_own_wait() {
    let options = QueueOptions::default().backoff(Backoff::fixed(secs(100)));
    let (world, queue) = World::with(options);
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    take_one(&consumer).nack_with(Some(secs(0)), None).unwrap();
    take_one(&consumer).nack_with(Some(secs(3)), None).unwrap();
    world.pass(secs(2));
    assert!(take(&consumer, 1).is_empty());
    world.pass(secs(1));
    assert_eq!(take_one(&consumer).deliveries(), 3);
}

#[test]
fn without_a_limit_a_message_is_tried_for_ever() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    for delivery in 1..=500 {
        let taken = take_one(&consumer);
        assert_eq!(taken.deliveries(), delivery);
        taken.nack().unwrap();
    }
}

#[test]
fn backoff_has_a_cap_and_chance_takes_off_its_share_at_the_most() {
    let backoff = Backoff::exponential(secs(1), 2.0).cap(secs(60)).jitter(0.5);
    assert_eq!(backoff.delay(1, 0.0), secs(1));
    assert_eq!(backoff.delay(5, 0.0), secs(16));
    assert_eq!(backoff.delay(5, 1.0), secs(8));
    for failures in [7, 64, 1000, 100_000, u32::MAX] {
        assert_eq!(backoff.delay(failures, 0.0), secs(60), "{failures}");
        assert_eq!(backoff.delay(failures, 1.0), secs(30), "{failures}");
    }
}

#[test]
fn no_backoff_is_none_however_often_it_failed() {
    let backoff = Backoff::exponential(Duration::ZERO, 2.0);
    for failures in [1, 2, 1000, 100_000, u32::MAX] {
        assert_eq!(backoff.delay(failures, 0.5), Duration::ZERO, "{failures}");
    }
}

#[test]
fn messages_that_failed_together_do_not_come_back_together() {
    let options = QueueOptions::default().backoff(Backoff::fixed(secs(100)).jitter(1.0));
    let (world, queue) = World::with(options);
    for _ in 0..100 {
        send(&queue, &["a"]);
    }
    let consumer = worker(&queue);
    for it in take(&consumer, 100) {
        it.nack().unwrap();
    }
    world.pass(secs(50));
    let (ready, _, delayed) = counts(&queue);
    assert!(
        (20..=80).contains(&ready) && ready + delayed == 100,
        "{ready} are back"
    );
    world.pass(secs(50));
    assert_eq!(counts(&queue), (100, 0, 0));
}

#[test]
fn a_wrong_backoff_is_refused_by_its_name() {
    let world = World::new();
    let good = Backoff::exponential(secs(1), 2.0);
    for (wrong, name) in [
        (good.jitter(1.5), "backoff.jitter"),
        (good.jitter(f64::NAN), "backoff.jitter"),
        (good.cap(ms(999)), "backoff.base"),
        (good.cap(Duration::MAX), "backoff.cap"),
        (Backoff::exponential(secs(1), 0.5), "backoff.factor"),
        (
            Backoff::exponential(secs(1), f64::INFINITY),
            "backoff.factor",
        ),
        (Backoff::exponential(secs(1), f64::NAN), "backoff.factor"),
    ] {
        let made = world
            .engine
            .create_queue("a", QueueOptions::default().backoff(wrong));
        fails(made, ErrorKind::Invalid, &[name]);
    }
}

#[test]
fn a_failure_of_a_buffered_queue_is_kept_too() {
    let options = QueueOptions::default().durability(Durability::Buffered);
    let (mut world, queue) = World::with(options);
    queue.send(&Message::new("a")).unwrap();
    let consumer = worker(&queue);
    take_one(&consumer).nack().unwrap();
    drop(consumer);
    world.reopen();
    let consumer = worker(&world.queue("jobs"));
    let again = take_one(&consumer);
    assert_eq!((body(&again).as_str(), again.deliveries()), ("a", 2));
}
