//! Writing a segment: the active one of a partition, until it is sealed.
//!
//! A write that failed leaves the writer as it was, and the next one goes to
//! the same place. A sync that failed ends the writer: what is on disk is
//! unknown, and a second sync would report success.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::index::{self, Indexer};
use super::out::Out;
use super::rebuild::Rebuilt;
use super::scan::{Extent, Source};
use super::{ActiveIndex, DATA_START, SegmentEnv, SegmentMeta, index_name, log_name, read_exact};
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{self, BatchHeader};
use crate::format::index::{IndexEntry, encode_header};
use crate::format::segment::{SEGMENT_FOOTER_LEN, SegmentFooter, SegmentHeader};
use crate::ids::{Lsn, Offset, Position, Timestamp, to_u64, to_usize};
use crate::io::{File, OpenMode};

/// Bytes after which what was gathered is written.
const WRITE_LEN: usize = 256 << 10;

/// The active segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    env: SegmentEnv,
    log: Arc<dyn File>,
    out: Out,
    /// What has been appended; `bytes` is where the next batch goes.
    meta: SegmentMeta,
    index: Arc<ActiveIndex>,
    indexer: Indexer,
    /// Entries that the index file has; `None` if it is to be begun anew.
    saved: Option<usize>,
    /// Set by a failed sync, for good.
    poisoned: bool,
}

impl SegmentWriter {
    /// Begins the segment at `base`.
    ///
    /// Does not sync the directory: before anything refers to the file, the
    /// caller calls [`Self::sync`] and `Directory::sync`. A power cut before
    /// that leaves a file that nothing refers to; this call replaces it.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says. What was created stays: harmless.
    pub(crate) fn create(env: SegmentEnv, base: Offset, now: Timestamp) -> Result<Self> {
        // Removed, not cut: nothing refers to the leftovers of an interrupted
        // checkpoint, but a handle or a map of them may still be open.
        super::remove(&env, base)?;
        let name = log_name(base);
        let log = env
            .dir
            .open(&name, OpenMode::CreateNew)
            .map_err(|error| Error::io(format!("create {}", env.path(&name)), error))?;
        let header = SegmentHeader {
            store: env.store,
            partition: env.id,
            base,
            created: now,
        };
        log.write_all_at(&header.encode(), 0)
            .map_err(|error| Error::io(format!("write {}", env.path(&name)), error))?;
        let meta = SegmentMeta {
            base,
            end: base,
            bytes: DATA_START,
            records: 0,
            max_timestamp: Timestamp::MIN,
            created: now,
            sealed: None,
        };
        let mut writer = Self {
            index: Arc::new(ActiveIndex::new(base, Vec::new())),
            indexer: Indexer::new(&env, base),
            out: Out::new(Arc::clone(&log), env.direct, DATA_START),
            env,
            log,
            meta,
            saved: None,
            poisoned: false,
        };
        writer.save_index()?;
        Ok(writer)
    }

    /// Goes on with the active segment that `meta` describes.
    ///
    /// What lies beyond `meta` is cut: a checkpoint wrote it and was interrupted
    /// before its snapshot, and the log still has it. The cut of the log needs
    /// no sync of its own: until one returned, nothing refers beyond `meta`.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the file is missing, another one, or shorter than what was
    /// durable, or if batches behind the last good index entry do not check
    /// out; then nothing was changed.
    pub(crate) fn reopen(env: SegmentEnv, meta: &SegmentMeta) -> Result<Self> {
        let name = env.segment(meta.base);
        if meta.sealed.is_some() {
            return Err(Error::invalid(format!("{name} is sealed")));
        }
        let log = open_log(&env, meta, OpenMode::Write)?;
        let len = check_length(&env, meta, &*log)?;
        env.check_header(&*log, meta.base)?;
        let (good, idx) = load_index(&env, meta)?;
        let (entries, indexer) = complete_index(&env, meta, &log, &good)?;
        let saved = entries.starts_with(&good) && !good.is_empty();
        let saved = saved.then_some(good.len());
        // All is checked; only now may anything change.
        if len > meta.bytes {
            log.set_len(meta.bytes)
                .map_err(|error| Error::io(format!("cut {name} to {}", meta.bytes), error))?;
        }
        let keep = saved.map_or(0, index::file_len);
        if let Some((file, len)) = idx
            && len != to_u64(keep)
        {
            cut_index(&env, meta.base, &*file, keep)?;
        }
        Ok(Self {
            index: Arc::new(ActiveIndex::new(meta.base, entries)),
            indexer,
            out: Out::new(Arc::clone(&log), env.direct, meta.bytes),
            env,
            log,
            meta: *meta,
            saved,
            poisoned: false,
        })
    }

    /// Appends whole, valid batches, offsets rising; gaps are fine.
    ///
    /// # Errors
    ///
    /// `Invalid` if they are none, or do not fit; `Full` and whatever else the
    /// operating system says. Then the segment is as it was before the call.
    pub(crate) fn append(&mut self, batches: &[Bytes]) -> Result<()> {
        self.check_open()?;
        let mut meta = self.meta;
        let mut indexer = self.indexer.clone();
        let mut entries = Vec::new();
        let mut gathered: Vec<&[u8]> = Vec::with_capacity(batches.len());
        let (mut bytes, mut from) = (0, meta.bytes);
        for batch in batches {
            let header = self.check_batch(batch, &meta)?;
            entries.extend(indexer.observe(meta.bytes, &header));
            meta.bytes += to_u64(batch.len());
            meta.end = header.end_offset();
            meta.records += u64::from(header.count);
            meta.max_timestamp = meta.max_timestamp.max(header.max_timestamp);
            gathered.push(batch);
            bytes += batch.len();
            if bytes >= WRITE_LEN {
                self.write(&gathered, from)?;
                gathered.clear();
                (bytes, from) = (0, meta.bytes);
            }
        }
        if !gathered.is_empty() {
            self.write(&gathered, from)?;
        }
        self.meta = meta;
        self.indexer = indexer;
        self.index.extend(&entries);
        Ok(())
    }

    fn check_batch(&self, batch: &Bytes, meta: &SegmentMeta) -> Result<BatchHeader> {
        let name = self.env.segment(meta.base);
        let header = BatchHeader::decode(batch).map_err(|error| {
            let message = format!("expected a batch to append to {name}");
            Error::with_source(ErrorKind::Invalid, message, error)
        })?;
        debug_assert_eq!(
            batch::verify(batch, &header, self.env.seed()),
            Ok(()),
            "a batch of another partition, or changed in memory"
        );
        let (base, end) = (header.base_offset, header.end_offset());
        let wrong = if header.length != batch.len() {
            format!("of {} bytes, found {}", header.length, batch.len())
        } else if base < meta.end {
            format!("from offset {} on, found {base}", meta.end)
        } else if !fits(meta, to_u64(batch.len()), end) {
            format!("that fits behind {} bytes; seal it first", meta.bytes)
        } else {
            return Ok(header);
        };
        Err(Error::invalid(format!(
            "expected a batch to append to {name} {wrong}"
        )))
    }

    fn write(&mut self, bufs: &[&[u8]], position: u64) -> Result<()> {
        let (env, meta) = (&self.env, &self.meta);
        let reopen = || env.dir.open(&log_name(meta.base), OpenMode::Write);
        self.out
            .write(bufs, position, &env.scratch, reopen)
            .map_err(|error| {
                let name = env.segment(meta.base);
                Error::io(format!("append to {name} at byte {position}"), error)
            })
    }

    /// Makes everything appended durable.
    ///
    /// The index is written along and not synced: it is derived, and after a
    /// power cut [`Self::reopen`] completes it from the log.
    ///
    /// # Errors
    ///
    /// `Poisoned` if the log could not be synced: this and every later call.
    /// Others, if the index could not be written: try again later.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.check_open()?;
        if self.saved != Some(self.index.len()) {
            self.save_index()?;
        }
        self.settle()?;
        self.sync_log()
    }

    /// Seals the segment: it never changes again.
    ///
    /// `durable` is the LSN below which everything in here was durable. A power
    /// cut before the snapshot refers to the footer leaves it as bytes beyond
    /// those that count: the segment is reopened as active, and they are cut.
    ///
    /// # Errors
    ///
    /// As [`Self::sync`]; the segment is not sealed then.
    pub(crate) fn seal(&mut self, now: Timestamp, durable: Lsn) -> Result<()> {
        self.check_open()?;
        // Completed and synced first: a sealed index is not looked at again
        // until a reader opens it.
        let name = self.env.path(&index_name(self.meta.base));
        let result = self.save_index()?.sync_data();
        result.map_err(|error| self.poison(format!("sync {name}"), error))?;
        let footer = SegmentFooter {
            end: self.meta.end,
            data_end: Position::new(self.meta.bytes),
            records: self.meta.records,
            max_timestamp: self.meta.max_timestamp,
            sealed: now,
            durable,
        };
        let footer = footer.encode(self.env.seed());
        self.write(&[&footer], self.meta.bytes)?;
        self.settle_to(self.meta.bytes + to_u64(SEGMENT_FOOTER_LEN))?;
        // A batch that failed to be appended may have left bytes behind.
        let len = self.meta.bytes + to_u64(SEGMENT_FOOTER_LEN);
        self.log.set_len(len).map_err(|error| {
            let name = self.env.segment(self.meta.base);
            Error::io(format!("cut {name} to {len}"), error)
        })?;
        self.sync_log()?;
        self.meta.sealed = Some(now);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        self.settle_to(self.meta.bytes)
    }

    /// Puts what is still in memory into the file, which ends at `end`.
    fn settle_to(&mut self, end: u64) -> Result<()> {
        self.out.settle(end).map_err(|error| {
            let name = self.env.segment(self.meta.base);
            Error::io(format!("append to {name} before byte {end}"), error)
        })
    }

    fn sync_log(&mut self) -> Result<()> {
        let result = self.log.sync_data();
        result.map_err(|error| {
            let name = self.env.segment(self.meta.base);
            self.poison(format!("sync {name}"), error)
        })
    }

    fn poison(&mut self, attempt: String, error: io::Error) -> Error {
        self.poisoned = true;
        Error::io(attempt, error).because(ErrorKind::Poisoned, "what is on disk is unknown")
    }

    fn check_open(&self) -> Result<()> {
        let (kind, state) = if self.poisoned {
            (ErrorKind::Poisoned, "failed to be synced before")
        } else if self.meta.sealed.is_some() {
            (ErrorKind::Invalid, "is sealed")
        } else {
            return Ok(());
        };
        let name = self.env.segment(self.meta.base);
        Err(Error::new(kind, format!("{name} {state}")))
    }

    /// Writes the entries that the file does not have; returns the file.
    ///
    /// It is opened every time: an active segment costs one descriptor, not two.
    fn save_index(&mut self) -> Result<Arc<dyn File>> {
        let base = self.meta.base;
        let name = index_name(base);
        let attempt = |verb: &str| format!("{verb} {}", self.env.path(&name));
        let file = self
            .env
            .dir
            .open(&name, OpenMode::Create)
            .map_err(|error| Error::io(attempt("open"), error))?;
        let seed = self.env.seed();
        let mut bytes = BytesMut::new();
        let (from, at) = if let Some(saved) = self.saved {
            (saved, to_u64(index::file_len(saved)))
        } else {
            file.set_len(0)
                .map_err(|error| Error::io(attempt("empty"), error))?;
            bytes = encode_header(base, seed);
            (0, 0)
        };
        let count = self.index.with(|entries| {
            let new = entries.get(from..).unwrap_or_default();
            index::encode_entries(new, from, seed, &mut bytes);
            entries.len()
        });
        if !bytes.is_empty() {
            file.write_all_at(&bytes, at)
                .map_err(|error| Error::io(attempt("write"), error))?;
        }
        self.saved = Some(count);
        Ok(file)
    }

    /// What is in the segment. Durable after [`Self::sync`] or [`Self::seal`].
    pub(crate) fn meta(&self) -> SegmentMeta {
        self.meta
    }

    /// True if a batch of `next_len` bytes that ends at offset `next_end`
    /// belongs into a new segment: this one would exceed `limit` bytes, or
    /// what an index can name. Never true of an empty segment that starts at
    /// the batch.
    pub(crate) fn is_full(&self, limit: u64, next_len: u64, next_end: Offset) -> bool {
        let bytes = self.meta.bytes.saturating_add(next_len);
        let empty = self.meta.bytes == DATA_START;
        (!empty && bytes > limit) || !fits(&self.meta, next_len, next_end)
    }

    /// Where batches are, for readers of the active segment.
    pub(crate) fn index(&self) -> Arc<ActiveIndex> {
        Arc::clone(&self.index)
    }
}

/// The index of an active segment that is only read: from its file, completed
/// from the log, nothing written.
///
/// # Errors
///
/// `Corrupt` if the log does not check out.
pub(crate) fn read_active_index(env: &SegmentEnv, meta: &SegmentMeta) -> Result<Arc<ActiveIndex>> {
    let log = open_log(env, meta, OpenMode::Read)?;
    check_length(env, meta, &*log)?;
    env.check_header(&*log, meta.base)?;
    let (good, _) = load_index(env, meta)?;
    let (entries, _) = complete_index(env, meta, &log, &good)?;
    Ok(Arc::new(ActiveIndex::new(meta.base, entries)))
}

/// True if an index can name what comes after a batch of `len` bytes that ends
/// at offset `end`.
fn fits(meta: &SegmentMeta, len: u64, end: Offset) -> bool {
    let bytes = meta.bytes.saturating_add(len);
    u32::try_from(bytes).is_ok() && u32::try_from(end.since(meta.base)).is_ok()
}

/// Opens the log that `meta` describes.
pub(super) fn open_log(
    env: &SegmentEnv,
    meta: &SegmentMeta,
    mode: OpenMode,
) -> Result<Arc<dyn File>> {
    let SegmentMeta { base, end, .. } = meta;
    env.dir.open(&log_name(*base), mode).map_err(|error| {
        let name = env.segment(*base);
        if error.kind() == io::ErrorKind::NotFound {
            let lost = format!("the records from offset {base} to {end} are in no other file");
            return Error::corrupt(format!("{name} is missing: {lost}"));
        }
        Error::io(format!("open {name}"), error)
    })
}

/// The length of the log: at least what was durable, which is sane.
pub(super) fn check_length(env: &SegmentEnv, meta: &SegmentMeta, log: &dyn File) -> Result<u64> {
    let name = env.segment(meta.base);
    let len = log
        .len()
        .map_err(|error| Error::io(format!("ask for the length of {name}"), error))?;
    if meta.bytes < DATA_START || len < meta.bytes {
        return Err(Error::corrupt(format!(
            "{name} ends at byte {len}, {} bytes were durable (up to offset {})",
            meta.bytes, meta.end
        )));
    }
    Ok(len)
}

/// An index file and its length.
type IndexFile = (Arc<dyn File>, u64);

/// The good entries of the index file, and the file if there is one.
fn load_index(
    env: &SegmentEnv,
    meta: &SegmentMeta,
) -> Result<(Vec<IndexEntry>, Option<IndexFile>)> {
    let name = index_name(meta.base);
    let path = env.path(&name);
    let mode = if env.writable {
        OpenMode::Write
    } else {
        OpenMode::Read
    };
    let file = match env.dir.open(&name, mode) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        Err(error) => return Err(Error::io(format!("open {path}"), error)),
    };
    let len = file
        .len()
        .map_err(|error| Error::io(format!("ask for the length of {path}"), error))?;
    // Entries beyond what the data can have are cut with the rest.
    let read = len.min(index::file_len_max(meta.bytes));
    let mut bytes = BytesMut::zeroed(to_usize(read));
    read_exact(&*file, &mut bytes, 0, &path)?;
    let good = index::split_good(&bytes, meta.base, env.seed(), meta.bytes, meta.end);
    Ok((good.unwrap_or_default(), Some((file, len))))
}

/// The entries for all of the log, given those that the file had.
///
/// Reads what lies behind the last of them, or everything if there is none.
fn complete_index(
    env: &SegmentEnv,
    meta: &SegmentMeta,
    log: &Arc<dyn File>,
    good: &[IndexEntry],
) -> Result<(Vec<IndexEntry>, Indexer)> {
    let source = Source::File(Arc::clone(log));
    let extent = Extent::of(meta);
    let mut built = Rebuilt::scan(env, &source, extent, good);
    if built.damage.is_some() && !good.is_empty() {
        // The entry may be what is wrong: then the log checks out without it.
        built = Rebuilt::scan(env, &source, extent, &[]);
    }
    if let Some(error) = built.damage {
        return Err(error);
    }
    let name = env.segment(meta.base);
    let found = built.indexer.max_timestamp();
    if found != meta.max_timestamp {
        return Err(Error::corrupt(format!(
            "the latest event in {name} is of {found}, expected {}",
            meta.max_timestamp
        )));
    }
    Ok((built.entries, built.indexer))
}

/// Cuts the index to `keep` bytes, for good.
///
/// Synced, other than the log: entries that are written over the cut ones are
/// not synced, and a power cut must not bring back stale ones that check out.
fn cut_index(env: &SegmentEnv, base: Offset, file: &dyn File, keep: usize) -> Result<()> {
    let path = env.path(&index_name(base));
    let keep = to_u64(keep);
    file.set_len(keep)
        .and_then(|()| file.sync_data())
        .map_err(|error| Error::io(format!("cut {path} to {keep}"), error))
}
