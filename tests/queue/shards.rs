//! Shards: one queue in independent parts.

use std::collections::{BTreeMap, BTreeSet};

use duolog::{ConsumerOptions, ErrorKind, Message, QueueOptions};

use crate::support::fails;
use crate::world::{World, bodies, send, send_numbers, take, take_bodies, take_one, worker};

#[test]
fn messages_without_a_key_go_round() {
    let (_world, queue) = World::with(QueueOptions::default().shards(4));
    let mut lanes = BTreeMap::new();
    for _ in 0..40 {
        *lanes
            .entry(queue.send(&Message::new("x")).unwrap().lane)
            .or_insert(0) += 1;
    }
    assert_eq!(lanes, BTreeMap::from([(0, 10), (1, 10), (2, 10), (3, 10)]));
}

#[test]
fn messages_go_round_also_while_a_consumer_takes_them() {
    let (_world, queue) = World::with(QueueOptions::default().shards(2));
    let consumer = worker(&queue);
    let mut lanes = BTreeSet::new();
    for _ in 0..10 {
        lanes.insert(queue.send(&Message::new("x")).unwrap().lane);
        take_one(&consumer).ack().unwrap();
    }
    assert_eq!(lanes, BTreeSet::from([0, 1]));
}

#[test]
fn messages_with_a_key_stay_together() {
    let (_world, queue) = World::with(QueueOptions::default().shards(8));
    let mut homes = BTreeMap::new();
    for n in 0..100 {
        let key = format!("key {}", n % 20);
        let id = queue.send(&Message::new("x").order_key(&key)).unwrap();
        let home = *homes.entry(key).or_insert(id.lane);
        assert_eq!(home, id.lane);
    }
    let used: BTreeSet<_> = homes.values().collect();
    assert!(used.len() >= 4, "20 keys went to {} shards", used.len());
}

#[test]
fn a_consumer_takes_from_all_shards_or_from_some() {
    let (_world, queue) = World::with(QueueOptions::default().shards(4));
    send_numbers(&queue, 1);
    for _ in 0..39 {
        send(&queue, &["x"]);
    }
    let some = ConsumerOptions::default()
        .shards([1, 3])
        .unlimited_prefetch();
    let some = queue.consumer(some).unwrap();
    let taken = take(&some, 100);
    assert_eq!(taken.len(), 20);
    assert!(taken.iter().all(|taken| [1, 3].contains(&taken.id().lane)));
    assert_eq!(take(&worker(&queue), 100).len(), 20, "all that is left");
}

#[test]
fn a_shard_that_there_is_not_is_refused() {
    let (_world, queue) = World::with(QueueOptions::default().shards(4));
    let wrong = queue.consumer(ConsumerOptions::default().shards([0, 4]));
    fails(wrong, ErrorKind::Invalid, &["shards", "0 to 3"]);
}

#[test]
fn no_shard_waits_for_ever_behind_a_busy_one() {
    let (_world, queue) = World::with(QueueOptions::default().shards(4));
    for _ in 0..400 {
        send(&queue, &["x"]);
    }
    let consumer = worker(&queue);
    let mut lanes = BTreeSet::new();
    for _ in 0..8 {
        let taken = take_one(&consumer);
        lanes.insert(taken.id().lane);
        taken.ack().unwrap();
    }
    assert_eq!(lanes.len(), 4, "taken from {lanes:?}");
}

#[test]
fn the_order_within_a_shard_is_that_of_the_sends() {
    let (_world, queue) = World::with(QueueOptions::default().shards(3));
    for n in 0..30 {
        send(&queue, &[&n.to_string()]);
    }
    let taken = take(&worker(&queue), 30);
    for shard in 0..3 {
        let of_it: Vec<u32> = taken
            .iter()
            .filter(|taken| taken.id().lane == shard)
            .map(|taken| std::str::from_utf8(taken.body()).unwrap().parse().unwrap())
            .collect();
        assert!(of_it.is_sorted() && of_it.len() == 10, "{of_it:?}");
    }
    assert_eq!(bodies(&taken).len(), 30);
}

#[test]
fn shards_are_there_again_after_a_restart() {
    let (mut world, queue) = World::with(QueueOptions::default().shards(3));
    for n in 0..9 {
        send(&queue, &[&n.to_string()]);
    }
    let consumer = worker(&queue);
    for taken in take(&consumer, 9) {
        if taken.id().lane != 1 {
            taken.ack().unwrap();
        }
    }
    drop(consumer);
    world.reopen();
    let left = take_bodies(&worker(&world.queue("jobs")), 9);
    assert_eq!(left, ["1", "4", "7"]);
}
