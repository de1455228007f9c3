//! Stores made by hand, whole and damaged: what verification says of them.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::error::ErrorKind;
use crate::format::Record;
use crate::format::batch::BatchBuilder;
use crate::format::checksum::Seed;
use crate::format::entry::Entry;
use crate::format::frame::{self, FrameKind};
use crate::format::identity::Identity;
use crate::format::snapshot::{PartitionState, Snapshot};
use crate::format::topic::TopicMeta;
use crate::format::walfile::WalHeader;
use crate::ids::{Lsn, Offset, PartitionId, StoreId, Timestamp, TopicId, to_u64, to_usize};
use crate::io::sim::SimFs;
use crate::options::{Codec, TopicOptions};
use crate::segment::{SegmentEnv, SegmentMeta, SegmentWriter};

mod agreement;
mod damage;
mod engine;
mod queues;
mod shown;
mod strangers;

const STORE: StoreId = StoreId::new([7; 16]);
const ID: PartitionId = PartitionId {
    topic: TopicId::new(3),
    partition: 0,
};
const LOG_0: &str = "/store/topics/3/0/00000000000000000000.log";
const INDEX_0: &str = "/store/topics/3/0/00000000000000000000.idx";
const WAL_2: &str = "/store/wal/00000000000000000002.wal";
const WAL_3: &str = "/store/wal/00000000000000000003.wal";
const SNAPSHOT: &str = "/store/snapshot/00000000000000008192.snap";

/// Twelve batches of three records lie in two segments, the second one active;
/// three more batches in the log.
struct Bench {
    disk: SimFs,
    snapshot: Snapshot,
}

fn batch(base: u64) -> Bytes {
    let mut builder = BatchBuilder::new();
    let time = |n: u64| Timestamp::from_millis(i64::try_from(n).unwrap());
    builder.start(Offset::new(base), time(base), false);
    for n in base..base + 3 {
        builder.push(&Record::new("value").key("key"), time(n));
    }
    builder.seal(Codec::None, Seed::partition(STORE, ID))
}

/// Three batches from `base` on.
fn batches(base: u64, count: u64) -> Vec<Bytes> {
    (0..count).map(|n| batch(base + 3 * n)).collect()
}

fn append(base: u64) -> BytesMut {
    let mut out = BytesMut::new();
    Entry::Append(ID, &batch(base)).encode(&mut out);
    out
}

/// A file of the log under construction.
struct Log {
    header: WalHeader,
    bytes: BytesMut,
    last: Option<Lsn>,
}

impl Log {
    fn new(sequence: u64, base: u64) -> Self {
        let header = WalHeader {
            store: STORE,
            sequence,
            base: Lsn::new(base),
            blocks: 1,
        };
        let mut bytes = BytesMut::from(&header.encode()[..]);
        bytes.resize(4096, 0);
        Self {
            header,
            bytes,
            last: None,
        }
    }

    fn lsn(&self) -> Lsn {
        let past = to_u64(self.bytes.len()) - 4096;
        self.header.base.saturating_add(past)
    }

    fn group(self, payloads: &[BytesMut], durable: u64) -> Self {
        self.frames(FrameKind::Commit, payloads, durable)
    }

    fn close(self) -> Self {
        let durable = self.lsn().get();
        self.frames(FrameKind::Close, &[BytesMut::new()], durable)
    }

    fn frames(mut self, kind: FrameKind, payloads: &[BytesMut], durable: u64) -> Self {
        let mut group = BytesMut::new();
        for payload in payloads {
            let lsn = self.lsn().saturating_add(to_u64(group.len()));
            let previous = self.last.map_or(0, |last| lsn.since(last));
            let previous = u32::try_from(previous).unwrap();
            let at = frame::start(&mut group, lsn, previous, kind);
            group.extend_from_slice(payload);
            frame::finish(&mut group, at);
            self.last = Some(lsn);
        }
        let seed = Seed::wal(STORE, self.header.sequence);
        frame::seal_group(&mut group, Lsn::new(durable), seed);
        self.bytes.extend_from_slice(&group);
        let padded = self.bytes.len().next_multiple_of(4096);
        self.bytes.resize(padded, 0);
        self
    }

    /// Writes the file, with room for `spare` blocks more.
    fn write(&self, disk: &SimFs, spare: usize) {
        let mut bytes = self.bytes.to_vec();
        bytes.resize(bytes.len() + 4096 * spare, 0);
        let path = format!("/store/wal/{:020}.wal", self.header.sequence);
        disk.write_file(path, &bytes);
    }
}

impl Bench {
    fn new() -> Self {
        let disk = SimFs::new(1);
        let identity = Identity::new(STORE, Timestamp::from_millis(1));
        disk.write_file("/store/store", &identity.encode());
        disk.write_file("/store/LOCK", b"");
        let env = SegmentEnv {
            dir: disk
                .open_root(Path::new("/store/topics/3/0"), true)
                .unwrap(),
            store: STORE,
            id: ID,
            index_interval_bytes: 256,
            writable: true,
            direct: false,
            scratch: Arc::default(),
            reads: Arc::default(),
        };
        let snapshot = Snapshot {
            lsn: Lsn::new(8192),
            wal_sequence: 2,
            next_topic: TopicId::new(4),
            topics: vec![TopicMeta {
                id: ID.topic,
                name: "orders".to_owned(),
                options: TopicOptions::default(),
            }],
            partitions: vec![PartitionState {
                id: ID,
                start: Offset::ZERO,
                flushed: Offset::new(36),
                next: Offset::new(36),
                segments: segments(&env),
            }],
            ..Snapshot::default()
        };
        let bench = Self { disk, snapshot };
        bench.write_snapshot();
        let timers = bench.disk.open_root(Path::new("/store/timers"), true);
        drop(timers.unwrap());
        Bench::log().write(&bench.disk, 4);
        // A file that is to be used next, and has been used before.
        let old = Log::new(1, 0).group(&[append(0)], 0);
        bench.disk.write_file(WAL_3, &old.bytes);
        bench
    }

    fn write_snapshot(&self) {
        self.disk.write_file(SNAPSHOT, &self.snapshot.encode(STORE));
    }

    /// The log as it is after a kill: it begins before the snapshot, and three
    /// groups lie behind that.
    fn log() -> Log {
        Log::new(2, 4096)
            .group(&[append(33)], 4096)
            .group(&[append(36)], 8192)
            .group(&[append(39), append(42)], 12288)
    }

    fn verify(&self) -> VerifyReport {
        let before = self.disk.list_files();
        let steps = self.disk.steps();
        let report = self.try_verify().unwrap();
        assert_eq!(self.disk.steps(), steps, "something was written");
        assert_eq!(self.disk.list_files(), before);
        report
    }

    fn try_verify(&self) -> Result<VerifyReport> {
        let fs = Arc::new(self.disk.clone());
        verify_with(fs, Path::new("/store"), &mut |_, _| {})
    }

    fn dump(&self, options: &DumpOptions) -> Vec<String> {
        let mut lines = Vec::new();
        let fs = Arc::new(self.disk.clone());
        dump(fs, Path::new("/store"), options, &mut |item| {
            lines.push(item.to_string());
            ControlFlow::Continue(())
        })
        .unwrap();
        lines
    }
}

fn segments(env: &SegmentEnv) -> Vec<SegmentMeta> {
    let now = Timestamp::from_millis(1);
    let mut sealed = SegmentWriter::create(env.clone(), Offset::ZERO, now).unwrap();
    sealed.append(&batches(0, 8)).unwrap();
    sealed.seal(now, Lsn::new(8192)).unwrap();
    let mut active = SegmentWriter::create(env.clone(), Offset::new(24), now).unwrap();
    active.append(&batches(24, 4)).unwrap();
    active.sync().unwrap();
    vec![sealed.meta(), active.meta()]
}

/// The only problem of a store.
#[track_caller]
fn only_problem(bench: &Bench) -> Problem {
    let report = bench.verify();
    assert_eq!(report.outcome(), Outcome::Corrupt, "{report}");
    let [problem] = &report.problems[..] else {
        panic!("expected one problem:\n{report}");
    };
    problem.clone()
}
