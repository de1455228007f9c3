//! Hands on the disk, behind the back of everything that has it open.
//!
//! What is done here is durable at once, is no step, and meets no fault: it
//! stands for damage, and for the curious administrator.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, ROOT, not_found};
use super::node::{Body, DirNode, DirOp, FileNode, FileOp, Ino};
use super::tree::{components, join};

impl Disk {
    /// What `path` leads to in the live tree.
    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut ino = ROOT;
        for name in components(path)? {
            ino = self.lookup(ino, name)?;
        }
        Ok(ino)
    }

    /// The directory that `path` lies in, and its name there.
    fn split<'a>(&self, path: &'a Path) -> io::Result<(Ino, &'a str)> {
        let mut names = components(path)?;
        let name = names.pop().ok_or_else(not_found)?;
        let mut dir = ROOT;
        for name in names {
            dir = self.lookup(dir, name)?;
        }
        Ok((dir, name))
    }

    /// Gives `path` this content; makes missing directories.
    pub(super) fn put_file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut names = components(path)?;
        let name = names.pop().ok_or_else(not_found)?;
        let mut dir = ROOT;
        for name in names {
            dir = match self.lookup(dir, name) {
                Ok(ino) => ino,
                Err(_) => self.put_node(dir, name, Body::Dir(DirNode::default()))?,
            };
        }
        let ino = match self.lookup(dir, name) {
            Ok(ino) => ino,
            Err(_) => self.put_node(dir, name, Body::File(FileNode::default()))?,
        };
        self.file_mut(ino)?.replace(bytes);
        Ok(())
    }

    fn put_node(&mut self, dir: Ino, name: &str, body: Body) -> io::Result<Ino> {
        let path = join(&self.node(dir)?.path, name);
        self.dir(dir)?;
        let ino = self.add_node(dir, &path, body);
        self.put_name(dir, name, ino)?;
        Ok(ino)
    }

    fn put_name(&mut self, dir: Ino, name: &str, ino: Ino) -> io::Result<()> {
        let name: Arc<str> = Arc::from(name);
        let node = self.dir_mut(dir)?;
        node.live.insert(Arc::clone(&name), ino);
        node.durable.insert(name, ino);
        Ok(())
    }

    /// Turns a bit over: in the cache, on the disk, and on the way there.
    pub(super) fn flip_bit(&mut self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let ino = self.find(path)?;
        let file = self.file_mut(ino)?;
        if byte >= file.live.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.live.flip_bit(byte, bit);
        file.durable.flip_bit(byte, bit);
        let (target, range) = super::content::piece(byte, 1);
        for pending in &mut file.pending {
            if let FileOp::Sectors { index, page, .. } = &mut pending.op
                && *index == target
                && let Some(byte) = Arc::make_mut(page).get_mut(range.start)
            {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }

    /// Removes the file at `path`; handles keep it.
    pub(super) fn take_file(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.split(path)?;
        let ino = self.lookup(dir, name)?;
        self.file(ino)?;
        self.take_name(dir, ino)?;
        self.node_mut(ino)?.linked = false;
        self.collect(ino);
        Ok(())
    }

    /// Takes every trace of `ino` out of `dir`.
    fn take_name(&mut self, dir: Ino, ino: Ino) -> io::Result<()> {
        let node = self.dir_mut(dir)?;
        node.live.retain(|_, other| *other != ino);
        node.durable.retain(|_, other| *other != ino);
        node.pending.retain(|pending| {
            let (DirOp::Link { ino: other, .. }
            | DirOp::Unlink { ino: other, .. }
            | DirOp::Rename { ino: other, .. }) = &pending.op;
            *other != ino
        });
        Ok(())
    }

    /// Moves the file at `from` to `to`, replacing a file there.
    pub(super) fn move_file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_dir, old_name) = self.split(from)?;
        let (new_dir, new_name) = self.split(to)?;
        let ino = self.lookup(old_dir, old_name)?;
        self.file(ino)?;
        let path = join(&self.node(new_dir)?.path, new_name);
        self.dir(new_dir)?;
        if self
            .lookup(new_dir, new_name)
            .is_ok_and(|there| there != ino)
        {
            self.take_file(to)?;
        }
        self.take_name(old_dir, ino)?;
        self.put_name(new_dir, new_name, ino)?;
        let node = self.node_mut(ino)?;
        node.parent = new_dir;
        node.path = path;
        Ok(())
    }

    /// Path and length of every file, sorted by path.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        let mut dirs = vec![ROOT];
        while let Some(ino) = dirs.pop() {
            let Ok(dir) = self.dir(ino) else {
                continue;
            };
            for below in dir.live.values() {
                match (self.node(*below), self.file(*below)) {
                    (Ok(node), Ok(file)) => files.push((node.path.to_string(), file.live.len())),
                    _ => dirs.push(*below),
                }
            }
        }
        files.sort_unstable();
        files
    }
}
