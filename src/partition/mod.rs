//! A partition: one numbered sequence of records, from the newest in memory to
//! the oldest on disk.
//!
//! ```text
//!  start        flushed                 visible      end
//!    | segments    |         tail          |  waiting  | building |
//!    +-------------+-----------------------+-----------+----------+
//!      on disk       memory (and the log)    not synced   one batch
//! ```
//!
//! A batch is encoded once, into memory that the tail, the log and readers
//! share. Offsets are given in the order of the log, so that what is durable is
//! always a prefix of what has to be.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock};

use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::BatchBuilder;
use crate::format::checksum::Seed;
use crate::format::snapshot::{PartitionState, SegmentMeta};
use crate::ids::{Lsn, Offset, PartitionId, Timestamp};
use crate::options::{Codec, TopicOptions};
use crate::segment::{ActiveIndex, SegmentEnv, SegmentWriter};
use crate::signal::{Audience, Signal, lock};
use crate::sync::{FairMutex, FairMutexGuard, Mutex};
use crate::wal::Observer;

mod append;
mod cache;
mod env;
mod fetch;
mod flush;
mod picked;
mod recover;
mod start;
mod tail;
mod trim;

pub use append::Appended;
pub(crate) use append::{Accepted, How, Part, Terms, commit_along, commit_one, commit_together};
pub(crate) use cache::Readers;
pub(crate) use env::{Counters, Memory, PartitionEnv, Relief, Worklist, Writers};
pub use fetch::{Fetch, Fetched, StoredRecord};
pub(crate) use flush::FlushUpTo;
pub(crate) use picked::Picked;
pub use start::Start;

use tail::Tail;

/// What a topic's partitions have in common and may be altered.
pub(crate) type SharedOptions = Arc<RwLock<Arc<TopicOptions>>>;

/// One partition of an open store.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    seed: Seed,
    env: Arc<PartitionEnv>,
    options: SharedOptions,
    state: FairMutex<State>,
    /// The writing side of the segments; taken before `state`, never after.
    files: Mutex<Files>,
    /// Told when there is more to see.
    news: Signal,
    /// Told the same: whoever waits for several partitions.
    audience: Arc<Audience>,
}

#[derive(Debug)]
struct State {
    /// First offset that is kept.
    start: Offset,
    /// End of what lies in segments, synced.
    ///
    /// Invariant: `flushed <= end`; the tail holds what is between, but for
    /// records that were lost with their process.
    flushed: Offset,
    /// Next offset to assign.
    end: Offset,
    tail: Tail,
    /// The batch that buffered or transient records gather in.
    builder: BatchBuilder,
    codec: Codec,
    /// Oldest first; only the last one may be active.
    segments: Vec<SegmentMeta>,
    /// Index of the active segment, once it was opened.
    active_index: Option<Arc<ActiveIndex>>,
    /// Transient batches below are of an earlier life, and dead.
    transient_from: Offset,
    /// True while in the list of partitions whose batch is under construction.
    listed_open: bool,
    /// True while in the list of partitions with a tail.
    listed_dirty: bool,
    deleted: bool,
}

/// The writing side of the segments.
#[derive(Debug, Default)]
struct Files {
    segment_env: Option<SegmentEnv>,
    writer: Option<SegmentWriter>,
}

/// Where a partition stands; from [`Topic::partition`](crate::Topic::partition).
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Durability, Record, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// topic.append(&Record::new("kept"))?;
/// let buffered = AppendOptions::default().durability(Durability::Buffered);
/// topic.append_batch(&[Record::new("perhaps")], &buffered)?;
/// engine.sync()?;
///
/// let info = topic.partition(0)?;
/// assert_eq!((info.start.get(), info.durable.get(), info.end.get()), (0, 2, 2));
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its number in the topic.
    pub partition: u32,
    /// First offset that is kept.
    pub start: Offset,
    /// First offset that is not yet on stable storage. Transient records never
    /// are, and do not hold it back. `start <= durable <= end`.
    pub durable: Offset,
    /// Next offset to be assigned.
    pub end: Offset,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes in them, headers included.
    pub segment_bytes: u64,
    /// Memory of batches that are in no segment yet, 128 bytes for each counted
    /// in. Unless transient, they are in the write-ahead log.
    pub tail_bytes: u64,
}

impl Partition {
    /// A partition without records, or as a snapshot has it.
    pub(crate) fn new(
        id: PartitionId,
        env: Arc<PartitionEnv>,
        options: SharedOptions,
        audience: Arc<Audience>,
        saved: Option<PartitionState>,
    ) -> Arc<Self> {
        let (start, flushed, end, segments) = saved.map_or_else(Default::default, |state| {
            (state.start, state.flushed, state.next, state.segments)
        });
        Arc::new(Self {
            id,
            seed: Seed::partition(env.store, id),
            env,
            options,
            state: FairMutex::new(State {
                start,
                flushed,
                end,
                tail: Tail::default(),
                builder: BatchBuilder::new(),
                codec: Codec::None,
                segments,
                active_index: None,
                transient_from: end,
                listed_open: false,
                listed_dirty: false,
                deleted: false,
            }),
            files: Mutex::default(),
            news: Signal::default(),
            audience,
        })
    }

    fn options(&self) -> Arc<TopicOptions> {
        let options = self.options.read();
        Arc::clone(&options.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Takes the state, unless the topic is gone.
    fn open_state(&self) -> Result<FairMutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.deleted {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("topic {} was deleted", self.id.topic),
            ));
        }
        Ok(state)
    }

    /// Tells all who wait that there is more to see.
    pub(crate) fn announce(&self) {
        self.news.notify();
        self.audience.notify();
    }

    /// First offset that is kept.
    pub(crate) fn start(&self) -> Offset {
        self.state.lock().start
    }

    /// Next offset to assign.
    pub(crate) fn end(&self) -> Offset {
        self.state.lock().end
    }

    /// Where the partition stands.
    pub(crate) fn info(&self) -> PartitionInfo {
        let state = self.state.lock();
        PartitionInfo {
            partition: self.id.partition,
            start: state.start,
            durable: state.durable_offset(self.env.durable()),
            end: state.end,
            segments: crate::ids::to_u64(state.segments.len()),
            segment_bytes: state.segments.iter().map(|segment| segment.bytes).sum(),
            tail_bytes: state.tail.bytes(),
        }
    }

    /// What a snapshot says of it; `None` for a partition that was never used.
    pub(crate) fn saved_state(&self) -> Option<PartitionState> {
        let state = self.state.lock();
        let used = state.end > Offset::ZERO && !state.deleted;
        used.then(|| PartitionState {
            id: self.id,
            start: state.start,
            flushed: state.flushed,
            next: state.end,
            segments: state.segments.clone(),
        })
    }

    /// Makes every further use an error and wakes all who wait. Returns the
    /// memory of the tail.
    pub(crate) fn delete(&self) {
        let mut files = lock(&self.files);
        files.writer = None;
        let mut state = self.state.lock();
        state.deleted = true;
        self.env.memory.release(state.tail.clear());
        let bases: Vec<_> = state
            .segments
            .drain(..)
            .map(|segment| segment.base)
            .collect();
        state.active_index = None;
        drop(state);
        drop(files);
        for base in bases {
            self.env.readers.forget(self.id, base);
        }
        self.announce();
    }
}

impl State {
    /// First offset that is not yet on stable storage. Transient records are
    /// never, and hold nothing back.
    fn durable_offset(&self, durable: Lsn) -> Offset {
        let first = self.tail.iter().find(|batch| batch.is_waiting(durable));
        match first {
            Some(batch) => batch.base,
            None if self.builder.is_empty() || self.builder.is_transient() => self.end,
            None => self.builder.base_offset(),
        }
    }

    /// First offset that readers must not see yet.
    fn visible_end(&self, env: &PartitionEnv) -> Offset {
        let durable = env.durable();
        // After a failed write nothing is shown that may not be on disk.
        let hidden = if env.is_poisoned() {
            self.tail.iter().find(|batch| batch.is_waiting(durable))
        } else {
            self.tail.first_undurable(durable)
        };
        hidden.map_or_else(
            || self.tail.end().unwrap_or(self.flushed),
            |batch| batch.base,
        )
    }
}

impl Observer for Partition {
    fn committed(&self) {
        self.announce();
    }
}

/// The time that an append gives to records without one.
fn record_time(env: &PartitionEnv) -> Timestamp {
    env.clock.now()
}

/// Batches that wait to be written, oldest first.
type Batches = VecDeque<tail::TailBatch>;
