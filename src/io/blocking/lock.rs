//! The lock file: one owner, or many readers.
//!
//! `flock` belongs to the open file description, not to the process: it holds
//! against a second handle of the same process too, and closing some other
//! descriptor of the file does not give it up. A forked child shares the
//! description, if only until it executes something else; so the owner gives
//! the lock up by name and does not leave it to the last descriptor closed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, FlockOperation};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, getpid};

use super::file::{OsFile, read_at};
use crate::io::{File, LOCK_NOTE_LEN_MAX, LockGuard, clean_note, is_full};

/// A lock that is held.
struct Held {
    file: OsFile,
    /// Who took it. A child that drops its copy must not free the parent's.
    owner: Pid,
}

impl Drop for Held {
    fn drop(&mut self) {
        if getpid() == self.owner {
            match fs::flock(&self.file, FlockOperation::Unlock) {
                // Closing the descriptor is what is left to try, and follows.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Takes the lock alone and leaves `note` in the file.
pub(super) fn exclusive(fd: OwnedFd, note: &str) -> io::Result<Option<LockGuard>> {
    let Some(held) = try_flock(fd, FlockOperation::NonBlockingLockExclusive)? else {
        return Ok(None);
    };
    // Only the owner gets here, so nobody else writes a note meanwhile.
    // Written over the old one, it needs no space; and a disk that is full
    // must not keep its owner from opening the store to free some.
    match held.file.write_all_at(note.as_bytes(), 0) {
        Ok(()) => held.file.set_len(crate::ids::to_u64(note.len()))?,
        Err(error) if is_full(&error) => held.file.set_len(0)?,
        Err(error) => return Err(error),
    }
    Ok(Some(LockGuard::new(held)))
}

/// Takes the lock together with others that share it.
pub(super) fn shared(fd: OwnedFd) -> io::Result<Option<LockGuard>> {
    let held = try_flock(fd, FlockOperation::NonBlockingLockShared)?;
    Ok(held.map(LockGuard::new))
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

fn try_flock(fd: OwnedFd, operation: FlockOperation) -> io::Result<Option<Held>> {
    match retry_on_intr(|| fs::flock(&fd, operation)) {
        Ok(()) => Ok(Some(Held {
            file: OsFile::new(fd),
            owner: getpid(),
        })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symptom: a store that was just closed was found locked. Cause: a child
    /// of this process, forked and not yet in its own program, had the
    /// descriptor too. Fix: give the lock up, do not leave it to the last close.
    #[test]
    fn a_lock_ends_with_its_guard_although_the_descriptor_was_copied() {
        let temp = tempfile::tempdir().unwrap();
        let open = || {
            let mut options = std::fs::OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            OwnedFd::from(options.open(temp.path().join("LOCK")).unwrap())
        };
        for take in [|fd| exclusive(fd, "me"), shared] {
            let fd = open();
            let copy = fd.try_clone().unwrap();
            let guard = take(fd).unwrap().unwrap();
            assert!(exclusive(open(), "you").unwrap().is_none());
            drop(guard);
            assert!(exclusive(open(), "you").unwrap().is_some());
            drop(copy);
        }
    }
}
