//! Lanes: one shard at one priority; a partition, and a ledger over it.
//!
//! What is read ahead of the cursor waits in memory, shared with the tail or
//! the map of a segment, so that a receive costs no fetch of its own.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::ledger::Ledger;
use super::message::{self, MessageId};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::ledger::Change;
use crate::ids::{Offset, PartitionId, Timestamp, to_u64};
use crate::partition::{Fetch, Fetched, Partition};
use crate::sync::{FairMutex, FairMutexGuard};

/// Most that is read ahead of the cursor at once.
const AHEAD_RECORDS: u32 = 512;
const AHEAD_BYTES: u32 = 1 << 20;

/// A message as it lies in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) offset: Offset,
    pub(crate) timestamp: Timestamp,
    pub(crate) transient: bool,
    pub(crate) key: Option<Bytes>,
    pub(crate) body: Bytes,
    pub(crate) headers: Vec<(String, Bytes)>,
}

impl Stored {
    pub(crate) fn header(&self, name: &str) -> Option<&Bytes> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value)
    }

    /// Key, body and headers.
    pub(crate) fn bytes(&self) -> u64 {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let key = self.key.as_ref().map_or(0, Bytes::len);
        to_u64(headers.sum::<usize>() + key + self.body.len())
    }

    /// When the delay that it was sent with is over, if it was sent with one.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.time(message::DUE)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        let value = self.header(name)?;
        message::number(value).map(Timestamp::from_millis)
    }

    /// Hash of the order key: what the ledger knows of it.
    pub(crate) fn key_hash(&self) -> Option<u64> {
        self.key.as_deref().map(hash)
    }

    /// When it expires by its own time.
    pub(crate) fn expires(&self) -> Option<Timestamp> {
        self.time(message::EXPIRES)
    }
}

/// FNV-1a with 64 bits: kept on disk for messages that wait for a retry, and so
/// part of the format. Equal hashes of different keys only wait for each other.
fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// One shard at one priority.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Of the ledger: the lane of its queue.
    pub(crate) id: PartitionId,
    /// What has the records: of the queue, or of the topic that it is a view of.
    pub(crate) partition: Arc<Partition>,
    state: FairMutex<LaneState>,
}

/// What changes of a lane.
#[derive(Debug)]
pub(crate) struct LaneState {
    pub(crate) ledger: Ledger,
    /// Read, and not yet met.
    ///
    /// Invariant: offsets rise, and all lie at or beyond the cursor.
    ahead: VecDeque<Stored>,
    /// True while the lane is in the list of those with leases.
    pub(super) listed: bool,
}

impl Lane {
    pub(super) fn new(id: PartitionId, partition: Arc<Partition>, ledger: Ledger) -> Self {
        Self {
            id,
            partition,
            state: FairMutex::new(LaneState {
                ledger,
                ahead: VecDeque::new(),
                listed: false,
            }),
        }
    }

    pub(super) fn lock(&self) -> FairMutexGuard<'_, LaneState> {
        self.state.lock()
    }

    pub(super) fn message(&self, offset: Offset) -> MessageId {
        MessageId {
            lane: self.id.partition,
            offset,
        }
    }

    /// The message at `offset`, if there is one.
    pub(super) fn read_one(&self, offset: Offset) -> Result<Option<Stored>> {
        let fetch = Fetch::default().max_records(1);
        let fetched = match self.partition.fetch(offset, &fetch) {
            Err(error) if error.kind() == ErrorKind::OutOfRange => return Ok(None),
            other => other?,
        };
        let first = self.decode(&fetched)?.into_iter().next();
        Ok(first.filter(|stored| stored.offset == offset))
    }

    /// Messages from `from` on, as many as one fetch brings.
    pub(super) fn read(&self, from: Offset) -> Result<(Vec<Stored>, Offset)> {
        self.read_some(from, AHEAD_RECORDS)
    }

    /// The same, at most `records`.
    pub(super) fn read_some(&self, from: Offset, records: u32) -> Result<(Vec<Stored>, Offset)> {
        let fetch = Fetch::default().max_records(records).max_bytes(AHEAD_BYTES);
        loop {
            // Retention of a topic may have gone past a view of it.
            let start = self.partition.start();
            match self.partition.fetch(from.max(start), &fetch) {
                // And may go on between the two calls.
                Err(error)
                    if error.kind() == ErrorKind::OutOfRange && start < self.partition.start() => {}
                fetched => {
                    let fetched = fetched?;
                    return Ok((self.decode(&fetched)?, fetched.next_offset()));
                }
            }
        }
    }

    fn decode(&self, fetched: &Fetched) -> Result<Vec<Stored>> {
        let wrong = |error: DecodeError| {
            let kind = match error {
                DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
                _ => ErrorKind::Corrupt,
            };
            let id = self.partition.id;
            Error::with_source(
                kind,
                format!("cannot read messages of partition {id}"),
                error,
            )
        };
        let mut out = Vec::new();
        for batch in fetched.batches() {
            let records = batch.records().map_err(wrong)?;
            let transient = batch.is_transient();
            for record in &records {
                let record = record.map_err(wrong)?;
                let headers = record.headers();
                out.push(Stored {
                    offset: record.offset(),
                    timestamp: record.timestamp(),
                    transient,
                    key: record.key().map(|key| records.share(key)),
                    body: records.share(record.value()),
                    headers: headers
                        .map(|(name, value)| (name.to_owned(), records.share(value)))
                        .collect(),
                });
            }
        }
        Ok(out)
    }
}

impl LaneState {
    /// The next message that was never looked at, if it is there.
    pub(super) fn next(&mut self, lane: &Lane) -> Result<Option<&Stored>> {
        let cursor = self.ledger.skip_done();
        while self
            .ahead
            .front()
            .is_some_and(|stored| stored.offset < cursor)
        {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() {
            self.read_ahead(lane, cursor)?;
        }
        Ok(self.ahead.front())
    }

    fn read_ahead(&mut self, lane: &Lane, cursor: Offset) -> Result<()> {
        let mut at = cursor;
        while at < lane.partition.end() {
            let (stored, next) = lane.read(at)?;
            if !stored.is_empty() {
                self.ahead = stored.into();
                break;
            }
            if next <= at {
                // Not to be seen yet.
                break;
            }
            // Records that are in no batch any more: transient ones of an
            // earlier life.
            self.ledger.done(at, next);
            at = next;
        }
        Ok(())
    }

    /// Takes the one that [`Self::next`] returned.
    pub(super) fn take_next(&mut self) -> Option<Stored> {
        self.ahead.pop_front()
    }

    pub(super) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.ledger.apply(change);
        }
    }

    /// Gives back memory that nothing needs.
    /// Called when a receive found nothing.
    pub(super) fn shrink(&mut self) {
        if self.ahead.is_empty() && self.ledger.in_flight() == 0 {
            self.ahead = VecDeque::new();
            self.ledger.shrink();
        }
    }
}
