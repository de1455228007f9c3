//! The only code that meets the kernel.
//!
//! Everything else takes a [`FileSystem`] and reads and writes through
//! [`Directory`] and [`File`]. A directory is a held descriptor: names are
//! resolved relative to it, one component at a time, and never through a
//! symbolic link. This module knows no format.
//!
//! Back ends: `blocking` (the operating system), to which `ring` adds several
//! writes under way through `io_uring`, and, with feature `sim`, `sim::SimFs`
//! (power cuts, torn and reordered writes, scripted faults, a queue of its own).
//! `conformance` is one suite that each of them passes.
//!
//! What a caller may rely on:
//!
//! * [`File::write_all_at`] returned: the bytes can be read back, and may be
//!   gone after a power cut, in part and in any order.
//! * [`File::sync_data`] returned: content and length survive a power cut.
//! * A created, renamed or removed name survives a power cut only after
//!   [`Directory::sync`] of its directory returned.
//! * A failed sync is never retried: the kernel may have dropped the pages.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

mod blocking;
mod blocks;
#[cfg(any(test, feature = "sim"))]
pub mod conformance;
#[cfg(feature = "mmap")]
mod map;
mod queue;
#[cfg(all(feature = "io-uring", target_os = "linux"))]
mod ring;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use blocking::OsFileSystem;
pub use blocks::Blocks;
pub use queue::{BlockWrite, WriteQueue, Written};

/// Unit in which the write-ahead log is written, aligned in file and memory.
/// The page size of the kernel and the sector size of disks sold since 2011.
pub const BLOCK_LEN: usize = 4096;

/// A file system: where directories come from. An engine is opened on one with
/// [`Engine::open_with`](crate::Engine::open_with).
///
/// # Examples
///
/// A back end that lends all but its name from another:
///
/// ```
/// use std::{io, path::Path, sync::Arc};
/// use duolog::io::{Directory, FileSystem, OsFileSystem};
///
/// #[derive(Debug)]
/// struct Mine(OsFileSystem);
///
/// impl FileSystem for Mine {
///     fn open_root(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
///         self.0.open_root(path, create)
///     }
///     fn random(&self, buf: &mut [u8]) -> io::Result<()> {
///         self.0.random(buf)
///     }
///     fn name(&self) -> &'static str {
///         "mine"
///     }
/// }
/// # let dir = tempfile::tempdir()?;
/// let mine = Arc::new(Mine(OsFileSystem::new()));
/// let path = dir.path().join("data");
/// let engine = duolog::Engine::open_with(mine, path, duolog::Options::default())?;
/// assert_eq!(engine.info().back_end, "mine");
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Opens the directory at `path`.
    ///
    /// With `create`, makes it (and missing parents) with mode 0700 and syncs
    /// the parent, so that the name survives a power cut.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none; `NotADirectory` if something else is
    /// there; `PermissionDenied`, also if group or others may write to it.
    fn open_root(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>>;

    /// Fills `buf` with random bytes, for identities.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    fn random(&self, buf: &mut [u8]) -> io::Result<()>;

    /// What the back end calls itself in `Engine::info`.
    fn name(&self) -> &'static str;

    /// A queue that has up to `depth` writes under way at once.
    ///
    /// # Errors
    ///
    /// Why there is none. Then writes are made one at a time, with
    /// [`File::write_blocks`]. By default a back end has no queue.
    fn write_queue(&self, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        let _: usize = depth;
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the back end \"{}\" has no queue of writes", self.name()),
        ))
    }
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: symbolic link, device, socket. Never opened.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name; names that are not UTF-8 appear with replacement characters.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist, created with mode 0600.
    CreateNew,
    /// A file that is created with mode 0600 where there is none.
    Create,
}

/// A held directory.
///
/// # Examples
///
/// ```
/// use duolog::io::{EntryKind, FileSystem, OpenMode, OsFileSystem};
///
/// # let dir = tempfile::tempdir()?;
/// let root = OsFileSystem::new().open_root(&dir.path().join("data"), true)?;
/// root.create_dir("wal")?;
/// root.open("note", OpenMode::CreateNew)?;
/// root.sync()?; // now both names survive a power cut
/// let kinds: Vec<_> = root.list()?.into_iter().map(|entry| entry.kind).collect();
/// assert_eq!(kinds, [EntryKind::File, EntryKind::Directory]);
/// assert!(root.open("../note", OpenMode::Read).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Directory: Send + Sync + fmt::Debug {
    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    ///
    /// `NotFound`; `NotADirectory` for anything else, symbolic links too.
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Directory>>;

    /// Makes the directory `name` with mode 0700.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if the name is taken.
    fn create_dir(&self, name: &str) -> io::Result<()>;

    /// Opens the regular file `name`.
    ///
    /// # Errors
    ///
    /// `NotFound` or `AlreadyExists`, as `mode` has it; `InvalidInput` for
    /// anything that is not a regular file (found without waiting on it), and
    /// for names with `/` or NUL, `.` and `..`.
    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Renames `from` to `to`, replacing what `to` was. Atomic.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no `from`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes the file `name`. Open handles of it stay readable.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none.
    fn remove_file(&self, name: &str) -> io::Result<()>;

    /// Removes the empty directory `name`.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none; `DirectoryNotEmpty`.
    fn remove_dir(&self, name: &str) -> io::Result<()>;

    /// All names, sorted.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Makes creations, renames and removals in this directory durable.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says; never retry.
    fn sync(&self) -> io::Result<()>;

    /// Takes the lock file `name`; `Ok(None)` if somebody else holds it.
    ///
    /// An exclusive lock creates the file and writes `note` (who we are) into
    /// it; a shared lock wants it to exist, writes nothing, and goes along
    /// with other shared locks. Held until the value is dropped, also against
    /// other handles of the same process. On `None`, [`Self::lock_note`] says
    /// who holds it. On a full disk the lock is taken and the note left empty.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says; `NotFound` for a shared lock on a
    /// file that does not exist.
    fn lock(&self, name: &str, exclusive: bool, note: &str) -> io::Result<Option<LockGuard>>;

    /// The note in the lock file `name`: at most 4 KiB, cleaned of control characters.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    fn lock_note(&self, name: &str) -> io::Result<String>;
}

/// Holds a lock until it is dropped.
///
/// # Examples
///
/// ```
/// use duolog::io::{FileSystem, OsFileSystem};
///
/// # let dir = tempfile::tempdir()?;
/// let root = OsFileSystem::new().open_root(&dir.path().join("data"), true)?;
/// let guard = root.lock("LOCK", true, "process 7")?;
/// assert!(guard.is_some());
/// assert!(root.lock("LOCK", true, "me")?.is_none(), "also in one process");
/// assert_eq!(root.lock_note("LOCK")?, "process 7");
/// drop(guard);
/// assert!(root.lock("LOCK", true, "me")?.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct LockGuard(#[expect(dead_code, reason = "held for its Drop")] Box<dyn Send + Sync>);

impl LockGuard {
    /// Wraps what gives the lock up when it is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockGuard")
    }
}

/// How a range of a file is about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// From front to back: read ahead.
    Sequential,
    /// No longer: its pages may go.
    DontNeed,
    /// Not now, but it was written and will be synced soon: start on it.
    WriteOut,
}

/// An open regular file. Positions are explicit; handles are shared.
///
/// # Examples
///
/// ```
/// use duolog::io::{FileSystem, OpenMode, OsFileSystem};
///
/// # let dir = tempfile::tempdir()?;
/// let root = OsFileSystem::new().open_root(&dir.path().join("data"), true)?;
/// let file = root.open("log", OpenMode::CreateNew)?;
/// file.allocate(4096)?;
/// file.write_all_vectored_at(&[b"two ", b"parts"], 10)?;
/// file.sync_data()?;
/// let mut bytes = [0; 9];
/// file.read_exact_at(&mut bytes, 10)?;
/// assert_eq!(&bytes, b"two parts");
/// assert_eq!(file.len()?, 4096);
/// # Ok::<(), std::io::Error>(())
/// ```
#[expect(
    clippy::len_without_is_empty,
    reason = "a length asks the kernel and may fail; nobody asks if it is zero"
)]
pub trait File: Any + Send + Sync + fmt::Debug {
    /// Reads into `buf` from `position`; 0 only at the end of the file.
    /// Interrupted reads go on.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `position`, growing the file if need be. Short
    /// writes go on; a write of nothing is an error.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says. Then any part may have been written.
    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()>;

    /// Writes all of `bufs`, one after the other, from `position`.
    ///
    /// # Errors
    ///
    /// As [`Self::write_all_at`].
    fn write_all_vectored_at(&self, bufs: &[&[u8]], position: u64) -> io::Result<()>;

    /// Makes content and length durable.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says. Never retry: what was written since
    /// the last success is lost or not, and nobody can tell.
    fn sync_data(&self) -> io::Result<()>;

    /// Writes whole blocks; with `sync`, what was written is on stable storage
    /// when this returns (what was written before and not synced need not be).
    ///
    /// `position` and the length are multiples of [`BLOCK_LEN`], the memory is
    /// that of [`Blocks`], and the blocks are within the length of the file.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says; never retry, as with
    /// [`Self::sync_data`].
    fn write_blocks(&self, blocks: &[u8], position: u64, sync: bool) -> io::Result<()> {
        self.write_all_at(blocks, position)?;
        if sync { self.sync_data() } else { Ok(()) }
    }

    /// Makes [`Self::write_blocks`] go past the page cache from now on, and
    /// writes the blocks at `position` with zeros to see that it can. All other
    /// writes and reads of this handle must be of whole blocks, too.
    ///
    /// # Errors
    ///
    /// `Unsupported` where there is no such thing: nothing has changed then, and
    /// blocks are written through the cache. Others, if a write failed.
    fn go_direct(&self, probe: &Blocks, position: u64) -> io::Result<()> {
        let _: (&Blocks, u64) = (probe, position);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The descriptor, for back ends that hand it to the kernel by themselves.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Length in bytes.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves disk space for the first `len` bytes without changing what
    /// they read as, so that writing there cannot fail for want of space.
    /// The length becomes at least `len`. Where the file system has no such
    /// call, writes zeros past the end.
    ///
    /// # Errors
    ///
    /// `StorageFull` and whatever the operating system says; then the length
    /// is unchanged.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// The first `len` bytes as read-only memory that follows the file; `None`
    /// if the back end or this build has no maps. Only for files that never
    /// change or shrink again.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the file is shorter than `len`.
    fn map(&self, len: u64) -> io::Result<Option<Bytes>>;

    /// Tells the kernel how the range is about to be read. Never fails: it is
    /// a hint.
    fn advise(&self, position: u64, len: u64, advice: Advice);

    /// Reads exactly `buf.len()` bytes from `position`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = position.saturating_add(crate::ids::to_u64(done));
            match self.read_at(rest, at)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }
}

/// Longest note read back from a lock file.
pub(crate) const LOCK_NOTE_LEN_MAX: usize = 4096;

/// Who we are, for those who find our lock.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// True if `name` is one plain path component that a back end may open.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// `name` itself, if a back end may open it.
pub(crate) fn plain_name(name: &str) -> io::Result<&str> {
    if is_plain_name(name) {
        return Ok(name);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{name:?} is not one plain name (no '/', no NUL, not '.' or '..')"),
    ))
}

/// True if the disk or a quota has no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The text of a lock note, fit for an error message.
pub(crate) fn clean_note(note: &[u8]) -> String {
    let note: String = String::from_utf8_lossy(note)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    note.trim().to_owned()
}
