//! Numbers that have a meaning, each with a type of its own.
//!
//! An [`Offset`] counts records of a partition, a [`Position`] counts bytes of
//! a file, an [`Lsn`] counts bytes of the write-ahead log. None converts into
//! another silently.
//!
//! ```
//! use duolog::ids::{Offset, Timestamp};
//!
//! let first = Offset::new(40);
//! assert_eq!(first.checked_add(2).map(Offset::get), Some(42));
//! assert_eq!(Offset::new(42).since(first), 2);
//! assert_eq!(Timestamp::from_millis(1_500).saturating_add(500).millis(), 2_000);
//! ```

use std::fmt;

const _: () = assert!(
    usize::BITS == 64,
    "duolog maps and indexes files by usize: it needs a 64-bit target"
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value.
            pub const MAX: Self = Self(<$inner>::MAX);

            /// Wraps a plain number.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The value `by` further on, or `None` past the end of the type.
            #[must_use]
            pub const fn checked_add(self, by: $inner) -> Option<Self> {
                match self.0.checked_add(by) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The value `by` further on, at most [`Self::MAX`].
            #[must_use]
            pub const fn saturating_add(self, by: $inner) -> Self {
                Self(self.0.saturating_add(by))
            }

            /// How far `self` lies behind `earlier`; zero if it lies before.
            #[must_use]
            pub const fn since(self, earlier: Self) -> $inner {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// Number of a record in its partition; the first is 0, none is used twice
    /// while the store stays open. Those of records that were lost with their
    /// process may be (docs/durability.md section 3).
    ///
    /// # Examples
    ///
    /// ```
    /// use duolog::ids::Offset;
    ///
    /// assert_eq!(Offset::new(7).saturating_add(1).to_string(), "8");
    /// assert_eq!(Offset::MAX.checked_add(1), None);
    /// ```
    Offset(u64)
}
number! {
    /// Byte in a file.
    ///
    /// # Examples
    ///
    /// ```
    /// # use duolog::ids::Position;
    /// assert_eq!(Position::new(4096).since(Position::ZERO), 4096);
    /// ```
    Position(u64)
}
number! {
    /// Byte in the write-ahead log, counted over all files it ever had.
    ///
    /// # Examples
    ///
    /// ```
    /// # use duolog::ids::Lsn;
    /// assert!(Lsn::ZERO < Lsn::new(1));
    /// ```
    Lsn(u64)
}
number! {
    /// A topic; never used again after the topic was deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use duolog::ids::TopicId;
    /// assert_eq!(TopicId::new(3).get(), 3);
    /// ```
    TopicId(u32)
}

/// Milliseconds since 1970-01-01T00:00Z; negative before.
///
/// # Examples
///
/// ```
/// use duolog::ids::Timestamp;
///
/// let noon = Timestamp::from_millis(12 * 3_600_000);
/// assert_eq!(noon.saturating_add(-1).millis(), 43_199_999);
/// assert!(Timestamp::MIN < Timestamp::from_millis(-1));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time there is.
    pub const MIN: Self = Self(i64::MIN);

    /// `millis` milliseconds after (or before) 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This time and `millis` more, at most the last time there is.
    #[must_use]
    pub const fn saturating_add(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Which store a byte belongs to: drawn at random when the store is made, and
/// mixed into every checksum but that of the file which says it.
///
/// # Examples
///
/// ```
/// use duolog::ids::StoreId;
///
/// let id = StoreId::new([0xab; 16]);
/// assert_eq!(id.to_string(), "ab".repeat(16));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// Wraps sixteen bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// One partition of one topic.
///
/// # Examples
///
/// ```
/// use duolog::ids::{PartitionId, TopicId};
///
/// let id = PartitionId { topic: TopicId::new(7), partition: 3 };
/// assert_eq!(id.to_string(), "7/3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// Its partition, from 0.
    pub partition: u32,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A length of memory from a number on disk. Lossless: see the assertion on
/// the width of `usize` in this file.
pub(crate) fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("usize has 64 bits")
}

/// A number on disk from a length of memory.
pub(crate) fn to_u64(n: usize) -> u64 {
    u64::try_from(n).expect("usize has 64 bits")
}
