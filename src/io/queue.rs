//! Several writes under way at once.
//!
//! A device takes many times more synced writes when it has several to work
//! on than when each waits for the one before. Who puts a write into a
//! [`WriteQueue`] gives its memory away, and gets it back with the result.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Blocks, File};

/// A write of whole blocks, as [`File::write_blocks`] has it.
#[derive(Debug)]
pub struct BlockWrite {
    /// Where it goes. [`File::go_direct`] has succeeded on it.
    pub file: Arc<dyn File>,
    /// What is written: all from byte `from` on.
    pub blocks: Blocks,
    /// A multiple of the block length.
    pub from: usize,
    /// Where in the file; a multiple of the block length.
    pub position: u64,
    /// On stable storage when it is done.
    pub sync: bool,
    /// The caller's own number for it.
    pub token: u64,
}

impl BlockWrite {
    /// The bytes to write.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.blocks.get(self.from..).unwrap_or_default()
    }
}

/// A write that has ended.
#[derive(Debug)]
pub struct Written {
    /// As it was submitted.
    pub write: BlockWrite,
    /// How it ended. After an error any part may have been written; it is
    /// never to be tried again.
    pub result: io::Result<()>,
}

/// Writes that are under way, in no order.
///
/// # Examples
///
/// ```
/// use duolog::io::{BLOCK_LEN, Blocks, BlockWrite, FileSystem, OpenMode, OsFileSystem};
///
/// # let dir = tempfile::tempdir()?;
/// let fs = OsFileSystem::new();
/// let file = fs.open_root(&dir.path().join("data"), true)?.open("log", OpenMode::CreateNew)?;
/// file.allocate(8 * 4096)?;
/// // Neither is to be had everywhere.
/// let direct = file.go_direct(&Blocks::zeroed(BLOCK_LEN), 0);
/// if let (Ok(queue), Ok(())) = (fs.write_queue(4), direct) {
///     for token in 0..4 {
///         let mut blocks = Blocks::zeroed(BLOCK_LEN);
///         blocks[0] = token as u8;
///         let position = token * BLOCK_LEN as u64;
///         let file = file.clone();
///         queue.submit(BlockWrite { file, blocks, from: 0, position, sync: true, token });
///     }
///     while let Some(written) = queue.complete() {
///         written.result?;
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait WriteQueue: Send + Sync + fmt::Debug {
    /// Starts a write. Of failure its completion tells.
    ///
    /// Invariant of the caller: no more are under way than the queue was made
    /// for, and no two of them overlap.
    fn submit(&self, write: BlockWrite);

    /// Waits until a write has ended; `None` if none is under way. One thread
    /// at a time; others may submit meanwhile.
    fn complete(&self) -> Option<Written>;
}
