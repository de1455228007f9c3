//! What a queue and its consumers are made with.

use std::time::Duration;

use super::{Codec, Durability, Result, TopicOptions, check_range};
use crate::error::Error;

/// Shards that a queue may have.
pub(crate) const SHARDS_MAX: u32 = 256;

/// Bounds of the largest message of a queue.
const MESSAGE_MIN: u32 = 1 << 10;
const MESSAGE_MAX: u32 = 16 << 20;

/// How long a message waits before it is delivered again after a failure.
///
/// The n-th failure waits `base * factor^(n - 1)`, at most `cap`. Of that, up to
/// `jitter` (a share between 0 and 1) is taken off at random, so that messages
/// that failed together do not come back together.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::Backoff;
///
/// let backoff = Backoff::exponential(Duration::from_secs(1), 2.0).cap(Duration::from_secs(60));
/// assert_eq!(backoff.delay(1, 0.0), Duration::from_secs(1));
/// assert_eq!(backoff.delay(3, 0.0), Duration::from_secs(4));
/// assert_eq!(backoff.delay(30, 0.0), Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Backoff {
    /// Wait after the first failure.
    pub base: Duration,
    /// What each further failure multiplies it by.
    pub factor: f64,
    /// Longest wait.
    pub cap: Duration,
    /// Share of the wait that chance may take off.
    pub jitter: f64,
}

impl Default for Backoff {
    /// No wait at all.
    fn default() -> Self {
        Self {
            base: Duration::ZERO,
            factor: 1.0,
            cap: Duration::from_secs(3600),
            jitter: 0.0,
        }
    }
}

impl Backoff {
    /// The same wait after each failure.
    #[must_use]
    pub fn fixed(wait: Duration) -> Self {
        Self {
            base: wait,
            cap: wait,
            ..Self::default()
        }
    }

    /// A wait that grows by `factor` with each failure, up to an hour.
    #[must_use]
    pub fn exponential(base: Duration, factor: f64) -> Self {
        Self {
            base,
            factor,
            ..Self::default()
        }
    }

    /// Longest wait. Default 1 hour; at most 100 years.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Share of the wait that chance may take off. Default 0; at most 1.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// The wait after failure number `failures`, from 1; `chance` between 0 and
    /// 1 says how much of the jitter is taken off.
    #[must_use]
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        if self.base.is_zero() {
            // Nothing times infinity would be no number.
            return Duration::ZERO;
        }
        let power = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let cap = self.cap.as_secs_f64();
        let seconds = (self.base.as_secs_f64() * self.factor.powi(power)).min(cap);
        let seconds = seconds * (1.0 - self.jitter * chance);
        // Checked options keep it finite; what is not counts as the cap.
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(self.cap)
    }

    fn check(&self) -> Result<()> {
        check_range("backoff.cap", self.cap.as_millis(), &(0..=YEARS_100_MS))?;
        if !(1.0..=1000.0).contains(&self.factor) {
            return Err(Error::invalid(format!(
                "option `backoff.factor` is {}; set it between 1 and 1000",
                self.factor
            )));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::invalid(format!(
                "option `backoff.jitter` is {}; set it between 0 and 1",
                self.jitter
            )));
        }
        if self.base > self.cap {
            return Err(Error::invalid(format!(
                "option `backoff.base` is {:?}, longer than `backoff.cap` of {:?}",
                self.base, self.cap
            )));
        }
        Ok(())
    }
}

const YEARS_100_MS: u128 = 100 * 366 * 24 * 3600 * 1000;
const LEASE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a queue does with a message that would make it longer than it may be.
///
/// # Examples
///
/// ```
/// use duolog::{Overflow, QueueOptions};
///
/// let options = QueueOptions::default().length_max(1000).overflow(Overflow::DropOldest);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Overflow {
    /// Refuses it with [`ErrorKind::Busy`](crate::ErrorKind::Busy): AMQP's
    /// `reject-publish`.
    #[default]
    Reject,
    /// Makes room: the oldest messages that are not in flight go, to the
    /// dead-letter queue if there is one (reason `overflow`). AMQP's `drop-head`.
    DropOldest,
    /// Sends it to the dead-letter queue instead (reason `overflow`). AMQP's
    /// `reject-publish-dlx`.
    DeadLetter,
}

impl Overflow {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Reject => 0,
            Self::DropOldest => 1,
            Self::DeadLetter => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Reject),
            1 => Some(Self::DropOldest),
            2 => Some(Self::DeadLetter),
            _ => None,
        }
    }
}

impl std::str::FromStr for Overflow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "reject" => Ok(Self::Reject),
            "drop-oldest" => Ok(Self::DropOldest),
            "dead-letter" => Ok(Self::DeadLetter),
            other => Err(Error::invalid(format!(
                "unknown overflow {other:?}; use reject, drop-oldest or dead-letter"
            ))),
        }
    }
}

/// How a queue is made; all but `shards` and `priority_max` can be altered later.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{Backoff, QueueOptions};
///
/// let options = QueueOptions::default()
///     .lease(Duration::from_secs(30))
///     .max_deliveries(5)
///     .dead_letter("jobs-dead")
///     .backoff(Backoff::exponential(Duration::from_secs(1), 2.0));
/// assert_eq!(options.max_deliveries, Some(5));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct QueueOptions {
    /// Independent parts, each with a lock and an order of its own.
    pub shards: u32,
    /// Highest priority that a message may have.
    pub priority_max: u8,
    /// Promise of a send that does not choose, and of acks.
    pub durability: Durability,
    /// Compression.
    pub codec: Codec,
    /// Largest message: order key, body and headers together.
    pub message_bytes_max: u32,
    /// How long a delivery may take until the message is delivered again.
    pub lease: Duration,
    /// Deliveries after which a message is dead; `None`: any number.
    pub max_deliveries: Option<u32>,
    /// Queue to which dead messages go.
    pub dead_letter: Option<String>,
    /// Wait between a failure and the next delivery.
    pub backoff: Backoff,
    /// Age at which a message expires.
    pub ttl: Option<Duration>,
    /// Most messages, ready, delayed and in flight together.
    pub length_max: Option<u64>,
    /// What happens to one more.
    pub overflow: Overflow,
    /// How long the id of a message keeps out others with the same id.
    pub dedup_window: Option<Duration>,
    /// One consumer at a time gets messages, the others stand by.
    pub single_active: bool,
    /// Size at which a segment is sealed.
    pub segment_bytes_max: u64,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            priority_max: 9,
            durability: Durability::Durable,
            codec: Codec::None,
            message_bytes_max: 1 << 20,
            lease: Duration::from_secs(30),
            max_deliveries: None,
            dead_letter: None,
            backoff: Backoff::default(),
            ttl: None,
            length_max: None,
            overflow: Overflow::Reject,
            dedup_window: None,
            single_active: false,
            segment_bytes_max: 16 << 20,
        }
    }
}

impl QueueOptions {
    /// Independent parts. Messages with an order key go by it, others round
    /// robin; order is kept within a shard.
    ///
    /// Default 1; between 1 and 256. More shards let more threads send and
    /// receive at once; a shard that was never used costs 16 bytes for each
    /// priority.
    #[must_use]
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = shards;
        self
    }

    /// Highest priority that a message may have; 0 is the lowest, and that of a
    /// message that has none.
    ///
    /// Default 9, as JMS has it; up to 255. A priority that was never used costs
    /// 16 bytes for each shard.
    #[must_use]
    pub fn priority_max(mut self, priority: u8) -> Self {
        self.priority_max = priority;
        self
    }

    /// Promise of a send that does not choose one, and of acks. Default
    /// [`Durability::Durable`]: an acknowledged message is never delivered again.
    /// With less, acks are written later, and a crash may bring messages back
    /// that were acknowledged just before it.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Compression of each batch of messages. Default none.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Largest message: order key, body and headers together. Default 1 MiB;
    /// between 1 KiB and 16 MiB.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: u32) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// How long a consumer has for a delivery before the message goes to another
    /// one: SQS's visibility timeout. A consumer may extend it.
    ///
    /// Default 30 s; between 1 ms and 7 days. A short lease brings messages of
    /// dead consumers back soon; one that is shorter than the work delivers
    /// messages twice.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Deliveries after which a message that failed again is dead: 4 means one
    /// and three retries. Default any number ([`Self::unlimited_deliveries`]); at
    /// least 1. Needs a [`dead_letter`](Self::dead_letter) queue: nothing is lost
    /// without a word.
    #[must_use]
    pub fn max_deliveries(mut self, deliveries: u32) -> Self {
        self.max_deliveries = Some(deliveries);
        self
    }

    /// Delivers a message until it is acknowledged, however often. The default.
    #[must_use]
    pub fn unlimited_deliveries(mut self) -> Self {
        self.max_deliveries = None;
        self
    }

    /// Queue to which messages go that are rejected, have expired or failed too
    /// often, in the commit that takes them from this one. It must be there, and
    /// must not lead back here. Default none: expired messages then are gone.
    #[must_use]
    pub fn dead_letter(mut self, queue: impl Into<String>) -> Self {
        self.dead_letter = Some(queue.into());
        self
    }

    /// Wait between a failure (a nack, the end of a lease) and the next delivery.
    /// Default none.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Age at which a message expires, wherever it stands in the queue, unless it
    /// is in flight. A message may have its own; the shorter one counts. Default
    /// never; between 1 ms and 100 years.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Most messages that the queue holds: ready, delayed and in flight
    /// together. Default any number; at least 1.
    #[must_use]
    pub fn length_max(mut self, messages: u64) -> Self {
        self.length_max = Some(messages);
        self
    }

    /// What happens to a message that is one too many. Default
    /// [`Overflow::Reject`].
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How long the deduplication id of a message keeps out others with the same
    /// id, restarts included. Default: ids are not looked at. Between 1 ms and 7
    /// days. An id costs 64 bytes of memory for as long; at most 1,048,576 are
    /// kept, and sends with new ones are refused (`Busy`) until some have ended.
    #[must_use]
    pub fn dedup_window(mut self, window: Duration) -> Self {
        self.dedup_window = Some(window);
        self
    }

    /// One consumer at a time gets messages: the oldest; the others stand by.
    /// Default off.
    #[must_use]
    pub fn single_active(mut self, on: bool) -> Self {
        self.single_active = on;
        self
    }

    /// Size at which a segment on disk is sealed. Space comes back by segments.
    /// Default 16 MiB; between 4 KiB and 2 GiB.
    #[must_use]
    pub fn segment_bytes_max(mut self, bytes: u64) -> Self {
        self.segment_bytes_max = bytes;
        self
    }

    /// Partitions of the log that the queue needs: one for each shard and
    /// priority.
    pub(crate) fn lanes(&self) -> u32 {
        self.shards * (u32::from(self.priority_max) + 1)
    }

    /// A message with what the engine may add to it: the error text of a dead
    /// letter, and names.
    fn record_bytes_max(&self) -> u32 {
        const ADDED: u32 = 64 << 10;
        self.message_bytes_max
            .saturating_add(ADDED)
            .min(MESSAGE_MAX.max(self.message_bytes_max))
    }

    /// How the topic below is made.
    pub(crate) fn topic(&self) -> TopicOptions {
        TopicOptions::default()
            .partitions(self.lanes())
            .durability(self.durability)
            .codec(self.codec)
            .record_bytes_max(self.record_bytes_max())
            .segment_bytes_max(self.segment_bytes_max)
    }

    /// Checks every field; the first that is wrong is named.
    pub(crate) fn check(&self) -> Result<()> {
        check_range("shards", self.shards, &(1..=SHARDS_MAX))?;
        let bytes = self.message_bytes_max;
        check_range("message_bytes_max", bytes, &(MESSAGE_MIN..=MESSAGE_MAX))?;
        let ms = |name: &str, value: Duration, max: u128| {
            check_range(name, value.as_millis(), &(1..=max))
        };
        ms("lease", self.lease, LEASE_MAX.as_millis())?;
        if let Some(ttl) = self.ttl {
            ms("ttl", ttl, YEARS_100_MS)?;
        }
        if let Some(window) = self.dedup_window {
            ms("dedup_window", window, LEASE_MAX.as_millis())?;
        }
        check_range("length_max", self.length_max.unwrap_or(1), &(1..=u64::MAX))?;
        self.backoff.check()?;
        self.topic().check()?;
        match self.max_deliveries {
            Some(0) => Err(Error::invalid(
                "option `max_deliveries` is 0; set it to at least 1, or leave it out",
            )),
            Some(_) if self.dead_letter.is_none() => Err(Error::invalid(
                "option `max_deliveries` needs `dead_letter`: without it, messages that failed too \
                 often would be lost",
            )),
            _ if self.overflow == Overflow::DeadLetter && self.dead_letter.is_none() => {
                Err(Error::invalid(
                    "option `overflow` is `DeadLetter` and there is no `dead_letter`; set it, or \
                     choose `Reject`",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// How a consumer takes messages.
///
/// # Examples
///
/// ```
/// use duolog::ConsumerOptions;
///
/// let options = ConsumerOptions::default().prefetch(100);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// Most deliveries that it may hold without an answer.
    pub prefetch: u32,
    /// Lease of its deliveries, if not the queue's.
    pub lease: Option<Duration>,
    /// No other consumer while it is there.
    pub exclusive: bool,
    /// Promise of its acks, if not the queue's.
    pub ack_durability: Option<Durability>,
    /// Shards from which it takes; all if empty.
    pub shards: Vec<u32>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            prefetch: 50,
            lease: None,
            exclusive: false,
            ack_durability: None,
            shards: Vec::new(),
        }
    }
}

impl ConsumerOptions {
    /// Most deliveries that the consumer may hold without an answer: `receive`
    /// returns no more. Default 50; at least 1. `RabbitMQ`'s advice of 100 to 300
    /// fits here, too: a high number keeps a fast consumer busy, a low one spreads
    /// slow work evenly.
    #[must_use]
    pub fn prefetch(mut self, deliveries: u32) -> Self {
        self.prefetch = deliveries;
        self
    }

    /// Any number of deliveries without an answer.
    #[must_use]
    pub fn unlimited_prefetch(mut self) -> Self {
        self.prefetch = u32::MAX;
        self
    }

    /// Lease of its deliveries. Default the queue's; between 1 ms and 7 days.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Refused if there is another consumer, and keeps others out. Default off.
    #[must_use]
    pub fn exclusive(mut self, on: bool) -> Self {
        self.exclusive = on;
        self
    }

    /// Promise of its acks. Default the queue's. With less than
    /// [`Durability::Durable`] an ack does not wait for the disk, and a crash may
    /// bring the message back.
    #[must_use]
    pub fn ack_durability(mut self, durability: Durability) -> Self {
        self.ack_durability = Some(durability);
        self
    }

    /// Takes from these shards only. Default all.
    #[must_use]
    pub fn shards(mut self, shards: impl Into<Vec<u32>>) -> Self {
        self.shards = shards.into();
        self
    }

    pub(crate) fn check(&self, shards: u32) -> Result<()> {
        if self.prefetch == 0 {
            return Err(Error::invalid(
                "option `prefetch` is 0: the consumer would get nothing; set it to at least 1, or \
                 use `unlimited_prefetch`",
            ));
        }
        if let Some(lease) = self.lease {
            check_lease(lease)?;
        }
        match self.shards.iter().find(|shard| **shard >= shards) {
            Some(shard) => Err(Error::invalid(format!(
                "option `shards` has {shard}; the queue has 0 to {}",
                shards - 1
            ))),
            None => Ok(()),
        }
    }
}

/// Checks the length of a lease.
pub(crate) fn check_lease(lease: Duration) -> Result<()> {
    check_range(
        "lease (ms)",
        lease.as_millis(),
        &(1..=LEASE_MAX.as_millis()),
    )
}
