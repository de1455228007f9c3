//! What is done: the works, each a row of tables.

use crate::Result;

/// What is demanded of an append that has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// It survives a power cut.
    Durable,
    /// Nothing yet; it is there after an orderly close.
    Buffered,
    /// The same, and all of it is kept to be read in order: fills a store for a
    /// scan, which nobody times.
    Replay,
}

/// One kind of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// How `--works` calls it.
    pub(crate) name: &'static str,
    /// How the table calls it.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    /// Bytes of a value.
    pub(crate) size: usize,
}

/// What a work does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Appends, as many as there is time for.
    Append {
        level: Level,
        threads: usize,
        /// Records of a call.
        batch: usize,
    },
    /// Reads a store of so many records from front to back, again and again.
    Scan { records: u64 },
}

/// Records of a call while a store is filled.
pub(crate) const FILL_BATCH: usize = 1000;

const fn append(
    name: &'static str,
    title: &'static str,
    (level, threads, batch, size): (Level, usize, usize, usize),
) -> Work {
    let kind = Kind::Append {
        level,
        threads,
        batch,
    };
    Work {
        name,
        title,
        kind,
        size,
    }
}

const fn scan(name: &'static str, title: &'static str, records: u64, size: usize) -> Work {
    let kind = Kind::Scan { records };
    Work {
        name,
        title,
        kind,
        size,
    }
}

/// All works, in the order of the tables.
pub(crate) const WORKS: &[Work] = &[
    append(
        "durable-1",
        "Durable, one at a time, 1 KiB, one thread",
        (Level::Durable, 1, 1, 1024),
    ),
    append(
        "durable-16",
        "Durable, one at a time, 1 KiB, 16 threads",
        (Level::Durable, 16, 1, 1024),
    ),
    append(
        "durable-100",
        "Durable, batches of 100 x 1 KiB, one thread",
        (Level::Durable, 1, 100, 1024),
    ),
    append(
        "buffered-1",
        "Not durable, one at a time, 100 B, one thread",
        (Level::Buffered, 1, 1, 100),
    ),
    append(
        "buffered-100",
        "Not durable, batches of 100 x 100 B, one thread",
        (Level::Buffered, 1, 100, 100),
    ),
    append(
        "buffered-1000",
        "Not durable, batches of 1000 x 100 B, one thread",
        (Level::Buffered, 1, 1000, 100),
    ),
    scan("scan-1k", "Scan, 1 KiB, one thread", 400_000, 1024),
    scan("scan-100", "Scan, 100 B, one thread", 2_000_000, 100),
];

/// The work of that name.
pub(crate) fn work(name: &str) -> Result<Work> {
    let names: Vec<_> = WORKS.iter().map(|work| work.name).collect();
    let found = WORKS.iter().find(|work| work.name == name).copied();
    found.ok_or_else(|| format!("no work {name:?}: there are {}", names.join(", ")).into())
}
