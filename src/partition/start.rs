//! Where reading starts.

use std::sync::Arc;

use super::Partition;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Batch;
use crate::format::batch::BatchHeader;
use crate::ids::{Offset, Timestamp};

/// Where reading starts.
///
/// # Examples
///
/// ```
/// use duolog::ids::{Offset, Timestamp};
/// use duolog::{Record, Start, TopicOptions};
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// for n in 0..3 {
///     topic.append(&Record::new("x").timestamp(Timestamp::from_millis(n * 1000)))?;
/// }
/// let at = |start| topic.reader(0, start).map(|reader| reader.position().get());
/// assert_eq!(at(Start::Earliest)?, 0);
/// assert_eq!(at(Start::After(Offset::new(0)))?, 1);
/// assert_eq!(at(Start::Time(Timestamp::from_millis(1001)))?, 2);
/// assert_eq!(at(Start::Latest)?, 3);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Start {
    /// At the first record that is kept (Kinesis: `TRIM_HORIZON`).
    Earliest,
    /// After the last record that is visible now.
    Latest,
    /// At this record (Kinesis: `AT_SEQUENCE_NUMBER`).
    Offset(Offset),
    /// After this record (Kinesis: `AFTER_SEQUENCE_NUMBER`).
    After(Offset),
    /// At the first record of this time or later (Kinesis: `AT_TIMESTAMP`);
    /// [`Start::Latest`] if there is none. Times of records need not rise: later
    /// records may be of an earlier time.
    Time(Timestamp),
}

impl Partition {
    /// The offset that `start` means now.
    ///
    /// # Errors
    ///
    /// `OutOfRange` with the range if an offset is not in it; what reading
    /// says for a time.
    pub(crate) fn resolve(self: &Arc<Self>, start: Start) -> Result<Offset> {
        let (first, end, visible) = {
            let state = self.open_state()?;
            (state.start, state.end, state.visible_end(&self.env))
        };
        let offset = match start {
            Start::Earliest => first,
            Start::Latest => visible.max(first),
            Start::Offset(offset) => offset,
            Start::After(offset) => offset.saturating_add(1),
            Start::Time(time) => self.find_time(time)?.unwrap_or(visible).max(first),
        };
        if (first..=end).contains(&offset) {
            return Ok(offset);
        }
        Err(Error::new(
            ErrorKind::OutOfRange,
            format!(
                "offset {offset} is out of range: partition {} keeps {first} to {end}; start at \
                 `Earliest`, `Latest` or an offset between",
                self.id
            ),
        ))
    }

    /// The first visible record of `time` or later.
    fn find_time(self: &Arc<Self>, time: Timestamp) -> Result<Option<Offset>> {
        let candidates: Vec<_> = {
            let state = self.state.lock();
            let recent = |meta: &&_| -> bool {
                let meta: &crate::format::snapshot::SegmentMeta = meta;
                meta.max_timestamp >= time && meta.end > state.start
            };
            state.segments.iter().filter(recent).copied().collect()
        };
        for meta in candidates {
            let reader = self.open_segment(&meta)?;
            let index = self.state.lock().active_index.clone();
            let found = match index.filter(|_| meta.sealed.is_none()) {
                Some(index) => {
                    reader.find_time_at(index.floor_time(time), time, meta.bytes, meta.end)?
                }
                None => reader.find_time(time, meta.bytes, meta.end)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        self.find_time_in_tail(time)
    }

    fn find_time_in_tail(self: &Arc<Self>, time: Timestamp) -> Result<Option<Offset>> {
        let mut state = self.open_state()?;
        self.seal_for_reader(&mut state);
        let visible = state.visible_end(&self.env);
        let recent = |batch: &&super::tail::TailBatch| -> bool {
            batch.max_timestamp >= time && batch.end <= visible
        };
        for batch in state.tail.iter().filter(recent) {
            let header = BatchHeader::decode(&batch.bytes).expect("built or checked");
            let records = Batch::new(batch.bytes.clone(), header).records();
            let records = records.map_err(|error| {
                Error::with_source(ErrorKind::Unsupported, "cannot search for a time", error)
            })?;
            for record in &records {
                let record = record.map_err(|error| Error::corrupt(error.to_string()))?;
                if record.timestamp() >= time {
                    return Ok(Some(record.offset()));
                }
            }
        }
        Ok(None)
    }
}
