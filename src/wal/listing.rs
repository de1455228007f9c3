//! The files in the directory of the log, told apart by their first block.
//!
//! A name of ours with a header of ours is part of the log. Zeros, or a header
//! from an earlier life of the file, make it a spare. What else it may be is
//! for evidence to say: `recover`. docs/format.md section 6 has the rules.

use std::sync::Arc;

use super::files::{name, parse_name};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::walfile::{WalBlock, WalHeader};
use crate::ids::{Lsn, StoreId, to_u64, to_usize};
use crate::io::{BLOCK_LEN, Directory, File, OpenMode};

/// A file with a name of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    /// What its name says.
    pub(crate) sequence: u64,
    pub(crate) len: u64,
    pub(crate) role: Role,
    pub(super) file: Arc<dyn File>,
}

/// What the first block of a file makes it.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// Part of the log.
    Live(LiveFile),
    /// Prepared or recycled, not used yet.
    Spare,
    /// A file of the log of another store.
    Foreign(StoreId),
    /// None of these, and why: a first write that was torn, or damage.
    Headless(String),
}

/// A file with a valid header of its own name.
#[derive(Clone, Debug)]
pub(crate) struct LiveFile {
    pub(crate) header: WalHeader,
    pub(crate) len: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) seed: Seed,
}

/// All files of the log, by sequence, and what else lies there.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) files: Vec<LogFile>,
    pub(crate) notes: Vec<String>,
}

impl LogFile {
    /// What messages call it.
    pub(crate) fn path(&self) -> String {
        path(self.sequence)
    }

    pub(crate) fn live(&self) -> Option<&LiveFile> {
        match &self.role {
            Role::Live(live) => Some(live),
            Role::Spare | Role::Foreign(_) | Role::Headless(_) => None,
        }
    }
}

impl LiveFile {
    /// What messages call it.
    pub(crate) fn path(&self) -> String {
        path(self.header.sequence)
    }

    /// Bytes that the file was made with.
    pub(crate) fn whole(&self) -> u64 {
        u64::from(self.header.blocks) * to_u64(BLOCK_LEN)
    }

    pub(crate) fn position(&self, lsn: Lsn) -> u64 {
        to_u64(BLOCK_LEN).saturating_add(lsn.since(self.header.base))
    }

    pub(super) fn lsn(&self, position: u64) -> Lsn {
        let from_base = position.saturating_sub(to_u64(BLOCK_LEN));
        self.header.base.saturating_add(from_base)
    }
}

pub(super) fn path(sequence: u64) -> String {
    format!("wal/{}", name(sequence))
}

/// Lists `dir`, the directory of the log of `store`.
///
/// # Errors
///
/// `Unsupported` if another version wrote a file; the operating system's.
pub(crate) fn list(dir: &dyn Directory, store: StoreId, mode: OpenMode) -> Result<Listing> {
    let entries = dir
        .list()
        .map_err(|error| Error::io("list directory wal", error))?;
    let mut listing = Listing {
        files: Vec::new(),
        notes: Vec::new(),
    };
    for entry in entries {
        let Some(sequence) = parse_name(&entry.name) else {
            let note = format!("wal/{} is no file of the log; left alone", entry.name);
            listing.notes.push(note);
            continue;
        };
        let file = look(dir, store, sequence, mode)?;
        match &file.role {
            Role::Live(_) | Role::Spare => {}
            Role::Foreign(owner) => {
                let note = format!("{} is of the log of store {owner}", file.path());
                listing.notes.push(note);
            }
            Role::Headless(why) => {
                let note = format!("{} has no valid header: {why}", file.path());
                listing.notes.push(note);
            }
        }
        listing.files.push(file);
    }
    listing.files.sort_by_key(|file| file.sequence);
    Ok(listing)
}

fn look(dir: &dyn Directory, store: StoreId, sequence: u64, mode: OpenMode) -> Result<LogFile> {
    let attempt = |step: &str| format!("{step} {}", path(sequence));
    let file = dir
        .open(&name(sequence), mode)
        .map_err(|error| Error::io(attempt("open"), error))?;
    let len = file
        .len()
        .map_err(|error| Error::io(attempt("measure"), error))?;
    let mut block = vec![0; to_usize(len.min(to_u64(BLOCK_LEN)))];
    file.read_exact_at(&mut block, 0)
        .map_err(|error| Error::io(attempt("read"), error))?;
    let role = match WalHeader::decode(&block) {
        Err(error @ DecodeError::Unsupported { .. }) => {
            let attempt = attempt("read");
            return Err(Error::with_source(ErrorKind::Unsupported, attempt, error));
        }
        Err(error) => Role::Headless(error.to_string()),
        Ok(WalBlock::Zeros) => Role::Spare,
        Ok(WalBlock::Header(header)) if header.store != store => Role::Foreign(header.store),
        Ok(WalBlock::Header(header)) if header.sequence < sequence => Role::Spare,
        Ok(WalBlock::Header(header)) if header.sequence > sequence => {
            Role::Headless(format!("it is that of the later file {}", header.sequence))
        }
        Ok(WalBlock::Header(header)) => Role::Live(LiveFile {
            header,
            len,
            file: Arc::clone(&file),
            seed: Seed::wal(store, sequence),
        }),
    };
    Ok(LogFile {
        sequence,
        len,
        role,
        file,
    })
}
