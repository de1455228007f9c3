//! What the threads of a child write, as a function of a few numbers: the
//! parent makes every record again and compares it whole.
//!
//! A record belongs to an operation (one append call) of a thread of a round.
//! Its value begins with these numbers:
//!
//! ```text
//!  0       4        5      9       11
//!  | round | thread | op   | index | filler, from the numbers |
//! ```

use crate::random::Random;

/// How a thread appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One durable record a call, partition by partition.
    Single,
    /// Durable batches to one partition.
    Batch,
    /// Durable batches that their keys spread over partitions.
    Spread,
    /// Durable batches without waiting, many tickets under way.
    Tickets,
    /// Buffered, to one partition, with `Engine::sync` now and then.
    Buffered,
    /// Transient, to one partition.
    Transient,
    /// Durable, to the topic that another thread trims.
    Trimmed,
}

/// The threads of a child.
pub(crate) const KINDS: [Kind; 9] = [
    Kind::Single,
    Kind::Single,
    Kind::Batch,
    Kind::Spread,
    Kind::Tickets,
    Kind::Buffered,
    Kind::Buffered,
    Kind::Transient,
    Kind::Trimmed,
];

/// Partitions of the topic `main`; the topic `aux` has one.
pub(crate) const PARTITIONS: u32 = 4;
/// Where the records of [`Kind::Trimmed`] go: after the partitions of `main`.
pub(crate) const AUX: u32 = PARTITIONS;

/// Tickets under way at once.
pub(crate) const TICKETS_MAX: u32 = 16;

/// Operations of a round after which a thread that waits for nothing rests, so
/// that a store does not outgrow the time to check it.
pub(crate) const OPS_MAX: u32 = 1500;

/// An append call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Op {
    pub(crate) round: u32,
    pub(crate) thread: u8,
    pub(crate) number: u32,
}

/// A record of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) op: Op,
    pub(crate) index: u16,
}

/// All of a record but its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Op {
    pub(crate) fn kind(self) -> Kind {
        KINDS[usize::from(self.thread)]
    }

    fn random(self, salt: u64) -> Random {
        let numbers = [self.round, u32::from(self.thread), self.number];
        let [round, thread, number] = numbers.map(u64::from);
        Random::of(&[round, thread, number, salt])
    }

    /// How many records it has.
    pub(crate) fn len(self) -> u16 {
        let most = match self.kind() {
            Kind::Single | Kind::Trimmed => 1,
            Kind::Batch | Kind::Tickets | Kind::Transient => 6,
            Kind::Spread => 8,
            Kind::Buffered => 3,
        };
        1 + u16::try_from(self.random(1).below(most)).expect("small")
    }

    /// The partition that it asks for; `None` if keys decide.
    pub(crate) fn partition(self) -> Option<u32> {
        let spread = |n: u32| n % PARTITIONS;
        match self.kind() {
            Kind::Single | Kind::Tickets => Some(spread(self.number)),
            Kind::Batch | Kind::Buffered | Kind::Transient => {
                Some(spread(u32::from(self.thread) + self.round))
            }
            Kind::Spread => None,
            Kind::Trimmed => Some(AUX),
        }
    }

    /// Its records, in order.
    pub(crate) fn contents(self) -> Vec<Content> {
        let id = |index| Id { op: self, index };
        (0..self.len()).map(|index| id(index).content()).collect()
    }
}

impl Id {
    /// What the record with this number has in it.
    pub(crate) fn content(self) -> Content {
        let mut random = self.op.random(2 + u64::from(self.index));
        let keyed = self.op.kind() == Kind::Spread || random.below(3) == 0;
        let key = keyed.then(|| format!("key-{}", random.below(64)).into_bytes());
        let headers = (0..random.below(3)).map(|n| {
            let value = random.next().to_le_bytes().to_vec();
            (format!("header-{n}"), value)
        });
        let headers = headers.collect();
        let most = if random.below(20) == 0 { 1500 } else { 200 };
        let filler = random.below(most);
        let mut value = self.op.round.to_le_bytes().to_vec();
        value.push(self.op.thread);
        value.extend(self.op.number.to_le_bytes());
        value.extend(self.index.to_le_bytes());
        value.extend((0..filler).map(|_| random.next().to_le_bytes()[0]));
        Content {
            key,
            value,
            headers,
        }
    }

    /// The record that `value` claims to be of; nothing is checked.
    pub(crate) fn of_value(value: &[u8]) -> Option<Self> {
        let (head, _) = value.split_at_checked(11)?;
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let thread = head[4];
        (usize::from(thread) < KINDS.len()).then(|| Self {
            op: Op {
                round: number(0),
                thread,
                number: number(5),
            },
            index: u16::from_le_bytes([head[9], head[10]]),
        })
    }
}
