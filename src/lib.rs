//! One durable log, two ways to consume it.

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
mod retention;
mod segment;
mod signal;
mod topic;
mod wal;

pub use engine::{Engine, Info, Reader, RecoveryReport, Stats, Ticket, Topic};
pub use error::{Error, ErrorKind, Result};
pub use format::{Batch, DecodeError, Headers, Record, RecordView, Records};
pub use options::{
    AppendOptions, Background, Codec, Durability, OnLimit, Options, ReadMode, Retention,
    SyncPolicy, TopicOptions,
};
pub use partition::{Appended, Fetch, Fetched, PartitionInfo, Start, StoredRecord};
pub use topic::TopicInfo;

/// Limits that are part of the format.
pub mod limits {
    pub use crate::format::{BATCH_LEN_MAX, HEADERS_MAX, TOPIC_NAME_LEN_MAX};
}
