//! One way of writing durably, at one depth, for a moment: what the disk can do.
//!
//! The writers are threads that each wait for their write, so the depth is the
//! number of writes that the disk has at a time. Blocks are 4 KiB-aligned, and
//! but for [`Way::Grow`] they were written before: what a recycled log does.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::OFlags;
use serde::Serialize;

use super::meter::{histogram, quantile_us, record};
use super::{float, ratio, rounded, to_u64};
use crate::failure::Failure;
use crate::signals;

/// Blocks of this size are what a disk writes, and direct writes must keep to.
pub(super) const BLOCK_LEN: usize = 4096;

/// Part of the file that one writer has for itself.
const REGION_LEN: usize = 4 << 20;

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// Behind the end of the file, then `fdatasync`.
    Grow,
    /// Over blocks written before, then `fdatasync`.
    Overwrite,
    /// The same past the page cache: `O_DIRECT` and `O_DSYNC`.
    Direct,
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    way: Way,
    len: usize,
    depth: u32,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) way: Way,
    pub(super) write_bytes: u64,
    pub(super) depth: u32,
    pub(super) writes: u64,
    pub(super) writes_per_second: f64,
    pub(super) bytes_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

impl Probe {
    /// Writes of `len` bytes, rounded up to whole blocks, `depth` at a time.
    pub(super) fn new(way: Way, len: usize, depth: u32) -> Self {
        let len = len.next_multiple_of(BLOCK_LEN).max(BLOCK_LEN);
        Self { way, len, depth }
    }

    /// True if it goes past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.way == Way::Direct
    }

    /// Measures for `length` with a new file at `path`, which is removed.
    ///
    /// None if the file system refuses direct writes: tmpfs does, and some
    /// containers.
    #[expect(clippy::disallowed_methods, reason = "a file of its own")]
    pub(super) fn run(&self, path: &Path, length: Duration) -> Result<Option<Figures>, Failure> {
        let fail = |error| Failure::io(format!("measure syncs with {}", path.display()), error);
        let result = self.try_run(path, length);
        // Refused or not: the next probe makes its own.
        fs::remove_file(path).or_else(absent).map_err(fail)?;
        match result {
            Ok(figures) => figures.map(Some),
            Err(error) if self.way == Way::Direct && is_refusal(&error) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    fn try_run(&self, path: &Path, length: Duration) -> io::Result<Result<Figures, Failure>> {
        let region = self.len.max(REGION_LEN / self.len * self.len);
        let whole = region * usize::try_from(self.depth).unwrap_or(1);
        let file = self.make(path, if self.way == Way::Grow { 0 } else { whole })?;
        let results: Vec<io::Result<(u64, Duration, Histogram<u64>)>> = thread::scope(|scope| {
            let writers: Vec<_> = (0..self.depth)
                .map(|n| {
                    let from = usize::try_from(n).unwrap_or(0) * region;
                    let file = &file;
                    scope.spawn(move || self.write(file, to_u64(from), to_u64(region), length))
                })
                .collect();
            let join = |writer: thread::ScopedJoinHandle<'_, _>| {
                let ended = io::Error::other("a thread that wrote ended early");
                writer.join().unwrap_or(Err(ended))
            };
            writers.into_iter().map(join).collect()
        });
        let (mut writes, mut rate) = (0, 0.0);
        let mut latency = empty()?;
        for result in results {
            let (count, elapsed, of_one) = result?;
            writes += count;
            rate += ratio(float(count), elapsed.as_secs_f64());
            latency.add(&of_one).map_err(io::Error::other)?;
        }
        if let Err(failure) = signals::check() {
            return Ok(Err(failure));
        }
        Ok(Ok(Figures {
            way: self.way,
            write_bytes: to_u64(self.len),
            depth: self.depth,
            writes,
            writes_per_second: rounded(rate),
            bytes_per_second: rounded(rate * float(to_u64(self.len))),
            p50_us: rounded(quantile_us(&latency, 0.5)),
            p99_us: rounded(quantile_us(&latency, 0.99)),
            max_us: rounded(quantile_us(&latency, 1.0)),
        }))
    }

    /// Makes the file, with `len` bytes really written and synced.
    fn make(&self, path: &Path, len: usize) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..len).step_by(zeros.len()) {
            let part = zeros.get(..zeros.len().min(len - at)).unwrap_or_default();
            file.write_all_at(part, to_u64(at))?;
        }
        file.sync_all()?;
        if self.way != Way::Direct {
            return Ok(file);
        }
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(flags).open(path)
    }

    /// What one writer does: its region, from front to back and again.
    #[expect(clippy::disallowed_methods, reason = "it measures real time")]
    fn write(
        &self,
        file: &File,
        from: u64,
        region: u64,
        length: Duration,
    ) -> io::Result<(u64, Duration, Histogram<u64>)> {
        let buffer = Aligned::new(self.len);
        let mut latency = empty()?;
        let (mut at, mut writes) = (0, 0);
        let started = Instant::now();
        let mut before = started;
        // At least one: a probe without a figure helps nobody.
        while writes == 0 || (before.duration_since(started) < length && !signals::stopped()) {
            file.write_all_at(buffer.bytes(), from + at)?;
            if self.way != Way::Direct {
                file.sync_data()?;
            }
            let after = Instant::now();
            record(&mut latency, after.duration_since(before));
            before = after;
            writes += 1;
            at += to_u64(self.len);
            if self.way != Way::Grow {
                at %= region;
            }
        }
        Ok((writes, before.duration_since(started), latency))
    }
}

fn empty() -> io::Result<Histogram<u64>> {
    histogram().map_err(|failure| io::Error::other(failure.to_string()))
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(());
    }
    Err(error)
}

/// True for what a file system without direct writes answers.
fn is_refusal(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::InvalidInput || kind == io::ErrorKind::Unsupported
}

/// Bytes that begin at a multiple of [`BLOCK_LEN`], as direct writes need.
#[derive(Debug)]
struct Aligned {
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        // Room for the worst start; a Vec that is not touched stays where it is.
        let room = vec![0xA5; len + BLOCK_LEN];
        let start = room.as_ptr().align_offset(BLOCK_LEN);
        Self { room, start, len }
    }

    fn bytes(&self) -> &[u8] {
        self.room
            .get(self.start..self.start + self.len)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_where_direct_writes_may() {
        for len in [1, 4096, 1 << 20] {
            let buffer = Aligned::new(len);
            assert_eq!(buffer.bytes().len(), len);
            assert_eq!(buffer.bytes().as_ptr().addr() % BLOCK_LEN, 0);
        }
    }

    #[test]
    fn every_way_writes_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probe");
        for (way, depth) in [(Way::Grow, 1), (Way::Overwrite, 1), (Way::Direct, 4)] {
            let probe = Probe::new(way, 100, depth);
            let figures = probe.run(&path, Duration::from_millis(5)).unwrap();
            if let Some(figures) = figures {
                assert_eq!(figures.write_bytes, 4096);
                assert!(figures.writes >= u64::from(depth), "{figures:?}");
                assert!(figures.p50_us > 0.0);
            }
            assert!(!path.exists());
        }
    }
}
