//! Following a store that others write to, one after the other.
//!
//! While somebody writes, nobody else can read; and whoever reads keeps writers
//! out. So a follower lets go of the store, and opens it again once a writer
//! has come and gone. It sees that without holding anything: each writer leaves
//! its name in the lock file.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use duolog::{Engine, ErrorKind};

use crate::failure::Failure;
use crate::output;
use crate::signals;
use crate::store::StoreArgs;

/// Time between two looks at the lock file.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a follower does in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// How long one wait may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    /// When to open the store although nobody wrote to it.
    pub(crate) look: Option<Instant>,
    /// When to give up, where somebody else holds the store.
    pub(crate) give_up: Option<Instant>,
}

/// Opens a store whenever there may be something new in it.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    store: &'a StoreArgs,
    access: Access,
    /// When the last writer whose records were seen had opened the store.
    seen: Option<SystemTime>,
    complained: bool,
}

impl<'a> Follow<'a> {
    /// Follows `store` from now on, and reads.
    pub(crate) fn new(store: &'a StoreArgs) -> Self {
        Self {
            store,
            access: Access::Read,
            seen: None,
            complained: false,
        }
    }

    /// Follows `store` from now on, and takes from it.
    pub(crate) fn taking(store: &'a StoreArgs) -> Self {
        Self {
            access: Access::Write,
            ..Self::new(store)
        }
    }

    /// Waits until a writer has come and gone, or the time of `patience` has, and
    /// opens the store. The first time, only until there is no writer.
    #[expect(clippy::disallowed_methods, reason = "waits of the tool's own")]
    pub(crate) fn open(&mut self, patience: Patience) -> Result<Engine, Failure> {
        let over = |end: Option<Instant>| end.is_some_and(|end| Instant::now() >= end);
        loop {
            signals::check()?;
            let new = self.seen.is_none() || self.last_writer() != self.seen;
            if new || over(patience.look) {
                match self.try_open() {
                    Err(Failure::Engine(error))
                        if error.kind() == ErrorKind::Locked && !over(patience.give_up) =>
                    {
                        if !std::mem::replace(&mut self.complained, true) {
                            output::note(&format!("waiting: {error}"));
                        }
                    }
                    other => return other,
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn try_open(&self) -> Result<Engine, Failure> {
        match self.access {
            Access::Read => self.store.open_to_read(),
            Access::Write => self.store.open_to_write(false),
        }
    }

    /// Lets go of the store.
    pub(crate) fn close(&mut self, engine: &Engine) -> Result<(), Failure> {
        // Asked while the store is held: no writer can come in between.
        self.seen = self.last_writer();
        self.complained = false;
        Ok(engine.close()?)
    }

    /// When the last writer opened the store.
    fn last_writer(&self) -> Option<SystemTime> {
        let about = fs::metadata(self.store.dir.join("LOCK")).ok()?;
        about.modified().ok()
    }
}
