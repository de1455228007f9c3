//! Acknowledged is gone: one by one, in any order, many at once; and the space
//! comes back.

use duolog::{ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{World, counts, send, send_numbers, take, take_bodies, take_one, worker};

#[test]
fn a_message_that_was_acknowledged_is_gone() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let consumer = worker(&queue);
    take_one(&consumer).ack().unwrap();
    assert_eq!(counts(&queue), (1, 0, 0));
    drop(consumer);
    world.step();
    assert_eq!(take_bodies(&worker(&queue), 10), ["b"]);
}

#[test]
fn a_message_is_with_one_consumer_at_a_time() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b", "c"]);
    let (one, other) = (worker(&queue), worker(&queue));
    assert_eq!(take_bodies(&one, 2), ["a", "b"]);
    assert_eq!(take_bodies(&other, 10), ["c"]);
    assert!(take(&one, 10).is_empty());
}

#[test]
fn acks_in_any_order_leave_nothing() {
    let (world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 1000);
    let consumer = worker(&queue);
    let taken = take(&consumer, 1000);
    // 7 and 1000 have no common divisor: each comes once, far from its neighbour.
    for n in 0..1000 {
        taken[n * 7 % 1000].ack().unwrap();
    }
    let stats = queue.stats().unwrap();
    assert_eq!((stats.ready, stats.in_flight, stats.holes), (0, 0, 0));
    assert_eq!((stats.in_flight_bytes, stats.oldest), (0, None));
    world.engine.checkpoint().unwrap();
    assert!(take(&consumer, 1).is_empty());
}

#[test]
fn space_comes_back_whatever_the_order_of_the_acks() {
    let (world, queue) = World::with(QueueOptions::default().segment_bytes_max(8192));
    let body = "x".repeat(1024);
    for _ in 0..100 {
        queue.send(&Message::new(&body)).unwrap();
    }
    world.engine.checkpoint().unwrap();
    let full = queue.stats().unwrap().segment_bytes;
    assert!(full > 100 * 1024, "{full} bytes for 100 messages of 1 KiB");

    let consumer = worker(&queue);
    let taken = take(&consumer, 100);
    taken.iter().rev().for_each(|taken| taken.ack().unwrap());
    world.engine.checkpoint().unwrap();
    let left = queue.stats().unwrap().segment_bytes;
    assert!(left <= 8192 + 4096, "{left} bytes for no message");
}

#[test]
fn what_is_consumed_before_a_checkpoint_never_reaches_a_segment() {
    let (world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 100);
    let consumer = worker(&queue);
    let taken = take(&consumer, 100);
    for result in consumer.ack_all(&taken).unwrap() {
        result.unwrap();
    }
    world.engine.checkpoint().unwrap();
    assert_eq!(queue.stats().unwrap().segment_bytes, 0);
}

#[test]
fn ack_all_answers_for_each_and_one_that_is_late_does_not_stop_the_others() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b", "c"]);
    let consumer = worker(&queue);
    let mut taken = take(&consumer, 3);
    taken[1].nack().unwrap();
    let again = take_one(&consumer);
    let results = consumer.ack_all(&taken).unwrap();
    assert!(results[0].is_ok() && results[2].is_ok());
    fails(results[1].clone(), ErrorKind::Fenced, &["delivered again"]);
    assert_eq!(counts(&queue), (0, 1, 0), "the new delivery of b");

    // The late one and the good one of the same message, in one list.
    let late = taken.remove(1);
    let both = consumer.ack_all(&[late, again]).unwrap();
    fails(both[0].clone(), ErrorKind::Fenced, &["delivered again"]);
    assert!(both[1].is_ok(), "{:?}", both[1]);
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn ack_all_of_nothing_is_nothing() {
    let (_world, queue) = World::with(QueueOptions::default());
    assert!(worker(&queue).ack_all(&[]).unwrap().is_empty());
}

#[test]
fn ack_through_takes_all_that_was_delivered_before_and_no_more() {
    let options = QueueOptions::default().shards(3);
    let (_world, queue) = World::with(options);
    for n in 0..12 {
        let body = n.to_string();
        let message = Message::new(&body).priority(u8::try_from(n % 3).unwrap());
        queue.send(&message).unwrap();
    }
    let (one, other) = (worker(&queue), worker(&queue));
    let first = take(&one, 4);
    let theirs = take(&other, 2);
    let second = take(&one, 4);
    assert_eq!(one.ack_through(&second[1]).unwrap(), 6);
    assert_eq!((one.held(), other.held()), (2, 2));
    assert_eq!(counts(&queue), (2, 4, 0));
    for done in first.iter().chain(&second[..2]) {
        fails(done.ack(), ErrorKind::Fenced, &["it is done"]);
    }
    second[2..]
        .iter()
        .chain(&theirs)
        .for_each(|it| it.ack().unwrap());
}

#[test]
fn a_range_is_acknowledged_as_far_as_this_consumer_holds_it() {
    let (_world, queue) = World::with(QueueOptions::default().shards(2));
    send_numbers(&queue, 1);
    for _ in 0..9 {
        send(&queue, &["x", "y"]);
    }
    let (one, other) = (worker(&queue), worker(&queue));
    let mut mine: Vec<_> = take(&one, 6);
    let _theirs = take(&other, 4);
    mine.extend(take(&one, 9));
    let id = |text: &str| text.parse().unwrap();
    let of_lane: Vec<_> = mine.iter().filter(|it| it.id().lane == 0).collect();
    let within = of_lane
        .iter()
        .filter(|it| (2..=5).contains(&it.id().offset.get()));
    let within = within.count();
    assert_eq!(one.ack_range(id("0-2"), id("0-5")).unwrap(), within);
    assert_eq!(one.ack_range(id("0-2"), id("0-5")).unwrap(), 0);
    assert_eq!(one.held() as usize, mine.len() - within);
    assert_eq!(one.ack_range(id("0-5"), id("0-2")).unwrap(), 0);
    let apart = one.ack_range(id("0-2"), id("1-5"));
    fails(apart, ErrorKind::Invalid, &["different lanes"]);
    assert!(one.ack_range(id("99-0"), id("99-5")).is_err());
}

#[test]
fn ack_through_a_delivery_that_is_not_this_consumers_changes_nothing() {
    let (world, queue) = World::with(QueueOptions::default());
    let elsewhere = world.create("elsewhere", QueueOptions::default());
    send(&queue, &["a", "b", "c"]);
    send(&elsewhere, &["x", "y", "z"]);
    let (one, other) = (worker(&queue), worker(&queue));
    let mine = take(&one, 2);
    let theirs = take_one(&other);
    fails(
        one.ack_through(&theirs),
        ErrorKind::Invalid,
        &["another consumer"],
    );
    let foreign = worker(&elsewhere);
    let foreign = take(&foreign, 3);
    fails(
        one.ack_through(&foreign[2]),
        ErrorKind::Invalid,
        &["another"],
    );
    assert_eq!(counts(&queue), (0, 3, 0));

    mine[1].nack().unwrap();
    let _again = take_one(&other);
    fails(
        one.ack_through(&mine[1]),
        ErrorKind::Fenced,
        &["delivered again"],
    );
    assert_eq!(counts(&queue), (0, 3, 0));
}

#[test]
fn a_delivery_of_another_queue_is_refused_and_nothing_is_acknowledged() {
    let (world, queue) = World::with(QueueOptions::default());
    let elsewhere = world.create("elsewhere", QueueOptions::default());
    send(&queue, &["a", "b"]);
    send(&elsewhere, &["x", "y"]);
    let (here, there) = (worker(&queue), worker(&elsewhere));
    let mut list = take(&here, 2);
    list.extend(take(&there, 2));
    fails(here.ack_all(&list), ErrorKind::Invalid, &["another queue"]);
    assert_eq!(counts(&queue), (0, 2, 0));
    assert_eq!(counts(&elsewhere), (0, 2, 0));
}

#[test]
fn consumers_of_one_queue_may_answer_for_each_other() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let (one, other) = (worker(&queue), worker(&queue));
    let mut list = take(&one, 1);
    list.extend(take(&other, 1));
    assert!(one.ack_all(&list).unwrap().iter().all(Result::is_ok));
    assert_eq!((one.held(), other.held()), (0, 0));
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn a_second_ack_is_an_error_and_never_a_silent_success() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    taken.ack().unwrap();
    fails(taken.ack(), ErrorKind::Fenced, &["it is done"]);
    fails(taken.nack(), ErrorKind::Fenced, &["it is done"]);
    fails(taken.dead_letter(None), ErrorKind::Fenced, &["it is done"]);
    assert_eq!(consumer.held(), 0);
}
