//! Trimming: the first offset that is kept moves on, and whole segments go.

use std::sync::Arc;

use super::Partition;
use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::{Garbage, SegmentMeta};
use crate::ids::Offset;
use crate::segment;

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
