//! Answers of the disk that are waited for later, and acks that wait for
//! company.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Consumer, Delivery};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::queue::{MessageId, Sent};

/// A send under way, from [`Queue::send_nowait`](super::Queue::send_nowait): wait
/// on it from a thread, or await it from any async runtime. Dropping it changes
/// nothing.
///
/// # Examples
///
/// ```
/// use duolog::{Message, QueueOptions, SendOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// let ticket = jobs.send_nowait(&[Message::new("a")], &SendOptions::default())?;
/// assert_eq!(ticket.wait()?[0].offset.get(), 0);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "without waiting nobody knows whether the messages are durable"]
pub struct SendTicket {
    engine: Engine,
    sent: Sent,
}

impl SendTicket {
    pub(super) fn new(engine: Engine, sent: Sent) -> Self {
        Self { engine, sent }
    }

    /// Where the messages go if all is well.
    #[must_use]
    pub fn ids(&self) -> &[MessageId] {
        &self.sent.ids
    }

    /// Waits until the messages are what was asked for.
    ///
    /// # Errors
    ///
    /// `Poisoned` if a write failed: the messages may or may not survive.
    pub fn wait(self) -> Result<Vec<MessageId>> {
        if let Some(handle) = &self.sent.handle {
            handle.wait(self.engine.shared().env.wal()?)?;
        }
        Ok(self.sent.ids)
    }

    /// The same for at most `timeout`; false if that passed. Can be called again.
    ///
    /// If nobody else writes, this thread does, and then it takes as long as that
    /// write and sync.
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        let Some(handle) = &self.sent.handle else {
            return Ok(true);
        };
        let result = handle.wait_timeout(self.engine.shared().env.wal()?, timeout);
        result.map_or(Ok(false), |done| done.map(|()| true))
    }
}

impl Future for SendTicket {
    type Output = Result<Vec<MessageId>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(handle) = &this.sent.handle {
            let wal = this.engine.shared().env.wal()?;
            match handle.poll(wal, context.waker()) {
                None => return Poll::Pending,
                Some(result) => result?,
            }
        }
        Poll::Ready(Ok(this.sent.ids.clone()))
    }
}

/// Acks that gather until they are many, or old: one commit for all of them.
///
/// What gathered is acknowledged when the batch is full, when
/// [`Self::tick`] finds it old, at [`Self::flush`], and when it is dropped: the
/// last few never stay unanswered.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{AckBatch, ConsumerOptions, Message, QueueOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// jobs.send(&Message::new("a"))?;
///
/// let worker = jobs.consumer(ConsumerOptions::default())?;
/// let mut acks = AckBatch::new(&worker, 100, Duration::from_millis(50));
/// for delivery in worker.receive(100, Duration::ZERO)? {
///     acks.add(delivery)?;
/// }
/// acks.flush()?;
/// assert_eq!(jobs.stats()?.in_flight, 0);
/// # drop(acks);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AckBatch<'c> {
    consumer: &'c Consumer,
    count: usize,
    age: Duration,
    waiting: Vec<Delivery>,
    since: Duration,
}

impl<'c> AckBatch<'c> {
    /// Acks of `consumer`, in commits of `count`, or of those that gathered
    /// since the first of them is `age` old.
    #[must_use]
    pub fn new(consumer: &'c Consumer, count: usize, age: Duration) -> Self {
        Self {
            consumer,
            count: count.max(1),
            age,
            waiting: Vec::new(),
            since: Duration::ZERO,
        }
    }

    /// Adds the ack of a delivery; commits if that makes it full, or old.
    ///
    /// # Errors
    ///
    /// As [`Consumer::ack_all`], of the first that failed; the others are
    /// acknowledged.
    pub fn add(&mut self, delivery: Delivery) -> Result<()> {
        if self.waiting.is_empty() {
            self.since = self.consumer.now();
        }
        self.waiting.push(delivery);
        if self.waiting.len() >= self.count {
            return self.flush();
        }
        self.tick()
    }

    /// Commits what gathered if the first of it is old enough: to be called now
    /// and then while nothing comes.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn tick(&mut self) -> Result<()> {
        let old = self.consumer.now().saturating_sub(self.since) >= self.age;
        if self.waiting.is_empty() || !old {
            return Ok(());
        }
        self.flush()
    }

    /// Commits what gathered.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let results = self.consumer.ack_all(&waiting)?;
        let first: Option<Error> = results.into_iter().find_map(Result::err);
        first.map_or(Ok(()), Err)
    }
}

impl Drop for AckBatch<'_> {
    fn drop(&mut self) {
        // Nobody is left to tell: what fails here is delivered again.
        drop(self.flush());
    }
}
