//! Consumers that want to be alone: one at a time, or nobody else at all.

use duolog::{ConsumerOptions, ErrorKind, QueueOptions};

use crate::support::{Place, fails, small, watched};
use crate::world::{World, bodies, body, ms, secs, send, take, take_bodies, worker};

#[test]
fn of_single_active_consumers_the_oldest_gets_messages() {
    let (_world, queue) = World::with(QueueOptions::default().single_active(true));
    send(&queue, &["a", "b", "c"]);
    let (first, second, third) = (worker(&queue), worker(&queue), worker(&queue));
    assert!(take(&second, 9).is_empty() && take(&third, 9).is_empty());
    let held = take(&first, 2);
    assert_eq!(bodies(&held), ["a", "b"]);
    held[0].ack().unwrap();
    drop(first);
    assert!(take(&third, 9).is_empty());
    assert_eq!(
        take_bodies(&second, 9),
        ["b", "c"],
        "in order, from where it was"
    );
}

#[test]
fn the_next_in_line_wakes_when_the_active_one_goes() {
    watched("single active", || {
        let place = Place::new();
        let engine = place.open(small());
        let options = QueueOptions::default().single_active(true);
        let queue = engine.create_queue("jobs", options).unwrap();
        send(&queue, &["a"]);
        let (active, next) = (worker(&queue), worker(&queue));
        let _held = take(&active, 1);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| next.receive(1, secs(60)).unwrap());
            std::thread::sleep(ms(50));
            drop(active);
            assert_eq!(body(&waits.join().unwrap()[0]), "a");
        });
    });
}

#[test]
fn single_active_can_be_altered() {
    let (world, queue) = World::with(QueueOptions::default());
    send(&queue, &["a", "b"]);
    let (first, second) = (worker(&queue), worker(&queue));
    let alter = |on| {
        let options = QueueOptions::default().single_active(on);
        world.engine.alter_queue("jobs", options).unwrap();
    };
    alter(true);
    assert!(take(&second, 9).is_empty());
    assert_eq!(take_bodies(&first, 1), ["a"]);
    alter(false);
    assert_eq!(take_bodies(&second, 9), ["b"]);
}

#[test]
fn an_exclusive_consumer_keeps_others_out() {
    let (_world, queue) = World::with(QueueOptions::default());
    let exclusive = || ConsumerOptions::default().exclusive(true);
    let alone = queue.consumer(exclusive()).unwrap();
    let others = [exclusive(), ConsumerOptions::default()];
    for other in others {
        fails(
            queue.consumer(other),
            ErrorKind::Busy,
            &["exclusive", "jobs"],
        );
    }
    drop(alone);
    let one = worker(&queue);
    fails(
        queue.consumer(exclusive()),
        ErrorKind::Busy,
        &["another consumer"],
    );
    drop(one);
    queue.consumer(exclusive()).unwrap();
}
