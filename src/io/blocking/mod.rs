//! The operating system: blocking calls on held descriptors.
//!
//! A directory is a descriptor, and names are resolved relative to it, one
//! plain component at a time, never through a symbolic link. Modes do not
//! depend on the umask: what is created here is for its owner alone.
//!
//! Reads and writes that a signal interrupts go on; a sync is never repeated.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{
    Directory, Entry, EntryKind, File, FileSystem, LockGuard, OpenMode, WriteQueue, plain_name,
};

mod file;
mod lock;
#[cfg(test)]
mod tests;

use file::OsFile;
#[cfg(feature = "mmap")]
pub(super) use file::len as file_len;

/// Flags with which every directory is opened.
const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// Flags with which every file is opened. `NONBLOCK` means nothing to a regular
/// file; without it, opening a planted FIFO would wait for its other end.
const FILE_FLAGS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Mode of every directory made here.
const DIR_MODE: Mode = Mode::RWXU;

/// Mode of every file made here.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Rounds of "create it, or open what is there" before giving up: the name
/// can come and go between the two calls.
const CREATE_ROUNDS_MAX: u32 = 8;

/// The file system of the operating system, with blocking calls: what
/// [`Engine::open`](crate::Engine::open) uses.
///
/// Directories are made with mode 0700 and files with 0600, whatever the umask;
/// names are resolved relative to a held directory, and never through a
/// symbolic link.
///
/// # Examples
///
/// ```
/// use duolog::io::{FileSystem, OsFileSystem};
///
/// # let dir = tempfile::tempdir()?;
/// let root = OsFileSystem::new().open_root(&dir.path().join("a/b"), true)?;
/// assert!(root.list()?.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFileSystem;

impl OsFileSystem {
    /// The file system of the operating system.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl FileSystem for OsFileSystem {
    fn open_root(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        if create {
            make_dirs(path)?;
        }
        let fd = retry_on_intr(|| fs::open(path, DIR_FLAGS, Mode::empty()))?;
        let mode = Mode::from_raw_mode(fs::fstat(&fd)?.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{} can be written by group or others (mode {:04o}): \
                     take the permission away (chmod go-w) first",
                    path.display(),
                    mode.as_raw_mode(),
                ),
            ));
        }
        Ok(Arc::new(OsDirectory { fd }))
    }

    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut rest = buf;
        while !rest.is_empty() {
            let done = retry_on_intr(|| getrandom(&mut *rest, GetRandomFlags::empty()))?;
            rest = rest.get_mut(done..).unwrap_or_default();
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "blocking"
    }

    #[cfg(all(feature = "io-uring", target_os = "linux"))]
    fn write_queue(&self, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        super::ring::queue(depth)
    }

    #[cfg(not(all(feature = "io-uring", target_os = "linux")))]
    fn write_queue(&self, _depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "built without the feature `io-uring`",
        ))
    }
}

/// Makes the directory `path` and its missing parents, and syncs the parent of
/// each, so that the whole path survives a power cut.
fn make_dirs(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => return Ok(()),
    };
    let made = match fs::mkdir(path, DIR_MODE) {
        Err(Errno::NOENT) => {
            make_dirs(parent)?;
            fs::mkdir(path, DIR_MODE)
        }
        other => other,
    };
    match made {
        Ok(()) => {
            let flags = DIR_FLAGS | OFlags::NOFOLLOW;
            let fd = retry_on_intr(|| fs::open(path, flags, Mode::empty()))?;
            fs::fchmod(&fd, DIR_MODE)?;
            let parent = retry_on_intr(|| fs::open(parent, DIR_FLAGS, Mode::empty()))?;
            fs::fsync(&parent)?;
        }
        Err(Errno::EXIST) => {
            // A process that died right after its mkdir left a name that is
            // not durable yet. A parent that we may not read, or that cannot be
            // synced at all, is not where we made a name.
            let synced =
                retry_on_intr(|| fs::open(parent, DIR_FLAGS, Mode::empty())).and_then(fs::fsync);
            match synced {
                Ok(()) | Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::INVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(errno) => return Err(errno.into()),
    }
    Ok(())
}

/// A held directory of the operating system.
struct OsDirectory {
    fd: OwnedFd,
}

impl fmt::Debug for OsDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OsDirectory").field(&self.fd).finish()
    }
}

impl OsDirectory {
    /// Opens the regular file `name` with `flags` on top of [`FILE_FLAGS`].
    fn open_file(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | FILE_FLAGS;
        let fd =
            retry_on_intr(|| fs::openat(&self.fd, name, flags, FILE_MODE)).map_err(|errno| {
                match errno {
                    Errno::LOOP => not_regular(name, "a symbolic link"),
                    Errno::ISDIR => not_regular(name, "a directory"),
                    Errno::NXIO | Errno::NODEV => not_regular(name, "a socket or a device"),
                    other => other.into(),
                }
            })?;
        let kind = FileType::from_raw_mode(fs::fstat(&fd)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(not_regular(name, describe(kind)));
        }
        if flags.contains(OFlags::CREATE) {
            fs::fchmod(&fd, FILE_MODE)?;
        }
        Ok(fd)
    }

    /// Creates `name`, or opens what is there.
    fn open_or_create(&self, name: &str) -> io::Result<OwnedFd> {
        // Two calls, and not one with O_CREAT alone: only the one that created
        // the file may set its mode.
        let create = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        for _ in 0..CREATE_ROUNDS_MAX {
            match self.open_file(name, create) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
            match self.open_file(name, OFlags::RDWR) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{name} is created and removed again by somebody else"),
        ))
    }

    fn entry_kind(&self, name: &std::ffi::CStr, kind: FileType) -> io::Result<Option<EntryKind>> {
        let kind = match kind {
            // Some file systems do not tell with the name.
            FileType::Unknown => match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            },
            known => known,
        };
        Ok(Some(match kind {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Other,
        }))
    }
}

impl Directory for OsDirectory {
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        let name = plain_name(name)?;
        let flags = DIR_FLAGS | OFlags::NOFOLLOW;
        match retry_on_intr(|| fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Arc::new(Self { fd })),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{name} is not a directory (symbolic links are not followed)"),
            )),
            Err(errno) => Err(errno.into()),
        }
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        let name = plain_name(name)?;
        fs::mkdirat(&self.fd, name, DIR_MODE)?;
        let flags = DIR_FLAGS | OFlags::NOFOLLOW;
        let fd = retry_on_intr(|| fs::openat(&self.fd, name, flags, Mode::empty()))?;
        fs::fchmod(&fd, DIR_MODE)?;
        Ok(())
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let name = plain_name(name)?;
        let fd = match mode {
            OpenMode::Read => self.open_file(name, OFlags::RDONLY)?,
            OpenMode::Write => self.open_file(name, OFlags::RDWR)?,
            OpenMode::CreateNew => {
                self.open_file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?
            }
            OpenMode::Create => self.open_or_create(name)?,
        };
        Ok(Arc::new(OsFile::new(fd)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (plain_name(from)?, plain_name(to)?);
        Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, plain_name(name)?, AtFlags::empty())?)
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(
            &self.fd,
            plain_name(name)?,
            AtFlags::REMOVEDIR,
        )?)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if let Some(kind) = self.entry_kind(name, entry.file_type())? {
                let name = name.to_string_lossy().into_owned();
                entries.push(Entry { name, kind });
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }

    fn lock(&self, name: &str, exclusive: bool, note: &str) -> io::Result<Option<LockGuard>> {
        let name = plain_name(name)?;
        if exclusive {
            lock::exclusive(self.open_or_create(name)?, note)
        } else {
            lock::shared(self.open_file(name, OFlags::RDONLY)?)
        }
    }

    fn lock_note(&self, name: &str) -> io::Result<String> {
        let fd = self.open_file(plain_name(name)?, OFlags::RDONLY)?;
        lock::read_note(fd.as_fd())
    }
}

/// The answer for a name that is there but is not a regular file.
fn not_regular(name: &str, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{name} is {what}, not a regular file"),
    )
}

/// A kind of directory entry in words.
fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Symlink => "a symbolic link",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}
