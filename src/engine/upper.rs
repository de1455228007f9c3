//! The upper directories of a store, and what lies there that is not of it.
//!
//! Reported when a store is opened, never touched. The directories of single
//! topics are not looked at: there may be 100,000 of partitions, and opening
//! takes no longer for them. `inspect::verify` looks everywhere.

use std::path::Path;

use crate::error::{Error, Result};
use crate::format::layout::{is_in_root, is_in_snapshot, note_strangers, parse_number};
use crate::format::snapshot::Garbage;
use crate::ids::TopicId;
use crate::io::{Directory, EntryKind};
use crate::topic::Catalog;

/// The upper directories.
pub(super) struct Upper<'a> {
    pub(super) root: &'a dyn Directory,
    pub(super) snapshots: &'a dyn Directory,
    pub(super) topics: &'a dyn Directory,
}

impl Upper<'_> {
    /// Makes the names durable: those that were read may be in the page cache
    /// only, and what is written from here on relies on them.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) fn sync(&self, path: &Path) -> Result<()> {
        for (dir, name) in [
            (self.root, "."),
            (self.snapshots, "snapshot"),
            (self.topics, "topics"),
        ] {
            dir.sync()
                .map_err(|error| Error::io(format!("sync {}", path.join(name).display()), error))?;
        }
        Ok(())
    }

    /// Notes on all names that are not of the store, but for those in `wal`.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) fn strangers(&self, catalog: &Catalog, garbage: &[Garbage]) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let root = names(self.root, ".", |name, _| is_in_root(name))?;
        note_strangers("", root, &mut notes);
        let snapshots = names(self.snapshots, "snapshot", |name, _| is_in_snapshot(name))?;
        note_strangers("snapshot/", snapshots, &mut notes);
        let topics = names(self.topics, "topics", |name, kind| {
            let id = parse_number(name).map(TopicId::new);
            let known = |id| catalog.by_id(id).is_some() || garbage.contains(&Garbage::Topic(id));
            kind == EntryKind::Directory && id.is_some_and(known)
        })?;
        note_strangers("topics/", topics, &mut notes);
        Ok(notes)
    }
}

/// The names in `dir` that `ours` does not know.
fn names(
    dir: &dyn Directory,
    path: &str,
    ours: impl Fn(&str, EntryKind) -> bool,
) -> Result<Vec<String>> {
    let entries = dir
        .list()
        .map_err(|error| Error::io(format!("list directory {path}"), error))?;
    let strange = entries.into_iter().filter(|it| !ours(&it.name, it.kind));
    Ok(strange.map(|it| it.name).collect())
}
