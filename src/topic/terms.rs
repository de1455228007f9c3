//! What an append asks of its topic's options, without a lock.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use crate::options::{Codec, Durability, TopicOptions};
use crate::partition::Terms;

/// A copy of the options that appends look at.
///
/// Each is taken by itself: an append beside an alteration may see some old
/// and some new. Each of them is one that the topic has or had.
#[derive(Debug)]
pub(super) struct SharedTerms {
    partitions: AtomicU32,
    durability: AtomicU8,
    codec: AtomicU8,
    record_bytes_max: AtomicU32,
    batch_bytes_max: AtomicU32,
}

impl SharedTerms {
    pub(super) fn new(options: &TopicOptions) -> Self {
        Self {
            partitions: options.partitions.into(),
            durability: options.durability.code().into(),
            codec: options.codec.code().into(),
            record_bytes_max: options.record_bytes_max.into(),
            batch_bytes_max: options.batch_bytes_max.into(),
        }
    }

    #[inline]
    pub(super) fn get(&self) -> Terms {
        let durability = Durability::from_code(self.durability.load(Ordering::Relaxed));
        let codec = Codec::from_code(self.codec.load(Ordering::Relaxed));
        Terms {
            partitions: self.partitions.load(Ordering::Acquire),
            durability: durability.expect("stored as a code"),
            codec: codec.expect("stored as a code"),
            record_bytes_max: self.record_bytes_max.load(Ordering::Relaxed),
            batch_bytes_max: self.batch_bytes_max.load(Ordering::Relaxed),
        }
    }

    /// Takes new options. Partitions never become fewer.
    pub(super) fn set(&self, options: &TopicOptions) {
        self.durability
            .store(options.durability.code(), Ordering::Relaxed);
        self.codec.store(options.codec.code(), Ordering::Relaxed);
        self.record_bytes_max
            .store(options.record_bytes_max, Ordering::Relaxed);
        self.batch_bytes_max
            .store(options.batch_bytes_max, Ordering::Relaxed);
        self.partitions
            .fetch_max(options.partitions, Ordering::Release);
    }
}
