//! A reader: a position in a partition that moves on as it fetches.

use std::sync::Arc;

use super::Engine;
use crate::error::Result;
use crate::ids::Offset;
use crate::partition::{Fetch, Fetched, Partition, Start};

/// Reads one partition in order. Any number of readers share a partition; none
/// takes anything from the others.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{Engine, Fetch, Options, Record, Start, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let words = engine.create_topic("words", TopicOptions::default())?;
/// for word in ["one", "two", "three"] {
///     words.append(&Record::new(word))?;
/// }
///
/// let mut reader = words.reader(0, Start::Offset(duolog::ids::Offset::new(1)))?;
/// let fetched = reader.fetch(&Fetch::default().max_records(1))?;
/// assert_eq!(fetched.records()?[0].value.as_deref(), Some(&b"two"[..]));
/// assert_eq!(reader.position().get(), 2);
///
/// // Long poll: ends as soon as there is something, after 10 ms otherwise.
/// reader.seek(Start::Latest)?;
/// assert!(reader.fetch(&Fetch::default().max_wait(Duration::from_millis(10)))?.is_empty());
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    engine: Engine,
    partition: Arc<Partition>,
    position: Offset,
}

impl Reader {
    pub(super) fn new(engine: Engine, partition: Arc<Partition>, start: Start) -> Result<Self> {
        let position = partition.resolve(start)?;
        Ok(Self {
            engine,
            partition,
            position,
        })
    }

    /// The next offset to fetch.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The partition that is read.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition.id.partition
    }

    /// Moves to another place.
    ///
    /// # Errors
    ///
    /// `OutOfRange` with the range; then the position stays.
    pub fn seek(&mut self, start: Start) -> Result<()> {
        self.position = self.partition.resolve(start)?;
        Ok(())
    }

    /// Fetches from the position on and moves behind what came. Waits for
    /// `min_bytes` as long as `max_wait`; comes back empty after that.
    ///
    /// # Errors
    ///
    /// * `OutOfRange`: the position was trimmed away; the message has the
    ///   range. Seek.
    /// * `Corrupt`: what is there is damaged; the message names file and byte.
    ///   The position stays.
    ///   Batches that lie before the damage come with a smaller `max_bytes`.
    /// * `Closed`: the engine was closed, or the topic deleted.
    /// * `Poisoned`: a write of the log failed, so that nothing will come to
    ///   wait for. What is durable comes without a wait.
    /// * `Invalid`: a fetch of nothing.
    pub fn fetch(&mut self, fetch: &Fetch) -> Result<Fetched> {
        self.engine.shared().check_open()?;
        let fetched = self.partition.fetch(self.position, fetch)?;
        self.position = fetched.next_offset();
        Ok(fetched)
    }
}
