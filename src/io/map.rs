//! Files as memory.
//!
//! A map follows the file: whoever shortens the file turns reads of the lost
//! pages into SIGBUS, and whoever writes it changes memory under a reader. So
//! only files that never change or shrink again are mapped (sealed segments,
//! under the lock of the store), and never beyond the length that was checked.
//! Past the end of the file the rest of its last page reads as zeros, without
//! a word: the recorded length decides, not the map.

use std::io;
use std::os::fd::BorrowedFd;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// The first `len` bytes of `fd` as memory.
pub(super) fn map(fd: BorrowedFd<'_>, len: u64) -> io::Result<Bytes> {
    let file_len = super::blocking::file_len(fd)?;
    if file_len < len {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("expected {len} bytes to map, found a file of {file_len}"),
        ));
    }
    // The kernel refuses empty maps.
    if len == 0 {
        return Ok(Bytes::new());
    }
    Ok(Bytes::from_owner(map_checked(
        fd,
        crate::ids::to_usize(len),
    )?))
}

/// Maps `len` bytes, which the file is known to have.
#[expect(unsafe_code, reason = "a map has no safe interface")]
fn map_checked(fd: BorrowedFd<'_>, len: usize) -> io::Result<Mmap> {
    // SAFETY: `fd` is open and read-only to the map. The contract of
    // `File::map` is that the file is sealed: this process never writes or
    // shortens it again, the lock of the store keeps other engines away, and
    // mode 0600 other users. The length was checked against the file above.
    unsafe { MmapOptions::new().len(len).map(&fd) }
}
