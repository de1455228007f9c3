//! A ticket: an append that the disk has not answered yet.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Engine;
use crate::error::Result;
use crate::partition::{Accepted, Appended};

/// An append under way, from [`Topic::append_nowait`](super::Topic::append_nowait).
///
/// Wait on it from a thread, or await it from any async runtime: it is a
/// future that needs no reactor. Dropping it changes nothing: the append goes
/// on. It keeps the store open.
///
/// Done at once where the append is not durable.
///
/// # Examples
///
/// ```
/// use duolog::{AppendOptions, Engine, Options, Record, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let topic = engine.create_topic("t", TopicOptions::default())?;
/// let tickets: Vec<_> = (0..10)
///     .map(|n| topic.append_nowait(&[Record::new(&[n])], &AppendOptions::default()))
///     .collect::<Result<_, _>>()?;
/// for (n, ticket) in tickets.into_iter().enumerate() {
///     assert_eq!(ticket.wait()?[0].offset.get(), n as u64);
/// }
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "without waiting nobody knows whether the records are durable"]
pub struct Ticket {
    engine: Engine,
    accepted: Accepted,
}

impl Ticket {
    pub(super) fn new(engine: Engine, accepted: Accepted) -> Self {
        Self { engine, accepted }
    }

    /// Where the records go if all is well: known before they are durable.
    #[must_use]
    pub fn appended(&self) -> &[Appended] {
        &self.accepted.appended
    }

    /// Waits until the append is what was asked for, writing the log itself if
    /// nobody else does.
    ///
    /// # Errors
    ///
    /// `Poisoned` if a write failed: the records may or may not survive.
    pub fn wait(self) -> Result<Vec<Appended>> {
        if let Some(handle) = &self.accepted.handle {
            handle.wait(self.engine.shared().env.wal()?)?;
        }
        Ok(self.accepted.appended)
    }

    /// The same for at most `timeout`; false if that passed. Can be called
    /// again.
    ///
    /// If nobody else writes, this thread does, and then it takes as long as
    /// that write and sync.
    ///
    /// # Errors
    ///
    /// As [`Self::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<bool> {
        let Some(handle) = &self.accepted.handle else {
            return Ok(true);
        };
        let result = handle.wait_timeout(self.engine.shared().env.wal()?, timeout);
        result.map_or(Ok(false), |done| done.map(|()| true))
    }
}

impl Future for Ticket {
    type Output = Result<Vec<Appended>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let result = match &this.accepted.handle {
            None => Ok(()),
            Some(handle) => {
                let wal = this.engine.shared().env.wal()?;
                match handle.poll(wal, context.waker()) {
                    None => return Poll::Pending,
                    Some(result) => result,
                }
            }
        };
        Poll::Ready(result.map(|()| this.accepted.appended.clone()))
    }
}
