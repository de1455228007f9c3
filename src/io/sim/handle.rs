//! Handles on a simulated disk: what the traits of `io` ask for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::SimFs;
use super::fault::OpKind;
use super::node::Ino;
use crate::ids::to_u64;
use crate::io::{Advice, BLOCK_LEN, Blocks, Directory, Entry, File, LockGuard, OpenMode};

/// A held directory.
#[derive(Debug)]
pub(super) struct SimDirectory {
    pub(super) fs: SimFs,
    pub(super) ino: Ino,
}

impl Directory for SimDirectory {
    fn open_dir(&self, name: &str) -> io::Result<Arc<dyn Directory>> {
        let ino = self.fs.disk().open_dir(self.ino, name)?;
        let fs = self.fs.clone();
        Ok(Arc::new(Self { fs, ino }))
    }

    fn create_dir(&self, name: &str) -> io::Result<()> {
        self.fs.disk().create_dir(self.ino, name)
    }

    fn open(&self, name: &str, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let ino = self.fs.disk().open(self.ino, name, mode)?;
        Ok(Arc::new(SimFile {
            fs: self.fs.clone(),
            ino,
            writable: mode != OpenMode::Read,
            direct: AtomicBool::new(false),
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.fs.disk().rename(self.ino, from, to)
    }

    fn remove_file(&self, name: &str) -> io::Result<()> {
        self.fs.disk().remove(self.ino, name, OpKind::Remove)
    }

    fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.fs.disk().remove(self.ino, name, OpKind::RemoveDir)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.fs.disk().list(self.ino)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.disk().sync_dir(self.ino)
    }

    fn lock(&self, name: &str, exclusive: bool, note: &str) -> io::Result<Option<LockGuard>> {
        let taken = self.fs.disk().lock(self.ino, name, exclusive, note)?;
        Ok(taken.map(|ino| {
            let fs = self.fs.clone();
            LockGuard::new(SimLock { fs, ino })
        }))
    }

    fn lock_note(&self, name: &str) -> io::Result<String> {
        self.fs.disk().lock_note(self.ino, name)
    }
}

/// A lock, given up when dropped.
#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    ino: Ino,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.disk().unlock(self.ino);
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) fs: SimFs,
    pub(super) ino: Ino,
    writable: bool,
    pub(super) direct: AtomicBool,
}

impl SimFile {
    pub(super) fn writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        let errno = rustix::io::Errno::BADF;
        Err(errno.into())
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.fs.disk().read(self.ino, buf, position)
    }

    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()> {
        self.write_all_vectored_at(&[buf], position)
    }

    fn write_all_vectored_at(&self, bufs: &[&[u8]], position: u64) -> io::Result<()> {
        self.writable()?;
        self.fs.disk().write(self.ino, bufs, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.disk().sync_file(self.ino)
    }

    fn write_blocks(&self, blocks: &[u8], position: u64, sync: bool) -> io::Result<()> {
        let whole = |n: u64| n.is_multiple_of(to_u64(BLOCK_LEN));
        assert!(
            whole(position) && whole(to_u64(blocks.len())),
            "whole blocks"
        );
        let aligned = blocks.as_ptr().addr().is_multiple_of(BLOCK_LEN);
        assert!(aligned, "memory of blocks");
        let seq = self.put(blocks, position, false)?;
        match (sync, self.is_direct()) {
            (false, _) => Ok(()),
            (true, true) => self.fs.disk().sync_change(self.ino, seq),
            (true, false) => self.sync_data(),
        }
    }

    fn go_direct(&self, probe: &Blocks, position: u64) -> io::Result<()> {
        if !self.fs.disk().settings.queue {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.write_blocks(probe, position, false)?;
        self.direct.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.disk().len(self.ino)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        self.fs.disk().set_len(self.ino, len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.writable()?;
        self.fs.disk().allocate(self.ino, len)
    }

    fn map(&self, len: u64) -> io::Result<Option<Bytes>> {
        self.fs.disk().map(self.ino, len)
    }

    fn advise(&self, _position: u64, _len: u64, _advice: Advice) {}
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.fs.disk().closed(self.ino);
    }
}
