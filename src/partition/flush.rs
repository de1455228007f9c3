//! Flushing: from the tail to segments, in the background.
//!
//! Segments are written and synced before anything says that they hold the
//! batches: first the state in memory, from which readers take it, then the
//! snapshot. A power cut before the snapshot leaves bytes that nothing refers
//! to; the log still has the batches, and the next flush writes them again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::tail::TailBatch;
use super::{Files, Partition, State};
use crate::error::{Error, Result};
use crate::format::snapshot::SegmentMeta;
use crate::ids::{Lsn, Offset, Timestamp, to_u64};
use crate::options::{Durability, TopicOptions};
use crate::segment::{self, SegmentEnv, SegmentWriter};
use crate::signal::lock;

/// What a flush takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushUpTo {
    /// What lies below an LSN, and the transient records between.
    Lsn(Lsn),
    /// The same, and all transient records: there is no memory for them.
    Spill(Lsn),
}

/// An active segment of which nothing is wanted any more is sealed from this size
/// on: below, the next records go behind it.
const SEAL_BYTES: u64 = 64 << 10;

/// Bytes that are written at once.
const WRITE_BYTES: u64 = 256 << 10;

impl Partition {
    /// Writes the tail to segments, as far as `up_to` says, and forgets it.
    ///
    /// Invariant of the caller: all below the LSN is durable.
    ///
    /// # Errors
    ///
    /// The operating system's; then the tail stays, and readers see no
    /// difference.
    pub(crate) fn flush(self: &Arc<Self>, up_to: FlushUpTo) -> Result<()> {
        let mut files = lock(&self.files);
        let (batches, skip_to) = {
            let mut state = self.state.lock();
            state.listed_dirty = false;
            if state.deleted {
                return Ok(());
            }
            // What nobody can read any more is not worth writing.
            let start = state.start;
            self.env.memory.release(state.tail.drop_below(start));
            (state.flushable(up_to), start)
        };
        if batches.is_empty() {
            self.after_flush(&mut files, None, skip_to);
            return Ok(());
        }
        let written = self.write(&mut files, &batches);
        if written.is_err() {
            // Whatever the writer did is unknown; the next flush starts from
            // what the state says, in a file opened anew.
            files.writer = None;
            let mut state = self.state.lock();
            state.active_index = None;
            self.list_dirty(&mut state);
        }
        let segments = written?;
        let end = batches.last().map(|batch| batch.end);
        self.after_flush(&mut files, end.map(|end| (end, segments)), skip_to);
        Ok(())
    }

    /// Publishes what was written, and lists the partition again if more is left.
    fn after_flush(
        self: &Arc<Self>,
        files: &mut Files,
        written: Option<(Offset, Vec<SegmentMeta>)>,
        skipped_to: Offset,
    ) {
        let mut state = self.state.lock();
        if let Some((end, segments)) = written {
            state.replace_segments(segments);
            state.flushed = state.flushed.max(end);
            self.env.memory.release(state.tail.drop_below(end));
            state.active_index = files.writer.as_ref().map(SegmentWriter::index);
        }
        // What was trimmed away unwritten is done with, too. A batch that
        // reaches across is not.
        let left = state
            .tail
            .iter()
            .next()
            .map_or(state.end, |batch| batch.base);
        let left = if state.builder.is_empty() {
            left
        } else {
            left.min(state.builder.base_offset())
        };
        state.flushed = state.flushed.max(skipped_to.min(left));
        if state.builder.is_empty() {
            state.builder.release_chunk();
        }
        if !state.tail.is_empty() {
            self.list_dirty(&mut state);
        }
    }

    /// Writes batches to segments and syncs them; returns what is known of the
    /// segments that were touched, oldest first.
    fn write(&self, files: &mut Files, batches: &[TailBatch]) -> Result<Vec<SegmentMeta>> {
        let options = self.options();
        let durable = self.env.durable();
        let now = self.env.clock.now();
        let mut touched = Vec::new();
        let mut created = false;
        let mut pending: Vec<Bytes> = Vec::new();
        let mut pending_bytes = 0;
        self.open_writer(files, &options)?;
        for batch in batches {
            let len = to_u64(batch.bytes.len());
            let limit = options.segment_bytes_max;
            let full = files.writer.as_ref().is_some_and(|writer| {
                // What is about to be written counts, in an empty segment too.
                let bytes = writer.meta().bytes + pending_bytes + len;
                (pending_bytes > 0 && bytes > limit)
                    || writer.is_full(limit.saturating_sub(pending_bytes), len, batch.end)
                    || is_old(&writer.meta(), now, &options)
            });
            if full || pending_bytes >= WRITE_BYTES {
                self.write_pending(files, &mut pending, &mut pending_bytes)?;
            }
            if full && let Some(mut writer) = files.writer.take() {
                writer.seal(now, durable)?;
                self.count_sync();
                touched.push(writer.meta());
            }
            if files.writer.is_none() {
                let env = self.segment_env(files, &options)?;
                files.writer = Some(SegmentWriter::create(env, batch.base, now)?);
                created = true;
            }
            pending_bytes += len;
            pending.push(batch.bytes.clone());
        }
        self.write_pending(files, &mut pending, &mut pending_bytes)?;
        if let Some(writer) = &mut files.writer {
            writer.sync()?;
            self.count_sync();
            touched.push(writer.meta());
        }
        if created {
            let env = self.segment_env(files, &options)?;
            let dir = env.dir;
            dir.sync()
                .map_err(|error| Error::io(format!("sync topics/{}", self.id), error))?;
        }
        Ok(touched)
    }

    fn write_pending(
        &self,
        files: &mut Files,
        pending: &mut Vec<Bytes>,
        bytes: &mut u64,
    ) -> Result<()> {
        if let Some(writer) = files.writer.as_mut().filter(|_| !pending.is_empty()) {
            writer.append(pending)?;
            self.env
                .counters
                .segment_bytes
                .fetch_add(*bytes, Ordering::Relaxed);
        }
        pending.clear();
        *bytes = 0;
        Ok(())
    }

    fn count_sync(&self) {
        self.env
            .counters
            .segment_syncs
            .fetch_add(1, Ordering::Relaxed);
    }

    fn segment_env(&self, files: &mut Files, options: &TopicOptions) -> Result<SegmentEnv> {
        if let Some(env) = &files.segment_env {
            return Ok(env.clone());
        }
        let interval = options.index_interval_bytes;
        let env = self.env.segment_env(self.id, interval, true)?;
        files.segment_env = Some(env.clone());
        Ok(env)
    }

    /// Opens the active segment, if there is one and it is not open yet.
    fn open_writer(&self, files: &mut Files, options: &TopicOptions) -> Result<()> {
        if files.writer.is_some() {
            return Ok(());
        }
        let active = self.state.lock().segments.last().copied();
        if let Some(meta) = active.filter(|meta| meta.sealed.is_none()) {
            let env = self.segment_env(files, options)?;
            files.writer = Some(SegmentWriter::reopen(env, &meta)?);
        }
        Ok(())
    }

    /// Loads the index of the active segment, which its writer keeps.
    pub(super) fn load_active_index(&self) -> Result<()> {
        if self.state.lock().active_index.is_some() {
            return Ok(());
        }
        if !self.env.writable {
            return self.read_active_index();
        }
        let mut files = lock(&self.files);
        self.open_writer(&mut files, &self.options())?;
        let index = files.writer.as_ref().map(SegmentWriter::index);
        self.state.lock().active_index = index;
        Ok(())
    }

    /// The same for a store that is only read. Without it, every fetch would
    /// search from the start of the segment.
    fn read_active_index(&self) -> Result<()> {
        let active = self.state.lock().segments.last().copied();
        if let Some(meta) = active.filter(|meta| meta.sealed.is_none()) {
            let interval = self.options().index_interval_bytes;
            let env = self.env.segment_env(self.id, interval, false)?;
            // Damage is for those to hear who read there: they go without.
            self.state.lock().active_index = segment::read_active_index(&env, &meta).ok();
        }
        Ok(())
    }

    /// Seals the active segment if it is older than the topic wants, so that
    /// retention can get at it. True if it did.
    pub(crate) fn seal_if_old(self: &Arc<Self>, now: Timestamp) -> Result<bool> {
        let options = self.options();
        self.seal_if(now, |meta| is_old(meta, now, &options))
    }

    /// Seals the active segment if all of it lies below `floor` and it is worth
    /// it, so that a trim can remove it.
    pub(crate) fn seal_if_done(self: &Arc<Self>, floor: Offset) -> Result<bool> {
        let done = |meta: &SegmentMeta| meta.end <= floor && meta.bytes >= SEAL_BYTES;
        self.seal_if(self.env.clock.now(), done)
    }

    fn seal_if(&self, now: Timestamp, due: impl Fn(&SegmentMeta) -> bool) -> Result<bool> {
        let mut files = lock(&self.files);
        let active = self.state.lock().segments.last().copied();
        if !active.is_some_and(|meta| meta.sealed.is_none() && due(&meta)) {
            return Ok(false);
        }
        self.open_writer(&mut files, &self.options())?;
        if let Some(mut writer) = files.writer.take() {
            writer.seal(now, self.env.durable())?;
            self.count_sync();
            let mut state = self.state.lock();
            state.replace_segments(vec![writer.meta()]);
            state.active_index = None;
        }
        Ok(true)
    }

    /// Closes the writer of an idle partition, so that descriptors have a bound.
    pub(crate) fn close_writer(&self) {
        // The directory too: it is held open for the next segment.
        *lock(&self.files) = Files::default();
        self.state.lock().active_index = None;
    }
}

/// True if a segment with records is older than its topic wants.
fn is_old(meta: &SegmentMeta, now: Timestamp, options: &TopicOptions) -> bool {
    let max = i64::try_from(options.segment_age_max.as_millis()).unwrap_or(i64::MAX);
    meta.records > 0 && now > meta.created.saturating_add(max)
}

impl State {
    /// The batches that a flush takes: a prefix of the tail.
    fn flushable(&self, up_to: FlushUpTo) -> Vec<TailBatch> {
        let (lsn, spill) = match up_to {
            FlushUpTo::Lsn(lsn) => (lsn, false),
            FlushUpTo::Spill(lsn) => (lsn, true),
        };
        let blocks = |batch: &TailBatch| batch.lsn.is_some_and(|end| end > lsn);
        let may_go = self.tail.iter().take_while(|batch| !blocks(batch));
        let mut batches: Vec<_> = may_go.cloned().collect();
        if !spill {
            // Transient records at the end stay in memory.
            let keeps = |batch: &TailBatch| batch.durability == Durability::Transient;
            while batches.last().is_some_and(keeps) {
                batches.pop();
            }
        }
        batches
    }

    /// Takes over what is known of segments that were written.
    fn replace_segments(&mut self, segments: Vec<SegmentMeta>) {
        for segment in segments {
            let known = self
                .segments
                .iter_mut()
                .find(|known| known.base == segment.base);
            match known {
                Some(known) => *known = segment,
                None => self.segments.push(segment),
            }
        }
    }
}
