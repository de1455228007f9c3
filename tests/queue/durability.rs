//! Promises mixed in one queue: durable, buffered, transient.

use duolog::{ConsumerOptions, Durability, Message, Queue, QueueOptions, SendOptions};

use crate::world::{World, browse, browse_bodies, counts, secs, send, take, take_bodies, worker};

fn send_as(queue: &Queue, durability: Durability, bodies: &[&str]) {
    let messages: Vec<_> = bodies.iter().map(|body| Message::new(*body)).collect();
    let options = SendOptions::default().durability(durability);
    queue.send_batch(&messages, &options).unwrap();
}

#[test]
fn of_a_mixed_queue_what_was_promised_is_back_after_a_kill() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send_as(&queue, Durability::Durable, &["d1"]);
    send_as(&queue, Durability::Transient, &["t1"]);
    send_as(&queue, Durability::Buffered, &["b1"]);
    send_as(&queue, Durability::Transient, &["t2"]);
    send_as(&queue, Durability::Durable, &["d2"]);
    let all = ["d1", "t1", "b1", "t2", "d2"];
    assert_eq!(browse_bodies(&queue), all, "one order for all");
    world.kill();
    let queue = world.queue("jobs");
    assert_eq!(counts(&queue), (3, 0, 0));
    assert_eq!(take_bodies(&worker(&queue), 9), ["d1", "b1", "d2"]);
}

#[test]
fn transient_messages_do_not_outlive_the_process_and_hold_nobody_up() {
    let (mut world, queue) = World::with(QueueOptions::default().segment_bytes_max(4096));
    send_as(&queue, Durability::Transient, &["t1", "t2"]);
    world.engine.checkpoint().unwrap();
    world.reopen();
    let queue = world.queue("jobs");
    assert_eq!(counts(&queue), (0, 0, 0));
    send(&queue, &["d1"]);
    send_as(&queue, Durability::Transient, &["t3"]);
    send(&queue, &["d2"]);
    world.engine.checkpoint().unwrap();
    world.kill();
    let queue = world.queue("jobs");
    assert_eq!(take_bodies(&worker(&queue), 9), ["d1", "d2"]);
    assert_eq!(counts(&queue), (2, 0, 0), "the consumer is gone");
}

#[test]
fn acks_of_a_mixed_list_keep_what_was_acknowledged_away() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send_as(&queue, Durability::Durable, &["d1"]);
    send_as(&queue, Durability::Transient, &["t1"]);
    send_as(&queue, Durability::Durable, &["d2"]);
    send_as(&queue, Durability::Transient, &["t2"]);
    let consumer = worker(&queue);
    let taken = take(&consumer, 9);
    assert!(consumer.ack_all(&taken).unwrap().iter().all(Result::is_ok));
    assert_eq!(counts(&queue), (0, 0, 0));
    drop(taken);
    drop(consumer);
    world.kill();
    let queue = world.queue("jobs");
    assert_eq!(counts(&queue), (0, 0, 0));
    // Offsets of transient ones come again; who has them now is not done.
    send(&queue, &["new"]);
    world.kill();
    let queue = world.queue("jobs");
    assert_eq!(take_bodies(&worker(&queue), 9), ["new"]);
}

#[test]
fn a_buffered_message_that_was_acknowledged_never_comes_back() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send_as(&queue, Durability::Buffered, &["b1", "b2"]);
    let consumer = worker(&queue);
    take(&consumer, 1)[0].ack().unwrap();
    drop(consumer);
    world.kill();
    assert_eq!(take_bodies(&worker(&world.queue("jobs")), 9), ["b2"]);
}

#[test]
fn purged_is_purged_even_what_was_not_yet_in_the_log() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send_as(&queue, Durability::Durable, &["d1"]);
    send_as(&queue, Durability::Buffered, &["b1", "b2"]);
    assert_eq!(queue.purge().unwrap(), 3);
    world.step();
    world.kill();
    assert_eq!(counts(&world.queue("jobs")), (0, 0, 0));
}

#[test]
fn cancelled_is_cancelled_even_what_was_not_yet_in_the_log() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let buffered = SendOptions::default().durability(Durability::Buffered);
    let ids = queue.send_batch(&[Message::new("b")], &buffered).unwrap();
    queue.cancel(ids[0]).unwrap();
    world.step();
    world.kill();
    assert_eq!(counts(&world.queue("jobs")), (0, 0, 0));
}

#[test]
fn a_cancel_and_a_purge_are_durable_whatever_the_queue_promises() {
    let options = QueueOptions::default().durability(Durability::Buffered);
    let (mut world, queue) = World::with(options);
    send_as(&queue, Durability::Durable, &["a", "b", "c"]);
    queue.cancel(browse(&queue)[0].id).unwrap();
    world.kill();
    let queue = world.queue("jobs");
    assert_eq!(browse_bodies(&queue), ["b", "c"]);
    queue.purge().unwrap();
    world.kill();
    assert_eq!(counts(&world.queue("jobs")), (0, 0, 0));
}

#[test]
fn an_ack_that_promises_less_may_come_back_after_a_kill_and_never_after_a_sync() {
    let (mut world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let options = ConsumerOptions::default().ack_durability(Durability::Buffered);
    let consumer = queue.consumer(options).unwrap();
    take(&consumer, 1)[0].ack().unwrap();
    world.engine.sync().unwrap();
    drop(consumer);
    world.kill();
    assert_eq!(browse_bodies(&world.queue("jobs")), ["b"]);
}

#[test]
fn a_transient_message_can_wait_and_fail_like_any_other() {
    let (mut world, queue, dead) = World::with_dead(QueueOptions::default().max_deliveries(2));
    let transient = SendOptions::default().durability(Durability::Transient);
    let delayed = Message::new("t").delay(secs(5));
    queue.send_batch(&[delayed], &transient).unwrap();
    assert_eq!(counts(&queue), (0, 0, 1));
    world.pass(secs(5));
    let consumer = worker(&queue);
    for _ in 0..2 {
        take(&consumer, 1)[0].nack().unwrap();
    }
    assert_eq!(counts(&queue), (0, 0, 0));
    assert_eq!(browse_bodies(&dead), ["t"]);
    drop(consumer);
    world.reopen();
    assert_eq!(
        browse_bodies(&world.queue("dead")),
        ["t"],
        "a dead letter is kept"
    );
    assert_eq!(counts(&world.queue("jobs")), (0, 0, 0));
}

#[test]
fn a_queue_of_transient_messages_takes_acks_without_the_log() {
    let options = QueueOptions::default().durability(Durability::Transient);
    let (mut world, queue) = World::with(options);
    send(&queue, &["a", "b", "c"]);
    let consumer = worker(&queue);
    let before = world.engine.stats().wal_frames;
    let taken = take(&consumer, 2);
    for taken in &taken {
        taken.ack().unwrap();
    }
    assert_eq!(world.engine.stats().wal_frames, before);
    assert_eq!(counts(&queue), (1, 0, 0));
    drop(consumer);
    world.reopen();
    assert_eq!(counts(&world.queue("jobs")), (0, 0, 0));
}
