//! Ledgers of queues: the changes that the log has of them, and the whole of
//! one that a snapshot has.
//!
//! A change is absolute: it says how things are, not by how much they differ,
//! so that replaying it twice is replaying it once. A saved ledger has what
//! outlives the process: what is done, what waits, and how often which failed.
//! Leases are in neither. docs/format.md section 7.4.

mod runs;

use std::fmt;

use bytes::BufMut;

use super::cursor::{Cursor, put_varint};
use super::topic::narrow;
use super::varint::{VARINT_LEN_MAX, zigzag};
use super::{DecodeError, LEDGER_CHANGES_MAX};
use crate::ids::{Offset, PartitionId, Timestamp, TopicId, to_u64};

const DONE: u8 = 1;
const DELAYED: u8 = 2;
const FAILED: u8 = 3;
const READY: u8 = 4;
const EXPIRES: u8 = 5;
const AGAIN: u8 = 6;

/// Most bytes of one change: of one that is delayed, with a key.
const CHANGE_LEN_MAX: usize = 2 + 2 * VARINT_LEN_MAX + 8;

/// One change of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The offsets from `from` on and before `to` are done.
    Done { from: Offset, to: Offset },
    /// Not to be delivered before `due`.
    Delayed {
        offset: Offset,
        due: Timestamp,
        /// Hash of the order key that it keeps busy meanwhile. Only a message
        /// that was delivered before has one.
        key: Option<u64>,
    },
    /// A delivery ended without an ack, and the message is ready again. If it
    /// has to wait, that is a change of its own, after this one.
    Failed {
        offset: Offset,
        /// How often so far, at least once.
        failures: u32,
        /// When it failed for the first time.
        first: Timestamp,
    },
    /// It was delayed, and is ready before its time.
    Ready { offset: Offset },
    /// It is of no use from `due` on: what the timers have to know.
    Expires { offset: Offset, due: Timestamp },
    /// It was done, and is to be delivered once more: of a subscription, whose
    /// records stay.
    Again { offset: Offset },
}

/// Appends changes, with their count before them.
///
/// # Panics
///
/// Without any change, with more than [`LEDGER_CHANGES_MAX`], or with one that
/// no decoder takes: the ledger makes none such.
pub(crate) fn encode(changes: &[Change], out: &mut impl BufMut) {
    assert!(
        (1..=LEDGER_CHANGES_MAX).contains(&changes.len()),
        "no decoder takes so many changes"
    );
    put_varint(out, to_u64(changes.len()));
    for change in changes {
        change.encode(out);
    }
}

/// Upper bound of what [`encode`] appends.
pub(crate) fn encoded_len_max(changes: &[Change]) -> usize {
    VARINT_LEN_MAX + changes.len() * CHANGE_LEN_MAX
}

/// Decodes what [`encode`] made.
pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Vec<Change>, DecodeError> {
    let count = cursor.varint("count of ledger changes")?;
    if !(1..=to_u64(LEDGER_CHANGES_MAX)).contains(&count) {
        return Err(DecodeError::Value {
            what: "count of ledger changes",
            found: count,
            expected: "between 1 and 1,048,576",
        });
    }
    // Grows with what is there: a count is no request for memory.
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(Change::split_first(cursor)?);
    }
    Ok(changes)
}

impl Change {
    fn encode(&self, out: &mut impl BufMut) {
        match *self {
            Self::Done { from, to } => {
                assert!(from < to, "an empty run is no change");
                out.put_u8(DONE);
                put_varint(out, from.get());
                put_varint(out, to.since(from));
            }
            Self::Delayed { offset, due, key } => {
                out.put_u8(DELAYED);
                put_offset(out, offset);
                put_varint(out, zigzag(due.millis()));
                put_key(out, key);
            }
            Self::Failed {
                offset,
                failures,
                first,
            } => {
                assert!(failures > 0, "the first failure is number one");
                out.put_u8(FAILED);
                put_offset(out, offset);
                put_varint(out, u64::from(failures));
                put_varint(out, zigzag(first.millis()));
            }
            Self::Ready { offset } => {
                out.put_u8(READY);
                put_offset(out, offset);
            }
            Self::Expires { offset, due } => {
                out.put_u8(EXPIRES);
                put_offset(out, offset);
                put_varint(out, zigzag(due.millis()));
            }
            Self::Again { offset } => {
                out.put_u8(AGAIN);
                put_offset(out, offset);
            }
        }
    }

    fn split_first(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(match cursor.u8("kind of ledger change")? {
            DONE => {
                let from = Offset::new(cursor.varint("first offset done")?);
                let count = cursor.varint("count of offsets done")?;
                let to = from.checked_add(count).filter(|to| *to > from);
                let to = to.ok_or(DecodeError::Value {
                    what: "count of offsets done",
                    found: count,
                    expected: "at least 1, and no more than there are offsets",
                })?;
                Self::Done { from, to }
            }
            DELAYED => Self::Delayed {
                offset: split_offset(cursor)?,
                due: Timestamp::from_millis(cursor.signed("due time")?),
                key: split_key(cursor)?,
            },
            FAILED => Self::Failed {
                offset: split_offset(cursor)?,
                failures: split_failures(cursor)?,
                first: Timestamp::from_millis(cursor.signed("time of the first failure")?),
            },
            READY => Self::Ready {
                offset: split_offset(cursor)?,
            },
            EXPIRES => Self::Expires {
                offset: split_offset(cursor)?,
                due: Timestamp::from_millis(cursor.signed("time of expiry")?),
            },
            AGAIN => Self::Again {
                offset: split_offset(cursor)?,
            },
            other => {
                return Err(DecodeError::Unsupported {
                    what: "kind of ledger change",
                    found: u64::from(other),
                    supported: "1 to 6",
                });
            }
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { from, to } if to.since(*from) == 1 => write!(f, "{from} done"),
            Self::Done { from, to } => write!(f, "{from} to {to} done"),
            Self::Delayed { offset, due, .. } => {
                write!(f, "{offset} delayed until {}", due.millis())
            }
            Self::Failed {
                offset, failures, ..
            } => write!(f, "{offset} failed {failures} times"),
            Self::Ready { offset } => write!(f, "{offset} ready"),
            Self::Again { offset } => write!(f, "{offset} again"),
            Self::Expires { offset, due } => write!(f, "{offset} expires at {}", due.millis()),
        }
    }
}

/// A message that waits for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavedDelay {
    pub(crate) offset: Offset,
    pub(crate) due: Timestamp,
    /// As in [`Change::Delayed`].
    pub(crate) key: Option<u64>,
}

/// How often a message failed, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavedFailures {
    pub(crate) offset: Offset,
    /// At least one.
    pub(crate) failures: u32,
    pub(crate) first: Timestamp,
}

/// What a snapshot has of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LedgerState {
    pub(crate) id: PartitionId,
    /// All below is done, and this one is not.
    pub(crate) floor: Offset,
    /// From, and to exclusive.
    ///
    /// Invariant: above the floor, rising; no two of them touch.
    pub(crate) done: Vec<(Offset, Offset)>,
    /// Sent with a delay that is not over, and never failed: a timer knows until
    /// when. As `done`.
    ///
    /// Invariant: from the floor on, rising; no two of them touch, and none is
    /// done.
    pub(crate) sleeping: Vec<(Offset, Offset)>,
    /// To be tried again at a time of their own.
    ///
    /// Invariant, here and in `failures`: offsets rise, from the floor on, and
    /// none is done or sleeps.
    pub(crate) delayed: Vec<SavedDelay>,
    pub(crate) failures: Vec<SavedFailures>,
}

impl LedgerState {
    /// # Panics
    ///
    /// If an invariant of the fields is broken.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        self.check().expect("a ledger keeps its invariants");
        put_varint(out, u64::from(self.id.topic.get()));
        put_varint(out, u64::from(self.id.partition));
        put_offset(out, self.floor);
        runs::encode(self.floor, &self.done, out);
        runs::encode(self.floor, &self.sleeping, out);
        put_varint(out, to_u64(self.delayed.len()));
        let (mut at, mut due) = (self.floor, 0);
        for delay in &self.delayed {
            put_varint(out, delay.offset.since(at));
            put_varint(out, zigzag(delay.due.millis().wrapping_sub(due)));
            put_key(out, delay.key);
            (at, due) = (delay.offset.saturating_add(1), delay.due.millis());
        }
        put_varint(out, to_u64(self.failures.len()));
        let (mut at, mut first) = (self.floor, 0);
        for failed in &self.failures {
            put_varint(out, failed.offset.since(at));
            put_varint(out, u64::from(failed.failures));
            put_varint(out, zigzag(failed.first.millis().wrapping_sub(first)));
            (at, first) = (failed.offset.saturating_add(1), failed.first.millis());
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let id = PartitionId {
            topic: TopicId::new(narrow(cursor.varint("topic id")?, "topic id")?),
            partition: narrow(cursor.varint("partition")?, "partition")?,
        };
        let floor = split_offset(cursor)?;
        let state = Self {
            id,
            floor,
            done: runs::decode(floor, cursor)?,
            sleeping: runs::decode(floor, cursor)?,
            delayed: split_delayed(floor, cursor)?,
            failures: split_failed(floor, cursor)?,
        };
        state.check().map(|()| state)
    }

    /// What the fields promise of each other.
    fn check(&self) -> Result<(), DecodeError> {
        let next = self.floor.saturating_add(1);
        check_rise("first offset of a run that is done", &self.done, next)?;
        let what = "first offset of a run that sleeps";
        check_rise(what, &self.sleeping, self.floor)?;
        check_apart(what, self.sleeping.iter().copied(), &self.done)?;
        let delayed = self.delayed.iter().map(|delay| delay.offset);
        self.check_open("offset that is delayed", delayed)?;
        let failures = self.failures.iter().map(|failed| failed.offset);
        self.check_open("offset that failed", failures)
    }

    /// Offsets that rise, from the floor on, and are neither done nor sleep.
    fn check_open(
        &self,
        what: &'static str,
        offsets: impl Iterator<Item = Offset> + Clone,
    ) -> Result<(), DecodeError> {
        let mut least = self.floor;
        for offset in offsets.clone() {
            if offset < least {
                return Err(unordered(what, offset));
            }
            least = offset.saturating_add(1);
        }
        let runs = offsets.map(|offset| (offset, offset.saturating_add(1)));
        check_apart(what, runs.clone(), &self.done)?;
        check_apart(what, runs, &self.sleeping)
    }
}

/// Runs that rise from `least` on and do not touch.
fn check_rise(
    what: &'static str,
    runs: &[(Offset, Offset)],
    mut least: Offset,
) -> Result<(), DecodeError> {
    for &(from, to) in runs {
        if from < least || to <= from {
            return Err(unordered(what, from));
        }
        least = to.saturating_add(1);
    }
    Ok(())
}

/// Runs that have no offset in common with `others`; both rise.
fn check_apart(
    what: &'static str,
    runs: impl Iterator<Item = (Offset, Offset)>,
    others: &[(Offset, Offset)],
) -> Result<(), DecodeError> {
    let mut others = others.iter().peekable();
    for (from, to) in runs {
        while others.next_if(|other| other.1 <= from).is_some() {}
        if others.peek().is_some_and(|other| other.0 < to) {
            return Err(unordered(what, from));
        }
    }
    Ok(())
}

fn unordered(what: &'static str, found: Offset) -> DecodeError {
    DecodeError::Value {
        what,
        found: found.get(),
        expected: "offsets from the floor on, rising, and in one list only",
    }
}

fn split_delayed(floor: Offset, cursor: &mut Cursor<'_>) -> Result<Vec<SavedDelay>, DecodeError> {
    let count = cursor.varint("count of delayed messages")?;
    let (mut at, mut due, mut delayed) = (floor, 0_i64, Vec::new());
    for _ in 0..count {
        let offset = split_distance(at, cursor)?;
        due = due.wrapping_add(cursor.signed("due time")?);
        delayed.push(SavedDelay {
            offset,
            due: Timestamp::from_millis(due),
            key: split_key(cursor)?,
        });
        at = offset.saturating_add(1);
    }
    Ok(delayed)
}

fn split_failed(floor: Offset, cursor: &mut Cursor<'_>) -> Result<Vec<SavedFailures>, DecodeError> {
    let count = cursor.varint("count of messages that failed")?;
    let (mut at, mut first, mut failed) = (floor, 0_i64, Vec::new());
    for _ in 0..count {
        let offset = split_distance(at, cursor)?;
        let failures = split_failures(cursor)?;
        first = first.wrapping_add(cursor.signed("time of the first failure")?);
        failed.push(SavedFailures {
            offset,
            failures,
            first: Timestamp::from_millis(first),
        });
        at = offset.saturating_add(1);
    }
    Ok(failed)
}

/// An offset so many after `at`.
fn split_distance(at: Offset, cursor: &mut Cursor<'_>) -> Result<Offset, DecodeError> {
    let distance = cursor.varint("distance to the next offset")?;
    at.checked_add(distance)
        .filter(|offset| *offset < Offset::MAX)
        .ok_or(DecodeError::Value {
            what: "distance to the next offset",
            found: distance,
            expected: "an offset below 2^64 - 1",
        })
}

/// No record has the largest number: the offset after it would be none.
fn put_offset(out: &mut impl BufMut, offset: Offset) {
    assert!(offset < Offset::MAX, "no record has this offset");
    put_varint(out, offset.get());
}

fn split_offset(cursor: &mut Cursor<'_>) -> Result<Offset, DecodeError> {
    split_distance(Offset::ZERO, cursor)
}

fn put_key(out: &mut impl BufMut, key: Option<u64>) {
    out.put_u8(u8::from(key.is_some()));
    if let Some(key) = key {
        out.put_u64_le(key);
    }
}

fn split_key(cursor: &mut Cursor<'_>) -> Result<Option<u64>, DecodeError> {
    match cursor.u8("order key flag")? {
        0 => Ok(None),
        1 => cursor.u64("order key").map(Some),
        other => Err(DecodeError::Value {
            what: "order key flag",
            found: u64::from(other),
            expected: "0 or 1",
        }),
    }
}

fn split_failures(cursor: &mut Cursor<'_>) -> Result<u32, DecodeError> {
    let failures = narrow(cursor.varint("failures")?, "failures")?;
    if failures > 0 {
        return Ok(failures);
    }
    Err(DecodeError::Value {
        what: "failures",
        found: 0,
        expected: "at least 1",
    })
}

#[cfg(test)]
mod tests;
