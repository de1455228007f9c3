//! The growing end of a segment's log: large pieces go past the page cache.
//!
//! ```text
//!   in the file                          held
//!  ------------------------------+     +------+
//!  ... whole blocks, written     |     | < one|  written when more comes,
//!      past the cache            |     | block|  or before a sync
//!  ------------------------------+     +------+
//! ```
//!
//! What is moved to segments is read again late, or never. Through the cache
//! each byte costs a fresh page, which takes longer to fill than to write, and
//! a sync of the log waits behind all that the cache has gathered. Past it the
//! device takes one piece at a time from memory that is used again.
//!
//! Small writes go through the cache. So do all where there are no direct
//! writes.

use std::io;
use std::sync::Arc;

use bytes::BufMut;

use crate::ids::{to_u64, to_usize};
use crate::io::{Advice, BLOCK_LEN, Blocks, File};
use crate::signal::lock;
use crate::sync::Mutex;

/// From this size on a write goes past the cache.
pub(super) const DIRECT_LEN: usize = 64 << 10;

/// Memory for direct writes, shared by all segments of a store: flushes take
/// turns.
pub(crate) type Scratch = Arc<Mutex<Blocks>>;

/// The end of a log.
#[derive(Debug)]
pub(super) struct Out {
    log: Arc<dyn File>,
    /// The same file, past the cache; opened when it is needed, closed by a
    /// sync.
    direct: Option<Arc<dyn File>>,
    /// True if direct writes are wanted, and were not refused.
    allowed: bool,
    /// Where the next write goes, if the last one is to stay.
    end: u64,
    /// Bytes before `end` that are not in the file yet: less than a block.
    held: Vec<u8>,
}

impl Out {
    /// For a log that ends at `end`.
    pub(super) fn new(log: Arc<dyn File>, direct: bool, end: u64) -> Self {
        Self {
            log,
            direct: None,
            allowed: direct,
            end,
            held: Vec::new(),
        }
    }

    /// Writes `bufs` at `position`: where the last write ended, or before that
    /// if it is not to stay. `reopen` opens the file once more.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says. Then the call can be made again.
    pub(super) fn write(
        &mut self,
        bufs: &[&[u8]],
        position: u64,
        scratch: &Scratch,
        reopen: impl FnOnce() -> io::Result<Arc<dyn File>>,
    ) -> io::Result<()> {
        self.rewind(position);
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        let end = position + to_u64(len);
        if self.allowed && len >= DIRECT_LEN {
            let mut blocks = lock(scratch);
            if self.write_direct(&mut blocks, bufs, reopen)? {
                self.end = end;
                return Ok(());
            }
        }
        let mut all = Vec::with_capacity(bufs.len() + 1);
        all.push(&*self.held);
        all.extend_from_slice(bufs);
        let start = self.written();
        self.log.write_all_vectored_at(&all, start)?;
        // The disk works on it while the rest is gathered: the sync at the end
        // has less to wait for.
        self.log.advise(start, to_u64(len), Advice::WriteOut);
        self.held.clear();
        self.end = end;
        Ok(())
    }

    /// Where the bytes end that are in the file.
    fn written(&self) -> u64 {
        self.end - to_u64(self.held.len())
    }

    /// Forgets what lies from `position` on.
    fn rewind(&mut self, position: u64) {
        debug_assert!(position <= self.end, "a write leaves no hole");
        let written = self.written();
        self.held
            .truncate(to_usize(position.saturating_sub(written)));
        self.end = position;
    }

    /// False if there are no direct writes, and nothing was written.
    fn write_direct(
        &mut self,
        blocks: &mut Blocks,
        bufs: &[&[u8]],
        reopen: impl FnOnce() -> io::Result<Arc<dyn File>>,
    ) -> io::Result<bool> {
        // The block that the file ends in is written again, as it was.
        let end = self.written();
        let start = end - end % to_u64(BLOCK_LEN);
        blocks.clear();
        blocks.resize(to_usize(end - start));
        self.log.read_exact_at(blocks, start)?;
        blocks.put_slice(&self.held);
        for buf in bufs {
            blocks.put_slice(buf);
        }
        let whole = blocks.len() / BLOCK_LEN * BLOCK_LEN;
        let rest = blocks.get(whole..).unwrap_or_default().to_vec();
        blocks.resize(whole);
        if let Some(direct) = &self.direct {
            direct.write_blocks(blocks, start, false)?;
        } else {
            let direct = reopen()?;
            match direct.go_direct(blocks, start) {
                Ok(()) => self.direct = Some(direct),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.allowed = false;
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.held = rest;
        Ok(true)
    }

    /// Puts all that was written up to `end` into the file: before a sync.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says. Then the call can be made again.
    pub(super) fn settle(&mut self, end: u64) -> io::Result<()> {
        self.rewind(end);
        if !self.held.is_empty() {
            self.log.write_all_at(&self.held, self.written())?;
            self.held.clear();
        }
        self.direct = None;
        Ok(())
    }
}
