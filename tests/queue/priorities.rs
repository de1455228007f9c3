//! Priorities: ten by default, up to 256, kept on return.

use duolog::{ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{World, body, take, take_bodies, take_one, worker};

#[test]
fn the_highest_priority_goes_first_and_within_one_the_oldest() {
    let (_world, queue) = World::with(QueueOptions::default());
    let mut expected = Vec::new();
    for (n, priority) in (0..50).zip([0_u8, 7, 4, 1, 8, 5, 2, 9, 6, 3].into_iter().cycle()) {
        let body = format!("{priority}-{n:02}");
        queue.send(&Message::new(&body).priority(priority)).unwrap();
        expected.push(body);
    }
    expected.sort_by_key(|body| std::cmp::Reverse(body.as_bytes()[0]));
    assert_eq!(take_bodies(&worker(&queue), 50), expected);
}

#[test]
fn without_a_priority_a_message_has_the_lowest() {
    let (_world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("none")).unwrap();
    queue.send(&Message::new("one").priority(1)).unwrap();
    assert_eq!(take_bodies(&worker(&queue), 9), ["one", "none"]);
}

#[test]
fn there_may_be_256_priorities() {
    let (mut world, queue) = World::with(QueueOptions::default().priority_max(255).shards(2));
    for priority in 0..=255_u8 {
        let body = priority.to_string();
        queue.send(&Message::new(&body).priority(priority)).unwrap();
    }
    world.engine.checkpoint().unwrap();
    world.reopen();
    let expected: Vec<_> = (0..=255).rev().map(|it| it.to_string()).collect();
    assert_eq!(take_bodies(&worker(&world.queue("jobs")), 999), expected);
}

#[test]
fn a_priority_that_the_queue_does_not_have_is_refused() {
    let (_world, queue) = World::with(QueueOptions::default());
    let sent = queue.send(&Message::new("a").priority(10));
    fails(sent, ErrorKind::Invalid, &["priority 10", "priority_max"]);
}

#[test]
fn what_is_urgent_overtakes_what_came_back() {
    let (_world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("back").priority(4)).unwrap();
    let consumer = worker(&queue);
    take_one(&consumer).nack().unwrap();
    queue.send(&Message::new("urgent").priority(5)).unwrap();
    queue.send(&Message::new("same").priority(4)).unwrap();
    assert_eq!(take_bodies(&consumer, 9), ["urgent", "back", "same"]);
}

#[test]
fn priorities_are_kept_over_restarts_and_leases() {
    let (mut world, queue) = World::with(QueueOptions::default());
    for (body, priority) in [("low", 1), ("high", 8)] {
        queue.send(&Message::new(body).priority(priority)).unwrap();
    }
    let consumer = worker(&queue);
    assert_eq!(take(&consumer, 9).len(), 2);
    drop(consumer);
    world.kill();
    let consumer = worker(&world.queue("jobs"));
    let first = take_one(&consumer);
    assert_eq!(body(&first), "high");
    world.pass(first_lease());
    assert_eq!(take_bodies(&consumer, 9), ["high", "low"]);
}

fn first_lease() -> std::time::Duration {
    QueueOptions::default().lease
}
