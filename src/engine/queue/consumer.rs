//! A consumer: takes messages, and answers for them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Delivery;
use crate::clock::Deadline;
use crate::engine::{Engine, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::queue::{Answer, ConsumerState, MessageId, QueueState, Refused, Taken};
use crate::wal::CommitHandle;

/// Longest sleep of a receive before it looks again.
const LOOK: Duration = Duration::from_secs(1);

/// Takes messages from a queue; from [`Queue::consumer`](super::Queue::consumer).
///
/// May be shared by threads. When it is dropped, what it holds is ready for
/// others at once, and nothing is counted against it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{ConsumerOptions, Message, QueueOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// for body in ["a", "b", "c"] {
///     jobs.send(&Message::new(body))?;
/// }
/// let worker = jobs.consumer(ConsumerOptions::default().prefetch(2))?;
/// let batch = worker.receive(10, Duration::ZERO)?;
/// assert_eq!(batch.len(), 2, "no more than its prefetch");
/// worker.ack_through(&batch[1])?;
/// assert_eq!(worker.receive(10, Duration::ZERO)?.len(), 1);
/// # drop(worker);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Consumer {
    inner: Arc<Inner>,
}

/// What a consumer and its deliveries share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) engine: Engine,
    pub(super) queue: Arc<QueueState>,
    pub(super) state: Arc<ConsumerState>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.inner.queue.leave(&self.inner.state);
    }
}

impl Inner {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.engine.shared()
    }

    /// Acknowledges, and waits for what acks of this consumer promise.
    pub(super) fn ack(&self, answers: &[Answer]) -> Result<Vec<Refused>> {
        let durability = self.state.durability(&self.queue);
        let acked = self
            .queue
            .ack(Some(&self.state), answers, durability, false);
        let (fenced, handle) = acked?;
        self.wait(handle)?;
        Ok(fenced)
    }

    pub(super) fn wait(&self, handle: Option<CommitHandle>) -> Result<()> {
        match handle {
            None => Ok(()),
            Some(handle) => handle.wait(self.shared().env.wal()?),
        }
    }
}

impl Consumer {
    pub(super) fn new(engine: Engine, queue: Arc<QueueState>, state: Arc<ConsumerState>) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                queue,
                state,
            }),
        }
    }

    /// Takes up to `max` messages, no more than its prefetch lets it hold. Where
    /// there are none, waits up to `wait` for the first: it wakes at once when a
    /// message comes, a lease ends or a delay is over. None if that passed.
    ///
    /// # Errors
    ///
    /// `Invalid` if `max` is 0; `Closed`; `Corrupt` if what is next is damaged, and,
    /// where `wait` passed in vain, if the delay of a message is over and what
    /// says so is damaged.
    pub fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let max = check_max(max)?;
        let queue = &self.inner.queue;
        let deadline = Deadline::after(wait);
        let mut trouble = None;
        loop {
            let seen = queue.signal().seen();
            let mut taken = self.take(max)?;
            if taken.is_empty() {
                // What time has brought and the background has not seen yet: to
                // any queue. The background tells of what fails there; it must
                // not make this receive fail, nor turn in circles.
                let stepped = self.inner.shared().queue_step();
                let did = stepped.as_ref().is_ok_and(|did| *did);
                trouble = stepped.err();
                if did || trouble.is_some() {
                    taken = self.take(max)?;
                }
            }
            let left = deadline.left().unwrap_or(Duration::MAX);
            if !taken.is_empty() {
                return Ok(taken);
            }
            if left.is_zero() {
                let own = trouble.filter(|error| self.is_concerned(error));
                return own.map_or(Ok(taken), Err);
            }
            // What time brings comes from the background, which looks every now
            // and then; who waits looks at the very moment.
            let due = queue.until_due().unwrap_or(LOOK).min(LOOK);
            queue
                .signal()
                .wait(seen, left.min(if trouble.is_some() { LOOK } else { due }));
        }
    }

    /// The same for an async runtime: done as soon as there is at least one
    /// message. A runtime's own timeout ends the wait; nothing is taken then.
    ///
    /// The background has to run ([`Background::Threads`](crate::Background), or
    /// [`Engine::run_pending`](crate::Engine::run_pending) now and then), or
    /// delays and leases wake nobody.
    pub fn receive_async(&self, max: usize) -> Receive<'_> {
        Receive {
            consumer: self,
            max,
            waker: None,
        }
    }

    /// Timers are of all queues: where some cannot be read, it is the matter of
    /// those that wait for one.
    fn is_concerned(&self, error: &Error) -> bool {
        let now = self.inner.shared().options.clock.now();
        error.kind() == ErrorKind::Corrupt && self.inner.queue.is_overdue(now)
    }

    fn take(&self, max: u32) -> Result<Vec<Delivery>> {
        self.inner.shared().check_open()?;
        let taken = self.inner.queue.take(&self.inner.state, max)?;
        Ok(taken
            .into_iter()
            .map(|taken| self.delivery(taken))
            .collect())
    }

    fn delivery(&self, taken: Taken) -> Delivery {
        Delivery::new(Arc::clone(&self.inner), taken)
    }

    /// Acknowledges deliveries in one commit for each lane, and waits once. An
    /// answer for each, in their order: one whose lease ended and whose message
    /// went to somebody else is `Fenced`, and the others are acknowledged.
    ///
    /// # Errors
    ///
    /// `Invalid` for a delivery of another queue, and none is acknowledged;
    /// `Closed`, `Poisoned`, `Full`: then some, or none, may be.
    pub fn ack_all(&self, deliveries: &[Delivery]) -> Result<Vec<Result<()>>> {
        for delivery in deliveries {
            self.check_queue(delivery)?;
        }
        let answers: Vec<_> = deliveries.iter().map(Delivery::answer).collect();
        let fenced = self.inner.ack(&answers)?;
        let result = |answer: &Answer| {
            let wrong = fenced.iter().find(|(wrong, _)| wrong == answer);
            wrong.map_or(Ok(()), |(_, error)| Err(error.clone()))
        };
        Ok(answers.iter().map(result).collect())
    }

    /// Refuses a delivery of another queue: its receipt means nothing here, or
    /// something else.
    fn check_queue(&self, delivery: &Delivery) -> Result<()> {
        if Arc::ptr_eq(delivery.queue(), &self.inner.queue) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "delivery of message {} is from another queue, {:?}; answer for it there",
            delivery.id(),
            delivery.queue().name
        )))
    }

    /// Gives deliveries back that failed, as [`Delivery::nack_with`] does each, and
    /// waits once. An answer for each, in their order.
    ///
    /// # Errors
    ///
    /// `Invalid` for a delivery of another queue, and none is given back; `Closed`,
    /// `Poisoned`: then some may not be counted.
    pub fn nack_all(
        &self,
        deliveries: &[Delivery],
        delay: Option<Duration>,
        error: Option<&str>,
    ) -> Result<Vec<Result<()>>> {
        for delivery in deliveries {
            self.check_queue(delivery)?;
        }
        let mut results = Vec::with_capacity(deliveries.len());
        let mut handles = Vec::new();
        for delivery in deliveries {
            let failed = delivery.nack_later(delay, error);
            results.push(failed.map(|handle| handles.extend(handle)));
        }
        for handle in handles {
            self.inner.wait(Some(handle))?;
        }
        Ok(results)
    }

    /// Acknowledges everything that this consumer was delivered before
    /// `delivery`, and it too: AMQP's `multiple`. How many it were.
    ///
    /// # Errors
    ///
    /// `Fenced` if `delivery` is not this consumer's any more, `Invalid` if it
    /// never was, and nothing is changed; `Closed`, `Poisoned`, `Full`.
    pub fn ack_through(&self, delivery: &Delivery) -> Result<usize> {
        self.check_queue(delivery)?;
        if !delivery.is_of(&self.inner) {
            return Err(Error::invalid(format!(
                "delivery of message {} is from another consumer; what came before it there is \
                 not this one's",
                delivery.id()
            )));
        }
        let queue = &self.inner.queue;
        let answers = queue.delivered_through(&self.inner.state, delivery.answer())?;
        let count = answers.len();
        let fenced = self.inner.ack(&answers)?;
        Ok(count.saturating_sub(fenced.len()))
    }

    /// Acknowledges everything that this consumer holds from `first` to `last`,
    /// both included, in one lane. How many it were.
    ///
    /// # Errors
    ///
    /// `Invalid` if they lie in different lanes; `NotFound` for a lane that there is
    /// not; `Closed`, `Poisoned`, `Full`.
    pub fn ack_range(&self, first: MessageId, last: MessageId) -> Result<usize> {
        if first.lane != last.lane {
            return Err(Error::invalid(format!(
                "{first} and {last} lie in different lanes; acknowledge lane by lane"
            )));
        }
        let queue = &self.inner.queue;
        let answers = queue.delivered_between(&self.inner.state, first, last)?;
        let count = answers.len();
        let fenced = self.inner.ack(&answers)?;
        Ok(count.saturating_sub(fenced.len()))
    }

    /// Changes how many deliveries it may hold.
    ///
    /// # Errors
    ///
    /// `Invalid` for 0.
    pub fn set_prefetch(&self, deliveries: u32) -> Result<()> {
        self.inner.state.set_prefetch(deliveries)?;
        self.inner.queue.signal().notify();
        Ok(())
    }

    /// Deliveries that it holds without an answer.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.inner.state.held()
    }

    pub(super) fn now(&self) -> Duration {
        self.inner.shared().options.clock.monotonic()
    }
}

fn check_max(max: usize) -> Result<u32> {
    if max == 0 {
        return Err(Error::invalid(
            "a receive of 0 messages gets nothing; ask for at least 1",
        ));
    }
    Ok(u32::try_from(max).unwrap_or(u32::MAX))
}

/// A receive under way, from [`Consumer::receive_async`].
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub struct Receive<'c> {
    consumer: &'c Consumer,
    max: usize,
    /// What was registered.
    waker: Option<Waker>,
}

impl Drop for Receive<'_> {
    fn drop(&mut self) {
        // A runtime's timeout drops it: an idle queue must not keep the wakers of
        // all who ever waited.
        if let Some(waker) = self.waker.take() {
            self.consumer.inner.queue.signal().forget(&waker);
        }
    }
}

impl Future for Receive<'_> {
    type Output = Result<Vec<Delivery>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let max = check_max(this.max)?;
        // Registered before the look: what comes after it wakes the task.
        let signal = this.consumer.inner.queue.signal();
        if let Some(old) = this.waker.replace(context.waker().clone())
            && !old.will_wake(context.waker())
        {
            signal.forget(&old);
        }
        signal.register(context.waker());
        let taken = this.consumer.take(max)?;
        if taken.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(taken))
    }
}
