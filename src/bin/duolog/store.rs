//! Which store a command works on, and how it opens it.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use duolog::{Engine, ErrorKind, Options};

use crate::failure::Failure;
use crate::signals;

/// Longest time that a command waits for the store to write to. Commands that
/// only look hold it for moments, and should make no writer fail.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Which store.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// Directory of the store.
    #[arg(short, long, value_name = "DIR", default_value = "data")]
    pub(crate) dir: PathBuf,
}

impl StoreArgs {
    /// Opens the store without writing anything.
    pub(crate) fn open_to_read(&self) -> Result<Engine, Failure> {
        let options = Options::default().read_only(true).create(false);
        Ok(Engine::open(&self.dir, options)?)
    }

    /// Opens the store for writing; makes it first, with `create`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a bound on a wait of the tool's own"
    )]
    pub(crate) fn open_to_write(&self, create: bool) -> Result<Engine, Failure> {
        let started = Instant::now();
        loop {
            match Engine::open(&self.dir, Options::default().create(create)) {
                Err(error)
                    if error.kind() == ErrorKind::Locked && started.elapsed() < LOCK_WAIT_MAX =>
                {
                    signals::check()?;
                    thread::sleep(LOCK_RETRY);
                }
                other => return Ok(other?),
            }
        }
    }
}
