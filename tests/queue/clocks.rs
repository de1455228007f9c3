//! Clocks that jump: leases go by monotonic time, delays by the wall clock.

use duolog::{Backoff, Message, QueueOptions};

use crate::world::{
    EPOCH_MS, World, browse_bodies, counts, secs, send, take, take_bodies, take_one, worker,
};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_jump_of_the_wall_clock_ends_no_lease_and_makes_none_longer() {
    for jump in [-24 * HOUR_MS, 24 * HOUR_MS, i64::MAX - EPOCH_MS, -EPOCH_MS] {
        let (world, queue) = World::with(QueueOptions::default());
        send(&queue, &["a"]);
        let consumer = worker(&queue);
        let _held = take_one(&consumer);
        world.clock.jump_to(EPOCH_MS + jump);
        world.step();
        assert_eq!(counts(&queue), (0, 1, 0), "after a jump by {jump} ms");
        world.clock.jump_to(EPOCH_MS);
        world.pass(secs(30));
        assert_eq!(counts(&queue), (1, 0, 0), "after a jump by {jump} ms");
    }
}

#[test]
fn a_jump_forwards_lets_delays_go_and_one_backwards_keeps_them() {
    let (world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("a").delay(secs(60))).unwrap();
    world.clock.jump_to(EPOCH_MS - 10 * HOUR_MS);
    world.pass(secs(60));
    assert_eq!(counts(&queue), (0, 0, 1));
    world.clock.jump_to(EPOCH_MS + 60_000);
    world.step();
    assert_eq!(counts(&queue), (1, 0, 0));
}

#[test]
fn a_clock_that_went_backwards_over_a_restart_loses_nothing() {
    let options = QueueOptions::default().backoff(Backoff::fixed(secs(10)));
    let (mut world, queue) = World::with(options);
    send(&queue, &["a", "b"]);
    let consumer = worker(&queue);
    take_one(&consumer).nack().unwrap();
    let before = take_one(&consumer);
    before.ack().unwrap();
    drop((before, consumer));
    world.engine.close().unwrap();
    world.clock.jump_to(1);
    world.reopen();
    let queue = world.queue("jobs");
    send(&queue, &["c"]);
    let consumer = worker(&queue);
    let c = take(&consumer, 9);
    assert_eq!(c.len(), 1);
    c[0].ack().unwrap();
    world.clock.jump_to(EPOCH_MS + 10_000);
    world.step();
    assert_eq!(take_bodies(&consumer, 9), ["a"]);
}

#[test]
fn a_clock_that_went_backwards_makes_no_message_older_or_younger() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().ttl(secs(60)));
    send(&queue, &["a"]);
    world.clock.jump_to(EPOCH_MS - HOUR_MS);
    send(&queue, &["b"]);
    world.pass(secs(61));
    let mut left = browse_bodies(&queue);
    left.extend(browse_bodies(&dead));
    left.sort();
    assert_eq!(left, ["a", "b"], "none is lost");
    world.clock.jump_to(EPOCH_MS + 61_000);
    world.pass(secs(1));
    assert_eq!(counts(&queue), (0, 0, 0));
    assert_eq!(counts(&dead), (2, 0, 0));
}

#[test]
fn at_the_end_of_time_nothing_panics() {
    let (world, queue) = World::with(QueueOptions::default());
    world.clock.jump_to(i64::MAX - 10);
    queue
        .send(&Message::new("a").delay(secs(60)).ttl(secs(90)))
        .unwrap();
    send(&queue, &["b"]);
    let consumer = worker(&queue);
    take_one(&consumer).nack_with(Some(secs(60)), None).unwrap();
    world.step();
    assert_eq!(browse_bodies(&queue), ["a", "b"]);
    world.clock.jump_to(i64::MIN);
    send(&queue, &["c"]);
    world.step();
    assert_eq!(browse_bodies(&queue), ["a", "b", "c"]);
}
