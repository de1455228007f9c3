//! Creating, altering, deleting and listing topics.

use std::sync::Arc;

use super::{Engine, Shared, Topic};
use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::snapshot::Garbage;
use crate::format::topic::TopicMeta;
use crate::options::TopicOptions;
use crate::signal::lock;
use crate::topic::{TopicInfo, check_name};
use crate::wal::Ask;

impl Shared {
    /// Writes a change of the catalog to the log and waits for it.
    fn log_change(&self, entry: Entry<'_>) -> Result<()> {
        let wal = self.env.wal()?;
        let ask = Ask {
            sync: true,
            ..Ask::default()
        };
        wal.enqueue(&[entry], ask)?.wait(wal)
    }
}

impl Engine {
    /// Makes a topic; durable at return.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong name or option, naming it; `Exists`; `Closed`,
    /// `ReadOnly`, `Full`, and nothing is changed then. `Poisoned`: the topic may
    /// or may not be there when the store is opened again.
    pub fn create_topic(&self, name: &str, options: TopicOptions) -> Result<Topic> {
        let shared = self.shared();
        shared.check_open()?;
        check_name(name)?;
        options.check()?;
        let _admin = lock(&shared.admin);
        shared.check_free(name)?;
        let id = shared.catalog().next_id;
        let meta = TopicMeta {
            id,
            name: name.to_owned(),
            options,
        };
        shared.log_change(Entry::CreateTopic(meta.clone()))?;
        shared.catalog_mut().add(meta, &shared.env)?;
        self.topic(name)
    }

    /// The topic with this name.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Closed`; `Invalid` if it is a queue.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        self.shared().check_open()?;
        self.shared().refuse_queue(name)?;
        let state = self.shared().catalog().get(name)?;
        Ok(Topic::new(self.clone(), state))
    }

    /// All topics, sorted by name, without those that have the messages of
    /// queues; also after the engine was closed.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicInfo> {
        let shared = self.shared();
        let catalog = shared.catalog();
        let queues = shared.queues.registry();
        let topics = catalog.all().filter(|topic| !queues.contains(&topic.name));
        topics.map(|topic| topic.info()).collect()
    }

    /// Gives a topic new options, all of them; durable at return. Partitions
    /// can be added, not removed; with more of them, keys go elsewhere.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong option, or fewer partitions; `NotFound`, `Closed`,
    /// `ReadOnly`, `Full`, and nothing is changed then. `Poisoned`: the change may
    /// or may not be there when the store is opened again.
    pub fn alter_topic(&self, name: &str, options: TopicOptions) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        options.check()?;
        let _admin = lock(&shared.admin);
        shared.refuse_queue(name)?;
        let topic = shared.catalog().get(name)?;
        let present = topic.options().partitions;
        if options.partitions < present {
            return Err(Error::invalid(format!(
                "topic {name:?} has {present} partitions; it cannot go down to {}",
                options.partitions
            )));
        }
        let meta = TopicMeta {
            id: topic.id,
            name: name.to_owned(),
            options: options.clone(),
        };
        shared.log_change(Entry::AlterTopic(meta))?;
        topic.alter(options);
        Ok(())
    }

    /// Deletes a topic with all its records; durable at return. Its directory
    /// goes now or in the background, with whatever else lies in it; handles of
    /// the topic answer `Closed`.
    ///
    /// # Errors
    ///
    /// `Invalid` if it has subscriptions; `NotFound`, `Closed`, `ReadOnly`, `Full`,
    /// and nothing is changed then. `Poisoned`: the topic may or may not be there
    /// when the store is opened again.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        {
            let _admin = lock(&shared.admin);
            shared.refuse_queue(name)?;
            let topic = shared.catalog().get(name)?;
            shared.check_unsubscribed(&topic)?;
            shared.log_change(Entry::DeleteTopic(topic.id))?;
            // From here on no flush makes a file of it.
            topic.delete();
            // Listed as garbage before it leaves the catalog, so that no
            // snapshot misses both.
            lock(&shared.garbage).push(Garbage::Topic(topic.id));
            shared.catalog_mut().remove(topic.id);
        }
        let removed = shared.remove_garbage();
        // The topic is gone; files that could not be removed are tried again.
        if let Err(error) = removed {
            shared.event(&format!("files of a deleted topic remain for now: {error}"));
        }
        Ok(())
    }
}

impl std::fmt::Display for TopicInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (id {}, {} partitions)",
            self.name, self.id, self.options.partitions
        )
    }
}

/// Keeps the topic's state alive while handles of it are.
pub(super) type TopicHandle = Arc<crate::topic::TopicState>;
