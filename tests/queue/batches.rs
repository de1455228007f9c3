//! Many at once: sends that are all or nothing, and acks that gather.

use duolog::{AckBatch, ErrorKind, Message, QueueOptions, SendOptions};

use crate::support::fails;
use crate::world::{World, browse_bodies, counts, ms, send, send_numbers, take, worker};

#[test]
fn a_batch_with_one_wrong_message_stores_none() {
    let (_world, queue) = World::with(QueueOptions::default());
    let large = "x".repeat((1 << 20) + 1);
    for (wrong, word) in [
        (Message::new("b").priority(10), "priority_max"),
        (Message::new(&large), "message_bytes_max"),
    ] {
        let batch = [Message::new("a"), wrong, Message::new("c")];
        let sent = queue.send_batch(&batch, &SendOptions::default());
        fails(sent, ErrorKind::Invalid, &[word]);
    }
    assert_eq!(counts(&queue), (0, 0, 0));
    assert!(browse_bodies(&queue).is_empty());
}

#[test]
fn ids_come_in_the_order_of_the_messages_wherever_these_go() {
    let (_world, queue) = World::with(QueueOptions::default().shards(4));
    let keys: Vec<_> = (0..40).map(|n| format!("key-{n}")).collect();
    let messages: Vec<_> = keys
        .iter()
        .zip((0_u8..10).cycle())
        .map(|(key, priority)| Message::new(key).order_key(key).priority(priority))
        .collect();
    let ids = queue
        .send_batch(&messages, &SendOptions::default())
        .unwrap();
    for (key, id) in keys.iter().zip(&ids) {
        let seen = queue.peek(*id).unwrap().expect("it is there");
        assert_eq!(&seen.body[..], key.as_bytes());
    }
    let lanes: std::collections::BTreeSet<_> = ids.iter().map(|id| id.lane).collect();
    assert!(
        lanes.len() > 10,
        "40 messages went to {} lanes",
        lanes.len()
    );
}

#[test]
fn a_batch_has_no_limit_but_that_of_a_commit() {
    let (_world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 5000);
    let consumer = worker(&queue);
    let taken = take(&consumer, usize::MAX);
    assert_eq!(taken.len(), 5000);
    assert!(consumer.ack_all(&taken).unwrap().iter().all(Result::is_ok));
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn acks_that_gather_are_committed_when_they_are_many() {
    let (_world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 7);
    let consumer = worker(&queue);
    let mut acks = AckBatch::new(&consumer, 3, ms(60_000));
    for (n, delivery) in take(&consumer, 7).into_iter().enumerate() {
        acks.add(delivery).unwrap();
        let gathered = u64::try_from((n + 1) % 3).unwrap();
        let answered = u64::try_from(n + 1).unwrap() - gathered;
        assert_eq!(counts(&queue).1, 7 - answered, "after {} acks", n + 1);
    }
    drop(acks);
    assert_eq!(counts(&queue), (0, 0, 0), "the last one does not stay");
}

#[test]
fn acks_that_gather_are_committed_when_the_first_is_old() {
    let (world, queue) = World::with(QueueOptions::default());
    send_numbers(&queue, 4);
    let consumer = worker(&queue);
    let mut taken = take(&consumer, 4).into_iter();
    let mut acks = AckBatch::new(&consumer, 100, ms(50));
    acks.add(taken.next().unwrap()).unwrap();
    world.clock.advance(ms(49));
    acks.tick().unwrap();
    acks.add(taken.next().unwrap()).unwrap();
    assert_eq!(counts(&queue).1, 4);
    world.clock.advance(ms(1));
    acks.tick().unwrap();
    assert_eq!(counts(&queue).1, 2);

    // The next gathering has an age of its own; an add looks at it, too.
    world.clock.advance(ms(1000));
    acks.add(taken.next().unwrap()).unwrap();
    assert_eq!(counts(&queue).1, 2);
    world.clock.advance(ms(50));
    acks.add(taken.next().unwrap()).unwrap();
    assert_eq!(counts(&queue).1, 0);
    acks.flush().unwrap();
}

#[test]
fn acks_that_gather_say_which_was_late_and_keep_the_others() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b", "c"]);
    let consumer = worker(&queue);
    let taken = take(&consumer, 3);
    taken[1].nack().unwrap();
    let _again = take(&consumer, 1);
    let mut acks = AckBatch::new(&consumer, 100, ms(1000));
    for delivery in taken {
        acks.add(delivery).unwrap();
    }
    fails(acks.flush(), ErrorKind::Fenced, &["delivered again"]);
    assert_eq!(counts(&queue), (0, 1, 0));
}
