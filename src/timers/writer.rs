//! A run of timers that is being written.
//!
//! Blocks are gathered and written in pieces; the header, which promises how
//! many there are, goes last. Then the file is synced, then its name. A power
//! cut before that leaves a file that no snapshot refers to.

use std::sync::Arc;

use bytes::BytesMut;

use super::{TimersEnv, path_of};
use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::run_name;
use crate::format::timers::{
    BLOCK_TIMERS_MAX, RUN_BLOCKS_MAX, RunHeader, RunMeta, TIMER_BLOCK_LEN, Timer, encode_block,
};
use crate::ids::to_u64;
use crate::io::{Advice, File, OpenMode};

/// Bytes of blocks that are gathered before they are written.
const PIECE_LEN: usize = 256 << 10;

/// Takes timers in their order, and makes a run of them.
#[derive(Debug)]
pub(super) struct RunWriter {
    env: TimersEnv,
    file: Arc<dyn File>,
    number: u64,
    /// What is in no block yet.
    waiting: Vec<Timer>,
    /// Blocks that are not in the file yet.
    piece: BytesMut,
    /// Blocks before those in `piece`.
    written: u64,
    /// Timers in all blocks.
    entries: u64,
}

impl RunWriter {
    /// Makes the file.
    pub(super) fn create(env: &TimersEnv, number: u64) -> Result<Self> {
        let file = env
            .dir
            .open(&run_name(number), OpenMode::CreateNew)
            .map_err(|error| Error::io(format!("create {}", path_of(number)), error))?;
        Ok(Self {
            env: env.clone(),
            file,
            number,
            waiting: Vec::with_capacity(BLOCK_TIMERS_MAX),
            piece: BytesMut::with_capacity(PIECE_LEN),
            written: 0,
            entries: 0,
        })
    }

    /// Adds a timer, which is later than all before it.
    pub(super) fn push(&mut self, timer: Timer) -> Result<()> {
        self.waiting.push(timer);
        if self.waiting.len() < BLOCK_TIMERS_MAX {
            return Ok(());
        }
        self.make_block()
    }

    /// Makes a block of what is waiting, as far as it fits.
    fn make_block(&mut self) -> Result<()> {
        let number = self.blocks() + 1;
        if number > RUN_BLOCKS_MAX {
            let message = format!("{} has the most blocks of a run", self.path());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let seed = self.env.seed(self.number);
        let (timers, first) = (&self.waiting, self.entries);
        let count = encode_block(timers, first, seed, number, &mut self.piece);
        self.waiting.drain(..count);
        self.entries += to_u64(count);
        if self.piece.len() < PIECE_LEN {
            return Ok(());
        }
        self.write_piece()
    }

    fn blocks(&self) -> u64 {
        self.written + to_u64(self.piece.len() / TIMER_BLOCK_LEN)
    }

    fn write_piece(&mut self) -> Result<()> {
        let position = (self.written + 1) * to_u64(TIMER_BLOCK_LEN);
        self.write(&self.piece, position)?;
        // The disk works on it while more is gathered: the sync at the end has
        // less to wait for.
        let len = to_u64(self.piece.len());
        self.file.advise(position, len, Advice::WriteOut);
        self.written = self.blocks();
        self.piece.clear();
        Ok(())
    }

    fn write(&self, bytes: &[u8], position: u64) -> Result<()> {
        self.file.write_all_at(bytes, position).map_err(|error| {
            let len = bytes.len();
            Error::io(format!("write {len} bytes to {}", self.path()), error)
        })
    }

    /// Writes what is left, and makes file and name durable.
    pub(super) fn finish(mut self) -> Result<RunMeta> {
        while !self.waiting.is_empty() {
            self.make_block()?;
        }
        self.write_piece()?;
        let header = RunHeader {
            store: self.env.store,
            number: self.number,
            entries: self.entries,
            blocks: self.written,
        };
        self.write(&header.encode(), 0)?;
        self.file
            .sync_data()
            .map_err(|error| Error::io(format!("sync {}", self.path()), error))?;
        // The content before the name, as everywhere: a name that survived
        // alone would be a damaged run, if one could refer to it.
        self.env
            .dir
            .sync()
            .map_err(|error| Error::io("sync timers", error))?;
        Ok(RunMeta {
            number: self.number,
            entries: self.entries,
            taken: 0,
        })
    }

    fn path(&self) -> String {
        path_of(self.number)
    }
}
