//! What there is to know of a queue.

use super::QueueState;
use crate::error::Result;
use crate::ids::{Offset, Timestamp, TopicId, to_u64};
use crate::options::{Filter, QueueOptions};

/// A queue, as it was made or altered; from
/// [`Engine::queues`](crate::Engine::queues).
///
/// # Examples
///
/// ```
/// use duolog::QueueOptions;
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// engine.create_queue("jobs", QueueOptions::default().shards(4))?;
/// assert_eq!(engine.queues()[0].options.shards, 4);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct QueueInfo {
    /// Never used again after the queue was deleted.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// How it was made or last altered.
    pub options: QueueOptions,
    /// The topic that it is a view of, and what it wants of it; `None` for a
    /// queue with messages of its own.
    pub subscription: Option<(String, Filter)>,
}

impl QueueInfo {
    pub(crate) fn new(
        id: TopicId,
        name: String,
        options: QueueOptions,
        subscription: Option<(String, Filter)>,
    ) -> Self {
        Self {
            id,
            name,
            options,
            subscription,
        }
    }
}

/// How many messages of a queue are what; from
/// [`Queue::stats`](crate::Queue::stats).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{Message, QueueOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let jobs = engine.create_queue("jobs", QueueOptions::default())?;
/// jobs.send(&Message::new("now"))?;
/// jobs.send(&Message::new("later").delay(Duration::from_secs(60)))?;
/// let stats = jobs.stats()?;
/// assert_eq!((stats.ready, stats.delayed, stats.in_flight), (1, 1, 0));
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct QueueStats {
    /// Messages that a consumer could get now. Those behind a busy order key
    /// count, and of a subscription those that its filter has not seen yet.
    pub ready: u64,
    /// Delivered, and not answered.
    pub in_flight: u64,
    /// Waiting for their time.
    pub delayed: u64,
    /// Of those that are ready: waiting for their order key, because another
    /// message with it is in flight or about to be tried again.
    pub parked: u64,
    /// Not done, although one that was sent later is.
    pub holes: u64,
    /// Payload of what is in flight, in bytes.
    pub in_flight_bytes: u64,
    /// Consumers.
    pub consumers: u64,
    /// When the oldest message that is not done was sent.
    pub oldest: Option<Timestamp>,
    /// Bytes of its segments on disk; of a subscription none, they are its
    /// topic's.
    pub segment_bytes: u64,
    /// Bytes of memory that its ledgers take, about.
    pub memory_bytes: u64,
}

impl QueueState {
    pub(crate) fn stats(&self) -> Result<QueueStats> {
        self.check_open()?;
        let mut stats = QueueStats {
            consumers: to_u64(self.consumer_count()),
            memory_bytes: self.memory_bytes(),
            ..QueueStats::default()
        };
        for number in 0..self.lane_count() {
            let Some(lane) = self.lane_if_used(number)? else {
                continue;
            };
            let end = lane.partition.end();
            let open = {
                let mut locked = lane.lock();
                self.skip_trimmed(lane, &mut locked);
                stats.ready += locked.ledger.ready(end);
                stats.in_flight += locked.ledger.in_flight();
                stats.delayed += locked.ledger.delayed();
                stats.parked += locked.ledger.parked();
                stats.holes += locked.ledger.holes();
                stats.in_flight_bytes += locked.ledger.in_flight_bytes();
                locked.ledger.first_open(Offset::ZERO)
            };
            if open < end {
                let first = lane.read(open)?.0.into_iter().next();
                let oldest = first.map(|stored| stored.timestamp);
                stats.oldest = stats.oldest.into_iter().chain(oldest).min();
            }
            if self.owns() {
                stats.segment_bytes += lane.partition.info().segment_bytes;
            }
        }
        Ok(stats)
    }
}
