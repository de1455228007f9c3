//! Retention passes, trims, and the removal of dead files.

use std::io;
use std::sync::Arc;

use super::Shared;
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::snapshot::Garbage;
use crate::ids::{Offset, TopicId, to_u64};
use crate::io::{Directory, EntryKind};
use crate::partition::Partition;
use crate::retention;
use crate::signal::lock;
use crate::wal::Ask;

impl Shared {
    pub(super) fn is_retention_due(&self) -> bool {
        let now = self.options.clock.monotonic();
        let mut state = lock(&self.checkpoint);
        let due = now.saturating_sub(state.retention_at) >= self.options.retention_interval;
        if due {
            state.retention_at = now;
        }
        due
    }

    /// Lets every topic's retention take what it may; returns how many
    /// segments went.
    pub(super) fn retention_pass(&self) -> Result<u64> {
        let clock = &self.options.clock;
        let now = lock(&self.guard).look(clock.now(), clock.monotonic());
        let topics: Vec<_> = self.catalog().all().map(Arc::clone).collect();
        let mut dropped = 0;
        for topic in topics {
            let options = topic.options();
            if options.retention == crate::options::Retention::default() {
                continue;
            }
            for partition in topic.used() {
                if options.retention.age.is_some() {
                    partition.seal_if_old(now)?;
                }
                let (start, segments, end, tail) = partition.segments();
                let keep = retention::first_to_keep(&options.retention, &segments, tail, end, now);
                if let Some(keep) = keep.filter(|keep| *keep > start) {
                    dropped += self.trim(&partition, keep)?.1;
                }
            }
        }
        Ok(dropped)
    }

    /// Makes `before` the first offset that is kept: in the log first, then in
    /// memory, then on disk. Returns the new start and how many segments went.
    pub(super) fn trim(&self, partition: &Arc<Partition>, before: Offset) -> Result<(Offset, u64)> {
        partition.check_trim(before)?;
        let wal = self.env.wal()?;
        let ask = Ask {
            sync: true,
            ..Ask::default()
        };
        wal.enqueue(&[Entry::Trim(partition.id, before)], ask)?
            .wait(wal)?;
        let (start, dropped) = {
            // A checkpoint sees the segments either alive or dead.
            let mut garbage = lock(&self.garbage);
            let (start, dead) = partition.apply_trim(before);
            let dropped = to_u64(dead.len());
            garbage.extend(dead);
            (start, dropped)
        };
        partition.announce();
        self.remove_garbage()?;
        Ok((start, dropped))
    }

    /// Removes dead files. True if there were any.
    pub(super) fn remove_garbage(&self) -> Result<bool> {
        let garbage = lock(&self.garbage).clone();
        for dead in &garbage {
            match dead {
                Garbage::Topic(id) => self.remove_topic(*id)?,
                Garbage::Segment(id, base) => {
                    let topic = self.catalog().by_id(id.topic).map(Arc::clone);
                    // Of a topic that was deleted since, all goes.
                    if let Some(topic) = topic {
                        topic.partition(id.partition)?.remove_segment(*base)?;
                    }
                }
            }
            // Only once it is gone for good: see `remove_segment`.
            lock(&self.garbage).retain(|other| other != dead);
        }
        Ok(!garbage.is_empty())
    }

    /// Removes the directory of a deleted topic with all that is in it.
    fn remove_topic(&self, id: TopicId) -> Result<()> {
        let topics = &self.env.topics;
        let wrong = |error| Error::io(format!("remove topics/{id}"), error);
        match remove_tree(&**topics, &id.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
        .and_then(|()| topics.sync())
        .map_err(wrong)
    }
}

/// Removes a directory and all below it.
pub(super) fn remove_tree(parent: &dyn Directory, name: &str) -> io::Result<()> {
    let dir = parent.open_dir(name)?;
    for entry in dir.list()? {
        match entry.kind {
            EntryKind::Directory => remove_tree(&*dir, &entry.name)?,
            EntryKind::File | EntryKind::Other => dir.remove_file(&entry.name)?,
        }
    }
    parent.remove_dir(name)
}
