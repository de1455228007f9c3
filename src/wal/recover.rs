//! Recovery: where the log ends, and whether anything before that is missing.
//!
//! A frame that does not check out is a torn tail if nothing says that it was
//! ever durable, and damage if anything does: a later frame of the same
//! generation, a later file, a snapshot. A torn tail is cut; damage stops with
//! an error and changes nothing.
//!
//! Writing never goes on in a file that was written before the restart. What
//! is not proven durable (it may lie in the page cache only) is copied to the
//! next file, synced, and that file's header written last: until then the old
//! file counts, from then on the new one does. docs/format.md section 7.3.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use super::files::{FilesEnv, Spare, Spares, WalFile, header_block, make, name, parse_name};
use super::group::{Group, padded};
use super::scan::{Walk, WalkEnd, evidence_after, walk};
use super::{Inner, Wal, WalCounters, WalOptions};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::entry::Entry;
use crate::format::frame;
use crate::format::walfile::{WalBlock, WalHeader};
use crate::ids::{Lsn, to_u64, to_usize};
use crate::io::{BLOCK_LEN, Blocks, File, OpenMode, WriteQueue};
use crate::signal::Signal;

/// Takes the commits that the log holds, in order.
pub(crate) trait Replay {
    /// One commit, between `lsn` and `end`.
    ///
    /// # Errors
    ///
    /// Whatever makes opening impossible.
    fn commit(&mut self, lsn: Lsn, end: Lsn, entries: &[Entry<'_>]) -> Result<()>;
}

/// Where to start, and what is known from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct From {
    /// LSN of the snapshot: replay starts here.
    pub(crate) lsn: Lsn,
    /// The file in which that LSN lies, or which ends there.
    pub(crate) sequence: u64,
    /// All below was durable, by the names of snapshots.
    pub(crate) evidence: Lsn,
    /// What lies above is kept, for the older snapshot.
    pub(crate) keep: Lsn,
}

/// A tail that is no part of the log and is cut.
#[derive(Clone, Debug)]
pub(crate) struct Torn {
    pub(crate) file: String,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
}

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) frames: u64,
    /// LSN after the last frame.
    pub(crate) end: Lsn,
    pub(crate) torn: Option<Torn>,
    pub(crate) notes: Vec<String>,
    /// True if the log ends with the mark of an orderly close.
    pub(crate) clean: bool,
    /// All below is proven durable.
    proven: Lsn,
    /// The same as `end`, without padding.
    exact_end: Lsn,
    last: LiveFile,
    /// Files that no replay needs, oldest first.
    obsolete: Vec<u64>,
    /// Files from the first that is needed on, by the older snapshot too.
    live: Vec<LiveFile>,
    last_frame: Option<Lsn>,
}

/// A file with a valid header of its own name.
#[derive(Clone, Debug)]
pub(super) struct LiveFile {
    pub(super) file: Arc<dyn File>,
    pub(super) header: WalHeader,
    pub(super) len: u64,
    pub(super) seed: Seed,
}

impl LiveFile {
    pub(super) fn path(&self) -> String {
        format!("wal/{}", name(self.header.sequence))
    }

    pub(super) fn position(&self, lsn: Lsn) -> u64 {
        to_u64(BLOCK_LEN) + lsn.since(self.header.base)
    }

    pub(super) fn lsn(&self, position: u64) -> Lsn {
        let from_base = position.saturating_sub(to_u64(BLOCK_LEN));
        self.header.base.saturating_add(from_base)
    }
}

/// All files of the directory, by what they are.
struct Listing {
    live: Vec<LiveFile>,
    /// Files that are not live: spares, or files whose header was lost.
    others: Vec<(u64, Arc<dyn File>)>,
    /// Of those, the ones that are ours to use again.
    spares: Vec<u64>,
    notes: Vec<String>,
}

/// Refuses a file that has lost its end.
fn check_whole(header: &WalHeader, len: u64) -> Result<()> {
    let whole = u64::from(header.blocks) * to_u64(BLOCK_LEN);
    if len >= whole {
        return Ok(());
    }
    let past = len.saturating_sub(to_u64(BLOCK_LEN));
    Err(Error::corrupt(format!(
        "wal/{} ends at byte {len}, expected {whole} bytes (LSN range from {}): its end is \
         missing; nothing was changed",
        name(header.sequence),
        header.base.saturating_add(past)
    )))
}

fn list(env: &FilesEnv, mode: OpenMode) -> Result<Listing> {
    let entries = env
        .dir
        .list()
        .map_err(|error| Error::io("list directory wal", error))?;
    let mut listing = Listing {
        live: Vec::new(),
        others: Vec::new(),
        spares: Vec::new(),
        notes: Vec::new(),
    };
    for entry in entries {
        let Some(sequence) = parse_name(&entry.name) else {
            let note = format!("wal/{} is not a file of the log; left alone", entry.name);
            listing.notes.push(note);
            continue;
        };
        let attempt = |step: &str| format!("{step} wal/{}", entry.name);
        let file = env
            .dir
            .open(&entry.name, mode)
            .map_err(|error| Error::io(attempt("open"), error))?;
        let len = file
            .len()
            .map_err(|error| Error::io(attempt("measure"), error))?;
        let mut block = vec![0; to_usize(len.min(to_u64(BLOCK_LEN)))];
        file.read_exact_at(&mut block, 0)
            .map_err(|error| Error::io(attempt("read"), error))?;
        match WalHeader::decode(&block) {
            Err(error @ DecodeError::Unsupported { .. }) => {
                return Err(Error::with_source(
                    ErrorKind::Unsupported,
                    attempt("read"),
                    error,
                ));
            }
            Ok(WalBlock::Header(header))
                if header.sequence == sequence && header.store == env.store =>
            {
                check_whole(&header, len)?;
                listing.live.push(LiveFile {
                    file,
                    header,
                    len,
                    seed: Seed::wal(env.store, sequence),
                });
            }
            Ok(WalBlock::Zeros) => {
                listing.spares.push(sequence);
                listing.others.push((sequence, file));
            }
            Ok(WalBlock::Header(header)) if header.store == env.store => {
                listing.spares.push(sequence);
                listing.others.push((sequence, file));
            }
            // What is no file of this store is not ours to use or remove.
            _ => {
                let note = format!("wal/{} has no header of this store", entry.name);
                listing.notes.push(note);
                listing.others.push((sequence, file));
            }
        }
    }
    Ok(listing)
}

/// Reads the log from `from` on into `replay` and decides where it ends.
/// Writes nothing.
///
/// # Errors
///
/// `Corrupt` if something durable is missing or damaged, naming file, byte and
/// LSNs; what `replay` says.
pub(crate) fn recover(
    env: &FilesEnv,
    from: From,
    writable: bool,
    replay: &mut dyn Replay,
) -> Result<Recovered> {
    let mode = if writable {
        OpenMode::Write
    } else {
        OpenMode::Read
    };
    let Listing {
        live: all,
        others,
        spares,
        notes,
    } = list(env, mode)?;
    let first = first_needed(&all, from);
    let (old, live): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|file| file.header.sequence < first);
    check_sequence(&live, first, from)?;
    let mut at = from.lsn;
    let mut frames = 0;
    let mut last = None;
    for (n, file) in live.iter().enumerate() {
        let stop = live.get(n + 1).map(|next| next.header.base);
        let end = walk(file, &Walk { from: at, stop }, replay)?;
        frames += end.frames;
        if let Some(stop) = stop
            && padded(end.at) < stop
        {
            return Err(damage(file, &end, stop, "a later file starts after it"));
        }
        at = stop.unwrap_or(end.at);
        last = Some((file.clone(), end));
    }
    let (last, end) = last.expect("check_sequence saw at least one file");
    let evidence = evidence(&last, &end, &others, env, from)?;
    if evidence > padded(end.at) {
        return Err(damage(
            &last,
            &end,
            evidence,
            "later bytes say that it was durable",
        ));
    }
    let (obsolete, mut kept) = split_kept(old, &live, from.keep);
    kept.extend(live);
    let obsolete = obsolete.iter().map(|file| file.header.sequence);
    Ok(Recovered {
        frames,
        end: padded(end.at),
        torn: end.torn(&last)?,
        notes,
        clean: end.closed,
        proven: evidence,
        exact_end: end.at,
        obsolete: obsolete.chain(spares).collect(),
        last_frame: end.last_frame,
        last,
        live: kept,
    })
}

/// Sequence number of the file in which replay starts.
///
/// Of files that begin at or below that LSN the last one will do: those
/// before it may have been used again.
fn first_needed(all: &[LiveFile], from: From) -> u64 {
    let mut later = all.iter().rev().map(|file| &file.header);
    later
        .find(|header| header.sequence >= from.sequence && header.base <= from.lsn)
        .map_or(from.sequence, |header| header.sequence)
}

/// Tells files that lie wholly below `keep` from those that do not.
fn split_kept(old: Vec<LiveFile>, live: &[LiveFile], keep: Lsn) -> (Vec<LiveFile>, Vec<LiveFile>) {
    let bases = old.iter().chain(live).map(|file| file.header.base);
    let ends: Vec<_> = bases.skip(1).collect();
    let ended = old.into_iter().zip(ends);
    let (obsolete, kept): (Vec<_>, Vec<_>) = ended.partition(|(_, end)| *end <= keep);
    let files = |pairs: Vec<(LiveFile, Lsn)>| pairs.into_iter().map(|(file, _)| file).collect();
    (files(obsolete), files(kept))
}

/// The files must be there without a gap, from the snapshot's on.
fn check_sequence(live: &[LiveFile], first: u64, from: From) -> Result<()> {
    for (expected, file) in (first..).zip(live) {
        if file.header.sequence != expected {
            return Err(Error::corrupt(format!(
                "wal/{} is missing or has lost its header (LSN range up to {}): later files of \
                 the log are there; nothing was changed",
                name(expected),
                file.header.base
            )));
        }
    }
    let fits = |file: &LiveFile| file.header.base <= from.lsn;
    if live.first().is_some_and(fits) {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "wal/{} is missing or has lost its header: the snapshot at LSN {} goes on in it; \
         nothing was changed",
        name(first),
        from.lsn
    )))
}

/// All below the result was durable once, by anything that says so.
fn evidence(
    last: &LiveFile,
    end: &WalkEnd,
    others: &[(u64, Arc<dyn File>)],
    env: &FilesEnv,
    from: From,
) -> Result<Lsn> {
    let mut evidence = from
        .evidence
        .max(from.lsn)
        .max(last.header.base)
        .max(end.durable);
    if !end.closed {
        evidence = evidence.max(evidence_after(last, end.at)?);
    }
    // The next file may have lost its header, but not the frames after it. A
    // spare has frames of earlier generations, if any.
    let next = last.header.sequence + 1;
    if let Some((_, file)) = others.iter().find(|(sequence, _)| *sequence == next) {
        let headless = LiveFile {
            file: Arc::clone(file),
            header: WalHeader {
                store: env.store,
                sequence: next,
                base: padded(end.at),
                blocks: 0,
            },
            len: file
                .len()
                .map_err(|error| Error::io(format!("measure wal/{}", name(next)), error))?,
            seed: Seed::wal(env.store, next),
        };
        evidence = evidence.max(super::scan::evidence_at_start(&headless)?);
    }
    Ok(evidence)
}

fn damage(file: &LiveFile, end: &WalkEnd, durable: Lsn, why: &str) -> Error {
    let reason = end
        .bad
        .as_ref()
        .map_or_else(|| "nothing is there".to_owned(), ToString::to_string);
    Error::corrupt(format!(
        "{} is damaged at byte {} (LSN range {}..{durable}): {reason}; {why}; nothing was changed",
        file.path(),
        file.position(end.at),
        end.at,
    ))
}

impl Recovered {
    /// Starts writing: in a new file, which gets a copy of what is not proven
    /// durable.
    ///
    /// # Errors
    ///
    /// The operating system's; then the store is as it was before.
    pub(crate) fn start(
        self,
        env: FilesEnv,
        options: WalOptions,
        clock: Arc<dyn Clock>,
        queue: Option<Box<dyn WriteQueue>>,
    ) -> Result<Wal> {
        let next_sequence = self.last.header.sequence + 1;
        let base = self.proven.min(self.end);
        let tail = self.copy_tail(base, env.store)?;
        self.settle_last(&env)?;
        // A spare of this number may hold frames of this very generation, from
        // an attempt that a crash ended. They must not come back: it is made
        // anew unless the close mark says that there was no such attempt.
        let reuse = self.clean && self.obsolete.contains(&next_sequence);
        let spare = if reuse {
            open_spare(&env, next_sequence)?
        } else {
            make(&env, next_sequence, !self.clean)?
        };
        let mut ready = VecDeque::new();
        let mut sequence = next_sequence + 1;
        while self.obsolete.contains(&sequence) {
            ready.push_back(open_spare(&env, sequence)?);
            sequence += 1;
        }
        let file = activate(&env, spare, base, &tail)?;
        let spares = Spares::new(env.clone(), ready, sequence);
        let mut live: Vec<_> = self
            .live
            .iter()
            .map(|live| {
                let spare = Spare {
                    file: Arc::clone(&live.file),
                    sequence: live.header.sequence,
                    direct: false,
                };
                Arc::new(WalFile::new(&env, spare, live.header.base))
            })
            .collect();
        live.push(file);
        let last_frame = self.last_frame.filter(|_| !tail.is_empty());
        let parts = Parts {
            files: env,
            options,
            clock,
            queue,
            spares,
            live,
        };
        let wal = Wal::assemble(parts, self.end, last_frame);
        // Files before the snapshot's that a crash kept from being used again.
        for obsolete in self.obsolete.iter().filter(|old| **old < next_sequence) {
            wal.give_back_obsolete(*obsolete)?;
        }
        Ok(wal)
    }

    /// Makes the header of the last file durable: it may have been read from
    /// the page cache, and the next file is nothing without it. Written once
    /// more, since a sync that failed before may have left it clean.
    fn settle_last(&self, env: &FilesEnv) -> Result<()> {
        let last = &self.last;
        debug_assert_eq!(last.header.store, env.store, "live files are of this store");
        last.file
            .write_all_at(&header_block(&last.header), 0)
            .map_err(|error| Error::io(format!("write {}", last.path()), error))?;
        last.file
            .sync_data()
            .map_err(|error| Error::io(format!("sync {}", last.path()), error))
    }

    /// The blocks from `base` to the end, sealed for the next generation.
    fn copy_tail(&self, base: Lsn, store: crate::ids::StoreId) -> Result<Blocks> {
        let file = &self.last;
        let mut tail = Blocks::zeroed(to_usize(self.exact_end.since(base)));
        let attempt = || format!("read {}", file.path());
        file.file
            .read_exact_at(&mut tail, file.position(base))
            .map_err(|error| Error::io(attempt(), error))?;
        let to = Seed::wal(store, file.header.sequence + 1);
        let whole = frame::reseal(&mut tail, file.seed, to, BLOCK_LEN);
        if whole != tail.len() && padded(base.saturating_add(to_u64(whole))) < self.end {
            return Err(Error::corrupt(format!(
                "{} reads differently the second time, at LSN {}; nothing was changed",
                file.path(),
                base.saturating_add(to_u64(whole)),
            )));
        }
        tail.resize(to_usize(self.end.since(base)));
        Ok(tail)
    }
}

fn open_spare(env: &FilesEnv, sequence: u64) -> Result<Spare> {
    let name = name(sequence);
    let attempt = |step: &str| format!("{step} wal/{name}");
    let file = env
        .dir
        .open(&name, OpenMode::Write)
        .map_err(|error| Error::io(attempt("open"), error))?;
    let len = file
        .len()
        .map_err(|error| Error::io(attempt("measure"), error))?;
    if len != env.file_bytes {
        // The size was changed, or making it was cut short.
        return make(env, sequence, true);
    }
    let direct = env.go_direct(&*file, sequence)?;
    Ok(Spare {
        file,
        sequence,
        direct,
    })
}

/// Makes `spare` the file that is written to. In a crash before the last
/// sync the file is still a spare; after it, all of it counts.
fn activate(env: &FilesEnv, spare: Spare, base: Lsn, tail: &Blocks) -> Result<Arc<WalFile>> {
    let file = WalFile::new(env, spare, base);
    let attempt = |step: &str| format!("{step} {}", file.path());
    if !tail.is_empty() {
        file.file
            .write_blocks(tail, to_u64(BLOCK_LEN), false)
            .map_err(|error| Error::io(attempt("write"), error))?;
        file.file
            .sync_data()
            .map_err(|error| Error::io(attempt("sync"), error))?;
    }
    let mut header = Blocks::zeroed(BLOCK_LEN);
    header.copy_from_slice(&file.header_block(env.store));
    file.file
        .write_blocks(&header, 0, false)
        .map_err(|error| Error::io(attempt("begin"), error))?;
    file.file
        .sync_data()
        .map_err(|error| Error::io(attempt("sync"), error))?;
    env.dir
        .sync()
        .map_err(|error| Error::io("sync directory wal", error))?;
    Ok(Arc::new(file))
}

/// What a log is put together from.
struct Parts {
    files: FilesEnv,
    options: WalOptions,
    clock: Arc<dyn Clock>,
    queue: Option<Box<dyn WriteQueue>>,
    spares: Spares,
    /// The last one is written to.
    live: Vec<Arc<WalFile>>,
}

impl Wal {
    /// The log of a new store: one file, nothing in it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn create(env: &FilesEnv) -> Result<()> {
        let spare = make(env, 1, false)?;
        activate(env, spare, Lsn::ZERO, &Blocks::new()).map(|_| ())
    }

    fn assemble(parts: Parts, end: Lsn, last_frame: Option<Lsn>) -> Self {
        let live = parts.live;
        let active = Arc::clone(live.last().expect("the active file is one of them"));
        let building = Group::new(end, active, false, Blocks::new());
        Self {
            files: parts.files,
            options: parts.options,
            clock: parts.clock,
            queue: parts.queue,
            inner: Mutex::new(Inner {
                building,
                ready: VecDeque::new(),
                pending: 0,
                leading: false,
                last_frame,
                live: live.into(),
                unsynced: false,
                unsynced_since: Duration::ZERO,
                written: end,
                flights: VecDeque::new(),
                departing: 0,
                syncing: None,
                memory: Vec::new(),
            }),
            pending: AtomicUsize::new(0),
            end: AtomicU64::new(end.get()),
            room: Condvar::new(),
            departed: Condvar::new(),
            spares: parts.spares,
            durable: AtomicU64::new(end.get()),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            work: Arc::new(Signal::default()),
            counters: WalCounters::default(),
        }
    }

    fn give_back_obsolete(&self, sequence: u64) -> Result<()> {
        let spare = open_spare(&self.files, sequence)?;
        let file = WalFile::new(&self.files, spare, Lsn::ZERO);
        self.spares.give_back(&file, self.options.spares_max)
    }
}
