//! Shows what is in a store, valid or not, in the order of its files.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::item::DumpItem;
use super::segments;
use super::store::{SnapshotFile, Store};
use crate::error::Result;
use crate::format::Batch;
use crate::format::batch;
use crate::format::checksum::Seed;
use crate::format::entry::{self, Entry};
use crate::format::frame::{FrameHeader, FrameKind};
use crate::format::snapshot::{PartitionState, Snapshot};
use crate::ids::{PartitionId, TopicId, to_u64};
use crate::io::FileSystem;
use crate::options::ReadMode;
use crate::segment::{Place, SegmentMeta, SegmentReader, log_name};
use crate::wal::listing::{LiveFile, LogFile, Role};
use crate::wal::scan::{Walk, WalkEnd, walk};

/// What [`dump`] shows.
///
/// # Examples
///
/// ```
/// use duolog::ids::TopicId;
/// use duolog::inspect::DumpOptions;
///
/// let options = DumpOptions::default().wal(false).records(true).topic(Some(TopicId::new(3)));
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct DumpOptions {
    wal: bool,
    segments: bool,
    snapshots: bool,
    records: bool,
    topic: Option<TopicId>,
    partition: Option<u32>,
}

impl Default for DumpOptions {
    fn default() -> Self {
        Self {
            wal: true,
            segments: true,
            snapshots: true,
            records: false,
            topic: None,
            partition: None,
        }
    }
}

impl DumpOptions {
    /// Whether the files of the log are shown. Default true.
    #[must_use]
    pub fn wal(mut self, shown: bool) -> Self {
        self.wal = shown;
        self
    }

    /// Whether the segments of the newest valid snapshot are shown. Default true.
    #[must_use]
    pub fn segments(mut self, shown: bool) -> Self {
        self.segments = shown;
        self
    }

    /// Whether snapshots are shown. Default true.
    #[must_use]
    pub fn snapshots(mut self, shown: bool) -> Self {
        self.snapshots = shown;
        self
    }

    /// Whether the records of every batch are shown. Default false.
    #[must_use]
    pub fn records(mut self, shown: bool) -> Self {
        self.records = shown;
        self
    }

    /// Shows only what is of this topic. Default all.
    #[must_use]
    pub fn topic(mut self, topic: Option<TopicId>) -> Self {
        self.topic = topic;
        self
    }

    /// Shows only what is of this partition, of whatever topic. Default all.
    #[must_use]
    pub fn partition(mut self, partition: Option<u32>) -> Self {
        self.partition = partition;
        self
    }

    fn is_filtered(&self) -> bool {
        self.topic.is_some() || self.partition.is_some()
    }

    fn takes(&self, id: PartitionId) -> bool {
        self.takes_topic(id.topic) && self.partition.is_none_or(|wanted| wanted == id.partition)
    }

    fn takes_topic(&self, topic: TopicId) -> bool {
        self.topic.is_none_or(|wanted| wanted == topic)
    }

    fn takes_entry(&self, entry: &Entry<'_>) -> bool {
        match entry {
            Entry::Append(id, _)
            | Entry::Trim(id, _)
            | Entry::Drop(id, ..)
            | Entry::Ledger(id, _) => self.takes(*id),
            Entry::CreateTopic(meta) | Entry::AlterTopic(meta) => self.takes_topic(meta.id),
            Entry::DeleteTopic(id) | Entry::DeleteQueue(id) => self.takes_topic(*id),
            Entry::CreateQueue(meta) | Entry::AlterQueue(meta) => self.takes_topic(meta.id),
            Entry::Seen(ids) => self.takes_topic(ids.queue),
        }
    }
}

type Each<'a> = &'a mut dyn FnMut(&DumpItem) -> ControlFlow<()>;
type Flow = Result<ControlFlow<()>>;

/// Goes on, or returns early if the visitor has seen enough.
macro_rules! show {
    ($dump:expr, $item:expr) => {
        if ($dump.each)(&$item).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}

/// Shows what is in the store at `path`, until `each` breaks.
///
/// Snapshots come first, then the segments of the newest valid one, then the
/// log. Damage is shown like the rest.
///
/// # Errors
///
/// As [`verify`](super::verify); `Corrupt` only for the identity of the store.
#[expect(clippy::needless_pass_by_value, reason = "as the engine takes it")]
pub fn dump(
    fs: Arc<dyn FileSystem>,
    path: &Path,
    options: &DumpOptions,
    each: &mut dyn FnMut(&DumpItem) -> ControlFlow<()>,
) -> Result<()> {
    let store = Store::open(&*fs, path)?;
    let mut dump = Dump {
        store: &store,
        options,
        each,
    };
    let snapshots = store.snapshots()?;
    if options.snapshots && dump.snapshots(&snapshots)?.is_break() {
        return Ok(());
    }
    let newest = snapshots.iter().find_map(|file| file.content.as_ref().ok());
    if let Some(newest) = newest.filter(|_| options.segments)
        && dump.segments(newest)?.is_break()
    {
        return Ok(());
    }
    if options.wal {
        // The last step: whether it was ended early makes no difference.
        return dump.log().map(|_| ());
    }
    Ok(())
}

struct Dump<'a> {
    store: &'a Store,
    options: &'a DumpOptions,
    each: Each<'a>,
}

impl Dump<'_> {
    fn snapshots(&mut self, files: &[SnapshotFile]) -> Flow {
        for file in files {
            let snapshot = match &file.content {
                Ok(snapshot) => snapshot,
                Err(error) => {
                    show!(self, DumpItem::damage(&file.path, 0, error));
                    continue;
                }
            };
            let segments = snapshot.partitions.iter().map(|state| state.segments.len());
            let item = DumpItem::Snapshot {
                file: file.path.clone(),
                lsn: snapshot.lsn,
                wal_sequence: snapshot.wal_sequence,
                topics: to_u64(snapshot.topics.len()),
                partitions: to_u64(snapshot.partitions.len()),
                segments: to_u64(segments.sum()),
            };
            show!(self, item);
            for topic in &snapshot.topics {
                let item = DumpItem::Topic {
                    topic: topic.id,
                    name: topic.name.clone(),
                    partitions: topic.options.partitions,
                };
                if self.options.takes_topic(topic.id) {
                    show!(self, item);
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn segments(&mut self, snapshot: &Snapshot) -> Flow {
        for state in &snapshot.partitions {
            if self.options.takes(state.id) && self.partition(snapshot, state)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn partition(&mut self, snapshot: &Snapshot, state: &PartitionState) -> Flow {
        let dir = segments::partition_dir(self.store, state.id)?;
        for meta in &state.segments {
            let path = format!("topics/{}/{}", state.id, log_name(meta.base));
            let item = DumpItem::Segment {
                file: path.clone(),
                base: meta.base,
                end: meta.end,
                records: meta.records,
                bytes: meta.bytes,
                sealed: meta.sealed,
            };
            show!(self, item);
            let Some(dir) = &dir else {
                show!(self, DumpItem::damage(&path, 0, "the file is missing"));
                continue;
            };
            let env = segments::env(self.store, snapshot, state.id, Arc::clone(dir));
            match SegmentReader::open(env, meta, ReadMode::Pread) {
                Ok(reader) => {
                    if self.segment(state.id, &path, meta, &reader)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Err(error) => {
                    let why = segments::brief(&error, &path);
                    show!(self, DumpItem::damage(&path, 0, why));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn segment(
        &mut self,
        id: PartitionId,
        path: &str,
        meta: &SegmentMeta,
        reader: &SegmentReader,
    ) -> Flow {
        let mut entries = reader.index_entries();
        let mut scan = reader.scan(Place::start(meta.base));
        loop {
            match scan.next_batch() {
                Ok(Some((position, batch))) => {
                    if self.batch(id, path, position.get(), &batch)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(None) => return Ok(ControlFlow::Continue(())),
                Err(error) => {
                    let at = scan.position();
                    let why = segments::brief(&error, path);
                    show!(self, DumpItem::damage(path, at.get(), why));
                    let Some((place, _)) = entries.find(|(place, _)| place.position > at) else {
                        return Ok(ControlFlow::Continue(()));
                    };
                    scan = reader.scan(place);
                }
            }
        }
    }

    fn batch(&mut self, id: PartitionId, path: &str, position: u64, batch: &Batch) -> Flow {
        show!(self, DumpItem::batch(id, path, position, batch));
        if !self.options.records {
            return Ok(ControlFlow::Continue(()));
        }
        match batch.records() {
            Ok(records) => {
                for record in &records {
                    match record {
                        Ok(record) => show!(self, DumpItem::record(id, &record)),
                        Err(error) => show!(self, DumpItem::damage(path, position, error)),
                    }
                }
            }
            Err(error) => show!(self, DumpItem::damage(path, position, error)),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn log(&mut self) -> Flow {
        let files = self.store.log(&mut Vec::new())?;
        for (n, file) in files.iter().enumerate() {
            let state = match &file.role {
                Role::Live(_) => "live".to_owned(),
                Role::Spare => "not in use".to_owned(),
                Role::Foreign(owner) => format!("of store {owner}"),
                Role::Headless(why) => format!("no valid header ({why})"),
            };
            let item = DumpItem::WalFile {
                file: file.path(),
                bytes: file.len,
                base: file.live().map(|live| live.header.base),
                state,
            };
            show!(self, item);
            let later = files.get(n + 1..).unwrap_or_default();
            let next = later.iter().find_map(LogFile::live);
            if let Some(live) = file.live()
                && self.live(live, next)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The frames of a file, up to where the next one takes over.
    fn live(&mut self, file: &LiveFile, next: Option<&LiveFile>) -> Flow {
        let range = Walk {
            from: file.header.base,
            stop: next.map(|next| next.header.base),
        };
        let mut flow = ControlFlow::Continue(());
        let end = walk(file, range, &mut |header, payload| {
            flow = self.frame(file, header, payload);
            Ok(flow)
        })?;
        if flow.is_break() {
            return Ok(flow);
        }
        self.end(file, &end)
    }

    /// What ended a file before its end, if anything of its generation did.
    fn end(&mut self, file: &LiveFile, end: &WalkEnd) -> Flow {
        if let Some(bad) = &end.bad
            && let Some(torn) = end.torn(file)?
        {
            let message = format!("{} bytes from LSN {} on: {bad}", torn.bytes, end.at);
            show!(self, DumpItem::damage(&torn.file, torn.position, message));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn frame(&mut self, file: &LiveFile, header: &FrameHeader, payload: &[u8]) -> ControlFlow<()> {
        let (path, position) = (file.path(), file.position(header.lsn));
        let close = header.kind == FrameKind::Close;
        let entries = match entry::decode(payload) {
            Ok(entries) => entries,
            Err(_) if close => Vec::new(),
            Err(error) => return (self.each)(&DumpItem::damage(&path, position, error)),
        };
        let shown = |entry: &&Entry<'_>| self.options.takes_entry(entry);
        if self.options.is_filtered() && !entries.iter().any(|entry| shown(&entry)) {
            return ControlFlow::Continue(());
        }
        (self.each)(&DumpItem::Frame {
            file: path.clone(),
            position,
            lsn: header.lsn,
            durable: header.durable,
            bytes: to_u64(header.len()),
            entries: to_u64(entries.len()),
            close,
        })?;
        for entry in &entries {
            if self.options.takes_entry(entry) {
                self.entry(&path, position, header, entry)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn entry(
        &mut self,
        path: &str,
        position: u64,
        header: &FrameHeader,
        entry: &Entry<'_>,
    ) -> ControlFlow<()> {
        let change = match entry {
            Entry::Append(id, bytes) => return self.append(path, position, *id, bytes),
            Entry::CreateTopic(meta) => format!("create topic {} {:?}", meta.id, meta.name),
            Entry::AlterTopic(meta) => format!("alter topic {} {:?}", meta.id, meta.name),
            Entry::DeleteTopic(id) => format!("delete topic {id}"),
            Entry::Trim(id, start) => format!("trim {id} before offset {start}"),
            Entry::CreateQueue(meta) => format!("create queue {} {:?}", meta.id, meta.name),
            Entry::AlterQueue(meta) => format!("alter queue {} {:?}", meta.id, meta.name),
            Entry::DeleteQueue(id) => format!("delete queue {id}"),
            Entry::Drop(id, base, end) => format!("drop {id} from offset {base} to {end}"),
            Entry::Seen(ids) => {
                format!("queue {} has seen {} ids", ids.queue, ids.seen.len())
            }
            Entry::Ledger(id, changes) => {
                let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
                format!("ledger {id}: {}", changes.join(", "))
            }
        };
        (self.each)(&DumpItem::Entry {
            lsn: header.lsn,
            change,
        })
    }

    fn append(
        &mut self,
        path: &str,
        position: u64,
        id: PartitionId,
        bytes: &[u8],
    ) -> ControlFlow<()> {
        match batch::split_first(bytes, Seed::partition(self.store.id, id)) {
            Ok(header) => {
                let batch = Batch::new(Bytes::copy_from_slice(bytes), header);
                let flow = self.batch(id, path, position, &batch);
                flow.unwrap_or(ControlFlow::Continue(()))
            }
            Err(error) => (self.each)(&DumpItem::damage(path, position, error)),
        }
    }
}
