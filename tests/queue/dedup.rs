//! Deduplication by id, over a window that restarts do not end.

use duolog::{
    Durability, ErrorKind, Message, MessageId, Overflow, Queue, QueueOptions, SendOptions,
};

use crate::support::{Place, fails, small, watched};
use crate::world::{
    World, browse_bodies, counts, ms, secs, send, take, take_bodies, take_one, worker,
};

fn once(window: u64) -> QueueOptions {
    QueueOptions::default().dedup_window(secs(window))
}

fn send_id(queue: &Queue, body: &str, id: &str) -> MessageId {
    queue.send(&Message::new(body).dedup_id(id)).unwrap()
}

fn as_durability(durability: Durability) -> SendOptions {
    SendOptions::default().durability(durability)
}

#[test]
fn a_second_message_with_an_id_is_not_stored_and_has_the_answer_of_the_first() {
    let (_world, queue) = World::with(once(60));
    let first = send_id(&queue, "a", "1");
    assert_eq!(send_id(&queue, "a again", "1"), first);
    assert_ne!(send_id(&queue, "b", "2"), first);
    send(&queue, &["no id", "no id"]);
    assert_eq!(browse_bodies(&queue), ["a", "b", "no id", "no id"]);
}

#[test]
fn duplicates_within_one_batch_are_found() {
    let (_world, queue) = World::with(once(60));
    let old = send_id(&queue, "old", "0");
    let batch = [
        Message::new("a").dedup_id("1"),
        Message::new("plain"),
        Message::new("a again").dedup_id("1").priority(5),
        Message::new("old again").dedup_id("0"),
        Message::new("b").dedup_id("2").priority(3),
    ];
    let ids = queue.send_batch(&batch, &SendOptions::default()).unwrap();
    assert_eq!(ids.len(), 5);
    assert_eq!((ids[2], ids[3]), (ids[0], old));
    assert_eq!(browse_bodies(&queue), ["old", "a", "plain", "b"]);
    let all_known = queue
        .send_batch(&batch[2..4], &SendOptions::default())
        .unwrap();
    assert_eq!(all_known, [ids[0], old]);
    assert_eq!(counts(&queue), (4, 0, 0));
}

#[test]
fn an_id_is_free_again_after_its_window_and_not_before() {
    let (world, queue) = World::with(once(60));
    let first = send_id(&queue, "a", "1");
    world.pass(ms(59_999));
    assert_eq!(send_id(&queue, "b", "1"), first);
    world.pass(ms(1));
    let second = send_id(&queue, "c", "1");
    assert_ne!(second, first);
    // The window is that of the first of them: what was refused did not begin
    // another one.
    world.pass(ms(59_999));
    assert_eq!(send_id(&queue, "d", "1"), second);
    assert_eq!(browse_bodies(&queue), ["a", "c"]);
}

#[test]
fn an_id_is_known_after_its_message_is_done() {
    let (_world, queue) = World::with(once(60));
    let first = send_id(&queue, "a", "1");
    take_one(&worker(&queue)).ack().unwrap();
    assert_eq!(send_id(&queue, "a again", "1"), first);
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn ids_are_known_after_restarts() {
    let (mut world, queue) = World::with(once(60));
    let from_log = send_id(&queue, "a", "1");
    world.kill();
    assert_eq!(send_id(&world.queue("jobs"), "x", "1"), from_log);
    world.engine.checkpoint().unwrap();
    let second = send_id(&world.queue("jobs"), "b", "2");
    world.reopen();
    for _ in 0..3 {
        assert_eq!(send_id(&world.queue("jobs"), "x", "1"), from_log);
        assert_eq!(send_id(&world.queue("jobs"), "x", "2"), second);
        world.engine.checkpoint().unwrap();
        world.kill();
    }
    world.clock.advance(secs(60));
    world.reopen();
    assert_ne!(send_id(&world.queue("jobs"), "again", "1"), from_log);
    assert_eq!(browse_bodies(&world.queue("jobs")), ["a", "b", "again"]);
}

#[test]
fn a_durable_duplicate_of_a_buffered_message_waits_until_that_is_durable() {
    let (mut world, queue) = World::with(once(60));
    let message = Message::new("a").dedup_id("1");
    let first = queue
        .send_batch(
            std::slice::from_ref(&message),
            &as_durability(Durability::Buffered),
        )
        .unwrap();
    assert_eq!(queue.send(&message).unwrap(), first[0]);
    world.kill();
    assert_eq!(
        browse_bodies(&world.queue("jobs")),
        ["a"],
        "it was acknowledged"
    );
    assert_eq!(send_id(&world.queue("jobs"), "x", "1"), first[0]);
}

#[test]
fn a_duplicate_of_a_message_that_is_not_durable_yet_waits_with_it() {
    let (mut world, queue) = World::with(once(60));
    let message = Message::new("a").dedup_id("1");
    let ticket = queue
        .send_nowait(std::slice::from_ref(&message), &SendOptions::default())
        .unwrap();
    let second = queue.send(&message).unwrap();
    assert_eq!(ticket.ids(), [second]);
    drop(ticket);
    world.kill();
    assert_eq!(browse_bodies(&world.queue("jobs")), ["a"]);
}

#[test]
fn an_id_of_a_transient_message_ends_with_it() {
    for checkpoint in [false, true] {
        let (mut world, queue) = World::with(once(60));
        let message = Message::new("t").dedup_id("1");
        let transient = as_durability(Durability::Transient);
        let first = queue
            .send_batch(std::slice::from_ref(&message), &transient)
            .unwrap();
        assert_eq!(queue.send_batch(&[message], &transient).unwrap(), first);
        send(&queue, &["d"]);
        if checkpoint {
            world.engine.checkpoint().unwrap();
        }
        world.reopen();
        let queue = world.queue("jobs");
        send_id(&queue, "again", "1");
        assert_eq!(
            browse_bodies(&queue),
            ["d", "again"],
            "checkpoint: {checkpoint}"
        );
    }
}

#[test]
fn a_transient_message_does_not_stand_for_a_durable_one() {
    let (mut world, queue) = World::with(once(60));
    let message = Message::new("a").dedup_id("1");
    let transient = as_durability(Durability::Transient);
    queue
        .send_batch(std::slice::from_ref(&message), &transient)
        .unwrap();
    let durable = queue.send(&message).unwrap();
    assert_eq!(queue.send(&message).unwrap(), durable);
    world.kill();
    assert_eq!(browse_bodies(&world.queue("jobs")), ["a"]);
    assert_eq!(send_id(&world.queue("jobs"), "x", "1"), durable);
}

#[test]
fn a_send_that_was_refused_leaves_its_id_free() {
    let (_world, queue) = World::with(once(60).length_max(1).message_bytes_max(1024));
    let large = "x".repeat(2000);
    let sent = queue.send(&Message::new(&large).dedup_id("1"));
    fails(sent, ErrorKind::Invalid, &["message_bytes_max"]);
    send_id(&queue, "a", "0");
    let sent = queue.send(&Message::new("b").dedup_id("1"));
    fails(sent, ErrorKind::Busy, &["length_max"]);
    // A duplicate needs no room.
    send_id(&queue, "a again", "0");
    take_one(&worker(&queue)).ack().unwrap();
    send_id(&queue, "c", "1");
    assert_eq!(browse_bodies(&queue), ["c"]);
}

#[test]
fn ids_work_with_delays_times_to_live_and_dropping_the_oldest() {
    let options = once(3600).length_max(2).overflow(Overflow::DropOldest);
    let (world, queue) = World::with(options);
    queue
        .send(&Message::new("later").dedup_id("1").delay(secs(10)))
        .unwrap();
    queue
        .send(&Message::new("brief").dedup_id("2").ttl(secs(5)))
        .unwrap();
    world.pass(secs(10));
    let again = Message::new("x");
    for id in ["1", "2"] {
        queue.send(&again.clone().dedup_id(id)).unwrap();
    }
    assert_eq!(browse_bodies(&queue), ["later"]);
    for id in ["3", "4", "5", "3", "4", "5"] {
        send_id(&queue, id, id);
    }
    assert_eq!(browse_bodies(&queue), ["4", "5"]);
}

#[test]
fn ids_are_not_looked_at_without_a_window() {
    let (world, queue) = World::with(QueueOptions::default());
    send_id(&queue, "a", "1");
    send_id(&queue, "a", "1");
    assert_eq!(counts(&queue), (2, 0, 0));
    world.engine.alter_queue("jobs", once(60)).unwrap();
    send_id(&queue, "b", "1");
    send_id(&queue, "b", "1");
    assert_eq!(counts(&queue), (3, 0, 0));
    world
        .engine
        .alter_queue("jobs", QueueOptions::default())
        .unwrap();
    send_id(&queue, "c", "1");
    assert_eq!(counts(&queue), (4, 0, 0));
}

#[test]
fn wrong_ids_and_windows_are_refused() {
    let (world, queue) = World::with(once(60));
    for id in [String::new(), "x".repeat(257)] {
        let sent = queue.send(&Message::new("a").dedup_id(&id));
        fails(sent, ErrorKind::Invalid, &["deduplication", "256"]);
    }
    send_id(&queue, "a", &"x".repeat(256));
    for window in [secs(0), secs(7 * 24 * 3600 + 1), std::time::Duration::MAX] {
        let options = QueueOptions::default().dedup_window(window);
        let made = world.engine.create_queue("no", options);
        fails(made, ErrorKind::Invalid, &["dedup_window"]);
    }
}

#[test]
fn an_id_is_kept_through_dead_letters_and_redrives() {
    let (_world, queue, dead) = World::with_dead(once(60));
    send_id(&queue, "a", "1");
    take_one(&worker(&queue)).dead_letter(None).unwrap();
    let letter = take_one(&worker(&dead));
    assert_eq!(
        letter.header("duolog-dedup-id").map(|it| &it[..]),
        Some(&b"1"[..])
    );
    drop(letter);
    assert_eq!(
        dead.redrive(9, |_| true, None).unwrap(),
        1,
        "a duplicate of itself"
    );
    let back = take_one(&worker(&queue));
    assert_eq!(
        back.header("duolog-dedup-id").map(|it| &it[..]),
        Some(&b"1"[..])
    );
}

#[test]
fn of_threads_that_send_one_id_one_stores_it() {
    watched("one id", || {
        let place = Place::new();
        let engine = place.open(small());
        let queue = engine.create_queue("jobs", once(60).shards(4)).unwrap();
        let ids: Vec<Vec<_>> = std::thread::scope(|scope| {
            let work = || {
                (0..50)
                    .map(|n| send_id(&queue, "x", &n.to_string()))
                    .collect()
            };
            let senders: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
            senders.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert!(
            ids.iter().all(|of_one| *of_one == ids[0]),
            "one answer for all"
        );
        assert_eq!(take(&worker(&queue), 999).len(), 50);
    });
}

#[test]
fn taking_what_was_sent_once_brings_it_once() {
    let (_world, queue) = World::with(once(60));
    for n in 0..10 {
        send_id(&queue, &n.to_string(), &(n / 2).to_string());
    }
    assert_eq!(take_bodies(&worker(&queue), 99), ["0", "2", "4", "6", "8"]);
}
