//! The ring on a kernel that does what a test tells it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::ids::{to_u64, to_usize};
use crate::io::{BLOCK_LEN, Blocks, File, FileSystem, OpenMode, OsFileSystem};

/// What the kernel says of a piece.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// All of it is written.
    All,
    /// So many bytes are written.
    Part(usize),
    Error(Errno),
}

/// A kernel that writes to memory.
#[derive(Debug, Default)]
struct Fake {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    disk: Vec<u8>,
    /// In the submission ring.
    pushed: Vec<Seen>,
    /// Handed over, and not told of.
    taken: Vec<Seen>,
    completions: VecDeque<(usize, i32)>,
    /// For the next pieces; after the last one, all goes well.
    answers: VecDeque<Answer>,
    /// Errors of the next calls that hand over.
    refusals: VecDeque<Errno>,
    /// Every call that waits fails with it.
    silent: Option<Errno>,
    /// The piece that is told of next is drawn with this.
    lot: u64,
    /// Every piece that was pushed: position, length, synced.
    log: Vec<(u64, usize, bool)>,
    waits: usize,
}

#[derive(Debug)]
struct Seen {
    index: usize,
    position: u64,
    bytes: Vec<u8>,
}

impl Fake {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn tell(&self, answers: impl IntoIterator<Item = Answer>) {
        self.inner().answers.extend(answers);
    }

    fn log(&self) -> Vec<(u64, usize, bool)> {
        self.inner().log.clone()
    }
}

impl Inner {
    fn hand_over(&mut self) -> io::Result<()> {
        if let Some(errno) = self.refusals.pop_front() {
            return Err(errno.into());
        }
        self.taken.append(&mut self.pushed);
        Ok(())
    }

    /// Completes one piece of those that were handed over.
    fn complete_one(&mut self) {
        assert!(!self.taken.is_empty(), "waits for what never comes");
        self.lot = self.lot.wrapping_mul(6_364_136_223_846_793_005) + 1;
        let drawn = to_usize((self.lot >> 33) % to_u64(self.taken.len()));
        let Seen {
            index,
            position,
            bytes,
        } = self.taken.remove(drawn);
        let done = match self.answers.pop_front().unwrap_or(Answer::All) {
            Answer::All => bytes.len(),
            Answer::Part(part) => part.min(bytes.len()),
            Answer::Error(errno) => {
                self.completions.push_back((index, -errno.raw_os_error()));
                return;
            }
        };
        let at = to_usize(position);
        self.disk.resize(self.disk.len().max(at + done), 0);
        self.disk[at..at + done].copy_from_slice(&bytes[..done]);
        let done = i32::try_from(done).unwrap();
        self.completions.push_back((index, done));
    }
}

impl Kernel for Fake {
    fn push(&self, slots: &mut Slots, index: usize) {
        let piece = slots.piece(index).expect("a write under way");
        assert!(piece.position.is_multiple_of(LEN), "a whole block");
        let mut inner = self.inner();
        inner
            .log
            .push((piece.position, piece.bytes.len(), piece.write.sync));
        inner.pushed.push(Seen {
            index,
            position: piece.position,
            bytes: piece.bytes.to_vec(),
        });
    }

    fn pop(&self, _slots: &mut Slots) -> Option<(usize, i32)> {
        self.inner().completions.pop_front()
    }

    fn submit(&self) -> io::Result<()> {
        self.inner().hand_over()
    }

    fn submit_and_wait(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.waits += 1;
        if let Some(errno) = inner.silent {
            return Err(errno.into());
        }
        inner.hand_over()?;
        inner.complete_one();
        Ok(())
    }
}

const LEN: u64 = 4096;

fn ring(depth: usize) -> Ring<Fake> {
    Ring::on(Fake::default(), depth)
}

/// A file that has a descriptor; nothing is written to it.
fn file() -> Arc<dyn File> {
    let dir = tempfile::tempdir().unwrap();
    let root = OsFileSystem::new().open_root(dir.path(), false).unwrap();
    root.open("f", OpenMode::CreateNew).unwrap()
}

/// `count` blocks at block `at`, filled with `token + 1`; a block before them
/// is not to be written.
fn write(file: &Arc<dyn File>, token: u8, at: u64, count: usize) -> BlockWrite {
    let mut blocks = Blocks::zeroed((1 + count) * BLOCK_LEN);
    blocks.fill(token + 1);
    BlockWrite {
        file: Arc::clone(file),
        blocks,
        from: BLOCK_LEN,
        position: at * LEN,
        sync: true,
        token: u64::from(token),
    }
}

/// The next write that ends, which is there.
fn next(ring: &Ring<Fake>) -> Written {
    ring.complete().expect("a write is under way")
}

#[test]
fn a_short_write_goes_on_at_the_block_where_it_stopped() {
    let ring = ring(1);
    ring.kernel.tell([Answer::Part(BLOCK_LEN + 100)]);
    ring.submit(write(&file(), 4, 10, 3));
    let written = next(&ring);
    written.result.unwrap();
    assert_eq!(written.write.blocks.len(), 4 * BLOCK_LEN, "memory is back");
    assert_eq!(
        ring.kernel.log(),
        [
            (10 * LEN, 3 * BLOCK_LEN, true),
            (11 * LEN, 2 * BLOCK_LEN, true)
        ]
    );
    let disk = ring.kernel.inner().disk.split_off(10 * BLOCK_LEN);
    assert_eq!(disk, vec![5; 3 * BLOCK_LEN]);
    assert!(ring.complete().is_none());
}

#[test]
fn a_write_that_gets_no_block_further_has_failed() {
    for part in [0, 1, BLOCK_LEN - 1] {
        let ring = ring(1);
        ring.kernel.tell([Answer::Part(part)]);
        ring.submit(write(&file(), 0, 0, 2));
        let error = next(&ring).result.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero, "{part} bytes");
        assert_eq!(ring.kernel.log().len(), 1, "it is not tried again");
    }
}

#[test]
fn what_is_turned_away_for_the_moment_is_submitted_again_as_it_was() {
    for errno in [Errno::AGAIN, Errno::INTR, Errno::CANCELED] {
        let ring = ring(1);
        ring.kernel
            .tell([Answer::Error(errno), Answer::Error(errno)]);
        ring.submit(write(&file(), 0, 7, 1));
        next(&ring).result.unwrap();
        assert_eq!(
            ring.kernel.log(),
            [(7 * LEN, BLOCK_LEN, true); 3],
            "{errno:?}"
        );
        let disk = ring.kernel.inner().disk.split_off(7 * BLOCK_LEN);
        assert_eq!(disk, [1; BLOCK_LEN]);
    }
}

#[test]
fn what_is_turned_away_without_end_fails_in_the_end() {
    let ring = ring(1);
    let never = Answer::Error(Errno::AGAIN);
    ring.kernel.tell(vec![never; to_usize(TRIES_MAX.into())]);
    ring.submit(write(&file(), 0, 0, 1));
    let error = next(&ring).result.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(to_u64(ring.kernel.log().len()), u64::from(TRIES_MAX));
}

#[test]
fn a_failed_write_is_never_tried_again() {
    for errno in [Errno::IO, Errno::NOSPC, Errno::INVAL] {
        let ring = ring(1);
        // What came before may have been passing, and short.
        ring.kernel.tell([
            Answer::Error(Errno::INTR),
            Answer::Part(BLOCK_LEN),
            Answer::Error(errno),
        ]);
        ring.submit(write(&file(), 0, 0, 2));
        let written = next(&ring);
        let error = written.result.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()));
        assert_eq!(written.write.blocks.len(), 3 * BLOCK_LEN, "memory is back");
        assert_eq!(ring.kernel.log().len(), 3, "{errno:?}");
        assert!(ring.complete().is_none());
    }
}

#[test]
fn a_failed_write_leaves_the_ones_beside_it_alone() {
    let ring = ring(3);
    let file = file();
    for token in 0..3 {
        ring.submit(write(&file, token, token.into(), 1));
    }
    ring.kernel.tell([Answer::All, Answer::Error(Errno::IO)]);
    let results: Vec<_> = std::iter::from_fn(|| ring.complete())
        .map(|written| written.result.is_ok())
        .collect();
    assert_eq!(results, [true, false, true]);
}

#[test]
fn a_submission_that_fails_is_made_up_for_when_somebody_waits() {
    let ring = ring(2);
    let file = file();
    ring.kernel.inner().refusals = [Errno::BUSY, Errno::AGAIN, Errno::NOMEM, Errno::BUSY].into();
    ring.submit(write(&file, 0, 0, 1));
    ring.submit(write(&file, 1, 1, 1));
    next(&ring).result.unwrap();
    next(&ring).result.unwrap();
    assert!(ring.complete().is_none());
    assert_eq!(ring.kernel.log().len(), 2, "each was pushed once");
    assert_eq!(ring.kernel.inner().waits, 4, "two of which failed");
}

#[test]
fn an_interrupted_wait_looks_again_and_waits_again() {
    let ring = ring(1);
    ring.submit(write(&file(), 0, 0, 1));
    ring.kernel.inner().refusals = [Errno::INTR, Errno::INTR].into();
    next(&ring).result.unwrap();
    assert_eq!(ring.kernel.inner().waits, 3);
}

#[test]
fn a_kernel_that_does_not_answer_keeps_the_memory_and_fails_each_write_once() {
    let ring = ring(2);
    let file = file();
    ring.kernel.inner().silent = Some(Errno::BADF);
    ring.submit(write(&file, 0, 0, 1));
    ring.submit(write(&file, 1, 1, 1));
    let mut tokens = Vec::new();
    while let Some(written) = ring.complete() {
        assert!(written.result.is_err());
        assert!(written.write.blocks.is_empty(), "the kernel may read it");
        tokens.push(written.write.token);
    }
    assert_eq!(tokens, [0, 1]);
    // Their places are taken for as long as the memory is.
    ring.submit(write(&file, 2, 2, 1));
    let refused = next(&ring);
    assert_eq!(
        refused.result.unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(refused.write.blocks.len(), 2 * BLOCK_LEN);
}

#[test]
fn a_kernel_that_answers_late_frees_the_place_and_tells_nobody() {
    let ring = ring(2);
    let file = file();
    ring.kernel.inner().silent = Some(Errno::BADF);
    ring.submit(write(&file, 0, 0, 1));
    ring.submit(write(&file, 1, 1, 1));
    assert!(next(&ring).result.is_err());
    assert!(next(&ring).result.is_err());
    ring.kernel.inner().silent = None;
    ring.kernel.inner().complete_one();
    // Symptom: with all writes given up, a late completion made the next call
    // wait for ever. Cause: it asked the kernel for more because it had told
    // of something, whether or not anything was under way.
    assert!(ring.complete().is_none());
    ring.submit(write(&file, 2, 2, 1));
    let written = next(&ring);
    assert_eq!(written.write.token, 2);
    written.result.unwrap();
    assert!(ring.complete().is_none());
}

#[test]
fn no_more_writes_than_places_are_taken() {
    let ring = ring(2);
    let file = file();
    for token in 0..3 {
        ring.submit(write(&file, token, token.into(), 1));
    }
    let refused = next(&ring);
    assert_eq!(refused.write.token, 2, "what was refused is told of first");
    assert!(refused.result.is_err());
    assert_eq!(ring.kernel.log().len(), 2, "the kernel did not see it");
    next(&ring).result.unwrap();
    next(&ring).result.unwrap();
    assert!(ring.complete().is_none());
}

#[test]
fn a_file_of_another_back_end_is_refused() {
    let disk = crate::io::sim::SimFs::new(1);
    let root = disk.open_root(Path::new("/store"), true).unwrap();
    let file = root.open("f", OpenMode::CreateNew).unwrap();
    let ring = ring(1);
    ring.submit(write(&file, 0, 0, 1));
    assert!(next(&ring).result.is_err());
    assert!(ring.kernel.log().is_empty());
}

#[test]
fn a_ring_that_is_dropped_waits_for_what_is_under_way() {
    let kernel = Arc::new(Fake::default());
    let ring = Ring::on(Shared(Arc::clone(&kernel)), 2);
    let file = file();
    ring.submit(write(&file, 0, 0, 1));
    ring.submit(write(&file, 1, 1, 1));
    assert_eq!(kernel.inner().taken.len(), 2);
    drop(ring);
    assert!(kernel.inner().taken.is_empty());
    assert_eq!(Arc::strong_count(&file), 1, "and lets go of the files");
}

/// A fake that a test keeps when the ring is gone.
#[derive(Debug)]
struct Shared(Arc<Fake>);

impl Kernel for Shared {
    fn push(&self, slots: &mut Slots, index: usize) {
        self.0.push(slots, index);
    }

    fn pop(&self, slots: &mut Slots) -> Option<(usize, i32)> {
        self.0.pop(slots)
    }

    fn submit(&self) -> io::Result<()> {
        self.0.submit()
    }

    fn submit_and_wait(&self) -> io::Result<()> {
        self.0.submit_and_wait()
    }
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::All),
        4 => (BLOCK_LEN..4 * BLOCK_LEN).prop_map(Answer::Part),
        1 => (0..BLOCK_LEN).prop_map(Answer::Part),
        3 => Just(Answer::Error(Errno::AGAIN)),
        2 => Just(Answer::Error(Errno::CANCELED)),
        1 => Just(Answer::Error(Errno::IO)),
    ]
}

proptest! {
    #[test]
    fn whatever_the_kernel_does_each_write_ends_once_and_success_means_written(
        lot: u64,
        depth in 1_usize..5,
        answers in proptest::collection::vec(answer(), 0..60),
        lens in proptest::collection::vec(1_usize..5, 1..20),
    ) {
        let ring = ring(depth);
        ring.kernel.inner().lot = lot;
        ring.kernel.tell(answers);
        let file = file();
        let mut ended = Vec::new();
        let mut under_way = 0;
        for (token, len) in (0_u8..).zip(&lens) {
            if under_way == depth {
                ended.extend(ring.complete());
                under_way -= 1;
            }
            ring.submit(write(&file, token, u64::from(token) * 4, *len));
            under_way += 1;
        }
        ended.extend(std::iter::from_fn(|| ring.complete()));
        let mut tokens: Vec<_> = ended.iter().map(|one| one.write.token).collect();
        tokens.sort_unstable();
        prop_assert_eq!(tokens, (0..to_u64(lens.len())).collect::<Vec<_>>());
        let disk = ring.kernel.inner().disk.clone();
        for Written { write, result } in ended {
            let at = to_usize(write.position);
            let found = disk.get(at..at + write.bytes().len());
            if result.is_ok() {
                prop_assert_eq!(found, Some(write.bytes()));
            }
        }
    }
}
