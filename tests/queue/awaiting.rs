//! Queues without blocking: receives and sends as futures, polled by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use duolog::{ConsumerOptions, Delivery, ErrorKind, Message, QueueOptions, Result, SendOptions};

use crate::support::{Bell, Place, block_on, fails, small, watched};
use crate::world::{World, body, secs, send, take, take_bodies, take_one, worker};

type Answer = fn(&Delivery);

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

fn got(polled: Poll<Result<Vec<Delivery>>>) -> Vec<String> {
    match polled {
        Poll::Ready(deliveries) => deliveries.unwrap().iter().map(body).collect(),
        Poll::Pending => Vec::new(),
    }
}

#[test]
fn a_receive_that_is_awaited_wakes_when_a_message_comes() {
    watched("awaited message", || {
        let (_world, queue) = World::with(QueueOptions::default());
        let consumer = worker(&queue);
        let bell = Arc::new(Bell::default());
        let mut receive = consumer.receive_async(9);
        assert!(poll(&mut receive, &bell).is_pending());
        send(&queue, &["a"]);
        bell.wait();
        assert_eq!(got(poll(&mut receive, &bell)), ["a"]);
    });
}

#[test]
fn a_receive_that_is_awaited_wakes_when_time_brings_a_message() {
    watched("awaited time", || {
        let (world, queue) = World::with(QueueOptions::default());
        queue.send(&Message::new("a").delay(secs(60))).unwrap();
        let consumer = worker(&queue);
        let bell = Arc::new(Bell::default());
        let mut receive = consumer.receive_async(9);
        assert!(poll(&mut receive, &bell).is_pending());
        world.pass(secs(60));
        bell.wait();
        assert_eq!(got(poll(&mut receive, &bell)), ["a"]);
        let bell = Arc::new(Bell::default());
        let mut receive = consumer.receive_async(9);
        assert!(poll(&mut receive, &bell).is_pending());
        world.pass(secs(30));
        bell.wait();
        assert_eq!(got(poll(&mut receive, &bell)), ["a"], "its lease has ended");
    });
}

#[test]
fn a_receive_that_is_awaited_wakes_when_its_consumer_has_room_again() {
    watched("awaited room", || {
        let (_world, queue) = World::with(QueueOptions::default());
        send(&queue, &["a", "b", "c", "d", "e"]);
        let consumer = queue
            .consumer(ConsumerOptions::default().prefetch(1))
            .unwrap();
        let answers: [Answer; 3] = [
            |held| held.ack().unwrap(),
            |held| held.dead_letter(None).unwrap(),
            |held| held.nack().unwrap(),
        ];
        for answer in answers {
            let held = take_one(&consumer);
            let bell = Arc::new(Bell::default());
            let mut receive = consumer.receive_async(9);
            assert!(poll(&mut receive, &bell).is_pending());
            answer(&held);
            bell.wait();
            let Poll::Ready(next) = poll(&mut receive, &bell) else {
                panic!("there is room, and a message");
            };
            next.unwrap()[0].ack().unwrap();
        }
    });
}

#[test]
fn a_receive_that_is_dropped_takes_nothing() {
    let (_world, queue) = World::with(QueueOptions::default());
    let consumer = worker(&queue);
    let bell = Arc::new(Bell::default());
    let mut receive = consumer.receive_async(9);
    assert!(poll(&mut receive, &bell).is_pending());
    drop(receive);
    send(&queue, &["a"]);
    assert_eq!(take_bodies(&worker(&queue), 9), ["a"]);
}

#[test]
fn a_receive_that_is_awaited_hears_that_the_queue_is_gone() {
    watched("awaited end", || {
        let (world, queue) = World::with(QueueOptions::default());
        let consumer = worker(&queue);
        let bell = Arc::new(Bell::default());
        let mut receive = consumer.receive_async(1);
        assert!(poll(&mut receive, &bell).is_pending());
        world.engine.delete_queue("jobs").unwrap();
        bell.wait();
        let Poll::Ready(result) = poll(&mut receive, &bell) else {
            panic!("the queue is gone");
        };
        fails(result, ErrorKind::Closed, &["deleted"]);
        let (nothing, _) = block_on(consumer.receive_async(0));
        fails(nothing, ErrorKind::Invalid, &["at least 1"]);
    });
}

#[test]
fn a_receive_that_is_awaited_hears_that_the_store_is_closed() {
    watched("awaited close", || {
        let (world, queue) = World::with(QueueOptions::default());
        let consumer = worker(&queue);
        let bell = Arc::new(Bell::default());
        let mut receive = consumer.receive_async(1);
        assert!(poll(&mut receive, &bell).is_pending());
        world.engine.close().unwrap();
        bell.wait();
        let Poll::Ready(result) = poll(&mut receive, &bell) else {
            panic!("the store is closed");
        };
        fails(result, ErrorKind::Closed, &[]);
    });
}

#[test]
fn a_send_is_awaited_while_the_background_writes() {
    watched("awaited send", || {
        let place = Place::new();
        let engine = place.open(small());
        let queue = engine
            .create_queue("jobs", QueueOptions::default())
            .unwrap();
        let messages = [Message::new("a"), Message::new("b").priority(1)];
        let ticket = queue
            .send_nowait(&messages, &SendOptions::default())
            .unwrap();
        let planned = ticket.ids().to_vec();
        let (ids, _) = block_on(ticket);
        assert_eq!(ids.unwrap(), planned);
        assert_eq!(take_bodies(&worker(&queue), 9), ["b", "a"]);
    });
}

#[test]
fn a_message_is_not_seen_before_its_send_is_durable() {
    let (world, queue) = World::with(QueueOptions::default());
    let consumer = worker(&queue);
    let message = [Message::new("a")];
    let mut ticket = queue
        .send_nowait(&message, &SendOptions::default())
        .unwrap();
    let bell = Arc::new(Bell::default());
    assert!(poll(&mut ticket, &bell).is_pending());
    assert!(take(&consumer, 9).is_empty());
    world.step();
    assert!(poll(&mut ticket, &bell).is_ready());
    assert_eq!(take_bodies(&consumer, 9), ["a"]);
}

#[test]
fn a_send_can_be_waited_for_some_time() {
    let (_world, queue) = World::with(QueueOptions::default());
    let message = [Message::new("a")];
    let ticket = queue
        .send_nowait(&message, &SendOptions::default())
        .unwrap();
    assert!(ticket.wait_timeout(secs(60)).unwrap());
    assert!(ticket.wait_timeout(secs(0)).unwrap(), "again");
    assert_eq!(ticket.wait().unwrap().len(), 1);
    assert_eq!(take_bodies(&worker(&queue), 9), ["a"]);
}

#[test]
fn a_ticket_that_is_dropped_sends_nevertheless() {
    let (world, queue) = World::with(QueueOptions::default());
    drop(
        queue
            .send_nowait(&[Message::new("a")], &SendOptions::default())
            .unwrap(),
    );
    world.step();
    assert_eq!(take_bodies(&worker(&queue), 9), ["a"]);
}
