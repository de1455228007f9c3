//! Bytes to values and back: every structure that is ever on disk.
//!
//! Pure: no I/O, no clock, no unsafe. Integers are little-endian, lengths are
//! checked against a named maximum before they are used, and every structure
//! carries a checksum seeded with what it belongs to, so that a misplaced or
//! stale block never passes. docs/format.md is the authority on every byte;
//! the golden files in tests/fixtures hold the two together.

use thiserror::Error;

pub(crate) mod batch;
pub(crate) mod checksum;
pub(crate) mod compress;
pub(crate) mod cursor;
pub(crate) mod dedup;
pub(crate) mod entry;
pub(crate) mod frame;
#[cfg(test)]
mod golden;
pub(crate) mod identity;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod ledger;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod snapshot;
pub(crate) mod timers;
pub(crate) mod topic;
pub(crate) mod varint;
pub(crate) mod walfile;

pub use batch::Batch;
pub use record::{Headers, Record, RecordView, Records};

/// Version of everything on disk; a store says which one it was made with.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// Largest batch, header included; a longer length is corruption, not a
/// request for memory. Bounds what decompression may produce, too.
pub const BATCH_LEN_MAX: usize = 32 << 20;

/// Largest payload of a WAL frame: one batch or one transaction.
pub(crate) const FRAME_PAYLOAD_LEN_MAX: usize = 64 << 20;

/// Largest payload of a snapshot.
pub(crate) const SNAPSHOT_PAYLOAD_LEN_MAX: usize = 1 << 30;

/// Most headers that one record may carry.
pub const HEADERS_MAX: usize = 1024;

/// Longest topic name, in bytes of UTF-8.
pub const TOPIC_NAME_LEN_MAX: usize = 249;

/// Most partitions of a topic.
pub(crate) const PARTITIONS_MAX: u32 = 100_000;

/// Most changes of a ledger in one entry of a frame.
pub(crate) const LEDGER_CHANGES_MAX: usize = 1 << 20;

const _: () = assert!(BATCH_LEN_MAX < FRAME_PAYLOAD_LEN_MAX);
const _: () = assert!(SNAPSHOT_PAYLOAD_LEN_MAX <= u32::MAX as usize);

/// Why bytes are not the value that they should be.
///
/// Whether that is a torn tail or damage is the caller's to say: only it knows
/// where the bytes came from.
///
/// # Examples
///
/// ```
/// use duolog::DecodeError;
///
/// fn needs_another_build(error: &DecodeError) -> bool {
///     matches!(error, DecodeError::Unsupported { .. })
/// }
/// let error = DecodeError::Incomplete { what: "record", needed: 7, found: 3 };
/// assert!(!needs_another_build(&error));
/// assert_eq!(error.to_string(), "record ends early: 7 bytes needed, 3 found");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes end inside the structure.
    #[error("{what} ends early: {needed} bytes needed, {found} found")]
    Incomplete {
        /// The structure or field.
        what: &'static str,
        /// Bytes it takes.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The checksum does not match the bytes, the place, or the store.
    #[error("checksum of {what} does not match: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// The structure.
        what: &'static str,
        /// What the bytes say.
        stored: u32,
        /// What they should say.
        computed: u32,
    },
    /// A field has a value that no writer gives it.
    #[error("{what} is {found}, expected {expected}")]
    Value {
        /// The field.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// Made by another version, or with a feature that this build lacks.
    #[error("{what} is {found}, this build supports {supported}; use a build that knows it")]
    Unsupported {
        /// The version or feature field.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What this build knows.
        supported: &'static str,
    },
}
