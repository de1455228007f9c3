//! The handle of a queue: send, consume, look, move.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Shared};
use crate::error::{Error, Result};
use crate::ids::TopicId;
use crate::options::{ConsumerOptions, Durability, OnLimit, QueueOptions};
use crate::queue::message::DEAD_QUEUE;
use crate::queue::{Browsed, Message, MessageId, QueueInfo, QueueState, QueueStats, Sending};
use crate::wal::CommitHandle;

mod admin;
mod consumer;
mod delivery;
mod receipt;

pub use consumer::{Consumer, Receive};
pub use delivery::Delivery;
pub use receipt::{AckBatch, SendTicket};

/// What one send may choose; everything else comes from the queue.
///
/// # Examples
///
/// ```
/// use duolog::{Durability, SendOptions};
///
/// let options = SendOptions::default().durability(Durability::Buffered);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendOptions {
    /// The promise; the queue's default if `None`.
    pub durability: Option<Durability>,
    /// What to do when memory or log is at its limit; the engine's default if
    /// `None`.
    pub on_limit: Option<OnLimit>,
}

impl SendOptions {
    /// Sets the promise: all levels may be mixed in one queue. Default: the
    /// queue's.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Sets what happens when memory or log is at its limit. Default: the
    /// engine's.
    #[must_use]
    pub fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.on_limit = Some(on_limit);
        self
    }
}

/// A queue: one consumer a message, and what is consumed is gone. Cheap to
/// clone; keeps the store open.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{ConsumerOptions, Engine, Message, Options, QueueOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// jobs.send(&Message::new("resize cat.png"))?;
///
/// let worker = jobs.consumer(ConsumerOptions::default())?;
/// for delivery in worker.receive(10, Duration::from_secs(20))? {
///     assert_eq!(&delivery.body()[..], b"resize cat.png");
///     delivery.ack()?;
/// }
/// assert_eq!(jobs.stats()?.ready, 0);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    engine: Engine,
    state: Arc<QueueState>,
}

impl Queue {
    pub(super) fn new(engine: Engine, state: Arc<QueueState>) -> Self {
        Self { engine, state }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.state.id
    }

    /// How it was made or last altered.
    #[must_use]
    pub fn options(&self) -> QueueOptions {
        self.state.options().as_ref().clone()
    }

    /// What the registry says of it.
    #[must_use]
    pub fn info(&self) -> QueueInfo {
        self.shared().queue_info(&self.state)
    }

    /// How many messages are what.
    ///
    /// # Errors
    ///
    /// `Closed`; the operating system's, since the oldest message is read.
    pub fn stats(&self) -> Result<QueueStats> {
        self.shared().check_open()?;
        self.state.stats()
    }

    pub(super) fn state(&self) -> &Arc<QueueState> {
        &self.state
    }

    fn shared(&self) -> &Arc<Shared> {
        self.engine.shared()
    }

    /// Waits for what was promised.
    fn wait(&self, handle: Option<CommitHandle>) -> Result<()> {
        match handle {
            None => Ok(()),
            Some(handle) => handle.wait(self.shared().env.wal()?),
        }
    }

    /// Stores one message with the queue's durability, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`Self::send_batch`].
    pub fn send(&self, message: &Message<'_>) -> Result<MessageId> {
        let ids = self.send_batch(std::slice::from_ref(message), &SendOptions::default())?;
        ids.first()
            .copied()
            .ok_or_else(|| Error::invalid("a send needs at least one message"))
    }

    /// Stores messages in one commit, all or none, and waits for what `options`
    /// promise. Their ids come in their order.
    ///
    /// # Errors
    ///
    /// * `Invalid`: no message, or one that is not allowed (too large, a priority
    ///   that the queue does not have, a header of the engine's); or the queue is
    ///   a subscription.
    /// * `Busy`: the queue is as long as it may be, or memory or log is at its
    ///   limit and `options` say not to wait.
    /// * `Full`, `Closed`, `ReadOnly`, `Poisoned`: as
    ///   [`Topic::append_batch`](super::Topic::append_batch).
    pub fn send_batch(
        &self,
        messages: &[Message<'_>],
        options: &SendOptions,
    ) -> Result<Vec<MessageId>> {
        self.shared().check_open()?;
        let sent = self.state.send(messages, self.sending(*options, false))?;
        self.wait(sent.handle)?;
        Ok(sent.ids)
    }

    /// Stores messages as [`Self::send_batch`] does, and returns before the disk
    /// has answered.
    ///
    /// # Errors
    ///
    /// As [`Self::send_batch`]; failures of the disk come from the ticket.
    pub fn send_nowait(
        &self,
        messages: &[Message<'_>],
        options: &SendOptions,
    ) -> Result<SendTicket> {
        self.shared().check_open()?;
        let sent = self.state.send(messages, self.sending(*options, true))?;
        Ok(SendTicket::new(self.engine.clone(), sent))
    }

    fn sending(&self, options: SendOptions, detached: bool) -> Sending {
        Sending {
            durability: options.durability,
            on_limit: options.on_limit.or(Some(self.shared().options.on_limit)),
            detached,
        }
    }

    /// A consumer: any number of them share the messages.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong option; `Busy` if one of them wants to be alone;
    /// `Closed`, `ReadOnly`.
    pub fn consumer(&self, options: ConsumerOptions) -> Result<Consumer> {
        self.shared().check_open()?;
        self.shared().env.wal()?;
        let consumer = self.state.join(options)?;
        Ok(Consumer::new(
            self.engine.clone(),
            Arc::clone(&self.state),
            consumer,
        ))
    }

    /// Messages that are not done, without taking them, from `from` on: lane by
    /// lane, and oldest first in each. At most `max`.
    ///
    /// # Errors
    ///
    /// `Closed`; `Corrupt` if what is there is damaged.
    ///
    /// # Examples
    ///
    /// ```
    /// use duolog::{Message, MessageState, QueueOptions};
    /// # use duolog::{Engine, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
    /// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
    /// jobs.send(&Message::new("a").header("kind", "x"))?;
    /// let seen = jobs.browse(None, 10)?;
    /// assert_eq!((&seen[0].body[..], seen[0].state), (&b"a"[..], MessageState::Ready));
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn browse(&self, from: Option<MessageId>, max: usize) -> Result<Vec<Browsed>> {
        self.browse_where(from, max, |_| true)
    }

    /// The same, of those that `wanted` chooses.
    ///
    /// # Errors
    ///
    /// As [`Self::browse`].
    pub fn browse_where(
        &self,
        from: Option<MessageId>,
        max: usize,
        mut wanted: impl FnMut(&Browsed) -> bool,
    ) -> Result<Vec<Browsed>> {
        self.shared().check_open()?;
        self.state.browse(from, max, &mut wanted)
    }

    /// One message, if it is not done.
    ///
    /// # Errors
    ///
    /// As [`Self::browse`]; `NotFound` for a lane that there is not.
    pub fn peek(&self, id: MessageId) -> Result<Option<Browsed>> {
        self.shared().check_open()?;
        self.state.look(id)
    }

    /// Takes out a message that no consumer has, such as one that is delayed;
    /// durable at return.
    ///
    /// # Errors
    ///
    /// `NotFound` if it is done or never was; `Busy` if it is in flight; `Closed`,
    /// `ReadOnly`, `Poisoned`.
    pub fn cancel(&self, id: MessageId) -> Result<()> {
        self.shared().check_open()?;
        self.shared().env.wal()?;
        let handle = self.state.cancel(id)?;
        self.wait(handle)
    }

    /// Delivers messages of a subscription once more that were acknowledged before;
    /// durable at return. How many of `ids` it were: those that are not done yet
    /// come anyway.
    ///
    /// What its filter does not want is left out, as ever.
    ///
    /// # Errors
    ///
    /// `Invalid` for a queue that owns its messages: there, what is done is gone.
    /// `OutOfRange` if the topic does not keep one of them any more; `NotFound` for a
    /// lane that there is not; `Closed`, `ReadOnly`, `Poisoned`, `Full`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use duolog::{ConsumerOptions, Filter, QueueOptions, Record, TopicOptions};
    /// # use duolog::{Engine, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
    /// let events = engine.create_topic("events", TopicOptions::default())?;
    /// let all = Filter::default();
    /// let audit = engine.subscribe("audit", "events", all, QueueOptions::default(), true)?;
    /// events.append(&Record::new("a"))?;
    /// let worker = audit.consumer(ConsumerOptions::default())?;
    /// let first = worker.receive(1, Duration::ZERO)?.remove(0);
    /// first.ack()?;
    ///
    /// assert_eq!(audit.replay(&[first.id()])?, 1);
    /// assert_eq!(worker.receive(1, Duration::ZERO)?[0].id(), first.id());
    /// # drop((first, worker));
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay(&self, ids: &[MessageId]) -> Result<u64> {
        self.shared().check_open()?;
        self.shared().env.wal()?;
        let (count, handle) = self.state.replay_done(ids)?;
        self.wait(handle)?;
        Ok(count)
    }

    /// Takes out all messages that no consumer has, delayed ones too; durable at
    /// return. How many it were.
    ///
    /// # Errors
    ///
    /// `Closed`, `ReadOnly`, `Poisoned`, `Full`.
    pub fn purge(&self) -> Result<u64> {
        self.shared().check_open()?;
        self.shared().env.wal()?;
        let (purged, handle) = self.state.purge()?;
        self.wait(handle)?;
        Ok(purged)
    }

    /// Moves messages that no consumer has to another queue, those that `wanted`
    /// chooses, at most `max`. Each commit takes up to 128 from here and puts them
    /// there: none is lost or doubled, whatever happens. How many it were.
    ///
    /// Body, key, headers, the time of sending and that of expiry are kept. Delays
    /// are not, and of earlier deaths only their number. A `target` may grow
    /// longer than its `length_max`: nothing is lost where it has no room.
    ///
    /// # Errors
    ///
    /// `Invalid` if `target` is this queue or a subscription; `Closed`, `ReadOnly`,
    /// `Poisoned`, `Full`.
    pub fn move_to(
        &self,
        target: &Self,
        max: u64,
        wanted: impl FnMut(&Browsed) -> bool,
    ) -> Result<u64> {
        self.move_slowly(target, max, wanted, None)
    }

    fn move_slowly(
        &self,
        target: &Self,
        max: u64,
        mut wanted: impl FnMut(&Browsed) -> bool,
        rate: Option<u32>,
    ) -> Result<u64> {
        let shared = self.shared();
        shared.check_open()?;
        shared.env.wal()?;
        let clock = &shared.options.clock;
        let begun = clock.monotonic();
        let mut pause = |moved: u64| {
            let Some(rate) = rate.filter(|rate| *rate > 0) else {
                return;
            };
            let due = Duration::from_secs_f64(moved_seconds(moved, rate));
            let ahead = due.saturating_sub(clock.monotonic().saturating_sub(begun));
            if !ahead.is_zero() {
                crate::sync::thread::sleep(ahead);
            }
        };
        // With a rate, ten commits a second at the most.
        let at_once = rate.map_or(usize::MAX, |rate| {
            usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1)
        });
        let most = (max, at_once);
        self.state
            .move_to(&target.state, most, &mut wanted, &mut pause)
    }

    /// Moves dead messages back to the queues that they died in, those that
    /// `wanted` chooses, at most `rate` a second if given. How many it were.
    ///
    /// The queue of origin and the first id stay with a message in the header
    /// `duolog-origin`.
    ///
    /// # Errors
    ///
    /// `NotFound` if a queue that messages came from is no more; those that were
    /// moved before stay moved. Otherwise as [`Self::move_to`].
    pub fn redrive(
        &self,
        max: u64,
        mut wanted: impl FnMut(&Browsed) -> bool,
        rate: Option<u32>,
    ) -> Result<u64> {
        let origins = self.origins()?;
        let mut moved = 0;
        for origin in origins {
            let target = self.engine.queue(&origin)?;
            let from_there = |browsed: &Browsed| {
                let queue = browsed.header(DEAD_QUEUE);
                queue.is_some_and(|queue| **queue == *origin.as_bytes()) && wanted(browsed)
            };
            moved += self.move_slowly(&target, max - moved, from_there, rate)?;
        }
        Ok(moved)
    }

    /// The queues that the messages here died in.
    fn origins(&self) -> Result<Vec<String>> {
        let mut names = std::collections::BTreeSet::new();
        self.browse_where(None, usize::MAX, |browsed| {
            names.extend(browsed.death.as_ref().map(|death| death.queue.clone()));
            false
        })?;
        Ok(names.into_iter().collect())
    }
}

fn moved_seconds(moved: u64, rate: u32) -> f64 {
    let moved = u32::try_from(moved).unwrap_or(u32::MAX);
    f64::from(moved) / f64::from(rate)
}
