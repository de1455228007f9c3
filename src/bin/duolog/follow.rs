//! Following a store that others write to, one after the other.
//!
//! While somebody writes, nobody else can read; and whoever reads keeps writers
//! out. So a follower lets go of the store, and opens it again once a writer
//! has come and gone. It sees that without holding anything: each writer leaves
//! its name in the lock file.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime};

use duolog::{Engine, ErrorKind};

use crate::failure::Failure;
use crate::output;
use crate::signals;
use crate::store::StoreArgs;

/// Time between two looks at the lock file.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Opens a store whenever there may be something new in it.
#[derive(Debug)]
pub(crate) struct Follow<'a> {
    store: &'a StoreArgs,
    /// When the last writer whose records were seen had opened the store.
    seen: Option<SystemTime>,
    complained: bool,
}

impl<'a> Follow<'a> {
    /// Follows `store` from now on.
    pub(crate) fn new(store: &'a StoreArgs) -> Self {
        Self {
            store,
            seen: None,
            complained: false,
        }
    }

    /// Waits until a writer has come and gone, and opens the store. The first
    /// time, only until there is no writer.
    pub(crate) fn open(&mut self) -> Result<Engine, Failure> {
        loop {
            signals::check()?;
            if self.seen.is_none() || self.last_writer() != self.seen {
                match self.store.open_to_read() {
                    Err(Failure::Engine(error)) if error.kind() == ErrorKind::Locked => {
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
