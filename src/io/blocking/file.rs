//! An open regular file of the operating system.

use std::fmt;
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::{self, FallocateFlags, OFlags};
use rustix::io::{Errno, ReadWriteFlags, pread, pwrite, pwritev, pwritev2, retry_on_intr};

use crate::ids::to_u64;
use crate::io::{Advice, Blocks, File};

/// Most slices that one `pwritev` takes (`IOV_MAX` of Linux and the BSDs).
const SLICES_MAX: usize = 1024;

/// File systems in user space, those of a hypervisor too (`linux/magic.h`).
const FUSE_SUPER_MAGIC: fs::FsWord = 0x6573_5546;

/// How many zeros are written at once where there is no `fallocate`.
const ZEROS_LEN: usize = 64 << 10;

static ZEROS: [u8; ZEROS_LEN] = [0; ZEROS_LEN];

/// An open regular file.
pub(super) struct OsFile {
    fd: OwnedFd,
    /// True if the descriptor goes past the page cache.
    direct: AtomicBool,
}

impl OsFile {
    /// Wraps a descriptor that is known to be of a regular file.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            direct: AtomicBool::new(false),
        }
    }

    /// Writes blocks past the cache. With `sync`, each call returns once the
    /// device has what it wrote: one system call instead of two.
    fn write_direct(&self, blocks: &[u8], position: u64, sync: bool) -> io::Result<()> {
        let flags = if sync {
            ReadWriteFlags::DSYNC
        } else {
            ReadWriteFlags::empty()
        };
        let mut rest = blocks;
        let mut at = position;
        while !rest.is_empty() {
            let slices = [IoSlice::new(rest)];
            let done = match pwritev2(&self.fd, &slices, at, flags) {
                // Nothing of it lies in the cache, so writing it again is safe.
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if done == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(done..).unwrap_or_default();
            at = advance(at, done)?;
        }
        Ok(())
    }

    fn set_direct(&self, direct: bool) -> io::Result<()> {
        let flags = fs::fcntl_getfl(&self.fd)?;
        let flags = if direct {
            flags | OFlags::DIRECT
        } else {
            flags - OFlags::DIRECT
        };
        Ok(fs::fcntl_setfl(&self.fd, flags)?)
    }

    /// Reserves space by writing zeros from `old_len` to `len`.
    fn write_zeros(&self, old_len: u64, len: u64) -> io::Result<()> {
        let mut position = old_len;
        while position < len {
            let left = usize::try_from(len - position).unwrap_or(usize::MAX);
            let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
            self.write_all_at(zeros, position)?;
            position += to_u64(zeros.len());
        }
        Ok(())
    }
}

impl AsFd for OsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for OsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OsFile").field(&self.fd).finish()
    }
}

impl File for OsFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        read_at(self.fd.as_fd(), buf, position)
    }

    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()> {
        let mut rest = buf;
        let mut at = position;
        while !rest.is_empty() {
            let done = retry_on_intr(|| pwrite(&self.fd, rest, at))?;
            if done == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(done..).unwrap_or_default();
            at = advance(at, done)?;
        }
        Ok(())
    }

    fn write_all_vectored_at(&self, bufs: &[&[u8]], position: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = bufs
            .iter()
            .filter(|buf| !buf.is_empty())
            .map(|buf| IoSlice::new(buf))
            .collect();
        let mut rest = slices.as_mut_slice();
        let mut at = position;
        while !rest.is_empty() {
            let now = rest.get(..SLICES_MAX).unwrap_or(rest);
            let done = retry_on_intr(|| pwritev(&self.fd, now, at))?;
            if done == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, done);
            at = advance(at, done)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Once: after a failure the kernel has dropped the dirty pages, and a
        // second call would report success.
        Ok(fs::fdatasync(&self.fd)?)
    }

    fn write_blocks(&self, blocks: &[u8], position: u64, sync: bool) -> io::Result<()> {
        if self.direct.load(Ordering::Relaxed) {
            return self.write_direct(blocks, position, sync);
        }
        self.write_all_at(blocks, position)?;
        if sync { self.sync_data() } else { Ok(()) }
    }

    fn go_direct(&self, probe: &Blocks, position: u64) -> io::Result<()> {
        let unsupported = |_| io::Error::from(io::ErrorKind::Unsupported);
        if fs::fstatfs(&self.fd)?.f_type == FUSE_SUPER_MAGIC {
            // Whether the other side honours the sync of a single write is not
            // known; that of a file it does.
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.set_direct(true).map_err(unsupported)?;
        match self.write_direct(probe, position, false) {
            Ok(()) => self.direct.store(true, Ordering::Relaxed),
            // The file system takes the flag and not the write: blocks of
            // another size, or a layer that only passes flags on.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.set_direct(false)?;
                return Err(io::ErrorKind::Unsupported.into());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn len(&self) -> io::Result<u64> {
        len(self.fd.as_fd())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::ftruncate(&self.fd, len))?)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let old_len = self.len()?;
        let call = || fs::fallocate(&self.fd, FallocateFlags::empty(), 0, len);
        let result = match retry_on_intr(call) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(old_len, len),
            other => other.map_err(io::Error::from),
        };
        // Half an allocation may have moved the end of the file already.
        if result.is_err() && self.len()? > old_len {
            self.set_len(old_len)?;
        }
        result
    }

    #[cfg(feature = "mmap")]
    fn map(&self, len: u64) -> io::Result<Option<Bytes>> {
        crate::io::map::map(self.fd.as_fd(), len).map(Some)
    }

    #[cfg(not(feature = "mmap"))]
    fn map(&self, _len: u64) -> io::Result<Option<Bytes>> {
        Ok(None)
    }

    fn advise(&self, position: u64, len: u64, advice: Advice) {
        let advice = match advice {
            Advice::Sequential => fs::Advice::Sequential,
            // Linux starts to write dirty pages of the range and keeps them;
            // clean ones go (mm/fadvise.c).
            Advice::DontNeed | Advice::WriteOut => fs::Advice::DontNeed,
        };
        // Zero means "to the end of the file" to the kernel, not to us.
        let Some(len) = NonZeroU64::new(len) else {
            return;
        };
        match fs::fadvise(&self.fd, position, Some(len), advice) {
            // A hint that is not taken costs speed, nothing else.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Reads into `buf`; 0 only at the end of the file.
pub(super) fn read_at(fd: BorrowedFd<'_>, buf: &mut [u8], position: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| pread(fd, &mut *buf, position))?)
}

/// Length in bytes.
pub(in crate::io) fn len(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let len = fs::fstat(fd)?.st_size;
    u64::try_from(len).map_err(|_| io::Error::other(format!("a file length of {len} bytes")))
}

/// The position after `done` bytes more.
fn advance(position: u64, done: usize) -> io::Result<u64> {
    position
        .checked_add(to_u64(done))
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_fallocate_zeros_are_written_past_the_end_only() {
        let file = OsFile::new(OwnedFd::from(tempfile::tempfile().unwrap()));
        file.write_all_at(b"abc", 0).unwrap();
        let len = to_u64(2 * ZEROS_LEN + 100);
        file.write_zeros(3, len).unwrap();
        assert_eq!(file.len().unwrap(), len);
        let mut bytes = vec![1; 2 * ZEROS_LEN + 100];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes.starts_with(b"abc"));
        assert!(bytes[3..].iter().all(|&byte| byte == 0));
        file.write_zeros(len, 3).unwrap();
        assert_eq!(file.len().unwrap(), len, "never shortens");
    }
}
