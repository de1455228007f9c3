//! Trimming: the first offset that is kept moves on, and whole segments go.

use std::sync::Arc;

use super::Partition;
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{Garbage, SegmentMeta};
use crate::ids::Offset;
use crate::segment;

/// The first offset of something, and the one after its last.
pub(crate) type Piece = (Offset, Offset);

impl Partition {
    /// What retention needs to know: the first kept offset, the segments, and
    /// the end of the partition.
    pub(crate) fn segments(&self) -> (Offset, Vec<SegmentMeta>, Offset, u64) {
        let state = self.state.lock();
        (
            state.start,
            state.segments.clone(),
            state.end,
            state.tail.bytes(),
        )
    }

    /// Checks that `before` can become the first kept offset.
    ///
    /// # Errors
    ///
    /// `OutOfRange` if it is beyond what is durable.
    pub(crate) fn check_trim(&self, before: Offset) -> Result<()> {
        let state = self.open_state()?;
        let durable = state.durable_offset(self.env.durable());
        if before <= durable {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::OutOfRange,
            format!(
                "cannot trim partition {} before {before}: it is durable up to {durable}; trim \
                 there or before",
                self.id
            ),
        ))
    }

    /// Moves the first kept offset to `before`, after the log says so, and
    /// drops the segments that lie wholly below. Returns the new first offset
    /// and the files that are now dead.
    pub(crate) fn apply_trim(self: &Arc<Self>, before: Offset) -> (Offset, Vec<Garbage>) {
        self.drop_segments(before, |meta| meta.sealed.is_some())
    }

    /// The same for a trim that the log has. A segment that the snapshot knows
    /// as active may have been sealed after it, and removed by this very trim:
    /// it goes, too, and what the log has of later records starts a new one.
    pub(crate) fn replay_trim(self: &Arc<Self>, before: Offset) -> (Offset, Vec<Garbage>) {
        self.drop_segments(before, |_| true)
    }

    fn drop_segments(
        self: &Arc<Self>,
        before: Offset,
        may_go: impl Fn(&SegmentMeta) -> bool,
    ) -> (Offset, Vec<Garbage>) {
        let mut state = self.state.lock();
        // A replayed trim may speak of records that were lost since: they were
        // never durable.
        state.start = state.start.max(before);
        state.end = state.end.max(state.start);
        let start = state.start;
        let is_dead = |meta: &SegmentMeta| may_go(meta) && meta.end <= start;
        let (dead, kept) = state.segments.iter().partition(|meta| is_dead(meta));
        let dead: Vec<SegmentMeta> = dead;
        state.segments = kept;
        self.env.memory.release(state.tail.drop_below(start));
        if state.tail.is_empty() && state.builder.is_empty() {
            let end = state.end;
            state.flushed = state.flushed.max(start.min(end));
        }
        drop(state);
        for meta in &dead {
            self.env.readers.forget(self.id, meta.base);
        }
        let garbage = dead.iter().map(|meta| Garbage::Segment(self.id, meta.base));
        (start, garbage.collect())
    }

    /// What could be dropped on its own, above the start: sealed segments, and
    /// the batches of the tail. From each its first offset, and the one after its
    /// last.
    pub(crate) fn pieces(&self) -> (Vec<Piece>, Vec<Piece>) {
        let state = self.state.lock();
        let sealed = state.segments.iter().filter(|meta| meta.sealed.is_some());
        let segments = sealed.map(|meta| (meta.base, meta.end)).collect();
        let batches = state.tail.iter().map(|batch| (batch.base, batch.end));
        (segments, batches.collect())
    }

    /// Drops the segments that lie in one of `ranges`, after the log says so.
    /// Returns the files that are now dead.
    pub(crate) fn apply_drop(self: &Arc<Self>, ranges: &[(Offset, Offset)]) -> Vec<Garbage> {
        self.drop_ranges(ranges, |meta| meta.sealed.is_some())
    }

    /// The same for a drop that the log has: as with a trim, the snapshot may know
    /// the segment as active.
    pub(crate) fn replay_drop(self: &Arc<Self>, range: (Offset, Offset)) -> Vec<Garbage> {
        self.drop_ranges(&[range], |_| true)
    }

    fn drop_ranges(
        self: &Arc<Self>,
        ranges: &[(Offset, Offset)],
        may_go: impl Fn(&SegmentMeta) -> bool,
    ) -> Vec<Garbage> {
        let mut state = self.state.lock();
        let is_dead = |meta: &SegmentMeta| {
            let mut ranges = ranges.iter();
            may_go(meta) && ranges.any(|(base, end)| *base <= meta.base && meta.end <= *end)
        };
        let (dead, kept): (Vec<SegmentMeta>, Vec<SegmentMeta>) =
            state.segments.iter().partition(|meta| is_dead(meta));
        state.segments = kept;
        drop(state);
        for meta in &dead {
            self.env.readers.forget(self.id, meta.base);
        }
        let garbage = dead.iter().map(|meta| Garbage::Segment(self.id, meta.base));
        garbage.collect()
    }

    /// Forgets the batches of the tail that lie in one of `ranges`, which nobody
    /// is going to read: they are not worth writing to a segment.
    pub(crate) fn drop_tail(&self, ranges: &[(Offset, Offset)]) {
        let mut state = self.state.lock();
        let freed = state.tail.drop_in(ranges);
        drop(state);
        self.env.memory.release(freed);
    }

    /// Removes the files of a dead segment; what is gone already is fine.
    ///
    /// # Errors
    ///
    /// The operating system's; to be tried again later.
    pub(crate) fn remove_segment(&self, base: Offset) -> Result<()> {
        let interval = self.options().index_interval_bytes;
        let env = match self.env.segment_env(self.id, interval, false) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        segment::remove(&env, base)?;
        env.dir
            .sync()
            .map_err(|error| Error::io(format!("sync topics/{}", self.id), error))
    }
}
