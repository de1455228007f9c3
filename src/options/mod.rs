//! Every choice a user has, written down once: meaning, default, range, price.
//!
//! Setters only store; [`Engine::open`](crate::Engine::open) and
//! [`Engine::create_topic`](crate::Engine::create_topic) check the whole and
//! name the field that is wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};

mod append;
mod engine;
pub(crate) mod filter;
mod queue;
mod topic;

pub use append::{AppendOptions, Codec, Durability, OnLimit};
pub use engine::{Background, Options, ReadMode, SyncPolicy, WriteMode};
pub use filter::Filter;
pub use queue::{Backoff, ConsumerOptions, Overflow, QueueOptions};
pub(crate) use queue::{SHARDS_MAX, check_lease};
pub use topic::{Retention, TopicOptions};

/// Checks that `value` of the option `name` lies in `range`.
fn check_range<T: PartialOrd + Display + Copy>(
    name: &str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "option `{name}` is {value}; set it between {} and {}",
        range.start(),
        range.end()
    )))
}
