//! A set of offsets: exact, of any size, without a cap.
//!
//! ```text
//!  chunk (offset >> 12)    what is in it
//!  0   -> Full(2442)       chunks 0 to 2441, ten million offsets, in one entry
//!  2442 -> Runs            sorted runs of four bytes each, up to 128 of them
//!  2443 -> Bits            a bitmap of 4096 bits, where runs would take more
//! ```
//!
//! What it costs follows the holes, not the offsets: a run of any length takes
//! at most two parts and an entry, some 150 bytes. In the worst case, every
//! second offset, a chunk is a bitmap: 520 bytes and 50 for its place in the
//! tree, for 2048 holes, so 0.28 bytes a hole.
//!
//! The largest number that fits is `u64::MAX - 1`, so that the end of every run
//! is a number too.

mod part;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ids::to_u64;
use part::{CHUNK_BITS, LAST, Part, join, split};

/// A set of offsets. See the module for how it is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetSet {
    /// By the first chunk that each is about.
    ///
    /// Invariant: they do not overlap, none is empty, no part is full, and no
    /// two `Full` touch.
    chunks: BTreeMap<u64, Chunk>,
    /// How many offsets there are.
    len: u64,
}

#[derive(Clone, Debug)]
enum Chunk {
    /// All of so many chunks.
    Full(u64),
    /// Some of one.
    Part(Part),
}

// What the module says of the worst case.
const _: () = assert!(size_of::<Chunk>() == 24);

/// What a node of the tree takes for one chunk: keys and values, and as much
/// again for a third of the places being free and for the inner nodes.
const NODE_BYTES: usize = (size_of::<u64>() + size_of::<Chunk>()) * 3 / 2;

impl OffsetSet {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `offset` was not there.
    pub(crate) fn insert(&mut self, offset: u64) -> bool {
        let (chunk, at) = split(below_max(offset));
        self.insert_part(chunk, at, at) == 1
    }

    /// Adds all of `run`, and returns how many were not there. Costs what it
    /// meets on the way, not the length.
    pub(crate) fn insert_run(&mut self, run: Range<u64>) -> u64 {
        self.each_piece(run, Self::insert_part, Self::insert_chunks)
    }

    /// Whether `offset` was there.
    pub(crate) fn remove(&mut self, offset: u64) -> bool {
        let (chunk, at) = split(offset);
        self.remove_part(chunk, at, at) == 1
    }

    /// Takes all of `run` out, and returns how many were there.
    pub(crate) fn remove_run(&mut self, run: Range<u64>) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.each_piece(run, Self::remove_part, Self::remove_chunks)
    }

    pub(crate) fn remove_below(&mut self, offset: u64) -> u64 {
        self.remove_run(0..offset)
    }

    pub(crate) fn contains(&self, offset: u64) -> bool {
        let (chunk, at) = split(offset);
        match self.chunk(chunk) {
            Some((_, Chunk::Full(_))) => true,
            Some((_, Chunk::Part(part))) => part.contains(at),
            None => false,
        }
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.first_from(0)
    }

    /// The first one that is `offset` or beyond.
    pub(crate) fn first_from(&self, offset: u64) -> Option<u64> {
        let (chunk, at) = split(offset);
        match self.chunk(chunk) {
            Some((_, Chunk::Full(_))) => return Some(offset),
            Some((_, Chunk::Part(part))) => {
                if let Some((from, _)) = part.run_from(at) {
                    return Some(join(chunk, from));
                }
            }
            None => {}
        }
        let (chunk, next) = self.chunks.range(chunk + 1..).next()?;
        match next {
            Chunk::Full(_) => Some(join(*chunk, 0)),
            Chunk::Part(part) => Some(join(*chunk, part.run_from(0)?.0)),
        }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        let (chunk, last) = self.chunks.last_key_value()?;
        match last {
            Chunk::Full(count) => Some(join(chunk + count - 1, LAST)),
            Chunk::Part(part) => Some(join(*chunk, part.last()?)),
        }
    }

    /// The first number that is `offset` or beyond and not in the set.
    pub(crate) fn run_end(&self, offset: u64) -> u64 {
        let mut end = offset;
        loop {
            let (chunk, at) = split(end);
            match self.chunk(chunk) {
                None => return end,
                Some((first, Chunk::Full(count))) => end = join(first + count, 0),
                Some((_, Chunk::Part(part))) => match part.run_from(at) {
                    Some((from, LAST)) if from == at => end = join(chunk + 1, 0),
                    Some((from, last)) if from == at => return join(chunk, last + 1),
                    _ => return end,
                },
            }
        }
    }

    /// All runs, rising; no two of them touch.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut pieces = self.pieces().peekable();
        std::iter::from_fn(move || {
            let mut run = pieces.next()?;
            while let Some(next) = pieces.next_if(|next| next.start == run.end) {
                run.end = next.end;
            }
            Some(run)
        })
    }

    /// How many lie below `offset`.
    pub(crate) fn len_below(&self, offset: u64) -> u64 {
        if self.last().is_none_or(|last| last < offset) {
            return self.len;
        }
        let pieces = self.pieces().take_while(|piece| piece.start < offset);
        pieces
            .map(|piece| piece.end.min(offset) - piece.start)
            .sum()
    }

    /// Bytes that it takes, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let parts = self.chunks.values().map(|chunk| match chunk {
            Chunk::Full(_) => 0,
            Chunk::Part(part) => part.heap_bytes(),
        });
        to_u64(self.chunks.len() * NODE_BYTES + parts.sum::<usize>())
    }

    /// Runs, cut where chunks meet.
    fn pieces(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.chunks.iter().flat_map(|(&chunk, found)| {
            let (full, part) = match found {
                Chunk::Full(count) => (Some(join(chunk, 0)..join(chunk + count, 0)), None),
                Chunk::Part(part) => (None, Some(part)),
            };
            let runs = part.into_iter().flat_map(Part::runs);
            let runs = runs.map(move |run| join(chunk, run.0)..join(chunk, run.1) + 1);
            full.into_iter().chain(runs)
        })
    }

    /// What there is of a chunk, and the chunk at which that begins.
    fn chunk(&self, chunk: u64) -> Option<(u64, &Chunk)> {
        let (&first, found) = self.chunks.range(..=chunk).next_back()?;
        match found {
            Chunk::Full(count) if chunk - first < *count => Some((first, found)),
            Chunk::Part(_) if chunk == first => Some((first, found)),
            _ => None,
        }
    }

    /// Cuts a run into what lies in a chunk in part, and whole chunks.
    fn each_piece(
        &mut self,
        run: Range<u64>,
        part: impl Fn(&mut Self, u64, u16, u16) -> u64,
        whole: impl Fn(&mut Self, Range<u64>) -> u64,
    ) -> u64 {
        if run.is_empty() {
            return 0;
        }
        let (mut from, at) = split(run.start);
        let (end, last) = split(run.end - 1);
        if from == end {
            return part(self, from, at, last);
        }
        let mut changed = 0;
        if at > 0 {
            changed += part(self, from, at, LAST);
            from += 1;
        }
        let until = if last == LAST { end + 1 } else { end };
        if from < until {
            changed += whole(self, from..until);
        }
        if last < LAST {
            changed += part(self, end, 0, last);
        }
        changed
    }

    fn insert_part(&mut self, chunk: u64, from: u16, last: u16) -> u64 {
        if (from, last) == (0, LAST) {
            return self.insert_chunks(chunk..chunk + 1);
        }
        match self.chunks.range_mut(..=chunk).next_back() {
            Some((first, Chunk::Full(count))) if chunk - first < *count => 0,
            Some((first, Chunk::Part(part))) if *first == chunk => {
                let added = part.insert(from, last);
                self.len += added;
                if part.is_full() {
                    // Takes the place of the part, and adds nothing to it.
                    self.insert_chunks(chunk..chunk + 1);
                }
                added
            }
            _ => {
                let part = Part::of(from, last);
                let added = part.len();
                self.chunks.insert(chunk, Chunk::Part(part));
                self.len += added;
                added
            }
        }
    }

    fn insert_chunks(&mut self, whole: Range<u64>) -> u64 {
        let (mut from, mut to) = (whole.start, whole.end);
        if let Some((&first, Chunk::Full(count))) = self.chunks.range(..from).next_back()
            && first + count >= from
        {
            (from, to) = (first, to.max(first + count));
        }
        let mut before = 0;
        while let Some((&first, found)) = self.chunks.range(from..=to).next() {
            match found {
                Chunk::Full(count) => {
                    to = to.max(first + count);
                    before += count << CHUNK_BITS;
                }
                Chunk::Part(part) if first < to => before += part.len(),
                Chunk::Part(_) => break,
            }
            self.chunks.remove(&first);
        }
        self.chunks.insert(from, Chunk::Full(to - from));
        let added = ((to - from) << CHUNK_BITS) - before;
        self.len += added;
        added
    }

    fn remove_part(&mut self, chunk: u64, from: u16, last: u16) -> u64 {
        match self.chunk(chunk) {
            None => return 0,
            Some((_, Chunk::Full(_))) if (from, last) == (0, LAST) => {
                return self.remove_chunks(chunk..chunk + 1);
            }
            Some((_, Chunk::Full(_))) => {
                self.cut_at(chunk);
                self.cut_at(chunk + 1);
                self.chunks.insert(chunk, Chunk::Part(Part::of(0, LAST)));
            }
            Some((_, Chunk::Part(_))) => {}
        }
        let Some(Chunk::Part(part)) = self.chunks.get_mut(&chunk) else {
            return 0;
        };
        let removed = part.remove(from, last);
        if part.is_empty() {
            self.chunks.remove(&chunk);
        }
        self.len -= removed;
        removed
    }

    fn remove_chunks(&mut self, whole: Range<u64>) -> u64 {
        self.cut_at(whole.start);
        self.cut_at(whole.end);
        let mut removed = 0;
        while let Some((&first, found)) = self.chunks.range(whole.clone()).next() {
            removed += match found {
                Chunk::Full(count) => count << CHUNK_BITS,
                Chunk::Part(part) => part.len(),
            };
            self.chunks.remove(&first);
        }
        self.len -= removed;
        removed
    }

    /// Makes two of the full chunks that reach from before `chunk` beyond it.
    fn cut_at(&mut self, chunk: u64) {
        if let Some((first, Chunk::Full(count))) = self.chunks.range_mut(..chunk).next_back()
            && first + *count > chunk
        {
            let rest = first + *count - chunk;
            *count = chunk - first;
            self.chunks.insert(chunk, Chunk::Full(rest));
        }
    }
}

/// Equal offsets, however they are kept.
impl PartialEq for OffsetSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.runs().eq(other.runs())
    }
}

impl Eq for OffsetSet {}

fn below_max(offset: u64) -> u64 {
    assert!(offset < u64::MAX, "a run that has it would have no end");
    offset
}

#[cfg(test)]
mod tests;
