//! What the disk does without us: the plain loop that results are held against.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::meter::{histogram, record};
use super::payload::POOL_LEN;
use super::probe::BLOCK_LEN;
use super::{float, ratio};
use crate::failure::Failure;
use crate::signals;

/// Size of the file that is overwritten.
const FILE_LEN: u64 = 64 << 20;

/// Bytes of a plain sequential read.
const READ_LEN: usize = 1 << 20;

/// Overwrites blocks of a file that were written before, one batch at a time.
///
/// With `sync`, batches are rounded up to whole blocks and each is synced.
/// Without, it is the same loop without the sync and without the rounding.
#[derive(Debug)]
pub(super) struct RawAppend {
    file: File,
    path: PathBuf,
    /// Batches, one after the other: more than a cache of the second level
    /// holds, so that no batch is read from there, as with a broker's.
    source: Vec<u8>,
    batch_len: usize,
    sync: bool,
    position: u64,
    len: u64,
    batches: u64,
    elapsed: Duration,
    latency: Histogram<u64>,
}

impl RawAppend {
    /// Writes the file with zeros and syncs it; `batch` is what a batch holds.
    pub(super) fn prepare(path: &Path, mut batch: Vec<u8>, sync: bool) -> Result<Self, Failure> {
        let unit = if sync { BLOCK_LEN } else { 1 };
        batch.resize(batch.len().next_multiple_of(unit).max(unit), 0);
        let copies = POOL_LEN.div_ceil(batch.len());
        let source = batch.repeat(copies);
        let batch_len = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let len = FILE_LEN.max(batch_len) / batch_len * batch_len;
        let file = prewritten(path, len).map_err(|error| fail(path, error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            source,
            batch_len: batch.len(),
            sync,
            position: 0,
            len,
            batches: 0,
            elapsed: Duration::ZERO,
            latency: histogram()?,
        })
    }

    /// Forgets what was measured, but not the file.
    pub(super) fn reset(&mut self) {
        self.batches = 0;
        self.elapsed = Duration::ZERO;
        self.latency.reset();
    }

    /// Goes on for so long.
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    pub(super) fn run(&mut self, length: Duration) -> Result<(), Failure> {
        let started = Instant::now();
        let mut before = started;
        while before.duration_since(started) < length && !signals::stopped() {
            self.step().map_err(|error| fail(&self.path, error))?;
            let after = Instant::now();
            record(&mut self.latency, after.duration_since(before));
            before = after;
        }
        self.elapsed += before.duration_since(started);
        Ok(())
    }

    fn step(&mut self) -> io::Result<()> {
        let batch_len = u64::try_from(self.batch_len).unwrap_or(u64::MAX);
        let mut batches = self.source.chunks_exact(self.batch_len);
        let count = self.source.len() / self.batch_len;
        let nth = usize::try_from(self.batches).unwrap_or(0) % count;
        let batch = batches.nth(nth).unwrap_or_default();
        self.file.write_all_at(batch, self.position)?;
        if self.sync {
            self.file.sync_data()?;
        }
        self.position = (self.position + batch_len) % self.len;
        self.batches += 1;
        Ok(())
    }

    /// Batches a second, over all runs.
    pub(super) fn rate(&self) -> f64 {
        ratio(float(self.batches), self.elapsed.as_secs_f64())
    }

    /// What one step is.
    pub(super) fn step_name(&self) -> &'static str {
        if self.sync {
            "pwrite+fdatasync"
        } else {
            "pwrite"
        }
    }

    /// Latencies of all batches.
    pub(super) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }
}

fn prewritten(path: &Path, len: u64) -> io::Result<File> {
    let zeros = vec![0; READ_LEN];
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(path)?;
    let mut written = 0;
    while written < len {
        let left = usize::try_from(len - written).unwrap_or(usize::MAX);
        let part = zeros.get(..left.min(READ_LEN)).unwrap_or_default();
        file.write_all_at(part, written)?;
        written += u64::try_from(part.len()).unwrap_or(u64::MAX);
    }
    file.sync_all()?;
    Ok(file)
}

fn fail(path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("use {}", path.display()), error)
}

/// Reads files from front to back and adds up bytes and time.
#[derive(Debug, Default)]
pub(super) struct RawScan {
    bytes: u64,
    elapsed: Duration,
}

impl RawScan {
    /// Reads `files`, one after the other.
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    pub(super) fn run(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let mut buffer = vec![0; READ_LEN];
        let started = Instant::now();
        for path in files {
            self.bytes += read_through(path, &mut buffer).map_err(|error| fail(path, error))?;
            signals::check()?;
        }
        self.elapsed += started.elapsed();
        Ok(())
    }

    /// Bytes a second, over all runs.
    pub(super) fn rate(&self) -> f64 {
        ratio(float(self.bytes), self.elapsed.as_secs_f64())
    }
}

fn read_through(path: &Path, buffer: &mut [u8]) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).open(path)?;
    let mut position = 0;
    loop {
        match file.read_at(buffer, position)? {
            0 => return Ok(position),
            len => position += u64::try_from(len).unwrap_or(u64::MAX),
        }
    }
}
