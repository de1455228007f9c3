//! The visibility timeout: whose a message is, and for how long.

use duolog::{ConsumerOptions, ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{World, counts, ms, secs, send, send_numbers, take, take_one, worker};

const DAY: u64 = 24 * 3600;

#[test]
fn a_message_without_an_answer_is_delivered_again_when_its_lease_ends() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let (one, other) = (worker(&queue), worker(&queue));
    let _held = take_one(&one);
    world.pass(ms(29_999));
    assert!(take(&other, 1).is_empty());
    world.pass(ms(1));
    assert_eq!(take_one(&other).deliveries(), 2);
}

#[test]
fn a_lease_can_be_made_longer_and_shorter() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(10)));
    send(&queue, &["a", "b"]);
    let consumer = worker(&queue);
    let taken = take(&consumer, 2);
    world.pass(secs(9));
    taken[0].extend(secs(3600)).unwrap();
    taken[1].extend(secs(10)).unwrap();
    world.pass(secs(9));
    assert_eq!(counts(&queue), (0, 2, 0));
    world.pass(secs(1));
    assert_eq!(counts(&queue), (1, 1, 0));
    taken[0].extend(ms(1)).unwrap();
    world.pass(ms(1));
    assert_eq!(counts(&queue), (2, 0, 0));
}

#[test]
fn a_lease_may_be_extended_for_ever() {
    let (world, queue) = World::with(QueueOptions::default().lease(ms(100)));
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    for _ in 0..1000 {
        world.pass(ms(99));
        taken.extend(ms(100)).unwrap();
    }
    assert_eq!(taken.deliveries(), 1);
    taken.ack().unwrap();
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn a_late_ack_counts_as_long_as_nobody_else_has_the_message() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let late = take_one(&consumer);
    world.pass(secs(3600));
    assert_eq!(counts(&queue), (1, 0, 0));
    late.ack().unwrap();
    assert_eq!(counts(&queue), (0, 0, 0));
    assert!(take(&consumer, 1).is_empty());
}

#[test]
fn a_late_ack_of_a_message_that_somebody_else_has_is_fenced() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let (one, other) = (worker(&queue), worker(&queue));
    let late = take_one(&one);
    world.pass(secs(30));
    let new = take_one(&other);
    fails(late.ack(), ErrorKind::Fenced, &["delivered again"]);
    fails(late.nack(), ErrorKind::Fenced, &["delivered again"]);
    fails(
        late.extend(secs(1)),
        ErrorKind::Fenced,
        &["delivered again"],
    );
    fails(
        late.dead_letter(None),
        ErrorKind::Fenced,
        &["delivered again"],
    );
    assert_eq!(counts(&queue), (0, 1, 0));
    new.ack().unwrap();
}

#[test]
fn a_late_nack_is_not_counted_twice() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let late = take_one(&consumer);
    world.pass(secs(30));
    late.nack().unwrap();
    assert_eq!(take_one(&consumer).deliveries(), 2);
}

#[test]
fn a_lease_that_is_over_cannot_be_extended() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let late = take_one(&consumer);
    world.pass(secs(30));
    fails(
        late.extend(secs(9)),
        ErrorKind::Fenced,
        &["may still be acknowledged"],
    );
    late.ack().unwrap();
}

#[test]
fn a_consumer_has_a_lease_of_its_own() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let short = queue
        .consumer(ConsumerOptions::default().lease(ms(1)))
        .unwrap();
    let long = queue
        .consumer(ConsumerOptions::default().lease(secs(7 * DAY)))
        .unwrap();
    let _held = (take_one(&short), take_one(&long));
    world.pass(ms(1));
    assert_eq!(counts(&queue), (1, 1, 0));
    world.pass(secs(7 * DAY));
    assert_eq!(counts(&queue), (2, 0, 0));
}

#[test]
fn a_lease_out_of_range_is_refused() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    for wrong in [secs(0), secs(7 * DAY + 1), std::time::Duration::MAX] {
        fails(taken.extend(wrong), ErrorKind::Invalid, &["lease"]);
        let own = ConsumerOptions::default().lease(wrong);
        fails(queue.consumer(own), ErrorKind::Invalid, &["lease"]);
        let made = world
            .engine
            .create_queue("no", QueueOptions::default().lease(wrong));
        fails(made, ErrorKind::Invalid, &["lease"]);
    }
}

#[test]
fn thousands_of_leases_that_end_at_once_all_end() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(1)));
    send_numbers(&queue, 5000);
    let consumer = worker(&queue);
    assert_eq!(take(&consumer, 5000).len(), 5000);
    world.clock.advance(secs(1));
    assert!(world.engine.run_pending().unwrap());
    let (ready, in_flight, _) = counts(&queue);
    assert!(ready > 0 && in_flight > 0, "one step ended {ready} leases");
    world.step();
    assert_eq!(counts(&queue), (5000, 0, 0));
    assert_eq!(consumer.held(), 0);
}

#[test]
fn the_queues_lease_can_be_altered_for_deliveries_to_come() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(10)));
    queue.send(&Message::new("a")).unwrap();
    queue.send(&Message::new("b")).unwrap();
    let consumer = worker(&queue);
    let _first = take_one(&consumer);
    world
        .engine
        .alter_queue("jobs", QueueOptions::default().lease(secs(60)))
        .unwrap();
    let _second = take_one(&consumer);
    world.pass(secs(10));
    assert_eq!(counts(&queue), (1, 1, 0));
    world.pass(secs(50));
    assert_eq!(counts(&queue), (2, 0, 0));
}
