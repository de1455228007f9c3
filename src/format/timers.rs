//! Runs of timers: what is due when, sorted, in blocks of one size.
//!
//! ```text
//!  +--------+---------+---------+-----+---------+
//!  | header | block 1 | block 2 | ... | block n |    4 KiB each
//!  +--------+---------+---------+-----+---------+
//! ```
//!
//! A timer is a few varints, relative to the one before it in its block, so
//! that a block is read without its neighbours. Each block says how many timers
//! lie before it: where the n-th one is, is found by bisection. The file has
//! exactly the blocks that its header promises, so that one cut short shows.
//! docs/format.md section 16.

use bytes::{BufMut, BytesMut};

use super::DecodeError;
use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32, put_varint};
use super::topic::narrow;
use super::varint::{unzigzag, zigzag};
use crate::ids::{Offset, PartitionId, StoreId, Timestamp, TopicId, to_u64, to_usize};

/// Bytes of a block, the header included, which is the first.
pub(crate) const TIMER_BLOCK_LEN: usize = 4096;

/// Bytes of a block before its timers.
pub(crate) const TIMER_BLOCK_HEADER_LEN: usize = 16;

/// Fewest bytes of a timer: four varints.
pub(crate) const TIMER_LEN_MIN: usize = 4;

/// Most timers that fit into a block.
pub(crate) const BLOCK_TIMERS_MAX: usize =
    (TIMER_BLOCK_LEN - TIMER_BLOCK_HEADER_LEN) / TIMER_LEN_MIN;

/// Most blocks of a run, after the header.
pub(crate) const RUN_BLOCKS_MAX: u64 = (1 << 32) - 1;

const MAGIC: u32 = u32::from_le_bytes(*b"dltm");

/// What makes the seed of a run differ from others of the store.
const SEED_TAG: u64 = u64::from_le_bytes(*b"timers\0\0");

/// What is to be done when a timer is due. Zero is never a valid kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TimerKind {
    /// A delayed message is ready.
    Wake,
    /// A message is no longer wanted.
    Expire,
}

impl TimerKind {
    fn code(self) -> u64 {
        match self {
            Self::Wake => 1,
            Self::Expire => 2,
        }
    }
}

/// When something is to be done about a record.
///
/// The order is that in which timers lie in a run and fire: by time first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timer {
    pub(crate) due: Timestamp,
    pub(crate) kind: TimerKind,
    pub(crate) partition: PartitionId,
    pub(crate) offset: Offset,
}

/// A run as a snapshot lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunMeta {
    /// Number in the file's name.
    pub(crate) number: u64,
    /// Timers in the file.
    pub(crate) entries: u64,
    /// Those of them, from the front, that are done with.
    ///
    /// Invariant: `taken < entries`; a run without more is not listed.
    pub(crate) taken: u64,
}

/// All timers of a store, as a snapshot keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimerState {
    /// Runs by number, which rises.
    pub(crate) runs: Vec<RunMeta>,
    /// What is in no run; rises.
    pub(crate) fresh: Vec<Timer>,
}

/// What the first block of a run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHeader {
    pub(crate) store: StoreId,
    /// As in the name of the file.
    pub(crate) number: u64,
    pub(crate) entries: u64,
    /// Blocks after this one, each with at least one timer.
    pub(crate) blocks: u64,
}

/// What the checksums of run `number` start from. Each block adds its own
/// number, the header being block 0.
pub(crate) fn run_seed(store: StoreId, number: u64) -> Seed {
    Seed::store(store).and(SEED_TAG).and(number)
}

impl RunHeader {
    /// The header, padded to a block.
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(TIMER_BLOCK_LEN);
        out.put_u32_le(0);
        out.put_u32_le(MAGIC);
        out.put_u16_le(super::FORMAT_VERSION);
        out.put_bytes(0, 6);
        out.put_slice(self.store.bytes());
        out.put_u64_le(self.number);
        out.put_u64_le(self.entries);
        out.put_u64_le(self.blocks);
        seal(&mut out, 0, run_seed(self.store, self.number).and(0));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = block(bytes, "timer run header")?;
        let crc = cursor.u32("timer run header checksum")?;
        let covered = cursor.rest();
        cursor.magic(MAGIC, "timer run magic")?;
        cursor.version("timer run version")?;
        cursor.zeros(6, "timer run header bytes 10 to 15")?;
        let header = Self {
            store: StoreId::new(cursor.id("store id")?),
            number: cursor.u64("number of the timer run")?,
            entries: cursor.u64("timers in the run")?,
            blocks: cursor.u64("blocks of the timer run")?,
        };
        cursor.zeros(cursor.rest().len(), "timer run header bytes from 56")?;
        let seed = run_seed(header.store, header.number).and(0);
        seed.verify(covered, crc, "timer run header")?;
        header.check().map(|()| header)
    }

    fn check(&self) -> Result<(), DecodeError> {
        if self.blocks == 0 || self.blocks > RUN_BLOCKS_MAX {
            return Err(DecodeError::Value {
                what: "blocks of the timer run",
                found: self.blocks,
                expected: "1 to 2^32 - 1",
            });
        }
        let most = self.blocks * to_u64(BLOCK_TIMERS_MAX);
        if self.entries < self.blocks || self.entries > most {
            return Err(DecodeError::Value {
                what: "timers in the run",
                found: self.entries,
                expected: "1 to 1020 for each block",
            });
        }
        Ok(())
    }

    /// Length of the file.
    pub(crate) fn file_len(&self) -> u64 {
        // Bounded by RUN_BLOCKS_MAX.
        (self.blocks + 1) * to_u64(TIMER_BLOCK_LEN)
    }
}

/// Appends block `number` of the run with the seed `run`: as many of `timers`
/// as fit, at least one. Returns how many. `first` lie in blocks before.
///
/// `timers` rise, and are not empty.
pub(crate) fn encode_block(
    timers: &[Timer],
    first: u64,
    run: Seed,
    number: u64,
    out: &mut BytesMut,
) -> usize {
    debug_assert!(timers.is_sorted_by(|a, b| a < b), "timers rise");
    let start = out.len();
    out.put_bytes(0, 8);
    out.put_u64_le(first);
    let (mut count, mut previous) = (0_u32, None);
    for timer in timers {
        let before = out.len();
        put_timer(out, timer, previous);
        if out.len() - start > TIMER_BLOCK_LEN {
            out.truncate(before);
            break;
        }
        (count, previous) = (count + 1, Some(timer));
    }
    debug_assert!(count > 0, "a block has a timer");
    patch_u32(out, start + 4, count);
    seal(out, start, run.and(number));
    to_usize(u64::from(count))
}

/// Decodes block `number` of the run with the seed `run` into `timers`, which
/// are those of this block alone then. Returns how many lie in blocks before.
pub(crate) fn decode_block(
    bytes: &[u8],
    run: Seed,
    number: u64,
    timers: &mut Vec<Timer>,
) -> Result<u64, DecodeError> {
    timers.clear();
    let mut cursor = block(bytes, "block of timers")?;
    let crc = cursor.u32("checksum of a block of timers")?;
    run.and(number)
        .verify(cursor.rest(), crc, "block of timers")?;
    let count = cursor.u32("timers in a block")?;
    let first = cursor.u64("timers before a block")?;
    if count == 0 || u64::from(count) > to_u64(BLOCK_TIMERS_MAX) {
        return Err(DecodeError::Value {
            what: "timers in a block",
            found: u64::from(count),
            expected: "1 to 1020",
        });
    }
    for _ in 0..count {
        let timer = split_timer(&mut cursor, timers.last())?;
        timers.push(timer);
    }
    cursor.zeros(cursor.rest().len(), "bytes after the timers of a block")?;
    Ok(first)
}

impl TimerState {
    /// Appends the state, as a section of a snapshot has it.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_varint(out, to_u64(self.runs.len()));
        for run in &self.runs {
            put_varint(out, run.number);
            put_varint(out, run.entries);
            put_varint(out, run.taken);
        }
        put_varint(out, to_u64(self.fresh.len()));
        let mut previous = None;
        for timer in &self.fresh {
            put_timer(out, timer, previous);
            previous = Some(timer);
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        // Grows with what is there: a count is no request for memory.
        let mut state = Self::default();
        for _ in 0..cursor.varint("count of timer runs")? {
            let run = RunMeta {
                number: cursor.varint("number of the timer run")?,
                entries: cursor.varint("timers in the run")?,
                taken: cursor.varint("timers taken from the run")?,
            };
            let last = state.runs.last();
            if last.is_some_and(|last| last.number >= run.number) {
                return Err(DecodeError::Value {
                    what: "number of the timer run",
                    found: run.number,
                    expected: "numbers that rise",
                });
            }
            if run.taken >= run.entries {
                return Err(DecodeError::Value {
                    what: "timers taken from the run",
                    found: run.taken,
                    expected: "fewer than it has",
                });
            }
            state.runs.push(run);
        }
        for _ in 0..cursor.varint("count of timers")? {
            let timer = split_timer(cursor, state.fresh.last())?;
            state.fresh.push(timer);
        }
        Ok(state)
    }
}

/// A cursor over exactly one block.
fn block<'a>(bytes: &'a [u8], what: &'static str) -> Result<Cursor<'a>, DecodeError> {
    if bytes.len() > TIMER_BLOCK_LEN {
        return Err(DecodeError::Value {
            what,
            found: to_u64(bytes.len()),
            expected: "a length of 4096 bytes",
        });
    }
    let mut cursor = Cursor::new(bytes);
    cursor.bytes(TIMER_BLOCK_LEN, what)?;
    Ok(Cursor::new(bytes))
}

/// Pads what lies from `start` on to a block, and gives it its checksum.
fn seal(out: &mut BytesMut, start: usize, seed: Seed) {
    out.resize(start + TIMER_BLOCK_LEN, 0);
    let crc = seed.checksum(out.get(start + 4..).unwrap_or_default());
    patch_u32(out, start, crc);
}

/// Appends a timer, relative to the one before it, if there is one.
fn put_timer(out: &mut BytesMut, timer: &Timer, previous: Option<&Timer>) {
    let (due, offset) = base(previous);
    let delta = timer.due.millis().wrapping_sub(due.millis());
    put_varint(out, delta.cast_unsigned());
    let topic = u64::from(timer.partition.topic.get());
    put_varint(out, (topic << 2) | timer.kind.code());
    put_varint(out, u64::from(timer.partition.partition));
    let step = timer.offset.get().wrapping_sub(offset.get());
    put_varint(out, zigzag(step.cast_signed()));
}

fn split_timer(cursor: &mut Cursor<'_>, previous: Option<&Timer>) -> Result<Timer, DecodeError> {
    let (due, offset) = base(previous);
    let delta = cursor.varint("time until a timer is due")?;
    let Some(due) = due.millis().checked_add_unsigned(delta) else {
        return Err(DecodeError::Value {
            what: "time until a timer is due",
            found: delta,
            expected: "a time that 64 bits hold",
        });
    };
    let topic = cursor.varint("topic and kind of a timer")?;
    let kind = match topic & 3 {
        1 => TimerKind::Wake,
        2 => TimerKind::Expire,
        other => {
            return Err(DecodeError::Value {
                what: "kind of a timer",
                found: other,
                expected: "1 or 2",
            });
        }
    };
    let partition = PartitionId {
        topic: TopicId::new(narrow(topic >> 2, "topic of a timer")?),
        partition: narrow(
            cursor.varint("partition of a timer")?,
            "partition of a timer",
        )?,
    };
    let step = unzigzag(cursor.varint("offset of a timer")?);
    let timer = Timer {
        due: Timestamp::from_millis(due),
        kind,
        partition,
        offset: Offset::new(offset.get().wrapping_add(step.cast_unsigned())),
    };
    if previous.is_none_or(|previous| *previous < timer) {
        return Ok(timer);
    }
    Err(DecodeError::Value {
        what: "offset of a timer",
        found: timer.offset.get(),
        expected: "timers that rise",
    })
}

/// What the first timer of a block is relative to, and each later one.
fn base(previous: Option<&Timer>) -> (Timestamp, Offset) {
    previous.map_or((Timestamp::MIN, Offset::ZERO), |it| (it.due, it.offset))
}

#[cfg(test)]
mod tests;
