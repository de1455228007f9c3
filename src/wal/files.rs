//! The files of the log: made with zeros, used in order, used again.
//!
//! A file that is ready has a durable name and, where there was time, blocks
//! that were written before: a sync after overwriting costs less than half of
//! one after growing. What a power cut leaves at each step:
//!
//! * while a file is made or renamed: a file whose header is not of its name;
//!   it is a spare, whatever else is in it;
//! * while its first group is written: the same, or a header without frames.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::checksum::Seed;
use crate::format::walfile::{WAL_HEADER_LEN, WalHeader};
use crate::ids::{Lsn, StoreId, to_u64};
use crate::io::{BLOCK_LEN, Blocks, Directory, File, OpenMode};
use crate::signal::lock;
use crate::sync::Mutex;

/// Bytes of zeros written at once when a file is prepared.
const ZEROS_LEN: usize = 1 << 20;

/// Name of the file with this sequence number.
pub(crate) fn name(sequence: u64) -> String {
    format!("{sequence:020}.wal")
}

/// The sequence number that a name says, if it is a name of ours.
pub(crate) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// What the files of the log have in common.
#[derive(Clone, Debug)]
pub(crate) struct FilesEnv {
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) store: StoreId,
    /// Size of a file.
    pub(crate) file_bytes: u64,
    /// True if files are to be written past the page cache, where they can be.
    pub(crate) direct: bool,
}

impl FilesEnv {
    /// Makes blocks of a file that is still a spare go past the page cache, if
    /// they are to and can. True if they do.
    pub(super) fn go_direct(&self, file: &dyn File, sequence: u64) -> Result<bool> {
        if !self.direct {
            return Ok(false);
        }
        // The first block of a spare may hold what it likes, but for a header.
        // It is synced, so that what comes later rests on no order of two writes.
        let went = file.go_direct(&Blocks::zeroed(BLOCK_LEN), 0);
        match went.and_then(|()| file.sync_data()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(Error::io(format!("begin wal/{}", name(sequence)), error)),
        }
    }
}

/// A file that groups go to.
#[derive(Debug)]
pub(super) struct WalFile {
    pub(super) file: Arc<dyn File>,
    pub(super) sequence: u64,
    /// LSN of the byte after the header block.
    pub(super) base: Lsn,
    pub(super) seed: Seed,
    /// True if its blocks go past the page cache.
    pub(super) direct: bool,
    /// LSN at which the file is full.
    limit: Lsn,
    blocks: u32,
}

impl WalFile {
    pub(super) fn new(env: &FilesEnv, spare: Spare, base: Lsn) -> Self {
        Self {
            file: spare.file,
            sequence: spare.sequence,
            base,
            seed: Seed::wal(env.store, spare.sequence),
            direct: spare.direct,
            blocks: u32::try_from(env.file_bytes / to_u64(BLOCK_LEN)).expect("at most 1 GiB"),
            limit: base.saturating_add(env.file_bytes - to_u64(BLOCK_LEN)),
        }
    }

    /// What messages call it.
    pub(super) fn path(&self) -> String {
        format!("wal/{}", name(self.sequence))
    }

    pub(super) fn limit(&self) -> Lsn {
        self.limit
    }

    /// Where an LSN lies in the file.
    pub(super) fn position(&self, lsn: Lsn) -> u64 {
        to_u64(BLOCK_LEN) + lsn.since(self.base)
    }

    /// The block that makes the file live.
    pub(super) fn header_block(&self, store: StoreId) -> Vec<u8> {
        header_block(&WalHeader {
            store,
            sequence: self.sequence,
            base: self.base,
            blocks: self.blocks,
        })
    }
}

/// The first block of a file.
pub(super) fn header_block(header: &WalHeader) -> Vec<u8> {
    let mut block = vec![0; BLOCK_LEN];
    block
        .get_mut(..WAL_HEADER_LEN)
        .expect("a header fits a block")
        .copy_from_slice(&header.encode());
    block
}

/// A file that is ready to be used: its name is durable.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: Arc<dyn File>,
    pub(super) sequence: u64,
    /// True if its blocks go past the page cache.
    pub(super) direct: bool,
}

/// Files that wait to be used, and the making of more.
#[derive(Debug)]
pub(super) struct Spares {
    env: FilesEnv,
    /// In the order in which they are used; taken without waiting for a file
    /// that is being made.
    ready: Mutex<VecDeque<Spare>>,
    /// Sequence number of the next file; held while one is made.
    making: Mutex<u64>,
}

impl Spares {
    pub(super) fn new(env: FilesEnv, ready: VecDeque<Spare>, next_sequence: u64) -> Self {
        Self {
            env,
            ready: Mutex::new(ready),
            making: Mutex::new(next_sequence),
        }
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.ready).len()
    }

    /// The next file: a prepared one, or else one made on the spot, which
    /// costs a sync.
    pub(super) fn take(&self) -> Result<Spare> {
        if let Some(spare) = lock(&self.ready).pop_front() {
            return Ok(spare);
        }
        let mut next = lock(&self.making);
        if let Some(spare) = lock(&self.ready).pop_front() {
            return Ok(spare);
        }
        let spare = make(&self.env, *next, false)?;
        *next += 1;
        Ok(spare)
    }

    /// Makes one more, with blocks really written.
    pub(super) fn prepare(&self) -> Result<()> {
        let mut next = lock(&self.making);
        let spare = make(&self.env, *next, true)?;
        *next += 1;
        lock(&self.ready).push_back(spare);
        Ok(())
    }

    /// Takes back a file that is no longer needed; removes it if there are
    /// enough.
    pub(super) fn give_back(&self, file: &WalFile, keep: usize) -> Result<()> {
        let mut next = lock(&self.making);
        // The size may have been another when the file was made.
        let fits = file.file.len().is_ok_and(|len| len == self.env.file_bytes);
        if self.count() >= keep || !fits {
            let name = name(file.sequence);
            return match self.env.dir.remove_file(&name) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io(format!("remove wal/{name}"), error))
                }
                _ => Ok(()),
            };
        }
        let spare = recycle(&self.env, file, *next)?;
        *next += 1;
        lock(&self.ready).push_back(spare);
        Ok(())
    }
}

/// Makes a file of zeros. With `prewrite`, every block is really written, so
/// that later syncs have no allocation to record; without, only reserved.
///
/// # Errors
///
/// The operating system's; then there may be a file of that name that is no
/// use, which the next attempt makes anew.
pub(super) fn make(env: &FilesEnv, sequence: u64, prewrite: bool) -> Result<Spare> {
    let name = name(sequence);
    let attempt = |step: &str| format!("{step} wal/{name}");
    // What an attempt that failed left goes, name and all: where syncing the
    // directory failed, a later sync need not make that name durable.
    match env.dir.remove_file(&name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(attempt("replace"), error));
        }
        _ => {}
    }
    let file = env
        .dir
        .open(&name, OpenMode::CreateNew)
        .map_err(|error| Error::io(attempt("create"), error))?;
    file.allocate(env.file_bytes)
        .map_err(|error| Error::io(attempt("reserve space for"), error))?;
    let direct = env.go_direct(&*file, sequence)?;
    if prewrite {
        zero(&*file, env.file_bytes).map_err(|error| Error::io(attempt("prepare"), error))?;
    }
    // Before any group refers to it: its length and name.
    file.sync_data()
        .map_err(|error| Error::io(attempt("sync"), error))?;
    env.dir
        .sync()
        .map_err(|error| Error::io("sync directory wal", error))?;
    Ok(Spare {
        file,
        sequence,
        direct,
    })
}

/// Writes zeros up to `end`.
fn zero(file: &dyn File, end: u64) -> std::io::Result<()> {
    let zeros = Blocks::zeroed(ZEROS_LEN.min(crate::ids::to_usize(end)));
    let mut at = 0;
    while at < end {
        let len = to_u64(ZEROS_LEN).min(end - at);
        let part = zeros.get(..crate::ids::to_usize(len)).unwrap_or(&zeros);
        file.write_blocks(part, at, false)?;
        at += len;
    }
    Ok(())
}

/// Gives a file that is no longer needed the name of a later one.
fn recycle(env: &FilesEnv, old: &WalFile, new: u64) -> Result<Spare> {
    let (from, to) = (name(old.sequence), name(new));
    env.dir
        .rename(&from, &to)
        .map_err(|error| Error::io(format!("rename wal/{from} to wal/{to}"), error))?;
    env.dir
        .sync()
        .map_err(|error| Error::io("sync directory wal", error))?;
    // A file that was there when the store was opened has gone through the
    // cache so far.
    let direct = old.direct || env.go_direct(&*old.file, new)?;
    Ok(Spare {
        file: Arc::clone(&old.file),
        sequence: new,
        direct,
    })
}
