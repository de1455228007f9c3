//! Recovery: where the log ends, and whether anything before that is missing.
//!
//! A frame that does not check out is a torn tail if nothing says that it was
//! ever durable, and damage if anything does: a later frame of the same
//! generation, a later file, a snapshot. A torn tail is cut; damage stops with
//! an error and changes nothing.
//!
//! Nothing here writes: how writing starts again after this is in `restart`.
//! docs/format.md section 7.6 has the rules.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::files::FilesEnv;
use super::group::padded;
use super::listing::{self, Listing, LiveFile, LogFile, Role, list};
use super::scan::{Torn, Walk, WalkEnd, evidence_after, evidence_at_start, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::entry::{self, Entry};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::walfile::WalHeader;
use crate::ids::{Lsn, StoreId, to_u64};
use crate::io::OpenMode;

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

/// What reading the log shows, in order. Opening stops at the first damage;
/// verification goes on.
pub(crate) trait Survey {
    /// A frame that is part of the log.
    ///
    /// # Errors
    ///
    /// Whatever ends the survey.
    fn frame(&mut self, file: &LiveFile, header: &FrameHeader, payload: &[u8]) -> Result<()>;

    /// Something durable is missing or damaged.
    ///
    /// # Errors
    ///
    /// Whatever ends the survey.
    fn damage(&mut self, damage: Damage) -> Result<()>;
}

/// Damage of the log, and where.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) file: String,
    pub(crate) position: u64,
    /// What is wrong there, with the LSNs.
    pub(crate) message: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            position,
            message,
        } = self;
        write!(f, "{file} at byte {position}: {message}")
    }
}

/// What a survey of the log decided.
#[derive(Debug)]
pub(crate) struct Surveyed {
    /// Files that replay does not need, oldest first.
    old: Vec<LiveFile>,
    /// Files from the first that is needed on.
    pub(crate) live: Vec<LiveFile>,
    frames: u64,
    /// The last of the live files, and where its frames end; `None` if there is
    /// no file to go on in, which is damage.
    last: Option<(LiveFile, WalkEnd)>,
    /// All below was durable once, by anything that says so.
    evidence: Lsn,
    /// What opening cuts.
    pub(crate) torn: Option<Torn>,
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
    let Listing { files, notes } = list(&*env.dir, env.store, mode)?;
    let spares = files.iter().filter(|file| matches!(file.role, Role::Spare));
    let spares: Vec<_> = spares.map(|file| file.sequence).collect();
    let found = survey(&files, env.store, from, &mut Strict { replay })?;
    let (last, end) = found.last.expect("a log without files is damage");
    let (obsolete, mut kept) = split_kept(found.old, &found.live, from.keep);
    kept.extend(found.live);
    let obsolete = obsolete.iter().map(|file| file.header.sequence);
    Ok(Recovered {
        frames: found.frames,
        end: padded(end.at),
        torn: found.torn,
        notes,
        clean: end.closed,
        proven: found.evidence,
        exact_end: end.at,
        obsolete: obsolete.chain(spares).collect(),
        last_frame: end.last_frame,
        last,
        live: kept,
    })
}

/// Opening: commits are replayed, damage is the end.
struct Strict<'a> {
    replay: &'a mut dyn Replay,
}

impl Survey for Strict<'_> {
    fn frame(&mut self, file: &LiveFile, header: &FrameHeader, payload: &[u8]) -> Result<()> {
        if header.kind == FrameKind::Close {
            return Ok(());
        }
        let after = header.lsn.saturating_add(to_u64(header.len()));
        // The checksum says that this is what was written: entries that do not
        // decode come from another version or a defect, never from the disk.
        let entries = entry::decode(payload).map_err(|error| {
            let kind = match error {
                DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
                _ => ErrorKind::Corrupt,
            };
            let position = file.position(header.lsn);
            let attempt = format!(
                "cannot read the frame at byte {position} of {}",
                file.path()
            );
            Error::with_source(kind, attempt, error)
        })?;
        self.replay.commit(header.lsn, after, &entries)
    }

    fn damage(&mut self, damage: Damage) -> Result<()> {
        Err(Error::corrupt(format!("{damage}; nothing was changed")))
    }
}

/// Reads the log from `from` on and decides where it ends, and whether
/// anything before that is missing. What `verify` says and what opening does
/// are both this.
///
/// # Errors
///
/// The operating system's; `Unsupported` if another version wrote a frame;
/// what `to` says.
pub(crate) fn survey(
    files: &[LogFile],
    store: StoreId,
    from: From,
    to: &mut dyn Survey,
) -> Result<Surveyed> {
    let all: Vec<_> = files.iter().filter_map(LogFile::live).cloned().collect();
    let first = first_needed(&all, from);
    let (old, live): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|file| file.header.sequence < first);
    for file in old.iter().chain(&live) {
        check_whole(file, to)?;
    }
    check_sequence(&live, first, from, to)?;
    let mut found = Surveyed {
        old,
        live,
        frames: 0,
        last: None,
        evidence: from.evidence.max(from.lsn),
        torn: None,
    };
    let mut at = from.lsn;
    for (n, file) in found.live.iter().enumerate() {
        let stop = found.live.get(n + 1).map(|next| next.header.base);
        // Behind a gap that was reported, the file's own base.
        let range = Walk {
            from: at.max(file.header.base),
            stop,
        };
        let end = walk(file, range, &mut |header, payload| {
            to.frame(file, header, payload)?;
            Ok(ControlFlow::Continue(()))
        })?;
        end.check_version(file)?;
        found.frames += end.frames;
        if let Some(stop) = stop
            && padded(end.at) < stop
        {
            to.damage(damaged(file, &end, stop, "a later file starts after it"))?;
        }
        at = stop.unwrap_or(end.at);
        found.last = Some((file.clone(), end));
    }
    if let Some((last, end)) = &found.last {
        found.evidence = found.evidence.max(evidence(last, end, files, store)?);
        if found.evidence > padded(end.at) {
            let why = "later bytes say that it was durable";
            to.damage(damaged(last, end, found.evidence, why))?;
        } else {
            found.torn = end.torn(last)?;
        }
        check_foreign(files, last, to)?;
    }
    Ok(found)
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

/// A file that has lost its end is damaged.
fn check_whole(file: &LiveFile, to: &mut dyn Survey) -> Result<()> {
    let (len, whole) = (file.len, file.whole());
    if len >= whole {
        return Ok(());
    }
    let lsn = file.lsn(len);
    to.damage(Damage {
        file: file.path(),
        position: len,
        message: format!(
            "the file ends here, expected {whole} bytes: its end is missing (LSNs from {lsn})"
        ),
    })
}

/// The files must be there without a gap, from the snapshot's on.
fn check_sequence(live: &[LiveFile], first: u64, from: From, to: &mut dyn Survey) -> Result<()> {
    let mut expected = first;
    for LiveFile { header, .. } in live {
        if header.sequence != expected {
            // One report for a gap, however long.
            to.damage(Damage {
                file: listing::path(expected),
                position: 0,
                message: format!(
                    "it is missing or has lost its header (LSNs up to {}): later files of the \
                     log are there",
                    header.base
                ),
            })?;
        }
        expected = header.sequence.saturating_add(1);
    }
    let lsn = from.lsn;
    let message = match live.first().map(|file| file.header) {
        None => {
            let lost = "it is missing or has lost its header";
            format!("{lost}: the snapshot at LSN {lsn} goes on in it")
        }
        Some(header) if header.base > lsn && header.sequence == first => {
            let base = header.base;
            format!("the log begins at LSN {base} here: LSNs {lsn}..{base} are missing")
        }
        Some(_) => return Ok(()),
    };
    to.damage(Damage {
        file: listing::path(first),
        position: 0,
        message,
    })
}

/// Where the log goes on there may be spares of ours, and writes that were
/// torn; a file of another store is neither, and must not be written over.
fn check_foreign(files: &[LogFile], last: &LiveFile, to: &mut dyn Survey) -> Result<()> {
    for file in files {
        if let Role::Foreign(owner) = &file.role
            && file.sequence > last.header.sequence
        {
            to.damage(Damage {
                file: file.path(),
                position: 0,
                message: format!(
                    "it is of the log of store {owner}, where this log goes on; move it away"
                ),
            })?;
        }
    }
    Ok(())
}

/// All below the result was durable once, by the files of the log.
fn evidence(last: &LiveFile, end: &WalkEnd, files: &[LogFile], store: StoreId) -> Result<Lsn> {
    let mut evidence = last.header.base.max(end.durable);
    if !end.closed {
        evidence = evidence.max(evidence_after(last, end.at)?);
    }
    // The next file may have lost its header, but not the frames after it. A
    // spare has frames of earlier generations, if any.
    let next = last.header.sequence.saturating_add(1);
    if let Some(file) = files.iter().find(|file| file.sequence == next) {
        let headless = LiveFile {
            file: Arc::clone(&file.file),
            header: WalHeader {
                store,
                sequence: next,
                base: padded(end.at),
                blocks: 0,
            },
            len: file.len,
            seed: Seed::wal(store, next),
        };
        evidence = evidence.max(evidence_at_start(&headless)?);
    }
    Ok(evidence)
}

fn damaged(file: &LiveFile, end: &WalkEnd, durable: Lsn, why: &str) -> Damage {
    let found = end
        .bad
        .as_ref()
        .map_or_else(|| "no frame is there".to_owned(), ToString::to_string);
    Damage {
        file: file.path(),
        position: file.position(end.at),
        message: format!("LSNs {}..{durable} are damaged: {found}; {why}", end.at),
    }
}
