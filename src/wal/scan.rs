//! Reading a file of the log frame by frame, and looking for evidence.

use super::group::padded;
use super::recover::{LiveFile, Replay, Torn};
use crate::error::{Error, ErrorKind, Result};
use crate::format::frame::{self, FRAME_HEADER_LEN, Found, FrameHeader, FrameKind};
use crate::format::{DecodeError, entry};
use crate::ids::{Lsn, to_u64, to_usize};
use crate::io::{Advice, BLOCK_LEN};

/// Bytes that are read at once.
const WINDOW_LEN: usize = 1 << 20;

/// Which part of a file to read.
pub(super) struct Walk {
    pub(super) from: Lsn,
    /// Where the next file takes over.
    pub(super) stop: Option<Lsn>,
}

/// Where the frames of a file end, and why.
#[derive(Debug)]
pub(super) struct WalkEnd {
    /// LSN after the last frame, or after its padding.
    pub(super) at: Lsn,
    pub(super) last_frame: Option<Lsn>,
    pub(super) frames: u64,
    /// The most that a frame said was durable.
    pub(super) durable: Lsn,
    /// True if the last frame is the mark of an orderly close.
    pub(super) closed: bool,
    /// What stands at the end, if it is neither zeros nor the end of the file.
    pub(super) bad: Option<DecodeError>,
}

impl WalkEnd {
    /// The torn tail after the end, if there is one. Bytes of an earlier
    /// generation after the end of a recycled file are none.
    pub(super) fn torn(&self, file: &LiveFile) -> Result<Option<Torn>> {
        if self.closed {
            return Ok(None);
        }
        let mut window = Window::new(file);
        let from = file.position(self.at);
        let mut torn_end = from;
        if let Some(header) = plausible(window.at(from, FRAME_HEADER_LEN)?, self.at) {
            torn_end = from + to_u64(header.len());
        } else if self.bad.is_some() && self.at != padded(self.at) {
            torn_end = file.position(padded(self.at));
        }
        for (position, header) in later_frames(file, self.at)? {
            torn_end = torn_end.max(position + to_u64(header.len()));
        }
        Ok((torn_end > from).then(|| Torn {
            file: file.path(),
            position: from,
            bytes: torn_end.min(file.len) - from,
        }))
    }
}

/// The header of a frame that was meant to be at `lsn`, whole or not.
fn plausible(bytes: &[u8], lsn: Lsn) -> Option<FrameHeader> {
    let header = FrameHeader::decode(bytes).ok()?;
    (header.lsn == lsn).then_some(header)
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

/// Gives the frames of `file` to `replay`, up to the first that is none.
pub(super) fn walk(file: &LiveFile, range: &Walk, replay: &mut dyn Replay) -> Result<WalkEnd> {
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
                take_frame(file, &header, payload, &mut end, replay)?;
                if end.closed {
                    break;
                }
            }
            // The padding of a group, or where nothing was ever written.
            Ok(Found::Zeros) if end.at < padded(end.at) => end.at = padded(end.at),
            Ok(Found::Zeros) => break,
            // Whole, and of a later version: neither torn nor damaged.
            Err(error @ DecodeError::Unsupported { .. }) => {
                return Err(Error::with_source(
                    ErrorKind::Unsupported,
                    format!("cannot read {} at byte {position}", file.path()),
                    error,
                ));
            }
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

fn take_frame(
    file: &LiveFile,
    header: &FrameHeader,
    payload: &[u8],
    end: &mut WalkEnd,
    replay: &mut dyn Replay,
) -> Result<()> {
    end.frames += 1;
    end.durable = end.durable.max(header.durable);
    if header.kind == FrameKind::Close {
        // The mark itself may lie in the page cache only: the log ends before
        // it, and goes on there.
        end.closed = true;
        return Ok(());
    }
    let after = header.lsn.saturating_add(to_u64(header.len()));
    // The checksum says that this is what was written: entries that do not
    // decode come from another version or a defect, never from the disk.
    let entries = entry::decode(payload).map_err(|error| {
        let kind = match error {
            DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        };
        let position = file.position(header.lsn);
        let attempt = format!(
            "cannot read the frame at byte {position} of {}",
            file.path()
        );
        Error::with_source(kind, attempt, error)
    })?;
    replay.commit(header.lsn, after, &entries)?;
    end.last_frame = Some(header.lsn);
    end.at = after;
    Ok(())
}

/// Valid frames of the same generation that start at a block after `at`.
fn later_frames(file: &LiveFile, at: Lsn) -> Result<Vec<(u64, FrameHeader)>> {
    let mut found = Vec::new();
    let mut window = Window::new(file);
    let mut position = file.position(padded(at));
    while position + to_u64(FRAME_HEADER_LEN) <= file.len {
        let bytes = window.at(position, FRAME_HEADER_LEN)?;
        // Most blocks end here: only one that says it is of this very place is
        // worth reading whole.
        if plausible(bytes, file.lsn(position)).is_some() {
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
