//! Recovery: where the log ends, and whether anything before that is missing.
//!
//! A frame that does not check out is a torn tail if nothing says that it was
//! ever durable, and damage if anything does: a later frame of the same
//! generation, a later file, a snapshot. A torn tail is cut; damage stops with
//! an error and changes nothing.
//!
//! Nothing here writes: how writing starts again after this is in `restart`.
//! docs/format.md section 7.3 has the rules.

use std::sync::Arc;

use super::files::{FilesEnv, name, parse_name};
use super::group::padded;
use super::scan::{Walk, WalkEnd, evidence_after, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::entry::Entry;
use crate::format::walfile::{WalBlock, WalHeader};
use crate::ids::{Lsn, to_u64, to_usize};
use crate::io::{BLOCK_LEN, File, OpenMode};

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
    pub(super) proven: Lsn,
    /// The same as `end`, without padding.
    pub(super) exact_end: Lsn,
    pub(super) last: LiveFile,
    /// Files that no replay needs, oldest first.
    pub(super) obsolete: Vec<u64>,
    /// Files from the first that is needed on, by the older snapshot too.
    pub(super) live: Vec<LiveFile>,
    pub(super) last_frame: Option<Lsn>,
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
