//! Reading a file of the log frame by frame, and looking for evidence.
//!
//! The one reading there is: opening and `inspect` both go by it.

use std::ops::ControlFlow;

use super::group::padded;
use super::listing::LiveFile;
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::frame::{self, FRAME_HEADER_LEN, Found, FrameHeader, FrameKind};
use crate::ids::{Lsn, to_u64, to_usize};
use crate::io::{Advice, BLOCK_LEN};

/// Bytes that are read at once.
const WINDOW_LEN: usize = 1 << 20;

/// Which part of a file to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub(crate) from: Lsn,
    /// Where the next file takes over.
    pub(crate) stop: Option<Lsn>,
}

/// Takes the frames of a file, in order; breaks when it has seen enough.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&FrameHeader, &[u8]) -> Result<ControlFlow<()>>;

/// A tail that is no part of the log and is cut.
#[derive(Clone, Debug)]
pub(crate) struct Torn {
    pub(crate) file: String,
    pub(crate) position: u64,
    pub(crate) lsn: Lsn,
    pub(crate) bytes: u64,
}

/// Where the frames of a file end, and why.
#[derive(Debug)]
pub(crate) struct WalkEnd {
    /// LSN after the last frame, or after its padding.
    pub(crate) at: Lsn,
    pub(super) last_frame: Option<Lsn>,
    pub(crate) frames: u64,
    /// The most that a frame said was durable.
    pub(crate) durable: Lsn,
    /// True if the last frame is the mark of an orderly close.
    pub(crate) closed: bool,
    /// What stands at the end, if it is neither zeros nor the end of the file.
    pub(crate) bad: Option<DecodeError>,
}

impl WalkEnd {
    fn take(&mut self, header: &FrameHeader) {
        self.frames += 1;
        self.durable = self.durable.max(header.durable);
        if header.kind == FrameKind::Close {
            // The mark itself may lie in the page cache only: the log ends
            // before it, and goes on there.
            self.closed = true;
            return;
        }
        self.last_frame = Some(header.lsn);
        self.at = header.lsn.saturating_add(to_u64(header.len()));
    }

    /// Refuses a file that ends in a frame that is whole, and of a later
    /// version: that is neither torn nor damaged.
    ///
    /// # Errors
    ///
    /// `Unsupported`.
    pub(super) fn check_version(&self, file: &LiveFile) -> Result<()> {
        match &self.bad {
            Some(error @ DecodeError::Unsupported { .. }) => {
                let position = file.position(self.at);
                let attempt = format!("cannot read {} at byte {position}", file.path());
                let error = error.clone();
                Err(Error::with_source(ErrorKind::Unsupported, attempt, error))
            }
            _ => Ok(()),
        }
    }

    /// The torn tail after the end, if there is one. Bytes of an earlier
    /// generation after the end of a recycled file are none.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn torn(&self, file: &LiveFile) -> Result<Option<Torn>> {
        if self.closed {
            return Ok(None);
        }
        let mut window = Window::new(file);
        let from = file.position(self.at);
        let mut torn_end = from;
        if let Some(len) = claims(window.at(from, FRAME_HEADER_LEN)?, file, self.at) {
            torn_end = from.saturating_add(to_u64(len));
        } else if self.bad.is_some() && self.at != padded(self.at) {
            torn_end = file.position(padded(self.at));
        }
        for (position, header) in later_frames(file, self.at)? {
            torn_end = torn_end.max(position + to_u64(header.len()));
        }
        Ok((torn_end > from).then(|| Torn {
            file: file.path(),
            position: from,
            lsn: self.at,
            bytes: torn_end.min(file.len) - from,
        }))
    }
}

/// How long a frame was meant to be that a write of this life of the file began
/// at `lsn`, whole or not; `None` for zeros, and for what an earlier life left.
///
/// LSNs never start again, so frames of an earlier life are below the base.
fn claims(bytes: &[u8], file: &LiveFile, lsn: Lsn) -> Option<usize> {
    let front = bytes.get(..FRAME_HEADER_LEN)?;
    if front.iter().all(|byte| *byte == 0) {
        return None;
    }
    if let Ok(header) = FrameHeader::decode(front) {
        return (header.lsn >= file.header.base).then(|| header.len());
    }
    let own = front.get(8..)?.first_chunk::<8>()?;
    (u64::from_le_bytes(*own) == lsn.get()).then_some(FRAME_HEADER_LEN)
}

/// A file, read through a window that moves forward.
struct Window<'a> {
    file: &'a LiveFile,
    buf: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    fn new(file: &'a LiveFile) -> Self {
        Self {
            file,
            buf: Vec::new(),
            start: 0,
        }
    }

    /// At least `len` bytes from `position`, or all there are.
    fn at(&mut self, position: u64, len: usize) -> Result<&[u8]> {
        let left = to_usize(self.file.len.saturating_sub(position));
        let len = len.min(left);
        let offset = to_usize(position.saturating_sub(self.start));
        let held = position >= self.start && self.buf.len() >= offset + len;
        if !held {
            self.buf.resize(len.max(WINDOW_LEN).min(left), 0);
            let read = self.file.file.read_exact_at(&mut self.buf, position);
            read.map_err(|error| {
                Error::io(
                    format!("read {} at byte {position}", self.file.path()),
                    error,
                )
            })?;
            self.start = position;
            return Ok(&self.buf);
        }
        Ok(self.buf.get(offset..).unwrap_or_default())
    }
}

/// Shows `visit` the frames of `file`, up to the first that is none.
///
/// # Errors
///
/// The operating system's; what `visit` says.
pub(crate) fn walk(file: &LiveFile, range: Walk, visit: Visit<'_>) -> Result<WalkEnd> {
    file.file.advise(0, file.len, Advice::Sequential);
    let mut window = Window::new(file);
    let mut end = WalkEnd {
        at: range.from,
        last_frame: None,
        frames: 0,
        durable: Lsn::ZERO,
        closed: false,
        bad: None,
    };
    while range.stop.is_none_or(|stop| end.at < stop) {
        let position = file.position(end.at);
        let bytes = whole_frame(&mut window, position)?;
        let in_block = BLOCK_LEN - to_usize(position % to_u64(BLOCK_LEN));
        match frame::split_next(bytes, in_block, file.seed) {
            Ok(Found::Frame(header, payload)) => {
                if let Err(error) = in_chain(&header, &end) {
                    end.bad = Some(error);
                    break;
                }
                let flow = visit(&header, payload)?;
                end.take(&header);
                if flow.is_break() || end.closed {
                    break;
                }
            }
            // The padding of a group, or where nothing was ever written.
            Ok(Found::Zeros) if end.at < padded(end.at) => end.at = padded(end.at),
            Ok(Found::Zeros) => break,
            Err(error) => {
                end.bad = Some(error);
                break;
            }
        }
    }
    Ok(end)
}

/// The bytes at `position`, as many as the frame there takes.
fn whole_frame<'w>(window: &'w mut Window<'_>, position: u64) -> Result<&'w [u8]> {
    let bytes = window.at(position, FRAME_HEADER_LEN)?;
    let needed = frame::claimed_len(bytes).unwrap_or(FRAME_HEADER_LEN);
    window.at(position, needed)
}

fn in_chain(header: &FrameHeader, end: &WalkEnd) -> Result<(), DecodeError> {
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
    if distance.is_some_and(|distance| distance != u64::from(header.previous)) {
        return wrong(
            "distance to the previous frame",
            u64::from(header.previous),
            "the frame before it: a group is missing in between",
        );
    }
    Ok(())
}

/// Valid frames of the same generation that start at a block after `at`.
fn later_frames(file: &LiveFile, at: Lsn) -> Result<Vec<(u64, FrameHeader)>> {
    let mut found = Vec::new();
    let mut window = Window::new(file);
    let mut position = file.position(padded(at));
    while position + to_u64(FRAME_HEADER_LEN) <= file.len {
        let bytes = window.at(position, FRAME_HEADER_LEN)?;
        // Most blocks end here: only one that says it is of this life of the
        // file is worth reading whole.
        if claims(bytes, file, file.lsn(position)).is_some() {
            let bytes = whole_frame(&mut window, position)?;
            if let Ok(Found::Frame(header, _)) = frame::split_first(bytes, file.seed) {
                found.push((position, header));
            }
        }
        position += to_u64(BLOCK_LEN);
    }
    Ok(found)
}

/// The most that valid frames after `at` say was durable.
pub(super) fn evidence_after(file: &LiveFile, at: Lsn) -> Result<Lsn> {
    let frames = later_frames(file, at)?;
    let durable = frames.iter().map(|(_, header)| header.durable);
    Ok(durable.max().unwrap_or(Lsn::ZERO))
}

/// The same for a file that has no header: its base is not known, but a frame
/// says its own LSN. Only a file whose first blocks hold a frame of this
/// generation is read further.
pub(super) fn evidence_at_start(file: &LiveFile) -> Result<Lsn> {
    let mut window = Window::new(file);
    let mut evidence = Lsn::ZERO;
    let mut position = to_u64(BLOCK_LEN);
    while position + to_u64(FRAME_HEADER_LEN) <= file.len {
        let bytes = whole_frame(&mut window, position)?;
        let Ok(Found::Frame(header, _)) = frame::split_first(bytes, file.seed) else {
            break;
        };
        evidence = evidence.max(header.durable);
        position = (position + to_u64(header.len())).next_multiple_of(to_u64(BLOCK_LEN));
    }
    Ok(evidence)
}
