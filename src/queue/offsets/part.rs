//! Some of the 4096 offsets of one chunk: as runs, or as a bitmap once the runs
//! would take more.
//!
//! A number in here is a place in the chunk, 0 to 4095. Runs are sorted, and no
//! two of them touch.

/// Bits of an offset that say where in its chunk it lies.
pub(super) const CHUNK_BITS: u32 = 12;

/// Offsets of a chunk.
pub(super) const CHUNK: u64 = 1 << CHUNK_BITS;

/// The last place of a chunk.
pub(super) const LAST: u16 = 4095;

const WORDS: usize = 64;

/// Beyond this many, runs of four bytes take more than the bitmap.
const RUNS_MAX: usize = WORDS * 8 / 4;

/// A bitmap of so few offsets becomes runs again: they are at most half as
/// many as would make it a bitmap at once.
const BITS_MIN: u32 = 64;

const _: () = assert!(LAST as u64 == CHUNK - 1);
const _: () = assert!(WORDS as u64 * 64 == CHUNK);

/// From, and to inclusive: 4096 does not fit a place.
type Run = (u16, u16);

/// What is there of a chunk. The set that owns it sees to it that this is
/// neither nothing nor all.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Runs(Vec<Run>),
    Bits(Box<Bits>),
}

#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: [u64; WORDS],
    /// How many are set.
    len: u32,
}

impl Part {
    pub(super) fn of(from: u16, last: u16) -> Self {
        Self::Runs(vec![(from, last)])
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Runs(runs) => runs.iter().copied().map(run_len).sum(),
            Self::Bits(bits) => u64::from(bits.len),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Runs(runs) => runs.is_empty(),
            Self::Bits(bits) => bits.len == 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Runs(runs) => runs.first() == Some(&(0, LAST)),
            Self::Bits(bits) => u64::from(bits.len) == CHUNK,
        }
    }

    /// Adds a run, and returns how many were not there.
    pub(super) fn insert(&mut self, from: u16, last: u16) -> u64 {
        match self {
            Self::Runs(runs) => {
                let added = insert_run(runs, from, last);
                if runs.len() > RUNS_MAX {
                    *self = Self::Bits(Box::new(Bits::of(runs)));
                }
                added
            }
            Self::Bits(bits) => bits.insert(from, last),
        }
    }

    /// Takes a run out, and returns how many were there.
    pub(super) fn remove(&mut self, from: u16, last: u16) -> u64 {
        match self {
            Self::Runs(runs) => {
                let removed = remove_run(runs, from, last);
                // Taking out of the middle of a run makes one more.
                if runs.len() > RUNS_MAX {
                    *self = Self::Bits(Box::new(Bits::of(runs)));
                }
                removed
            }
            Self::Bits(bits) => {
                let removed = bits.remove(from, last);
                if bits.len <= BITS_MIN {
                    *self = Self::Runs(self.runs().collect());
                }
                removed
            }
        }
    }

    /// The first run that ends at `from` or later, cut off before `from`.
    pub(super) fn run_from(&self, from: u16) -> Option<Run> {
        match self {
            Self::Runs(runs) => {
                let at = runs.partition_point(|run| run.1 < from);
                runs.get(at).map(|run| (run.0.max(from), run.1))
            }
            Self::Bits(bits) => bits.run_from(from),
        }
    }

    pub(super) fn contains(&self, at: u16) -> bool {
        match self {
            Self::Runs(_) => self.run_from(at).is_some_and(|run| run.0 == at),
            Self::Bits(bits) => {
                let word = bits.words.get(usize::from(at >> 6));
                word.is_some_and(|word| word >> (at & 63) & 1 == 1)
            }
        }
    }

    pub(super) fn last(&self) -> Option<u16> {
        match self {
            Self::Runs(runs) => runs.last().map(|run| run.1),
            Self::Bits(bits) => {
                let mut words = bits.words.iter().rev().zip(0_u16..);
                let (word, n) = words.find(|(word, _)| **word != 0)?;
                Some(LAST - n * 64 - zeros(word.leading_zeros()))
            }
        }
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let run = self.run_from(next?)?;
            next = (run.1 < LAST).then(|| run.1 + 1);
            Some(run)
        })
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Runs(runs) => runs.capacity() * size_of::<Run>(),
            Self::Bits(_) => size_of::<Bits>(),
        }
    }
}

fn run_len((from, last): Run) -> u64 {
    u64::from(last - from) + 1
}

/// A count of at most 64.
fn zeros(count: u32) -> u16 {
    u16::try_from(count).expect("a word has 64 bits")
}

fn insert_run(runs: &mut Vec<Run>, from: u16, last: u16) -> u64 {
    // Those that touch the new one become one with it.
    let low = runs.partition_point(|run| run.1 + 1 < from);
    let high = low
        + runs
            .iter()
            .skip(low)
            .take_while(|run| run.0 <= last + 1)
            .count();
    let touched = runs.get(low..high).unwrap_or_default();
    let mut whole = (from, last);
    let mut before = 0;
    for run in touched {
        whole = (whole.0.min(run.0), whole.1.max(run.1));
        before += run_len(*run);
    }
    drop(runs.splice(low..high, [whole]));
    run_len(whole) - before
}

fn remove_run(runs: &mut Vec<Run>, from: u16, last: u16) -> u64 {
    let low = runs.partition_point(|run| run.1 < from);
    let high = runs.partition_point(|run| run.0 <= last);
    let touched = runs.get(low..high).unwrap_or_default();
    let before: u64 = touched.iter().copied().map(run_len).sum();
    let left = touched.first().filter(|run| run.0 < from);
    let left = left.map(|run| (run.0, from - 1));
    let right = touched.last().filter(|run| run.1 > last);
    let right = right.map(|run| (last + 1, run.1));
    let kept: u64 = left.into_iter().chain(right).map(run_len).sum();
    drop(runs.splice(low..high, left.into_iter().chain(right)));
    before - kept
}

impl Bits {
    fn of(runs: &[Run]) -> Self {
        let mut bits = Self {
            words: [0; WORDS],
            len: 0,
        };
        for run in runs {
            bits.insert(run.0, run.1);
        }
        bits
    }

    fn insert(&mut self, from: u16, last: u16) -> u64 {
        let mut added = 0;
        self.each_word(from, last, |word, mask| {
            added += (mask & !*word).count_ones();
            *word |= mask;
        });
        self.len += added;
        u64::from(added)
    }

    fn remove(&mut self, from: u16, last: u16) -> u64 {
        let mut removed = 0;
        self.each_word(from, last, |word, mask| {
            removed += (mask & *word).count_ones();
            *word &= !mask;
        });
        self.len -= removed;
        u64::from(removed)
    }

    /// The words that have a part of the run, each with the bits that it has.
    fn each_word(&mut self, from: u16, last: u16, mut change: impl FnMut(&mut u64, u64)) {
        let (first, end) = (from >> 6, last >> 6);
        let words = self.words.iter_mut().zip(0..);
        let words = words.skip(usize::from(first));
        for (word, n) in words.take(usize::from(end - first) + 1) {
            let low = if n == first { from & 63 } else { 0 };
            let high = if n == end { last & 63 } else { 63 };
            change(word, u64::MAX >> (63 - (high - low)) << low);
        }
    }

    /// The first place from `at` on whose bit is `set`.
    fn find(&self, at: u16, set: bool) -> Option<u16> {
        let words = self.words.iter().zip(0_u16..);
        for (word, n) in words.skip(usize::from(at >> 6)) {
            let wanted = if set { *word } else { !word };
            let low = if n == at >> 6 { at & 63 } else { 0 };
            let wanted = wanted & (u64::MAX << low);
            if wanted != 0 {
                return Some(n * 64 + zeros(wanted.trailing_zeros()));
            }
        }
        None
    }

    fn run_from(&self, at: u16) -> Option<Run> {
        let from = self.find(at, true)?;
        let end = self.find(from, false);
        Some((from, end.map_or(LAST, |end| end - 1)))
    }
}

/// Chunk of an offset, and its place in there.
pub(super) fn split(offset: u64) -> (u64, u16) {
    let at = u16::try_from(offset % CHUNK).expect("below 4096");
    (offset >> CHUNK_BITS, at)
}

/// The offset at a place of a chunk.
pub(super) fn join(chunk: u64, at: u16) -> u64 {
    (chunk << CHUNK_BITS) | u64::from(at)
}

// What the module says of the worst case.
const _: () = assert!(size_of::<Bits>() == 520);
