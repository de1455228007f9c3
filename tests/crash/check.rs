//! What a store must hold after a crash: pure, so that it can be shown stores
//! that are wrong and has to notice (`tests.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::work::{AUX, Id, Kind, Op, TICKETS_MAX};

/// A run of records of one operation: partition, first offset, count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) count: u64,
}

/// What a child said, in the order in which each of its threads said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An append returned.
    Appended(u8, u32, Vec<Placed>),
    /// A sync returned after this operation of the thread had.
    Synced(u8, u32),
    /// A trim of `aux` is asked for.
    Trimming(u64),
    /// It returned.
    Trimmed(u64),
    /// A topic was made.
    Created(String),
    /// A topic is about to be deleted.
    Deleting(String),
    /// It was.
    Deleted(String),
}

/// What a store holds: records by offset, and the first offset that is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) records: Vec<(u64, Id)>,
}

/// All of a store: the partitions of `main`, then `aux`; names of other topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) partitions: Vec<Held>,
    pub(crate) topics: BTreeSet<String>,
}

/// What is known of the store in a directory, over all its rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// Operations that returned, by where their records went.
    appended: HashMap<Op, Vec<Placed>>,
    /// The last one of each thread of each round.
    last: HashMap<(u32, u8), u32>,
    /// The last one of each that is durable, of those that promised less.
    synced: HashMap<(u32, u8), u32>,
    /// What was there before; it must stay.
    seen: BTreeMap<(u32, u64), Id>,
    trim_asked: u64,
    trimmed: u64,
    created: BTreeSet<String>,
    deleting: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

type Verdict = Result<(), String>;

impl Model {
    /// Notes what the child of `round` said.
    pub(crate) fn hear(&mut self, round: u32, said: Said) {
        match said {
            Said::Appended(thread, number, placed) => {
                let op = Op {
                    round,
                    thread,
                    number,
                };
                self.appended.insert(op, placed);
                let last = self.last.entry((round, thread)).or_default();
                *last = number.max(*last);
            }
            Said::Synced(thread, number) => {
                self.synced.insert((round, thread), number);
            }
            Said::Trimming(to) => self.trim_asked = self.trim_asked.max(to),
            Said::Trimmed(to) => self.trimmed = self.trimmed.max(to),
            Said::Created(name) => _ = self.created.insert(name),
            Said::Deleting(name) => _ = self.deleting.insert(name),
            Said::Deleted(name) => _ = self.deleted.insert(name),
        }
    }

    /// How many operations were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.appended.len()
    }

    /// Checks what was found against what was said, and remembers it.
    pub(crate) fn check(&mut self, found: &Found, newest: u32) -> Verdict {
        let mut places = HashMap::new();
        for (number, held) in (0..).zip(&found.partitions) {
            in_order(number, held, &mut places)?;
        }
        self.has_what_was_promised(found, &places)?;
        self.knows_all(&places, newest)?;
        whole_prefixes(&places)?;
        self.keeps_what_was_there(found, &places)?;
        self.has_the_topics(found)?;
        self.trims(found)
    }

    fn is_promised(&self, op: Op) -> bool {
        match op.kind() {
            Kind::Transient => false,
            Kind::Buffered => {
                let synced = self.synced.get(&(op.round, op.thread));
                synced.is_some_and(|synced| op.number <= *synced)
            }
            _ => true,
        }
    }

    /// Everything acknowledged is there, where it was said to be.
    fn has_what_was_promised(&self, found: &Found, places: &Places) -> Verdict {
        for (op, placed) in &self.appended {
            let promised = self.is_promised(*op);
            let mut indexes = BTreeSet::new();
            for run in placed {
                let held = &found.partitions[run.partition as usize];
                let mut before = None;
                for offset in run.offset..run.offset + run.count {
                    let at = held.records.binary_search_by_key(&offset, |r| r.0);
                    let there = at.ok().map(|n| held.records[n].1);
                    match there.filter(|id| id.op == *op) {
                        Some(id) if before < Some(id.index) => {
                            before = Some(id.index);
                            indexes.insert(id.index);
                        }
                        Some(id) => return Err(format!("{id:?} is out of order at {offset}")),
                        None if offset < held.start => {}
                        None if promised => {
                            return Err(format!(
                                "lost: {op:?} ({:?}) was acknowledged at offset {offset} of \
                                 partition {}, where {there:?} is; the partition keeps {} to {}",
                                op.kind(),
                                run.partition,
                                held.start,
                                held.end
                            ));
                        }
                        None if places.contains_key(op) => {
                            return Err(format!("{op:?} is not where it was said to be"));
                        }
                        None => {}
                    }
                }
            }
            let count: u64 = placed.iter().map(|run| run.count).sum();
            if count != u64::from(op.len()) {
                return Err(format!("{op:?} was acknowledged with {count} records"));
            }
        }
        Ok(())
    }

    /// Nothing is there that cannot have been written.
    fn knows_all(&self, places: &Places, newest: u32) -> Verdict {
        for op in places.keys() {
            let under_way = match op.kind() {
                Kind::Transient => return Err(format!("{op:?} is transient and came back")),
                Kind::Tickets => TICKETS_MAX,
                _ => 1,
            };
            let last = self.last.get(&(op.round, op.thread));
            let most = last.map_or(under_way, |last| last + 1 + under_way);
            if op.number >= most || op.round > newest {
                return Err(format!("{op:?} was never written: the last was {last:?}"));
            }
        }
        Ok(())
    }

    /// What an earlier check found is still there.
    fn keeps_what_was_there(&mut self, found: &Found, places: &Places) -> Verdict {
        for ((partition, offset), id) in &self.seen {
            let there = places.get(&id.op).and_then(|op| op.get(&id.index));
            let held = &found.partitions[*partition as usize];
            if there != Some(&(*partition, *offset)) && *offset >= held.start {
                return Err(format!(
                    "{id:?} was at offset {offset} of partition {partition} before, and is now \
                     at {there:?}"
                ));
            }
        }
        for (number, held) in (0..).zip(&found.partitions) {
            let records = held.records.iter();
            self.seen
                .extend(records.map(|(offset, id)| ((number, *offset), *id)));
        }
        Ok(())
    }

    fn has_the_topics(&self, found: &Found) -> Verdict {
        for name in self.created.difference(&self.deleting) {
            if !found.topics.contains(name) {
                return Err(format!("topic {name} was created and is gone"));
            }
        }
        for name in &self.deleted {
            if found.topics.contains(name) {
                return Err(format!("topic {name} was deleted and is back"));
            }
        }
        Ok(())
    }

    fn trims(&self, found: &Found) -> Verdict {
        for (number, held) in (0..).zip(&found.partitions) {
            let (least, most) = match number {
                AUX => (self.trimmed, self.trim_asked),
                _ => (0, 0),
            };
            if !(least..=most).contains(&held.start) {
                return Err(format!(
                    "partition {number} starts at {}, but was trimmed to {least}, at most {most}",
                    held.start
                ));
            }
        }
        Ok(())
    }
}

/// Where the records of each operation are: index to partition and offset.
type Places = HashMap<Op, BTreeMap<u16, (u32, u64)>>;

/// Offsets rise within what is kept, each thread's operations with them, and
/// no record is there twice.
fn in_order(number: u32, held: &Held, places: &mut Places) -> Verdict {
    let mut next = held.start;
    let mut newest: HashMap<(u32, u8), (u32, u16)> = HashMap::new();
    for (offset, id) in &held.records {
        if !(next..held.end).contains(offset) {
            return Err(format!(
                "offset {offset} of partition {number} comes after {next}, of {} to {}",
                held.start, held.end
            ));
        }
        next = offset + 1;
        let place = (id.op.number, id.index);
        let before = newest.insert((id.op.round, id.op.thread), place);
        if before.is_some_and(|before| before >= place) {
            return Err(format!(
                "{id:?} at offset {offset} of partition {number} comes after {before:?}"
            ));
        }
        let twice = places
            .entry(id.op)
            .or_default()
            .insert(id.index, (number, *offset));
        if let Some(first) = twice {
            return Err(format!("{id:?} is at {first:?} and at {number}/{offset}"));
        }
    }
    Ok(())
}

/// Each operation is there whole or not at all, and those of a thread are the
/// first ones: a later one never survives an earlier one.
fn whole_prefixes(places: &Places) -> Verdict {
    let mut numbers: HashMap<(u32, u8), BTreeSet<u32>> = HashMap::new();
    for (op, records) in places {
        if records.len() != usize::from(op.len()) {
            return Err(format!(
                "torn: {op:?} ({:?}) has {} of {} records: {records:?}",
                op.kind(),
                records.len(),
                op.len()
            ));
        }
        if op.kind() != Kind::Trimmed {
            let of_thread = numbers.entry((op.round, op.thread)).or_default();
            of_thread.insert(op.number);
        }
    }
    for ((round, thread), numbers) in numbers {
        let missing = (0..).zip(&numbers).find(|(n, found)| n != *found);
        if let Some((missing, _)) = missing {
            return Err(format!(
                "a hole: operation {missing} of thread {thread} of round {round} is not there, \
                 but later ones are, up to {:?}",
                numbers.last()
            ));
        }
    }
    Ok(())
}
