//! Operations on directories of a simulated disk, and locks.

use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::disk::{Disk, Held, ROOT, not_found};
use super::fault::OpKind;
use super::node::{Body, DirNode, DirOp, FileNode, Ino, Node};
use super::step::Gate;
use crate::ids::to_u64;
use crate::io::{Entry, EntryKind, LOCK_NOTE_LEN_MAX, OpenMode, clean_note, is_full, plain_name};

impl Disk {
    pub(super) fn dir(&self, ino: Ino) -> io::Result<&DirNode> {
        match &self.node(ino)?.body {
            Body::Dir(dir) => Ok(dir),
            Body::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, ino: Ino) -> io::Result<&mut DirNode> {
        match &mut self.node_mut(ino)?.body {
            Body::Dir(dir) => Ok(dir),
            Body::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// What `name` leads to.
    pub(super) fn lookup(&self, dir: Ino, name: &str) -> io::Result<Ino> {
        let name = plain_name(name)?;
        self.dir(dir)?.live.get(name).copied().ok_or_else(not_found)
    }

    fn is_dir(&self, ino: Ino) -> bool {
        self.dir(ino).is_ok()
    }

    /// Opens (or makes) the directory at `path`, from the root of the disk.
    pub(super) fn open_root(&mut self, path: &Path, create: bool) -> io::Result<Ino> {
        let mut dir = ROOT;
        for name in components(path)? {
            self.gate.powered()?;
            let next = match self.lookup(dir, name) {
                Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                    self.create_dir(dir, name)?;
                    self.sync_dir(dir)?;
                    self.lookup(dir, name)?
                }
                other => other?,
            };
            self.dir(next)?;
            // A process that died right after its mkdir left a name that is
            // not durable yet.
            if create && !self.dir(dir)?.pending.is_empty() {
                self.sync_dir(dir)?;
            }
            dir = next;
        }
        let path = self.path(dir)?;
        let pass = self.gate.enter_whole(OpKind::OpenDir, &path, 0..0)?;
        self.gate.leave(&pass)?;
        Ok(dir)
    }

    pub(super) fn open_dir(&mut self, dir: Ino, name: &str) -> io::Result<Ino> {
        let path = self.path_in(dir, name)?;
        let pass = self.gate.enter_whole(OpKind::OpenDir, &path, 0..0)?;
        self.gate.leave(&pass)?;
        let ino = self.lookup(dir, name)?;
        self.dir(ino)?;
        Ok(ino)
    }

    pub(super) fn create_dir(&mut self, dir: Ino, name: &str) -> io::Result<()> {
        let path = self.path_in(dir, name)?;
        let pass = self.gate.enter_whole(OpKind::CreateDir, &path, 0..0)?;
        if let Err(error) = self.link(dir, name, &path, Body::Dir(DirNode::default())) {
            return Err(self.gate.fail(&pass, error));
        }
        self.gate.leave(&pass)
    }

    /// Opens the file `name`, with a handle counted.
    pub(super) fn open(&mut self, dir: Ino, name: &str, mode: OpenMode) -> io::Result<Ino> {
        let path = self.path_in(dir, name)?;
        let pass = self.gate.enter_whole(OpKind::Open, &path, 0..0)?;
        self.gate.leave(&pass)?;
        let ino = match (self.lookup(dir, name), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(ino), _) if self.is_dir(ino) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{name} is a directory, not a regular file"),
                ));
            }
            (Ok(ino), _) => ino,
            (Err(error), OpenMode::Read | OpenMode::Write) => return Err(error),
            (Err(_), OpenMode::CreateNew | OpenMode::Create) => {
                let pass = self.gate.enter_whole(OpKind::Create, &path, 0..0)?;
                match self.link(dir, name, &path, Body::File(FileNode::default())) {
                    Ok(ino) => {
                        self.gate.leave(&pass)?;
                        ino
                    }
                    Err(error) => return Err(self.gate.fail(&pass, error)),
                }
            }
        };
        self.opened(ino);
        Ok(ino)
    }

    /// Makes a node and gives it a name that is not durable yet.
    fn link(&mut self, dir: Ino, name: &str, path: &Arc<str>, body: Body) -> io::Result<Ino> {
        if !self.node(dir)?.linked {
            return Err(not_found());
        }
        if self.lookup(dir, name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ino = self.add_node(dir, path, body);
        let seq = self.next_seq();
        let name = Arc::from(name);
        self.dir_mut(dir)?.push(seq, DirOp::Link { name, ino });
        Ok(ino)
    }

    pub(super) fn add_node(&mut self, parent: Ino, path: &Arc<str>, body: Body) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        let node = Node {
            path: Arc::clone(path),
            parent,
            linked: true,
            body,
        };
        self.nodes.insert(ino, Arc::new(node));
        ino
    }

    pub(super) fn rename(&mut self, dir: Ino, from: &str, to: &str) -> io::Result<()> {
        let (old_path, new_path) = (self.path_in(dir, from)?, self.path_in(dir, to)?);
        let both = Arc::from(format!("{old_path} to {new_path}"));
        let pass = self.gate.enter_whole(OpKind::Rename, &both, 0..0)?;
        match self.do_rename(dir, from, to, &new_path) {
            Ok(()) => self.gate.leave(&pass),
            Err(error) => Err(self.gate.fail(&pass, error)),
        }
    }

    fn do_rename(&mut self, dir: Ino, from: &str, to: &str, path: &Arc<str>) -> io::Result<()> {
        let ino = self.lookup(dir, from)?;
        if from == to {
            return Ok(());
        }
        if let Ok(replaced) = self.lookup(dir, to) {
            match (self.is_dir(ino), self.dir(replaced)) {
                (true, Err(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                (false, Ok(_)) => return Err(io::ErrorKind::IsADirectory.into()),
                (true, Ok(there)) if !there.live.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ => self.node_mut(replaced)?.linked = false,
            }
        }
        let seq = self.next_seq();
        let (from, to) = (Arc::from(from), Arc::from(to));
        self.dir_mut(dir)?
            .push(seq, DirOp::Rename { from, to, ino });
        self.set_path(ino, path);
        Ok(())
    }

    /// Gives `ino` and what is below it their paths.
    pub(super) fn set_path(&mut self, ino: Ino, path: &Arc<str>) {
        let mut moved = vec![(ino, Arc::clone(path))];
        while let Some((ino, path)) = moved.pop() {
            if let Ok(node) = self.node_mut(ino) {
                if let Body::Dir(dir) = &node.body {
                    let below = dir.live.iter();
                    moved.extend(below.map(|(name, ino)| (*ino, join(&path, name))));
                }
                node.path = path;
            }
        }
    }

    pub(super) fn remove(&mut self, dir: Ino, name: &str, kind: OpKind) -> io::Result<()> {
        let path = self.path_in(dir, name)?;
        let pass = self.gate.enter_whole(kind, &path, 0..0)?;
        match self.do_remove(dir, name, kind == OpKind::RemoveDir) {
            Ok(()) => self.gate.leave(&pass),
            Err(error) => Err(self.gate.fail(&pass, error)),
        }
    }

    fn do_remove(&mut self, dir: Ino, name: &str, want_dir: bool) -> io::Result<()> {
        let ino = self.lookup(dir, name)?;
        match (want_dir, self.dir(ino)) {
            (true, Err(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            (false, Ok(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            (true, Ok(there)) if !there.live.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            _ => self.node_mut(ino)?.linked = false,
        }
        let seq = self.next_seq();
        let name = Arc::from(name);
        self.dir_mut(dir)?.push(seq, DirOp::Unlink { name, ino });
        Ok(())
    }

    pub(super) fn list(&mut self, dir: Ino) -> io::Result<Vec<Entry>> {
        let path = self.path(dir)?;
        let pass = self.gate.enter_whole(OpKind::List, &path, 0..0)?;
        self.gate.leave(&pass)?;
        let live = &self.dir(dir)?.live;
        let entry = |(name, ino): (&Arc<str>, &Ino)| Entry {
            name: name.to_string(),
            kind: if self.is_dir(*ino) {
                EntryKind::Directory
            } else {
                EntryKind::File
            },
        };
        Ok(live.iter().map(entry).collect())
    }

    pub(super) fn sync_dir(&mut self, dir: Ino) -> io::Result<()> {
        let path = self.path(dir)?;
        let pass = self.gate.enter(OpKind::DirSync, &path, 0..0)?;
        let fault = Gate::fault(&pass);
        // As with a file: cut in the middle, the crash image chooses.
        if fault.map_or(Gate::is_cut(&pass), |fault| fault.lie) {
            return self.gate.leave(&pass);
        }
        let mut random = self.fault_random();
        let node = self.dir_mut(dir)?;
        let mut gone = Vec::new();
        for pending in &node.pending {
            match &pending.op {
                DirOp::Link { ino, .. } | DirOp::Unlink { ino, .. } => gone.push(*ino),
                DirOp::Rename { to, ino, .. } => {
                    gone.push(*ino);
                    gone.extend(node.durable.get(to));
                }
            }
        }
        if let Some(fault) = fault {
            node.commit_some(|| random.chance(fault.keep_percent));
            return Err(self.gate.fail(&pass, fault.error()));
        }
        node.commit();
        for ino in gone {
            self.collect(ino);
        }
        self.gate.leave(&pass)
    }

    /// Takes the lock file `name` and counts a handle of it; `None` if it is held.
    pub(super) fn lock(
        &mut self,
        dir: Ino,
        name: &str,
        exclusive: bool,
        note: &str,
    ) -> io::Result<Option<Ino>> {
        let path = self.path_in(dir, name)?;
        let pass = self.gate.enter_whole(OpKind::Lock, &path, 0..0)?;
        self.gate.leave(&pass)?;
        let mode = if exclusive {
            OpenMode::Create
        } else {
            OpenMode::Read
        };
        let ino = self.open(dir, name, mode)?;
        let held = match (exclusive, self.locks.get(&ino)) {
            (true, None) => Some(Held::Alone),
            (false, None) => Some(Held::Shared(1)),
            (false, Some(Held::Shared(others))) => Some(Held::Shared(others + 1)),
            (_, Some(_)) => None,
        };
        let Some(held) = held else {
            self.closed(ino);
            return Ok(None);
        };
        self.locks.insert(ino, held);
        if exclusive {
            let noted = match self.write(ino, &[note.as_bytes()], 0) {
                Ok(()) => self.set_len(ino, to_u64(note.len())),
                Err(error) if is_full(&error) => self.set_len(ino, 0),
                Err(error) => Err(error),
            };
            if let Err(error) = noted {
                self.unlock(ino);
                return Err(error);
            }
        }
        Ok(Some(ino))
    }

    /// Gives up one hold of the lock on `ino`, and its handle.
    pub(super) fn unlock(&mut self, ino: Ino) {
        match self.locks.get(&ino) {
            Some(Held::Shared(count)) if *count > 1 => {
                self.locks.insert(ino, Held::Shared(count - 1));
            }
            _ => {
                self.locks.remove(&ino);
            }
        }
        self.closed(ino);
    }

    pub(super) fn lock_note(&mut self, dir: Ino, name: &str) -> io::Result<String> {
        let ino = self.open(dir, name, OpenMode::Read)?;
        let mut note = [0; LOCK_NOTE_LEN_MAX];
        let result = self.read(ino, &mut note, 0);
        self.closed(ino);
        Ok(clean_note(note.get(..result?).unwrap_or_default()))
    }

    fn path_in(&self, dir: Ino, name: &str) -> io::Result<Arc<str>> {
        let name = plain_name(name)?;
        Ok(join(&self.node(dir)?.path, name))
    }
}

/// The path of `name` in the directory at `path`.
pub(super) fn join(path: &str, name: &str) -> Arc<str> {
    let slash = if path.ends_with('/') { "" } else { "/" };
    Arc::from(format!("{path}{slash}{name}"))
}

/// The names in `path`. Relative paths start from the root, too.
pub(super) fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or_else(invalid)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(invalid()),
        }
    }
    Ok(names)
}

fn invalid() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "a path of a simulated disk is UTF-8 and has no '..'",
    )
}
