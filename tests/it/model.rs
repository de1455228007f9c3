//! The reference model: what was accepted, with which promise, and what a
//! store that was opened again may and must therefore hold.
//!
//! Two questions are asked of it. [`Model::check_live`]: does an engine that
//! runs show exactly what was accepted? [`Model::recovered`]: does one that
//! was just opened hold all that was promised, and nothing that was not?

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use duolog::ids::{Offset, TopicId};
use duolog::{Durability, Engine, Error, StoredRecord, TopicOptions};

use crate::observe::{SeenPartition, SeenTopic, observe, seen};
use crate::payload::{Placed, Sent};

/// What the engine was asked and what it answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) topics: BTreeMap<String, TopicModel>,
    /// What was asked and not answered with success.
    pub(crate) doubts: Vec<Doubt>,
    /// Number of the next record.
    pub(crate) next_id: u64,
    /// Number of the next append.
    pub(crate) next_append: u64,
    /// Set where buffered records may miss the log (no space for it), so that
    /// later ones may outlive them.
    pub(crate) gaps: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct TopicModel {
    pub(crate) id: TopicId,
    pub(crate) options: TopicOptions,
    pub(crate) partitions: Vec<PartitionModel>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionModel {
    /// First kept offset, acknowledged.
    pub(crate) start: Offset,
    /// What was accepted and is not trimmed, in order.
    pub(crate) records: Vec<Placed>,
}

/// Something that was asked and may or may not have come to pass.
#[derive(Clone, Debug)]
pub(crate) enum Doubt {
    Append {
        topic: String,
        partition: Option<u32>,
        records: Vec<Sent>,
        append: u64,
    },
    Create(String, TopicOptions),
    Alter(String, TopicOptions),
    Delete(String),
    Trim(String, u32, Offset),
    Retention,
}

impl PartitionModel {
    /// Offset after the last record that is kept, at least the start.
    pub(crate) fn end(&self) -> Offset {
        let last = self.records.last();
        last.map_or(self.start, |last| {
            last.offset.saturating_add(1).max(self.start)
        })
    }

    /// Takes over a new first offset.
    pub(crate) fn trim(&mut self, start: Offset) {
        self.start = self.start.max(start);
        self.records.retain(|record| record.offset >= start);
    }
}

impl TopicModel {
    pub(crate) fn new(id: TopicId, options: TopicOptions) -> Self {
        let mut topic = Self {
            id,
            options: options.clone(),
            partitions: Vec::new(),
        };
        topic.alter(options);
        topic
    }

    pub(crate) fn alter(&mut self, options: TopicOptions) {
        let count = usize::try_from(options.partitions).expect("small");
        self.partitions.resize_with(count, PartitionModel::default);
        self.options = options;
    }
}

/// Everything about one partition that a check needs.
struct Case<'a> {
    name: &'a str,
    number: u32,
    known: &'a PartitionModel,
    found: &'a SeenPartition,
    at: &'a dyn Display,
}

impl Model {
    /// All that was accepted and would survive a power cut now is durable.
    pub(crate) fn all_durable(&mut self) {
        for record in self.records_mut() {
            if record.durability == Durability::Buffered {
                record.durability = Durability::Durable;
            }
        }
    }

    fn records_mut(&mut self) -> impl Iterator<Item = &mut Placed> {
        let topics = self.topics.values_mut();
        topics.flat_map(|topic| topic.partitions.iter_mut().flat_map(|p| &mut p.records))
    }

    /// Holds a running engine against the model: exactly what was accepted.
    #[track_caller]
    pub(crate) fn check_live(&self, engine: &Engine, at: &dyn Display) {
        let found = seen(engine, at);
        let names: Vec<_> = found.keys().collect();
        let known: Vec<_> = self.topics.keys().collect();
        assert_eq!(names, known, "{at}: topics");
        for (name, topic) in &self.topics {
            let there = &found[name];
            assert_eq!(there.id, topic.id, "{at}: id of {name}");
            assert_eq!(there.options, topic.options, "{at}: options of {name}");
            for (known, there) in topic.partitions.iter().zip(&there.partitions) {
                let number = there.info.partition;
                assert_eq!(
                    there.info.start, known.start,
                    "{at}: start of {name}/{number}"
                );
                let ids: Vec<_> = known.records.iter().map(|r| (r.offset, r.time)).collect();
                let read: Vec<_> = there
                    .records
                    .iter()
                    .map(|r| (r.offset, r.timestamp))
                    .collect();
                assert_eq!(read, ids, "{at}: records of {name}/{number}");
                for (record, read) in known.records.iter().zip(&there.records) {
                    assert!(
                        record.sent.payload().is(read),
                        "{at}: {name}/{number}: {record:?} reads as {read:?}"
                    );
                }
            }
        }
    }

    /// Holds an engine that was just opened against the model. Returns what is
    /// there from now on: all of it durable.
    ///
    /// # Errors
    ///
    /// What reading says; the caller knows whether it may.
    pub(crate) fn recovered(&self, engine: &Engine, at: &dyn Display) -> Result<Self, Error> {
        let found = observe(engine)?;
        let mut next = Self {
            next_id: self.next_id,
            next_append: self.next_append,
            gaps: self.gaps,
            ..Self::default()
        };
        for name in self.topics.keys() {
            let excused = self
                .doubts
                .iter()
                .any(|d| matches!(d, Doubt::Delete(n) if n == name));
            assert!(
                found.contains_key(name) || excused,
                "{at}: topic {name} is lost"
            );
        }
        let mut survivors: HashMap<u64, usize> = HashMap::new();
        for (name, there) in &found {
            let topic = self.known_topic(name, there, at);
            let mut kept = TopicModel::new(there.id, there.options.clone());
            for (number, found) in there.partitions.iter().enumerate() {
                let fresh = PartitionModel::default();
                let case = Case {
                    name,
                    number: u32::try_from(number).expect("small"),
                    known: topic.partitions.get(number).unwrap_or(&fresh),
                    found,
                    at,
                };
                kept.partitions[number] = self.recovered_partition(&case, &mut survivors);
            }
            next.topics.insert(name.clone(), kept);
        }
        self.check_whole(&found, &survivors, at);
        Ok(next)
    }

    /// The topic as it was acknowledged, or as it was asked for.
    fn known_topic(&self, name: &str, there: &SeenTopic, at: &dyn Display) -> TopicModel {
        let altered = |topic: &TopicModel| {
            let mut doubts = self.doubts.iter();
            topic.options == there.options
                || doubts
                    .any(|d| matches!(d, Doubt::Alter(n, o) if n == name && *o == there.options))
        };
        if let Some(topic) = self.topics.get(name) {
            assert_eq!(there.id, topic.id, "{at}: id of {name}");
            assert!(
                altered(topic),
                "{at}: options of {name}: {:?}",
                there.options
            );
            return topic.clone();
        }
        let asked = self
            .doubts
            .iter()
            .any(|d| matches!(d, Doubt::Create(n, o) if n == name && *o == there.options));
        assert!(asked, "{at}: topic {name} was deleted, or never asked for");
        TopicModel::new(there.id, there.options.clone())
    }

    fn recovered_partition(
        &self,
        case: &Case<'_>,
        survivors: &mut HashMap<u64, usize>,
    ) -> PartitionModel {
        let Case {
            name,
            number,
            known,
            found,
            at,
        } = case;
        self.check_start(case);
        let info = &found.info;
        let by_id: HashMap<u64, &Placed> = known.records.iter().map(|r| (r.sent.id, r)).collect();
        let mut kept = PartitionModel {
            start: info.start,
            records: Vec::new(),
        };
        for read in &found.records {
            let what = || format!("{at}: {name}/{number} at offset {}", read.offset);
            assert!(
                (info.start..info.end).contains(&read.offset),
                "{}: outside {info:?}",
                what()
            );
            let placed = match by_id.values().find(|r| r.offset == read.offset) {
                Some(known) if known.sent.payload().is(read) => {
                    assert!(
                        known.durability != Durability::Transient,
                        "{}: transient record {} outlived a restart",
                        what(),
                        known.sent.id
                    );
                    assert_eq!(known.time, read.timestamp, "{}: time", what());
                    (*known).clone()
                }
                _ => self.doubtful(case, read),
            };
            if let Some(last) = kept.records.last() {
                assert!(last.offset < placed.offset, "{}: twice", what());
                assert!(
                    last.sent.id < placed.sent.id,
                    "{}: record {} after {}",
                    what(),
                    placed.sent.id,
                    last.sent.id
                );
            }
            *survivors.entry(placed.append).or_default() += 1;
            kept.records.push(placed);
        }
        self.check_promised(case, &kept);
        assert_eq!(
            info.durable, info.end,
            "{at}: {name}/{number}: all that was found is durable"
        );
        for record in &mut kept.records {
            record.durability = Durability::Durable;
        }
        kept
    }

    fn check_start(&self, case: &Case<'_>) {
        let (start, acknowledged) = (case.found.info.start, case.known.start);
        let (name, number, at) = (case.name, case.number, case.at);
        let asked = self.doubts.iter().any(|doubt| match doubt {
            Doubt::Trim(n, p, to) => n == name && *p == number && *to == start,
            Doubt::Retention => start > acknowledged && start <= case.known.end(),
            _ => false,
        });
        assert!(
            start == acknowledged || (start > acknowledged && asked),
            "{at}: {name}/{number} starts at {start}; acknowledged is {acknowledged}"
        );
    }

    /// A record that is at no offset of an acknowledged one: of an append that
    /// was asked for, or never appended.
    fn doubtful(&self, case: &Case<'_>, read: &StoredRecord) -> Placed {
        for doubt in &self.doubts {
            let Doubt::Append {
                topic,
                partition,
                records,
                append,
            } = doubt
            else {
                continue;
            };
            let here = topic == case.name && partition.is_none_or(|p| p == case.number);
            let same = records.iter().find(|sent| sent.payload().is(read));
            if let Some(sent) = same.filter(|_| here) {
                return Placed {
                    sent: sent.clone(),
                    offset: read.offset,
                    time: read.timestamp,
                    durability: Durability::Buffered,
                    append: *append,
                };
            }
        }
        panic!(
            "{}: {}/{} at offset {} is what nobody appended: {read:?}; there was {:?}",
            case.at,
            case.name,
            case.number,
            read.offset,
            case.known.records.iter().find(|r| r.offset == read.offset)
        );
    }

    /// What had to be there, and that nothing is missing before what is there.
    fn check_promised(&self, case: &Case<'_>, kept: &PartitionModel) {
        let mut lost: Option<&Placed> = None;
        let (name, number, at) = (case.name, case.number, case.at);
        let mut there = kept.records.iter().map(|r| r.offset).peekable();
        let lasting = case.known.records.iter().filter(|record| {
            record.durability != Durability::Transient && record.offset >= kept.start
        });
        for record in lasting {
            while there.next_if(|offset| *offset < record.offset).is_some() {}
            if there.next_if_eq(&record.offset).is_none() {
                assert!(
                    record.durability != Durability::Durable,
                    "{at}: {name}/{number}: lost {record:?}, which was durable; found {:?}",
                    case.found.info
                );
                lost = lost.or(Some(record));
            } else if let Some(lost) = lost.filter(|_| !self.gaps) {
                panic!("{at}: {name}/{number}: lost {lost:?}, but not {record:?} after it");
            }
        }
    }

    /// Appends are there whole or not at all, over all partitions.
    fn check_whole(
        &self,
        found: &BTreeMap<String, SeenTopic>,
        survivors: &HashMap<u64, usize>,
        at: &dyn Display,
    ) {
        let mut whole: HashMap<u64, usize> = HashMap::new();
        for (name, topic) in &self.topics {
            let Some(there) = found.get(name) else {
                continue;
            };
            for (known, there) in topic.partitions.iter().zip(&there.partitions) {
                // What a trim hides is no loss.
                let kept = known
                    .records
                    .iter()
                    .filter(|r| r.offset >= there.info.start);
                kept.for_each(|record| *whole.entry(record.append).or_default() += 1);
            }
        }
        let mut trimmed = false;
        for doubt in &self.doubts {
            match doubt {
                Doubt::Append {
                    records, append, ..
                } => {
                    whole.insert(*append, records.len());
                }
                Doubt::Trim(..) | Doubt::Retention => trimmed = true,
                _ => {}
            }
        }
        for (append, count) in survivors {
            let all = whole.get(append).copied().unwrap_or_default();
            assert!(
                *count == all || trimmed,
                "{at}: of append {append} {count} records are there, of {all}"
            );
        }
    }
}
