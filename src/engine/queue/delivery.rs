//! A delivery: a message that a consumer has, until it answers or the lease
//! ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::consumer::Inner;
use crate::error::Result;
use crate::ids::Timestamp;
use crate::queue::message::check_span;
use crate::queue::{Answer, DeathNote, MessageId, QueueState, Stored, Taken, Verdict, death_note};
use crate::wal::CommitHandle;

/// A message that a consumer has. It answers with [`ack`](Self::ack),
/// [`nack`](Self::nack) or [`dead_letter`](Self::dead_letter); without an answer
/// the message is delivered again when its lease ends.
///
/// Dropping a delivery is no answer.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{ConsumerOptions, ErrorKind, Message, QueueOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// jobs.send(&Message::new("a").header("kind", "x"))?;
///
/// let worker = jobs.consumer(ConsumerOptions::default())?;
/// let first = worker.receive(1, Duration::ZERO)?.remove(0);
/// assert_eq!((first.deliveries(), first.header("kind").map(|it| &it[..])), (1, Some(&b"x"[..])));
/// first.nack()?;
///
/// let again = worker.receive(1, Duration::ZERO)?.remove(0);
/// assert_eq!(again.deliveries(), 2);
/// again.ack()?;
/// assert_eq!(again.ack().unwrap_err().kind(), ErrorKind::Fenced);
/// # drop((first, again, worker));
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Delivery {
    consumer: Arc<Inner>,
    taken: Taken,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id();
        write!(f, "Delivery({id}, delivery {})", self.taken.deliveries)
    }
}

impl Delivery {
    pub(super) fn new(consumer: Arc<Inner>, taken: Taken) -> Self {
        Self { consumer, taken }
    }

    pub(in crate::engine) fn queue(&self) -> &Arc<QueueState> {
        &self.consumer.queue
    }

    pub(super) fn is_of(&self, consumer: &Arc<Inner>) -> bool {
        Arc::ptr_eq(&self.consumer, consumer)
    }

    pub(in crate::engine) fn stored(&self) -> &Stored {
        &self.taken.stored
    }

    pub(in crate::engine) fn answer(&self) -> Answer {
        Answer {
            id: self.taken.id,
            receipt: self.taken.receipt,
            transient: self.taken.stored.transient,
        }
    }

    /// Where the message lies.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.taken.id
    }

    /// The body; shares memory with the log.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.taken.stored.body
    }

    /// The order key, if it has one.
    #[must_use]
    pub fn order_key(&self) -> Option<&Bytes> {
        self.taken.stored.key.as_ref()
    }

    /// Names and values of its headers, in order; those of the engine begin with
    /// `duolog-`.
    #[must_use]
    pub fn headers(&self) -> &[(String, Bytes)] {
        &self.taken.stored.headers
    }

    /// The value of the first header with this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.taken.stored.header(name)
    }

    /// When it was sent first.
    #[must_use]
    pub fn sent(&self) -> Timestamp {
        self.taken.stored.timestamp
    }

    /// How often it was delivered and failed before, and once more: 1 at first.
    /// Deliveries whose consumer was closed, and those of an earlier process
    /// that did not end, do not count.
    #[must_use]
    pub fn deliveries(&self) -> u32 {
        self.taken.deliveries
    }

    /// Of a message in a dead-letter queue: why, where and when it died.
    #[must_use]
    pub fn death(&self) -> Option<DeathNote> {
        death_note(&self.taken.stored)
    }

    /// The work is done, and the message goes. Waits for what acks of this
    /// consumer promise.
    ///
    /// # Errors
    ///
    /// `Fenced` if the delivery is not this consumer's any more: it was answered,
    /// or its lease ended and the message was delivered again. `Closed`,
    /// `Poisoned`, `Full`.
    pub fn ack(&self) -> Result<()> {
        let mut fenced = self.consumer.ack(&[self.answer()])?;
        match fenced.pop() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// The work failed; the message is ready again after the queue's backoff, at
    /// its place. Counts as a failure: after `max_deliveries` it is dead.
    ///
    /// # Errors
    ///
    /// As [`Self::ack`].
    pub fn nack(&self) -> Result<()> {
        self.fail(Verdict::Nack {
            delay: None,
            error: None,
        })
    }

    /// The same, after `delay` instead of the backoff, and with a word on why:
    /// kept with the message if this was its last try.
    ///
    /// # Errors
    ///
    /// `Invalid` for a delay of more than 100 years; as [`Self::ack`].
    pub fn nack_with(&self, delay: Option<Duration>, error: Option<&str>) -> Result<()> {
        self.fail(Verdict::Nack {
            delay,
            error: error.map(str::to_owned),
        })
    }

    /// The message is never to be delivered again: it goes to the dead-letter
    /// queue, with `error`, in one commit. Without such a queue it is gone.
    ///
    /// # Errors
    ///
    /// As [`Self::ack`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use duolog::{ConsumerOptions, DeadReason, Message, QueueOptions};
    /// # use duolog::{Engine, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
    /// let dead = engine.create_queue("dead", QueueOptions::default())?;
    /// let jobs = engine.create_queue("jobs", QueueOptions::default().dead_letter("dead"))?;
    /// jobs.send(&Message::new("a"))?;
    ///
    /// let worker = jobs.consumer(ConsumerOptions::default())?;
    /// worker.receive(1, Duration::ZERO)?[0].dead_letter(Some("no such file"))?;
    /// let death = dead.browse(None, 1)?[0].death.clone().expect("a dead letter");
    /// assert_eq!(death.reason, DeadReason::Rejected);
    /// assert_eq!(death.error.as_deref(), Some("no such file"));
    /// # drop(worker);
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dead_letter(&self, error: Option<&str>) -> Result<()> {
        self.fail(Verdict::Reject {
            error: error.map(str::to_owned),
        })
    }

    fn fail(&self, verdict: Verdict) -> Result<()> {
        let handle = self.begin(verdict)?;
        self.consumer.wait(handle)
    }

    /// A nack that is waited for later.
    pub(super) fn nack_later(
        &self,
        delay: Option<Duration>,
        error: Option<&str>,
    ) -> Result<Option<CommitHandle>> {
        self.begin(Verdict::Nack {
            delay,
            error: error.map(str::to_owned),
        })
    }

    fn begin(&self, verdict: Verdict) -> Result<Option<CommitHandle>> {
        let queue = &self.consumer.queue;
        self.consumer.shared().check_open()?;
        if let Verdict::Nack { delay, .. } = &verdict {
            check_span("delay", *delay)?;
        }
        let durability = self.consumer.state.durability(queue);
        let (stored, deliveries) = (&self.taken.stored, self.taken.deliveries);
        queue.fail(self.answer(), stored, deliveries, verdict, durability)
    }

    /// More time, or less: the lease ends `lease` from now.
    ///
    /// # Errors
    ///
    /// `Invalid` for a lease that is not between 1 ms and 7 days; `Fenced` if the
    /// lease has ended.
    pub fn extend(&self, lease: Duration) -> Result<()> {
        self.consumer.shared().check_open()?;
        self.consumer.queue.extend(self.answer(), lease)
    }
}
