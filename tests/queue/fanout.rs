//! Subscriptions: a topic to any number of queues, bodies stored once.

use duolog::{
    Durability, ErrorKind, Filter, Message, Queue, QueueOptions, Record, Retention, Topic,
    TopicOptions,
};

use crate::support::{fails, topic};
use crate::world::{
    World, bodies, browse, browse_bodies, counts, secs, take, take_bodies, take_one, worker,
};

fn subscribe(world: &World, name: &str, filter: Filter, from_start: bool) -> Queue {
    let options = QueueOptions::default();
    let queue = world
        .engine
        .subscribe(name, "events", filter, options, from_start);
    queue.unwrap()
}

/// Records with the header `kind`.
fn publish(topic: &Topic, records: &[(&str, &str)]) {
    for (body, kind) in records {
        topic
            .append(&Record::new(*body).header("kind", kind))
            .unwrap();
    }
}

#[test]
fn every_subscription_gets_what_its_filter_wants() {
    let world = World::new();
    let events = topic(&world.engine, "events");
    let all = subscribe(&world, "all", Filter::default(), false);
    let orders = Filter::default().any_of("kind", ["order", "refund"]);
    let orders = subscribe(&world, "orders", orders, false);
    let clicks = Filter::default().prefix("kind", "cl");
    let clicks = subscribe(&world, "clicks", clicks, false);
    let wanted = [
        ("1", "order"),
        ("2", "click"),
        ("3", "refund"),
        ("4", "close"),
    ];
    publish(&events, &wanted);
    assert_eq!(take_bodies(&worker(&all), 9), ["1", "2", "3", "4"]);
    assert_eq!(take_bodies(&worker(&orders), 9), ["1", "3"]);
    assert_eq!(take_bodies(&worker(&clicks), 9), ["2", "4"]);
    assert_eq!(browse_bodies(&orders), ["1", "3"]);
}

#[test]
fn a_body_is_stored_once_for_all_subscriptions() {
    let world = World::new();
    let events = topic(&world.engine, "events");
    let subscriptions: Vec<_> = (0..3)
        .map(|n| subscribe(&world, &format!("s{n}"), Filter::default(), false))
        .collect();
    let body = "x".repeat(100_000);
    for _ in 0..5 {
        events.append(&Record::new(&body)).unwrap();
    }
    let logged = world.engine.stats().wal_bytes;
    for queue in &subscriptions {
        let consumer = worker(queue);
        let taken = take(&consumer, 9);
        assert_eq!(taken.len(), 5);
        for it in &taken {
            it.ack().unwrap();
        }
    }
    world.engine.checkpoint().unwrap();
    let more = world.engine.stats().wal_bytes - logged;
    assert!(more < 200_000, "15 acks wrote {more} bytes to the log");
    let segments = world.engine.stats().segment_bytes;
    assert!((500_000..600_000).contains(&segments), "{segments}");
    assert_eq!(subscriptions[0].stats().unwrap().segment_bytes, 0);
    assert_eq!(
        events.partition(0).unwrap().start.get(),
        0,
        "acks delete nothing"
    );
}

#[test]
fn a_subscription_starts_at_the_end_or_at_the_start() {
    let mut world = World::new();
    let events = topic(&world.engine, "events");
    publish(&events, &[("1", "a"), ("2", "a")]);
    subscribe(&world, "new", Filter::default(), false);
    subscribe(&world, "old", Filter::default(), true);
    publish(&events, &[("3", "a")]);
    for _ in 0..2 {
        let (new, old) = (world.queue("new"), world.queue("old"));
        assert_eq!(browse_bodies(&new), ["3"]);
        assert_eq!(browse_bodies(&old), ["1", "2", "3"]);
        assert_eq!(counts(&new), (1, 0, 0));
        world.kill();
    }
}

#[test]
fn acks_of_a_subscription_are_exact_and_its_own() {
    let mut world = World::new();
    let events = topic(&world.engine, "events");
    let one = subscribe(&world, "one", Filter::default(), false);
    subscribe(&world, "other", Filter::default(), false);
    publish(&events, &[("1", "a"), ("2", "a"), ("3", "a"), ("4", "a")]);
    let consumer = worker(&one);
    let taken = take(&consumer, 4);
    taken[1].ack().unwrap();
    taken[3].ack().unwrap();
    drop((taken, consumer));
    world.engine.checkpoint().unwrap();
    world.kill();
    assert_eq!(take_bodies(&worker(&world.queue("one")), 9), ["1", "3"]);
    assert_eq!(
        take_bodies(&worker(&world.queue("other")), 9),
        ["1", "2", "3", "4"]
    );
}

#[test]
fn what_retention_drops_is_gone_from_the_subscription_too() {
    let world = World::new();
    let options = TopicOptions::default()
        .segment_bytes_max(4096)
        .batch_bytes_max(4096)
        .retention(Retention::default().records(10));
    let events = world.engine.create_topic("events", options).unwrap();
    let queue = subscribe(&world, "all", Filter::default(), true);
    let padding = "x".repeat(500);
    for n in 0..100 {
        let body = format!("{n:03}{padding}");
        events.append(&Record::new(&body)).unwrap();
        if n % 10 == 9 {
            world.engine.checkpoint().unwrap();
        }
    }
    let consumer = worker(&queue);
    let before = take(&consumer, 3);
    assert_eq!(before.len(), 3);
    world.engine.enforce_retention().unwrap();
    let start = events.partition(0).unwrap().start.get();
    assert!(start > 50, "retention kept all from {start} on");
    assert_eq!(browse(&queue).len() as u64, 100 - start);
    let rest = take(&consumer, 999);
    assert_eq!(rest.len() as u64, 100 - start);
    for taken in rest {
        taken.ack().unwrap();
    }
    for it in &before {
        drop(it.nack());
    }
    world.pass(secs(60));
    assert!(take(&consumer, 9).is_empty());
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn retention_alone_empties_a_subscription_that_nobody_reads() {
    let world = World::new();
    let options = TopicOptions::default()
        .batch_bytes_max(4096)
        .segment_bytes_max(4096);
    let events = world.engine.create_topic("events", options).unwrap();
    let queue = subscribe(&world, "all", Filter::default(), true);
    publish(&events, &[("1", "a"), ("2", "a"), ("3", "a")]);
    events.trim(0, duolog::ids::Offset::new(2)).unwrap();
    let seen = browse_bodies(&queue);
    let (ready, ..) = counts(&queue);
    assert_eq!(seen.len() as u64, ready, "{seen:?}");
}

#[test]
fn a_subscription_has_leases_retries_and_dead_letters_like_a_queue() {
    let mut world = World::new();
    let events = topic(&world.engine, "events");
    let dead = world.create("dead", QueueOptions::default());
    let options = QueueOptions::default()
        .lease(secs(10))
        .max_deliveries(2)
        .dead_letter("dead");
    let queue = world
        .engine
        .subscribe("all", "events", Filter::default(), options, false);
    let queue = queue.unwrap();
    let record = Record::new("a").key("k").header("kind", "x");
    events.append(&record).unwrap();
    events.append(&Record::new("b").key("k")).unwrap();
    let consumer = worker(&queue);
    assert_eq!(take_bodies(&consumer, 9), ["a"], "keys are in order");
    world.pass(secs(10));
    take_one(&consumer).nack_with(None, Some("why")).unwrap();
    let letter = browse(&dead).remove(0);
    let note = letter.death.clone().unwrap();
    assert_eq!((note.queue.as_str(), note.deliveries), ("all", 2));
    assert_eq!(letter.header("kind").map(|it| &it[..]), Some(&b"x"[..]));
    assert_eq!(take_bodies(&consumer, 9), ["b"]);
    drop(consumer);
    world.kill();
    assert_eq!(browse_bodies(&world.queue("all")), ["b"]);
    let events = world.engine.topic("events").unwrap();
    assert_eq!(
        crate::support::values(&events, 0),
        ["a", "b"],
        "the topic has both"
    );
}

#[test]
fn what_was_acknowledged_can_be_replayed_and_stays_so_over_a_restart() {
    let mut world = World::new();
    let events = topic(&world.engine, "events");
    let queue = subscribe(&world, "all", Filter::default().exists("kind"), false);
    publish(&events, &[("1", "a"), ("2", "a"), ("3", "a")]);
    events.append(&Record::new("unwanted")).unwrap();
    let consumer = worker(&queue);
    let taken = take(&consumer, 9);
    for it in &taken {
        it.ack().unwrap();
    }
    let mut ids: Vec<_> = [2, 0].map(|n: usize| taken[n].id()).into();
    ids.push("0-3".parse().unwrap());
    queue.replay(&ids).unwrap();
    assert_eq!(
        queue.replay(&ids[..2]).unwrap(),
        0,
        "they are not done any more"
    );
    assert_eq!(browse_bodies(&queue), ["1", "3"]);
    fails(taken[0].ack(), ErrorKind::Invalid, &["not delivered"]);
    drop((taken, consumer));
    world.kill();
    let queue = world.queue("all");
    let consumer = worker(&queue);
    let again = take(&consumer, 9);
    assert_eq!(bodies(&again), ["1", "3"]);
    again[1].ack().unwrap();
    drop((again, consumer));
    world.engine.checkpoint().unwrap();
    world.kill();
    assert_eq!(take_bodies(&worker(&world.queue("all")), 9), ["1"]);

    let gone = world.queue("all").replay(&["0-9".parse().unwrap()]);
    fails(gone, ErrorKind::OutOfRange, &["0-9"]);
    let own = world.create("own", QueueOptions::default());
    let own = own.replay(&["0-0".parse().unwrap()]);
    fails(own, ErrorKind::Invalid, &["owns its messages"]);
}

#[test]
fn each_partition_is_a_shard() {
    let world = World::new();
    let options = TopicOptions::default().partitions(3);
    let events = world.engine.create_topic("events", options).unwrap();
    let queue = subscribe(&world, "all", Filter::default(), false);
    for partition in 0..3 {
        let to = duolog::AppendOptions::default().partition(partition);
        events
            .append_with(&Record::new(&partition.to_string()), &to)
            .unwrap();
    }
    let taken = take(&worker(&queue), 9);
    assert!(
        taken
            .iter()
            .all(|it| it.id().lane.to_string().as_bytes() == it.body())
    );
    assert_eq!(bodies(&taken).len(), 3);
}

#[test]
fn records_with_many_headers_or_headers_of_the_engine_can_die_too() {
    let world = World::new();
    let events = topic(&world.engine, "events");
    world.create("dead", QueueOptions::default());
    let options = QueueOptions::default().dead_letter("dead");
    let queue = world
        .engine
        .subscribe("all", "events", Filter::default(), options, false);
    let queue = queue.unwrap();
    let mut many = Record::new("many");
    for _ in 0..duolog::limits::HEADERS_MAX {
        many = many.header("h", "1");
    }
    events.append(&many).unwrap();
    let expires = Record::new("old").header("duolog-expires", "1");
    events.append(&expires).unwrap();
    let consumer = worker(&queue);
    let taken = take(&consumer, 9);
    assert_eq!(
        bodies(&taken),
        ["many", "old"],
        "a topic's headers are its own"
    );
    for it in &taken {
        it.dead_letter(Some("no")).unwrap();
    }
    let letters = browse(&world.queue("dead"));
    assert_eq!(letters.len(), 2);
    assert_eq!(
        letters[0].death.as_ref().unwrap().error.as_deref(),
        Some("no")
    );
}

#[test]
fn a_subscription_takes_no_messages_of_its_own() {
    let world = World::new();
    topic(&world.engine, "events");
    let queue = subscribe(&world, "all", Filter::default(), false);
    let other = world.create("other", QueueOptions::default());
    let message = Message::new("a");
    fails(queue.send(&message), ErrorKind::Invalid, &["subscription"]);
    let mut tx = world.engine.transaction();
    tx.send(&queue, message.clone());
    fails(tx.commit(), ErrorKind::Invalid, &["subscription"]);
    other.send(&message).unwrap();
    fails(
        other.move_to(&queue, 9, |_| true),
        ErrorKind::Invalid,
        &["subscription"],
    );
    assert_eq!(browse_bodies(&other), ["a"]);
}

#[test]
fn messages_of_a_subscription_can_be_moved_purged_and_cancelled_and_the_topic_keeps_them() {
    let world = World::new();
    let events = topic(&world.engine, "events");
    let queue = subscribe(&world, "all", Filter::default(), false);
    let other = world.create("other", QueueOptions::default());
    publish(&events, &[("1", "a"), ("2", "b"), ("3", "a"), ("4", "a")]);
    let chosen = queue.move_to(&other, 9, |seen| {
        seen.header("kind").is_some_and(|kind| &kind[..] == b"b")
    });
    assert_eq!(chosen.unwrap(), 1);
    assert_eq!(browse_bodies(&other), ["2"]);
    queue.cancel(browse(&queue)[0].id).unwrap();
    assert_eq!(browse_bodies(&queue), ["3", "4"]);
    assert_eq!(queue.purge().unwrap(), 2);
    assert!(take(&worker(&queue), 9).is_empty());
    assert_eq!(crate::support::values(&events, 0), ["1", "2", "3", "4"]);
}

#[test]
fn what_a_subscription_cannot_have_is_refused_by_name() {
    let world = World::new();
    topic(&world.engine, "events");
    world.create("queue", QueueOptions::default());
    let try_it = |topic: &str, options: QueueOptions| {
        world
            .engine
            .subscribe("all", topic, Filter::default(), options, false)
    };
    let plain = QueueOptions::default;
    fails(
        try_it("nowhere", plain()),
        ErrorKind::NotFound,
        &["nowhere"],
    );
    fails(try_it("queue", plain()), ErrorKind::Invalid, &["queue"]);
    for (options, name) in [
        (plain().length_max(5), "length_max"),
        (plain().shards(2), "shards"),
        (plain().dedup_window(secs(1)), "dedup_window"),
    ] {
        fails(try_it("events", options), ErrorKind::Invalid, &[name]);
    }
    assert!(world.engine.queue("all").is_err());
}

#[test]
fn buffered_and_transient_records_reach_subscriptions_too() {
    let mut world = World::new();
    let events = topic(&world.engine, "events");
    let queue = subscribe(&world, "all", Filter::default(), false);
    for (body, durability) in [
        ("b", Durability::Buffered),
        ("t", Durability::Transient),
        ("d", Durability::Durable),
    ] {
        let options = duolog::AppendOptions::default().durability(durability);
        events.append_with(&Record::new(body), &options).unwrap();
    }
    let consumer = worker(&queue);
    let taken = take(&consumer, 9);
    assert_eq!(bodies(&taken), ["b", "t", "d"]);
    taken[0].ack().unwrap();
    drop((taken, consumer));
    world.kill();
    assert_eq!(take_bodies(&worker(&world.queue("all")), 9), ["d"]);
}

#[test]
fn a_topic_with_a_subscription_is_not_deleted() {
    let world = World::new();
    let events = topic(&world.engine, "events");
    let queue = subscribe(&world, "all", Filter::default(), false);
    fails(
        world.engine.delete_topic("events"),
        ErrorKind::Invalid,
        &["all"],
    );
    publish(&events, &[("1", "a")]);
    world.engine.delete_queue("all").unwrap();
    fails(queue.stats(), ErrorKind::Closed, &["deleted"]);
    assert_eq!(crate::support::values(&events, 0), ["1"]);
    world.engine.delete_topic("events").unwrap();
}
