//! What one append may ask for.

use super::{Error, Result};

/// What a returned append promises. Weaker ones compare as less.
///
/// # Examples
///
/// ```
/// use duolog::Durability;
///
/// assert_eq!(Durability::default(), Durability::Durable);
/// assert!(Durability::Transient < Durability::Buffered);
/// assert_eq!("buffered".parse::<Durability>()?, Durability::Buffered);
/// # Ok::<(), duolog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Durability {
    /// In memory. Never in the write-ahead log; gone after a restart, orderly
    /// or not. Visible to readers at once. AMQP's delivery mode 1.
    ///
    /// A checkpoint moves such records to segments where other records follow
    /// them, and where memory is short; there, too, a restart drops them.
    Transient,
    /// Accepted, and written to the log after
    /// [`linger`](super::Options::linger) at the latest. Survives a crash of
    /// the process once written, a power cut once synced (see
    /// [`SyncPolicy`](super::SyncPolicy)). Visible to readers at once.
    Buffered,
    /// Synced. Survives a power cut. Visible to readers only then.
    #[default]
    Durable,
}

impl Durability {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Transient => 0,
            Self::Buffered => 1,
            Self::Durable => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Transient),
            1 => Some(Self::Buffered),
            2 => Some(Self::Durable),
            _ => None,
        }
    }
}

impl std::str::FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "durable" => Ok(Self::Durable),
            "buffered" => Ok(Self::Buffered),
            "transient" => Ok(Self::Transient),
            other => Err(Error::invalid(format!(
                "unknown durability {other:?}; use durable, buffered or transient"
            ))),
        }
    }
}

/// How the records of a batch are compressed.
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Codec};
///
/// let options = AppendOptions::default().codec("none".parse()?);
/// assert_eq!(options.codec, Some(Codec::None));
/// # Ok::<(), duolog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// lz4, one block a batch (feature `lz4`). Kept only where it makes the
    /// batch smaller.
    Lz4,
}

impl Codec {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            _ => None,
        }
    }

    /// Refuses what this build cannot write.
    pub(crate) fn check(self) -> Result<()> {
        if self == Self::Lz4 && cfg!(not(feature = "lz4")) {
            return Err(Error::new(
                crate::error::ErrorKind::Unsupported,
                "compression lz4 is not in this build; enable the feature `lz4`",
            ));
        }
        Ok(())
    }
}

impl std::str::FromStr for Codec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            other => Err(Error::invalid(format!(
                "unknown compression {other:?}; use none or lz4"
            ))),
        }
    }
}

/// What an append does when memory or the write-ahead log is at its limit:
/// [`tail_bytes_max`](super::Options::tail_bytes_max),
/// [`wal_bytes_max`](super::Options::wal_bytes_max), or four groups that wait.
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, OnLimit, Options};
///
/// // A broker that pushes back on its clients by itself.
/// let options = Options::default().on_limit(OnLimit::Fail);
/// let urgent = AppendOptions::default().on_limit(OnLimit::Block);
/// # let _ = (options, urgent);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLimit {
    /// Waits until the background work has made room; with
    /// [`Background::Manual`](super::Background::Manual), makes it.
    #[default]
    Block,
    /// Fails at once with [`ErrorKind::Busy`](crate::ErrorKind::Busy); nothing
    /// is changed.
    Fail,
}

/// What one append may choose; everything else comes from the topic.
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Durability};
///
/// let options = AppendOptions::default()
///     .durability(Durability::Buffered)
///     .partition(3);
/// assert_eq!(options.partition, Some(3));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendOptions {
    /// The promise; the topic's default if `None`.
    pub durability: Option<Durability>,
    /// The partition; by key, or round robin without one, if `None`.
    pub partition: Option<u32>,
    /// How to compress; the topic's default if `None`.
    pub codec: Option<Codec>,
    /// What to do at a limit; the engine's default if `None`.
    pub on_limit: Option<OnLimit>,
}

impl AppendOptions {
    /// Sets the promise. Default: the topic's.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Sets the partition, from 0. Default: by key; without one, to one partition
    /// at a time, the next after 16 KiB.
    #[must_use]
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the compression. Default: the topic's.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Sets what happens at a limit. Default: the engine's.
    #[must_use]
    pub fn on_limit(mut self, on_limit: OnLimit) -> Self {
        self.on_limit = Some(on_limit);
        self
    }
}
