//! Delayed messages: any time, kept over restarts, cancelled, and let go in
//! steps.

use duolog::{ErrorKind, Message, MessageState, QueueOptions, SendOptions};

use crate::support::fails;
use crate::world::{
    EPOCH_MS, World, browse, browse_bodies, counts, ms, secs, send, take, take_bodies, take_one,
    text, worker,
};

const YEAR: u64 = 366 * 24 * 3600;

/// Timers that one step of the background lets go at the most.
const RELEASE_MAX: u64 = 1024;

#[test]
fn a_delayed_message_comes_at_its_time_and_not_before() {
    let (world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("later").delay(secs(60))).unwrap();
    send(&queue, &["now"]);
    let consumer = worker(&queue);
    let now = take_one(&consumer);
    assert_eq!(&now.body()[..], b"now");
    now.ack().unwrap();
    world.pass(ms(59_999));
    assert!(take(&consumer, 9).is_empty());
    let due = MessageState::Delayed(duolog::ids::Timestamp::from_millis(EPOCH_MS + 60_000));
    assert_eq!(browse(&queue)[0].state, due);
    world.pass(ms(1));
    assert_eq!(take_bodies(&consumer, 9), ["later"]);
}

#[test]
fn a_delay_of_nothing_is_none() {
    let (_world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("a").delay(secs(0))).unwrap();
    assert_eq!(counts(&queue), (1, 0, 0));
}

#[test]
fn delays_may_take_years_and_restarts() {
    let (mut world, queue) = World::with(QueueOptions::default());
    queue
        .send(&Message::new("in 100 years").delay(secs(100 * YEAR)))
        .unwrap();
    queue
        .send(&Message::new("in 3 years").delay(secs(3 * YEAR)))
        .unwrap();
    for _ in 0..3 {
        world.reopen();
        world.pass(secs(YEAR - 1));
        assert_eq!(counts(&world.queue("jobs")), (0, 0, 2));
    }
    world.kill();
    world.pass(secs(3));
    assert_eq!(
        take_bodies(&worker(&world.queue("jobs")), 9),
        ["in 3 years"]
    );
    world.engine.checkpoint().unwrap();
    world.reopen();
    world.pass(secs(97 * YEAR));
    let bodies = take_bodies(&worker(&world.queue("jobs")), 9);
    assert_eq!(bodies, ["in 100 years", "in 3 years"]);
}

#[test]
fn a_delay_that_ends_while_the_store_is_closed_is_over_when_it_opens() {
    let (mut world, queue) = World::with(QueueOptions::default());
    queue.send(&Message::new("a").delay(secs(60))).unwrap();
    world.engine.checkpoint().unwrap();
    world.engine.close().unwrap();
    world.clock.advance(secs(61));
    world.reopen();
    world.step();
    assert_eq!(take_bodies(&worker(&world.queue("jobs")), 9), ["a"]);
}

#[test]
fn a_delayed_message_can_be_cancelled() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let id = queue.send(&Message::new("a").delay(secs(60))).unwrap();
    queue.send(&Message::new("b").delay(secs(60))).unwrap();
    queue.cancel(id).unwrap();
    fails(
        queue.cancel(id),
        ErrorKind::NotFound,
        &["it is done, or never was"],
    );
    assert_eq!(counts(&queue), (0, 0, 1));
    world.kill();
    world.pass(secs(60));
    assert_eq!(take_bodies(&worker(&world.queue("jobs")), 9), ["b"]);
}

#[test]
fn the_backlog_of_a_downtime_comes_out_in_steps() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let messages = vec![Message::new("x").delay(secs(60)); 3000];
    queue
        .send_batch(&messages, &SendOptions::default())
        .unwrap();
    world.engine.close().unwrap();
    world.clock.advance(secs(3600));
    world.reopen();
    let queue = world.queue("jobs");
    let mut before = counts(&queue).0;
    assert!(before <= RELEASE_MAX, "{before} came out at once");
    while counts(&queue).2 > 0 {
        assert!(
            world.engine.run_pending().unwrap(),
            "it stopped with {before} of 3000"
        );
        let ready = counts(&queue).0;
        assert!(
            ready - before <= RELEASE_MAX,
            "{} came out at once",
            ready - before
        );
        before = ready;
    }
    assert_eq!(counts(&queue), (3000, 0, 0));
}

#[test]
fn delayed_messages_come_by_their_time_in_whatever_order_they_were_sent() {
    let (world, queue) = World::with(QueueOptions::default());
    for (body, delay) in [("c", 3), ("a", 1), ("b", 2)] {
        queue.send(&Message::new(body).delay(secs(delay))).unwrap();
    }
    let consumer = worker(&queue);
    for body in ["a", "b", "c"] {
        world.pass(secs(1));
        assert_eq!(take_bodies(&consumer, 9), [body]);
    }
}

#[test]
fn a_delayed_message_keeps_its_priority_and_does_not_hold_its_key() {
    let (world, queue) = World::with(QueueOptions::default());
    let delayed = Message::new("k1").order_key("k").delay(secs(10));
    queue.send(&delayed).unwrap();
    queue.send(&Message::new("k2").order_key("k")).unwrap();
    queue
        .send(&Message::new("urgent").priority(9).delay(secs(10)))
        .unwrap();
    let consumer = worker(&queue);
    let k2 = take_one(&consumer);
    assert_eq!(&k2.body()[..], b"k2", "it does not wait ten seconds for k1");
    world.pass(secs(10));
    assert_eq!(take_bodies(&consumer, 9), ["urgent"], "k is busy with k2");
    k2.ack().unwrap();
    assert_eq!(take_bodies(&consumer, 9), ["k1"]);
}

#[test]
fn a_delayed_message_can_be_purged_and_moved() {
    let (world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default());
    for body in ["a", "b"] {
        queue.send(&Message::new(body).delay(secs(60))).unwrap();
    }
    let moved = queue
        .move_to(&other, 9, |seen| &seen.body[..] == b"a")
        .unwrap();
    assert_eq!(
        (moved, counts(&other)),
        (1, (1, 0, 0)),
        "delays are not kept"
    );
    assert_eq!(queue.purge().unwrap(), 1);
    world.pass(secs(60));
    assert_eq!((counts(&queue), counts(&other)), ((0, 0, 0), (1, 0, 0)));
}

#[test]
fn until_when_a_message_waits_is_known_through_restarts_and_retries() {
    let (mut world, queue, _) = World::with_dead(QueueOptions::default());
    let until = |after_ms| {
        let due = duolog::ids::Timestamp::from_millis(EPOCH_MS + after_ms);
        [MessageState::Delayed(due)]
    };
    let states = |world: &World| -> Vec<_> {
        let seen = browse(&world.queue("jobs")).into_iter();
        seen.map(|message| message.state).collect()
    };
    queue
        .send(&Message::new("a").delay(secs(60)).ttl(secs(3600)))
        .unwrap();
    assert_eq!(states(&world), until(60_000));
    world.kill();
    assert_eq!(states(&world), until(60_000));
    world.engine.checkpoint().unwrap();
    world.reopen();
    assert_eq!(states(&world), until(60_000));
    world.pass(secs(60));
    let consumer = worker(&world.queue("jobs"));
    take_one(&consumer).nack_with(Some(secs(30)), None).unwrap();
    assert_eq!(states(&world), until(90_000));
    world.kill();
    assert_eq!(states(&world), until(90_000), "not what it was sent with");
    world.pass(ms(29_999));
    assert_eq!(states(&world), until(90_000));
    world.pass(ms(1));
    let consumer = worker(&world.queue("jobs"));
    let taken = take_one(&consumer);
    let due = (EPOCH_MS + 60_000).to_string();
    assert_eq!(text(taken.header("duolog-due").unwrap()), due);
    taken.dead_letter(None).unwrap();
    let letter = browse(&world.queue("dead")).remove(0);
    assert_eq!(letter.header("duolog-due"), None);
}

#[test]
fn a_message_of_a_transaction_waits_as_any_other() {
    let (world, queue) = World::with(QueueOptions::default());
    let mut tx = world.engine.transaction();
    tx.send(&queue, Message::new("a").delay(secs(60)));
    tx.commit().unwrap();
    let due = duolog::ids::Timestamp::from_millis(EPOCH_MS + 60_000);
    assert_eq!(browse(&queue)[0].state, MessageState::Delayed(due));
    world.pass(secs(60));
    assert_eq!(browse(&queue)[0].state, MessageState::Ready);
}

#[test]
fn ten_thousand_delayed_messages_take_no_memory_of_the_queue_for_each() {
    let (mut world, queue) = World::with(QueueOptions::default());
    let before = queue.stats().unwrap().memory_bytes;
    let messages: Vec<_> = (0..1000)
        .map(|n| Message::new("x").delay(secs(60 + n)))
        .collect();
    for _ in 0..10 {
        let sent = queue.send_batch(&messages, &SendOptions::default());
        assert_eq!(sent.unwrap().len(), 1000);
    }
    let grown = queue.stats().unwrap().memory_bytes - before;
    assert!(grown < 4096, "{grown} bytes");
    world.engine.checkpoint().unwrap();
    world.kill();
    let queue = world.queue("jobs");
    assert_eq!(counts(&queue), (0, 0, 10_000));
    world.pass(secs(559));
    assert_eq!(counts(&queue), (5000, 0, 5000));
    world.pass(secs(1000));
    assert_eq!(counts(&queue), (10_000, 0, 0));
}

#[test]
fn absurd_times_are_refused() {
    let (_world, queue) = World::with(QueueOptions::default());
    for wrong in [secs(100 * YEAR + 1), std::time::Duration::MAX] {
        let delayed = queue.send(&Message::new("a").delay(wrong));
        fails(delayed, ErrorKind::Invalid, &["delay", "100 years"]);
        fails(
            queue.send(&Message::new("a").ttl(wrong)),
            ErrorKind::Invalid,
            &["ttl"],
        );
    }
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    let wrong = taken.nack_with(Some(std::time::Duration::MAX), None);
    fails(wrong, ErrorKind::Invalid, &["delay", "100 years"]);
    assert_eq!(counts(&queue), (0, 1, 0), "it may answer again");
    taken.nack_with(Some(secs(100 * YEAR)), None).unwrap();
    assert_eq!(browse_bodies(&queue), ["a"]);
    assert_eq!(counts(&queue), (0, 0, 1));
}
