//! Back from the dead: redrive all or some, with identity kept.

use duolog::{ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{
    EPOCH_MS, World, browse, browse_bodies, counts, secs, send, take, take_bodies, take_one, text,
    worker,
};

/// A queue of which all messages are dead.
fn buried(bodies: &[&str]) -> (World, duolog::Queue, duolog::Queue) {
    let (world, queue, dead) = World::with_dead(QueueOptions::default());
    send(&queue, bodies);
    let consumer = worker(&queue);
    for taken in take(&consumer, bodies.len()) {
        taken.dead_letter(Some("no")).unwrap();
    }
    (world, queue, dead)
}

#[test]
fn all_dead_letters_go_back_to_where_they_died() {
    let (world, queue, dead) = buried(&["a", "b"]);
    let other = world.create("other", QueueOptions::default().dead_letter("dead"));
    send(&other, &["x"]);
    take_one(&worker(&other)).dead_letter(None).unwrap();
    assert_eq!(dead.redrive(u64::MAX, |_| true, None).unwrap(), 3);
    assert_eq!(counts(&dead), (0, 0, 0));
    assert_eq!(browse_bodies(&queue), ["a", "b"]);
    assert_eq!(browse_bodies(&other), ["x"]);
}

#[test]
fn some_dead_letters_go_back_and_the_others_stay() {
    let (_world, queue, dead) = buried(&["a", "b", "c", "b"]);
    let chosen = dead
        .redrive(u64::MAX, |letter| &letter.body[..] == b"b", None)
        .unwrap();
    assert_eq!(chosen, 2);
    assert_eq!(browse_bodies(&queue), ["b", "b"]);
    assert_eq!(browse_bodies(&dead), ["a", "c"]);
    assert_eq!(
        dead.redrive(1, |_| true, None).unwrap(),
        1,
        "as many as were asked for"
    );
    assert_eq!(browse_bodies(&dead), ["c"]);
}

#[test]
fn a_message_that_comes_back_is_who_it_was() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().max_deliveries(2));
    let message = Message::new("a").order_key("k").header("trace", "t");
    let id = queue.send(&message.priority(7)).unwrap();
    let consumer = worker(&queue);
    for _ in 0..2 {
        take_one(&consumer).nack().unwrap();
    }
    world.pass(secs(60));
    dead.redrive(u64::MAX, |_| true, None).unwrap();
    let back = take_one(&consumer);
    assert_eq!(
        text(back.header("duolog-origin").unwrap()),
        format!("jobs/{id}")
    );
    assert_eq!(
        back.sent().millis(),
        EPOCH_MS,
        "the time of its first sending"
    );
    assert_eq!(back.order_key().map(|it| &it[..]), Some(&b"k"[..]));
    assert_eq!(back.header("trace").map(|it| &it[..]), Some(&b"t"[..]));
    assert_eq!(back.id().lane, id.lane, "its priority");
    assert_eq!(back.deliveries(), 1, "with all its tries");
    assert!(back.death().is_none(), "it lives");

    // A second death counts on, and the first origin stays.
    back.nack().unwrap();
    take_one(&consumer).nack().unwrap();
    let letter = browse(&dead).remove(0);
    assert_eq!(letter.death.as_ref().unwrap().count, 2);
    assert_eq!(
        text(letter.header("duolog-origin").unwrap()),
        format!("jobs/{id}")
    );
}

#[test]
fn a_redrive_is_there_after_a_kill() {
    let (mut world, _queue, dead) = buried(&["a", "b", "c"]);
    dead.redrive(2, |_| true, None).unwrap();
    world.kill();
    assert_eq!(browse_bodies(&world.queue("jobs")), ["a", "b"]);
    assert_eq!(browse_bodies(&world.queue("dead")), ["c"]);
}

#[test]
fn a_redrive_leaves_what_a_consumer_has() {
    let (_world, queue, dead) = buried(&["a", "b"]);
    let consumer = worker(&dead);
    let held = take_one(&consumer);
    assert_eq!(dead.redrive(u64::MAX, |_| true, None).unwrap(), 1);
    assert_eq!(browse_bodies(&queue), ["b"]);
    held.ack().unwrap();
}

#[test]
fn a_redrive_to_a_queue_that_is_gone_says_so_and_loses_nothing() {
    let (world, _queue, dead) = buried(&["a"]);
    world.engine.delete_queue("jobs").unwrap();
    let result = dead.redrive(u64::MAX, |_| true, None);
    fails(result, ErrorKind::NotFound, &["jobs"]);
    assert_eq!(browse_bodies(&dead), ["a"]);
}

#[test]
fn what_is_no_dead_letter_stays() {
    let (_world, _queue, dead) = buried(&["a"]);
    send(&dead, &["sent here"]);
    assert_eq!(dead.redrive(u64::MAX, |_| true, None).unwrap(), 1);
    assert_eq!(take_bodies(&worker(&dead), 9), ["sent here"]);
}

#[test]
fn a_redrive_of_thousands_keeps_their_order() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().ttl(secs(60)));
    let bodies: Vec<_> = (0..1000).map(|n| format!("{n:04}")).collect();
    let messages: Vec<_> = bodies.iter().map(Message::new).collect();
    queue
        .send_batch(&messages, &duolog::SendOptions::default())
        .unwrap();
    world.pass(secs(60));
    assert_eq!(counts(&dead), (1000, 0, 0));
    world
        .engine
        .alter_queue("jobs", QueueOptions::default())
        .unwrap();
    assert_eq!(
        dead.redrive(u64::MAX, |_| true, Some(1_000_000)).unwrap(),
        1000
    );
    assert_eq!(browse_bodies(&queue), bodies);
}
