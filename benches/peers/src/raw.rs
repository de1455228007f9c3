//! What the disk does without an engine: the raw limit.
//!
//! For durable work, two loops over blocks of a file that was written before:
//! `raw`, one thread, `pwrite` of the bytes of a call, rounded up to 4 KiB, then
//! `fdatasync`; and `raw-direct`, the same bytes with `O_DIRECT | O_DSYNC`, by
//! as many threads as the work has (four for batches: what pipelining can
//! reach). For other appends, `pwrite` alone, not rounded. For scans, `pread` of
//! the same bytes in pieces of 1 MiB.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::OFlags;

use crate::Result;
use crate::payload::Payload;

/// Blocks of the disk and of the page cache.
const BLOCK_LEN: usize = 4096;

/// Bytes that are written before anything is measured.
const FILE_LEN: u64 = 128 << 20;

/// Bytes of a read, and of a write that prepares.
const PIECE_LEN: usize = 1 << 20;

/// A loop over one file, for any number of threads.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: File,
    sync: bool,
    step: u64,
    steps: u64,
    next: AtomicU64,
}

/// What one thread writes.
#[derive(Debug)]
pub(crate) struct RawWriter {
    file: Arc<RawFile>,
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

/// How a raw loop writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `pwrite` and nothing else.
    Buffered,
    /// `pwrite` and `fdatasync`.
    Synced,
    /// `O_DIRECT | O_DSYNC`.
    Direct,
}

impl RawFile {
    /// Writes the file and syncs it; `len` is the bytes of a call.
    pub(crate) fn prepare(path: &Path, len: usize, how: How) -> Result<Arc<Self>> {
        let unit = if how == How::Buffered { 1 } else { BLOCK_LEN };
        let step = u64::try_from(len.next_multiple_of(unit))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = options.create_new(true).open(path)?;
        fill(&file, FILE_LEN)?;
        let file = if how == How::Direct {
            let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
            let mut options = OpenOptions::new();
            let options = options.write(true).custom_flags(i32::try_from(flags)?);
            let opened = options.open(path);
            opened.map_err(|error| format!("no direct writes here: {error}"))?
        } else {
            file
        };
        Ok(Arc::new(Self {
            file,
            sync: how == How::Synced,
            step,
            steps: FILE_LEN / step,
            next: AtomicU64::new(0),
        }))
    }

    /// A writer for one thread.
    pub(crate) fn writer(self: &Arc<Self>) -> Result<RawWriter> {
        let len = usize::try_from(self.step)?;
        let payload = Payload::new(len, 1);
        let batches = payload.batches();
        let value = batches.first().and_then(|batch| batch.first());
        let value = value.ok_or("no value to write")?;
        // Aligned by hand: direct writes ask for it.
        let mut buffer = vec![0; len + BLOCK_LEN];
        let start = buffer.as_ptr().align_offset(BLOCK_LEN);
        let place = buffer.get_mut(start..start + len);
        place.ok_or("cannot align")?.copy_from_slice(value);
        Ok(RawWriter {
            file: Arc::clone(self),
            buffer,
            start,
            len,
        })
    }
}

impl RawWriter {
    /// Does what one call of a peer amounts to.
    pub(crate) fn step(&self) -> io::Result<()> {
        let file = &self.file;
        let step = file.next.fetch_add(1, Relaxed) % file.steps;
        let bytes = self.buffer.get(self.start..self.start + self.len);
        let bytes = bytes.unwrap_or_default();
        file.file.write_all_at(bytes, step * file.step)?;
        if file.sync {
            file.file.sync_data()?;
        }
        Ok(())
    }
}

fn fill(file: &File, len: u64) -> io::Result<()> {
    let piece = vec![0x5a; PIECE_LEN];
    let mut written = 0;
    while written < len {
        let left = usize::try_from(len - written).unwrap_or(usize::MAX);
        let part = piece.get(..left.min(PIECE_LEN)).unwrap_or_default();
        file.write_all_at(part, written)?;
        written += u64::try_from(part.len()).unwrap_or(u64::MAX);
    }
    file.sync_all()
}

/// A file to be read from front to back.
#[derive(Debug)]
pub(crate) struct RawScan {
    file: File,
    buffer: Vec<u8>,
}

impl RawScan {
    /// Writes a file of `len` bytes.
    pub(crate) fn prepare(path: &Path, len: u64) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(path)?;
        fill(&file, len)?;
        Ok(Self {
            file,
            buffer: vec![0; PIECE_LEN],
        })
    }

    /// Reads all of it, and returns its length.
    pub(crate) fn pass(&mut self) -> io::Result<u64> {
        let mut position = 0;
        loop {
            match self.file.read_at(&mut self.buffer, position)? {
                0 => return Ok(position),
                len => position += u64::try_from(len).unwrap_or(u64::MAX),
            }
        }
    }
}
