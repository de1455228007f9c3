//! Dead letters: why, where and when; one commit; nothing is lost.

use duolog::{DeadReason, ErrorKind, Message, MessageState, Overflow, QueueOptions};

use crate::support::fails;
use crate::world::{
    EPOCH_MS, World, browse, browse_bodies, counts, secs, send, take, take_one, text, worker,
};

#[test]
fn a_dead_letter_says_why_where_and_when() {
    let (world, queue, dead) = World::with_dead(QueueOptions::default().max_deliveries(9));
    let message = Message::new("body")
        .order_key("key")
        .header("trace", "a1b2");
    let id = queue.send(&message).unwrap();
    let consumer = worker(&queue);
    world.pass(secs(1));
    take_one(&consumer)
        .nack_with(None, Some("first try"))
        .unwrap();
    world.pass(secs(2));
    take_one(&consumer).dead_letter(Some("no use")).unwrap();

    let letter = browse(&dead).remove(0);
    let note = letter.death.clone().unwrap();
    assert_eq!(
        (note.reason, note.error.as_deref()),
        (DeadReason::Rejected, Some("no use"))
    );
    assert_eq!(
        (note.queue.as_str(), note.deliveries, note.count),
        ("jobs", 2, 1)
    );
    assert_eq!(note.first.millis(), EPOCH_MS + 1000);
    assert_eq!(note.last.millis(), EPOCH_MS + 3000);
    assert_eq!(
        letter.sent.millis(),
        EPOCH_MS,
        "the time of sending is kept"
    );
    assert_eq!(letter.order_key.as_deref(), Some(&b"key"[..]));
    assert_eq!(letter.header("trace").map(|it| &it[..]), Some(&b"a1b2"[..]));
    let origin = text(letter.header("duolog-origin").unwrap());
    assert_eq!(origin, format!("jobs/{id}"));
    assert_eq!(letter.state, MessageState::Ready);
}

#[test]
fn every_reason_has_its_name() {
    let options = QueueOptions::default()
        .max_deliveries(1)
        .length_max(4)
        .overflow(Overflow::DeadLetter);
    let (world, queue, dead) = World::with_dead(options);
    send(&queue, &["rejected", "failed"]);
    queue.send(&Message::new("expired").ttl(secs(5))).unwrap();
    send(&queue, &["stays"]);
    fails(
        queue.send(&Message::new("over")),
        ErrorKind::Busy,
        &["length_max"],
    );
    let consumer = worker(&queue);
    take_one(&consumer).dead_letter(None).unwrap();
    take_one(&consumer).nack().unwrap();
    world.pass(secs(5));

    let mut seen: Vec<_> = browse(&dead)
        .iter()
        .map(|letter| {
            (
                text(&letter.body),
                letter.death.as_ref().unwrap().reason.as_str(),
            )
        })
        .collect();
    seen.sort();
    let expected = [
        ("expired", "expired"),
        ("failed", "max_deliveries"),
        ("over", "overflow"),
        ("rejected", "rejected"),
    ];
    assert_eq!(
        seen,
        expected.map(|(body, reason)| (body.to_owned(), reason))
    );
    assert_eq!(browse_bodies(&queue), ["stays"]);
}

#[test]
fn after_a_kill_a_message_is_in_its_queue_or_in_the_dead_letter_queue_and_never_in_both() {
    let (mut world, mut queue, _dead) = World::with_dead(QueueOptions::default());
    send(&queue, &["a", "b", "c"]);
    for buried in 1..=3 {
        let consumer = worker(&queue);
        take_one(&consumer).dead_letter(None).unwrap();
        drop(consumer);
        world.kill();
        queue = world.queue("jobs");
        assert_eq!(browse(&queue).len(), 3 - buried);
        assert_eq!(browse(&world.queue("dead")).len(), buried);
    }
}

#[test]
fn a_message_as_large_as_allowed_can_die() {
    let world = World::new();
    let limit = QueueOptions::default().message_bytes_max(100_000);
    let dead = world.create("dead", limit.clone());
    let queue = world.create("jobs", limit.max_deliveries(1).dead_letter("dead"));
    let body = "x".repeat(100_000);
    queue.send(&Message::new(&body)).unwrap();
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    taken.nack_with(None, Some("too heavy")).unwrap();
    assert_eq!((counts(&queue), counts(&dead)), ((0, 0, 0), (1, 0, 0)));
    assert_eq!(take_one(&worker(&dead)).body().len(), 100_000);
}

#[test]
fn a_dead_letter_queue_for_smaller_messages_takes_letters_of_any_size() {
    let world = World::new();
    let dead = world.create("dead", QueueOptions::default().message_bytes_max(1024));
    let queue = world.create("jobs", QueueOptions::default().dead_letter("dead"));
    let body = "x".repeat(5000);
    queue.send(&Message::new(&body)).unwrap();
    let consumer = worker(&queue);
    take_one(&consumer).dead_letter(None).unwrap();
    assert_eq!(counts(&dead), (1, 0, 0));
}

#[test]
fn a_long_word_on_why_is_cut_and_the_message_kept() {
    let (_world, queue, dead) = World::with_dead(QueueOptions::default());
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let word = "\u{e4}".repeat(1 << 20);
    take_one(&consumer).dead_letter(Some(&word)).unwrap();
    let note = browse(&dead)[0].death.clone().unwrap();
    let kept = note.error.unwrap();
    assert_eq!(kept.len(), 8192, "as much as is kept");
    assert!(word.starts_with(&kept));
}

#[test]
fn what_dies_together_keeps_its_order() {
    let options = QueueOptions::default().ttl(secs(60));
    let (world, queue, dead) = World::with_dead(options);
    let bodies: Vec<_> = (0..500).map(|n| format!("{n:03}")).collect();
    for body in &bodies {
        queue.send(&Message::new(body)).unwrap();
    }
    world.pass(secs(60));
    assert_eq!(browse_bodies(&dead), bodies);
}

#[test]
fn dead_letters_of_dead_letters_count_their_deaths() {
    let world = World::new();
    let last = world.create("last", QueueOptions::default());
    let dead = world.create("dead", QueueOptions::default().dead_letter("last"));
    let queue = world.create("jobs", QueueOptions::default().dead_letter("dead"));
    let id = queue.send(&Message::new("a")).unwrap();
    take_one(&worker(&queue)).dead_letter(Some("one")).unwrap();
    take_one(&worker(&dead)).dead_letter(Some("two")).unwrap();
    let letter = browse(&last).remove(0);
    let note = letter.death.clone().unwrap();
    assert_eq!((note.queue.as_str(), note.count), ("dead", 2));
    assert_eq!(note.error.as_deref(), Some("two"));
    let origin = text(letter.header("duolog-origin").unwrap());
    assert_eq!(origin, format!("jobs/{id}"), "where it was sent first");
    let names = letter.headers.iter().map(|(name, _)| name.as_str());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "each header once: {names:?}");
}

#[test]
fn a_dead_letter_is_consumed_like_any_message() {
    let (_world, queue, dead) = World::with_dead(QueueOptions::default());
    send(&queue, &["a"]);
    take_one(&worker(&queue)).dead_letter(Some("why")).unwrap();
    let consumer = worker(&dead);
    let letter = take_one(&consumer);
    assert_eq!(letter.death().unwrap().error.as_deref(), Some("why"));
    assert_eq!(letter.deliveries(), 1);
    letter.ack().unwrap();
    assert_eq!(counts(&dead), (0, 0, 0));
}

#[test]
fn priorities_reach_the_dead_letter_queue_as_far_as_it_has_them() {
    let world = World::new();
    let dead = world.create("dead", QueueOptions::default().priority_max(3).shards(2));
    let queue = world.create(
        "jobs",
        QueueOptions::default().dead_letter("dead").shards(3),
    );
    for priority in [9, 0, 2] {
        let body = priority.to_string();
        queue.send(&Message::new(&body).priority(priority)).unwrap();
    }
    let consumer = worker(&queue);
    for taken in take(&consumer, 3) {
        taken.dead_letter(None).unwrap();
    }
    let letters = take(&worker(&dead), 3);
    let order: Vec<_> = letters.iter().map(|it| text(it.body())).collect();
    assert_eq!(order, ["9", "2", "0"]);
}
