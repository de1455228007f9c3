//! A run: operations on an engine over a simulated disk, and the model that
//! follows them.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use duolog::clock::{Clock, ManualClock};
use duolog::ids::{Offset, Timestamp};
use duolog::io::sim::SimFs;
use duolog::{
    AppendOptions, Appended, Background, Codec, Durability, Engine, Error, ErrorKind, Options,
    ReadMode, Record, SyncPolicy, TopicOptions,
};

use crate::model::{Doubt, Model, PartitionModel, TopicModel};
use crate::payload::{Payload, Placed, Sent};

/// Where the store lies.
pub(crate) const PATH: &str = "/data";

/// Time at which every run starts.
pub(crate) const EPOCH_MS: i64 = 1_700_000_000_000;

/// One thing that a user of the engine does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(&'static str, TopicOptions),
    Alter(&'static str, TopicOptions),
    Delete(&'static str),
    Append(Append),
    /// So many appends of one record each, under way together.
    Tickets(&'static str, usize),
    Sync,
    Checkpoint,
    RunPending,
    Retention,
    /// Trims a partition after so many percent of what is durable.
    Trim(&'static str, u32, u64),
    /// Moves the clock on by milliseconds.
    Advance(u64),
    /// Closes and opens.
    Reopen,
    /// Ends the process without closing, and opens.
    Kill,
}

/// One append.
#[derive(Clone, Debug)]
pub(crate) struct Append {
    pub(crate) topic: &'static str,
    pub(crate) partition: Option<u32>,
    pub(crate) sizes: Vec<usize>,
    pub(crate) keyed: bool,
    pub(crate) durability: Durability,
    pub(crate) codec: Codec,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) unit_len: usize,
    pub(crate) maps: bool,
    /// Groups of the log go past the cache, several at once.
    pub(crate) queue: bool,
    pub(crate) sync_policy: SyncPolicy,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            unit_len: 4096,
            maps: false,
            queue: true,
            sync_policy: SyncPolicy::Interval(Duration::from_millis(100)),
        }
    }
}

impl Setup {
    pub(crate) fn disk(self) -> SimFs {
        let disk = SimFs::new(self.seed);
        disk.with_unit_len(self.unit_len)
            .with_maps(self.maps)
            .with_queue(self.queue)
    }

    /// The smallest store there can be: everything fills up and rolls soon.
    pub(crate) fn options(self, clock: &Arc<ManualClock>) -> Options {
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
        Options::default()
            .background(Background::Manual)
            .clock(clock)
            .sync_policy(self.sync_policy)
            .wal_file_bytes(64 << 10)
            .wal_bytes_max(256 << 10)
            .tail_bytes_max(256 << 10)
            .group_bytes_max(4 << 10)
            .read_mode(if self.maps {
                ReadMode::Map
            } else {
                ReadMode::Pread
            })
    }

    pub(crate) fn open(self, disk: &SimFs, clock: &Arc<ManualClock>) -> Result<Engine, Error> {
        Engine::open_with(Arc::new(disk.clone()), PATH, self.options(clock))
    }
}

/// Options of a topic whose segments and batches are small.
pub(crate) fn small() -> TopicOptions {
    TopicOptions::default()
        .segment_bytes_max(4 << 10)
        .batch_bytes_max(1 << 10)
        .index_interval_bytes(512)
}

/// A run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) disk: SimFs,
    pub(crate) clock: Arc<ManualClock>,
    /// `None` before the first operation, and after a close or an open that
    /// failed.
    pub(crate) engine: Option<Engine>,
    pub(crate) model: Model,
    /// Steps on disks that a kill left behind.
    steps_before: u64,
    cut_at: Option<u64>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            setup,
            disk: setup.disk(),
            clock: Arc::new(ManualClock::new(EPOCH_MS)),
            engine: None,
            model: Model::default(),
            steps_before: 0,
            cut_at: None,
        }
    }

    /// Goes on with a disk on which a run of `model` ended.
    pub(crate) fn resume(setup: Setup, disk: SimFs, clock: Arc<ManualClock>, model: Model) -> Self {
        Self {
            disk,
            clock,
            model,
            ..Self::new(setup)
        }
    }

    /// Cuts the power at a step, counted over kills.
    pub(crate) fn cut_power_at(&mut self, step: u64) {
        self.cut_at = Some(step);
        self.disk.cut_power_at(step);
    }

    /// Steps so far, counted over kills.
    pub(crate) fn steps(&self) -> u64 {
        self.steps_before + self.disk.steps()
    }

    /// Opens the store, if it is not open, and holds it against the model.
    ///
    /// # Errors
    ///
    /// What opening says.
    pub(crate) fn ensure_open(&mut self, at: &dyn Display) -> Result<&Engine, Error> {
        if self.engine.is_none() {
            let engine = self.setup.open(&self.disk, &self.clock)?;
            // A reader may finish what recovery left to the first of them.
            self.model = self.model.recovered(&engine, at)?;
            self.engine = Some(engine);
        }
        Ok(self.engine.as_ref().expect("just opened"))
    }

    /// Does one thing and tells the model. On an error the model knows what may
    /// have come to pass nevertheless.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub(crate) fn run(&mut self, op: &Op, at: &dyn Display) -> Result<(), Error> {
        let engine = self.ensure_open(at)?.clone();
        match op {
            Op::Create(name, options) => self.create(&engine, name, options),
            Op::Alter(name, options) => self.alter(&engine, name, options),
            Op::Delete(name) => self.delete(&engine, name),
            Op::Append(append) => self.append(&engine, append),
            Op::Tickets(name, count) => self.tickets(&engine, name, *count),
            Op::Sync => engine.sync().map(|()| self.model.all_durable()),
            Op::Checkpoint => engine.checkpoint().map(|()| self.model.all_durable()),
            Op::RunPending => self.reclaim(&engine, |engine| engine.run_pending().map(|_| ()), at),
            Op::Retention => {
                self.reclaim(&engine, |engine| engine.enforce_retention().map(|_| ()), at)
            }
            Op::Trim(name, partition, percent) => self.trim(&engine, name, *partition, *percent),
            Op::Advance(millis) => {
                self.clock.advance(Duration::from_millis(*millis));
                Ok(())
            }
            Op::Reopen => {
                self.engine = None;
                let closed = engine.close();
                drop(engine);
                closed?;
                self.model.all_durable();
                self.ensure_open(at).map(|_| ())
            }
            Op::Kill => {
                self.engine = None;
                self.steps_before += self.disk.steps();
                let left = self.disk.fork();
                drop(engine);
                self.disk = left;
                if let Some(cut_at) = self.cut_at {
                    self.disk.cut_power_at(cut_at - self.steps_before);
                }
                self.ensure_open(at).map(|_| ())
            }
        }
    }

    /// Notes what may have come to pass: only a failed write leaves that open.
    fn doubt<T>(&mut self, result: Result<T, Error>, doubt: Doubt) -> Result<T, Error> {
        if let Err(error) = &result
            && error.kind() == ErrorKind::Poisoned
        {
            self.model.doubts.push(doubt);
        }
        result
    }

    fn create(&mut self, engine: &Engine, name: &str, options: &TopicOptions) -> Result<(), Error> {
        let created = engine.create_topic(name, options.clone());
        let doubt = Doubt::Create(name.to_owned(), options.clone());
        let topic = self.doubt(created, doubt)?;
        let model = TopicModel::new(topic.id(), options.clone());
        let before = self.model.topics.insert(name.to_owned(), model);
        assert!(before.is_none(), "{name} was created twice");
        Ok(())
    }

    fn alter(&mut self, engine: &Engine, name: &str, options: &TopicOptions) -> Result<(), Error> {
        let altered = engine.alter_topic(name, options.clone());
        self.doubt(altered, Doubt::Alter(name.to_owned(), options.clone()))?;
        let topic = self.model.topics.get_mut(name);
        topic.expect("altered what is there").alter(options.clone());
        Ok(())
    }

    fn delete(&mut self, engine: &Engine, name: &str) -> Result<(), Error> {
        let deleted = engine.delete_topic(name);
        self.doubt(deleted, Doubt::Delete(name.to_owned()))?;
        let gone = self.model.topics.remove(name);
        assert!(gone.is_some(), "deleted what was there");
        Ok(())
    }

    /// Records with the next numbers.
    pub(crate) fn next_records(&mut self, sizes: &[usize], keyed: bool) -> (u64, Vec<Sent>) {
        let now = self.clock.now().millis();
        let make = |(n, size): (u64, &usize)| {
            let id = self.model.next_id + n;
            let time = match id % 5 {
                // Now and then late, early, or of no particular time.
                0 => Some(now - i64::try_from(id % 7).expect("small") * 1000),
                1 => Some(now + i64::try_from(id % 3).expect("small") * 500),
                _ => None,
            };
            Sent {
                id,
                size: *size,
                keyed,
                time,
            }
        };
        let sent: Vec<_> = (0..).zip(sizes).map(make).collect();
        self.model.next_id += u64::try_from(sent.len()).expect("small");
        let append = self.model.next_append;
        self.model.next_append += 1;
        (append, sent)
    }

    fn append(&mut self, engine: &Engine, op: &Append) -> Result<(), Error> {
        let (append, sent) = self.next_records(&op.sizes, op.keyed);
        let payloads: Vec<Payload> = sent.iter().map(Sent::payload).collect();
        let records: Vec<Record<'_>> = payloads.iter().map(Payload::record).collect();
        let mut options = AppendOptions::default()
            .durability(op.durability)
            .codec(op.codec);
        options.partition = op.partition;
        let result = engine
            .topic(op.topic)
            .and_then(|topic| topic.append_batch(&records, &options));
        let doubt = Doubt::Append {
            topic: op.topic.to_owned(),
            partition: op.partition,
            records: sent.clone(),
            append,
        };
        let appended = if op.durability == Durability::Transient {
            result?
        } else {
            self.doubt(result, doubt)?
        };
        self.place(op.topic, &sent, &appended, op.durability, append);
        Ok(())
    }

    fn tickets(&mut self, engine: &Engine, name: &'static str, count: usize) -> Result<(), Error> {
        let topic = engine.topic(name)?;
        let mut waiting = Vec::new();
        let mut failed = None;
        for n in 0..count {
            let (append, sent) = self.next_records(&[n * 40], true);
            let payload = sent[0].payload();
            match topic.append_nowait(&[payload.record()], &AppendOptions::default()) {
                Ok(ticket) => waiting.push((append, sent, ticket)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for (append, sent, ticket) in waiting {
            let doubt = Doubt::Append {
                topic: name.to_owned(),
                partition: None,
                records: sent.clone(),
                append,
            };
            match self.doubt(ticket.wait(), doubt) {
                Ok(appended) => {
                    let durability = topic.options().durability;
                    self.place(name, &sent, &appended, durability, append);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Puts records where the engine says that they went: those of one
    /// partition in the order in which they were given.
    fn place(
        &mut self,
        topic: &str,
        sent: &[Sent],
        appended: &[Appended],
        durability: Durability,
        append: u64,
    ) {
        let now = self.clock.now();
        let model = self.model.topics.get_mut(topic).expect("appended to it");
        let total: usize = appended.iter().map(|a| a.count as usize).sum();
        assert_eq!(total, sent.len(), "as many records as were given");
        // Which key goes where is the engine's to say: equal keys must not
        // part, and each partition has as many as it says.
        let mut homes: Vec<(Option<String>, usize)> = Vec::new();
        let mut left: Vec<_> = appended.iter().map(|a| (a, 0_u64)).collect();
        if let [(only, _)] = left.as_slice() {
            for (n, sent) in (0..).zip(sent) {
                put(model, only, n, sent, durability, append, now);
            }
            return;
        }
        let engine = self.engine.as_ref().expect("it is open").clone();
        for sent in sent {
            let key = sent.payload().key;
            let home = homes.iter().find(|(known, _)| *known == key);
            let home = home.map_or_else(
                || {
                    let key = key.clone().unwrap_or_default();
                    let partition = partition_of(&engine, topic, &key);
                    let at = left.iter().position(|(a, _)| a.partition == partition);
                    at.expect("records go where their key goes")
                },
                |(_, home)| *home,
            );
            homes.push((key, home));
            let (appended, n) = &mut left[home];
            put(model, appended, *n, sent, durability, append, now);
            *n += 1;
        }
        for (appended, n) in left {
            assert_eq!(u64::from(appended.count), n, "a key went astray");
        }
    }

    fn trim(
        &mut self,
        engine: &Engine,
        name: &str,
        partition: u32,
        percent: u64,
    ) -> Result<(), Error> {
        let topic = engine.topic(name)?;
        let info = topic.partition(partition)?;
        let span = info.durable.since(info.start);
        let before = info.start.saturating_add(span * percent / 100);
        let trimmed = topic.trim(partition, before);
        // A trim that is in the log stands, even if files remain for now.
        let unsure = trimmed.is_err();
        if unsure {
            let doubt = Doubt::Trim(name.to_owned(), partition, before);
            self.model.doubts.push(doubt);
        }
        let start = trimmed?;
        assert_eq!(start, before.max(info.start), "trimmed as asked");
        self.partition_mut(name, partition).trim(start);
        Ok(())
    }

    fn partition_mut(&mut self, name: &str, number: u32) -> &mut PartitionModel {
        let topic = self.model.topics.get_mut(name).expect("it is there");
        &mut topic.partitions[number as usize]
    }

    /// Something that may move starts on, as retention says.
    fn reclaim(
        &mut self,
        engine: &Engine,
        run: impl Fn(&Engine) -> Result<(), Error>,
        at: &dyn Display,
    ) -> Result<(), Error> {
        let result = run(engine);
        if result.is_err() {
            self.model.doubts.push(Doubt::Retention);
            return result;
        }
        let now = self.clock.now();
        for (name, topic) in &mut self.model.topics {
            for (number, partition) in (0..).zip(&mut topic.partitions) {
                let info = engine.topic(name)?.partition(number)?;
                check_retention(&topic.options, partition, info.start, now, at);
                partition.trim(info.start);
            }
        }
        Ok(())
    }
}

/// Retention takes only what its limits let go.
fn check_retention(
    options: &TopicOptions,
    partition: &PartitionModel,
    start: Offset,
    now: Timestamp,
    at: &dyn Display,
) {
    if start <= partition.start || options.retention.bytes.is_some() {
        return;
    }
    let left = partition.end().since(start);
    let many = options.retention.records.is_some_and(|limit| left >= limit);
    let newest = partition.records.iter().filter(|r| r.offset < start);
    let newest = newest.map(|record| record.time).max();
    let aged = options.retention.age.is_some_and(|age| {
        let age = i64::try_from(age.as_millis()).expect("small");
        newest.is_none_or(|newest| newest.saturating_add(age) < now)
    });
    assert!(
        many || aged,
        "{at}: retention took up to {start} of {partition:?} for no reason"
    );
}

fn put(
    model: &mut TopicModel,
    appended: &Appended,
    n: u64,
    sent: &Sent,
    durability: Durability,
    append: u64,
    now: Timestamp,
) {
    let partition = &mut model.partitions[appended.partition as usize];
    let offset = appended.offset.saturating_add(n);
    assert!(
        partition
            .records
            .last()
            .is_none_or(|last| last.offset < offset)
            && offset >= partition.start,
        "offset {offset} was given already"
    );
    partition.records.push(Placed {
        sent: sent.clone(),
        offset,
        time: sent.time.map_or(now, Timestamp::from_millis),
        durability,
        append,
    });
}

/// Where a key goes: Kafka's default partitioner, as the crate promises.
fn partition_of(engine: &Engine, topic: &str, key: &str) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let partitions = engine
        .topic(topic)
        .expect("it is there")
        .options()
        .partitions;
    let len = u32::try_from(key.len()).expect("small");
    let mut hash = SEED ^ len;
    let (words, rest) = key.as_bytes().as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    for (n, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * n);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) % partitions
}
