//! Tickets: waited on by threads, awaited by a runtime of a few lines.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use duolog::{AppendOptions, Record};

use crate::support::{Bell, Place, block_on, buffered, manual, small, topic, values, watched};

#[test]
fn a_ticket_is_awaited_while_the_background_writes() {
    watched("an awaited ticket", || {
        let place = Place::new();
        let engine = place.open(small().linger(Duration::from_millis(5)));
        let topic = topic(&engine, "t");
        for n in 0..50 {
            let ticket = topic
                .append_nowait(&[Record::new("x")], &AppendOptions::default())
                .unwrap();
            let (placed, _) = block_on(ticket);
            assert_eq!(placed.unwrap()[0].offset.get(), n);
            assert_eq!(topic.partition(0).unwrap().durable.get(), n + 1);
        }
    });
}

#[test]
fn a_pending_ticket_wakes_the_last_waker_it_was_given() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let mut ticket = topic
        .append_nowait(&[Record::new("x")], &AppendOptions::default())
        .unwrap();
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    for bell in &bells {
        let waker = Waker::from(Arc::clone(bell));
        let poll = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker));
        assert!(poll.is_pending(), "nobody has written it");
    }
    assert!(engine.run_pending().unwrap());
    bells[1].wait();
    let (placed, polls) = block_on(ticket);
    assert_eq!((placed.unwrap()[0].offset.get(), polls), (0, 1));
}

#[test]
fn a_wait_with_a_timeout_can_be_tried_again() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let ticket = topic
        .append_nowait(&[Record::new("x")], &AppendOptions::default())
        .unwrap();
    // Whoever waits writes for itself, however short the wait.
    assert!(ticket.wait_timeout(Duration::ZERO).unwrap());
    assert!(ticket.wait_timeout(Duration::ZERO).unwrap());
    assert_eq!(ticket.wait().unwrap()[0].offset.get(), 0);
}

#[test]
fn a_ticket_of_a_buffered_append_is_ready_at_once() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let ticket = || {
        topic
            .append_nowait(&[Record::new("x")], &buffered())
            .unwrap()
    };
    assert!(ticket().wait_timeout(Duration::ZERO).unwrap());
    assert_eq!(block_on(ticket()).1, 1);
    assert_eq!(ticket().wait().unwrap()[0].offset.get(), 2);
}

#[test]
fn dropped_tickets_are_appended_nevertheless() {
    let place = Place::new();
    let engine = place.open(small());
    let topic = topic(&engine, "t");
    for _ in 0..100 {
        drop(topic.append_nowait(&[Record::new("x")], &AppendOptions::default()));
    }
    drop((topic, engine));
    let engine = place.open(small());
    assert_eq!(values(&engine.topic("t").unwrap(), 0).len(), 100);
}

#[test]
fn a_close_answers_the_tickets_that_are_under_way() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let tickets: Vec<_> = (0..10)
        .map(|_| topic.append_nowait(&[Record::new("x")], &AppendOptions::default()))
        .collect();
    engine.close().unwrap();
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.unwrap().wait().unwrap()[0].offset.get(), n as u64);
    }
    let engine = place.open(small());
    assert_eq!(values(&engine.topic("t").unwrap(), 0).len(), 10);
}

#[test]
fn many_tickets_share_writes() {
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let before = engine.stats().wal_syncs;
    let tickets: Vec<_> = (0..1000)
        .map(|_| {
            topic
                .append_nowait(&[Record::new("x")], &AppendOptions::default())
                .unwrap()
        })
        .collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    let syncs = engine.stats().wal_syncs - before;
    assert!(syncs < 10, "{syncs} syncs for 1000 tickets of one thread");
}

#[test]
fn a_waker_that_was_woken_is_let_go() {
    struct Counted(Arc<AtomicUsize>);
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let place = Place::new();
    let engine = place.open(manual());
    let topic = topic(&engine, "t");
    let mut ticket = topic
        .append_nowait(&[Record::new("x")], &AppendOptions::default())
        .unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let waker = Waker::from(Arc::new(Counted(Arc::clone(&dropped))));
    let poll = Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    drop(waker);
    engine.run_pending().unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
