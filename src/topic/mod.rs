//! Topics: named collections of partitions.
//!
//! A name leads to an id, and only ids lead to files. A partition costs a
//! pointer until it is first used.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Result};
use crate::format::snapshot::PartitionState;
use crate::format::topic::TopicMeta;
use crate::format::{Record, TOPIC_NAME_LEN_MAX};
use crate::ids::{PartitionId, TopicId};
use crate::options::TopicOptions;
use crate::partition::{Partition, PartitionEnv, SharedOptions, Terms};
use crate::signal::{Audience, lock};
use crate::sync::Mutex;

mod catalog;
mod routing;
mod slots;
mod terms;

pub(crate) use catalog::Catalog;

pub(crate) use slots::Slots;
use terms::SharedTerms;

/// Bytes after which records without a key go to the next partition: large
/// enough for a batch, small enough to spread (Kafka's `batch.size`).
const STICKY_BYTES: u64 = 16 << 10;

/// A topic of an open store.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    options: SharedOptions,
    /// What appends ask of `options`.
    terms: SharedTerms,
    partitions: Slots<Arc<Partition>>,
    /// Told of news of every partition.
    audience: Arc<Audience>,
    /// Held while a partition is made.
    making: Mutex<()>,
    env: Arc<PartitionEnv>,
    /// Set with `making` held; then no partition is made any more.
    deleted: AtomicBool,
    sticky: AtomicU32,
    sticky_bytes: AtomicU64,
}

/// A topic, as it was made or altered; from
/// [`Engine::topics`](crate::Engine::topics).
///
/// # Examples
///
/// ```
/// use duolog::TopicOptions;
/// # use duolog::{Engine, Options};
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// engine.create_topic("orders", TopicOptions::default().partitions(3))?;
/// engine.create_topic("clicks", TopicOptions::default())?;
///
/// let topics = engine.topics();
/// assert_eq!(topics[1].name, "orders", "sorted by name");
/// assert_eq!(topics[1].options.partitions, 3);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TopicInfo {
    /// Never used again after the topic was deleted.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// How it was made or last altered.
    pub options: TopicOptions,
}

impl TopicState {
    pub(crate) fn new(meta: TopicMeta, env: Arc<PartitionEnv>) -> Arc<Self> {
        Arc::new(Self {
            id: meta.id,
            name: meta.name,
            terms: SharedTerms::new(&meta.options),
            options: Arc::new(RwLock::new(Arc::new(meta.options))),
            partitions: Slots::default(),
            audience: Arc::default(),
            making: Mutex::default(),
            env,
            deleted: AtomicBool::new(false),
            sticky: AtomicU32::new(0),
            sticky_bytes: AtomicU64::new(0),
        })
    }

    pub(crate) fn options(&self) -> Arc<TopicOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the log and the snapshot say of it.
    pub(crate) fn meta(&self) -> TopicMeta {
        TopicMeta {
            id: self.id,
            name: self.name.clone(),
            options: self.options().as_ref().clone(),
        }
    }

    pub(crate) fn info(&self) -> TopicInfo {
        let meta = self.meta();
        TopicInfo {
            id: meta.id,
            name: meta.name,
            options: meta.options,
        }
    }

    /// What the topic says of appends.
    pub(crate) fn terms(&self) -> Terms {
        self.terms.get()
    }

    /// The partition with this number.
    ///
    /// # Errors
    ///
    /// `NotFound` with the range; `Closed` if the topic was deleted.
    #[inline]
    pub(crate) fn partition(&self, number: u32) -> Result<&Arc<Partition>> {
        if !self.deleted.load(Ordering::Acquire)
            && number < self.terms.get().partitions
            && let Some(partition) = self.partitions.get(number)
        {
            return Ok(partition);
        }
        self.make_partition(number)
    }

    fn make_partition(&self, number: u32) -> Result<&Arc<Partition>> {
        let _making = lock(&self.making);
        if self.deleted.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("topic {:?} was deleted", self.name),
            ));
        }
        let slot = self.slot(number).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!(
                    "topic {:?} has no partition {number}; it has 0 to {}",
                    self.name,
                    self.terms.get().partitions.saturating_sub(1)
                ),
            )
        })?;
        Ok(slot.get_or_init(|| self.make(number, None)))
    }

    fn slot(&self, number: u32) -> Option<&std::sync::OnceLock<Arc<Partition>>> {
        let exists = number < self.terms.get().partitions;
        self.partitions.slot(number).filter(|_| exists)
    }

    fn make(&self, number: u32, saved: Option<PartitionState>) -> Arc<Partition> {
        let id = PartitionId {
            topic: self.id,
            partition: number,
        };
        let (env, options) = (Arc::clone(&self.env), Arc::clone(&self.options));
        Partition::new(id, env, options, Arc::clone(&self.audience), saved)
    }

    /// Puts a partition in the state that a snapshot has.
    pub(crate) fn restore(&self, saved: PartitionState) -> Result<()> {
        let number = saved.id.partition;
        let made = self
            .slot(number)
            .map(|slot| slot.set(self.make(number, Some(saved))));
        if made.is_some_and(|made| made.is_ok()) {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "the snapshot has state for partition {}/{number}, which its topic does not have, or \
             twice",
            self.id
        )))
    }

    /// True if it is of the store that `env` is of.
    pub(crate) fn is_of(&self, env: &Arc<PartitionEnv>) -> bool {
        Arc::ptr_eq(&self.env, env)
    }

    /// Who is told of news of every partition.
    pub(crate) fn audience(&self) -> &Audience {
        &self.audience
    }

    /// True if the partition with this number was used.
    pub(crate) fn is_used(&self, number: u32) -> bool {
        self.partitions.get(number).is_some()
    }

    /// Partitions that were used.
    pub(crate) fn used(&self) -> Vec<Arc<Partition>> {
        self.partitions.used().map(Arc::clone).collect()
    }

    /// Makes every further use an error and wakes all who wait.
    pub(crate) fn delete(&self) {
        {
            let _making = lock(&self.making);
            self.deleted.store(true, Ordering::Release);
        }
        for partition in self.used() {
            partition.delete();
        }
    }

    /// Takes new options, which were checked.
    pub(crate) fn alter(&self, options: TopicOptions) {
        self.terms.set(&options);
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }

    /// The partition that a record goes to: by its key, or else to the one
    /// that is filled at present.
    pub(crate) fn route(&self, record: &Record<'_>, partitions: u32) -> u32 {
        match record.key_bytes() {
            Some(key) => routing::by_key(key, partitions),
            None => self.sticky.load(Ordering::Relaxed) % partitions.max(1),
        }
    }

    /// Counts bytes without a key; moves on to the next partition now and then.
    pub(crate) fn count_sticky(&self, bytes: u64) {
        let before = self.sticky_bytes.fetch_add(bytes, Ordering::Relaxed);
        if (before % STICKY_BYTES) + bytes >= STICKY_BYTES {
            self.sticky.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Checks a name.
///
/// # Errors
///
/// `Invalid`, saying what is allowed.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::invalid(format!(
            "name {name:?} {what}; use 1 to {TOPIC_NAME_LEN_MAX} bytes of UTF-8 without \
             `/` and control characters, other than `.` and `..`"
        )))
    };
    if name.is_empty() {
        return wrong("is empty");
    }
    if name.len() > TOPIC_NAME_LEN_MAX {
        return wrong("is too long");
    }
    if name == "." || name == ".." {
        return wrong("is reserved");
    }
    if name
        .chars()
        .any(|letter| letter == '/' || letter.is_control())
    {
        return wrong("has a `/` or a control character");
    }
    Ok(())
}
