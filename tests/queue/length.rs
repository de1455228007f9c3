//! Length limits, and what happens to one more.

use duolog::{DeadReason, ErrorKind, Message, Overflow, QueueOptions, SendOptions};

use crate::support::fails;
use crate::world::{
    World, browse, browse_bodies, counts, secs, send, take, take_one, text, worker,
};

type End<'e> = Box<dyn Fn() + 'e>;

fn full(overflow: Overflow) -> (World, duolog::Queue, duolog::Queue) {
    let options = QueueOptions::default().length_max(3).overflow(overflow);
    let (world, queue, dead) = World::with_dead(options);
    send(&queue, &["a", "b", "c"]);
    (world, queue, dead)
}

#[test]
fn a_full_queue_refuses_and_stays_as_it_is() {
    let (_world, queue, dead) = full(Overflow::Reject);
    fails(
        queue.send(&Message::new("d")),
        ErrorKind::Busy,
        &["length_max", "3"],
    );
    assert_eq!(browse_bodies(&queue), ["a", "b", "c"]);
    assert_eq!(counts(&dead), (0, 0, 0));
}

#[test]
fn ready_delayed_and_in_flight_count_together() {
    let options = QueueOptions::default().length_max(3);
    let (world, queue) = World::with(options);
    send(&queue, &["a"]);
    queue.send(&Message::new("b").delay(secs(10))).unwrap();
    send(&queue, &["c"]);
    let consumer = worker(&queue);
    let held = take_one(&consumer);
    let more = Message::new("d");
    fails(queue.send(&more), ErrorKind::Busy, &["length_max"]);
    world.pass(secs(10));
    fails(queue.send(&more), ErrorKind::Busy, &["length_max"]);
    held.nack().unwrap();
    fails(queue.send(&more), ErrorKind::Busy, &["length_max"]);
    take_one(&consumer).ack().unwrap();
    queue.send(&more).unwrap();
    fails(queue.send(&more), ErrorKind::Busy, &["length_max"]);
}

#[test]
fn every_end_of_a_message_makes_room() {
    let (world, queue, _dead) = full(Overflow::Reject);
    let other = world.create("other", QueueOptions::default());
    let consumer = worker(&queue);
    let ends: Vec<(&str, End<'_>)> = vec![
        ("ack", Box::new(|| take_one(&consumer).ack().unwrap())),
        (
            "reject",
            Box::new(|| take_one(&consumer).dead_letter(None).unwrap()),
        ),
        (
            "cancel",
            Box::new(|| queue.cancel(browse(&queue)[0].id).unwrap()),
        ),
        (
            "move",
            Box::new(|| {
                assert_eq!(queue.move_to(&other, 1, |_| true).unwrap(), 1);
            }),
        ),
        (
            "transaction",
            Box::new(|| {
                let mut tx = world.engine.transaction();
                tx.ack(&take_one(&consumer));
                tx.commit().unwrap();
            }),
        ),
    ];
    for (name, end) in ends {
        end();
        queue
            .send(&Message::new("x"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        fails(
            queue.send(&Message::new("y")),
            ErrorKind::Busy,
            &["length_max"],
        );
    }
    queue.purge().unwrap();
    send(&queue, &["1", "2", "3"]);
    fails(
        queue.send(&Message::new("4")),
        ErrorKind::Busy,
        &["length_max"],
    );
}

#[test]
fn a_batch_fits_as_a_whole_or_not_at_all() {
    let options = QueueOptions::default().length_max(3);
    let (_world, queue) = World::with(options);
    send(&queue, &["a"]);
    let three = vec![Message::new("x"); 3];
    let sent = queue.send_batch(&three, &SendOptions::default());
    fails(sent, ErrorKind::Busy, &["length_max"]);
    queue
        .send_batch(&three[1..], &SendOptions::default())
        .unwrap();
    assert_eq!(counts(&queue), (3, 0, 0));
}

#[test]
fn the_oldest_make_room_and_go_to_the_dead_letter_queue() {
    let (_world, queue, dead) = full(Overflow::DropOldest);
    let two = [Message::new("d"), Message::new("e")];
    queue.send_batch(&two, &SendOptions::default()).unwrap();
    assert_eq!(browse_bodies(&queue), ["c", "d", "e"]);
    assert_eq!(browse_bodies(&dead), ["a", "b"]);
    let note = browse(&dead)[0].death.clone().unwrap();
    assert_eq!((note.reason, note.deliveries), (DeadReason::Overflow, 0));
}

#[test]
fn the_oldest_of_the_lowest_priority_make_room_first() {
    let options = QueueOptions::default()
        .length_max(3)
        .overflow(Overflow::DropOldest);
    let (_world, queue) = World::with(options);
    for (body, priority) in [("high", 9), ("low 1", 0), ("low 2", 0)] {
        queue.send(&Message::new(body).priority(priority)).unwrap();
    }
    queue.send(&Message::new("mid").priority(5)).unwrap();
    assert_eq!(browse_bodies(&queue), ["low 2", "mid", "high"]);
}

#[test]
fn delayed_messages_and_those_behind_a_key_make_room_too() {
    let options = QueueOptions::default()
        .length_max(3)
        .overflow(Overflow::DropOldest);
    let (_world, queue) = World::with(options);
    queue
        .send(&Message::new("delayed").delay(secs(60)))
        .unwrap();
    queue.send(&Message::new("k1").order_key("k")).unwrap();
    queue.send(&Message::new("k2").order_key("k")).unwrap();
    let consumer = worker(&queue);
    let k1 = take(&consumer, 9);
    assert_eq!(k1.len(), 1);
    send(&queue, &["a", "b"]);
    assert_eq!(browse_bodies(&queue), ["k1", "a", "b"]);
}

#[test]
fn where_all_are_in_flight_nothing_makes_room() {
    let (_world, queue, dead) = full(Overflow::DropOldest);
    let consumer = worker(&queue);
    let held = take(&consumer, 3);
    fails(
        queue.send(&Message::new("d")),
        ErrorKind::Busy,
        &["length_max"],
    );
    assert_eq!(counts(&queue), (0, 3, 0));
    held[0].ack().unwrap();
    send(&queue, &["d", "e"]);
    assert_eq!(browse_bodies(&queue), ["b", "c", "e"]);
    assert_eq!(browse_bodies(&dead), ["d"]);
}

#[test]
fn a_batch_longer_than_the_queue_drops_nothing() {
    let (_world, queue, dead) = full(Overflow::DropOldest);
    let sent = queue.send_batch(&vec![Message::new("x"); 4], &SendOptions::default());
    fails(sent, ErrorKind::Invalid, &["length_max", "never fit"]);
    assert_eq!(browse_bodies(&queue), ["a", "b", "c"]);
    assert_eq!(counts(&dead), (0, 0, 0));
}

#[test]
fn what_does_not_fit_goes_to_the_dead_letter_queue_and_the_sender_hears_of_it() {
    let (_world, queue, dead) = full(Overflow::DeadLetter);
    let message = Message::new("d").order_key("k").header("trace", "t");
    fails(
        queue.send(&message),
        ErrorKind::Busy,
        &["in its dead-letter queue"],
    );
    assert_eq!(browse_bodies(&queue), ["a", "b", "c"]);
    let letter = browse(&dead).remove(0);
    assert_eq!(text(&letter.body), "d");
    let note = letter.death.clone().unwrap();
    assert_eq!((note.reason, note.deliveries), (DeadReason::Overflow, 0));
    assert_eq!((note.queue.as_str(), note.count), ("jobs", 1));
    assert_eq!(letter.order_key.as_deref(), Some(&b"k"[..]));
    take_one(&worker(&queue)).ack().unwrap();
    assert_eq!(dead.redrive(9, |_| true, None).unwrap(), 1);
    assert_eq!(browse_bodies(&queue), ["b", "c", "d"]);
}

#[test]
fn the_limit_counts_after_a_restart() {
    let (mut world, queue, _dead) = full(Overflow::Reject);
    let consumer = worker(&queue);
    take(&consumer, 3)[1].ack().unwrap();
    drop(consumer);
    world.engine.checkpoint().unwrap();
    world.kill();
    let queue = world.queue("jobs");
    send(&queue, &["d"]);
    fails(
        queue.send(&Message::new("e")),
        ErrorKind::Busy,
        &["length_max"],
    );
}

#[test]
fn a_refused_send_takes_no_room() {
    let options = QueueOptions::default()
        .length_max(3)
        .message_bytes_max(1024);
    let (_world, queue) = World::with(options);
    let large = "x".repeat(2000);
    for _ in 0..5 {
        fails(
            queue.send(&Message::new(&large)),
            ErrorKind::Invalid,
            &["message_bytes_max"],
        );
        let delayed = Message::new(&large).delay(secs(5));
        fails(
            queue.send(&delayed),
            ErrorKind::Invalid,
            &["message_bytes_max"],
        );
    }
    send(&queue, &["a", "b", "c"]);
}

#[test]
fn a_limit_that_is_altered_counts_at_once() {
    let (world, queue, _dead) = full(Overflow::Reject);
    let options = QueueOptions::default().length_max(4);
    world.engine.alter_queue("jobs", options).unwrap();
    send(&queue, &["d"]);
    fails(
        queue.send(&Message::new("e")),
        ErrorKind::Busy,
        &["length_max", "4"],
    );
    let shorter = QueueOptions::default()
        .length_max(2)
        .overflow(Overflow::DropOldest);
    world.engine.alter_queue("jobs", shorter).unwrap();
    send(&queue, &["e"]);
    assert_eq!(browse_bodies(&queue), ["d", "e"]);
}
