//! One run of timers on disk, read forward.
//!
//! A run holds the block that is being taken from, and a few blocks after it
//! as they were read: its memory has a bound, whatever its length. What of it
//! was taken is a number, which the snapshot keeps.

use std::io;
use std::sync::Arc;

use super::{TimersEnv, damaged, path_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::layout::run_name;
use crate::format::timers::{RunHeader, RunMeta, TIMER_BLOCK_LEN, Timer, decode_block};
use crate::ids::{to_u64, to_usize};
use crate::io::{Advice, File, OpenMode};

/// Blocks that are read at once: 64 KiB.
const READ_BLOCKS: u64 = 16;

/// A run, and how far it was taken.
#[derive(Debug)]
pub(super) struct Run {
    env: TimersEnv,
    file: Arc<dyn File>,
    seed: Seed,
    number: u64,
    entries: u64,
    blocks: u64,
    /// Timers that are done with, from the front.
    taken: u64,
    /// The block that the next timer is in; empty if it is not read yet.
    block: Vec<Timer>,
    /// Index of the next timer in `block`.
    at: usize,
    /// Number of the block after `block`.
    next: u64,
    /// Blocks as they were read, the first of them with this number.
    raw: (u64, Vec<u8>),
    /// The timer that was taken last: the next one is later.
    last: Option<Timer>,
}

impl Run {
    /// Opens the run that a snapshot lists, at the first timer not taken.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the file is missing, has another length than it had, or is
    /// not what the snapshot says; the message names it.
    pub(super) fn open(env: &TimersEnv, meta: &RunMeta) -> Result<Self> {
        let mut run = Self::open_unread(env, meta)?;
        run.file.advise(0, run.len(), Advice::Sequential);
        run.seek(meta.taken)?;
        Ok(run)
    }

    /// Reads the whole run that a snapshot lists, block by block, and returns
    /// its length in bytes.
    ///
    /// # Errors
    ///
    /// As [`Run::open`], and the byte at which it does not check out.
    pub(super) fn check(env: &TimersEnv, meta: &RunMeta) -> Result<u64, (u64, Error)> {
        let mut run = Self::open_unread(env, meta).map_err(|error| (0, error))?;
        while run.left() > 0 {
            let position = run.next * to_u64(TIMER_BLOCK_LEN);
            run.load().map_err(|error| (position, error))?;
            while run.pop().is_some() {}
        }
        Ok(run.len())
    }

    /// Opens it before its first timer, with nothing read but the header.
    fn open_unread(env: &TimersEnv, meta: &RunMeta) -> Result<Self> {
        let file = env
            .dir
            .open(&run_name(meta.number), OpenMode::Read)
            .map_err(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    return damaged(meta.number, "is missing");
                }
                Error::io(format!("open {}", path_of(meta.number)), error)
            })?;
        let mut run = Self {
            env: env.clone(),
            file,
            seed: env.seed(meta.number),
            number: meta.number,
            entries: meta.entries,
            blocks: 0,
            taken: 0,
            block: Vec::new(),
            at: 0,
            next: 1,
            raw: (0, Vec::new()),
            last: None,
        };
        run.check_header()?;
        if meta.taken >= meta.entries {
            return Err(damaged(meta.number, "has no timer left, and is listed"));
        }
        Ok(run)
    }

    /// Bytes of the file.
    fn len(&self) -> u64 {
        (self.blocks + 1) * to_u64(TIMER_BLOCK_LEN)
    }

    fn check_header(&mut self) -> Result<()> {
        let mut bytes = vec![0; TIMER_BLOCK_LEN];
        self.read(&mut bytes, 0)?;
        let header = RunHeader::decode(&bytes).map_err(|error| self.decode_error(0, error))?;
        let wrong = if header.store != self.env.store {
            format!("is of store {}, not of {}", header.store, self.env.store)
        } else if header.number != self.number {
            format!("is of run {}: it was renamed", header.number)
        } else if header.entries != self.entries {
            let listed = self.entries;
            format!("has {} timers, and {listed} are listed", header.entries)
        } else {
            let len = self
                .file
                .len()
                .map_err(|error| Error::io(format!("get the length of {}", self.path()), error))?;
            if len == header.file_len() {
                self.blocks = header.blocks;
                return Ok(());
            }
            format!("has {len} bytes, not {}", header.file_len())
        };
        Err(damaged(self.number, wrong))
    }

    /// Makes timer `taken` the next one.
    fn seek(&mut self, taken: u64) -> Result<()> {
        // The last block that begins at or before it.
        let (mut low, mut high) = (1, self.blocks);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.first_of(middle)? <= taken {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        self.next = low;
        self.taken = self.first_of(low)?;
        self.load()?;
        let skip = taken.checked_sub(self.taken).map(to_usize);
        let Some(skip) = skip.filter(|skip| *skip < self.block.len()) else {
            let message = format!("lacks its timer {taken} in block {low}");
            return Err(damaged(self.number, message));
        };
        (self.at, self.taken) = (skip, taken);
        Ok(())
    }

    /// How many timers lie before a block.
    fn first_of(&self, number: u64) -> Result<u64> {
        let mut bytes = vec![0; TIMER_BLOCK_LEN];
        self.read(&mut bytes, number)?;
        let first = decode_block(&bytes, self.seed, number, &mut Vec::new())
            .map_err(|error| self.decode_error(number, error))?;
        if first < self.entries {
            return Ok(first);
        }
        Err(self.out_of_order(number))
    }

    fn out_of_order(&self, number: u64) -> Error {
        let message = format!("has block {number} out of order");
        damaged(self.number, message)
    }

    /// Reads the next block, if the one at hand is used up and there is more.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not what was written. Then the run stands where it
    /// stood, has no [`Self::head`], and the call can be made again.
    pub(super) fn load(&mut self) -> Result<()> {
        if self.at < self.block.len() || self.left() == 0 {
            return Ok(());
        }
        let loaded = self.load_next();
        if loaded.is_err() {
            // What was read may be what was wrong: read it again next time.
            self.block.clear();
            self.raw.1.clear();
        }
        self.at = 0;
        loaded
    }

    fn load_next(&mut self) -> Result<()> {
        let number = self.next;
        if number > self.blocks {
            return Err(damaged(self.number, "has too few timers"));
        }
        let mut at = to_usize(number.saturating_sub(self.raw.0)) * TIMER_BLOCK_LEN;
        if number < self.raw.0 || at >= self.raw.1.len() {
            let count = READ_BLOCKS.min(self.blocks - number + 1);
            let mut bytes = std::mem::take(&mut self.raw.1);
            bytes.resize(to_usize(count) * TIMER_BLOCK_LEN, 0);
            self.read(&mut bytes, number)?;
            (self.raw, at) = ((number, bytes), 0);
        }
        let bytes = self.raw.1.get(at..at + TIMER_BLOCK_LEN).unwrap_or_default();
        let first = decode_block(bytes, self.seed, number, &mut self.block)
            .map_err(|error| self.decode_error(number, error))?;
        let end = first.saturating_add(to_u64(self.block.len()));
        let ends = (number == self.blocks) == (end == self.entries) && end <= self.entries;
        let rises = self.block.first() > self.last.as_ref();
        if first != self.taken || !ends || !rises {
            return Err(self.out_of_order(number));
        }
        self.next = number + 1;
        Ok(())
    }

    /// The next timer; `None` if all were taken, or it has to be loaded first.
    pub(super) fn head(&self) -> Option<Timer> {
        self.block.get(self.at).copied()
    }

    /// Takes [`Self::head`].
    pub(super) fn pop(&mut self) -> Option<Timer> {
        let head = self.head()?;
        self.at += 1;
        self.taken += 1;
        self.last = Some(head);
        Some(head)
    }

    /// Takes whatever is before `bound`.
    pub(super) fn skip_below(&mut self, bound: Timer) -> Result<()> {
        self.load()?;
        while self.head().is_some_and(|head| head < bound) {
            self.pop();
            self.load()?;
        }
        Ok(())
    }

    /// Timers that were not taken.
    pub(super) fn left(&self) -> u64 {
        self.entries - self.taken
    }

    /// The run as a snapshot lists it.
    pub(super) fn meta(&self) -> RunMeta {
        RunMeta {
            number: self.number,
            entries: self.entries,
            taken: self.taken,
        }
    }

    /// A second reader of the file, which stands where this one stands.
    pub(super) fn fork(&self) -> Self {
        Self {
            env: self.env.clone(),
            file: Arc::clone(&self.file),
            block: self.block.clone(),
            raw: (0, Vec::new()),
            ..*self
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.block.capacity() * size_of::<Timer>() + self.raw.1.capacity()
    }

    fn path(&self) -> String {
        path_of(self.number)
    }

    /// Fills `buf` from the block `number` on.
    fn read(&self, buf: &mut [u8], number: u64) -> Result<()> {
        let position = number * to_u64(TIMER_BLOCK_LEN);
        self.file.read_exact_at(buf, position).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                let end = position + to_u64(buf.len());
                let message = format!("ends before byte {end}");
                return damaged(self.number, message);
            }
            Error::io(
                format!("read {} bytes at {position} of {}", buf.len(), self.path()),
                error,
            )
        })
    }

    fn decode_error(&self, number: u64, error: DecodeError) -> Error {
        let at = number * to_u64(TIMER_BLOCK_LEN);
        match error {
            DecodeError::Unsupported { .. } => {
                let place = format!("timer run {} at byte {at}", self.path());
                Error::with_source(ErrorKind::Unsupported, place, error)
            }
            _ => damaged(self.number, format!("is damaged at byte {at}: {error}")),
        }
    }
}
