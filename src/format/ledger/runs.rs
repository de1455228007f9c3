//! Runs of offsets of a saved ledger, those that are done or sleep, in blocks by
//! chunks of 4096.
//!
//! ```text
//!  +------+----------+---//---+------+----------+---//---+---+
//!  | kind | distance |  body  | kind | distance |  body  | 0 |
//!  +------+----------+---//---+------+----------+---//---+---+
//!
//!  1 runs     count, then of each: distance, further offsets
//!  2 bitmap   512 bytes, where runs would take more
//!  3 full     count of chunks of which all is in the list
//! ```
//!
//! Equal runs are equal bytes: of runs and bitmap the smaller one, runs if they
//! are equal; full chunks in one block as far as they go. docs/format.md
//! section 7.4.

use bytes::BufMut;

use crate::format::DecodeError;
use crate::format::cursor::{Cursor, put_varint};
use crate::format::varint;
use crate::ids::{Offset, to_u64};

const END: u8 = 0;
const RUNS: u8 = 1;
const BITMAP: u8 = 2;
const FULL: u8 = 3;

/// Offsets that a chunk has.
const CHUNK: u64 = 4096;

/// Bytes of a bitmap.
const BITMAP_LEN: usize = 512;

/// The last place in a chunk.
const LAST: u16 = 4095;

/// Chunk of the largest number. It is never full: that number is no offset.
const LAST_CHUNK: u64 = u64::MAX / CHUNK;

const _: () = assert!(BITMAP_LEN as u64 * 8 == CHUNK);

/// From, and to inclusive, within a chunk.
type Run = (u16, u16);

/// Appends `runs`, from and to exclusive: rising, none below `floor`, none
/// touching.
pub(super) fn encode(floor: Offset, runs: &[(Offset, Offset)], out: &mut impl BufMut) {
    let mut blocks = Blocks {
        out,
        next: floor.get() / CHUNK,
        chunk: 0,
        runs: Vec::new(),
    };
    for &(from, to) in runs {
        let (mut chunk, at) = split(from.get());
        // Inclusive, so that the end is in the chunk of the last one.
        let (end, last) = split(to.get() - 1);
        if chunk == end {
            blocks.put_part(chunk, (at, last));
            continue;
        }
        if at > 0 {
            blocks.put_part(chunk, (at, LAST));
            chunk += 1;
        }
        let until = if last == LAST { end + 1 } else { end };
        if chunk < until {
            blocks.put_full(chunk, until - chunk);
        }
        if last < LAST {
            blocks.put_part(end, (0, last));
        }
    }
    blocks.flush();
    out.put_u8(END);
}

/// Blocks on their way out, and the chunk that is being gathered.
struct Blocks<'a, B> {
    out: &'a mut B,
    /// Chunk after the last block that was put.
    next: u64,
    chunk: u64,
    /// What there is of `chunk` so far.
    runs: Vec<Run>,
}

impl<B: BufMut> Blocks<'_, B> {
    fn put_part(&mut self, chunk: u64, run: Run) {
        if run == (0, LAST) {
            return self.put_full(chunk, 1);
        }
        if chunk != self.chunk {
            self.flush();
            self.chunk = chunk;
        }
        self.runs.push(run);
    }

    fn put_full(&mut self, chunk: u64, count: u64) {
        self.flush();
        self.put_head(FULL, chunk, count);
        put_varint(self.out, count);
    }

    fn put_head(&mut self, kind: u8, chunk: u64, count: u64) {
        self.out.put_u8(kind);
        put_varint(self.out, chunk - self.next);
        self.next = chunk + count;
    }

    /// Puts the chunk that was gathered, if there is one.
    fn flush(&mut self) {
        let runs = std::mem::take(&mut self.runs);
        if runs.is_empty() {
            return;
        }
        if runs_len(&runs) > BITMAP_LEN {
            self.put_head(BITMAP, self.chunk, 1);
            self.out.put_slice(&bitmap_of(&runs));
        } else {
            self.put_head(RUNS, self.chunk, 1);
            put_varint(self.out, to_u64(runs.len()));
            for (distance, further) in distances(&runs) {
                put_varint(self.out, distance);
                put_varint(self.out, further);
            }
        }
        // Its memory serves the next chunk.
        self.runs = runs;
        self.runs.clear();
    }
}

/// Decodes what [`encode`] made. That none lies below `floor` is not checked.
pub(super) fn decode(
    floor: Offset,
    cursor: &mut Cursor<'_>,
) -> Result<Vec<(Offset, Offset)>, DecodeError> {
    let mut next = floor.get() / CHUNK;
    let mut out = Vec::new();
    let mut after_full = false;
    loop {
        let kind = cursor.u8("kind of a block of offsets")?;
        if kind == END {
            return Ok(out);
        }
        let distance = cursor.varint("distance to the next chunk")?;
        let chunk = next.checked_add(distance).filter(|at| *at <= LAST_CHUNK);
        let chunk = chunk.ok_or(DecodeError::Value {
            what: "distance to the next chunk",
            found: distance,
            expected: "a chunk that has offsets",
        })?;
        let mut runs = Vec::new();
        match kind {
            RUNS => runs = split_runs(cursor)?,
            BITMAP => runs = split_bitmap(cursor)?,
            FULL => {
                let count = cursor.varint("count of full chunks")?;
                let end = chunk.checked_add(count).filter(|end| *end <= LAST_CHUNK);
                let whole = end.filter(|end| *end > chunk && !(after_full && distance == 0));
                next = whole.ok_or(DecodeError::Value {
                    what: "count of full chunks",
                    found: count,
                    expected: "at least 1, as far as they go, up to the last chunk",
                })?;
                push(&mut out, chunk * CHUNK, next * CHUNK);
            }
            other => {
                return Err(DecodeError::Value {
                    what: "kind of a block of offsets",
                    found: u64::from(other),
                    expected: "0 to 3",
                });
            }
        }
        after_full = kind == FULL;
        if after_full {
            continue;
        }
        next = chunk + 1;
        for run in runs {
            let [from, last] = [run.0, run.1].map(|at| chunk * CHUNK + u64::from(at));
            let to = last.checked_add(1).ok_or(DecodeError::Value {
                what: "offset of a run",
                found: last,
                expected: "below 2^64 - 1",
            })?;
            push(&mut out, from, to);
        }
    }
}

/// Adds a run that does not lie before the last one; one that goes on from it
/// in the next chunk is the same run.
fn push(runs: &mut Vec<(Offset, Offset)>, from: u64, to: u64) {
    let (from, to) = (Offset::new(from), Offset::new(to));
    match runs.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => runs.push((from, to)),
    }
}

fn split_runs(cursor: &mut Cursor<'_>) -> Result<Vec<Run>, DecodeError> {
    let count = cursor.varint("count of runs in a chunk")?;
    // Grows with what is there: a count is no request for memory.
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0_u64;
    for n in 0..count {
        let distance = cursor.varint("distance to the next run")?;
        let further = cursor.varint("further offsets of a run")?;
        let from = at.checked_add(distance);
        let last = from.and_then(|from| from.checked_add(further));
        let run = from.zip(last).filter(|_| n == 0 || distance > 0);
        let run = run.and_then(|(from, last)| {
            let (from, last) = (u16::try_from(from).ok()?, u16::try_from(last).ok()?);
            (last <= LAST).then_some((from, last))
        });
        let run = run.ok_or(DecodeError::Value {
            what: "distance to the next run",
            found: distance,
            expected: "runs within the chunk, that do not touch",
        })?;
        runs.push(run);
        at = u64::from(run.1) + 1;
    }
    let whole = runs.first() == Some(&(0, LAST));
    if runs.is_empty() || whole || runs_len(&runs) > BITMAP_LEN {
        return Err(DecodeError::Value {
            what: "count of runs in a chunk",
            found: count,
            expected: "at least 1, of a part, and no more than a bitmap takes",
        });
    }
    Ok(runs)
}

fn split_bitmap(cursor: &mut Cursor<'_>) -> Result<Vec<Run>, DecodeError> {
    let bytes = cursor.bytes(BITMAP_LEN, "bitmap of a chunk")?;
    let mut runs: Vec<Run> = Vec::new();
    let bits = bytes
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    for (set, at) in bits.zip(0_u16..) {
        match runs.last_mut() {
            Some(run) if set && run.1 + 1 == at => run.1 = at,
            _ if set => runs.push((at, at)),
            _ => {}
        }
    }
    if runs_len(&runs) > BITMAP_LEN {
        return Ok(runs);
    }
    Err(DecodeError::Value {
        what: "bitmap of a chunk: its runs",
        found: to_u64(runs.len()),
        expected: "so many that they would take more than the bitmap",
    })
}

fn bitmap_of(runs: &[Run]) -> [u8; BITMAP_LEN] {
    let mut bitmap = [0; BITMAP_LEN];
    let places = runs.iter().flat_map(|run| run.0..=run.1);
    for at in places {
        let byte = bitmap.get_mut(usize::from(at / 8));
        *byte.expect("within the chunk") |= 1_u8 << (at % 8);
    }
    bitmap
}

/// Of each run: distance from the end of the one before, further offsets.
fn distances(runs: &[Run]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let ends = runs.iter().map(|run| run.1 + 1);
    let before = std::iter::once(0).chain(ends);
    runs.iter()
        .zip(before)
        .map(|(run, at)| (u64::from(run.0 - at), u64::from(run.1 - run.0)))
}

/// Bytes that a block of runs takes after its head.
fn runs_len(runs: &[Run]) -> usize {
    let each = distances(runs).map(|(a, b)| varint::len(a) + varint::len(b));
    varint::len(to_u64(runs.len())) + each.sum::<usize>()
}

fn split(offset: u64) -> (u64, u16) {
    let at = u16::try_from(offset % CHUNK).expect("below 4096");
    (offset / CHUNK, at)
}
