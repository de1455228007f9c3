//! Time to live: of a queue, of a message, anywhere in the queue.

use duolog::{Backoff, DeadReason, Message, QueueOptions};

use crate::world::{
    World, browse, browse_bodies, counts, ms, secs, send, take, take_bodies, take_one, worker,
};

#[test]
fn a_message_expires_when_the_queue_says_so() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().ttl(secs(10)));
    send(&queue, &["a"]);
    world.pass(secs(5));
    send(&queue, &["b"]);
    world.pass(ms(4999));
    assert_eq!(counts(&queue), (2, 0, 0));
    world.pass(ms(501));
    assert_eq!(browse_bodies(&queue), ["b"]);
    assert_eq!(browse_bodies(&dead), ["a"]);
    let note = browse(&dead)[0].death.clone().unwrap();
    assert_eq!((note.reason, note.deliveries), (DeadReason::Expired, 0));
}

#[test]
fn a_message_expires_at_its_own_time() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default());
    queue.send(&Message::new("a").ttl(secs(10))).unwrap();
    world.pass(ms(9999));
    assert_eq!(counts(&queue), (1, 0, 0));
    world.pass(ms(1));
    assert_eq!((counts(&queue), counts(&dead)), ((0, 0, 0), (1, 0, 0)));
}

#[test]
fn the_shorter_time_counts() {
    let (world, queue, _dead) = World::with_dead(QueueOptions::default().ttl(secs(10)));
    queue.send(&Message::new("own").ttl(secs(5))).unwrap();
    queue
        .send(&Message::new("queue's").ttl(secs(3600)))
        .unwrap();
    world.pass(secs(5));
    assert_eq!(browse_bodies(&queue), ["queue's"]);
    world.pass(secs(6));
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn messages_expire_in_the_middle_of_the_queue() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default());
    send(&queue, &["first"]);
    queue.send(&Message::new("brief").ttl(secs(5))).unwrap();
    send(&queue, &["last"]);
    world.pass(secs(5));
    assert_eq!(browse_bodies(&queue), ["first", "last"]);
    assert_eq!(browse_bodies(&dead), ["brief"]);
}

#[test]
fn an_expired_message_is_never_delivered_even_if_nobody_looked_before() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().ttl(secs(10)));
    queue.send(&Message::new("own").ttl(secs(5))).unwrap();
    send(&queue, &["queue's"]);
    world.clock.advance(secs(10));
    assert!(take(&worker(&queue), 9).is_empty());
    assert_eq!(counts(&dead), (2, 0, 0));
}

#[test]
fn without_a_dead_letter_queue_an_expired_message_is_gone() {
    let (world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("a").ttl(secs(5))).unwrap();
    world.pass(secs(5));
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn what_is_in_flight_does_not_expire() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().lease(secs(60)));
    queue.send(&Message::new("a").ttl(secs(5))).unwrap();
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    world.pass(secs(30));
    taken.ack().unwrap();
    assert_eq!((counts(&queue), counts(&dead)), ((0, 0, 0), (0, 0, 0)));
}

#[test]
fn what_comes_back_after_its_time_expires_though_nobody_asks_for_it() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().lease(secs(60)));
    let brief = |body: &'static str| Message::new(body).ttl(secs(5));
    for body in ["nacked", "given back", "lease ends"] {
        queue.send(&brief(body)).unwrap();
    }
    let (one, gone) = (worker(&queue), worker(&queue));
    let nacked = take_one(&one);
    let _given_back = take_one(&gone);
    let _lease_ends = take_one(&one);
    world.pass(secs(30));
    assert_eq!(counts(&queue), (0, 3, 0));
    nacked.nack().unwrap();
    drop(gone);
    world.pass(secs(60));
    assert_eq!(counts(&queue), (0, 0, 0));
    let reasons: Vec<_> = browse(&dead)
        .iter()
        .map(|letter| letter.death.as_ref().unwrap().reason)
        .collect();
    assert_eq!(reasons, [DeadReason::Expired; 3]);
}

#[test]
fn delayed_and_waiting_messages_expire_too() {
    let options = QueueOptions::default()
        .ttl(secs(10))
        .backoff(Backoff::fixed(secs(3600)));
    let (world, queue, dead) = World::with_dead(options);
    queue
        .send(&Message::new("delayed").delay(secs(3600)))
        .unwrap();
    send(&queue, &["failed"]);
    let consumer = worker(&queue);
    take_one(&consumer).nack().unwrap();
    for body in ["k1", "k2"] {
        queue.send(&Message::new(body).order_key("k")).unwrap();
    }
    let _k1 = take_one(&consumer);
    world.pass(secs(11));
    assert_eq!(counts(&queue), (0, 1, 0), "k1, in flight");
    let mut letters = browse_bodies(&dead);
    letters.sort();
    assert_eq!(letters, ["delayed", "failed", "k2"]);
}

#[test]
fn times_to_live_are_kept_over_restarts() {
    let (mut world, queue, _dead) = World::with_dead(QueueOptions::default());
    queue.send(&Message::new("a").ttl(secs(10))).unwrap();
    queue.send(&Message::new("b").ttl(secs(20))).unwrap();
    world.engine.checkpoint().unwrap();
    world.kill();
    world.pass(secs(10));
    assert_eq!(browse_bodies(&world.queue("jobs")), ["b"]);
    world.kill();
    assert_eq!(browse_bodies(&world.queue("dead")), ["a"]);
    world.clock.advance(secs(10));
    world.reopen();
    world.step();
    assert_eq!(browse_bodies(&world.queue("dead")), ["a", "b"]);
}

#[test]
fn a_message_that_is_moved_keeps_its_time() {
    let (world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default());
    queue.send(&Message::new("brief").ttl(secs(10))).unwrap();
    send(&queue, &["a"]);
    assert_eq!(queue.move_to(&other, 9, |_| true).unwrap(), 2);
    world.pass(secs(10));
    assert_eq!(browse_bodies(&other), ["a"]);
}

#[test]
fn a_dead_letter_does_not_expire_again() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default());
    queue.send(&Message::new("a").ttl(secs(10))).unwrap();
    world.pass(secs(10));
    world.pass(secs(3600));
    assert_eq!(counts(&dead), (1, 0, 0));
    dead.redrive(9, |_| true, None).unwrap();
    world.pass(secs(3600));
    assert_eq!(take_bodies(&worker(&queue), 9), ["a"]);
}
