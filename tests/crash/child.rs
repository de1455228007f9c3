//! The process that is killed: opens the store, appends from several threads,
//! and says what was acknowledged, line by line, after it was.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use duolog::ids::Offset;
use duolog::{
    AppendOptions, Appended, Background, Durability, Engine, Options, ReadMode, Record, SyncPolicy,
    Ticket, Topic, TopicOptions,
};

use crate::check::{Placed, Said};
use crate::random::Random;
use crate::work::{AUX, Content, KINDS, Kind, OPS_MAX, Op, PARTITIONS, TICKETS_MAX};

/// How the store is opened in a round: in many, everything is so small that
/// files are filled, sealed and used again all the time.
pub(crate) fn options(seed: u64, round: u32) -> Options {
    let mut random = Random::of(&[seed, u64::from(round), 1]);
    let file = random.pick(&[64 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20]);
    let ms = Duration::from_millis;
    Options::default()
        .wal_file_bytes(file)
        .wal_bytes_max(file * random.pick(&[4, 8]))
        .group_bytes_max(random.pick(&[4 << 10, 64 << 10, 1 << 20]))
        .tail_bytes_max(random.pick(&[256 << 10, 4 << 20]))
        .checkpoint_interval(random.pick(&[ms(10), ms(100), ms(60_000)]))
        .linger(random.pick(&[ms(0), ms(1), ms(5)]))
        .sync_policy(random.pick(&[
            SyncPolicy::Always,
            SyncPolicy::Never,
            SyncPolicy::Interval(ms(1)),
            SyncPolicy::Interval(ms(20)),
        ]))
        .read_mode(random.pick(&[ReadMode::Map, ReadMode::Pread]))
        .background(random.pick(&[
            Background::Threads,
            Background::Threads,
            Background::Threads,
            Background::Manual,
        ]))
}

/// How the topics of a directory are made.
fn topic_options(seed: u64) -> TopicOptions {
    let mut random = Random::of(&[seed, 2]);
    TopicOptions::default()
        .segment_bytes_max(random.pick(&[4 << 10, 32 << 10, 1 << 20]))
        .batch_bytes_max(random.pick(&[1 << 10, 8 << 10, 64 << 10]))
        .index_interval_bytes(random.pick(&[512, 4096]))
}

/// The line of something said.
fn line(said: &Said) -> String {
    match said {
        Said::Appended(thread, number, placed) => {
            let mut line = format!("a {thread} {number}");
            for run in placed {
                write!(line, " {}:{}:{}", run.partition, run.offset, run.count).expect("memory");
            }
            line
        }
        Said::Synced(thread, number) => format!("s {thread} {number}"),
        Said::Trimming(to) => format!("t? {to}"),
        Said::Trimmed(to) => format!("t {to}"),
        Said::Created(name) => format!("c {name}"),
        Said::Deleting(name) => format!("d? {name}"),
        Said::Deleted(name) => format!("d {name}"),
    }
}

/// What a line says.
pub(crate) fn parse(line: &str) -> Option<Said> {
    let mut words = line.split(' ');
    let what = words.next()?;
    let mut next = || words.next();
    Some(match what {
        "a" => {
            let (thread, number) = (next()?.parse().ok()?, next()?.parse().ok()?);
            let placed = words.map(|run| {
                let mut numbers = run.split(':').map(|n| n.parse::<u64>().ok());
                Some(Placed {
                    partition: u32::try_from(numbers.next()??).ok()?,
                    offset: numbers.next()??,
                    count: numbers.next()??,
                })
            });
            Said::Appended(thread, number, placed.collect::<Option<_>>()?)
        }
        "s" => Said::Synced(next()?.parse().ok()?, next()?.parse().ok()?),
        "t?" => Said::Trimming(next()?.parse().ok()?),
        "t" => Said::Trimmed(next()?.parse().ok()?),
        "c" => Said::Created(next()?.to_owned()),
        "d?" => Said::Deleting(next()?.to_owned()),
        "d" => Said::Deleted(next()?.to_owned()),
        _ => return None,
    })
}

/// Says it, in one write: the parent sees all of the line or no end of it.
fn say(said: &Said) {
    let line = format!("{}\n", line(said));
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// Opens the store and writes until it is killed.
pub(crate) fn run(dir: &Path, seed: u64, round: u32) {
    let options = options(seed, round);
    let manual = options.background == Background::Manual;
    let engine = Engine::open(dir, options).expect("a store that was killed opens");
    let topic = |name: &str, partitions| {
        engine.topic(name).unwrap_or_else(|_| {
            let options = topic_options(seed).partitions(partitions);
            engine.create_topic(name, options).expect("a new topic")
        })
    };
    let (main, aux) = (topic("main", PARTITIONS), topic("aux", 1));
    std::thread::scope(|scope| {
        for thread in 0..u8::try_from(KINDS.len()).expect("few") {
            let worker = Worker {
                engine: &engine,
                topic: if KINDS[usize::from(thread)] == Kind::Trimmed {
                    &aux
                } else {
                    &main
                },
                next: Op {
                    round,
                    thread,
                    number: 0,
                },
            };
            scope.spawn(move || worker.run());
        }
        scope.spawn(|| admin(&engine, &aux, round));
        if manual {
            scope.spawn(|| {
                loop {
                    engine.run_pending().expect("a step");
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
        }
    });
}

/// A thread that appends.
struct Worker<'a> {
    engine: &'a Engine,
    topic: &'a Topic,
    next: Op,
}

impl Worker<'_> {
    fn run(mut self) {
        let mut tickets = VecDeque::new();
        loop {
            match self.next.kind() {
                Kind::Tickets => self.ticket(&mut tickets),
                Kind::Buffered => self.buffered(),
                kind => {
                    let placed = self.append(kind);
                    self.say_appended(self.next.number, &placed);
                    if kind == Kind::Transient {
                        self.rest();
                    }
                }
            }
            self.next.number += 1;
        }
    }

    /// Slows down who waits for no disk.
    fn rest(&self) {
        let pause = if self.next.number < OPS_MAX {
            20
        } else {
            5_000
        };
        std::thread::sleep(Duration::from_micros(pause));
    }

    fn how(&self, durability: Durability) -> AppendOptions {
        let options = AppendOptions::default().durability(durability);
        match self.next.partition() {
            Some(AUX) => options.partition(0),
            Some(partition) => options.partition(partition),
            None => options,
        }
    }

    fn append(&self, kind: Kind) -> Vec<Appended> {
        let contents = self.next.contents();
        let records: Vec<_> = contents.iter().map(record).collect();
        let durability = match kind {
            Kind::Transient => Durability::Transient,
            Kind::Buffered => Durability::Buffered,
            _ => Durability::Durable,
        };
        let how = self.how(durability);
        if let ([record], Kind::Single | Kind::Trimmed) = (&records[..], kind) {
            return vec![self.topic.append_with(record, &how).expect("an append")];
        }
        let placed = self.topic.append_batch(&records, &how);
        placed.expect("an append")
    }

    fn buffered(&self) {
        let placed = self.append(Kind::Buffered);
        self.say_appended(self.next.number, &placed);
        if self.next.number % 64 == 63 {
            self.engine.sync().expect("a sync");
            say(&Said::Synced(self.next.thread, self.next.number));
        }
        self.rest();
    }

    fn ticket(&self, tickets: &mut VecDeque<(u32, Ticket)>) {
        let contents = self.next.contents();
        let records: Vec<_> = contents.iter().map(record).collect();
        let ticket = self
            .topic
            .append_nowait(&records, &self.how(Durability::Durable));
        tickets.push_back((self.next.number, ticket.expect("a ticket")));
        if tickets.len() < TICKETS_MAX as usize {
            return;
        }
        // Half by half, so that there are always some under way.
        for _ in 0..TICKETS_MAX / 2 {
            let (number, ticket) = tickets.pop_front().expect("enough");
            let placed = ticket.wait().expect("a durable append");
            self.say_appended(number, &placed);
        }
    }

    fn say_appended(&self, number: u32, appended: &[Appended]) {
        let aux = self.next.kind() == Kind::Trimmed;
        let placed = appended.iter().map(|run| Placed {
            partition: if aux { AUX } else { run.partition },
            offset: run.offset.get(),
            count: u64::from(run.count),
        });
        say(&Said::Appended(self.next.thread, number, placed.collect()));
    }
}

fn record(content: &Content) -> Record<'_> {
    let mut record = Record::new(&content.value);
    if let Some(key) = &content.key {
        record = record.key(key);
    }
    let headers = content.headers.iter();
    headers.fold(record, |record, (name, value)| record.header(name, value))
}

/// Trims, makes and deletes topics, and asks for checkpoints.
fn admin(engine: &Engine, aux: &Topic, round: u32) {
    let mut random = Random::of(&[u64::from(round), 3]);
    for n in 0_u32.. {
        std::thread::sleep(Duration::from_micros(random.below(4_000)));
        match random.below(4) {
            0 => {
                let durable = aux.partition(0).expect("a partition").durable.get();
                let before = durable - random.below(20).min(durable);
                say(&Said::Trimming(before));
                let start = aux.trim(0, Offset::new(before)).expect("a trim");
                say(&Said::Trimmed(start.get()));
            }
            1 => {
                let name = format!("topic-{round}-{n}");
                let topic = engine.create_topic(&name, TopicOptions::default());
                say(&Said::Created(name.clone()));
                let topic = topic.expect("a topic");
                topic.append(&Record::new("short-lived")).expect("append");
                if random.below(4) > 0 {
                    say(&Said::Deleting(name.clone()));
                    engine.delete_topic(&name).expect("a deletion");
                    say(&Said::Deleted(name));
                }
            }
            2 => engine.checkpoint().expect("a checkpoint"),
            _ => {}
        }
    }
}
