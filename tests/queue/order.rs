//! Order keys: one message of a key at a time, in order, through failures and
//! restarts, while other keys flow.

use duolog::{Backoff, Message, Queue, QueueOptions};

use crate::world::{World, bodies, body, counts, ms, secs, take, take_bodies, take_one, worker};

/// Sends bodies such as `a1`: the letter is the key.
fn send_keyed(queue: &Queue, bodies: &[&str]) {
    for body in bodies {
        queue
            .send(&Message::new(*body).order_key(&body[..1]))
            .unwrap();
    }
}

#[test]
fn one_message_of_a_key_is_under_way_at_a_time() {
    let (_world, queue) = World::with(QueueOptions::default());
    send_keyed(&queue, &["a1", "a2", "b1", "a3", "b2", "c1"]);
    let (one, other) = (worker(&queue), worker(&queue));
    let taken = take(&one, 9);
    assert_eq!(bodies(&taken), ["a1", "b1", "c1"]);
    assert!(take(&other, 9).is_empty());
    assert_eq!(queue.stats().unwrap().parked, 3);
    taken[0].ack().unwrap();
    assert_eq!(take_bodies(&other, 9), ["a2"]);
    taken[1].ack().unwrap();
    assert_eq!(take_bodies(&one, 9), ["b2"]);
}

#[test]
fn a_key_waits_for_its_retry_while_other_keys_flow() {
    let options = QueueOptions::default().backoff(Backoff::fixed(secs(10)));
    let (world, queue) = World::with(options);
    send_keyed(&queue, &["a1", "a2", "b1", "b2"]);
    let consumer = worker(&queue);
    let taken = take(&consumer, 9);
    assert_eq!(bodies(&taken), ["a1", "b1"]);
    taken[0].nack().unwrap();
    taken[1].ack().unwrap();
    take_one(&consumer).ack().unwrap();
    assert_eq!(counts(&queue), (1, 0, 1), "a2 stays behind a1");
    assert!(take(&consumer, 9).is_empty());
    world.pass(secs(10));
    assert_eq!(take_bodies(&consumer, 9), ["a1"]);
}

#[test]
fn a_key_waits_for_its_retry_over_a_restart() {
    let options = QueueOptions::default().backoff(Backoff::fixed(secs(10)));
    for checkpoint in [false, true] {
        let (mut world, queue) = World::with(options.clone());
        send_keyed(&queue, &["a1", "a2", "b1"]);
        let consumer = worker(&queue);
        take_one(&consumer).nack().unwrap();
        drop(consumer);
        if checkpoint {
            world.engine.checkpoint().unwrap();
        }
        world.kill();
        let queue = world.queue("jobs");
        let consumer = worker(&queue);
        let b1 = take(&consumer, 9);
        assert_eq!(bodies(&b1), ["b1"], "checkpoint: {checkpoint}");
        world.pass(secs(10));
        let a1 = take_one(&consumer);
        assert_eq!((body(&a1).as_str(), a1.deliveries()), ("a1", 2));
        assert!(take(&consumer, 9).is_empty());
        a1.ack().unwrap();
        assert_eq!(take_bodies(&consumer, 9), ["a2"]);
    }
}

#[test]
fn a_key_passes_on_when_its_message_is_dead_expired_cancelled_or_purged() {
    let (world, queue, _dead) = World::with_dead(QueueOptions::default().max_deliveries(1));
    send_keyed(&queue, &["a1", "a2", "a3"]);
    let consumer = worker(&queue);
    take_one(&consumer).dead_letter(None).unwrap();
    take_one(&consumer).nack().unwrap();
    let a3 = take_one(&consumer);
    assert_eq!(body(&a3), "a3");
    a3.ack().unwrap();

    let brief = Message::new("b1").order_key("b").ttl(secs(5));
    let first = queue.send(&Message::new("b0").order_key("b")).unwrap();
    queue.send(&brief).unwrap();
    queue.send(&Message::new("b2").order_key("b")).unwrap();
    let b0 = take_one(&consumer);
    world.pass(secs(5));
    b0.ack().unwrap();
    assert_eq!(
        take_bodies(&consumer, 9),
        ["b2"],
        "b1 has expired behind {first}"
    );
}

#[test]
fn cancelling_the_first_of_a_key_lets_the_next_one_go() {
    let (_world, queue) = World::with(QueueOptions::default());
    send_keyed(&queue, &["a1", "a2"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    let id = taken.id();
    drop((taken, consumer));
    queue.cancel(id).unwrap();
    assert_eq!(take_bodies(&worker(&queue), 9), ["a2"]);
}

#[test]
fn the_lease_end_of_a_key_keeps_its_order() {
    let (world, queue) = World::with(QueueOptions::default().lease(secs(1)));
    send_keyed(&queue, &["a1", "a2", "a3"]);
    let consumer = worker(&queue);
    for expected in ["a1", "a2", "a3"] {
        for _ in 0..3 {
            assert_eq!(take_bodies(&consumer, 9), [expected]);
            world.pass(secs(1));
        }
        let taken = take_one(&consumer);
        assert_eq!(body(&taken), expected);
        taken.ack().unwrap();
    }
}

#[test]
fn each_key_is_in_order_whatever_fails() {
    let options = QueueOptions::default()
        .shards(2)
        .backoff(Backoff::exponential(ms(10), 2.0).jitter(0.5));
    let (mut world, queue) = World::with(options);
    let keys = ["a", "b", "c", "d", "e"];
    for n in 0..20 {
        for key in keys {
            let body = format!("{key}{n:02}");
            queue.send(&Message::new(&body).order_key(key)).unwrap();
        }
    }
    let mut queue = queue;
    let mut got = Vec::new();
    let mut turn = 0_u32;
    while got.len() < 100 {
        let consumer = worker(&queue);
        for taken in take(&consumer, 3) {
            turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if turn >> 30 == 0 {
                got.push(body(&taken));
                taken.ack().unwrap();
            } else {
                taken.nack().unwrap();
            }
        }
        drop(consumer);
        if got.len() % 10 == 9 {
            world.reopen();
            queue = world.queue("jobs");
        }
        world.pass(ms(1000));
    }
    for key in keys {
        let of_it: Vec<_> = got.iter().filter(|body| body.starts_with(key)).collect();
        assert!(of_it.is_sorted() && of_it.len() == 20, "{of_it:?}");
    }
}

#[test]
fn priorities_are_apart_and_keys_count_within_each() {
    let (_world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("a low").order_key("a")).unwrap();
    queue
        .send(&Message::new("a high").order_key("a").priority(5))
        .unwrap();
    assert_eq!(take_bodies(&worker(&queue), 9), ["a high", "a low"]);
}
