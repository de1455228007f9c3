//! Transactions: one commit over topics and queues.

use std::fmt;
use std::sync::Arc;

use super::queue::Delivery;
use super::{Engine, Queue, Topic};
use crate::error::{Error, Result};
use crate::format::Record;
use crate::options::{Codec, Durability};
use crate::partition::Appended;
use crate::queue::{Message, MessageId, Step, transact};

/// Collects appends, sends, acks and dead letters, and makes one commit of them;
/// from [`Engine::transaction`].
///
/// All of it is there after a crash, or none; and all of it is seen at once.
/// Nothing is written before [`commit`](Self::commit), and dropping it instead
/// changes nothing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{ConsumerOptions, Message, QueueOptions, Record, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let log = engine.create_topic("log", TopicOptions::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// let done = engine.create_queue("done", QueueOptions::default())?;
/// jobs.send(&Message::new("a"))?;
///
/// // Consume, transform, produce: exactly once.
/// let worker = jobs.consumer(ConsumerOptions::default())?;
/// let delivery = worker.receive(1, Duration::ZERO)?.remove(0);
/// let mut tx = engine.transaction();
/// tx.ack(&delivery);
/// tx.send(&done, Message::new("A"));
/// tx.append(&log, Record::new("a became A"));
/// let committed = tx.commit()?;
/// assert_eq!((committed.messages.len(), committed.appended.len()), (1, 1));
/// assert_eq!((jobs.stats()?.in_flight, done.stats()?.ready), (0, 1));
/// # drop((delivery, worker));
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing happens before `commit`"]
pub struct Transaction<'t> {
    engine: Engine,
    steps: Vec<Step<'t>>,
    durability: Durability,
    codec: Codec,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction({} steps)", self.steps.len())
    }
}

/// What a transaction stored; from [`Transaction::commit`].
///
/// # Examples
///
/// See [`Transaction`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Where the records went that were appended, in their order.
    pub appended: Vec<Appended>,
    /// The messages that were sent, in their order.
    pub messages: Vec<MessageId>,
}

impl<'t> Transaction<'t> {
    fn new(engine: Engine) -> Self {
        Self {
            engine,
            steps: Vec::new(),
            durability: Durability::Durable,
            codec: Codec::None,
        }
    }

    /// Promise of the whole. Default [`Durability::Durable`]; not
    /// [`Durability::Transient`], which is in no log.
    pub fn durability(&mut self, durability: Durability) -> &mut Self {
        self.durability = durability;
        self
    }

    /// Compression of what is stored. Default none.
    pub fn codec(&mut self, codec: Codec) -> &mut Self {
        self.codec = codec;
        self
    }

    /// Appends a record, to the partition of its key.
    pub fn append(&mut self, topic: &Topic, record: Record<'t>) -> &mut Self {
        self.append_to(topic, None, record)
    }

    /// Appends a record to a partition, or by its key if `None`.
    pub fn append_to(
        &mut self,
        topic: &Topic,
        partition: Option<u32>,
        record: Record<'t>,
    ) -> &mut Self {
        let topic = Arc::clone(topic.state());
        self.steps.push(Step::Append {
            topic,
            partition,
            record,
        });
        self
    }

    /// Sends a message. A queue that is full refuses the whole transaction, also
    /// where a send alone would go to its dead-letter queue.
    pub fn send(&mut self, queue: &Queue, message: Message<'t>) -> &mut Self {
        let queue = Arc::clone(queue.state());
        self.steps.push(Step::Send { queue, message });
        self
    }

    /// Acknowledges a delivery.
    pub fn ack(&mut self, delivery: &Delivery) -> &mut Self {
        let (queue, answer) = (Arc::clone(delivery.queue()), delivery.answer());
        self.steps.push(Step::Ack { queue, answer });
        self
    }

    /// Moves a delivery to its queue's dead-letter queue; without one, it is
    /// gone.
    pub fn dead_letter(&mut self, delivery: &Delivery, error: Option<&str>) -> &mut Self {
        self.steps.push(Step::Bury {
            queue: Arc::clone(delivery.queue()),
            answer: delivery.answer(),
            stored: Box::new(delivery.stored().clone()),
            deliveries: delivery.deliveries(),
            error: error.map(str::to_owned),
        });
        self
    }

    /// Commits all of it, and waits for what was promised.
    ///
    /// # Errors
    ///
    /// * `Invalid`: nothing to do, a record or message that is not allowed, a
    ///   delivery that is answered twice, or too much for one commit (see
    ///   [`Info::commit_bytes_max`](crate::Info::commit_bytes_max)).
    /// * `Fenced`: a delivery is not its consumer's any more.
    /// * `Busy`, `Full`, `Closed`, `ReadOnly`, `NotFound`: as appends and sends.
    /// * `Poisoned`: a write failed; all of it may survive, or none.
    ///
    /// But for the last, nothing is changed.
    pub fn commit(&mut self) -> Result<Committed> {
        let shared = self.engine.shared();
        shared.check_open()?;
        if self.steps.is_empty() {
            return Err(Error::invalid(
                "the transaction is empty; append, send or acknowledge something first",
            ));
        }
        if self.durability == Durability::Transient {
            return Err(Error::invalid(
                "a transaction cannot be transient: it is a frame of the log; use `Buffered`",
            ));
        }
        self.codec.check()?;
        shared.env.admit(shared.options.on_limit)?;
        let done = transact(&shared.queues, &self.steps, self.durability, self.codec)?;
        if let Some(handle) = &done.handle {
            handle.wait(shared.env.wal()?)?;
        }
        let mut committed = Committed::default();
        for (step, place) in self.steps.iter().zip(&done.places) {
            match (step, place) {
                (Step::Append { .. }, Some((partition, offset))) => {
                    committed.appended.push(Appended {
                        partition: *partition,
                        offset: *offset,
                        count: 1,
                    });
                }
                (Step::Send { .. }, Some((lane, offset))) => committed.messages.push(MessageId {
                    lane: *lane,
                    offset: *offset,
                }),
                _ => {}
            }
        }
        self.steps.clear();
        Ok(committed)
    }
}

impl Engine {
    /// Begins a transaction: what is added to it is committed as one.
    pub fn transaction<'t>(&self) -> Transaction<'t> {
        Transaction::new(self.clone())
    }
}
