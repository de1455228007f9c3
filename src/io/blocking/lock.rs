//! The lock file: one owner, or many readers.
//!
//! `flock` belongs to the open file description, not to the process: it holds
//! against a second handle of the same process too, and closing some other
//! descriptor of the file does not give it up. A forked child shares it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, FlockOperation};
use rustix::io::{Errno, retry_on_intr};

use super::file::{OsFile, read_at};
use crate::io::{File, LOCK_NOTE_LEN_MAX, LockGuard, clean_note};

/// Takes the lock alone and leaves `note` in the file.
pub(super) fn exclusive(fd: OwnedFd, note: &str) -> io::Result<Option<LockGuard>> {
    if !try_flock(&fd, FlockOperation::NonBlockingLockExclusive)? {
        return Ok(None);
    }
    // Only the owner gets here, so nobody else writes a note meanwhile.
    let file = OsFile::new(fd);
    file.set_len(0)?;
    file.write_all_at(note.as_bytes(), 0)?;
    Ok(Some(LockGuard::new(file)))
}

/// Takes the lock together with others that share it.
pub(super) fn shared(fd: OwnedFd) -> io::Result<Option<LockGuard>> {
    let taken = try_flock(&fd, FlockOperation::NonBlockingLockShared)?;
    Ok(taken.then(|| LockGuard::new(fd)))
}

/// What the owner left in the file.
pub(super) fn read_note(fd: BorrowedFd<'_>) -> io::Result<String> {
    let mut note = [0; LOCK_NOTE_LEN_MAX];
    let mut len = 0;
    while let Some(rest) = note.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match read_at(fd, rest, crate::ids::to_u64(len))? {
            0 => break,
            n => len += n,
        }
    }
    Ok(clean_note(note.get(..len).unwrap_or_default()))
}

fn try_flock(fd: &OwnedFd, operation: FlockOperation) -> io::Result<bool> {
    match retry_on_intr(|| fs::flock(fd, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
