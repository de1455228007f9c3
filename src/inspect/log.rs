//! The files of the write-ahead log, read by the rules of docs/format.md
//! sections 6 and 7: what a file is, where its frames end, and what says that
//! bytes beyond were durable.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::store::{Store, list, parse_name};
use crate::error::{Error, Result};
use crate::format::DecodeError;
use crate::format::checksum::Seed;
use crate::format::frame::{self, FRAME_HEADER_LEN, Found, FrameHeader, FrameKind};
use crate::format::walfile::{WalBlock, WalHeader};
use crate::ids::{Lsn, StoreId, to_u64, to_usize};
use crate::io::{Advice, BLOCK_LEN, File, OpenMode};

/// Bytes that are read at once.
const WINDOW_LEN: usize = 1 << 20;

const BLOCK: u64 = 4096;
const _: () = assert!(BLOCK_LEN == 4096);

/// A file of the log.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    pub(super) path: String,
    /// What its name says.
    pub(super) sequence: u64,
    pub(super) role: Role,
    pub(super) len: u64,
    file: Arc<dyn File>,
    seed: Seed,
}

/// What the first block of a file makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Part of the log: its first LSN, and its size in blocks.
    Live(Lsn, u32),
    /// Prepared or recycled, not used yet.
    Spare,
    /// Neither: a first write that was torn, or damage.
    Headless(String),
}

/// Where the frames of a file end, and why.
#[derive(Debug)]
pub(super) struct End {
    /// LSN after the last frame, or after its padding.
    pub(super) at: Lsn,
    /// The most that a frame said was durable.
    pub(super) durable: Lsn,
    /// True if the last frame is the mark of an orderly close.
    pub(super) closed: bool,
    /// What is wrong there, if it is neither zeros nor the end of the file.
    pub(super) bad: Option<DecodeError>,
    /// True if the visitor has seen enough.
    pub(super) stopped: bool,
    last_frame: Option<Lsn>,
}

/// What the bytes after the end of the frames are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct After {
    /// All below was durable, by a later frame of this generation.
    pub(super) durable: Lsn,
    /// Bytes of frames that are no part of the log. What is left of an earlier
    /// use of the file is none of them.
    pub(super) torn_bytes: u64,
}

/// Takes the frames of a file, with the byte at which each starts.
pub(super) type Visit<'a> = &'a mut dyn FnMut(u64, &FrameHeader, &[u8]) -> ControlFlow<()>;

/// The next multiple of the block length.
pub(super) fn padded(lsn: Lsn) -> Lsn {
    Lsn::new(
        lsn.get()
            .checked_next_multiple_of(BLOCK)
            .unwrap_or(u64::MAX),
    )
}

/// The byte at which `lsn` lies in a file whose first LSN is `base`.
pub(super) fn position(base: Lsn, lsn: Lsn) -> u64 {
    BLOCK.saturating_add(lsn.since(base))
}

/// All files of the log, oldest first, and notes about other files.
pub(super) fn files(store: &Store, notes: &mut Vec<String>) -> Result<Vec<LogFile>> {
    let Some(dir) = store.dir("wal")? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for (name, _) in list(&*dir, "wal")? {
        let path = format!("wal/{name}");
        let Some(sequence) = parse_name(&name, ".wal") else {
            notes.push(format!("{path} is no file of the log"));
            continue;
        };
        let failed = |error| Error::io(format!("read {path}"), error);
        let file = dir.open(&name, OpenMode::Read).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let mut block = vec![0; to_usize(len.min(BLOCK))];
        file.read_exact_at(&mut block, 0).map_err(failed)?;
        files.push(LogFile {
            role: role(&block, store.id, sequence),
            path,
            sequence,
            len,
            file,
            seed: Seed::wal(store.id, sequence),
        });
    }
    Ok(files)
}

fn role(block: &[u8], store: StoreId, sequence: u64) -> Role {
    match WalHeader::decode(block) {
        Ok(WalBlock::Zeros) => Role::Spare,
        Ok(WalBlock::Header(header)) if header.store != store => {
            Role::Headless(format!("the header is of store {}", header.store))
        }
        Ok(WalBlock::Header(header)) if header.sequence == sequence => {
            Role::Live(header.base, header.blocks)
        }
        Ok(WalBlock::Header(header)) if header.sequence < sequence => Role::Spare,
        Ok(WalBlock::Header(header)) => Role::Headless(format!(
            "the header is of the later file {}",
            header.sequence
        )),
        Err(error) => Role::Headless(error.to_string()),
    }
}

impl LogFile {
    /// Bytes that a live file was made with.
    pub(super) fn whole(&self) -> u64 {
        match self.role {
            Role::Live(_, blocks) => u64::from(blocks) * BLOCK,
            Role::Spare | Role::Headless(_) => 0,
        }
    }

    /// First LSN of a live file.
    pub(super) fn base(&self) -> Option<Lsn> {
        match self.role {
            Role::Live(base, _) => Some(base),
            Role::Spare | Role::Headless(_) => None,
        }
    }

    /// Shows `visit` the frames from `from` to `stop`, where the next file
    /// takes over; ends at the first place that has none.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) fn walk(&self, from: Lsn, stop: Option<Lsn>, visit: Visit<'_>) -> Result<End> {
        let base = self.base().unwrap_or(from);
        self.file.advise(0, self.len, Advice::Sequential);
        let mut window = Window::new(self);
        let mut end = End {
            at: from,
            durable: Lsn::ZERO,
            closed: false,
            bad: None,
            stopped: false,
            last_frame: None,
        };
        while stop.is_none_or(|stop| end.at < stop) {
            let position = position(base, end.at);
            let bytes = window.frame(position)?;
            let in_block = to_usize(padded(end.at).since(end.at));
            match frame::split_next(bytes, in_block, self.seed) {
                Ok(Found::Frame(header, payload)) => {
                    if let Err(error) = chained(&header, &end) {
                        end.bad = Some(error);
                        break;
                    }
                    let flow = visit(position, &header, payload);
                    end.take(&header);
                    end.stopped = flow.is_break();
                    if end.stopped || end.closed {
                        break;
                    }
                }
                // The padding of a group, or where nothing was ever written.
                Ok(Found::Zeros) if in_block > 0 => end.at = padded(end.at),
                Ok(Found::Zeros) => break,
                Err(error) => {
                    end.bad = Some(error);
                    break;
                }
            }
        }
        Ok(end)
    }

    /// What frames of this generation there are after `end`.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) fn after(&self, end: &End) -> Result<After> {
        let mut after = After::default();
        let Some(base) = self.base().filter(|_| !end.closed) else {
            return Ok(after);
        };
        let mut window = Window::new(self);
        let from = position(base, end.at);
        let mut torn_end = from;
        if let Some(len) = claims(window.at(from, FRAME_HEADER_LEN)?, base, end.at) {
            torn_end = from + to_u64(len);
        } else if end.bad.is_some() && end.at != padded(end.at) {
            // The rest of a block that this generation began to write.
            torn_end = position(base, padded(end.at));
        }
        let mut lsn = padded(end.at);
        loop {
            let position = position(base, lsn);
            if position.saturating_add(to_u64(FRAME_HEADER_LEN)) > self.len {
                break;
            }
            // Most blocks end here: only one that says it is of this very
            // place is worth reading whole.
            if claims(window.at(position, FRAME_HEADER_LEN)?, base, lsn).is_some()
                && let Ok(Found::Frame(header, _)) =
                    frame::split_first(window.frame(position)?, self.seed)
            {
                after.durable = after.durable.max(header.durable);
                torn_end = torn_end.max(position + to_u64(header.len()));
            }
            let Some(next) = lsn.checked_add(BLOCK) else {
                break;
            };
            lsn = next;
        }
        after.torn_bytes = torn_end.min(self.len).saturating_sub(from);
        Ok(after)
    }

    /// The most that frames at the front of a file without a header say was
    /// durable. They have this generation only if the file was in use.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(super) fn durable_without_header(&self) -> Result<Lsn> {
        let mut window = Window::new(self);
        let mut durable = Lsn::ZERO;
        let mut position = BLOCK;
        while position + to_u64(FRAME_HEADER_LEN) <= self.len {
            let bytes = window.frame(position)?;
            let Ok(Found::Frame(header, _)) = frame::split_first(bytes, self.seed) else {
                break;
            };
            durable = durable.max(header.durable);
            position = (position + to_u64(header.len())).next_multiple_of(BLOCK);
        }
        Ok(durable)
    }
}

impl End {
    fn take(&mut self, header: &FrameHeader) {
        self.at = header.lsn.saturating_add(to_u64(header.len()));
        self.last_frame = Some(header.lsn);
        self.durable = self.durable.max(header.durable);
        self.closed = header.kind == FrameKind::Close;
    }
}

/// Whether a valid frame is the one that follows.
fn chained(header: &FrameHeader, end: &End) -> Result<(), DecodeError> {
    let wrong = |what, found, expected| {
        Err(DecodeError::Value {
            what,
            found,
            expected,
        })
    };
    if header.lsn != end.at {
        return wrong("frame lsn", header.lsn.get(), "the lsn of its place");
    }
    // The first frame that is read has its predecessor elsewhere.
    let distance = end.last_frame.map(|last| header.lsn.since(last));
    let previous = u64::from(header.previous);
    if distance.is_some_and(|distance| distance != previous) {
        let expected = "the frame before it: a group is missing in between";
        return wrong("distance to the previous frame", previous, expected);
    }
    Ok(())
}

/// How long a frame was meant to be that a write of this life of the file began
/// at `lsn`, whole or not; `None` for what an earlier life left, and for zeros.
///
/// LSNs never start again, so that frames of an earlier life lie below `base`.
fn claims(bytes: &[u8], base: Lsn, lsn: Lsn) -> Option<usize> {
    let front = bytes.get(..FRAME_HEADER_LEN)?;
    if front.iter().all(|byte| *byte == 0) {
        return None;
    }
    if let Ok(header) = FrameHeader::decode(front) {
        return (header.lsn >= base).then(|| header.len());
    }
    let own = front.get(8..)?.first_chunk::<8>()?;
    (u64::from_le_bytes(*own) == lsn.get()).then_some(FRAME_HEADER_LEN)
}

/// A file, read through a window that moves forward.
struct Window<'a> {
    file: &'a LogFile,
    bytes: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a LogFile) -> Self {
        Self {
            file,
            bytes: Vec::new(),
            start: 0,
        }
    }

    /// At least `len` bytes from `position`, or all there are.
    fn at(&mut self, position: u64, len: usize) -> Result<&[u8]> {
        let left = to_usize(self.file.len.saturating_sub(position));
        let len = len.min(left);
        let held = position
            .checked_sub(self.start)
            .map(to_usize)
            .filter(|at| self.bytes.len() >= at.saturating_add(len));
        if let Some(at) = held {
            return Ok(self.bytes.get(at..).unwrap_or_default());
        }
        self.bytes.resize(len.max(WINDOW_LEN).min(left), 0);
        let result = self.file.file.read_exact_at(&mut self.bytes, position);
        if let Err(error) = result {
            self.bytes.clear();
            let path = &self.file.path;
            return Err(Error::io(format!("read {path} at byte {position}"), error));
        }
        self.start = position;
        Ok(&self.bytes)
    }

    /// The bytes at `position`, at least as many as the frame there takes.
    fn frame(&mut self, position: u64) -> Result<&[u8]> {
        let bytes = self.at(position, FRAME_HEADER_LEN)?;
        // Bounded by FRAME_PAYLOAD_LEN_MAX: the decoder checked it.
        let needed = FrameHeader::decode(bytes).map_or(FRAME_HEADER_LEN, |header| header.len());
        self.at(position, needed)
    }
}
