//! The first block of a file of the write-ahead log: which generation it
//! holds, and which LSN its first byte after this block has.
//!
//! Files are recycled: until a file is put to use again its first block is
//! that of an earlier generation, or zeros. docs/format.md section 6.

use super::DecodeError;
use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32};
use crate::ids::{Lsn, StoreId};

/// Bytes of the header, padded with zeros to one block of 4 KiB.
pub(crate) const WAL_HEADER_LEN: usize = 48;

const MAGIC: u32 = u32::from_le_bytes(*b"dlwl");

/// What the first block of a WAL file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalHeader {
    pub(crate) store: StoreId,
    /// Sequence number of the file: its name, and the seed of its frames.
    pub(crate) sequence: u64,
    /// LSN of the byte after the first block.
    ///
    /// Invariant: everything below it was durable when this was written.
    pub(crate) base: Lsn,
    /// Size of the file in blocks of 4 KiB, fixed when it was made: a shorter
    /// file has lost its end.
    pub(crate) blocks: u32,
}

/// What the first block of a file in the WAL's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalBlock {
    /// A header of this store.
    Header(WalHeader),
    /// Zeros: prepared, never used.
    Zeros,
}

impl WalHeader {
    /// The header, to be padded to a block.
    pub(crate) fn encode(&self) -> [u8; WAL_HEADER_LEN] {
        let mut out = [0; WAL_HEADER_LEN];
        let (_, fields) = out.split_at_mut(4);
        let parts: [&[u8]; 7] = [
            &MAGIC.to_le_bytes(),
            &super::FORMAT_VERSION.to_le_bytes(),
            &[0, 0],
            self.store.bytes(),
            &self.sequence.to_le_bytes(),
            &self.base.get().to_le_bytes(),
            &self.blocks.to_le_bytes(),
        ];
        let mut rest = fields;
        for part in parts {
            let (front, after) = rest.split_at_mut(part.len());
            front.copy_from_slice(part);
            rest = after;
        }
        let crc = Seed::store(self.store).checksum(out.get(4..).unwrap_or_default());
        patch_u32(&mut out, 0, crc);
        out
    }

    /// Decodes the first block of a file.
    ///
    /// # Errors
    ///
    /// Anything that is neither zeros nor a header with a valid checksum.
    pub(crate) fn decode(block: &[u8]) -> Result<WalBlock, DecodeError> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(WalBlock::Zeros);
        }
        let mut cursor = Cursor::new(block);
        let crc = cursor.u32("WAL header checksum")?;
        cursor.magic(MAGIC, "WAL magic")?;
        cursor.version("WAL version")?;
        cursor.zeros(2, "WAL header bytes 10 and 11")?;
        let store = StoreId::new(cursor.id("store id")?);
        let sequence = cursor.u64("WAL sequence")?;
        let base = Lsn::new(cursor.u64("WAL base lsn")?);
        let blocks = cursor.u32("blocks of the WAL file")?;
        let covered = block.get(4..WAL_HEADER_LEN).unwrap_or_default();
        Seed::store(store).verify(covered, crc, "WAL header")?;
        Ok(WalBlock::Header(Self {
            store,
            sequence,
            base,
            blocks,
        }))
    }
}
