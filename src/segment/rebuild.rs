//! Building an index from the log: after damage, and for what a power cut took.

use bytes::Bytes;

use super::index::{self, Indexer, SealedIndex};
use super::scan::{ALL, Extent, Scan, Source};
use super::{Place, SegmentEnv, index_name, temporary_name};
use crate::error::{Error, Result};
use crate::format::index::IndexEntry;
use crate::ids::Offset;
use crate::io::OpenMode;

/// Entries of a segment, found by reading it.
#[derive(Debug)]
pub(super) struct Rebuilt {
    /// For all of the log, or up to the damage.
    pub(super) entries: Vec<IndexEntry>,
    /// In the state to observe the next batch.
    pub(super) indexer: Indexer,
    /// Why the reading ended early, if it did.
    pub(super) damage: Option<Error>,
}

impl Rebuilt {
    /// Reads what lies behind the last of the entries that are known already,
    /// or everything if there are none.
    pub(super) fn scan(
        env: &SegmentEnv,
        source: &Source,
        extent: Extent,
        known: &[IndexEntry],
    ) -> Self {
        let mut indexer = Indexer::new(env, extent.base);
        let mut entries = known.to_vec();
        let mut from = Place::start(extent.base);
        if let Some(last) = known.last() {
            // Its batch is observed again, without a second entry.
            indexer.resume(last);
            from = index::place(extent.base, last);
        } else {
            source.advise(from.position.get(), extent.data_end);
        }
        let mut scan = Scan::new(env, source, extent, from, ALL);
        let damage = loop {
            match scan.next_raw() {
                Ok(Some((position, header, _))) => {
                    entries.extend(indexer.observe(position.get(), &header));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        Self {
            entries,
            indexer,
            damage,
        }
    }
}

/// Replaces the index of a sealed segment.
///
/// A power cut before the rename leaves a temporary file, which
/// [`remove`](super::remove) takes along; after it, the new index, whose bytes
/// are durable. The directory needs no sync: the old one is built again.
pub(super) fn save(env: &SegmentEnv, base: Offset, index: &SealedIndex) -> Result<()> {
    let bytes: &Bytes = index.bytes();
    let temporary = temporary_name(base);
    let write = || {
        let file = env.dir.open(&temporary, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        env.dir.rename(&temporary, &index_name(base))
    };
    write().map_err(|error| Error::io(format!("save {}", env.path(&index_name(base))), error))
}
