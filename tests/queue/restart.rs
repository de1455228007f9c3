//! What a restart keeps: acknowledged never again, unacknowledged back.

use duolog::{Backoff, ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{
    World, body, browse, browse_bodies, counts, secs, send, send_numbers, take, take_bodies,
    take_one, worker,
};

#[test]
fn acknowledged_never_comes_again_and_the_rest_comes_back() {
    for checkpoint in [false, true] {
        let (mut world, queue) = World::with(QueueOptions::default());
        send_numbers(&queue, 10);
        let consumer = worker(&queue);
        for taken in take(&consumer, 8).iter().step_by(2) {
            taken.ack().unwrap();
        }
        drop(consumer);
        if checkpoint {
            world.engine.checkpoint().unwrap();
        }
        world.kill();
        let queue = world.queue("jobs");
        assert_eq!(counts(&queue), (6, 0, 0));
        let again = take(&worker(&queue), 99);
        let bodies: Vec<_> = again.iter().map(body).collect();
        assert_eq!(
            bodies,
            ["1", "3", "5", "7", "8", "9"],
            "checkpoint: {checkpoint}"
        );
        assert!(
            again.iter().all(|it| it.deliveries() == 1),
            "nothing is counted"
        );
    }
}

#[test]
fn failures_are_kept_and_so_are_waits() {
    let options = QueueOptions::default().backoff(Backoff::fixed(secs(10)));
    let (mut world, queue) = World::with(options);
    send(&queue, &["a", "b"]);
    let consumer = worker(&queue);
    take_one(&consumer).nack().unwrap();
    take_one(&consumer).nack_with(Some(secs(0)), None).unwrap();
    drop(consumer);
    for _ in 0..2 {
        world.kill();
        let queue = world.queue("jobs");
        assert_eq!(counts(&queue), (1, 0, 1));
        assert!(browse(&queue).iter().all(|it| it.failures == 1));
        world.engine.checkpoint().unwrap();
    }
    world.pass(secs(10));
    let again = take(&worker(&world.queue("jobs")), 9);
    assert!(again.len() == 2 && again.iter().all(|it| it.deliveries() == 2));
}

#[test]
fn a_queue_and_its_options_are_there_again() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let altered = QueueOptions::default()
        .lease(secs(7))
        .ttl(secs(77))
        .length_max(777)
        .backoff(Backoff::exponential(secs(1), 3.0).jitter(0.25))
        .dedup_window(secs(9))
        .single_active(true);
    world.engine.alter_queue("jobs", altered.clone()).unwrap();
    for checkpoint in [false, true] {
        if checkpoint {
            world.engine.checkpoint().unwrap();
        }
        world.kill();
        assert_eq!(world.queue("jobs").options(), altered);
        assert_eq!(world.queue("jobs").id(), queue.id());
    }
}

#[test]
fn a_deleted_queue_stays_away_and_its_name_can_be_used_again() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send(&queue, &["old"]);
    queue.send(&Message::new("old").delay(secs(5))).unwrap();
    world.engine.checkpoint().unwrap();
    world.engine.delete_queue("jobs").unwrap();
    world.kill();
    fails(world.engine.queue("jobs"), ErrorKind::NotFound, &["jobs"]);
    let again = world.create("jobs", QueueOptions::default());
    assert_ne!(again.id(), queue.id());
    send(&again, &["new"]);
    world.pass(secs(5));
    world.kill();
    assert_eq!(browse_bodies(&world.queue("jobs")), ["new"]);
}

#[test]
fn handles_of_a_closed_store_say_so() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    world.reopen();
    fails(taken.ack(), ErrorKind::Closed, &[]);
    fails(taken.nack(), ErrorKind::Closed, &[]);
    fails(taken.extend(secs(1)), ErrorKind::Closed, &[]);
    fails(consumer.ack_through(&taken), ErrorKind::Closed, &[]);
    fails(consumer.receive(1, secs(9)), ErrorKind::Closed, &[]);
    fails(queue.send(&Message::new("b")), ErrorKind::Closed, &[]);
    fails(queue.purge(), ErrorKind::Closed, &[]);
    assert_eq!(take_bodies(&worker(&world.queue("jobs")), 9), ["a"]);
}

#[test]
fn a_store_that_is_read_only_can_be_looked_at_and_no_more() {
    let place = crate::support::Place::new();
    let engine = place.open(crate::support::manual());
    let queue = engine
        .create_queue("jobs", QueueOptions::default())
        .unwrap();
    send(&queue, &["a"]);
    let id = queue.send(&Message::new("b").delay(secs(60))).unwrap();
    engine.close().unwrap();
    let engine = place.open(crate::support::read_only());
    let queue = engine.queue("jobs").unwrap();
    assert_eq!(browse_bodies(&queue), ["a", "b"]);
    assert_eq!(counts(&queue), (1, 0, 1));
    let consumer = queue.consumer(duolog::ConsumerOptions::default());
    fails(consumer, ErrorKind::ReadOnly, &[]);
    fails(queue.send(&Message::new("c")), ErrorKind::ReadOnly, &[]);
    fails(queue.cancel(id), ErrorKind::ReadOnly, &[]);
    fails(queue.purge(), ErrorKind::ReadOnly, &[]);
    let made = engine.create_queue("no", QueueOptions::default());
    fails(made, ErrorKind::ReadOnly, &[]);
    let mut tx = engine.transaction();
    tx.send(&queue, Message::new("c"));
    fails(tx.commit(), ErrorKind::ReadOnly, &[]);
}

#[test]
fn many_restarts_and_checkpoints_change_nothing() {
    let (mut world, mut queue) = World::with(QueueOptions::default().segment_bytes_max(4096));
    let mut expected = Vec::new();
    for round in 0..20 {
        for n in 0..5 {
            let body = format!("{round}-{n}");
            send(&queue, &[&body]);
            expected.push(body);
        }
        let consumer = worker(&queue);
        let taken = take(&consumer, 999);
        assert_eq!(taken.len(), expected.len());
        for n in [3, 1] {
            taken[n].ack().unwrap();
            expected.remove(n);
        }
        drop((taken, consumer));
        if round % 3 == 0 {
            world.engine.checkpoint().unwrap();
        }
        if round % 2 == 0 {
            world.kill();
        } else {
            world.reopen();
        }
        queue = world.queue("jobs");
        assert_eq!(browse_bodies(&queue), expected, "round {round}");
    }
}
