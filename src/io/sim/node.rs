//! Files and directories: what is live, what is durable, what lies between.
//!
//! ```text
//!   live     what every call sees: all operations applied
//!   pending  operations since the last sync, in order
//!   durable  what a power cut cannot take away
//! ```
//!
//! After a failed sync `pending` is dropped and `live` stays: the pages are
//! clean in the cache and nowhere else, as on Linux. Such a node has diverged.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::content::{Content, PAGE_LEN, Page, SECTOR_LEN, SECTORS, piece, zero_page};
use crate::ids::{to_u64, to_usize};

/// Number of a file or directory; never used again.
pub(super) type Ino = u64;

/// Names of a directory.
pub(super) type Entries = BTreeMap<Arc<str>, Ino>;

/// A file or a directory.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where it is, or was last, in the live tree.
    pub(super) path: Arc<str>,
    /// The directory it was made in; names never move between directories.
    pub(super) parent: Ino,
    /// True if a name in the live tree leads here.
    pub(super) linked: bool,
    /// What it is.
    pub(super) body: Body,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    File(FileNode),
    Dir(DirNode),
}

/// An operation that a power cut may undo.
#[derive(Clone, Debug)]
pub(super) struct Pending<T> {
    /// Its place among all operations of the disk.
    pub(super) seq: u64,
    pub(super) op: T,
}

/// A regular file.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) live: Content,
    pub(super) durable: Content,
    pub(super) pending: Vec<Pending<FileOp>>,
    pub(super) diverged: bool,
}

/// A unit of change to a file.
#[derive(Clone, Debug)]
pub(super) enum FileOp {
    /// Whole sectors of one page, as the page was after the write. The cache
    /// writes back what it holds, so earlier writes to them come along.
    Sectors {
        index: usize,
        sectors: Range<usize>,
        page: Arc<Page>,
    },
    /// The length became this.
    Length(u64),
    /// Space up to here was reserved; the length is at least this.
    Allocate(u64),
}

impl FileOp {
    /// Does it again, on `content`.
    pub(super) fn apply(&self, content: &mut Content) {
        match self {
            Self::Sectors {
                index,
                sectors,
                page,
            } => content.put_sectors(*index, sectors, page),
            Self::Length(len) => content.set_len(*len),
            Self::Allocate(len) => content.allocate(*len),
        }
    }

    /// True if `older` writes nothing that this does not write.
    fn replaces(&self, older: &Self) -> bool {
        let (
            Self::Sectors { index, sectors, .. },
            Self::Sectors {
                index: place,
                sectors: old,
                ..
            },
        ) = (self, older)
        else {
            return false;
        };
        index == place && sectors.start <= old.start && sectors.end >= old.end
    }

    /// In words, for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Sectors { index, sectors, .. } => {
                let page = index * PAGE_LEN;
                let start = page + sectors.start * SECTOR_LEN;
                let end = page + sectors.end * SECTOR_LEN;
                format!("write {start}..{end}")
            }
            Self::Length(len) => format!("length {len}"),
            Self::Allocate(len) => format!("allocate {len}"),
        }
    }
}

/// What a sync of a file makes durable.
pub(super) enum Synced<'a> {
    /// Everything, but for writes past the cache that are still under way.
    Written(&'a BTreeSet<u64>),
    /// One write past the cache.
    Change(u64),
}

impl Synced<'_> {
    fn covers(&self, pending: &Pending<FileOp>) -> bool {
        match self {
            Self::Written(under_way) => !under_way.contains(&pending.seq),
            Self::Change(seq) => {
                *seq == pending.seq || !matches!(pending.op, FileOp::Sectors { .. })
            }
        }
    }
}

impl FileNode {
    /// A file that holds `content`, durably.
    pub(super) fn durable(content: Content) -> Self {
        Self {
            live: content.clone(),
            durable: content,
            ..Self::default()
        }
    }

    /// Writes `bufs` from `position`, in units of `unit_sectors` sectors.
    pub(super) fn write(&mut self, seq: u64, bufs: &[&[u8]], position: u64, unit_sectors: usize) {
        let old_len = self.live.len();
        let mut at = position;
        for buf in bufs {
            self.live.write(buf, at);
            at += to_u64(buf.len());
        }
        let mut start = position;
        while start < at {
            let (index, bytes) = piece(start, to_usize(at - start));
            self.push_sectors(seq, index, &bytes, unit_sectors);
            start += to_u64(bytes.len());
        }
        if self.live.len() != old_len {
            let op = FileOp::Length(self.live.len());
            self.pending.push(Pending { seq, op });
        }
    }

    fn push_sectors(&mut self, seq: u64, index: usize, bytes: &Range<usize>, unit: usize) {
        let page = self.live.page(index).map_or_else(zero_page, Arc::clone);
        let mut start = bytes.start / SECTOR_LEN / unit * unit;
        while start * SECTOR_LEN < bytes.end {
            let end = (start + unit).min(SECTORS);
            let op = FileOp::Sectors {
                index,
                sectors: start..end,
                page: Arc::clone(&page),
            };
            self.pending.push(Pending { seq, op });
            start = end;
        }
    }

    /// Cuts or extends.
    pub(super) fn set_len(&mut self, seq: u64, len: u64) {
        if self.live.len() != len {
            self.push(seq, FileOp::Length(len));
        }
    }

    /// Reserves space.
    pub(super) fn allocate(&mut self, seq: u64, len: u64) {
        if self.live.len() < len || self.live.holes(0..len) > 0 {
            self.push(seq, FileOp::Allocate(len));
        }
    }

    fn push(&mut self, seq: u64, op: FileOp) {
        op.apply(&mut self.live);
        self.pending.push(Pending { seq, op });
    }

    /// A sync of everything that has been written, or of one change with what
    /// it takes to reach it. What it did not `keep` stays readable, and no later
    /// sync makes it durable.
    pub(super) fn commit_some(&mut self, what: &Synced<'_>, mut keep: impl FnMut() -> bool) {
        let mut left = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if !what.covers(&pending) {
                left.push(pending);
            } else if keep() {
                pending.op.apply(&mut self.durable);
                // The device holds one content of a sector, the last.
                left.retain(|older: &Pending<FileOp>| !pending.op.replaces(&older.op));
            } else {
                self.diverged = true;
            }
        }
        self.pending = left;
        self.durable.set_len(self.durable.len());
    }

    /// Replaces everything, durably, behind everybody's back.
    pub(super) fn replace(&mut self, bytes: &[u8]) {
        let mut content = Content::default();
        content.write(bytes, 0);
        *self = Self::durable(content);
    }
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct DirNode {
    pub(super) live: Entries,
    pub(super) durable: Entries,
    pub(super) pending: Vec<Pending<DirOp>>,
    pub(super) diverged: bool,
}

/// A unit of change to a directory.
#[derive(Clone, Debug)]
pub(super) enum DirOp {
    /// A file or directory was made.
    Link { name: Arc<str>, ino: Ino },
    /// A name was removed.
    Unlink { name: Arc<str>, ino: Ino },
    /// A name was changed, replacing what was there. Atomic.
    Rename {
        from: Arc<str>,
        to: Arc<str>,
        ino: Ino,
    },
}

impl DirOp {
    /// Does it again, on `entries`, from which earlier operations may be
    /// missing. A node never gets two names by it.
    pub(super) fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Link { name, ino } => {
                entries.insert(Arc::clone(name), *ino);
            }
            Self::Unlink { name, ino } => {
                if entries.get(name) == Some(ino) {
                    entries.remove(name);
                }
            }
            Self::Rename { from, to, ino } => {
                if entries.get(from) == Some(ino) {
                    entries.remove(from);
                } else {
                    // An earlier rename was lost: the node still has the name
                    // it had before that.
                    entries.retain(|_, other| other != ino);
                }
                entries.insert(Arc::clone(to), *ino);
            }
        }
    }

    /// In words, for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Link { name, .. } => format!("create {name}"),
            Self::Unlink { name, .. } => format!("remove {name}"),
            Self::Rename { from, to, .. } => format!("rename {from} to {to}"),
        }
    }
}

impl DirNode {
    /// Does `op` and remembers it as not durable.
    pub(super) fn push(&mut self, seq: u64, op: DirOp) {
        op.apply(&mut self.live);
        self.pending.push(Pending { seq, op });
    }

    /// A sync that succeeded.
    pub(super) fn commit(&mut self) {
        for pending in self.pending.drain(..) {
            pending.op.apply(&mut self.durable);
        }
    }

    /// A sync that failed: what it did not `keep` stays in the live view only.
    pub(super) fn commit_some(&mut self, mut keep: impl FnMut() -> bool) {
        for pending in self.pending.drain(..) {
            if keep() {
                pending.op.apply(&mut self.durable);
            } else {
                self.diverged = true;
            }
        }
    }
}

impl Node {
    /// True if a power cut would change nothing here.
    pub(super) fn is_clean(&self) -> bool {
        match &self.body {
            Body::File(file) => file.pending.is_empty() && !file.diverged,
            Body::Dir(dir) => dir.pending.is_empty() && !dir.diverged,
        }
    }

    /// Path and operation of everything pending here, with its place.
    pub(super) fn pending(&self) -> Vec<(u64, String)> {
        let line = |what: String| format!("{}: {what}", self.path);
        match &self.body {
            Body::File(file) => file
                .pending
                .iter()
                .map(|p| (p.seq, line(p.op.describe())))
                .collect(),
            Body::Dir(dir) => dir
                .pending
                .iter()
                .map(|p| (p.seq, line(p.op.describe())))
                .collect(),
        }
    }
}
