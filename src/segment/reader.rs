//! Reading a segment: sealed, or as much of the active one as is synced.
//!
//! What is returned is what was appended or an error: every batch is checked
//! each time it is read, whether it came from a map or a `pread`. An index
//! decides only where reading starts, never what is returned.

use std::io;

use bytes::{Bytes, BytesMut};

use super::index::{self, SealedIndex};
use super::rebuild::{self, Rebuilt};
use super::scan::{ALL, Extent, PIECE_LEN_MAX, Scan, Source};
use super::writer::{check_length, open_log};
use super::{Place, SegmentEnv, SegmentMeta, decode_error, index_name, read_exact};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Batch;
use crate::format::segment::{SEGMENT_FOOTER_LEN, SegmentFooter};
use crate::ids::{Offset, Timestamp, to_u64, to_usize};
use crate::io::{File, OpenMode};
use crate::options::ReadMode;

/// How much a read collects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) bytes: usize,
    /// Counted by offsets. What is beyond would be checked in vain, and once
    /// more when it is asked for.
    pub(crate) records: u64,
}

/// A segment that is open for reading. Any number of threads may share it.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    env: SegmentEnv,
    meta: SegmentMeta,
    pub(super) source: Source,
    /// `None` for the active segment, whose index the writer has.
    index: Option<SealedIndex>,
    notes: Vec<String>,
}

impl SegmentReader {
    /// Opens the segment that `meta` describes.
    ///
    /// A sealed one is mapped if `mode` says so and the back end can, and its
    /// index is checked; one that is missing or damaged is built again from
    /// the log, saved if the environment is writable, and noted. The active
    /// one is read with `pread`, through a handle that sees it grow.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the file is missing, too short, or not the one that `meta`
    /// describes; `Unsupported` if another version wrote it.
    pub(crate) fn open(env: SegmentEnv, meta: &SegmentMeta, mode: ReadMode) -> Result<Self> {
        let log = open_log(&env, meta, OpenMode::Read)?;
        let len = check_length(&env, meta, &*log)?;
        env.check_header(&*log, meta.base)?;
        let mut reader = Self {
            source: Source::File(log.clone()),
            env,
            meta: *meta,
            index: None,
            notes: Vec::new(),
        };
        if meta.sealed.is_none() {
            return Ok(reader);
        }
        let whole = meta.bytes.saturating_add(to_u64(SEGMENT_FOOTER_LEN));
        reader.check_footer(&*log)?;
        if len > whole {
            let name = reader.name();
            reader.notes.push(format!(
                "{name}: {} bytes after the footer are ignored",
                len - whole
            ));
        }
        if mode == ReadMode::Map
            && let Some(map) = reader.map(&*log, whole)?
        {
            reader.source = Source::Map(map);
        }
        reader.load_index(mode)?;
        Ok(reader)
    }

    fn name(&self) -> String {
        self.env.segment(self.meta.base)
    }

    fn check_footer(&self, log: &dyn File) -> Result<()> {
        let name = self.name();
        let SegmentMeta {
            base,
            bytes: at,
            end,
            records,
            ..
        } = self.meta;
        let mut bytes = [0; SEGMENT_FOOTER_LEN];
        read_exact(log, &mut bytes, at, &name)?;
        let footer = SegmentFooter::decode(&bytes, self.env.seed()).map_err(|error| {
            let place = format!("{name} at byte {at} (footer of offsets {base} to {end})");
            decode_error(place, error)
        })?;
        if (footer.data_end.get(), footer.end, footer.records) == (at, end, records) {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "{name} at byte {at}: the footer says {} records up to offset {}, batches up to \
             byte {}; expected {records} up to {end}, and byte {at}",
            footer.records, footer.end, footer.data_end
        )))
    }

    fn map(&self, log: &dyn File, len: u64) -> Result<Option<Bytes>> {
        let map = log.map(len).map_err(|error| {
            let name = self.name();
            if error.kind() == io::ErrorKind::UnexpectedEof {
                return Error::corrupt(format!("{name} ends before byte {len}"));
            }
            Error::io(format!("map {name}"), error)
        })?;
        Ok(map.filter(|map| to_u64(map.len()) == len))
    }

    /// Opens the index, or builds it again.
    fn load_index(&mut self, mode: ReadMode) -> Result<()> {
        let path = self.env.path(&index_name(self.meta.base));
        let why = match self.open_index(mode) {
            Ok(index) if !self.missing_entries(&index) => {
                self.index = Some(index);
                return Ok(());
            }
            Ok(_) => "its last entries are missing".to_owned(),
            Err(why) => why,
        };
        let extent = Extent::of(&self.meta);
        let built = Rebuilt::scan(&self.env, &self.source, extent, &[]);
        let index = SealedIndex::build(&built.entries, self.meta.base, self.env.seed());
        let outcome = match built.damage {
            // Reads up to the damage work, the others name it. Nothing is
            // saved: the log may yet be restored, with the index it had.
            Some(error) if error.kind() == ErrorKind::Corrupt => {
                format!("built again up to where the log is damaged ({error})")
            }
            Some(error) => return Err(error),
            None if !self.env.writable => "built again, in memory".to_owned(),
            None => match rebuild::save(&self.env, self.meta.base, &index) {
                Ok(()) => "built again".to_owned(),
                Err(error) => format!("built again, in memory ({error})"),
            },
        };
        self.notes.push(format!("index {path}: {why}; {outcome}"));
        self.index = Some(index);
        Ok(())
    }

    /// The index as it is on disk.
    ///
    /// # Errors
    ///
    /// Why it is of no use, in words.
    fn open_index(&self, mode: ReadMode) -> Result<SealedIndex, String> {
        let SegmentMeta {
            base,
            bytes: data_end,
            end,
            ..
        } = self.meta;
        let read = || {
            let file = self.env.dir.open(&index_name(base), OpenMode::Read)?;
            let len = file.len()?;
            let max = index::file_len_max(data_end);
            if len > max {
                let why = format!("it has {len} bytes, expected at most {max}");
                return Err(io::Error::other(why));
            }
            if mode == ReadMode::Map
                && let Some(map) = file.map(len)?
            {
                return Ok(map);
            }
            let mut bytes = BytesMut::zeroed(to_usize(len));
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes.freeze())
        };
        let bytes = read().map_err(|error| error.to_string())?;
        SealedIndex::new(bytes, base, self.env.seed(), data_end, end)
    }

    /// True if a batch that should have an entry has none.
    ///
    /// An index that lost whole entries at its end checks out, so this looks
    /// for a batch that the last entry should not be for. Which interval the
    /// writer kept is not known; it is no longer than the shortest step.
    fn missing_entries(&self, index: &SealedIndex) -> bool {
        let Some(tail) = index.tail() else {
            return self.meta.records > 0;
        };
        let step = tail
            .step
            .unwrap_or(u64::from(self.env.index_interval_bytes).max(1));
        let last = tail.last.position.get();
        let extent = Extent::of(&self.meta);
        let mut scan = Scan::new(&self.env, &self.source, extent, tail.last, 0);
        loop {
            match scan.next_raw() {
                Ok(Some((at, ..))) if at.get().saturating_sub(last) >= step => return true,
                Ok(Some(_)) => {}
                // Damage of the log is for those to hear who read there.
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// What was found and mended at opening, in words.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is in the segment, as it was opened.
    pub(crate) fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// The last batch known to the index that does not start after `offset`;
    /// the first batch for the active segment.
    pub(crate) fn position_of(&self, offset: Offset) -> Place {
        let start = Place::start(self.meta.base);
        self.index
            .as_ref()
            .map_or(start, |index| index.floor(offset))
    }

    /// Appends to `out` the batch that holds `from` (or the next one, where a
    /// gap is) and those after it, until as much as `most` was collected or the
    /// data ends at `data_end`. At least one batch, if there is any.
    ///
    /// `data_end` and `end` belong together: [`SegmentMeta::bytes`] and
    /// [`SegmentMeta::end`] at one time.
    ///
    /// # Errors
    ///
    /// `Corrupt`, naming file, byte and offset; batches before that place are
    /// in `out` then.
    pub(crate) fn read(
        &self,
        from: Offset,
        data_end: u64,
        end: Offset,
        most: Most,
        out: &mut Vec<Batch>,
    ) -> Result<()> {
        let place = self.position_of(from);
        self.read_at(place, from, data_end, end, most, out)
    }

    /// The same, starting from a place that an index gave.
    pub(crate) fn read_at(
        &self,
        place: Place,
        from: Offset,
        data_end: u64,
        end: Offset,
        most: Most,
        out: &mut Vec<Batch>,
    ) -> Result<()> {
        let wanted = self.expected(most);
        if wanted >= PIECE_LEN_MAX {
            let len = to_u64(wanted).saturating_add(place.position.get());
            self.source.advise(place.position.get(), len.min(data_end));
        }
        let (mut bytes, mut records) = (0, 0_u64);
        self.walk(place, data_end, end, wanted, |batch| {
            if batch.end_offset() <= from {
                return Ok(true);
            }
            bytes += batch.raw().len();
            let first = batch.first_offset().max(from);
            records = records.saturating_add(batch.end_offset().since(first));
            out.push(batch);
            Ok(bytes < most.bytes && records < most.records)
        })
    }

    /// How many bytes a read is likely to need: not more than it collects,
    /// and not more than so many records take, if they are like the others of
    /// the segment.
    fn expected(&self, most: Most) -> usize {
        let record = self.meta.bytes.div_ceil(self.meta.records.max(1));
        let bytes = to_u64(most.bytes).min(record.saturating_mul(most.records));
        // What lies between the place and the first of them is read as well.
        let before = u64::from(self.env.index_interval_bytes);
        to_usize(bytes.saturating_add(before))
    }

    /// Offset of the first record whose time is `time` or later.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and if the records of a batch do not decode.
    pub(crate) fn find_time(
        &self,
        time: Timestamp,
        data_end: u64,
        end: Offset,
    ) -> Result<Option<Offset>> {
        let start = Place::start(self.meta.base);
        let place = self
            .index
            .as_ref()
            .map_or(start, |index| index.floor_time(time));
        self.find_time_at(place, time, data_end, end)
    }

    /// The same, starting from a place that an index gave.
    pub(crate) fn find_time_at(
        &self,
        place: Place,
        time: Timestamp,
        data_end: u64,
        end: Offset,
    ) -> Result<Option<Offset>> {
        let mut found = None;
        self.walk(place, data_end, end, 0, |batch| {
            if batch.max_timestamp() < time {
                return Ok(true);
            }
            found = self.first_at(&batch, time)?;
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    fn first_at(&self, batch: &Batch, time: Timestamp) -> Result<Option<Offset>> {
        let first = batch.first_offset();
        let wrong = |error| decode_error(format!("{} (offset {first})", self.name()), error);
        let records = batch.records().map_err(wrong)?;
        for record in &records {
            let record = record.map_err(wrong)?;
            if record.timestamp() >= time {
                return Ok(Some(record.offset()));
            }
        }
        Ok(None)
    }

    /// All batches, checked, from `place` on.
    pub(crate) fn scan(&self, place: Place) -> Scan<'_> {
        let extent = Extent::of(&self.meta);
        self.source.advise(place.position.get(), extent.data_end);
        Scan::new(&self.env, &self.source, extent, place, ALL)
    }

    /// What the index of a sealed segment says: batches, and the latest event
    /// before each.
    pub(crate) fn index_entries(&self) -> impl Iterator<Item = (Place, Timestamp)> {
        let entries = self.index.iter().flat_map(SealedIndex::entries);
        entries.map(|entry| {
            let place = index::place(self.meta.base, &entry);
            (place, entry.max_timestamp_before)
        })
    }

    /// Hands batches to `take` until it says to stop, or the data ends.
    fn walk(
        &self,
        place: Place,
        data_end: u64,
        end: Offset,
        wanted: usize,
        mut take: impl FnMut(Batch) -> Result<bool>,
    ) -> Result<()> {
        let mut extent = Extent::of(&self.meta);
        if self.meta.sealed.is_none() {
            // It has grown since it was opened.
            (extent.data_end, extent.end) = (data_end, end);
        }
        let mut scan = Scan::new(&self.env, &self.source, extent, place, wanted);
        let mut first = scan.next_batch();
        if first.is_err() && !place.is_start() {
            // The entry that led here may be what is wrong. From the start the
            // walk meets the batch that is asked for, or the damage.
            let start = Place::start(self.meta.base);
            scan = Scan::new(&self.env, &self.source, extent, start, wanted);
            first = scan.next_batch();
        }
        let mut next = first?;
        while let Some((_, batch)) = next {
            if !take(batch)? {
                break;
            }
            next = scan.next_batch()?;
        }
        Ok(())
    }
}
