//! duolog, with the options it has by default, but for the room for values.
//!
//! Durable: `Durability::Durable`; one append a call, or one atomic batch.
//! Threads share the log's own group commit. `TICKETS` is the same with
//! `append_nowait` and 32 tickets under way: a call returns when the oldest of
//! them is durable, so the sum of them is as safe, but the caller runs ahead.
//!
//! Not durable: `Durability::Buffered`: in memory when the call returns, written
//! 1 ms and synced 100 ms later.
//!
//! A scan goes through `Reader::fetch`; every batch is checked.

use std::collections::VecDeque;

use duolog::{
    AppendOptions, Durability, Engine, Fetch, Options, Record, Start, Ticket, Topic, TopicOptions,
};

use super::{Call, Peer, Scanned, Setup, Sharing, Store, Writer};
use crate::Result;
use crate::plan::{Kind, Level, Work};

/// Tickets under way.
const TICKETS_MAX: usize = 32;

/// Most bytes of a fetch.
const FETCH_BYTES: u32 = 1 << 20;

pub(super) const PEER: Peer = Peer {
    name: "duolog",
    package: "duolog",
    syncs: true,
    sharing: Sharing::Own,
    setting: "default options; `Durable` / `Buffered`; own group commit",
    scan: "each batch checked",
    skips: |_| None,
    open: |setup| Ok(Box::new(open(setup, None)?)),
};

pub(super) const TICKETS: Peer = Peer {
    name: "duolog-tickets",
    setting: "the same with `append_nowait`, 32 tickets under way: not waiting for each",
    skips: only_durable_batches,
    open: |setup| Ok(Box::new(open(setup, Some(TICKETS_MAX))?)),
    ..PEER
};

fn only_durable_batches(work: &Work) -> Option<&'static str> {
    let level = Level::Durable;
    match work.kind {
        Kind::Append {
            level: l, batch, ..
        } if l == level && batch > 1 => None,
        _ => Some("shown for durable batches only"),
    }
}

struct Duolog {
    engine: Engine,
    topic: Topic,
    tickets: Option<usize>,
}

fn open(setup: &Setup<'_>, tickets: Option<usize>) -> Result<Duolog> {
    let engine = Engine::open(setup.dir.join("data"), Options::default())?;
    let durability = match setup.level {
        Level::Durable => Durability::Durable,
        Level::Buffered | Level::Replay => Durability::Buffered,
    };
    let options = TopicOptions::default().durability(durability);
    let topic = if engine.topics().is_empty() {
        engine.create_topic("bench", options)?
    } else {
        engine.topic("bench")?
    };
    Ok(Duolog {
        engine,
        topic,
        tickets,
    })
}

impl Store for Duolog {
    fn writer<'a>(&'a self, batches: &'a [Vec<&'a [u8]>]) -> Result<Box<dyn Writer + 'a>> {
        let views = |batch: &Vec<&'a [u8]>| batch.iter().map(|value| Record::new(*value)).collect();
        Ok(Box::new(Appender {
            topic: &self.topic,
            batches: batches.iter().map(views).collect(),
            options: AppendOptions::default(),
            tickets: self.tickets,
            under_way: VecDeque::new(),
        }))
    }

    fn scan(&self) -> Result<Scanned> {
        let mut scanned = Scanned::default();
        let fetch = Fetch::default()
            .max_bytes(FETCH_BYTES)
            .max_records(u32::MAX);
        let mut reader = self.topic.reader(0, Start::Earliest)?;
        loop {
            let fetched = reader.fetch(&fetch)?;
            if fetched.is_empty() {
                return Ok(scanned);
            }
            for batch in fetched.batches() {
                for record in &batch.records()? {
                    scanned.add(record?.value());
                }
            }
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.engine.close()?)
    }
}

struct Appender<'a> {
    topic: &'a Topic,
    /// Views of the values, as the caller of duolog has them.
    batches: Vec<Vec<Record<'a>>>,
    options: AppendOptions,
    tickets: Option<usize>,
    under_way: VecDeque<Ticket>,
}

impl Writer for Appender<'_> {
    fn append(&mut self, call: &Call<'_>) -> Result<()> {
        let records = self.batches.get(call.index).map_or(&[][..], Vec::as_slice);
        if let Some(most) = self.tickets {
            if self.under_way.len() >= most
                && let Some(ticket) = self.under_way.pop_front()
            {
                ticket.wait()?;
            }
            let ticket = self.topic.append_nowait(records, &self.options)?;
            self.under_way.push_back(ticket);
        } else if let [record] = records {
            self.topic.append(record)?;
        } else {
            self.topic.append_batch(records, &self.options)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for ticket in self.under_way.drain(..) {
            ticket.wait()?;
        }
        Ok(())
    }
}
