//! Input in blocks, and its division into batches of lines.
//!
//! Blocks come from a thread of their own: a read of a terminal or a pipe can
//! wait for ever, and whoever appends must meanwhile flush what lingers, look
//! after acknowledgements, and hear signals.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::failure::Failure;

/// Bytes that are read at once.
const BLOCK_LEN: usize = 64 << 10;

/// Blocks that may wait to be appended.
const BLOCKS_MAX: usize = 16;

/// Size at which a batch is appended however few lines it has. Far below the
/// largest commit; a longer line goes alone.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Blocks as they come; disconnected at the end of the input.
pub(crate) type Blocks = Receiver<io::Result<Vec<u8>>>;

/// Reads `source` to its end on a thread of its own.
pub(crate) fn blocks(mut source: impl Read + Send + 'static) -> Result<Blocks, Failure> {
    let (sender, receiver) = mpsc::sync_channel(BLOCKS_MAX);
    let read = move || {
        loop {
            let mut block = vec![0; BLOCK_LEN];
            let sent = match source.read(&mut block) {
                Ok(0) => return,
                Ok(len) => {
                    block.truncate(len);
                    sender.send(Ok(block))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => sender.send(Err(error)),
            };
            if sent.is_err() {
                // Nobody wants more.
                return;
            }
        }
    };
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(read)
        .map_err(|error| Failure::io("start a thread", error))?;
    Ok(receiver)
}

/// Lines that wait to be appended, and the one that has not ended yet.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Whole lines with their terminators, then the beginning of the next.
    bytes: Vec<u8>,
    /// Where each whole line ends, without its terminator.
    ends: Vec<usize>,
    /// Lines of a full batch.
    batch_max: usize,
}

impl Lines {
    /// Room for batches of `batch_max` lines.
    pub(crate) fn new(batch_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            batch_max,
        }
    }

    /// Takes what fits from the front of `block` and returns the rest; it fits
    /// as long as the batch is not full.
    pub(crate) fn take<'a>(&mut self, block: &'a [u8]) -> &'a [u8] {
        let mut rest = block;
        while !self.is_full() && !rest.is_empty() {
            let newline = rest.iter().position(|byte| *byte == b'\n');
            let (line, after) = rest.split_at(newline.map_or(rest.len(), |at| at + 1));
            self.bytes.extend_from_slice(line);
            if newline.is_some() {
                self.ends.push(self.bytes.len() - 1);
            }
            rest = after;
        }
        rest
    }

    /// Ends the last line, if the input did not.
    pub(crate) fn finish(&mut self) {
        if self.unfinished_len() > 0 {
            self.ends.push(self.bytes.len());
        }
    }

    /// Whole lines that wait.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if the batch should be appended without waiting for more.
    pub(crate) fn is_full(&self) -> bool {
        self.ends.len() >= self.batch_max
            || (!self.ends.is_empty() && self.bytes.len() >= BATCH_BYTES_MAX)
    }

    /// Bytes of the line that has not ended yet.
    pub(crate) fn unfinished_len(&self) -> usize {
        self.bytes.len().saturating_sub(self.whole_len())
    }

    /// The whole lines, without their terminators.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        let ranges = starts.zip(&self.ends);
        ranges.map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }

    /// Keeps the first `lines` whole lines; the input cannot go on behind them.
    pub(crate) fn truncate(&mut self, lines: usize) {
        self.ends.truncate(lines);
        self.bytes.truncate(self.whole_len());
    }

    /// Forgets the whole lines: they were appended.
    pub(crate) fn clear(&mut self) {
        let len = self.whole_len().min(self.bytes.len());
        self.bytes.drain(..len);
        self.ends.clear();
    }

    /// Bytes of the whole lines with their terminators; the last line of an
    /// input may lack its own.
    fn whole_len(&self) -> usize {
        self.ends.last().map_or(0, |end| end + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(input: &[u8], lines_max: usize, block: usize) -> Vec<Vec<Vec<u8>>> {
        let mut lines = Lines::new(lines_max);
        let mut batches = Vec::new();
        let mut flush = |lines: &mut Lines| {
            if lines.len() > 0 {
                batches.push(lines.iter().map(<[u8]>::to_vec).collect());
                lines.clear();
            }
        };
        for mut block in input.chunks(block) {
            while !block.is_empty() {
                block = lines.take(block);
                if lines.is_full() {
                    flush(&mut lines);
                }
            }
        }
        lines.finish();
        flush(&mut lines);
        assert_eq!(lines.unfinished_len(), 0);
        batches
    }

    #[test]
    fn lines_are_what_stands_between_terminators_however_they_arrive() {
        let input = b"one\n\ntwo\r\n\xff\x00\n last";
        let expected: Vec<&[u8]> = vec![b"one", b"", b"two\r", b"\xff\x00", b" last"];
        for lines_max in 1..7 {
            for block in 1..=input.len() {
                let batches = batches(input, lines_max, block);
                assert!(batches.iter().all(|batch| batch.len() <= lines_max));
                let lines: Vec<_> = batches.concat();
                assert_eq!(lines, expected, "batches of {lines_max}, blocks of {block}");
            }
        }
    }

    #[test]
    fn a_terminator_at_the_end_starts_no_line() {
        assert_eq!(batches(b"a\n", 10, 1), [[b"a"]]);
        assert_eq!(batches(b"", 10, 1), Vec::<Vec<Vec<u8>>>::new());
        assert_eq!(batches(b"\n", 10, 1), [[b""]]);
    }

    #[test]
    fn a_batch_is_full_by_bytes_too_and_a_long_line_goes_alone() {
        let mut input = b"short\n".to_vec();
        input.resize(3 * BATCH_BYTES_MAX, b'x');
        input.extend_from_slice(b"\nshort\n");
        let batches = batches(&input, 1000, BLOCK_LEN);
        let lens: Vec<Vec<usize>> = batches
            .iter()
            .map(|batch| batch.iter().map(Vec::len).collect())
            .collect();
        let long = 3 * BATCH_BYTES_MAX - 6;
        assert_eq!(lens, [vec![5], vec![long], vec![5]]);
    }

    #[test]
    fn the_first_lines_are_kept_and_nothing_behind_them() {
        for kept in 0..=3 {
            let mut lines = Lines::new(10);
            lines.take(b"one\ntwo\nthree\nhalf");
            lines.truncate(kept);
            let expected = [&b"one"[..], b"two", b"three"];
            assert!(lines.iter().eq(expected.into_iter().take(kept)), "{kept}");
            assert_eq!(lines.unfinished_len(), 0, "{kept}");
        }
    }

    #[test]
    fn blocks_end_with_the_input() {
        let blocks = blocks(io::Cursor::new(vec![7; BLOCK_LEN + 1])).unwrap();
        let lens: Vec<usize> = blocks.iter().map(|block| block.unwrap().len()).collect();
        assert_eq!(lens, [BLOCK_LEN, 1]);
    }
}
