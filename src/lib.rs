//! One durable log, two ways to consume it: an embeddable storage engine for
//! message brokers.
//!
//! A store is a directory with topics and queues, which share one write-ahead
//! log, and so one sync for many who wait.
//!
//! * A **topic** is for events, which are kept, and which many read. It has one or
//!   more **partitions**; a partition is one numbered sequence of **records**. They
//!   come in by [`Topic::append`] and its kin and go out through a [`Reader`].
//! * A **queue** is for tasks: one consumer a **message**, and what was acknowledged
//!   is gone. They come in by [`Queue::send`] and go out through a [`Consumer`].
//! * A **subscription** is a queue over a topic that stays: [`Engine::subscribe`].
//! * A [`Transaction`] is one commit over any of them.
//!
//! # Topics
//!
//! ```
//! use duolog::{Engine, Fetch, Options, Record, Start, TopicOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let engine = Engine::open(dir.path().join("data"), Options::default())?;
//! let orders = engine.create_topic("orders", TopicOptions::default().partitions(12))?;
//!
//! // By its key to one of the twelve; durable at return.
//! let placed = orders.append(&Record::new("two apples").key("customer-7"))?;
//!
//! // Any number of readers, none takes anything from the others.
//! let mut reader = orders.reader(placed.partition, Start::Earliest)?;
//! for batch in reader.fetch(&Fetch::default())?.batches() {
//!     for record in &batch.records()? {
//!         let record = record?;
//!         assert_eq!(record.key(), Some(&b"customer-7"[..]));
//!         assert_eq!(record.value(), b"two apples");
//!     }
//! }
//!
//! // Nobody needs the records before the next one any more.
//! orders.trim(placed.partition, reader.position())?;
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Queues
//!
//! ```
//! use std::time::Duration;
//! use duolog::{Backoff, ConsumerOptions, Engine, Message, Options, QueueOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let engine = Engine::open(dir.path().join("data"), Options::default())?;
//! engine.create_queue("jobs-dead", QueueOptions::default())?;
//! let options = QueueOptions::default()
//!     .max_deliveries(4)
//!     .backoff(Backoff::exponential(Duration::from_secs(1), 2.0))
//!     .dead_letter("jobs-dead");
//! let jobs = engine.create_queue("jobs", options)?;
//! jobs.send(&Message::new("resize cat.png"))?;
//!
//! // Any number of consumers share the messages.
//! let worker = jobs.consumer(ConsumerOptions::default())?;
//! for delivery in worker.receive(10, Duration::from_secs(20))? {
//!     match std::str::from_utf8(delivery.body()) {
//!         // Never delivered again, whatever happens.
//!         Ok(_job) => delivery.ack()?,
//!         // To the dead letters at once; `nack` would try again, after a wait.
//!         Err(error) => delivery.dead_letter(Some(&error.to_string()))?,
//!     }
//! }
//! # drop(worker);
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A delivery is a lease: without an answer the message goes to somebody else when
//! it ends, and the answer that comes too late is [`ErrorKind::Fenced`].
//! [`QueueOptions`] and [`Message`] have retries, dead letters, delays, expiry, order
//! keys, priorities and limits. `docs/queues.md` in the repository has the price of
//! each.
//!
//! # Durability
//!
//! What an append, a send or an answer to a delivery promises when it returns is
//! chosen with it ([`AppendOptions`], [`SendOptions`], [`ConsumerOptions`]), or by
//! its topic or queue:
//!
//! | level | returns when | survives | readers and consumers see it |
//! | --- | --- | --- | --- |
//! | [`Durability::Durable`] | synced | a power cut | once synced |
//! | [`Durability::Buffered`] | in memory | a kill if written, a power cut if synced | at once |
//! | [`Durability::Transient`] | in memory | nothing | at once |
//!
//! [`Options::linger`] and [`SyncPolicy`] say when buffered records are written
//! and synced. `docs/durability.md` in the repository has the whole contract:
//! what a crash leaves at each step, and what is assumed of the disk.
//!
//! # Waiting
//!
//! [`Topic::append`] and [`Queue::send`] wait on their thread.
//! [`Topic::append_nowait`] and [`Queue::send_nowait`] give a ticket, to be waited on
//! or awaited from any runtime: none is part of the crate. [`Reader::fetch`] waits on
//! its thread, as long as [`Fetch::max_wait`] says, and [`Consumer::receive`] as long
//! as it is told; [`Consumer::receive_async`] is to be awaited.
//!
//! Two threads of the engine do what nobody waits for. An embedder with a
//! scheduler of its own calls the same steps instead ([`Background::Manual`],
//! [`Engine::run_pending`]).
//!
//! # Errors
//!
//! Whatever can fail returns [`Error`]; [`Error::kind`] says what to do next.
//! Where a function lists kinds under "Errors", others than those listed are
//! the operating system's: [`ErrorKind::Io`], [`ErrorKind::Full`].
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `lz4` | yes | [`Codec::Lz4`]; without it compressed batches are refused |
//! | `io-uring` | yes | the log with several groups in flight, where the kernel allows it |
//! | `mmap` | yes | [`ReadMode::Map`]: sealed segments through a read-only map |
//! | `sim` | no | `io::sim`, a disk with power cuts and faults; `io::conformance`, for back ends |
//! | `serde` | no | `serde::Serialize` for reports, statistics, and options of topics and queues |
//! | `tracing` | no | events: what recovery found, background work that failed |
//! | `cli` | no | the `duolog` tool |
//! | `fuzzing` | no | for the crate's own fuzz targets; no promise |
//!
//! # Not yet
//!
//! Consumer groups, idempotent producers and compaction are not in this release.
//!
//! # Platforms
//!
//! Linux on 64 bits.

pub mod clock;
mod engine;
mod error;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod inspect;
pub mod io;
mod options;
mod partition;
mod queue;
mod retention;
mod segment;
mod signal;
mod sync;
mod timers;
mod topic;
mod wal;

pub use engine::{
    AckBatch, Committed, Consumer, Delivery, Engine, Info, Queue, Reader, Receive, RecoveryReport,
    SendOptions, SendTicket, Stats, Ticket, Topic, Transaction,
};
pub use error::{Error, ErrorKind, Result};
pub use format::{Batch, DecodeError, Headers, Record, RecordView, Records};
pub use options::{
    AppendOptions, Background, Backoff, Codec, ConsumerOptions, Durability, Filter, OnLimit,
    Options, Overflow, QueueOptions, ReadMode, Retention, SyncPolicy, TopicOptions, WriteMode,
};
pub use partition::{Appended, Fetch, Fetched, PartitionInfo, Start, StoredRecord};
pub use queue::{
    Browsed, DeadReason, DeathNote, Message, MessageId, MessageState, QueueInfo, QueueStats,
};
pub use topic::TopicInfo;

/// Limits that are part of the format: the same in every store.
///
/// Options narrow some of them further, such as
/// [`TopicOptions::record_bytes_max`].
///
/// # Examples
///
/// ```
/// assert_eq!(duolog::limits::BATCH_LEN_MAX, 32 << 20);
/// assert_eq!(duolog::limits::TOPIC_NAME_LEN_MAX, 249);
/// ```
pub mod limits {
    pub use crate::format::{BATCH_LEN_MAX, HEADERS_MAX, TOPIC_NAME_LEN_MAX};
}

/// The example of the README, compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
