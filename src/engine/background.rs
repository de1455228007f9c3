//! Background work: steps that return, and the two threads that call them.
//!
//! One thread commits what nobody waits for; the other makes files ready,
//! makes checkpoints and lets retention run. An embedder without threads calls
//! the same steps through [`Engine::run_pending`](crate::Engine::run_pending).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Background, SyncPolicy};
use crate::partition::{PartitionEnv, Relief};
use crate::signal::{Signal, lock};
use crate::sync::Mutex;

/// Longest sleep of a thread that has nothing to do.
const IDLE: Duration = Duration::from_millis(500);

/// Time between two looks at what has no signal: the length of the log.
const LOOK: Duration = Duration::from_millis(20);

/// Bounds of a linger that follows the disk.
const LINGER_MIN: Duration = Duration::from_millis(1);
const LINGER_MAX: Duration = Duration::from_millis(20);

/// The threads of an engine.
#[derive(Debug, Default)]
pub(super) struct Threads {
    stop: Arc<AtomicBool>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    pub(super) fn start(&self, shared: &Arc<Shared>) -> Result<()> {
        self.spawn("duolog-commit", shared, commit_loop)?;
        self.spawn("duolog-maintain", shared, maintain_loop)
    }

    fn spawn(&self, name: &str, shared: &Arc<Shared>, run: fn(&Shared)) -> Result<()> {
        // Weak: a thread does not keep the store open. It is joined before the
        // last owner goes, so the upgrade always works but at the very end.
        let shared = Arc::downgrade(shared);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let handle = thread
            .spawn(move || {
                if let Some(shared) = shared.upgrade() {
                    run(&shared);
                }
            })
            .map_err(|error| Error::io(format!("start the thread {name}"), error))?;
        lock(&self.handles).push(handle);
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Ends the threads and waits for them.
    pub(super) fn stop(&self, env: &PartitionEnv) {
        self.stop.store(true, Ordering::Release);
        if let Some(wal) = env.wal.get() {
            wal.work().notify();
        }
        env.memory.pressure.notify();
        for handle in lock(&self.handles).drain(..) {
            // A thread that panicked has nothing left to say.
            drop(handle.join());
        }
    }
}

fn commit_loop(shared: &Shared) {
    let Some(wal) = shared.env.wal.get() else {
        return;
    };
    let idle = match shared.options.sync_policy {
        SyncPolicy::Interval(interval) => interval.min(IDLE),
        SyncPolicy::Always | SyncPolicy::Never => IDLE,
    };
    while !shared.threads.stopped() {
        let seen = wal.work().seen();
        let waiting = !shared.env.open.is_empty() || wal.has_work();
        let linger = shared
            .options
            .linger
            .unwrap_or_else(|| adapted(wal.sync_time()));
        if waiting && !linger.is_zero() && !wal.is_pressed() && !wal.is_flying_unled() {
            // More may come to share the write. Full groups end the wait.
            wal.work().wait(seen, linger);
        }
        if shared.commit_step() {
            // A file may have been used up.
            if wal.needs_spare() {
                shared.env.memory.pressure.notify();
            }
        } else if !shared.threads.stopped() {
            wal.work().wait(seen, idle);
        }
    }
}

/// How long buffered records wait where nobody said: four syncs, so that they
/// keep the disk busy for a quarter of the time at the most.
fn adapted(sync: Duration) -> Duration {
    (4 * sync).clamp(LINGER_MIN, LINGER_MAX)
}

fn maintain_loop(shared: &Shared) {
    while !shared.threads.stopped() {
        let seen = shared.env.memory.pressure.seen();
        // First, and whatever comes of the rest: a delay that is over waits for no
        // checkpoint that finds no space. Nor do appends wait for a queue that has
        // trouble.
        if let Err(error) = shared.queue_step() {
            shared.event(&format!("a queue has trouble, trying again: {error}"));
        }
        let result = shared.maintain();
        let failed = result.is_err();
        if let Err(error) = &result {
            shared.event(&format!("background work failed, trying again: {error}"));
        }
        *lock(&shared.trouble) = result.err();
        if failed {
            // Appends that wait for room hear of the trouble instead.
            shared.env.memory.freed.notify();
        }
        shared.env.memory.pressure.wait(seen, LOOK);
    }
}

impl Shared {
    /// Writes to the log what nobody waits for. True if there was any.
    pub(super) fn commit_step(&self) -> bool {
        let open = self.env.open.take();
        let sealed = !open.is_empty();
        for partition in open {
            if partition.seal_step().is_err() {
                return false;
            }
        }
        let Some(wal) = self.env.wal.get() else {
            return false;
        };
        sealed | (wal.poison().is_none() && wal.commit_step())
    }

    /// Makes files ready, makes a checkpoint and runs retention, as far as
    /// they are due. True if anything was.
    pub(super) fn maintain(&self) -> Result<bool> {
        let Some(wal) = self.env.wal.get().filter(|wal| wal.check_open().is_ok()) else {
            return Ok(false);
        };
        let mut did = wal.prepare_step()?;
        if self.is_checkpoint_due() {
            did |= self.checkpoint_now()?;
        }
        if self.is_retention_due() {
            did |= self.retention_pass()? > 0;
        }
        did |= self.remove_garbage()?;
        Ok(did)
    }

    fn is_checkpoint_due(&self) -> bool {
        let memory = self.env.memory.take_pressure();
        let log = self.env.log_bytes() >= self.options.wal_bytes_max / 4;
        let at = lock(&self.checkpoint).at;
        let since = self.options.clock.monotonic().saturating_sub(at);
        let old = since >= self.options.checkpoint_interval && self.env.log_bytes() > 0;
        memory || log || old
    }
}

/// Makes room for appends that wait.
#[derive(Debug)]
pub(super) struct Helper {
    shared: Weak<Shared>,
    pressure: Arc<Signal>,
}

impl Helper {
    pub(super) fn new(shared: Weak<Shared>, pressure: Arc<Signal>) -> Self {
        Self { shared, pressure }
    }
}

impl Relief for Helper {
    fn relieve(&self) -> Result<()> {
        let Some(shared) = self.shared.upgrade() else {
            return Ok(());
        };
        if shared.options.background == Background::Manual {
            shared.commit_step();
            return shared.checkpoint_now().map(|_| ());
        }
        self.pressure.notify();
        let trouble = lock(&shared.trouble).clone();
        match trouble.filter(|error| error.kind() != ErrorKind::Closed) {
            None => Ok(()),
            Some(error) => Err(error.clone().because(
                error.kind(),
                "no room for the append: moving records to segments failed",
            )),
        }
    }
}
