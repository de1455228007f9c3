//! Recovery: batches from the log, back into the tail.

use std::sync::Arc;

use bytes::Bytes;

use super::Partition;
use super::tail::TailBatch;
use crate::error::{Error, Result};
use crate::format::batch;
use crate::ids::{Lsn, Offset};
use crate::options::Durability;

impl Partition {
    /// Runs of offsets that no record has: those were lost with their process.
    /// As far as it is known without reading segments.
    pub(crate) fn absent(&self) -> Vec<(Offset, Offset)> {
        let state = self.state.lock();
        let mut absent = Vec::new();
        let mut at = state.flushed;
        for batch in state.tail.iter() {
            absent.push((at, batch.base));
            at = batch.end;
        }
        absent.push((at, state.end));
        absent.retain(|(from, to)| from < to);
        absent
    }

    /// Takes a batch that the log holds; nothing if a segment has it already.
    /// How many records went to the tail.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the batch is not one of this partition, or does not follow
    /// what is there.
    pub(crate) fn replay(self: &Arc<Self>, bytes: &[u8], end: Lsn) -> Result<u64> {
        let header = batch::split_first(bytes, self.seed).map_err(|error| {
            Error::corrupt(format!(
                "batch of partition {} in the log: {error}",
                self.id
            ))
        })?;
        let mut state = self.state.lock();
        if state.deleted || header.end_offset() <= state.flushed {
            return Ok(0);
        }
        if header.base_offset < state.flushed
            || state.tail.end().is_some_and(|end| header.base_offset < end)
        {
            return Err(Error::corrupt(format!(
                "batch at offset {} of partition {} in the log overlaps what is there up to {}",
                header.base_offset, self.id, state.end
            )));
        }
        let batch = TailBatch::new(
            Bytes::copy_from_slice(bytes),
            Durability::Durable,
            Some(end),
        );
        state.end = state.end.max(batch.end);
        // What is in the log is not transient, and all before was.
        state.transient_from = state.end;
        let cost = state.tail.push(batch);
        self.env.memory.charge(cost);
        self.list_dirty(&mut state);
        Ok(u64::from(header.count))
    }
}
