//! Making a store, and the names of its files.
//!
//! The identity file comes last: until it is there, there is no store, and a
//! crash before leaves what the next attempt makes again.

use std::path::Path;
use std::sync::Arc;

use super::maintenance::remove_tree;
use crate::error::{Error, ErrorKind, Result};
use crate::format::identity::Identity;
use crate::format::layout::{
    DIRECTORIES, IDENTITY, IDENTITY_TMP, LOCK, SNAPSHOT_TMP, snapshot_name,
};
use crate::format::snapshot::Snapshot;
use crate::ids::{Lsn, StoreId};
use crate::io::{BLOCK_LEN, Directory, EntryKind, FileSystem, OpenMode};
use crate::options::Options;
use crate::wal::{FilesEnv, Wal, files};

/// Who holds the lock, for those who want it.
pub(super) fn lock_note() -> String {
    format!("process {}", crate::io::process_id())
}

/// Makes a store in an empty directory.
///
/// # Errors
///
/// `Invalid` if something else is there; the operating system's.
pub(super) fn create(
    file_system: &dyn FileSystem,
    root: &Arc<dyn Directory>,
    path: &Path,
    options: &Options,
) -> Result<Identity> {
    refuse_foreign(&**root, path)?;
    let mut id = [0; 16];
    file_system
        .random(&mut id)
        .map_err(|error| Error::io("draw a store id", error))?;
    let identity = Identity::new(StoreId::new(id), options.clock.now());
    for name in DIRECTORIES {
        // What an attempt that failed left goes, names and all: where syncing
        // a directory failed, a later sync need not make them durable.
        match remove_tree(&**root, name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => root.create_dir(name),
        }
        .map_err(|error| Error::io(format!("create directory {name}"), error))?;
    }
    let open = |name: &str| {
        root.open_dir(name)
            .map_err(|error| Error::io(format!("open directory {name}"), error))
    };
    let files = FilesEnv {
        dir: open("wal")?,
        store: identity.store,
        file_bytes: options.wal_file_bytes,
        direct: false,
    };
    Wal::create(&files)?;
    let snapshot = Snapshot {
        wal_sequence: 1,
        trusted_time: identity.created,
        ..Snapshot::default()
    };
    let snapshots = open("snapshot")?;
    write_snapshot(&*snapshots, &snapshot, identity.store)?;
    root.sync()
        .map_err(|error| Error::io("sync the directory", error))?;
    // Now all that an identity speaks of is durable.
    if let Err(error) = replace(&**root, IDENTITY_TMP, IDENTITY, &identity.encode()) {
        // A name that is not durable must not pass for a store.
        drop(root.remove_file(IDENTITY));
        return Err(error);
    }
    Ok(identity)
}

/// Writes a snapshot under its name, whole or not at all.
pub(super) fn write_snapshot(
    dir: &dyn Directory,
    snapshot: &Snapshot,
    store: StoreId,
) -> Result<()> {
    let name = snapshot_name(snapshot.lsn);
    let bytes = snapshot.try_encode(store).map_err(|bytes| {
        Error::new(
            ErrorKind::Full,
            format!(
                "the state of the store takes {bytes} bytes, more than the {} of a snapshot; \
                 delete topics and queues, or make windows of deduplication shorter",
                crate::format::SNAPSHOT_PAYLOAD_LEN_MAX
            ),
        )
    })?;
    replace(dir, SNAPSHOT_TMP, &name, &bytes)
}

/// Puts a file in place: written and synced under another name first, so that
/// the name never means half a file.
fn replace(dir: &dyn Directory, tmp: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let file = dir
        .open(tmp, OpenMode::Create)
        .map_err(|error| Error::io(format!("create {tmp}"), error))?;
    file.set_len(0)
        .map_err(|error| Error::io(format!("empty {tmp}"), error))?;
    file.write_all_at(bytes, 0)
        .map_err(|error| Error::io(format!("write {tmp}"), error))?;
    file.sync_data()
        .map_err(|error| Error::io(format!("sync {tmp}"), error))?;
    dir.rename(tmp, name)
        .map_err(|error| Error::io(format!("rename {tmp} to {name}"), error))?;
    dir.sync()
        .map_err(|error| Error::io(format!("sync the directory of {name}"), error))
}

/// Refuses a directory that holds anything but what an attempt to make a store
/// leaves.
fn refuse_foreign(root: &dyn Directory, path: &Path) -> Result<()> {
    let known = |name: &str| [LOCK, IDENTITY_TMP].contains(&name) || DIRECTORIES.contains(&name);
    let list = |dir: &dyn Directory, what: &str| {
        dir.list()
            .map_err(|error| Error::io(format!("list {what}"), error))
    };
    let refuse = |found: String| {
        Err(Error::invalid(format!(
            "{} is neither empty nor a store: it has {found} but no file `{IDENTITY}`; choose an \
             empty directory, or bring that file back from a copy",
            path.display()
        )))
    };
    for entry in list(root, "the directory")? {
        if !known(&entry.name) {
            return refuse(format!("`{}`", entry.name));
        }
        if entry.kind != EntryKind::Directory {
            continue;
        }
        let dir = root
            .open_dir(&entry.name)
            .map_err(|error| Error::io(format!("open {}", entry.name), error))?;
        for inner in list(&*dir, &entry.name)? {
            let ours = match entry.name.as_str() {
                "wal" => inner.name == files::name(1) && is_fresh(&*dir, &inner.name)?,
                "snapshot" => inner.name == SNAPSHOT_TMP || inner.name == snapshot_name(Lsn::ZERO),
                _ => false,
            };
            if !ours {
                return refuse(format!("`{}/{}`", entry.name, inner.name));
            }
        }
    }
    Ok(())
}

/// True if no frame was ever written to the file.
fn is_fresh(dir: &dyn Directory, name: &str) -> Result<bool> {
    let attempt = || format!("read wal/{name}");
    let file = dir
        .open(name, OpenMode::Read)
        .map_err(|error| Error::io(attempt(), error))?;
    let mut block = [0; BLOCK_LEN];
    let len = file
        .read_at(&mut block, crate::ids::to_u64(BLOCK_LEN))
        .map_err(|error| Error::io(attempt(), error))?;
    Ok(block.iter().take(len).all(|byte| *byte == 0))
}
