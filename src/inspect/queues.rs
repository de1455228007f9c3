//! What a snapshot says of queues: what each is over, the lanes of its ledgers,
//! and the runs of timers that it lists, block by block.
//!
//! Opening refuses what does not go together here. Of runs it reads a few blocks;
//! the others are read when their timers are due.

use std::collections::{BTreeMap, BTreeSet};

use super::report::VerifyReport;
use super::store::{Store, list};
use super::verify::Progress;
use crate::error::Result;
use crate::format::layout::{TIMERS, note_strangers, parse_run_name, run_name};
use crate::format::snapshot::Snapshot;
use crate::io::EntryKind;
use crate::timers::TimersEnv;

/// Checks that the sections of a snapshot go together.
pub(super) fn verify_sections(path: &str, snapshot: &Snapshot, report: &mut VerifyReport) {
    let topics = snapshot.topics.iter();
    let partitions: BTreeMap<_, _> = topics
        .map(|topic| (topic.id, topic.options.partitions))
        .collect();
    let mut seen = BTreeSet::new();
    for state in &snapshot.partitions {
        let id = state.id;
        let known = partitions.get(&id.topic);
        if known.is_none_or(|count| id.partition >= *count) || !seen.insert(id) {
            let why = "which its topic does not have, or twice";
            report.problem(path, 0, format!("state for partition {id}, {why}"));
        }
    }
    let mut lanes = BTreeMap::new();
    for queue in &snapshot.queues {
        let topic = queue.source.as_ref().map_or(queue.id, |it| it.topic);
        match partitions.get(&topic) {
            Some(count) => drop(lanes.insert(queue.id, *count)),
            None => report.problem(
                path,
                0,
                format!(
                    "queue {} {:?} is over topic {topic}, which is not there",
                    queue.id, queue.name
                ),
            ),
        }
    }
    let mut seen = BTreeSet::new();
    for ledger in &snapshot.ledgers {
        let id = ledger.id;
        let known = lanes.get(&id.topic);
        if known.is_none_or(|count| id.partition >= *count) || !seen.insert(id) {
            let why = "which its queue does not have, or twice";
            report.problem(path, 0, format!("a ledger for lane {id}, {why}"));
        }
    }
}

/// Checks every run of timers that a snapshot lists, and notes what else lies
/// beside them. Others may be there that an older snapshot lists.
pub(super) fn verify_timers(
    store: &Store,
    snapshot: &Snapshot,
    report: &mut VerifyReport,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let Some(dir) = store.dir(TIMERS)? else {
        report.problem(TIMERS, 0, "the directory is missing");
        return Ok(());
    };
    let strangers = list(&*dir, TIMERS)?.into_iter();
    let strangers = strangers
        .filter(|(name, kind)| *kind != EntryKind::File || parse_run_name(name).is_none())
        .map(|(name, _)| name);
    note_strangers(
        &format!("{TIMERS}/"),
        strangers.collect(),
        &mut report.notes,
    );
    let env = TimersEnv {
        dir,
        store: store.id,
    };
    for meta in &snapshot.timers.runs {
        report.files += 1;
        match env.check(meta) {
            Ok(bytes) => {
                report.bytes += bytes;
                progress.add(bytes);
            }
            Err((position, error)) => {
                let path = format!("{TIMERS}/{}", run_name(meta.number));
                report.problem(&path, position, error);
            }
        }
    }
    Ok(())
}
