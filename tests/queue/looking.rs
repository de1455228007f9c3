//! Browse, peek, purge, move, cancel: without consuming.

use duolog::{ErrorKind, Message, MessageId, MessageState, QueueOptions};

use crate::support::fails;
use crate::world::{
    EPOCH_MS, World, body, browse, browse_bodies, counts, secs, send, send_numbers, take,
    take_bodies, take_one, text, worker,
};

#[test]
fn browsing_takes_nothing_and_shows_what_is_what() {
    let (_world, queue) = World::with(QueueOptions::default());
    send(&queue, &["flying", "done", "ready"]);
    let delayed = Message::new("delayed")
        .delay(secs(9))
        .order_key("k")
        .header("h", "v");
    queue.send(&delayed).unwrap();
    let consumer = worker(&queue);
    let taken = take(&consumer, 2);
    taken[1].ack().unwrap();
    let seen = browse(&queue);
    let due = duolog::ids::Timestamp::from_millis(EPOCH_MS + 9000);
    let states: Vec<_> = seen.iter().map(|it| (text(&it.body), it.state)).collect();
    let expected = [
        ("flying", MessageState::InFlight),
        ("ready", MessageState::Ready),
        ("delayed", MessageState::Delayed(due)),
    ];
    assert_eq!(
        states,
        expected.map(|(body, state)| (body.to_owned(), state))
    );
    assert_eq!(seen[2].order_key.as_deref(), Some(&b"k"[..]));
    assert_eq!(seen[2].header("h").map(|it| &it[..]), Some(&b"v"[..]));
    assert_eq!(seen[2].sent.millis(), EPOCH_MS);
    assert!(seen[2].death.is_none());
    assert_eq!(counts(&queue), (1, 1, 1));
}

#[test]
fn browsing_goes_by_range_id_and_header() {
    let (_world, queue) = World::with(QueueOptions::default().shards(2));
    let mut ids = Vec::new();
    for n in 0..20 {
        let (body, kind) = (n.to_string(), (n % 3).to_string());
        let message = Message::new(&body).header("kind", &kind);
        ids.push(queue.send(&message).unwrap());
    }
    let mut pages = Vec::new();
    let mut from = None;
    loop {
        let page = queue.browse(from, 7).unwrap();
        let Some(last) = page.last() else { break };
        from = Some(MessageId {
            lane: last.id.lane,
            offset: last.id.offset.saturating_add(1),
        });
        pages.extend(page.iter().map(|it| it.id));
    }
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(pages, sorted, "every message once");

    let chosen = queue.browse_where(None, 4, |it| {
        it.header("kind").is_some_and(|kind| &kind[..] == b"1")
    });
    let chosen: Vec<_> = chosen.unwrap().iter().map(|it| text(&it.body)).collect();
    assert_eq!(
        chosen,
        ["4", "10", "16", "1"],
        "shard by shard, four at the most"
    );
    assert!(queue.browse(None, 0).unwrap().is_empty());
    let beyond = "77-0".parse().unwrap();
    assert!(queue.browse(Some(beyond), 9).unwrap().is_empty());
}

#[test]
fn peeking_shows_one_message_until_it_is_done() {
    let (_world, queue) = World::with(QueueOptions::default());
    let id = queue.send(&Message::new("a")).unwrap();
    assert_eq!(text(&queue.peek(id).unwrap().unwrap().body), "a");
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    assert_eq!(
        queue.peek(id).unwrap().unwrap().state,
        MessageState::InFlight
    );
    taken.ack().unwrap();
    assert!(queue.peek(id).unwrap().is_none());
    assert!(queue.peek("0-99".parse().unwrap()).unwrap().is_none());
    assert!(
        queue
            .peek("0-18446744073709551615".parse().unwrap())
            .unwrap()
            .is_none()
    );
    fails(
        queue.peek("10-0".parse().unwrap()),
        ErrorKind::NotFound,
        &["lane 10"],
    );
}

#[test]
fn the_one_who_chooses_may_use_the_queue() {
    let (world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default());
    send(&queue, &["a", "b"]);
    crate::support::watched("reentry", || {
        let seen = queue.browse_where(None, 9, |it| {
            queue.peek(it.id).unwrap().is_some() && counts(&queue).0 == 2
        });
        assert_eq!(seen.unwrap().len(), 2);
        let moved = queue.move_to(&other, 9, |it| queue.peek(it.id).unwrap().is_some());
        assert_eq!(moved.unwrap(), 2);
    });
}

#[test]
fn a_message_that_is_taken_while_somebody_chooses_is_not_moved() {
    let (world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default());
    send(&queue, &["a", "b"]);
    let consumer = worker(&queue);
    let mut held = Vec::new();
    let moved = queue.move_to(&other, 9, |_| {
        if held.is_empty() {
            held = take(&consumer, 1);
        }
        true
    });
    assert_eq!(moved.unwrap(), 1);
    assert_eq!(body(&held[0]), "a");
    assert_eq!(browse_bodies(&other), ["b"]);
    held[0].ack().unwrap();
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn purging_takes_out_all_but_what_a_consumer_has() {
    let (mut world, queue) = World::with(QueueOptions::default().shards(2));
    for n in 0..6 {
        let body = n.to_string();
        queue.send(&Message::new(&body).priority(n % 2)).unwrap();
    }
    queue
        .send(&Message::new("delayed").delay(secs(60)))
        .unwrap();
    let consumer = worker(&queue);
    let held = take(&consumer, 2);
    take_one(&consumer).nack().unwrap();
    assert_eq!(queue.purge().unwrap(), 5);
    assert_eq!(counts(&queue), (0, 2, 0));
    held[0].ack().unwrap();
    held[1].nack().unwrap();
    let left = take_bodies(&consumer, 9);
    assert_eq!(left.len(), 1);
    assert_eq!(queue.purge().unwrap(), 0);
    drop((held, consumer));
    world.kill();
    world.pass(secs(60));
    assert_eq!(browse_bodies(&world.queue("jobs")), left);
}

#[test]
fn cancelling_is_for_messages_that_nobody_has() {
    let (_world, queue) = World::with(QueueOptions::default());
    let ids: Vec<_> = ["a", "b", "c"]
        .map(|it| queue.send(&Message::new(it)).unwrap())
        .into();
    let consumer = worker(&queue);
    let held = take_one(&consumer);
    fails(queue.cancel(ids[0]), ErrorKind::Busy, &["in flight"]);
    queue.cancel(ids[1]).unwrap();
    fails(queue.cancel(ids[1]), ErrorKind::NotFound, &["0-1"]);
    for nothing in ["0-3", "3-0", "0-18446744073709551615"] {
        let cancelled = queue.cancel(nothing.parse().unwrap());
        fails(cancelled, ErrorKind::NotFound, &[nothing]);
    }
    held.nack().unwrap();
    queue.cancel(ids[0]).unwrap();
    assert_eq!(take_bodies(&consumer, 9), ["c"]);
}

#[test]
fn moving_takes_those_that_were_chosen_with_all_they_have() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default().shards(2));
    for n in 0..10_u8 {
        let body = n.to_string();
        let message = Message::new(&body).order_key("k").header("n", &body);
        queue.send(&message.priority(n % 2 * 5)).unwrap();
    }
    world.clock.advance(secs(60));
    let moved = queue.move_to(&other, 4, |it| it.body[0] % 2 == 1).unwrap();
    assert_eq!(moved, 4);
    let seen = browse(&other);
    let bodies: Vec<_> = seen.iter().map(|it| text(&it.body)).collect();
    assert_eq!(bodies, ["1", "3", "5", "7"]);
    assert!(seen.iter().all(|it| it.sent.millis() == EPOCH_MS));
    assert!(
        seen.iter()
            .all(|it| it.order_key.as_deref() == Some(&b"k"[..]))
    );
    assert!(seen.iter().all(|it| it.header("n") == Some(&it.body)));
    assert!(seen.iter().all(|it| it.id.lane / 2 == 5), "their priority");
    fails(
        queue.move_to(&queue, 9, |_| true),
        ErrorKind::Invalid,
        &["another queue"],
    );
    world.kill();
    assert_eq!(browse(&world.queue("other")).len(), 4);
    assert_eq!(browse(&world.queue("jobs")).len(), 6);
}

#[test]
fn what_is_moved_or_dead_goes_to_the_shard_of_its_key() {
    let world = World::new();
    let dead = world.create("dead", QueueOptions::default().shards(4));
    let other = world.create("other", QueueOptions::default().shards(4));
    let queue = world.create("jobs", QueueOptions::default().dead_letter("dead"));
    let keys: Vec<_> = (0..12).map(|n| format!("key {n}")).collect();
    for key in keys.iter().chain(&keys) {
        queue.send(&Message::new(key).order_key(key)).unwrap();
    }
    assert_eq!(queue.move_to(&other, 12, |_| true).unwrap(), 12);
    let consumer = worker(&queue);
    for taken in take(&consumer, 99) {
        let mut tx = world.engine.transaction();
        if taken.id().offset.get() % 2 == 0 {
            tx.dead_letter(&taken, None).commit().map(drop).unwrap();
        } else {
            taken.dead_letter(None).unwrap();
        }
    }
    for target in [&dead, &other] {
        let seen = browse(target);
        assert_eq!(seen.len(), 12);
        for seen in seen {
            let key = text(seen.order_key.as_ref().unwrap());
            let sent = target.send(&Message::new("x").order_key(&key)).unwrap();
            assert_eq!(seen.id.lane, sent.lane, "{key}");
        }
    }
}

#[test]
fn moving_thousands_keeps_their_order_and_loses_none() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default());
    send_numbers(&queue, 3000);
    assert_eq!(queue.move_to(&other, u64::MAX, |_| true).unwrap(), 3000);
    assert_eq!(counts(&queue), (0, 0, 0));
    world.kill();
    let bodies = browse_bodies(&world.queue("other"));
    let expected: Vec<_> = (0..3000).map(|n| n.to_string()).collect();
    assert_eq!(bodies, expected);
}

#[test]
fn what_time_does_to_a_queue_shows_in_its_figures() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["abc"]);
    world.clock.advance(secs(5));
    send(&queue, &["de"]);
    let consumer = worker(&queue);
    let taken = take(&consumer, 2);
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.in_flight, stats.in_flight_bytes, stats.consumers),
        (2, 5, 1)
    );
    assert_eq!(stats.oldest.unwrap().millis(), EPOCH_MS);
    taken[0].ack().unwrap();
    let stats = queue.stats().unwrap();
    assert_eq!((stats.in_flight_bytes, stats.holes), (2, 0));
    assert_eq!(stats.oldest.unwrap().millis(), EPOCH_MS + 5000);
}
