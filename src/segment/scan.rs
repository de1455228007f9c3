//! Walks over the batches of a segment, checking every byte on the way.
//!
//! A batch that is skipped is checked like one that is returned: its length
//! says where the next one starts and its offsets say what may be skipped, and
//! neither can be believed before its checksum was.

use std::sync::Arc;

use bytes::Bytes;

use super::{Place, SegmentEnv, SegmentMeta, decode_error, read_exact};
use crate::error::{Error, Result};
use crate::format::batch::{self, BATCH_HEADER_LEN, BatchHeader};
use crate::format::checksum::Seed;
use crate::format::{Batch, DecodeError};
use crate::ids::{Offset, Position, to_u64, to_usize};
use crate::io::{Advice, File};

/// Fewest bytes that are read from a file at once.
const PIECE_LEN_MIN: usize = 64 << 10;

/// Most bytes that are read at once, unless a single batch is longer.
pub(super) const PIECE_LEN_MAX: usize = 1 << 20;

/// For a walk to the end of the data.
pub(super) const ALL: usize = usize::MAX;

/// Where the bytes of a segment come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The whole file in memory that follows it.
    Map(Bytes),
    File(Arc<dyn File>),
}

impl Source {
    /// Tells the kernel of a long read to come.
    pub(super) fn advise(&self, position: u64, data_end: u64) {
        if let Self::File(file) = self {
            let len = data_end.saturating_sub(position);
            file.advise(position, len, Advice::Sequential);
        }
    }
}

/// What part of a segment is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Offset in the name of the file.
    pub(super) base: Offset,
    /// First byte after the batches that count.
    pub(super) data_end: u64,
    /// Offset that no record reaches.
    pub(super) end: Offset,
}

impl Extent {
    /// All that counts of a segment.
    pub(super) fn of(meta: &SegmentMeta) -> Self {
        Self {
            base: meta.base,
            data_end: meta.bytes,
            end: meta.end,
        }
    }
}

/// A walk over batches, from a [`Place`] on.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    env: &'a SegmentEnv,
    source: &'a Source,
    extent: Extent,
    seed: Seed,
    /// Byte of the next batch.
    position: u64,
    /// Lowest base offset that it may have.
    next: Offset,
    /// The base offset that it must have, where an index said so.
    promised: Option<Offset>,
    /// Bytes at hand, and where in the file they start.
    piece: Bytes,
    piece_at: u64,
    /// How many bytes the caller still means to read.
    wanted: usize,
    /// Batches whose checksum was computed.
    checked: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        env: &'a SegmentEnv,
        source: &'a Source,
        extent: Extent,
        from: Place,
        wanted: usize,
    ) -> Self {
        let (piece, piece_at) = match source {
            Source::Map(map) => (map.clone(), 0),
            Source::File(_) => (Bytes::new(), from.position.get()),
        };
        Self {
            env,
            source,
            extent,
            seed: env.seed(),
            position: from.position.get(),
            next: from.offset.max(extent.base),
            promised: (!from.is_start()).then_some(from.offset),
            piece,
            piece_at,
            wanted,
            checked: 0,
        }
    }

    /// Where the next batch starts.
    pub(crate) fn position(&self) -> Position {
        Position::new(self.position)
    }

    /// The next batch and where it starts; `None` at the end of the data.
    ///
    /// # Errors
    ///
    /// `Corrupt`, with file, byte and offset, if what stands there is no batch
    /// of this partition, or its offsets do not fit between the batch before
    /// and the end. The walk stays where it is.
    pub(crate) fn next_batch(&mut self) -> Result<Option<(Position, Batch)>> {
        let found = self.next_raw()?;
        Ok(found.map(|(position, header, bytes)| (position, Batch::new(bytes, header))))
    }

    /// The same, in parts.
    pub(super) fn next_raw(&mut self) -> Result<Option<(Position, BatchHeader, Bytes)>> {
        if self.position == self.extent.data_end {
            return self.check_end();
        }
        self.fetch(BATCH_HEADER_LEN)?;
        let header = BatchHeader::decode(self.at_hand()).map_err(|error| self.wrong(error))?;
        self.fetch(header.length)?;
        let start = self.start();
        let bytes = self.piece.slice(start..start + header.length);
        self.checked += 1;
        batch::verify(&bytes, &header, self.seed).map_err(|error| self.wrong(error))?;
        self.check_offsets(&header)?;
        let position = self.position();
        self.position += to_u64(header.length);
        self.wanted = self.wanted.saturating_sub(header.length);
        self.next = header.end_offset();
        self.promised = None;
        Ok(Some((position, header, bytes)))
    }

    /// Start of the next batch in `piece`, or the end of the piece.
    fn start(&self) -> usize {
        let start = to_usize(self.position.saturating_sub(self.piece_at));
        start.min(self.piece.len())
    }

    /// Bytes from the next batch on that need no reading, none beyond the data.
    fn at_hand(&self) -> &[u8] {
        let left = to_usize(self.extent.data_end.saturating_sub(self.position));
        let rest = self.piece.get(self.start()..).unwrap_or_default();
        rest.get(..left).unwrap_or(rest)
    }

    /// Sees to it that `needed` bytes are at hand.
    fn fetch(&mut self, needed: usize) -> Result<()> {
        if self.at_hand().len() >= needed {
            return Ok(());
        }
        let left = to_usize(self.extent.data_end.saturating_sub(self.position));
        let Source::File(file) = self.source else {
            return Err(self.ends_early(needed, self.at_hand().len()));
        };
        if needed > left {
            return Err(self.ends_early(needed, left));
        }
        // `needed` is bounded: the header of a batch, or a length that its
        // decoder checked against BATCH_LEN_MAX.
        let len = self.wanted.clamp(PIECE_LEN_MIN, PIECE_LEN_MAX);
        let len = len.max(needed).min(left);
        // What nobody took a batch of is free for this read.
        self.piece = Bytes::new();
        let mut piece = self.env.reads.take(len);
        let part = piece.get_mut(..len).expect("as long as was asked for");
        let name = self.env.segment(self.extent.base);
        read_exact(&**file, part, self.position, &name)?;
        let piece = piece.freeze();
        self.env.reads.keep(&piece);
        self.piece = piece.slice(..len);
        self.piece_at = self.position;
        Ok(())
    }

    fn check_offsets(&self, header: &BatchHeader) -> Result<()> {
        let (base, end) = (header.base_offset, header.end_offset());
        let wrong = if base < self.next {
            format!("which lies below {}, where the one before ends", self.next)
        } else if end > self.extent.end {
            format!("and ends at {end}, beyond the end {}", self.extent.end)
        } else if let Some(promised) = self.promised.filter(|promised| *promised != base) {
            format!("where the index has the batch of offset {promised}")
        } else {
            return Ok(());
        };
        let place = self.place();
        Err(Error::corrupt(format!(
            "{place}: the batch starts at offset {base}, {wrong}"
        )))
    }

    /// Nothing follows: nothing may be missing either.
    fn check_end<T>(&self) -> Result<Option<T>> {
        if self.next == self.extent.end {
            return Ok(None);
        }
        let place = self.place();
        let end = self.extent.end;
        Err(Error::corrupt(format!(
            "{place}: the batches end here, expected them to reach offset {end}"
        )))
    }

    fn place(&self) -> String {
        let name = self.env.segment(self.extent.base);
        format!("{name} at byte {} (offset {})", self.position, self.next)
    }

    fn ends_early(&self, needed: usize, found: usize) -> Error {
        self.wrong(DecodeError::Incomplete {
            what: "batch",
            needed,
            found,
        })
    }

    /// The error for the batch at hand. A version or a flag that this build does
    /// not know is believed only if the checksum says that it was written so.
    fn wrong(&self, error: DecodeError) -> Error {
        if !matches!(error, DecodeError::Unsupported { .. }) || self.was_written_so() {
            return decode_error(self.place(), error);
        }
        Error::corrupt(format!("{}: {error}, and no writer wrote it", self.place()))
    }

    fn was_written_so(&self) -> bool {
        let bytes = self.at_hand();
        let field = |at| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        let (Some(crc), Some(length)) = (field(0), field(4)) else {
            return false;
        };
        let length = to_usize(u64::from(u32::from_le_bytes(*length)));
        let covered = bytes.get(4..length);
        covered.is_some_and(|covered| self.seed.checksum(covered) == u32::from_le_bytes(*crc))
    }
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        // Once for a walk: a count for all threads is dear to touch.
        self.env.reads.add_checked(self.checked);
    }
}
