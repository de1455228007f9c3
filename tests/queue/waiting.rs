//! Long poll: a receive that waits, in real time.

use std::time::{Duration, Instant};

use duolog::{Consumer, Engine, ErrorKind, Message, Queue, QueueOptions};

use crate::support::{Place, fails, manual, small, watched};
use crate::world::{body, ms, secs, take_one, worker};

/// Longer than any of these tests may take.
const LONG: Duration = Duration::from_secs(60);

/// What the receive of a waiting consumer brings, after `news`, and when.
fn awaited(queue: &Queue, consumer: &Consumer, news: impl FnOnce(&Queue)) -> (String, Duration) {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| consumer.receive(1, LONG).unwrap());
        std::thread::sleep(ms(50));
        news(queue);
        let got = waits.join().unwrap();
        (body(&got[0]), begun.elapsed())
    })
}

fn opened(place: &Place) -> (Engine, Queue) {
    let engine = place.open(small());
    let queue = engine
        .create_queue("jobs", QueueOptions::default())
        .unwrap();
    (engine, queue)
}

#[test]
fn a_receive_wakes_when_a_message_comes() {
    watched("message", || {
        let place = Place::new();
        let (_engine, queue) = opened(&place);
        let consumer = worker(&queue);
        let (got, took) = awaited(&queue, &consumer, |queue| {
            queue.send(&Message::new("news")).unwrap();
        });
        assert_eq!(got, "news");
        assert!(took < secs(20), "took {took:?}");
    });
}

#[test]
fn a_receive_wakes_when_a_message_comes_back() {
    watched("back", || {
        let place = Place::new();
        let (_engine, queue) = opened(&place);
        queue.send(&Message::new("a")).unwrap();
        let (holds, waits) = (worker(&queue), worker(&queue));
        let held = take_one(&holds);
        let (got, _) = awaited(&queue, &waits, |_| held.nack().unwrap());
        assert_eq!(got, "a");
    });
}

#[test]
fn a_receive_wakes_when_another_consumer_goes() {
    watched("gone", || {
        let place = Place::new();
        let (_engine, queue) = opened(&place);
        queue.send(&Message::new("a")).unwrap();
        let (holds, waits) = (worker(&queue), worker(&queue));
        let _held = take_one(&holds);
        let (got, _) = awaited(&queue, &waits, |_| drop(holds));
        assert_eq!(got, "a");
    });
}

#[test]
fn a_receive_wakes_when_an_order_key_is_free() {
    watched("key", || {
        let place = Place::new();
        let (_engine, queue) = opened(&place);
        for body in ["a1", "a2"] {
            queue.send(&Message::new(body).order_key("a")).unwrap();
        }
        let consumer = worker(&queue);
        let first = take_one(&consumer);
        let (got, _) = awaited(&queue, &consumer, |_| first.ack().unwrap());
        assert_eq!(got, "a2");
    });
}

#[test]
fn a_receive_wakes_when_a_delay_is_over_and_not_before() {
    for options in [small(), manual()] {
        watched("delay", || {
            let place = Place::new();
            let engine = place.open(options);
            let queue = engine
                .create_queue("jobs", QueueOptions::default())
                .unwrap();
            let consumer = worker(&queue);
            let begun = Instant::now();
            queue.send(&Message::new("later").delay(ms(400))).unwrap();
            let got = consumer.receive(1, LONG).unwrap();
            let took = begun.elapsed();
            assert_eq!(body(&got[0]), "later");
            assert!((ms(399)..secs(20)).contains(&took), "took {took:?}");
        });
    }
}

#[test]
fn a_receive_wakes_when_a_lease_ends_and_not_before() {
    for options in [small(), manual()] {
        watched("lease", || {
            let place = Place::new();
            let engine = place.open(options);
            let lease = QueueOptions::default().lease(ms(400));
            let queue = engine.create_queue("jobs", lease).unwrap();
            queue.send(&Message::new("a")).unwrap();
            let consumer = worker(&queue);
            let begun = Instant::now();
            let _held = take_one(&consumer);
            let got = consumer.receive(1, LONG).unwrap();
            let took = begun.elapsed();
            assert_eq!((body(&got[0]).as_str(), got[0].deliveries()), ("a", 2));
            assert!((ms(399)..secs(20)).contains(&took), "took {took:?}");
        });
    }
}

#[test]
fn a_receive_that_gets_nothing_waits_as_long_as_it_was_told() {
    let place = Place::new();
    let (_engine, queue) = opened(&place);
    let consumer = worker(&queue);
    let begun = Instant::now();
    assert!(consumer.receive(1, Duration::ZERO).unwrap().is_empty());
    assert!(consumer.receive(1, ms(200)).unwrap().is_empty());
    let took = begun.elapsed();
    assert!((ms(200)..secs(20)).contains(&took), "took {took:?}");
}

#[test]
fn a_receive_that_waits_hears_that_the_queue_or_the_store_is_gone() {
    type End = fn(&Engine);
    let ends: [End; 2] = [
        |engine| engine.close().unwrap(),
        |engine| engine.delete_queue("jobs").unwrap(),
    ];
    for end in ends {
        watched("end", || {
            let place = Place::new();
            let (engine, queue) = opened(&place);
            let consumer = worker(&queue);
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| consumer.receive(1, LONG));
                std::thread::sleep(ms(50));
                end(&engine);
                fails(waits.join().unwrap(), ErrorKind::Closed, &[]);
            });
        });
    }
}
