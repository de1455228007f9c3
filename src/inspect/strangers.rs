//! What lies in the directories of a store and is not of it: noted at every
//! level.

use std::collections::{BTreeMap, BTreeSet};

use super::report::VerifyReport;
use super::store::{Store, list, open_dir};
use crate::error::Result;
use crate::format::layout::{is_in_root, is_in_snapshot, note_strangers, parse_number};
use crate::format::snapshot::{Garbage, Snapshot};
use crate::ids::{PartitionId, TopicId};
use crate::io::{Directory, EntryKind};
use crate::segment;

/// Topics by what becomes of their directories.
pub(super) struct Topics {
    /// Topics that there are.
    pub(super) alive: BTreeSet<TopicId>,
    /// Topics that were deleted, whose directories go.
    pub(super) dead: BTreeSet<TopicId>,
}

/// Notes all that is not of the store. What is in the directories of the
/// partitions that `state` has is for those to say who check them.
pub(super) fn note(
    store: &Store,
    state: &Snapshot,
    topics: &Topics,
    report: &mut VerifyReport,
) -> Result<()> {
    let root = names(&*store.root, ".", |name, _| is_in_root(name))?;
    note_strangers("", root, &mut report.notes);
    if let Some(dir) = store.dir("snapshot")? {
        let strange = names(&*dir, "snapshot", |name, _| is_in_snapshot(name))?;
        note_strangers("snapshot/", strange, &mut report.notes);
    }
    let Some(dir) = store.dir("topics")? else {
        report.problem("topics", 0, "the directory is missing");
        return Ok(());
    };
    let is_dead =
        |id: TopicId| topics.dead.contains(&id) || state.garbage.contains(&Garbage::Topic(id));
    let mut strange = Vec::new();
    let mut alive = BTreeMap::new();
    for (name, kind) in list(&*dir, "topics")? {
        match parse_number(&name).map(TopicId::new) {
            Some(id) if kind == EntryKind::Directory && is_dead(id) => {}
            Some(id) if kind == EntryKind::Directory && topics.alive.contains(&id) => {
                alive.insert(id, name);
            }
            _ => strange.push(name),
        }
    }
    note_strangers("topics/", strange, &mut report.notes);
    let checked: BTreeSet<PartitionId> = state.partitions.iter().map(|it| it.id).collect();
    for (id, name) in alive {
        note_topic(&*dir, id, &name, &checked, report)?;
    }
    Ok(())
}

fn note_topic(
    topics: &dyn Directory,
    topic: TopicId,
    name: &str,
    checked: &BTreeSet<PartitionId>,
    report: &mut VerifyReport,
) -> Result<()> {
    let path = format!("topics/{name}");
    let Some(dir) = open_dir(topics, name, &path)? else {
        return Ok(());
    };
    let mut strange = Vec::new();
    for (name, kind) in list(&*dir, &path)? {
        let number = parse_number(&name).filter(|_| kind == EntryKind::Directory);
        let Some(partition) = number else {
            strange.push(name);
            continue;
        };
        if checked.contains(&PartitionId { topic, partition }) {
            continue;
        }
        let path = format!("{path}/{name}");
        if let Some(dir) = open_dir(&*dir, &name, &path)? {
            let ours =
                |name: &str, kind| kind == EntryKind::File && segment::parse_name(name).is_some();
            let strange = names(&*dir, &path, ours)?;
            note_strangers(&format!("{path}/"), strange, &mut report.notes);
        }
    }
    note_strangers(&format!("{path}/"), strange, &mut report.notes);
    Ok(())
}

/// The names in `dir` that `ours` does not know.
fn names(
    dir: &dyn Directory,
    path: &str,
    ours: impl Fn(&str, EntryKind) -> bool,
) -> Result<Vec<String>> {
    let all = list(dir, path)?.into_iter();
    let strange = all.filter(|(name, kind)| !ours(name, *kind));
    Ok(strange.map(|(name, _)| name).collect())
}
