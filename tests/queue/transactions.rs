//! Transactions: acks and results in one commit, or none of it.

use duolog::{
    ConsumerOptions, DeadReason, Delivery, Durability, ErrorKind, Message, Overflow, Queue,
    QueueOptions, Record, Topic,
};

use crate::support::{Place, fails, manual, topic, values};
use crate::world::{
    EPOCH_MS, World, browse, browse_bodies, counts, secs, send, take, take_bodies, take_one, text,
    worker,
};

type Add = fn(&mut duolog::Transaction<'static>, &Queue, &Topic, &Delivery);

/// Two queues, a topic, and a delivery from the first.
struct Stage {
    world: World,
    jobs: Queue,
    done: Queue,
    log: Topic,
}

impl Stage {
    fn new(jobs: QueueOptions, done: QueueOptions) -> Self {
        let world = World::new();
        world.create("dead", QueueOptions::default());
        let jobs = world.create("jobs", jobs.dead_letter("dead"));
        Self {
            jobs,
            done: world.create("done", done),
            log: topic(&world.engine, "log"),
            world,
        }
    }

    /// Everything that a transaction can change.
    fn picture(&self) -> String {
        format!(
            "jobs {:?} {:?} done {:?} dead {:?} log {:?}",
            counts(&self.jobs),
            browse_bodies(&self.jobs),
            browse_bodies(&self.done),
            browse_bodies(&self.world.queue("dead")),
            values(&self.log, 0),
        )
    }
}

fn plain() -> Stage {
    Stage::new(QueueOptions::default(), QueueOptions::default())
}

#[test]
fn a_transaction_over_two_queues_and_a_topic_is_all_there_also_after_a_kill() {
    let mut stage = plain();
    send(&stage.jobs, &["a", "b", "c"]);
    let consumer = worker(&stage.jobs);
    let taken = take(&consumer, 2);
    let mut tx = stage.world.engine.transaction();
    tx.ack(&taken[0]).dead_letter(&taken[1], Some("bad"));
    tx.send(&stage.done, Message::new("A").priority(3));
    tx.append(&stage.log, Record::new("a became A"));
    tx.send(&stage.done, Message::new("A2"));
    let committed = tx.commit().unwrap();
    assert_eq!(committed.appended.len(), 1);
    assert_eq!(committed.messages.len(), 2);
    let first = stage.done.peek(committed.messages[0]).unwrap().unwrap();
    assert_eq!(text(&first.body), "A");
    assert_eq!(consumer.held(), 0);
    let whole = stage.picture();
    assert!(
        whole.starts_with("jobs (1, 0, 0) [\"c\"] done [\"A2\", \"A\"] dead [\"b\"]"),
        "{whole}"
    );
    fails(taken[0].ack(), ErrorKind::Fenced, &["it is done"]);
    drop((taken, consumer));
    stage.world.kill();
    let engine = &stage.world.engine;
    (stage.jobs, stage.done) = (engine.queue("jobs").unwrap(), engine.queue("done").unwrap());
    stage.log = engine.topic("log").unwrap();
    assert_eq!(stage.picture(), whole);
    let note = browse(&stage.world.queue("dead"))[0].death.clone().unwrap();
    assert_eq!(
        (note.reason, note.error.as_deref()),
        (DeadReason::Rejected, Some("bad"))
    );
}

#[test]
fn a_fenced_ack_refuses_all_of_it() {
    let stage = plain();
    send(&stage.jobs, &["a", "b"]);
    let consumer = worker(&stage.jobs);
    let taken = take(&consumer, 2);
    taken[1].nack().unwrap();
    let _again = take_one(&consumer);
    let before = stage.picture();
    let mut tx = stage.world.engine.transaction();
    tx.send(&stage.done, Message::new("A").delay(secs(5)).ttl(secs(50)));
    tx.append(&stage.log, Record::new("x"))
        .ack(&taken[0])
        .ack(&taken[1]);
    fails(tx.commit(), ErrorKind::Fenced, &["delivered again"]);
    assert_eq!(stage.picture(), before);
    assert_eq!(consumer.held(), 2);
    taken[0].ack().unwrap();
}

#[test]
fn a_transaction_that_is_refused_drops_nothing_and_buries_nothing() {
    for overflow in [Overflow::DropOldest, Overflow::DeadLetter, Overflow::Reject] {
        let options = QueueOptions::default()
            .length_max(2)
            .overflow(overflow)
            .dead_letter("dead");
        let stage = Stage::new(QueueOptions::default(), options);
        send(&stage.done, &["1", "2"]);
        send(&stage.jobs, &["a"]);
        let consumer = worker(&stage.jobs);
        let fenced = take_one(&consumer);
        fenced.nack().unwrap();
        let _again = take_one(&consumer);
        let before = stage.picture();
        let mut tx = stage.world.engine.transaction();
        tx.send(&stage.done, Message::new("3")).ack(&fenced);
        let error = tx.commit().unwrap_err();
        assert!(
            [ErrorKind::Fenced, ErrorKind::Busy].contains(&error.kind()),
            "{error}"
        );
        assert_eq!(stage.picture(), before, "{overflow:?}");
    }
}

#[test]
fn a_full_queue_refuses_the_whole_transaction() {
    let stage = Stage::new(
        QueueOptions::default(),
        QueueOptions::default().length_max(2),
    );
    send(&stage.done, &["1"]);
    send(&stage.jobs, &["a"]);
    let consumer = worker(&stage.jobs);
    let taken = take_one(&consumer);
    let before = stage.picture();
    let mut tx = stage.world.engine.transaction();
    tx.ack(&taken).append(&stage.log, Record::new("x"));
    tx.send(&stage.done, Message::new("2"))
        .send(&stage.done, Message::new("3"));
    fails(tx.commit(), ErrorKind::Busy, &["length_max", "done"]);
    assert_eq!(stage.picture(), before);
    // What was reserved was given back.
    send(&stage.done, &["2"]);
    take_one(&worker(&stage.done)).ack().unwrap();
    tx = stage.world.engine.transaction();
    tx.ack(&taken).send(&stage.done, Message::new("3"));
    tx.commit().unwrap();
    assert_eq!(browse_bodies(&stage.done), ["2", "3"]);
}

#[test]
fn a_transaction_makes_room_where_the_queue_says_so() {
    let options = QueueOptions::default()
        .length_max(2)
        .overflow(Overflow::DropOldest);
    let stage = Stage::new(QueueOptions::default(), options);
    send(&stage.done, &["1", "2"]);
    let mut tx = stage.world.engine.transaction();
    tx.send(&stage.done, Message::new("3"))
        .append(&stage.log, Record::new("x"));
    tx.commit().unwrap();
    assert_eq!(browse_bodies(&stage.done), ["2", "3"]);
}

#[test]
fn what_a_transaction_acknowledges_makes_room_for_what_it_sends() {
    let stage = Stage::new(
        QueueOptions::default().length_max(1),
        QueueOptions::default(),
    );
    send(&stage.jobs, &["a"]);
    let consumer = worker(&stage.jobs);
    let taken = take_one(&consumer);
    let mut tx = stage.world.engine.transaction();
    tx.ack(&taken).send(&stage.jobs, Message::new("b"));
    tx.commit().unwrap();
    assert_eq!(browse_bodies(&stage.jobs), ["b"]);
    fails(
        stage.jobs.send(&Message::new("c")),
        ErrorKind::Busy,
        &["length_max"],
    );
}

#[test]
fn delays_and_times_to_live_count_inside_a_transaction() {
    let mut stage = plain();
    let mut tx = stage.world.engine.transaction();
    tx.send(&stage.done, Message::new("later").delay(secs(10)));
    tx.send(&stage.done, Message::new("brief").ttl(secs(5)));
    tx.send(&stage.done, Message::new("now"));
    tx.commit().unwrap();
    stage.world.kill();
    let done = stage.world.queue("done");
    assert_eq!(counts(&done), (2, 0, 1));
    stage.world.pass(secs(5));
    assert_eq!(take_bodies(&worker(&done), 9), ["now"]);
    stage.world.pass(secs(5));
    assert_eq!(take_bodies(&worker(&done), 9), ["later", "now"]);
}

#[test]
fn a_dead_letter_of_a_transaction_has_its_whole_story() {
    let stage = plain();
    let id = stage.jobs.send(&Message::new("a").order_key("k")).unwrap();
    let consumer = worker(&stage.jobs);
    stage.world.pass(secs(1));
    take_one(&consumer).nack().unwrap();
    stage.world.pass(secs(1));
    let taken = take_one(&consumer);
    let mut tx = stage.world.engine.transaction();
    tx.dead_letter(&taken, Some("twice"));
    tx.commit().unwrap();
    let letter = browse(&stage.world.queue("dead")).remove(0);
    let note = letter.death.clone().unwrap();
    assert_eq!((note.deliveries, note.count), (2, 1));
    assert_eq!(note.first.millis(), EPOCH_MS + 1000, "when it failed first");
    assert_eq!(note.last.millis(), EPOCH_MS + 2000);
    assert_eq!(
        text(letter.header("duolog-origin").unwrap()),
        format!("jobs/{id}")
    );
}

#[test]
fn without_a_dead_letter_queue_a_dead_letter_is_an_ack() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a"]);
    let taken = take_one(&worker(&queue));
    let mut tx = world.engine.transaction();
    tx.dead_letter(&taken, None);
    tx.commit().unwrap();
    assert_eq!(counts(&queue), (0, 0, 0));
}

#[test]
fn what_is_of_another_store_is_refused() {
    let stage = plain();
    let other = Place::new();
    let other = other.open(manual());
    let queue = other.create_queue("jobs", QueueOptions::default()).unwrap();
    let log = topic(&other, "log");
    send(&queue, &["a"]);
    let consumer = worker(&queue);
    let taken = take_one(&consumer);
    let adds: [Add; 4] = [
        |tx, queue, _, _| _ = tx.send(queue, Message::new("x")),
        |tx, _, log, _| _ = tx.append(log, Record::new("x")),
        |tx, _, _, taken| _ = tx.ack(taken),
        |tx, _, _, taken| _ = tx.dead_letter(taken, None),
    ];
    let before = stage.picture();
    for add in adds {
        let mut tx = stage.world.engine.transaction();
        tx.send(&stage.done, Message::new("mine"));
        add(&mut tx, &queue, &log, &taken);
        fails(tx.commit(), ErrorKind::Invalid, &["one store"]);
    }
    assert_eq!(stage.picture(), before);
    assert_eq!(counts(&queue), (0, 1, 0));
}

#[test]
fn nothing_transient_and_twice_are_refused() {
    let stage = plain();
    fails(
        stage.world.engine.transaction().commit(),
        ErrorKind::Invalid,
        &["empty"],
    );
    let mut tx = stage.world.engine.transaction();
    tx.send(&stage.done, Message::new("a"))
        .durability(Durability::Transient);
    fails(tx.commit(), ErrorKind::Invalid, &["transient"]);
    send(&stage.jobs, &["a"]);
    let taken = take_one(&worker(&stage.jobs));
    let mut tx = stage.world.engine.transaction();
    tx.ack(&taken).dead_letter(&taken, None);
    fails(tx.commit(), ErrorKind::Invalid, &["twice"]);
    let mut tx = stage.world.engine.transaction();
    tx.send(&stage.done, Message::new("a").priority(99));
    fails(tx.commit(), ErrorKind::Invalid, &["priority_max"]);
    assert_eq!(counts(&stage.done), (0, 0, 0));
}

#[test]
fn two_deliveries_of_one_message_are_not_both_answered() {
    let stage = plain();
    send(&stage.jobs, &["a"]);
    let consumer = worker(&stage.jobs);
    let old = take_one(&consumer);
    old.nack().unwrap();
    let new = take_one(&consumer);
    let mut tx = stage.world.engine.transaction();
    tx.ack(&new).ack(&old);
    fails(tx.commit(), ErrorKind::Fenced, &["delivered again"]);
    assert_eq!(counts(&stage.jobs), (0, 1, 0));
}

#[test]
fn a_transaction_that_is_dropped_changes_nothing() {
    let stage = plain();
    send(&stage.jobs, &["a"]);
    let consumer = worker(&stage.jobs);
    let taken = take_one(&consumer);
    let before = stage.picture();
    let mut tx = stage.world.engine.transaction();
    tx.ack(&taken).send(&stage.done, Message::new("A"));
    drop(tx);
    assert_eq!(stage.picture(), before);
}

#[test]
fn a_transaction_that_was_refused_can_be_tried_again_and_a_committed_one_is_empty() {
    let stage = Stage::new(
        QueueOptions::default(),
        QueueOptions::default().length_max(1),
    );
    send(&stage.done, &["1"]);
    let mut tx = stage.world.engine.transaction();
    tx.send(&stage.done, Message::new("2"));
    fails(tx.commit(), ErrorKind::Busy, &["length_max"]);
    take_one(&worker(&stage.done)).ack().unwrap();
    tx.commit().unwrap();
    fails(tx.commit(), ErrorKind::Invalid, &["empty"]);
    assert_eq!(browse_bodies(&stage.done), ["2"]);
}

#[test]
fn an_ack_in_a_transaction_lets_the_next_of_its_key_go() {
    let stage = plain();
    for body in ["k1", "k2"] {
        stage.jobs.send(&Message::new(body).order_key("k")).unwrap();
    }
    let consumer = stage.jobs.consumer(ConsumerOptions::default()).unwrap();
    let first = take_one(&consumer);
    let mut tx = stage.world.engine.transaction();
    tx.ack(&first)
        .send(&stage.done, Message::new("K1").order_key("k"));
    tx.commit().unwrap();
    assert_eq!(take_bodies(&consumer, 9), ["k2"]);
    assert_eq!(take_bodies(&worker(&stage.done), 9), ["K1"]);
}

#[test]
fn a_buffered_transaction_is_whole_or_absent_after_a_kill() {
    let mut stage = plain();
    send(&stage.jobs, &["a"]);
    let consumer = worker(&stage.jobs);
    let taken = take_one(&consumer);
    let mut tx = stage.world.engine.transaction();
    tx.durability(Durability::Buffered);
    tx.ack(&taken)
        .send(&stage.done, Message::new("A"))
        .append(&stage.log, Record::new("x"));
    tx.commit().unwrap();
    drop((taken, consumer));
    assert_eq!(browse_bodies(&stage.done), ["A"], "seen at once");
    stage.world.kill();
    let engine = &stage.world.engine;
    let left = (
        browse(&engine.queue("jobs").unwrap()).len(),
        browse(&engine.queue("done").unwrap()).len(),
        values(&engine.topic("log").unwrap(), 0).len(),
    );
    assert!([(1, 0, 0), (0, 1, 1)].contains(&left), "{left:?}");
}

#[test]
fn a_chain_of_transactions_brings_each_result_once_whatever_is_killed() {
    let mut stage = plain();
    let bodies: Vec<_> = (0..30).map(|n| format!("{n:02}")).collect();
    for body in &bodies {
        stage.jobs.send(&Message::new(body)).unwrap();
    }
    let mut round = 0_usize;
    while counts(&stage.jobs) != (0, 0, 0) {
        let consumer = worker(&stage.jobs);
        for taken in take(&consumer, 3) {
            round += 1;
            let result = text(taken.body());
            let mut tx = stage.world.engine.transaction();
            tx.ack(&taken).send(&stage.done, Message::new(&result));
            if !round.is_multiple_of(4) {
                tx.commit().unwrap();
            }
        }
        drop(consumer);
        stage.world.kill();
        stage.jobs = stage.world.queue("jobs");
        stage.done = stage.world.queue("done");
    }
    let mut results = browse_bodies(&stage.done);
    results.sort();
    assert_eq!(results, bodies);
}
