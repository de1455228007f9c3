//! What is refused, with a word on what to do instead.

use duolog::{ErrorKind, Message, Overflow, QueueOptions, SendOptions};

use crate::support::fails;
use crate::world::{World, counts, secs, send, take_one, worker};

#[test]
fn a_circle_of_dead_letter_queues_is_refused_and_shown() {
    let world = World::new();
    let to = |name: &str| QueueOptions::default().dead_letter(name);
    fails(
        world.engine.create_queue("a", to("a")),
        ErrorKind::Invalid,
        &["a -> a"],
    );
    world.create("c", QueueOptions::default());
    world.create("b", to("c"));
    world.create("a", to("b"));
    let altered = world.engine.alter_queue("c", to("a"));
    fails(altered, ErrorKind::Invalid, &["circle", "c -> a -> b -> c"]);
    let altered = world.engine.alter_queue("c", to("c"));
    fails(altered, ErrorKind::Invalid, &["c -> c"]);
    assert_eq!(world.queue("c").options().dead_letter, None);
}

#[test]
fn a_dead_letter_queue_that_is_not_there_is_refused() {
    let world = World::new();
    let options = QueueOptions::default().dead_letter("nowhere");
    fails(
        world.engine.create_queue("a", options.clone()),
        ErrorKind::NotFound,
        &["nowhere"],
    );
    world.create("b", QueueOptions::default());
    fails(
        world.engine.alter_queue("b", options),
        ErrorKind::NotFound,
        &["nowhere"],
    );
}

#[test]
fn a_dead_letter_queue_in_use_is_not_deleted() {
    let world = World::new();
    world.create("dead", QueueOptions::default());
    world.create("a", QueueOptions::default().dead_letter("dead"));
    let deleted = world.engine.delete_queue("dead");
    fails(deleted, ErrorKind::Invalid, &["dead-letter queue of \"a\""]);
    world
        .engine
        .alter_queue("a", QueueOptions::default())
        .unwrap();
    world.engine.delete_queue("dead").unwrap();
}

#[test]
fn limits_that_would_lose_messages_need_a_dead_letter_queue() {
    let world = World::new();
    let plain = QueueOptions::default;
    for (options, name) in [
        (plain().max_deliveries(3), "max_deliveries"),
        (plain().max_deliveries(0), "max_deliveries"),
        (
            plain().overflow(Overflow::DeadLetter).length_max(3),
            "overflow",
        ),
    ] {
        fails(
            world.engine.create_queue("a", options),
            ErrorKind::Invalid,
            &[name],
        );
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let world = World::new();
    let plain = QueueOptions::default;
    for (options, name) in [
        (plain().shards(0), "shards"),
        (plain().shards(257), "shards"),
        (plain().length_max(0), "length_max"),
        (plain().ttl(secs(0)), "ttl"),
        (plain().ttl(std::time::Duration::MAX), "ttl"),
        (plain().message_bytes_max(1023), "message_bytes_max"),
        (
            plain().message_bytes_max((16 << 20) + 1),
            "message_bytes_max",
        ),
        (plain().segment_bytes_max(4095), "segment_bytes_max"),
    ] {
        fails(
            world.engine.create_queue("a", options.clone()),
            ErrorKind::Invalid,
            &[name],
        );
        world.create(name, plain());
        fails(
            world.engine.alter_queue(name, options),
            ErrorKind::Invalid,
            &[name],
        );
        world.engine.delete_queue(name).unwrap();
    }
}

#[test]
fn shards_and_priorities_cannot_be_altered() {
    let (world, _queue) = World::with(QueueOptions::default());
    for options in [
        QueueOptions::default().shards(2),
        QueueOptions::default().priority_max(10),
    ] {
        let altered = world.engine.alter_queue("jobs", options);
        fails(altered, ErrorKind::Invalid, &["cannot be altered"]);
    }
}

#[test]
fn a_send_of_nothing_and_a_receive_of_nothing_are_refused() {
    let (_world, queue) = World::with(QueueOptions::default());
    let sent = queue.send_batch(&[], &SendOptions::default());
    fails(sent, ErrorKind::Invalid, &["at least one"]);
    let sent = queue.send_nowait(&[], &SendOptions::default());
    fails(sent, ErrorKind::Invalid, &["at least one"]);
    let received = worker(&queue).receive(0, secs(0));
    fails(received, ErrorKind::Invalid, &["at least 1"]);
}

#[test]
fn headers_of_the_engine_are_refused_and_so_are_too_many() {
    let (_world, queue) = World::with(QueueOptions::default());
    let sent = queue.send(&Message::new("a").header("duolog-origin", "me"));
    fails(sent, ErrorKind::Invalid, &["duolog-origin"]);
    let most = duolog::limits::HEADERS_MAX - 10;
    let many = |count| (0..count).fold(Message::new("a"), |it, _| it.header("h", "v"));
    fails(
        queue.send(&many(most + 1)),
        ErrorKind::Invalid,
        &["headers"],
    );
    queue.send(&many(most)).unwrap();
    assert_eq!(counts(&queue), (1, 0, 0));
}

#[test]
fn a_message_with_all_headers_a_key_a_life_and_an_id_can_die() {
    let options = QueueOptions::default().dedup_window(secs(60));
    let (_world, queue, dead) = World::with_dead(options);
    let most = duolog::limits::HEADERS_MAX - 10;
    let full = (0..most).fold(Message::new("a"), |it, _| it.header("h", "v"));
    queue
        .send(&full.order_key("k").ttl(secs(9)).dedup_id("1"))
        .unwrap();
    take_one(&worker(&queue)).dead_letter(Some("why")).unwrap();
    take_one(&worker(&dead)).ack().unwrap();
    assert_eq!(counts(&dead), (0, 0, 0));
}

#[test]
fn a_message_as_large_as_allowed_may_have_a_time_to_live_and_an_id() {
    let options = QueueOptions::default()
        .message_bytes_max(1024)
        .dedup_window(secs(60));
    let (_world, queue) = World::with(options);
    let body = "x".repeat(1024);
    queue
        .send(&Message::new(&body).ttl(secs(9)).dedup_id("1"))
        .unwrap();
    let larger = "x".repeat(1025);
    let sent = queue.send(&Message::new(&larger).ttl(secs(9)));
    fails(sent, ErrorKind::Invalid, &["1024"]);
}

#[test]
fn a_deleted_queue_says_so_to_all_who_have_it() {
    let (world, queue) = World::with(QueueOptions::default());
    let other = world.create("other", QueueOptions::default());
    send(&queue, &["a"]);
    send(&other, &["x"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    world.engine.delete_queue("jobs").unwrap();
    let closed = ErrorKind::Closed;
    fails(queue.send(&Message::new("b")), closed, &["deleted"]);
    fails(queue.browse(None, 9), closed, &["deleted"]);
    fails(queue.purge(), closed, &["deleted"]);
    fails(queue.stats(), closed, &["deleted"]);
    fails(taken.ack(), closed, &["deleted"]);
    fails(taken.nack(), closed, &["deleted"]);
    fails(taken.extend(secs(1)), closed, &["deleted"]);
    fails(consumer.receive(1, secs(9)), closed, &["deleted"]);
    fails(consumer.ack_through(&taken), closed, &["deleted"]);
    fails(other.move_to(&queue, 9, |_| true), closed, &["deleted"]);
    let mut tx = world.engine.transaction();
    tx.ack(&taken).send(&other, Message::new("y"));
    fails(tx.commit(), closed, &["deleted"]);
    assert_eq!(counts(&other), (1, 0, 0));
    world.step();
}
