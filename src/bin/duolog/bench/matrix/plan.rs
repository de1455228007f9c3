//! Which cells a matrix has.
//!
//! The whole matrix crosses all axes. The quick one crosses durability, batch
//! and threads, and from its middle goes along each of the other axes alone.

use std::time::Duration;

use duolog::{Codec, Durability};

use super::Args;
use crate::bench::load::{Load, LogChoice, Work};
use crate::topic::durability;
use crate::units;

/// The values along each axis; none is empty.
#[derive(Clone, Debug)]
pub(super) struct Axes {
    pub(super) durability: Vec<Durability>,
    pub(super) batch: Vec<u32>,
    pub(super) threads: Vec<u32>,
    pub(super) size: Vec<u32>,
    pub(super) linger: Vec<Duration>,
    pub(super) codec: Vec<Codec>,
}

/// The part of a cell that does not belong to the cross of a quick matrix.
type Aside = (u32, Codec, Duration);

impl Axes {
    /// As asked for, or as they are by default.
    pub(super) fn of(args: &Args) -> Self {
        const KIB: u32 = 1 << 10;
        let ms = Duration::from_millis;
        let codecs = [Codec::None, Codec::Lz4];
        let levels = [
            Durability::Durable,
            Durability::Buffered,
            Durability::Transient,
        ];
        if args.quick {
            return Self {
                durability: or(&args.durability, &levels),
                batch: or(&args.batch, &[1, 100]),
                threads: or(&args.threads, &[1, 4, 16]),
                size: or(&args.size, &[KIB, 100, 16 * KIB]),
                linger: or(&args.linger, &[ms(1), ms(10)]),
                codec: or(&args.codec, &codecs),
            };
        }
        Self {
            durability: or(&args.durability, &levels),
            batch: or(&args.batch, &[1, 10, 100, 1000]),
            threads: or(&args.threads, &[1, 4, 16, 64]),
            size: or(&args.size, &[KIB, 100, 16 * KIB]),
            linger: or(&args.linger, &[ms(1), ms(10)]),
            codec: or(&args.codec, &codecs),
        }
    }

    /// All cells, each a load.
    pub(super) fn cells(&self, args: &Args) -> Vec<Load> {
        let mut loads = Vec::new();
        for level in &self.durability {
            for aside in self.asides(*level) {
                let at_base = aside == self.base();
                for batch in &self.batch {
                    for threads in &self.threads {
                        let middle = *batch == self.last_batch() && *threads == self.some_threads();
                        if !args.quick || at_base || middle {
                            loads.push(load(args, *level, *batch, *threads, aside));
                        }
                    }
                }
            }
        }
        loads
    }

    /// Sizes, compression and linger; only buffered records linger.
    fn asides(&self, level: Durability) -> Vec<Aside> {
        let mut asides = Vec::new();
        let lingers = if level == Durability::Buffered {
            self.linger.len()
        } else {
            1
        };
        for size in &self.size {
            for codec in &self.codec {
                for linger in self.linger.iter().take(lingers) {
                    asides.push((*size, *codec, *linger));
                }
            }
        }
        asides
    }

    /// The first of each: what the others are held against.
    fn base(&self) -> Aside {
        let size = self.size.first().copied().unwrap_or(1);
        let linger = self.linger.first().copied().unwrap_or_default();
        (
            size,
            self.codec.first().copied().unwrap_or_default(),
            linger,
        )
    }

    /// True if at most one of size, compression and linger is not the base's.
    fn is_near(&self, aside: Aside) -> bool {
        let (size, codec, linger) = self.base();
        let others = [aside.0 != size, aside.1 != codec, aside.2 != linger];
        others.into_iter().filter(|other| *other).count() <= 1
    }

    fn last_batch(&self) -> u32 {
        self.batch.last().copied().unwrap_or(1)
    }

    /// The threads in the middle of the axis.
    fn some_threads(&self) -> u32 {
        self.threads
            .get(self.threads.len() / 2)
            .copied()
            .unwrap_or(1)
    }

    /// The loads whose rate is then offered in parts: what a broker of many
    /// producers does if they wait, and of few if they do not.
    pub(super) fn offered(&self, level: Durability, args: &Args) -> Load {
        let (batch, threads) = if level == Durability::Durable {
            (self.batch.first(), self.threads.last())
        } else {
            (self.batch.last(), self.threads.get(self.threads.len() / 2))
        };
        let one = |n: Option<&u32>| n.copied().unwrap_or(1);
        load(args, level, one(batch), one(threads), self.base())
    }

    /// The axes in words, for the report.
    pub(super) fn words(&self) -> Vec<(&'static str, String)> {
        let numbers = |list: &[u32]| join(list.iter().map(ToString::to_string));
        let sizes = self.size.iter().map(|size| units::size(u64::from(*size)));
        let lingers = self.linger.iter().map(|linger| units::duration(*linger));
        let codecs = self.codec.iter().map(|codec| codec_name(*codec).to_owned());
        let levels = self
            .durability
            .iter()
            .map(|level| durability(*level).to_owned());
        vec![
            ("durability", join(levels)),
            ("records of an append", numbers(&self.batch)),
            ("threads", numbers(&self.threads)),
            ("bytes of a record", join(sizes)),
            ("linger (buffered)", join(lingers)),
            ("compression", join(codecs)),
        ]
    }
}

/// Appends that a row with tickets has under way: enough for a group to gather
/// while others are written.
const TICKETS: u32 = 32;

/// Durable work of one thread that does not wait for each append.
pub(super) fn tickets(axes: &Axes, args: &Args) -> Vec<Load> {
    let level = Durability::Durable;
    if !axes.durability.contains(&level) {
        return Vec::new();
    }
    let with_tickets = |batch: &u32| {
        let mut load = load(args, level, *batch, 1, axes.base());
        load.work.nowait = Some(TICKETS);
        load
    };
    axes.batch.iter().map(with_tickets).collect()
}

/// In a quick matrix, cells that differ from the base in two ways are left out.
pub(super) fn cells(axes: &Axes, args: &Args) -> Vec<Load> {
    let mut loads = axes.cells(args);
    if args.quick {
        loads.retain(|load| axes.is_near((load.work.size, codec_of(load), load.work.linger())));
    }
    loads
}

fn load(args: &Args, level: Durability, batch: u32, threads: u32, aside: Aside) -> Load {
    Load {
        work: Work {
            threads,
            size: aside.0,
            batch,
            durability: level,
            partitions: 1,
            compress: aside.1 == Codec::Lz4,
            nowait: None,
            linger: Some(aside.2),
            rate: None,
        },
        log: LogChoice::default(),
        warmup: args.warmup(),
        seconds: args.seconds(),
        verify: args.verify,
    }
}

fn codec_of(load: &Load) -> Codec {
    if load.work.compress {
        Codec::Lz4
    } else {
        Codec::None
    }
}

/// A codec by its name.
pub(super) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Lz4 => "lz4",
    }
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

fn or<T: Clone>(asked: &[T], default: &[T]) -> Vec<T> {
    if asked.is_empty() { default } else { asked }.to_vec()
}
