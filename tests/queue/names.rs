//! Names: shared with topics; and what calls for topics say to a queue.

use duolog::{ErrorKind, Filter, QueueOptions, TopicOptions};

use crate::support::{fails, topic};
use crate::world::World;

#[test]
fn queues_and_topics_share_their_names() {
    let world = World::new();
    topic(&world.engine, "topic");
    world.create("queue", QueueOptions::default());
    let queue = |name: &str| world.engine.create_queue(name, QueueOptions::default());
    fails(queue("topic"), ErrorKind::Exists, &["topic"]);
    fails(queue("queue"), ErrorKind::Exists, &["queue"]);
    let made = world.engine.create_topic("queue", TopicOptions::default());
    fails(made, ErrorKind::Exists, &["queue"]);
    let subscribed = |name: &str| {
        let options = QueueOptions::default();
        world
            .engine
            .subscribe(name, "topic", Filter::default(), options, false)
    };
    fails(subscribed("topic"), ErrorKind::Exists, &["topic"]);
    subscribed("view").unwrap();
    fails(queue("view"), ErrorKind::Exists, &["view"]);
    let made = world.engine.create_topic("view", TopicOptions::default());
    fails(made, ErrorKind::Exists, &["view"]);
}

#[test]
fn a_queue_is_no_topic() {
    let world = World::new();
    world.create("queue", QueueOptions::default());
    let engine = &world.engine;
    fails(engine.topic("queue"), ErrorKind::Invalid, &["is a queue"]);
    let altered = engine.alter_topic("queue", TopicOptions::default());
    fails(altered, ErrorKind::Invalid, &["is a queue"]);
    fails(
        engine.delete_topic("queue"),
        ErrorKind::Invalid,
        &["is a queue"],
    );
    assert!(engine.topics().is_empty(), "{:?}", engine.topics());
}

#[test]
fn what_is_printed_of_a_queue_ends() {
    let world = World::new();
    let dead = world.create("dead", QueueOptions::default());
    let queue = world.create("queue", QueueOptions::default().dead_letter("dead"));
    let consumer = queue.consumer(duolog::ConsumerOptions::default()).unwrap();
    let receive = consumer.receive_async(1);
    for text in [
        format!("{queue:?}"),
        format!("{consumer:?} {receive:?}"),
        format!("{dead:?}"),
        format!("{:?}", world.engine),
    ] {
        assert!((1..200_000).contains(&text.len()), "{} bytes", text.len());
    }
}

#[test]
fn a_topic_is_no_queue() {
    let world = World::new();
    topic(&world.engine, "topic");
    fails(world.engine.queue("topic"), ErrorKind::NotFound, &["topic"]);
    fails(
        world.engine.delete_queue("topic"),
        ErrorKind::NotFound,
        &["topic"],
    );
    let altered = world.engine.alter_queue("topic", QueueOptions::default());
    fails(altered, ErrorKind::NotFound, &["topic"]);
}

#[test]
fn names_have_the_rules_of_topics() {
    let world = World::new();
    for wrong in ["", ".", "..", "a/b", "a\0b", &"x".repeat(250)] {
        let made = world.engine.create_queue(wrong, QueueOptions::default());
        fails(made, ErrorKind::Invalid, &[]);
    }
    world.create(&"x".repeat(249), QueueOptions::default());
}

#[test]
fn queues_are_listed_by_name_with_what_they_are() {
    let mut world = World::new();
    topic(&world.engine, "events");
    world.create("b", QueueOptions::default().shards(3));
    world.create("a", QueueOptions::default());
    let filter = Filter::default().exists("kind");
    let options = QueueOptions::default();
    world
        .engine
        .subscribe("c", "events", filter.clone(), options, false)
        .unwrap();
    for _ in 0..2 {
        let queues = world.engine.queues();
        let names: Vec<_> = queues.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((queues[0].options.shards, queues[1].options.shards), (1, 3));
        assert_eq!(queues[0].subscription, None);
        assert_eq!(
            queues[2].subscription,
            Some(("events".to_owned(), filter.clone()))
        );
        world.reopen();
    }
}
