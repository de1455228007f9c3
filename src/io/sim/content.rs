//! The bytes of a file: shared pages, copied when they are written.
//!
//! Copies of a whole disk are made for every power cut that a test tries, so
//! a copy must cost a pointer, not the bytes.
//!
//! Invariant, between calls from outside: bytes of a page beyond the length
//! are zero, and there is no page beyond the length. (While a crash image is
//! put together pages may lie beyond it; `set_len` restores the rule.)

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::ids::{to_u64, to_usize};

/// Length of a page: what the kernel writes back in one piece.
pub(super) const PAGE_LEN: usize = 4096;

/// Length of a sector: what a disk writes whole or not at all.
pub(super) const SECTOR_LEN: usize = 512;

/// Sectors of a page.
pub(super) const SECTORS: usize = PAGE_LEN / SECTOR_LEN;

/// [`PAGE_LEN`] as a number of bytes in a file.
const PAGE: u64 = PAGE_LEN as u64;

/// One page.
pub(super) type Page = [u8; PAGE_LEN];

/// Bytes and length of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    /// `None` is a hole: reads as zeros and takes no space.
    pages: Arc<Vec<Option<Arc<Page>>>>,
    /// How many pages are not holes.
    allocated: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of disk space in use.
    pub(super) fn allocated_bytes(&self) -> u64 {
        self.allocated.saturating_mul(PAGE)
    }

    /// Page `index`, if it is not a hole.
    pub(super) fn page(&self, index: usize) -> Option<&Arc<Page>> {
        self.pages.get(index).and_then(Option::as_ref)
    }

    /// How many pages, holes among them, the content has.
    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Reads into `buf`; less than asked only at the end.
    pub(super) fn read(&self, buf: &mut [u8], position: u64) -> usize {
        let left = self.len.saturating_sub(position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let mut rest = buf.get_mut(..wanted).unwrap_or_default();
        let mut at = position;
        while !rest.is_empty() {
            let (index, range) = piece(at, rest.len());
            let (now, later) = rest.split_at_mut(range.len());
            match self.page(index).and_then(|page| page.get(range)) {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            at += to_u64(now.len());
            rest = later;
        }
        wanted
    }

    /// All bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; to_usize(self.len)];
        self.read(&mut bytes, 0);
        bytes
    }

    /// Writes `buf`, growing the length if need be.
    pub(super) fn write(&mut self, buf: &[u8], position: u64) {
        let mut rest = buf;
        let mut at = position;
        while !rest.is_empty() {
            let (index, range) = piece(at, rest.len());
            let (now, later) = rest.split_at(range.len());
            if now.len() == PAGE_LEN {
                self.put(index, fresh_page(now));
            } else {
                copy_into(self.page_mut(index), range.start, now);
            }
            at += to_u64(now.len());
            rest = later;
        }
        self.len = self.len.max(at);
    }

    /// Cuts or extends. Cut bytes do not come back when it is extended again.
    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        let keep = to_usize(len.div_ceil(PAGE));
        if self.pages.len() > keep {
            let dropped = self.pages.iter().skip(keep).flatten().count();
            self.allocated -= to_u64(dropped);
            Arc::make_mut(&mut self.pages).truncate(keep);
        }
        let tail = to_usize(len % PAGE);
        if tail > 0 && self.page(keep - 1).is_some_and(|page| !is_zero(page, tail)) {
            let page = self.page_mut(keep - 1);
            page.get_mut(tail..).unwrap_or_default().fill(0);
        }
    }

    /// Gives every hole below `len` a page of zeros; grows the length.
    pub(super) fn allocate(&mut self, len: u64) {
        for index in 0..to_usize(len.div_ceil(PAGE)) {
            if self.page(index).is_none() {
                self.put(index, zero_page());
            }
        }
        self.len = self.len.max(len);
    }

    /// How many pages a write to `range` would have to allocate.
    pub(super) fn holes(&self, range: Range<u64>) -> u64 {
        let pages = to_usize(range.start / PAGE)..to_usize(range.end.div_ceil(PAGE));
        to_u64(pages.filter(|&index| self.page(index).is_none()).count())
    }

    /// Takes over the bytes in `sectors` of a page, whatever the length is.
    pub(super) fn put_sectors(&mut self, index: usize, sectors: &Range<usize>, page: &Arc<Page>) {
        if *sectors == (0..SECTORS) {
            self.put(index, Arc::clone(page));
            return;
        }
        let bytes = sectors.start * SECTOR_LEN..sectors.end * SECTOR_LEN;
        if let Some(from) = page.get(bytes.clone()) {
            copy_into(self.page_mut(index), bytes.start, from);
        }
    }

    /// Turns bit `bit` of byte `position` over, if that byte is there.
    pub(super) fn flip_bit(&mut self, position: u64, bit: u8) {
        if position < self.len {
            let (index, range) = piece(position, 1);
            if let Some(byte) = self.page_mut(index).get_mut(range.start) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Replaces page `index`, filling up with holes before it.
    fn put(&mut self, index: usize, page: Arc<Page>) {
        let pages = Arc::make_mut(&mut self.pages);
        if pages.len() <= index {
            pages.resize(index + 1, None);
        }
        if let Some(slot) = pages.get_mut(index)
            && slot.replace(page).is_none()
        {
            self.allocated += 1;
        }
    }

    /// Page `index` for writing; a hole becomes a page.
    fn page_mut(&mut self, index: usize) -> &mut Page {
        if self.page(index).is_none() {
            self.put(index, zero_page());
        }
        let slot = Arc::make_mut(&mut self.pages).get_mut(index);
        let page = slot.and_then(Option::as_mut).expect("put just above");
        Arc::make_mut(page)
    }
}

/// The page that `position` is in, and the bytes of it that the first of
/// `left` bytes from there on take.
pub(super) fn piece(position: u64, left: usize) -> (usize, Range<usize>) {
    let start = to_usize(position % PAGE);
    let end = start.saturating_add(left).min(PAGE_LEN);
    (to_usize(position / PAGE), start..end)
}

fn copy_into(page: &mut Page, start: usize, from: &[u8]) {
    page.get_mut(start..start + from.len())
        .expect("a piece lies in its page")
        .copy_from_slice(from);
}

/// True if the page is zero from `start` on.
fn is_zero(page: &Page, start: usize) -> bool {
    page.get(start..)
        .unwrap_or_default()
        .iter()
        .all(|&byte| byte == 0)
}

/// A page with these bytes. Pages of zeros are shared: pre-written logs are
/// made of nothing else.
fn fresh_page(bytes: &[u8]) -> Arc<Page> {
    let page: Page = bytes.try_into().expect("a whole page was split off");
    if is_zero(&page, 0) {
        return zero_page();
    }
    Arc::new(page)
}

/// The page of zeros.
pub(super) fn zero_page() -> Arc<Page> {
    static ZERO: OnceLock<Arc<Page>> = OnceLock::new();
    Arc::clone(ZERO.get_or_init(|| Arc::new([0; PAGE_LEN])))
}
