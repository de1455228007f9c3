//! The file `store`: that a directory is a store, which one, and what a build
//! must know to open it. docs/format.md section 3.

use bytes::{BufMut, BytesMut};

use super::DecodeError;
use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32};
use crate::ids::{StoreId, Timestamp, to_u64};

/// Bytes of the identity file.
pub(crate) const IDENTITY_LEN: usize = 64;

const MAGIC: &[u8; 8] = b"duolog\r\n";

/// Features that a build must know to open a store at all.
const INCOMPATIBLE_KNOWN: u32 = 0;
/// Features that a build must know to write to a store.
const READ_ONLY_KNOWN: u32 = 0;

/// What the file `store` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    pub(crate) created: Timestamp,
    /// Features that any build may ignore.
    pub(crate) compatible: u32,
    /// Features that a build must know to write.
    pub(crate) read_only: u32,
    /// Features that a build must know to open.
    pub(crate) incompatible: u32,
}

impl Identity {
    /// The identity of a new store.
    pub(crate) fn new(store: StoreId, created: Timestamp) -> Self {
        Self {
            store,
            created,
            compatible: 0,
            read_only: 0,
            incompatible: 0,
        }
    }

    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(IDENTITY_LEN);
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u16_le(super::FORMAT_VERSION);
        out.put_u16_le(0);
        out.put_slice(self.store.bytes());
        out.put_i64_le(self.created.millis());
        out.put_u32_le(self.compatible);
        out.put_u32_le(self.read_only);
        out.put_u32_le(self.incompatible);
        out.put_bytes(0, IDENTITY_LEN - 52);
        let crc = Seed::NONE.checksum(out.get(12..).unwrap_or_default());
        patch_u32(&mut out, 8, crc);
        out
    }

    /// # Errors
    ///
    /// `Unsupported` for a version or a required feature that this build does
    /// not know; `to_write` says whether writing is intended.
    pub(crate) fn decode(bytes: &[u8], to_write: bool) -> Result<Self, DecodeError> {
        if bytes.len() != IDENTITY_LEN {
            return Err(DecodeError::Value {
                what: "length of the identity file",
                found: to_u64(bytes.len()),
                expected: "64 bytes",
            });
        }
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(8, "identity magic")? != MAGIC {
            return Err(DecodeError::Value {
                what: "identity magic: first byte",
                found: u64::from(bytes.first().copied().unwrap_or_default()),
                expected: "\"duolog\", CR, LF",
            });
        }
        let crc = cursor.u32("identity checksum")?;
        // The version comes before the checksum: a later one may compute it
        // over something else.
        let covered = cursor.rest();
        cursor.version("format version of the store")?;
        Seed::NONE.verify(covered, crc, "identity")?;
        cursor.zeros(2, "identity bytes 14 and 15")?;
        let identity = Self {
            store: StoreId::new(cursor.id("store id")?),
            created: Timestamp::from_millis(cursor.i64("creation time")?),
            compatible: cursor.u32("compatible features")?,
            read_only: cursor.u32("features required to write")?,
            incompatible: cursor.u32("features required to open")?,
        };
        cursor.zeros(IDENTITY_LEN - 52, "identity bytes from 52")?;
        identity.check(to_write)
    }

    fn check(self, to_write: bool) -> Result<Self, DecodeError> {
        let unknown = self.incompatible & !INCOMPATIBLE_KNOWN;
        if unknown != 0 {
            return Err(DecodeError::Unsupported {
                what: "feature bits required to open the store",
                found: u64::from(unknown),
                supported: "none",
            });
        }
        let unknown = self.read_only & !READ_ONLY_KNOWN;
        if to_write && unknown != 0 {
            return Err(DecodeError::Unsupported {
                what: "feature bits required to write to the store",
                found: u64::from(unknown),
                supported: "none (opening read-only works)",
            });
        }
        Ok(self)
    }
}
