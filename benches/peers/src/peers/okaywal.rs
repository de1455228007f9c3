//! okaywal: a write-ahead log with group commit, and nothing else.
//!
//! Durable: one entry a call, one chunk a record; `commit` returns after an
//! `fdatasync` that all who commit at the same time share. Its files are used
//! again after a checkpoint, so that syncs need not allocate. Files of 16 MiB
//! and a buffer of 128 KiB were faster than the defaults (1 MiB and 16 KiB),
//! and than files of 4 or 64 MiB.
//!
//! Not durable: it has no such mode.
//!
//! Who embeds it must have moved the records elsewhere at a checkpoint; here
//! nothing is moved, which flatters it. What was appended is counted by the
//! entries' numbers, which have no gaps: those that checkpoints dropped, and
//! those that recovery reads back.
//!
//! It reads only in recovery and at checkpoints. The scan is a recovery of one
//! file that was never checkpointed, with the checksum of each chunk checked.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use okaywal::{
    Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::{Kind, Level, Work};

/// Preallocated bytes of a file; checkpointed at three quarters of it.
const FILE_BYTES: u32 = 16 << 20;

/// Bytes of its buffer: a batch fits.
const BUFFER_BYTES: usize = 128 << 10;

pub(super) const PEER: Peer = Peer {
    name: "okaywal",
    package: "okaywal",
    syncs: true,
    sharing: Sharing::Own,
    setting: "one entry a call; own group commit; files of 16 MiB used again; \
              records dropped at checkpoints; no mode without sync",
    scan: "a recovery, each record checked",
    skips,
    open,
};

fn skips(work: &Work) -> Option<&'static str> {
    match work.kind {
        Kind::Append {
            level: Level::Buffered,
            ..
        } => Some("has no mode without sync"),
        _ => None,
    }
}

struct Okaywal {
    dir: PathBuf,
    keep: bool,
    wal: WriteAheadLog,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Records of an entry, and bytes of a record: the same in all of a run.
    batch: AtomicU64,
    size: AtomicU64,
    /// Last entry that a checkpoint dropped.
    dropped: AtomicU64,
    recovered: AtomicU64,
    recovered_bytes: AtomicU64,
}

/// Where a run notes what checkpoints dropped: records, and bytes of each.
fn note(dir: &Path) -> PathBuf {
    dir.join("dropped")
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Store>> {
    let Setup { dir, level, .. } = *setup;
    let keep = level == Level::Replay;
    let counts = Arc::new(Counts::default());
    let wal = recover(dir, keep, &counts)?;
    Ok(Box::new(Okaywal {
        dir: dir.to_owned(),
        keep,
        wal,
        counts,
    }))
}

fn recover(dir: &Path, keep: bool, counts: &Arc<Counts>) -> Result<WriteAheadLog> {
    let checkpoint = if keep {
        u64::MAX
    } else {
        u64::from(FILE_BYTES / 4 * 3)
    };
    let configuration = Configuration::default_for(dir.join("wal"))
        .preallocate_bytes(FILE_BYTES)
        .buffer_bytes(BUFFER_BYTES)
        .checkpoint_after_bytes(checkpoint);
    let manager = Manager {
        counts: Arc::clone(counts),
        buffer: Vec::new(),
    };
    Ok(configuration.open(manager)?)
}

#[derive(Debug)]
struct Manager {
    counts: Arc<Counts>,
    buffer: Vec<u8>,
}

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            self.buffer.clear();
            let read = chunk.read_to_end(&mut self.buffer)?;
            if !chunk.check_crc()? {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            self.counts.recovered.fetch_add(1, SeqCst);
            self.counts.recovered_bytes.fetch_add(read, SeqCst);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        last: EntryId,
        _entries: &mut SegmentReader,
        _wal: &WriteAheadLog,
    ) -> io::Result<()> {
        self.counts.dropped.fetch_max(last.0, SeqCst);
        Ok(())
    }
}

impl Store for Okaywal {
    fn writer<'a>(&'a self, batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        let batch = batches.first().map_or(1, Vec::len);
        self.counts.batch.store(u64::try_from(batch)?, SeqCst);
        let value = batches.first().and_then(|batch| batch.first());
        let size = value.map_or(0, |value| value.len());
        self.counts.size.store(u64::try_from(size)?, SeqCst);
        Ok(Box::new(Appender(&self.wal)))
    }

    fn scan(&self) -> Result<Scanned> {
        // What open has recovered; of a store to be kept, once more, to be timed.
        let counts = if self.keep {
            let counts = Arc::new(Counts::default());
            recover(&self.dir, self.keep, &counts)?.shutdown()?;
            counts
        } else {
            Arc::clone(&self.counts)
        };
        let recovered = counts.recovered.load(SeqCst);
        let bytes = counts.recovered_bytes.load(SeqCst);
        let dropped = fs::read_to_string(note(&self.dir))?;
        let (dropped, size) = dropped.split_once(' ').ok_or("a note without size")?;
        let (dropped, size): (u64, u64) = (dropped.parse()?, size.parse()?);
        Ok(Scanned {
            records: recovered + dropped,
            bytes: bytes + dropped * size,
        })
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.wal.shutdown()?;
        let entries = self.counts.dropped.load(SeqCst);
        let dropped = entries * self.counts.batch.load(SeqCst);
        let size = self.counts.size.load(SeqCst);
        fs::write(note(&self.dir), format!("{dropped} {size}"))?;
        Ok(())
    }
}

struct Appender<'a>(&'a WriteAheadLog);

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let mut entry = self.0.begin_entry()?;
        for value in call.values {
            entry.write_chunk(value)?;
        }
        entry.commit()?;
        Ok(())
    }
}
