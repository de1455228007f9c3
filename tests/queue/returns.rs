//! What comes back keeps its place.

use duolog::{DeadReason, ErrorKind, Message, QueueOptions};

use crate::support::fails;

use crate::world::{
    World, bodies, body, browse, counts, ms, secs, send, take, take_bodies, take_one, worker,
};

#[test]
fn a_message_that_failed_comes_back_at_its_place() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b", "c", "d"]);
    let consumer = worker(&queue);
    let taken = take(&consumer, 3);
    taken[1].nack().unwrap();
    taken[0].nack().unwrap();
    send(&queue, &["e"]);
    assert_eq!(take_bodies(&consumer, 10), ["a", "b", "d", "e"]);
}

#[test]
fn a_message_that_failed_keeps_its_priority() {
    let (_world, queue) = World::with(QueueOptions::default());
    for (body, priority) in [("low", 0), ("mid", 4), ("high", 9), ("mid 2", 4)] {
        queue.send(&Message::new(body).priority(priority)).unwrap();
    }
    let consumer = worker(&queue);
    let taken = take(&consumer, 4);
    assert_eq!(bodies(&taken), ["high", "mid", "mid 2", "low"]);
    for taken in &taken {
        taken.nack().unwrap();
    }
    assert_eq!(take_bodies(&consumer, 4), ["high", "mid", "mid 2", "low"]);
}

#[test]
fn a_message_that_failed_is_before_others_of_its_key() {
    let (_world, queue) = World::with(QueueOptions::default());
    for body in ["a1", "a2", "a3"] {
        queue.send(&Message::new(body).order_key("a")).unwrap();
    }
    let consumer = worker(&queue);
    for _ in 0..3 {
        let first = take_one(&consumer);
        assert_eq!(body(&first), "a1");
        first.nack().unwrap();
    }
    take_one(&consumer).ack().unwrap();
    assert_eq!(take_bodies(&consumer, 9), ["a2"]);
}

#[test]
fn deliveries_count_the_failures_before() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(5)));
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    assert_eq!(take_one(&consumer).deliveries(), 1);
    world.pass(secs(5));
    let second = take_one(&consumer);
    assert_eq!(second.deliveries(), 2);
    second.nack().unwrap();
    assert_eq!(take_one(&consumer).deliveries(), 3);
    assert_eq!(browse(&queue)[0].failures, 2);
}

#[test]
fn a_consumer_that_goes_gives_all_back_at_once_and_nothing_is_counted() {
    let (_world, queue) = World::with(QueueOptions::default().shards(2));
    for n in 0..6 {
        let body = n.to_string();
        queue.send(&Message::new(&body).priority(n % 2)).unwrap();
    }
    let (gone, stays) = (worker(&queue), worker(&queue));
    let before = take(&gone, 4);
    let others = take(&stays, 1);
    drop(gone);
    assert_eq!(counts(&queue), (5, 1, 0));
    let again = take(&stays, 10);
    assert_eq!(again.len(), 5);
    assert!(again.iter().all(|again| again.deliveries() == 1));
    assert_eq!(bodies(&again)[..4], bodies(&before));
    drop(others);
}

#[test]
fn an_answer_after_its_consumer_is_gone_counts_until_somebody_else_has_it() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let gone = worker(&queue);
    let taken = take(&gone, 2);
    drop(gone);
    taken[0].ack().unwrap();
    let consumer = worker(&queue);
    assert_eq!(take_bodies(&consumer, 9), ["b"]);
    let late = taken[1].ack().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Fenced);
    assert_eq!(counts(&queue), (0, 1, 0));
}

#[test]
fn dropping_a_delivery_is_no_answer() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(30)));
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    drop(take(&consumer, 1));
    world.pass(ms(29_999));
    assert_eq!(counts(&queue), (0, 1, 0));
    world.pass(ms(1));
    assert_eq!(counts(&queue), (1, 0, 0));
}

#[test]
fn many_are_given_back_at_once_with_an_answer_for_each() {
    let (world, queue) = World::with(QueueOptions::default());
    let elsewhere = world.create("elsewhere", QueueOptions::default());
    send(&queue, &["a", "b", "c"]);
    send(&elsewhere, &["x"]);
    let consumer = worker(&queue);
    let mut taken = take(&consumer, 3);
    taken[1].ack().unwrap();
    let results = consumer
        .nack_all(&taken, Some(secs(5)), Some("later"))
        .unwrap();
    assert!(results[0].is_ok() && results[2].is_ok());
    fails(results[1].clone(), ErrorKind::Fenced, &["it is done"]);
    assert_eq!((counts(&queue), consumer.held()), ((0, 0, 2), 0));
    world.pass(secs(5));
    let again = take(&consumer, 3);
    assert_eq!(bodies(&again), ["a", "c"]);
    assert!(again.iter().all(|it| it.deliveries() == 2));

    let foreign = worker(&elsewhere);
    taken.clear();
    taken.extend(again);
    taken.extend(take(&foreign, 1));
    let wrong = consumer.nack_all(&taken, None, None);
    fails(wrong, ErrorKind::Invalid, &["another queue"]);
    assert_eq!(counts(&queue), (0, 2, 0));
}

#[test]
fn a_rejected_message_goes_without_a_retry() {
    let (_world, queue, dead) = World::with_dead(QueueOptions::default().max_deliveries(5));
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    take_one(&consumer)
        .dead_letter(Some("no such file"))
        .unwrap();
    assert_eq!(counts(&queue), (0, 0, 0));
    let note = browse(&dead)[0].death.clone().unwrap();
    assert_eq!((note.reason, note.deliveries), (DeadReason::Rejected, 1));
}

#[test]
fn a_rejected_message_without_a_dead_letter_queue_is_gone() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let consumer = worker(&queue);
    take_one(&consumer).dead_letter(None).unwrap();
    assert_eq!(counts(&queue), (1, 0, 0));
    assert_eq!(take_bodies(&consumer, 2), ["b"]);
}
