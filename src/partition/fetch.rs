//! Fetching: borrowed from the tail or the map, each batch from disk checked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::{Partition, State};
use crate::clock::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Batch;
use crate::format::batch::BatchHeader;
use crate::format::snapshot::SegmentMeta;
use crate::ids::{Offset, Timestamp, to_u64, to_usize};
use crate::segment::{Most, Place, SegmentReader};

/// How much to fetch, and how long to wait for it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::Fetch;
///
/// let fetch = Fetch::default()
///     .min_bytes(1024)
///     .max_wait(Duration::from_millis(500))
///     .max_records(500);
/// assert_eq!(fetch.max_bytes, 1 << 20);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetch {
    /// Bytes to wait for.
    pub min_bytes: u32,
    /// Bytes after which no further batch is added.
    pub max_bytes: u32,
    /// Most records.
    pub max_records: u32,
    /// Longest wait for `min_bytes`.
    pub max_wait: Duration,
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 500,
            max_wait: Duration::ZERO,
        }
    }
}

impl Fetch {
    /// Waits until so many bytes of batches are there, at most
    /// [`max_wait`](Self::max_wait). Default 1.
    #[must_use]
    pub fn min_bytes(mut self, bytes: u32) -> Self {
        self.min_bytes = bytes;
        self
    }

    /// Stops after the batch that reaches so many bytes: one batch always
    /// comes, however large. Default 1 MiB; at least 1.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u32) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Returns at most so many records. Default 500; at least 1.
    #[must_use]
    pub fn max_records(mut self, records: u32) -> Self {
        self.max_records = records;
        self
    }

    /// Waits at most so long for `min_bytes`. Default: not at all.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    fn check(&self) -> Result<()> {
        if self.max_bytes == 0 || self.max_records == 0 {
            return Err(Error::invalid(
                "a fetch of no bytes or no records gets nowhere; set `max_bytes` and \
                 `max_records` to at least 1",
            ));
        }
        Ok(())
    }
}

/// What a fetch found: batches in order, sharing memory with the tail or with
/// the map of a segment. A `Fetched` that is kept keeps that memory.
///
/// # Examples
///
/// ```
/// use duolog::{Fetch, Record, Start, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// topic.append(&Record::new("one"))?;
/// topic.append(&Record::new("two"))?;
///
/// let fetched = topic.reader(0, Start::Earliest)?.fetch(&Fetch::default())?;
/// assert_eq!((fetched.record_count(), fetched.next_offset().get()), (2, 2));
/// assert_eq!(fetched.batches().len(), 2, "each durable append is a batch");
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    pub(super) batches: Vec<Batch>,
    pub(super) next: Offset,
    pub(super) bytes: u64,
    pub(super) records: u64,
}

impl Fetched {
    /// The batches, in order. The first and the last may have more records
    /// than were asked for; [`Batch::records`] leaves those out.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// True if there was nothing to fetch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How many records. Of batches that lost some in between, the span of their
    /// offsets counts.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.records
    }

    /// Bytes of the batches as they lie in the log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where to go on.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// All records, each on its own: convenient, and dearer than going through
    /// [`Self::batches`].
    ///
    /// # Errors
    ///
    /// `Unsupported` if a batch is compressed with a codec that this build
    /// lacks; `Corrupt` if its records do not decode.
    pub fn records(&self) -> Result<Vec<StoredRecord>> {
        let mut out = Vec::with_capacity(to_usize(self.records));
        for batch in &self.batches {
            let wrong = |error: crate::format::DecodeError| {
                let kind = match error {
                    crate::format::DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
                    _ => ErrorKind::Corrupt,
                };
                let at = batch.first_offset();
                Error::with_source(kind, format!("cannot read the batch at offset {at}"), error)
            };
            let records = batch.records().map_err(wrong)?;
            for record in &records {
                let record = record.map_err(wrong)?;
                out.push(StoredRecord {
                    offset: record.offset(),
                    timestamp: record.timestamp(),
                    key: record.key().map(|key| records.share(key)),
                    value: (!record.is_tombstone()).then(|| records.share(record.value())),
                    headers: record
                        .headers()
                        .map(|(name, value)| (name.to_owned(), records.share(value)))
                        .collect(),
                });
            }
        }
        Ok(out)
    }
}

/// One record that was fetched; its bytes are shared with the batch.
///
/// # Examples
///
/// ```
/// use duolog::{Fetch, Record, Start, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// topic.append(&Record::tombstone("customer-7"))?;
///
/// let records = topic.reader(0, Start::Earliest)?.fetch(&Fetch::default())?.records()?;
/// assert_eq!(records[0].key.as_deref(), Some(&b"customer-7"[..]));
/// assert_eq!(records[0].value, None);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// Its number in the partition.
    pub offset: Offset,
    /// The time of the event, or of the append if none was given.
    pub timestamp: Timestamp,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` for a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// A fetch under way.
struct Take<'f> {
    fetch: &'f Fetch,
    from: Offset,
    at: Offset,
    out: Fetched,
}

impl Take<'_> {
    fn is_full(&self) -> bool {
        self.out.bytes >= u64::from(self.fetch.max_bytes)
            || self.out.records >= u64::from(self.fetch.max_records)
    }

    fn left(&self) -> Most {
        let (bytes, records) = (self.fetch.max_bytes, self.fetch.max_records);
        Most {
            bytes: to_usize(u64::from(bytes).saturating_sub(self.out.bytes)),
            records: u64::from(records).saturating_sub(self.out.records),
        }
    }

    /// Adds a batch, cut to what was asked for.
    fn push(&mut self, batch: Batch) {
        let left = u64::from(self.fetch.max_records).saturating_sub(self.out.records);
        let batch = batch.starting_at(self.from);
        let to = batch.first_offset().saturating_add(left);
        let batch = batch.ending_at(to);
        self.at = batch.end_offset();
        self.out.records += batch.record_count();
        self.out.bytes += to_u64(batch.raw().len());
        self.out.batches.push(batch);
    }
}

impl Partition {
    /// Fetches from `from` on, waiting if that was asked for.
    ///
    /// # Errors
    ///
    /// `OutOfRange` if `from` is not kept any more, or not assigned yet;
    /// `Corrupt` if what is there is damaged; `Closed`.
    pub(crate) fn fetch(self: &Arc<Self>, from: Offset, fetch: &Fetch) -> Result<Fetched> {
        fetch.check()?;
        let deadline = Deadline::after(fetch.max_wait);
        loop {
            let seen = self.news.seen();
            let fetched = self.fetch_now(from, fetch)?;
            let left = deadline.left().unwrap_or(Duration::MAX);
            let enough = fetched.bytes >= u64::from(fetch.min_bytes) || left.is_zero();
            // Nothing more comes once the log has ended.
            let log = self.env.wal.get();
            let ended = log
                .filter(|_| !enough)
                .and_then(|wal| wal.check_open().err());
            if enough || (ended.is_some() && !fetched.is_empty()) {
                let counters = &self.env.counters;
                counters
                    .records_fetched
                    .fetch_add(fetched.records, Ordering::Relaxed);
                counters
                    .bytes_fetched
                    .fetch_add(fetched.bytes, Ordering::Relaxed);
                return Ok(fetched);
            }
            if let Some(error) = ended {
                return Err(error);
            }
            self.news.wait(seen, left);
        }
    }

    fn fetch_now(self: &Arc<Self>, from: Offset, fetch: &Fetch) -> Result<Fetched> {
        let mut take = Take {
            fetch,
            from,
            at: from,
            out: Fetched::default(),
        };
        while !take.is_full() {
            let mut state = self.open_state()?;
            self.check_range(&state, take.at)?;
            if let Some(meta) = state.segment_of(take.at) {
                let index = state.active_index.clone().filter(|_| meta.sealed.is_none());
                let alive = state.transient_from;
                drop(state);
                let place = index.map(|index| index.floor(take.at));
                self.take_segment(&mut take, &meta, place, alive)?;
            } else {
                if self.take_tail(&mut take, &state) || take.is_full() {
                    break;
                }
                // A reader that has come to the end gets what gathers there.
                let at_end =
                    state.visible_end(&self.env) == state.tail.end().unwrap_or(state.flushed);
                if state.builder.is_empty() || !at_end || self.env.wal.get().is_none() {
                    break;
                }
                self.seal_for_reader(&mut state);
            }
        }
        take.out.next = take.at;
        Ok(take.out)
    }

    fn check_range(&self, state: &State, at: Offset) -> Result<()> {
        if (state.start..=state.end).contains(&at) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::OutOfRange,
            format!(
                "offset {at} is out of range: partition {} keeps {} to {}; seek to `Earliest`, \
                 `Latest` or an offset between",
                self.id, state.start, state.end
            ),
        ))
    }

    /// Takes what is visible of the tail. True if something came.
    fn take_tail(&self, take: &mut Take<'_>, state: &State) -> bool {
        let visible = state.visible_end(&self.env);
        let before = take.out.batches.len();
        for batch in state.tail.from(take.at) {
            if batch.end > visible || take.is_full() {
                break;
            }
            let header = BatchHeader::decode(&batch.bytes).expect("built or checked");
            take.push(Batch::new(batch.bytes.clone(), header));
        }
        take.out.batches.len() > before
    }

    fn take_segment(
        self: &Arc<Self>,
        take: &mut Take<'_>,
        meta: &SegmentMeta,
        place: Option<Place>,
        alive: Offset,
    ) -> Result<()> {
        let opened = self.open_segment(meta);
        let reader = match opened {
            // Retention may have removed it in between: then the range says so.
            Err(_) if self.open_state()?.start >= meta.end => return Ok(()),
            other => other?,
        };
        let mut batches = Vec::new();
        let most = take.left();
        let read = match place {
            Some(place) => reader.read_at(place, take.at, meta.bytes, meta.end, most, &mut batches),
            None => reader.read(take.at, meta.bytes, meta.end, most, &mut batches),
        };
        // What lies before damage is good, and comes first; the next fetch
        // starts at the damage and says so.
        if batches.is_empty() {
            read?;
        }
        let mut reached = if batches.is_empty() {
            meta.end
        } else {
            take.at
        };
        for batch in batches {
            if take.is_full() {
                return Ok(());
            }
            reached = batch.end_offset();
            // Transient records do not survive a restart, wherever they lie.
            if batch.is_transient() && reached <= alive {
                take.at = reached;
            } else {
                take.push(batch);
                reached = take.at;
            }
        }
        take.at = reached;
        Ok(())
    }

    /// The segment that `meta` describes, open for reading.
    pub(super) fn open_segment(self: &Arc<Self>, meta: &SegmentMeta) -> Result<Arc<SegmentReader>> {
        if meta.sealed.is_none() {
            self.load_active_index()?;
            if self.env.writable {
                self.env.writers.touch(self);
            }
        }
        let interval = self.options().index_interval_bytes;
        let fits = |reader: &SegmentReader| reader.meta().sealed == meta.sealed;
        self.env.readers.get(self.id, meta.base, fits, || {
            let env = self.env.segment_env(self.id, interval, false)?;
            SegmentReader::open(env, meta, self.env.read_mode)
        })
    }
}

impl State {
    /// The segment that holds `offset`, or the next one, if any does.
    fn segment_of(&self, offset: Offset) -> Option<SegmentMeta> {
        let n = self
            .segments
            .partition_point(|segment| segment.end <= offset);
        self.segments.get(n).copied()
    }
}
