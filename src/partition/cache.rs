//! Open segments, at most so many: descriptors and maps have a bound.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Result;
use crate::ids::{Offset, PartitionId};
use crate::segment::SegmentReader;
use crate::signal::lock;
use crate::sync::Mutex;

/// Open segments; the least recently used one is closed for a new one.
#[derive(Debug)]
pub(crate) struct Readers {
    max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<(PartitionId, Offset), Slot>,
    now: u64,
}

#[derive(Debug)]
struct Slot {
    reader: Arc<SegmentReader>,
    used: u64,
}

impl Readers {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            inner: Mutex::default(),
        }
    }

    /// The reader of the segment at `base`, opened if it is not; `fits` says
    /// whether one that is open will do.
    pub(super) fn get(
        &self,
        id: PartitionId,
        base: Offset,
        fits: impl Fn(&SegmentReader) -> bool,
        open: impl FnOnce() -> Result<SegmentReader>,
    ) -> Result<Arc<SegmentReader>> {
        {
            let mut inner = lock(&self.inner);
            inner.now += 1;
            let now = inner.now;
            if let Some(slot) = inner
                .open
                .get_mut(&(id, base))
                .filter(|slot| fits(&slot.reader))
            {
                slot.used = now;
                return Ok(Arc::clone(&slot.reader));
            }
        }
        // Opened without the lock: it reads the disk.
        let reader = Arc::new(open()?);
        let mut inner = lock(&self.inner);
        let used = inner.now;
        let slot = Slot {
            reader: Arc::clone(&reader),
            used,
        };
        inner.open.insert((id, base), slot);
        if inner.open.len() > self.max {
            let oldest = inner.open.iter().min_by_key(|(_, slot)| slot.used);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| inner.open.remove(&key));
        }
        Ok(reader)
    }

    /// Closes the segment at `base`. Who reads it keeps it until they are done.
    pub(super) fn forget(&self, id: PartitionId, base: Offset) {
        lock(&self.inner).open.remove(&(id, base));
    }
}
