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

/// Memory that is kept for the next write; a batch may have needed more.
const SCRATCH_LEN_MAX: usize = 2 << 20;

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
            let written = self.write_direct(&mut blocks, bufs, reopen)?;
            if blocks.capacity() > SCRATCH_LEN_MAX {
                *blocks = Blocks::new();
            }
            if written {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::io::sim::{Crash, FaultRule, OpKind, SimFs};
    use crate::io::{Directory, FileSystem, OpenMode, OsFileSystem};

    /// A log that is written through [`Out`], and what it must hold.
    struct Log {
        dir: Arc<dyn Directory>,
        file: Arc<dyn File>,
        out: Out,
        scratch: Scratch,
        expected: Vec<u8>,
    }

    impl Log {
        fn new(fs: &dyn FileSystem, root: &Path) -> Self {
            let dir = fs.open_root(root, true).unwrap();
            let file = dir.open("log", OpenMode::CreateNew).unwrap();
            file.write_all_at(&[7; 64], 0).unwrap();
            dir.sync().unwrap();
            Self {
                out: Out::new(Arc::clone(&file), true, 64),
                dir,
                file,
                scratch: Scratch::default(),
                expected: vec![7; 64],
            }
        }

        fn write(&mut self, len: usize, byte: u8) -> io::Result<()> {
            let (one, two) = (vec![byte; len / 3], vec![byte ^ 0xff; len - len / 3]);
            let at = to_u64(self.expected.len());
            let dir = &self.dir;
            let reopen = || dir.open("log", OpenMode::Write);
            self.out.write(&[&one, &two], at, &self.scratch, reopen)?;
            self.expected.extend([one, two].concat());
            Ok(())
        }

        fn sync(&mut self) {
            self.out.settle(to_u64(self.expected.len())).unwrap();
            self.file.sync_data().unwrap();
            let file = self.dir.open("log", OpenMode::Read).unwrap();
            let mut found = vec![0; self.expected.len()];
            file.read_exact_at(&mut found, 0).unwrap();
            assert!(found == self.expected, "{} bytes", found.len());
        }
    }

    fn sizes() -> impl Strategy<Value = Vec<(usize, bool)>> {
        let len = prop_oneof![0..300_usize, 3900..4300_usize, DIRECT_LEN..3 * DIRECT_LEN];
        proptest::collection::vec((len, any::<bool>()), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_written_is_read_whichever_way_it_went(sizes in sizes(), queue: bool) {
            let temp = tempfile::tempdir().unwrap();
            let sim = SimFs::new(1).with_queue(queue);
            let mut logs = [
                Log::new(&sim, Path::new("/s")),
                Log::new(&OsFileSystem::new(), &temp.path().join("s")),
            ];
            for log in &mut logs {
                for (n, (len, sync)) in sizes.iter().enumerate() {
                    log.write(*len, u8::try_from(n).unwrap()).unwrap();
                    if *sync {
                        log.sync();
                    }
                }
                log.sync();
            }
            let after = sim.crash(Crash::NothingUnsynced).read_file("/s/log");
            prop_assert!(after.starts_with(&logs[0].expected));
        }
    }

    #[test]
    fn a_power_cut_at_every_step_leaves_what_was_synced() {
        let run = |sim: &SimFs| -> Vec<u8> {
            let mut log = Log::new(sim, Path::new("/s"));
            let mut synced = Vec::new();
            for (n, len) in [100, DIRECT_LEN + 5, 3, DIRECT_LEN, 5000, 2 * DIRECT_LEN]
                .iter()
                .enumerate()
            {
                if log.write(*len, u8::try_from(n).unwrap()).is_err() {
                    break;
                }
                let end = to_u64(log.expected.len());
                if log
                    .out
                    .settle(end)
                    .and_then(|()| log.file.sync_data())
                    .is_err()
                {
                    break;
                }
                synced.clone_from(&log.expected);
            }
            synced
        };
        let whole = SimFs::new(1).with_queue(true);
        drop(Log::new(&whole, Path::new("/s")));
        let begun = whole.steps();
        let whole = SimFs::new(1).with_queue(true);
        run(&whole);
        for step in begun + 1..=whole.steps() {
            let sim = SimFs::new(1).with_queue(true);
            sim.cut_power_at(step);
            let synced = run(&sim);
            for (choice, image) in sim.crash_images(4, 12, step) {
                let found = image.read_file("/s/log");
                assert!(found.starts_with(&synced), "step {step}, {choice:?}");
            }
        }
    }

    #[test]
    fn a_write_that_failed_can_be_made_again() {
        for nth in 1..=6 {
            let sim = SimFs::new(1).with_queue(true);
            let mut log = Log::new(&sim, Path::new("/s"));
            log.write(DIRECT_LEN + 77, 1).unwrap();
            sim.fail(FaultRule::new(OpKind::Write, FaultRule::EIO).nth(nth));
            for len in [DIRECT_LEN + 9, 30, 2 * DIRECT_LEN] {
                while log.write(len, 2).is_err() {}
            }
            sim.clear_faults();
            log.sync();
        }
    }
}
