//! Appending: offsets are given and bytes are made under one lock, the wait
//! for the disk comes after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::picked::{Picked, Size};
use super::tail::TailBatch;
use super::{Partition, State, record_time};
use crate::error::{Error, Result};
use crate::format::batch::BATCH_HEADER_LEN;
use crate::format::entry::{APPEND_ENTRY_LEN, Entry};
use crate::format::{BATCH_LEN_MAX, Record};
use crate::ids::{Lsn, Offset, Timestamp, to_u64, to_usize};
use crate::options::{Codec, Durability};
use crate::wal::{Ask, CommitHandle, Observer, Wal};

/// Where records went.
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Record, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// let records = [Record::new("a"), Record::new("b")];
/// let placed = topic.append_batch(&records, &AppendOptions::default())?;
/// assert_eq!(placed.len(), 1, "one for each partition");
/// assert_eq!((placed[0].partition, placed[0].offset.get(), placed[0].count), (0, 0, 2));
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Appended {
    /// The partition.
    pub partition: u32,
    /// Offset of the first record.
    pub offset: Offset,
    /// How many records; their offsets follow each other.
    pub count: u32,
}

/// The records of an append that go to one partition.
#[derive(Debug)]
pub(crate) struct Part<'a, 'r> {
    partition: &'a Arc<Partition>,
    terms: Terms,
    records: Picked<'a, 'r>,
    size: Size,
}

impl<'a, 'r> Part<'a, 'r> {
    pub(crate) fn new(
        partition: &'a Arc<Partition>,
        terms: Terms,
        records: Picked<'a, 'r>,
    ) -> Self {
        Self {
            partition,
            terms,
            records,
            size: records.size(),
        }
    }
}

/// What a topic says of appends: copied for each, so that none holds a lock of
/// its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) partitions: u32,
    pub(crate) durability: Durability,
    pub(crate) codec: Codec,
    pub(crate) record_bytes_max: u32,
    pub(crate) batch_bytes_max: u32,
}

/// How an append was asked for, all defaults filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) durability: Durability,
    pub(crate) codec: Codec,
    /// No thread is going to wait for it at once.
    pub(crate) detached: bool,
}

/// An append that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) appended: Vec<Appended>,
    /// To wait on, if it is to be durable.
    pub(crate) handle: Option<CommitHandle>,
    /// End of its frame; `None` if that is not in the log, or not yet.
    pub(crate) end: Option<Lsn>,
}

/// Appends to one or more partitions: one frame, all or nothing.
///
/// Invariant of the caller: `parts` is sorted by partition, without repeats,
/// and no part is empty; there was room ([`super::PartitionEnv::admit`]).
pub(crate) fn commit_together(parts: &[Part<'_, '_>], how: How) -> Result<Accepted> {
    if let [part] = parts {
        let (appended, handle) = commit_one(part, how)?;
        return Ok(Accepted {
            appended: vec![appended],
            end: handle.as_ref().map(CommitHandle::end),
            handle,
        });
    }
    commit_along(parts, how, |_| Vec::new())
}

/// The same, with batches of their own, and further entries in the same frame:
/// those that `along` makes of where the records go, in the order of `parts`.
///
/// It is not asked for transient records, which are in no frame, and runs with
/// the partitions locked.
pub(crate) fn commit_along<'e>(
    parts: &[Part<'_, '_>],
    how: How,
    along: impl FnOnce(&[Appended]) -> Vec<Entry<'e>>,
) -> Result<Accepted> {
    check_commit(parts)?;
    commit_sealed(parts, how, along)
}

/// Appends to one partition.
pub(crate) fn commit_one(
    part: &Part<'_, '_>,
    how: How,
) -> Result<(Appended, Option<CommitHandle>)> {
    let parts = std::slice::from_ref(part);
    check_commit(parts)?;
    if how.durability != Durability::Durable {
        let appended = part.partition.gather(part, how)?;
        return Ok((appended, None));
    }
    let accepted = commit_sealed(parts, how, |_| Vec::new())?;
    let first = accepted.appended.first().copied();
    Ok((first.expect("one part has one answer"), accepted.handle))
}

/// Checks the limits of records, batches and the commit, before anything is
/// changed.
fn check_commit(parts: &[Part<'_, '_>]) -> Result<()> {
    let mut total = 0;
    for part in parts {
        part.records
            .check(&part.size, part.terms.record_bytes_max)?;
        let len = BATCH_HEADER_LEN + part.size.encoded_max;
        if len > BATCH_LEN_MAX {
            return Err(Error::invalid(format!(
                "batch of up to {len} bytes for partition {} is over the limit of \
                 {BATCH_LEN_MAX}; split it",
                part.partition.id.partition
            )));
        }
        total += len + APPEND_ENTRY_LEN;
    }
    let Some(first) = parts.first() else {
        return Err(Error::invalid("an append needs at least one record"));
    };
    let limit = first.partition.env.wal()?.commit_bytes_max();
    if to_u64(total) > limit {
        return Err(Error::invalid(format!(
            "append of up to {total} bytes is over the limit of {limit} for one commit \
             (a quarter of `wal_file_bytes`); split it, or open the store with larger files"
        )));
    }
    Ok(())
}

/// A batch of its own for each part, in one frame with what goes along.
fn commit_sealed<'e>(
    parts: &[Part<'_, '_>],
    how: How,
    along: impl FnOnce(&[Appended]) -> Vec<Entry<'e>>,
) -> Result<Accepted> {
    let Some(first) = parts.first() else {
        return Err(Error::invalid("an append needs at least one record"));
    };
    let env = Arc::clone(&first.partition.env);
    let wal = env.wal()?;
    let now = record_time(&env);
    // In the order of the partitions, as everybody does: no two commits wait
    // for each other.
    let mut states = Vec::with_capacity(parts.len());
    for part in parts {
        states.push(part.partition.open_state()?);
    }
    let mut batches = Vec::with_capacity(parts.len());
    let mut appended = Vec::with_capacity(parts.len());
    for (part, state) in parts.iter().zip(&mut states) {
        // What gathered before has the lower offsets, and goes first.
        part.partition.seal_open(state, wal);
        let transient = how.durability == Durability::Transient;
        appended.push(Appended {
            partition: part.partition.id.partition,
            offset: state.end,
            count: part.records.count(),
        });
        Partition::build(state, part, transient, now);
        batches.push(state.builder.seal(how.codec, part.partition.seed));
    }
    let handle = if how.durability == Durability::Transient {
        None
    } else {
        let batches = parts.iter().zip(&batches);
        let batches = batches.map(|(part, batch)| Entry::Append(part.partition.id, batch));
        let entries: Vec<_> = batches.chain(along(&appended)).collect();
        // A frame that is refused leaves nothing behind: no offset was moved.
        let mut ask = first.partition.ask(how);
        let others = parts.iter().skip(1).map(|part| Arc::clone(part.partition));
        ask.observers
            .extend(others.map(|other| other as Arc<dyn Observer>));
        Some(wal.enqueue(&entries, ask)?)
    };
    for ((part, state), batch) in parts.iter().zip(&mut states).zip(batches) {
        let lsn = handle.as_ref().map(CommitHandle::end);
        let batch = TailBatch::new(batch, how.durability, lsn);
        state.end = batch.end;
        part.partition.push(state, batch);
    }
    drop(states);
    let durable = how.durability == Durability::Durable;
    for part in parts {
        part.partition.count(part);
        if !durable {
            part.partition.announce();
        }
    }
    Ok(Accepted {
        appended,
        end: handle.as_ref().map(CommitHandle::end),
        handle: handle.filter(|_| durable),
    })
}

impl Partition {
    fn ask(self: &Arc<Self>, how: How) -> Ask {
        let observer: Arc<dyn Observer> = Arc::<Self>::clone(self);
        Ask {
            sync: how.durability == Durability::Durable,
            detached: how.detached || how.durability != Durability::Durable,
            observers: vec![observer],
        }
    }

    /// Appends to the batch under construction: no system call, no wait.
    fn gather(self: &Arc<Self>, part: &Part<'_, '_>, how: How) -> Result<Appended> {
        let len = part.size.encoded_max;
        let wal = self.env.wal()?;
        wal.check_open()?;
        let now = record_time(&self.env);
        let transient = how.durability == Durability::Transient;
        // A frame has to hold it.
        let frame_max = to_usize(wal.commit_bytes_max()) - APPEND_ENTRY_LEN;
        let batch_max = to_usize(u64::from(part.terms.batch_bytes_max)).min(frame_max);
        let mut state = self.open_state()?;
        let open = &mut *state;
        let fits = open.builder.is_transient() == transient
            && open.codec == how.codec
            && open.builder.len() + len <= batch_max.max(BATCH_HEADER_LEN + len);
        if !open.builder.is_empty() && !fits {
            self.seal_open(open, wal);
        }
        open.codec = how.codec;
        let offset = open.end;
        let count = Self::build(open, part, transient, now);
        open.end = open.end.saturating_add(u64::from(count));
        if open.builder.len() >= batch_max {
            self.seal_open(open, wal);
        }
        let list = !open.builder.is_empty() && !std::mem::replace(&mut open.listed_open, true);
        drop(state);
        if list && self.env.open.push(Arc::clone(self)) {
            wal.work().notify();
        }
        self.count(part);
        Ok(Appended {
            partition: self.id.partition,
            offset,
            count,
        })
    }

    /// Encodes records into the builder; their first offset is the next one.
    fn build(state: &mut State, part: &Part<'_, '_>, transient: bool, now: Timestamp) -> u32 {
        let builder = &mut state.builder;
        if builder.is_empty() {
            let first = part.records.first().and_then(Record::time);
            builder.start(state.end, first.unwrap_or(now), transient);
        }
        builder.reserve(part.size.encoded_max);
        part.records.each(|record| builder.push(record, now));
        part.records.count()
    }

    /// Finishes the batch under construction and queues it for the log.
    fn seal_open(self: &Arc<Self>, state: &mut State, wal: &Wal) {
        if state.builder.is_empty() {
            return;
        }
        let transient = state.builder.is_transient();
        let bytes = state.builder.seal(state.codec, self.seed);
        let durability = if transient {
            Durability::Transient
        } else {
            Durability::Buffered
        };
        let how = How {
            durability,
            codec: state.codec,
            detached: true,
        };
        let lsn = if transient {
            None
        } else {
            let entry = Entry::Append(self.id, &bytes);
            // Its records were accepted already. Where the log has no space for
            // another file, they stay in memory until a checkpoint; a failed
            // log keeps them from being seen.
            let handle = wal.enqueue(&[entry], self.ask(how));
            if handle.is_err() {
                self.env.unlogged.store(true, Ordering::Release);
                self.env
                    .counters
                    .batches_unlogged
                    .fetch_add(1, Ordering::Relaxed);
            }
            handle.ok().map(|handle| handle.end())
        };
        self.push(state, TailBatch::new(bytes, durability, lsn));
        self.announce();
    }

    /// Seals what gathered, after `linger`.
    pub(crate) fn seal_step(self: &Arc<Self>) -> Result<()> {
        let wal = self.env.wal()?;
        let mut state = self.state.lock();
        state.listed_open = false;
        if !state.deleted {
            self.seal_open(&mut state, wal);
        }
        Ok(())
    }

    /// Queues for the log what gathered. Returns the end: whatever the log is
    /// told from now on of records before it comes after them.
    pub(crate) fn seal(self: &Arc<Self>) -> Result<Offset> {
        let wal = self.env.wal()?;
        let mut state = self.open_state()?;
        self.seal_open(&mut state, wal);
        Ok(state.end)
    }

    /// Seals what gathered, because a reader has come to it.
    pub(super) fn seal_for_reader(self: &Arc<Self>, state: &mut State) {
        if let Some(wal) = self.env.wal.get() {
            self.seal_open(state, wal);
        }
    }

    fn push(self: &Arc<Self>, state: &mut State, batch: TailBatch) {
        self.env
            .counters
            .batches_appended
            .fetch_add(1, Ordering::Relaxed);
        state.tail.settle(self.env.durable());
        let cost = state.tail.push(batch);
        self.env.memory.charge(cost);
        self.list_dirty(state);
    }

    /// Lists the partition for the next checkpoint.
    pub(super) fn list_dirty(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.listed_dirty, true) {
            self.env.dirty.push(Arc::clone(self));
        }
    }

    fn count(&self, part: &Part<'_, '_>) {
        let counters = &self.env.counters;
        counters
            .records_appended
            .fetch_add(u64::from(part.records.count()), Ordering::Relaxed);
        counters
            .bytes_appended
            .fetch_add(to_u64(part.size.payload), Ordering::Relaxed);
    }
}
