//! The state of a simulated disk, and operations on files.
//!
//! One lock guards all of it: the order in which calls get that lock is the
//! order of the steps. Directories are in `tree`, power cuts in `crash`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::content::PAGE_LEN;
use super::fault::{FaultRule, OpKind};
use super::node::{Body, DirNode, FileNode, Ino, Node, Synced};
use super::random::{Random, mix};
use super::step::Gate;
use crate::ids::to_u64;

/// The directory that paths start from.
pub(super) const ROOT: Ino = 1;

/// Longest file: far beyond what a test keeps in memory, and low enough that
/// a wild position is an error and not a request for memory.
const FILE_LEN_MAX: u64 = 16 << 30;

/// What is set once for a disk and goes over to its images.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) maps: bool,
    pub(super) unit_sectors: usize,
    pub(super) queue: bool,
    pub(super) capacity: Option<u64>,
}

/// Who holds the lock of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Alone,
    Shared(u32),
}

/// A disk and the kernel in front of it.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) nodes: BTreeMap<Ino, Arc<Node>>,
    pub(super) next_ino: Ino,
    /// Place of the last change among all changes.
    pub(super) seq: u64,
    pub(super) opens: BTreeMap<Ino, u32>,
    pub(super) locks: BTreeMap<Ino, Held>,
    /// Changes by writes past the cache that have not completed.
    pub(super) under_way: BTreeSet<u64>,
    pub(super) settings: Settings,
    pub(super) seed: u64,
    pub(super) random: Random,
    pub(super) gate: Gate,
}

impl Disk {
    /// An empty disk.
    pub(super) fn new(seed: u64) -> Self {
        let root = Node {
            path: Arc::from("/"),
            parent: ROOT,
            linked: true,
            body: Body::Dir(DirNode::default()),
        };
        let settings = Settings {
            maps: false,
            unit_sectors: super::content::SECTORS,
            queue: false,
            capacity: None,
        };
        let nodes = BTreeMap::from([(ROOT, Arc::new(root))]);
        Self::with_nodes(nodes, ROOT + 1, seed, settings)
    }

    /// A disk that holds `nodes`: power on, nothing open, nothing scripted.
    pub(super) fn with_nodes(
        nodes: BTreeMap<Ino, Arc<Node>>,
        next_ino: Ino,
        seed: u64,
        settings: Settings,
    ) -> Self {
        Self {
            nodes,
            next_ino,
            seq: 0,
            opens: BTreeMap::new(),
            locks: BTreeMap::new(),
            under_way: BTreeSet::new(),
            settings,
            seed,
            random: Random::new(mix(seed)),
            gate: Gate::default(),
        }
    }

    /// The same live and pending state, in front of a new process.
    pub(super) fn fork(&self) -> Self {
        let settings = self.settings.clone();
        let seed = mix(self.seed ^ mix(self.gate.steps));
        let mut fork = Self::with_nodes(self.nodes.clone(), self.next_ino, seed, settings);
        fork.seq = self.seq;
        // Files that only a handle of the old process kept are gone.
        let orphans: Vec<Ino> = self.opens.keys().copied().collect();
        for ino in orphans {
            fork.collect(ino);
        }
        fork
    }

    /// The node `ino`.
    pub(super) fn node(&self, ino: Ino) -> io::Result<&Arc<Node>> {
        self.nodes.get(&ino).ok_or_else(not_found)
    }

    /// The path of `ino`, for the trace and the rules.
    pub(super) fn path(&self, ino: Ino) -> io::Result<Arc<str>> {
        Ok(Arc::clone(&self.node(ino)?.path))
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> io::Result<&mut Node> {
        let node = self.nodes.get_mut(&ino).ok_or_else(not_found)?;
        Ok(Arc::make_mut(node))
    }

    pub(super) fn file(&self, ino: Ino) -> io::Result<&FileNode> {
        match &self.node(ino)?.body {
            Body::File(file) => Ok(file),
            Body::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> io::Result<&mut FileNode> {
        match &mut self.node_mut(ino)?.body {
            Body::File(file) => Ok(file),
            Body::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The place of the next change.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn read(&mut self, ino: Ino, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let path = self.path(ino)?;
        let end = position.saturating_add(to_u64(buf.len()));
        let pass = self.gate.enter(OpKind::Read, &path, position..end)?;
        let mut most = buf.len();
        if let Some(fault) = Gate::fault(&pass) {
            most = fault.short.ok_or_else(|| fault.error())?.min(most);
        }
        let buf = buf.get_mut(..most).unwrap_or_default();
        let done = self.file(ino)?.live.read(buf, position);
        self.gate.counts.add_read(to_u64(done));
        Ok(done)
    }

    /// Writes all of `bufs`, or as much of them as a fault or the capacity
    /// leaves room for.
    pub(super) fn write(&mut self, ino: Ino, bufs: &[&[u8]], position: u64) -> io::Result<()> {
        let path = self.path(ino)?;
        let len: u64 = bufs.iter().map(|buf| to_u64(buf.len())).sum();
        if len == 0 {
            return self.gate.powered();
        }
        let end = position.saturating_add(len);
        let pass = self.gate.enter(OpKind::Write, &path, position..end)?;
        if end > FILE_LEN_MAX {
            return Err(self.gate.fail(&pass, io::ErrorKind::FileTooLarge.into()));
        }
        let (mut fits, mut error) = (self.room(ino, position, end)?, None);
        if fits < len {
            error = Some(io::Error::from_raw_os_error(FaultRule::ENOSPC));
        }
        if let Some(fault) = Gate::fault(&pass) {
            fits = fits.min(to_u64(fault.short.unwrap_or(0)));
            error = Some(fault.error());
        }
        if fits > 0 {
            let seq = self.next_seq();
            let unit = self.settings.unit_sectors;
            let bufs = first(bufs, fits);
            self.file_mut(ino)?.write(seq, &bufs, position, unit);
            self.gate.counts.add_written(fits);
        }
        match error {
            Some(error) => Err(self.gate.fail(&pass, error)),
            None => self.gate.leave(&pass),
        }
    }

    /// How many of the bytes from `start` to `end` can be written before the
    /// disk is full. Pages that have space already cost nothing.
    fn room(&self, ino: Ino, start: u64, end: u64) -> io::Result<u64> {
        let Some(mut free) = self.free_pages() else {
            return Ok(end - start);
        };
        let live = &self.file(ino)?.live;
        let mut at = start;
        while at < end {
            let next = (at / to_u64(PAGE_LEN) + 1) * to_u64(PAGE_LEN);
            let needed = live.holes(at..at + 1);
            if needed > free {
                return Ok(at - start);
            }
            free -= needed;
            at = next.min(end);
        }
        Ok(end - start)
    }

    /// Pages that can still be allocated; `None` if there is no end of them.
    fn free_pages(&self) -> Option<u64> {
        let capacity = self.settings.capacity?;
        Some(capacity.saturating_sub(self.used()) / to_u64(PAGE_LEN))
    }

    /// Bytes allocated by files that have a name or are open.
    pub(super) fn used(&self) -> u64 {
        let held = self
            .nodes
            .iter()
            .filter(|(ino, node)| node.linked || self.opens.contains_key(ino));
        held.map(|(_, node)| match &node.body {
            Body::File(file) => file.live.allocated_bytes(),
            Body::Dir(_) => 0,
        })
        .sum()
    }

    pub(super) fn set_len(&mut self, ino: Ino, len: u64) -> io::Result<()> {
        let path = self.path(ino)?;
        let pass = self.gate.enter_whole(OpKind::SetLen, &path, 0..len)?;
        if len > FILE_LEN_MAX {
            return Err(self.gate.fail(&pass, io::ErrorKind::FileTooLarge.into()));
        }
        let seq = self.next_seq();
        self.file_mut(ino)?.set_len(seq, len);
        self.gate.leave(&pass)
    }

    pub(super) fn allocate(&mut self, ino: Ino, len: u64) -> io::Result<()> {
        let path = self.path(ino)?;
        let pass = self.gate.enter_whole(OpKind::Allocate, &path, 0..len)?;
        if len > FILE_LEN_MAX {
            return Err(self.gate.fail(&pass, io::ErrorKind::FileTooLarge.into()));
        }
        let needed = self.file(ino)?.live.holes(0..len);
        if self.free_pages().is_some_and(|free| needed > free) {
            let full = io::Error::from_raw_os_error(FaultRule::ENOSPC);
            return Err(self.gate.fail(&pass, full));
        }
        let seq = self.next_seq();
        self.file_mut(ino)?.allocate(seq, len);
        self.gate.leave(&pass)
    }

    pub(super) fn sync_file(&mut self, ino: Ino) -> io::Result<()> {
        self.sync(ino, None)
    }

    /// Makes one change durable, and no other: the end of a synced write that
    /// went past the cache.
    pub(super) fn sync_change(&mut self, ino: Ino, seq: u64) -> io::Result<()> {
        self.sync(ino, Some(seq))
    }

    fn sync(&mut self, ino: Ino, only: Option<u64>) -> io::Result<()> {
        let path = self.path(ino)?;
        let pass = self.gate.enter(OpKind::Sync, &path, 0..0)?;
        if let Some(fault) = Gate::fault(&pass) {
            if fault.lie {
                return self.gate.leave(&pass);
            }
            let mut random = self.fault_random();
            let keep = || random.chance(fault.keep_percent);
            self.commit(ino, only, keep)?;
            return Err(self.gate.fail(&pass, fault.error()));
        }
        // Cut in the middle of a sync, any part of it may have been done:
        // everything stays pending, and the crash image chooses.
        if !Gate::is_cut(&pass) {
            self.commit(ino, only, || true)?;
        }
        self.gate.leave(&pass)
    }

    fn commit(
        &mut self,
        ino: Ino,
        only: Option<u64>,
        keep: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let under_way = std::mem::take(&mut self.under_way);
        let what = only.map_or(Synced::Written(&under_way), Synced::Change);
        let done = self.file_mut(ino).map(|file| file.commit_some(&what, keep));
        self.under_way = under_way;
        done
    }

    /// Chance for the fault of this step, apart from the stream that
    /// `FileSystem::random` draws from.
    pub(super) fn fault_random(&self) -> Random {
        Random::new(mix(self.seed ^ mix(self.gate.steps)))
    }

    pub(super) fn len(&mut self, ino: Ino) -> io::Result<u64> {
        let path = self.path(ino)?;
        let pass = self.gate.enter_whole(OpKind::Len, &path, 0..0)?;
        self.gate.leave(&pass)?;
        Ok(self.file(ino)?.live.len())
    }

    pub(super) fn map(&mut self, ino: Ino, len: u64) -> io::Result<Option<Bytes>> {
        let path = self.path(ino)?;
        let pass = self.gate.enter_whole(OpKind::Map, &path, 0..len)?;
        self.gate.leave(&pass)?;
        if !self.settings.maps {
            return Ok(None);
        }
        let live = &self.file(ino)?.live;
        if live.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; crate::ids::to_usize(len)];
        live.read(&mut bytes, 0);
        Ok(Some(Bytes::from(bytes)))
    }

    /// A handle of `ino` was made.
    pub(super) fn opened(&mut self, ino: Ino) {
        *self.opens.entry(ino).or_default() += 1;
    }

    /// A handle of `ino` is gone.
    pub(super) fn closed(&mut self, ino: Ino) {
        if let Some(count) = self.opens.get_mut(&ino) {
            *count -= 1;
            if *count == 0 {
                self.opens.remove(&ino);
                self.collect(ino);
            }
        }
    }

    /// Drops `ino` if nothing leads to it any more: no name, no handle, and no
    /// power cut that would give it its name back.
    pub(super) fn collect(&mut self, ino: Ino) {
        let Some(node) = self.nodes.get(&ino) else {
            return;
        };
        let returns = self
            .nodes
            .get(&node.parent)
            .is_some_and(|dir| !dir.is_clean());
        if !node.linked && !returns && !self.opens.contains_key(&ino) {
            self.nodes.remove(&ino);
            // Below a directory that is gone nothing returns either.
            let below = self.nodes.iter().filter(|(_, node)| node.parent == ino);
            let below: Vec<Ino> = below.map(|(ino, _)| *ino).collect();
            for ino in below {
                self.collect(ino);
            }
        }
    }
}

/// The first `len` bytes of `bufs`.
fn first<'a>(bufs: &[&'a [u8]], len: u64) -> Vec<&'a [u8]> {
    let mut left = crate::ids::to_usize(len);
    let mut kept = Vec::with_capacity(bufs.len());
    for buf in bufs {
        let buf = buf.get(..left).unwrap_or(buf);
        left -= buf.len();
        kept.push(buf);
    }
    kept
}

/// What the kernel says about a name that is not there.
pub(super) fn not_found() -> io::Error {
    io::Error::from_raw_os_error(FaultRule::ENOENT)
}
