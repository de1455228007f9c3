//! The handle of a topic: append, read, trim.

use std::sync::Arc;

use super::admin::TopicHandle;
use super::{Engine, Reader, Ticket};
use crate::error::{Error, Result};
use crate::format::Record;
use crate::ids::{Offset, TopicId, to_u64};
use crate::options::{AppendOptions, TopicOptions};
use crate::partition::{
    Accepted, Appended, How, Part, Partition, PartitionInfo, Picked, Start, Terms, commit_one,
    commit_together,
};

/// A topic: a named collection of partitions. Cheap to clone; keeps the store
/// open.
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Durability, Engine, Options, Record, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let clicks = engine.create_topic("clicks", TopicOptions::default().partitions(3))?;
///
/// // One record, durable at return.
/// let placed = clicks.append(&Record::new("home").key("user-1"))?;
/// assert_eq!(placed.offset.get(), 0);
///
/// // Many at once, all or nothing, accepted without a wait for the disk.
/// let records = [Record::new("a").key("user-1"), Record::new("b").key("user-2")];
/// let buffered = AppendOptions::default().durability(Durability::Buffered);
/// clicks.append_batch(&records, &buffered)?;
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Topic {
    engine: Engine,
    state: TopicHandle,
}

impl Topic {
    pub(super) fn new(engine: Engine, state: TopicHandle) -> Self {
        Self { engine, state }
    }

    pub(super) fn state(&self) -> &TopicHandle {
        &self.state
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
    pub fn options(&self) -> TopicOptions {
        self.state.options().as_ref().clone()
    }

    /// Appends one record with the topic's durability, and waits for it.
    ///
    /// # Errors
    ///
    /// As [`Self::append_batch`].
    pub fn append(&self, record: &Record<'_>) -> Result<Appended> {
        self.append_with(record, &AppendOptions::default())
    }

    /// Appends one record as `options` say, and waits for what they promise.
    ///
    /// # Errors
    ///
    /// As [`Self::append_batch`].
    pub fn append_with(&self, record: &Record<'_>, options: &AppendOptions) -> Result<Appended> {
        let terms = self.state.terms();
        let number = match options.partition {
            Some(number) => number,
            None => self.state.route(record, terms.partitions),
        };
        let partition = self.state.partition(number)?;
        let part = Part::new(partition, terms, Picked::All(std::slice::from_ref(record)));
        if terms.partitions > 1 && record.key_bytes().is_none() {
            self.state.count_sticky(to_u64(record.payload_len()));
        }
        let how = self.how(options, terms, false)?;
        let (appended, handle) = commit_one(&part, how)?;
        if let Some(handle) = handle {
            handle.wait(self.engine.shared().env.wal()?)?;
        }
        Ok(appended)
    }

    /// Appends records in one commit, all or nothing, and waits for what
    /// `options` promise. Says for each partition where its records went; they
    /// keep their order there.
    ///
    /// Records go by their key; those without one go to one partition, which
    /// changes every 16 KiB.
    ///
    /// # Errors
    ///
    /// * `Invalid`: no records, one over the limit, or too many for one commit
    ///   (see [`Info::commit_bytes_max`](crate::Info::commit_bytes_max)).
    /// * `Unsupported`: compression that is not in this build.
    /// * `NotFound`: there is no such partition.
    /// * `Busy`: a limit was reached, and `options` say not to wait.
    /// * `Full`: the disk is full, and the log needed another file.
    /// * `Closed`: the engine was closed, or the topic deleted.
    /// * `ReadOnly`: the store was opened so.
    /// * `Poisoned`: a write failed. Records may or may not survive if this
    ///   append waited for it.
    ///
    /// But for the last, nothing is changed.
    pub fn append_batch(
        &self,
        records: &[Record<'_>],
        options: &AppendOptions,
    ) -> Result<Vec<Appended>> {
        let accepted = self.accept_batch(records, options, false)?;
        self.wait(&accepted)?;
        Ok(accepted.appended)
    }

    /// Appends as [`Self::append_batch`] does, and returns before the disk
    /// has answered: the ticket can be waited on, or awaited.
    ///
    /// Many tickets may be under way: they share writes.
    ///
    /// # Errors
    ///
    /// As [`Self::append_batch`]; failures of the disk come from the ticket.
    pub fn append_nowait(&self, records: &[Record<'_>], options: &AppendOptions) -> Result<Ticket> {
        let accepted = self.accept_batch(records, options, true)?;
        Ok(Ticket::new(self.engine.clone(), accepted))
    }

    fn accept_batch(
        &self,
        records: &[Record<'_>],
        options: &AppendOptions,
        detached: bool,
    ) -> Result<Accepted> {
        if records.is_empty() {
            return Err(Error::invalid("an append needs at least one record"));
        }
        let terms = self.state.terms();
        // Where there is one partition, nobody has to choose.
        let several = terms.partitions > 1;
        let keyed = several && records.iter().any(|record| record.key_bytes().is_some());
        if keyed && options.partition.is_none() {
            return self.accept_routed(records, options, terms, detached);
        }
        let number = match (options.partition, records.first()) {
            (Some(number), _) => number,
            (None, Some(first)) => self.state.route(first, terms.partitions),
            (None, None) => 0,
        };
        if several && !keyed {
            let bytes: usize = records.iter().map(Record::payload_len).sum();
            self.state.count_sticky(to_u64(bytes));
        }
        let partition = self.state.partition(number)?;
        let part = Part::new(partition, terms, Picked::All(records));
        commit_together(&[part], self.how(options, terms, detached)?)
    }

    /// Splits records by their keys, keeping their order in each partition.
    fn accept_routed(
        &self,
        records: &[Record<'_>],
        options: &AppendOptions,
        terms: Terms,
        detached: bool,
    ) -> Result<Accepted> {
        let route = |record| self.state.route(record, terms.partitions);
        let mut routed: Vec<_> = records
            .iter()
            .map(|record| (route(record), record))
            .collect();
        routed.sort_by_key(|(number, _)| *number);
        let refs: Vec<_> = routed.iter().map(|(_, record)| *record).collect();
        let mut parts = Vec::new();
        let mut at = 0;
        for run in routed.chunk_by(|a, b| a.0 == b.0) {
            let number = run.first().map_or(0, |(number, _)| *number);
            let records = refs.get(at..at + run.len()).unwrap_or_default();
            let partition = self.state.partition(number)?;
            parts.push(Part::new(partition, terms, Picked::Some(records)));
            at += run.len();
        }
        commit_together(&parts, self.how(options, terms, detached)?)
    }

    /// Fills in the defaults, and waits for room.
    fn how(&self, options: &AppendOptions, terms: Terms, detached: bool) -> Result<How> {
        let shared = self.engine.shared();
        shared.check_open()?;
        let how = How {
            durability: options.durability.unwrap_or(terms.durability),
            codec: options.codec.unwrap_or(terms.codec),
            detached,
        };
        how.codec.check()?;
        shared
            .env
            .admit(options.on_limit.unwrap_or(shared.options.on_limit))?;
        Ok(how)
    }

    fn wait(&self, accepted: &Accepted) -> Result<()> {
        match &accepted.handle {
            None => Ok(()),
            Some(handle) => handle.wait(self.engine.shared().env.wal()?),
        }
    }

    fn part(&self, number: u32) -> Result<Arc<Partition>> {
        self.engine.shared().check_open()?;
        self.state.partition(number).map(Arc::clone)
    }

    /// A reader of one partition.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such partition; `OutOfRange` with the range;
    /// `Closed`.
    pub fn reader(&self, partition: u32, start: Start) -> Result<Reader> {
        Reader::new(self.engine.clone(), self.part(partition)?, start)
    }

    /// Where a partition stands.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Closed`.
    pub fn partition(&self, partition: u32) -> Result<PartitionInfo> {
        Ok(self.part(partition)?.info())
    }

    /// Drops the records before `before`; durable at return. Whole sealed
    /// segments are removed from disk, the rest cannot be read any more.
    /// Returns the first offset that is kept: it never moves back.
    ///
    /// # Errors
    ///
    /// `OutOfRange` if `before` is beyond what is durable; `NotFound`,
    /// `Poisoned`, `Closed`, `ReadOnly`, `Full`. The operating system's if files
    /// could not be removed: the trim stands then, and the background tries
    /// again.
    pub fn trim(&self, partition: u32, before: Offset) -> Result<Offset> {
        let part = self.part(partition)?;
        let (start, _) = self.engine.shared().trim(&part, before)?;
        Ok(start)
    }
}
