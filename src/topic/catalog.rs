//! The catalog: which topics there are. Changed only by what the log says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::TopicState;
use crate::error::{Error, ErrorKind, Result};
use crate::format::topic::TopicMeta;
use crate::ids::TopicId;
use crate::partition::PartitionEnv;

/// Which topics there are.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    by_name: BTreeMap<String, Arc<TopicState>>,
    by_id: HashMap<TopicId, Arc<TopicState>>,
    /// The next id; none is used twice.
    pub(crate) next_id: TopicId,
}

impl Catalog {
    /// The topic with this name.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<TopicState>> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no topic {name:?}; create it first"),
            )
        })
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<&Arc<TopicState>> {
        self.by_id.get(&id)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// All topics, sorted by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<TopicState>> {
        self.by_name.values()
    }

    /// Adds a topic. Adding one that is there is no change: the log is
    /// replayed from a snapshot that may have it.
    ///
    /// # Errors
    ///
    /// `Corrupt` if another topic has its name.
    pub(crate) fn add(&mut self, meta: TopicMeta, env: &Arc<PartitionEnv>) -> Result<()> {
        if self.by_id.contains_key(&meta.id) {
            return Ok(());
        }
        if self.by_name.contains_key(&meta.name) {
            return Err(Error::corrupt(format!(
                "two topics have the name {:?}, the second with id {}",
                meta.name, meta.id
            )));
        }
        self.next_id = self.next_id.max(meta.id.saturating_add(1));
        let topic = TopicState::new(meta, Arc::clone(env));
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
        Ok(())
    }

    /// Takes a topic out.
    pub(crate) fn remove(&mut self, id: TopicId) -> Option<Arc<TopicState>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}
