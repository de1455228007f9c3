//! What an engine is opened with.

use std::sync::Arc;
use std::time::Duration;

use super::{OnLimit, Result, check_range};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;

/// When buffered records are synced. Durable ones always are, at once.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{Options, SyncPolicy};
///
/// let default = Options::default().sync_policy;
/// assert_eq!(default, SyncPolicy::Interval(Duration::from_millis(100)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After every write to the log.
    Always,
    /// At the latest so long after a write.
    Interval(Duration),
    /// Only along with durable records, changes of topics and trims, at a
    /// checkpoint, when a file of the log is full, with
    /// [`Engine::sync`](crate::Engine::sync), and at close.
    Never,
}

/// How the log is written. Either way the files are the same, byte for byte.
///
/// # Examples
///
/// ```
/// use duolog::{Options, WriteMode};
///
/// let options = Options::default().write_mode(WriteMode::Cached);
/// assert_eq!(options.write_mode, WriteMode::Cached);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Past the page cache, several groups at once through `io_uring`. Where
    /// the
    /// file system has no direct writes, or the kernel no `io_uring` for us, as
    /// well as it goes: [`Engine::info`](crate::Engine::info) says how.
    Direct,
    /// Through the page cache, one group at a time, with a sync behind it.
    Cached,
}

/// How sealed segments are read. The active segment of a partition and the log
/// are read with `pread` in any case, and every batch is checked in any case.
///
/// # Examples
///
/// ```
/// use duolog::{Options, ReadMode};
///
/// let options = Options::default().read_mode(ReadMode::Pread);
/// assert_eq!(options.read_mode, ReadMode::Pread);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Through a read-only map: no copy. A media error ends the process with
    /// SIGBUS. Without the feature `mmap`, as [`ReadMode::Pread`].
    Map,
    /// Through `pread`: one copy. A media error is an error.
    Pread,
}

/// Who calls the steps of background work: writing buffered groups, checkpoints,
/// retention, removing dead files, preparing files of the log, and what time
/// brings to queues (the end of leases, delays and lives).
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Background, Durability, Engine, Options, Record, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let options = Options::default().background(Background::Manual);
/// let engine = Engine::open(dir.path().join("data"), options)?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// let buffered = AppendOptions::default().durability(Durability::Buffered);
/// topic.append_batch(&[Record::new("later")], &buffered)?;
/// assert!(engine.run_pending()?, "the record is written now");
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Two threads of the engine.
    Threads,
    /// The embedder, with [`Engine::run_pending`](crate::Engine::run_pending):
    /// it writes what is buffered, whether [`Options::linger`] has passed or not.
    /// Work that an append cannot go on without runs inside that append. A
    /// [`Ticket`](crate::Ticket) that is awaited, not waited on, needs those
    /// calls to make progress.
    Manual,
}

/// How an engine is opened.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::{Options, SyncPolicy};
///
/// let options = Options::default()
///     .linger(Duration::from_millis(5))
///     .sync_policy(SyncPolicy::Interval(Duration::from_millis(50)));
/// assert_eq!(options.linger, Some(Duration::from_millis(5)));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Open without writing anything.
    pub read_only: bool,
    /// Make the store if there is none.
    pub create: bool,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Who calls the steps of background work.
    pub background: Background,
    /// When buffered records are synced.
    pub sync_policy: SyncPolicy,
    /// Longest time that a buffered record waits to be written.
    pub linger: Option<Duration>,
    /// Size at which a group of the log is written.
    pub group_bytes_max: u32,
    /// Size of a file of the log.
    pub wal_file_bytes: u64,
    /// Size of the log at which appends wait for a checkpoint.
    pub wal_bytes_max: u64,
    /// Memory of records that are not yet in segments.
    pub tail_bytes_max: u64,
    /// What an append does at a limit.
    pub on_limit: OnLimit,
    /// Longest time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Time between passes of retention.
    pub retention_interval: Duration,
    /// How the log is written.
    pub write_mode: WriteMode,
    /// Groups of the log that are under way at once.
    pub in_flight_max: u32,
    /// How segments are read.
    pub read_mode: ReadMode,
    /// Segments that are kept open for reading.
    pub segments_open_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            create: true,
            clock: Arc::new(SystemClock::new()),
            background: Background::Threads,
            sync_policy: SyncPolicy::Interval(Duration::from_millis(100)),
            linger: None,
            group_bytes_max: 1 << 20,
            wal_file_bytes: 64 << 20,
            wal_bytes_max: 512 << 20,
            tail_bytes_max: 64 << 20,
            on_limit: OnLimit::Block,
            checkpoint_interval: Duration::from_secs(60),
            retention_interval: Duration::from_secs(10),
            write_mode: WriteMode::Direct,
            in_flight_max: 4,
            read_mode: ReadMode::Map,
            segments_open_max: 128,
        }
    }
}

impl Options {
    /// Opens without writing anything, under a lock that is shared with other
    /// readers and keeps writers out ([`ErrorKind::Locked`](crate::ErrorKind)).
    /// Whatever would write answers `ReadOnly`. Default false.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Makes the store, and missing directories above it, if the directory does
    /// not exist or is empty. Default true.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets the source of time. Default: the operating system's. Waits always
    /// pass in real time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets who calls the steps of background work. Default
    /// [`Background::Threads`].
    #[must_use]
    pub fn background(mut self, background: Background) -> Self {
        self.background = background;
        self
    }

    /// Sets when buffered records are synced. Default every 100 ms; an interval
    /// lies between 1 ms and 1 hour. What was accepted since the last sync may
    /// be lost in a power cut; shorter intervals cost a sync each, during which
    /// durable appends wait.
    #[must_use]
    pub fn sync_policy(mut self, policy: SyncPolicy) -> Self {
        self.sync_policy = policy;
        self
    }

    /// Sets how long a buffered record, or the ticket of a durable one that
    /// nobody waits on, may wait before it is written.
    ///
    /// Default: it follows the disk, four times what a sync took lately, between
    /// 1 and 20 ms. Fixed by this; at most 10 s. Longer lingers make larger
    /// batches; what waits is lost if the process ends.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// Sets the size at which a group of the log is written without waiting for
    /// `linger`.
    ///
    /// Default 1 MiB; between 4 KiB and 16 MiB. Appends wait (or fail) while four
    /// times as much is waiting in memory.
    #[must_use]
    pub fn group_bytes_max(mut self, bytes: u32) -> Self {
        self.group_bytes_max = bytes;
        self
    }

    /// Sets the size of a file of the write-ahead log. Files are written with
    /// zeros before they are used, and used again after.
    ///
    /// Default 64 MiB; between 64 KiB and 1 GiB, a multiple of 4 KiB. A quarter
    /// of it, but at most 64 MiB, is the largest commit. It should be at least
    /// four times the [`batch_bytes_max`](super::TopicOptions::batch_bytes_max) of
    /// every topic, or buffered batches that fill up find no place in the log
    /// (see [`Stats::batches_unlogged`](crate::Stats::batches_unlogged)).
    #[must_use]
    pub fn wal_file_bytes(mut self, bytes: u64) -> Self {
        self.wal_file_bytes = bytes;
        self
    }

    /// Sets the size of the log. A checkpoint starts when the part after the
    /// newest snapshot is a quarter of it; at a half appends wait (or fail)
    /// until that checkpoint has made room. The other half is for the older of
    /// the two snapshots that are kept.
    ///
    /// Default 512 MiB; at least four files, at most 1 TiB. Bounds the time to
    /// open after a crash. Spare files take up to half as much again on disk.
    #[must_use]
    pub fn wal_bytes_max(mut self, bytes: u64) -> Self {
        self.wal_bytes_max = bytes;
        self
    }

    /// Sets the memory for records that are not yet in segments. A checkpoint
    /// starts at half of it; appends wait (or fail) at the whole.
    ///
    /// Default 64 MiB; between 256 KiB and 1 TiB. Each batch counts 128 bytes
    /// more than it has. The batch that a partition gathers at the time, up to
    /// 256 KiB of memory, does not count yet.
    #[must_use]
    pub fn tail_bytes_max(mut self, bytes: u64) -> Self {
        self.tail_bytes_max = bytes;
        self
    }

    /// Sets what an append does at a limit. Default: it waits.
    #[must_use]
    pub fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.on_limit = on_limit;
        self
    }

    /// Sets the longest time between two checkpoints while records come in.
    /// Default 60 s; between 10 ms and 1 day.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Self {
        self.checkpoint_interval = interval;
        self
    }

    /// Sets the time between two passes of retention. Default 10 s; between
    /// 10 ms and 1 day.
    #[must_use]
    pub fn retention_interval(mut self, interval: Duration) -> Self {
        self.retention_interval = interval;
        self
    }

    /// Sets how the log is written. Default [`WriteMode::Direct`].
    #[must_use]
    pub fn write_mode(mut self, mode: WriteMode) -> Self {
        self.write_mode = mode;
        self
    }

    /// Sets how many groups of the log may be under way at once. Default 4;
    /// between 1 and 64.
    ///
    /// More keep a fast disk busy when many appends wait, or when tickets are
    /// waited for later; each costs memory of up to `group_bytes_max`. A lone
    /// caller that waits for each append has one under way, whatever this says.
    /// Without `io_uring`, or with [`WriteMode::Cached`], it is one
    /// ([`Info::one_at_a_time`](crate::Info::one_at_a_time) says why).
    #[must_use]
    pub fn in_flight_max(mut self, groups: u32) -> Self {
        self.in_flight_max = groups;
        self
    }

    /// Sets how segments are read. Default [`ReadMode::Map`].
    #[must_use]
    pub fn read_mode(mut self, mode: ReadMode) -> Self {
        self.read_mode = mode;
        self
    }

    /// Sets how many segments are kept open for reading. Default 128; between 4
    /// and 65,536. Each takes a descriptor and, with `Pread`, the memory of its
    /// index: 24 bytes an entry, 768 KiB for 128 MiB of data at the default
    /// interval. Active segments take one more descriptor each.
    #[must_use]
    pub fn segments_open_max(mut self, segments: u32) -> Self {
        self.segments_open_max = segments;
        self
    }

    /// Largest commit: a frame of the log, in bytes. No decoder takes a payload
    /// of more than 64 MiB (docs/format.md section 12).
    pub(crate) fn commit_bytes_max(&self) -> u64 {
        (self.wal_file_bytes / 4).min(64 << 20)
    }

    /// Checks every field, and how they go together.
    pub(crate) fn check(&self) -> Result<()> {
        const DAY_MS: u128 = 24 * 3600 * 1000;
        if let SyncPolicy::Interval(interval) = self.sync_policy {
            let range = &(1..=3_600_000);
            check_range("sync_policy interval (ms)", interval.as_millis(), range)?;
        }
        let linger = self.linger.unwrap_or_default();
        check_range("linger (ms)", linger.as_millis(), &(0..=10_000))?;
        let groups = &(4 << 10..=16 << 20);
        check_range("group_bytes_max", self.group_bytes_max, groups)?;
        let file = self.wal_file_bytes;
        check_range("wal_file_bytes", file, &(64 << 10..=1 << 30))?;
        if !file.is_multiple_of(4096) {
            return Err(Error::invalid(format!(
                "option `wal_file_bytes` is {file}; set it to a multiple of 4096"
            )));
        }
        check_range("wal_bytes_max", self.wal_bytes_max, &(4 * file..=1 << 40))?;
        check_range(
            "tail_bytes_max",
            self.tail_bytes_max,
            &(256 << 10..=1 << 40),
        )?;
        let interval = self.checkpoint_interval.as_millis();
        check_range("checkpoint_interval (ms)", interval, &(10..=DAY_MS))?;
        let interval = self.retention_interval.as_millis();
        check_range("retention_interval (ms)", interval, &(10..=DAY_MS))?;
        check_range("in_flight_max", self.in_flight_max, &(1..=64))?;
        let open = &(4..=65_536);
        check_range("segments_open_max", self.segments_open_max, open)
    }
}
