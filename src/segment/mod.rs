//! Segments: one file of a partition's batches, and its index.
//!
//! Batches lie back to back after a header, offsets rising, in the bytes that
//! the log held already. Only the last segment of a partition, the active one,
//! grows; the others are sealed by a footer and never change again. What of
//! an active segment counts is not in the file: the snapshot says how many
//! bytes were synced ([`SegmentMeta::bytes`]), and whatever lies beyond is left
//! over from a checkpoint that a crash cut short.
//!
//! An index says, every few KiB, where a batch starts. It is derived from the
//! log: a reader believes no entry that the log does not bear out, and an index
//! that fails its check is built again.
//!
//! The order in which a checkpoint makes things durable, which the caller
//! keeps: [`SegmentWriter::sync`] or [`SegmentWriter::seal`], then
//! `Directory::sync` if a file is new, then the snapshot that refers to them.
//! A power cut before the last step leaves files that nothing refers to, or
//! bytes beyond those that count; [`SegmentWriter::create`] and
//! [`SegmentWriter::reopen`] clear both away.
//!
//! docs/format.md sections 8 and 9 have the last word on the bytes.

use std::io;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader};
use crate::ids::{Offset, PartitionId, Position, StoreId, to_u64};
use crate::io::{Directory, File};

mod index;
mod out;
mod reader;
mod reads;
mod rebuild;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use crate::format::snapshot::SegmentMeta;
pub(crate) use index::ActiveIndex;
pub(crate) use out::Scratch;
pub(crate) use reader::{Most, SegmentReader};
pub(crate) use reads::Reads;
pub(crate) use writer::{SegmentWriter, read_active_index};

/// Where the batches of every segment start.
pub(crate) const DATA_START: u64 = 64;

const _: () = assert!(SEGMENT_HEADER_LEN == 64);

/// Digits of a base offset in a file name.
const NAME_DIGITS: usize = 20;

/// Where a partition's files live and what their checksums are seeded with.
#[derive(Clone, Debug)]
pub(crate) struct SegmentEnv {
    /// `topics/<topic>/<partition>`.
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) store: StoreId,
    pub(crate) id: PartitionId,
    /// Bytes of batches from one index entry to the next.
    pub(crate) index_interval_bytes: u32,
    /// Whether an index that was built again may be saved.
    pub(crate) writable: bool,
    /// Whether large writes go past the page cache, where they can.
    pub(crate) direct: bool,
    /// Memory for those.
    pub(crate) scratch: Scratch,
    /// What reads share.
    pub(crate) reads: Arc<Reads>,
}

/// A batch in a segment, as an index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// First byte of the batch.
    pub(crate) position: Position,
    /// Its base offset. At the start of the data it may lie below it.
    pub(crate) offset: Offset,
}

impl Place {
    /// The first batch of the segment at `base`.
    pub(crate) fn start(base: Offset) -> Self {
        Self {
            position: Position::new(DATA_START),
            offset: base,
        }
    }

    fn is_start(self) -> bool {
        self.position.get() == DATA_START
    }
}

/// What a file in the directory of a partition is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Batches.
    Log,
    /// Where some of them are.
    Index,
    /// An index that was being built when the process ended: of no use.
    Temporary,
}

/// Name of the log of the segment at `base`.
pub(crate) fn log_name(base: Offset) -> String {
    format!("{:020}.log", base.get())
}

/// Name of its index.
pub(crate) fn index_name(base: Offset) -> String {
    format!("{:020}.idx", base.get())
}

/// Name under which its index is built again.
fn temporary_name(base: Offset) -> String {
    format!("{:020}.idx.tmp", base.get())
}

/// The inverse of the names above; `None` for every other name.
pub(crate) fn parse_name(name: &str) -> Option<(Offset, FileKind)> {
    let (digits, extension) = name.split_at_checked(NAME_DIGITS)?;
    let kind = match extension {
        ".log" => FileKind::Log,
        ".idx" => FileKind::Index,
        ".idx.tmp" => FileKind::Temporary,
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let base = digits.parse().ok()?;
    Some((Offset::new(base), kind))
}

/// Removes the segment at `base` and its index. What is missing is fine: an
/// earlier removal was cut short.
///
/// # Errors
///
/// Whatever the operating system says. The caller syncs the directory if it
/// matters that the names stay away.
pub(crate) fn remove(env: &SegmentEnv, base: Offset) -> Result<()> {
    // The log goes first: a log without its index opens, an index without
    // its log is clutter.
    for name in [log_name(base), index_name(base), temporary_name(base)] {
        match env.dir.remove_file(&name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::io(format!("remove {}", env.path(&name)), error));
            }
        }
    }
    Ok(())
}

impl SegmentEnv {
    /// What the checksums of the partition start from.
    pub(crate) fn seed(&self) -> Seed {
        Seed::partition(self.store, self.id)
    }

    /// `name` as errors show it, from the directory of the store on.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("topics/{}/{name}", self.id)
    }

    /// How errors name the segment at `base`.
    fn segment(&self, base: Offset) -> String {
        format!("segment {}", self.path(&log_name(base)))
    }

    /// Reads and checks the header of the segment at `base`.
    fn check_header(&self, file: &dyn File, base: Offset) -> Result<SegmentHeader> {
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        let name = self.segment(base);
        read_exact(file, &mut bytes, 0, &name)?;
        self.decode_header(&bytes, base)
    }

    /// A header that is whole, of this store and partition, and of the segment
    /// that the name of its file promises.
    fn decode_header(&self, bytes: &[u8], base: Offset) -> Result<SegmentHeader> {
        let name = self.segment(base);
        let header = SegmentHeader::decode(bytes)
            .map_err(|error| decode_error(format!("{name} at byte 0"), error))?;
        let wrong = if header.store != self.store {
            format!("is of store {}, not of {}", header.store, self.store)
        } else if header.partition != self.id {
            format!("is of partition {}, not of {}", header.partition, self.id)
        } else if header.base != base {
            format!(
                "starts at offset {}, not at {base}: it was renamed",
                header.base
            )
        } else {
            return Ok(header);
        };
        Err(Error::corrupt(format!(
            "{name} at byte 0: the header {wrong}"
        )))
    }
}

/// Fills `buf` from `position` of the file that `name` names in errors. A file
/// that ends before was longer when it was synced.
fn read_exact(file: &dyn File, buf: &mut [u8], position: u64, name: &str) -> Result<()> {
    file.read_exact_at(buf, position).map_err(|error| {
        let len = buf.len();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let message = format!("{name} ends before byte {}", position + to_u64(len));
            return Error::corrupt(message);
        }
        Error::io(format!("read {len} bytes at {position} of {name}"), error)
    })
}

/// An error about bytes on disk, by what the caller can do about it.
fn decode_error(place: String, error: DecodeError) -> Error {
    let kind = match error {
        DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Corrupt,
    };
    Error::with_source(kind, place, error)
}
