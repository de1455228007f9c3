//! The part of the suite about whole blocks and several writes under way.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{BLOCK_LEN, Directory, File, FileSystem, OpenMode, content, create};
use crate::ids::to_u64;
use crate::io::{BlockWrite, Blocks};

/// Writes of whole blocks, through the cache and past it.
pub(super) fn check_blocks(dir: &dyn Directory) {
    let file = create(dir, "f", b"");
    file.allocate(to_u64(8 * BLOCK_LEN)).expect("allocate");
    let blocks = |byte: u8, count: usize| {
        let mut blocks = Blocks::zeroed(count * BLOCK_LEN);
        blocks.fill(byte);
        blocks
    };
    let mut expected = vec![0; 8 * BLOCK_LEN];
    let mut write = |file: &dyn File, byte, at: usize, count: usize, sync| {
        let range = at * BLOCK_LEN..(at + count) * BLOCK_LEN;
        expected.get_mut(range).expect("in the file").fill(byte);
        file.write_blocks(&blocks(byte, count), to_u64(at * BLOCK_LEN), sync)
            .expect("write_blocks");
        let read = dir.open("f", OpenMode::Read).expect("open");
        assert_eq!(content(&*read), expected, "blocks are where they were put");
    };
    write(&*file, 1, 0, 3, false);
    write(&*file, 2, 2, 1, true);
    match file.go_direct(&blocks(0, 1), 0) {
        Ok(()) => write(&*file, 0, 0, 1, false),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "go_direct"),
    }
    write(&*file, 3, 4, 4, true);
    write(&*file, 4, 5, 2, false);
    file.sync_data().expect("sync");
    // Another handle goes on through the cache, in a block of its own.
    let other = dir.open("f", OpenMode::Write).expect("open");
    other.write_all_at(b"cached", 0).expect("write");
    let mut front = [0; 6];
    other.read_exact_at(&mut front, 0).expect("read");
    assert_eq!(&front, b"cached", "handles see each other's writes");
    file.write_blocks(&blocks(9, 1), 0, true).expect("write");
    other.read_exact_at(&mut front, 0).expect("read");
    assert_eq!(
        front, [9; 6],
        "the last write counts, whichever way it went"
    );
    dir.remove_file("f").expect("clean up");
}

/// The queue of writes, where there is one.
pub(super) fn check_queue(fs: &dyn FileSystem, dir: &dyn Directory) {
    const DEPTH: u8 = 4;
    let Ok(queue) = fs.write_queue(usize::from(DEPTH)) else {
        return;
    };
    assert!(queue.complete().is_none(), "nothing is under way");
    let file = create(dir, "f", b"");
    file.allocate(to_u64(64 * BLOCK_LEN)).expect("allocate");
    if file.go_direct(&Blocks::zeroed(BLOCK_LEN), 0).is_ok() {
        for round in 0..8_u8 {
            for n in 0..DEPTH {
                let token = u64::from(round * DEPTH + n);
                let mut blocks = Blocks::zeroed(3 * BLOCK_LEN);
                blocks.fill(round * DEPTH + n);
                queue.submit(BlockWrite {
                    file: Arc::clone(&file),
                    blocks,
                    from: BLOCK_LEN,
                    position: token * 2 * to_u64(BLOCK_LEN),
                    sync: n % 2 == 0,
                    token,
                });
            }
            let mut tokens = Vec::new();
            while let Some(written) = queue.complete() {
                written.result.expect("a write of the queue");
                assert_eq!(
                    written.write.blocks.len(),
                    3 * BLOCK_LEN,
                    "memory comes back"
                );
                tokens.push(written.write.token);
            }
            tokens.sort_unstable();
            let first = u64::from(round * DEPTH);
            let all: Vec<_> = (first..first + u64::from(DEPTH)).collect();
            assert_eq!(tokens, all, "each write completes, once");
        }
        let read = content(&*dir.open("f", OpenMode::Read).expect("open"));
        for (token, pair) in (0..8 * DEPTH).zip(read.chunks(2 * BLOCK_LEN)) {
            assert!(pair.iter().all(|byte| *byte == token), "write {token}");
        }
    }
    dir.remove_file("f").expect("clean up");
}
