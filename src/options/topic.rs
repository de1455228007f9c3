//! What a topic is made with.

use std::time::Duration;

use super::{Codec, Durability, Result, check_range};

/// Which whole segments may go, oldest first. What is `None` does not limit; a
/// segment goes if any limit lets it.
///
/// The active segment never goes; see
/// [`segment_age_max`](TopicOptions::segment_age_max) for when it is sealed.
/// Passes come every [`retention_interval`](super::Options::retention_interval).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::Retention;
///
/// let week = Retention::default().age(Duration::from_secs(7 * 24 * 3600));
/// assert!(week.bytes.is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Retention {
    /// Keep what is younger than this.
    pub age: Option<Duration>,
    /// Keep at least the newest so many bytes of each partition.
    pub bytes: Option<u64>,
    /// Keep at least the newest so many records of each partition.
    pub records: Option<u64>,
}

impl Retention {
    /// Lets segments go that were sealed more than `age` ago and whose newest
    /// record is older than that, too. Between 1 ms and 100 years.
    ///
    /// One pass takes at most a quarter of a partition's sealed segments for
    /// their age, and one at least: a clock that is wrong leaves time to notice.
    /// A jump of the clock while the store is open is not believed, nor is a
    /// record that claims to be of more than a day after its segment was sealed.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Lets segments go as long as `bytes` of the partition remain.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Lets segments go as long as `records` of the partition remain.
    #[must_use]
    pub fn records(mut self, records: u64) -> Self {
        self.records = Some(records);
        self
    }
}

/// How a topic is made; all but the number of partitions can be altered later,
/// and that can grow.
///
/// # Examples
///
/// ```
/// use duolog::{Durability, TopicOptions};
///
/// let options = TopicOptions::default()
///     .partitions(12)
///     .durability(Durability::Buffered);
/// assert_eq!(options.partitions, 12);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TopicOptions {
    /// Number of partitions.
    pub partitions: u32,
    /// Promise of an append that does not choose.
    pub durability: Durability,
    /// Compression of an append that does not choose.
    pub codec: Codec,
    /// Largest record: key, value and headers together.
    pub record_bytes_max: u32,
    /// Size at which a batch of buffered or transient records is sealed.
    pub batch_bytes_max: u32,
    /// Size at which a segment is sealed.
    pub segment_bytes_max: u64,
    /// Age at which a segment is sealed.
    pub segment_age_max: Duration,
    /// Distance between index entries.
    pub index_interval_bytes: u32,
    /// Which segments may go.
    pub retention: Retention,
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self {
            partitions: 1,
            durability: Durability::Durable,
            codec: Codec::None,
            record_bytes_max: 1 << 20,
            batch_bytes_max: 64 << 10,
            segment_bytes_max: 128 << 20,
            segment_age_max: Duration::from_secs(7 * 24 * 3600),
            index_interval_bytes: 4 << 10,
            retention: Retention::default(),
        }
    }
}

impl TopicOptions {
    /// Number of partitions: the order of records is kept within each.
    ///
    /// Default 1; between 1 and 100,000. A partition that was never used costs
    /// 16 bytes.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Promise of an append that does not choose one. Default
    /// [`Durability::Durable`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Compression of an append that does not choose one. Default none.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Largest record, key, value and headers together; a larger one is refused
    /// before anything is written.
    ///
    /// Default 1 MiB; between 1 KiB and 16 MiB. The write-ahead log has a limit
    /// of its own: a quarter of [`wal_file_bytes`](super::Options::wal_file_bytes).
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: u32) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// Size at which a batch of buffered or transient records is sealed; it is
    /// sealed sooner after [`linger`](super::Options::linger), or when a reader
    /// comes to it.
    ///
    /// Default 64 KiB; between 1 KiB and 16 MiB, and at most a quarter of
    /// [`wal_file_bytes`](super::Options::wal_file_bytes) makes sense. Larger
    /// batches cost less a record and compress better.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: u32) -> Self {
        self.batch_bytes_max = bytes;
        self
    }

    /// Size at which the active segment is sealed and the next one opened. A
    /// batch that is larger has a segment of its own.
    ///
    /// Default 128 MiB; between 4 KiB and 2 GiB. Smaller segments let
    /// retention free space sooner; larger ones keep fewer files open.
    #[must_use]
    pub fn segment_bytes_max(mut self, bytes: u64) -> Self {
        self.segment_bytes_max = bytes;
        self
    }

    /// Age at which the active segment is sealed, so that retention can get at
    /// it: by a checkpoint that has more for it, and by every pass of retention
    /// of a topic that has a retention by age.
    ///
    /// Default 7 days; between 1 ms and 100 years.
    #[must_use]
    pub fn segment_age_max(mut self, age: Duration) -> Self {
        self.segment_age_max = age;
        self
    }

    /// Bytes of batches between two index entries of a segment.
    ///
    /// Default 4 KiB; between 512 bytes and 1 MiB. A denser index makes a
    /// fetch at a random offset read less, and costs 24 bytes an entry. A
    /// change applies once the store was opened again.
    #[must_use]
    pub fn index_interval_bytes(mut self, bytes: u32) -> Self {
        self.index_interval_bytes = bytes;
        self
    }

    /// Which whole segments may go. Default: none.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the field and
    /// its range.
    pub(crate) fn check(&self) -> Result<()> {
        const CENTURY_MS: u128 = 100 * 366 * 24 * 3600 * 1000;
        self.codec.check()?;
        check_range("partitions", self.partitions, &(1..=100_000))?;
        let mib16 = 16 << 20;
        check_range(
            "record_bytes_max",
            self.record_bytes_max,
            &(1 << 10..=mib16),
        )?;
        check_range("batch_bytes_max", self.batch_bytes_max, &(1 << 10..=mib16))?;
        check_range(
            "segment_bytes_max",
            self.segment_bytes_max,
            &(4 << 10..=2 << 30),
        )?;
        let age = self.segment_age_max.as_millis();
        check_range("segment_age_max (ms)", age, &(1..=CENTURY_MS))?;
        let interval = self.index_interval_bytes;
        check_range("index_interval_bytes", interval, &(512..=1 << 20))?;
        if let Some(age) = self.retention.age {
            check_range("retention.age (ms)", age.as_millis(), &(1..=CENTURY_MS))?;
        }
        Ok(())
    }
}
