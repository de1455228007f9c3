//! The store as a whole: lock, identity, snapshots, and what lies around.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::identity::{IDENTITY_LEN, Identity};
use crate::format::layout::{self, IDENTITY, LOCK};
use crate::format::snapshot::{SNAPSHOT_HEADER_LEN, Snapshot};
use crate::format::{DecodeError, SNAPSHOT_PAYLOAD_LEN_MAX};
use crate::ids::{Lsn, StoreId, to_u64, to_usize};
use crate::io::{Directory, EntryKind, FileSystem, LockGuard, OpenMode};
use crate::wal::listing::{self, Listing, LogFile};

/// A store, locked against writers.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: Arc<dyn Directory>,
    pub(super) id: StoreId,
    _lock: Option<LockGuard>,
}

/// A snapshot file, decoded or not.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    pub(super) path: String,
    /// What its name says.
    pub(super) lsn: Lsn,
    pub(super) bytes: u64,
    pub(super) content: Result<Snapshot>,
}

impl Store {
    /// Opens the store at `path` for reading.
    pub(super) fn open(fs: &dyn FileSystem, path: &Path) -> Result<Self> {
        let attempt = |what: &str| format!("{what} {}", path.display());
        let root = fs
            .open_root(path, false)
            .map_err(|error| Error::io(attempt("open store"), error))?;
        let lock = match root.lock(LOCK, false, "") {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => {
                let holder = root.lock_note(LOCK).unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::Locked,
                    format!("{} is open ({holder}): close it first", path.display()),
                ));
            }
            // A copy of a store need not have it, and nothing may be created.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(attempt("lock"), error)),
        };
        let bytes = read_file(&*root, IDENTITY, to_u64(IDENTITY_LEN), IDENTITY)?;
        let identity = Identity::decode(&bytes, false)
            .map_err(|error| decode_error("store at byte 0", error))?;
        Ok(Self {
            root,
            id: identity.store,
            _lock: lock,
        })
    }

    /// The directory `name`; `None` if there is none.
    pub(super) fn dir(&self, name: &str) -> Result<Option<Arc<dyn Directory>>> {
        open_dir(&*self.root, name, name)
    }

    /// All snapshots, newest first.
    pub(super) fn snapshots(&self) -> Result<Vec<SnapshotFile>> {
        let Some(dir) = self.dir("snapshot")? else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        for (name, _) in list(&*dir, "snapshot")? {
            let path = format!("snapshot/{name}");
            if let Some(lsn) = layout::parse_snapshot_name(&name) {
                files.push(self.snapshot(&*dir, &name, path, lsn));
            }
        }
        files.reverse();
        Ok(files)
    }

    /// All files of the log, and notes about other files.
    pub(super) fn log(&self, notes: &mut Vec<String>) -> Result<Vec<LogFile>> {
        let Some(dir) = self.dir("wal")? else {
            return Ok(Vec::new());
        };
        let Listing {
            files,
            notes: found,
        } = listing::list(&*dir, self.id, OpenMode::Read)?;
        notes.extend(found);
        Ok(files)
    }

    fn snapshot(&self, dir: &dyn Directory, name: &str, path: String, lsn: Lsn) -> SnapshotFile {
        let max = to_u64(SNAPSHOT_HEADER_LEN) + to_u64(SNAPSHOT_PAYLOAD_LEN_MAX);
        let bytes = read_file(dir, name, max, &path);
        let len = bytes.as_ref().map_or(0, |bytes| to_u64(bytes.len()));
        let content = bytes.and_then(|bytes| {
            Snapshot::decode(&bytes, self.id).map_err(|error| decode_error("snapshot", error))
        });
        let content = content.and_then(|snapshot| {
            if snapshot.lsn == lsn {
                return Ok(snapshot);
            }
            let found = snapshot.lsn;
            Err(Error::corrupt(format!(
                "it is the snapshot of LSN {found}: renamed"
            )))
        });
        SnapshotFile {
            path,
            lsn,
            bytes: len,
            content,
        }
    }
}

/// The directory `name` in `dir`; `None` if there is none.
pub(super) fn open_dir(
    dir: &dyn Directory,
    name: &str,
    path: &str,
) -> Result<Option<Arc<dyn Directory>>> {
    match dir.open_dir(name) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(format!("open directory {path}"), error)),
    }
}

/// All names in `dir`, sorted.
pub(super) fn list(dir: &dyn Directory, path: &str) -> Result<BTreeMap<String, EntryKind>> {
    let entries = dir
        .list()
        .map_err(|error| Error::io(format!("list directory {path}"), error))?;
    let named = entries.into_iter().map(|entry| (entry.name, entry.kind));
    Ok(named.collect())
}

/// The whole file, which has at most `max` bytes.
fn read_file(dir: &dyn Directory, name: &str, max: u64, path: &str) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format!("read {path}"), error);
    let file = dir.open(name, OpenMode::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len > max {
        return Err(Error::corrupt(format!(
            "{path} has {len} bytes, expected at most {max}"
        )));
    }
    let mut bytes = vec![0; to_usize(len)];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// An error about bytes on disk, by what the caller can do about it.
pub(super) fn decode_error(place: &str, error: DecodeError) -> Error {
    let kind = match error {
        DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Corrupt,
    };
    Error::with_source(kind, place, error)
}
