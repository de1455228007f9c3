//! One durable log, two ways to consume it.

pub mod clock;
mod error;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod io;
mod options;
mod partition;
mod segment;
mod signal;
mod wal;

pub use error::{Error, ErrorKind, Result};
pub use format::{Batch, DecodeError, Headers, Record, RecordView, Records};
pub use options::{
    AppendOptions, Background, Codec, Durability, OnLimit, Options, ReadMode, Retention,
    SyncPolicy, TopicOptions,
};

/// Limits that are part of the format.
pub mod limits {
    pub use crate::format::{BATCH_LEN_MAX, HEADERS_MAX, TOPIC_NAME_LEN_MAX};
}
