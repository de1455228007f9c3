//! A simulated disk: power cuts, torn and reordered writes, scripted faults.
//!
//! [`SimFs`] keeps a file system in memory, and with it what of each file and
//! directory was synced. From there it makes the disks that a power cut could
//! leave behind, for a test to open:
//!
//! ```
//! use std::path::Path;
//! use duolog::io::sim::{Crash, SimFs};
//! use duolog::io::{FileSystem, OpenMode};
//!
//! let disk = SimFs::new(7);
//! let root = disk.open_root(Path::new("/data"), true)?;
//! let file = root.open("log", OpenMode::CreateNew)?;
//! file.write_all_at(b"acknowledged", 0)?;
//! file.sync_data()?;
//!
//! // The name was never synced: there are disks without it.
//! let after = disk.crash(Crash::NothingUnsynced);
//! assert!(after.list_files().is_empty());
//!
//! root.sync()?;
//! file.write_all_at(b" and more", 12)?;
//! for (choice, after) in disk.crash_images(8, 100, 1) {
//!     let bytes = after.read_file("/data/log");
//!     assert!(bytes.starts_with(b"acknowledged"), "{choice:?}");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Everything that changes the disk or makes a change durable is a numbered
//! step. [`SimFs::cut_power_at`] ends the run at one of them: that operation
//! is left pending, it and all later ones fail, and a crash image is opened
//! instead. A test that cuts at every step of a run, and opens every image,
//! has seen every power cut.
//!
//! A run is a function of the seed and the calls. A failed sync leaves what
//! was pending readable and not durable, and later syncs do not mend it, as on
//! Linux. Pages are written back whole: of two unsynced writes to one page,
//! keeping the second keeps the first.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{Directory, FileSystem, WriteQueue};
use crate::sync::{Mutex, MutexGuard};

mod content;
mod crash;
mod disk;
mod fault;
mod handle;
mod node;
mod queue;
mod random;
mod step;
mod tamper;
#[cfg(test)]
mod tests;
mod tree;

pub use crash::Crash;
pub use fault::{Counts, FaultRule, OpKind};

use content::SECTOR_LEN;
use disk::Disk;
use handle::SimDirectory;

/// A simulated disk. Clones are handles of the same disk.
///
/// # Examples
///
/// What your broker acknowledged is there after a power cut:
///
/// ```
/// use std::sync::Arc;
/// use duolog::clock::ManualClock;
/// use duolog::io::sim::{Crash, SimFs};
/// use duolog::{Background, Engine, Options, Record, TopicOptions};
///
/// let options = Options::default()
///     .background(Background::Manual)
///     .clock(Arc::new(ManualClock::new(0)));
/// let disk = SimFs::new(7);
/// let engine = Engine::open_with(Arc::new(disk.clone()), "/data", options.clone())?;
/// engine.create_topic("t", TopicOptions::default())?.append(&Record::new("acknowledged"))?;
///
/// let after = disk.crash(Crash::NothingUnsynced);
/// let engine = Engine::open_with(Arc::new(after), "/data", options)?;
/// assert_eq!(engine.topic("t")?.partition(0)?.end.get(), 1);
/// # Ok::<(), duolog::Error>(())
/// ```
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

/// Building and copying.
impl SimFs {
    /// An empty disk. Two with one seed behave alike.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(Disk::new(seed))
    }

    /// Whether files can be mapped. A map is a copy of what the file holds at
    /// that time. Default off: maps answer `None`.
    #[must_use]
    pub fn with_maps(self, maps: bool) -> Self {
        self.disk().settings.maps = maps;
        self
    }

    /// The most that a power cut keeps or loses as one: `len` bytes, a
    /// multiple of 512 up to 4096. Default 4096. Smaller units make more
    /// images. [`Crash::Seeded`] tears at 512 bytes in any case.
    ///
    /// # Panics
    ///
    /// If `len` is something else.
    #[must_use]
    pub fn with_unit_len(self, len: usize) -> Self {
        assert!(
            matches!(len, 512 | 1024 | 2048 | 4096),
            "expected a unit of 512, 1024, 2048 or 4096 bytes, found {len}"
        );
        self.disk().settings.unit_sectors = len / SECTOR_LEN;
        self
    }

    /// A copy of the disk and the cache in front of it, as the next process
    /// finds them: this is what `kill -9` leaves. Steps, counts, trace, rules,
    /// locks and handles begin anew, and the power is on.
    #[must_use]
    pub fn fork(&self) -> Self {
        let fork = self.disk().fork();
        Self::of(fork)
    }

    fn of(disk: Disk) -> Self {
        Self {
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// The state. A panic of a test while it was locked does not hide the rest.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Steps and power cuts.
impl SimFs {
    /// Steps done so far. The first step has number 1.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.disk().gate.steps
    }

    /// The last 10 000 steps in words, oldest first: number, kind, path, range.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.disk().gate.trace()
    }

    /// Cuts the power during step `step` (or the next one, if that is past).
    ///
    /// What that step does is pending, a sync included; it and all later calls
    /// fail with "power is off".
    pub fn cut_power_at(&self, step: u64) {
        self.disk().gate.cut_at = Some(step);
    }

    /// Cuts the power now.
    pub fn cut_power(&self) {
        self.disk().gate.off = true;
    }

    /// True after the cut.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.disk().gate.off
    }

    /// How many units of unsynced change a power cut may keep or lose: pieces
    /// of writes, changes of length, changes of names.
    #[must_use]
    pub fn pending_units(&self) -> usize {
        self.disk().pending_units()
    }

    /// Those units in words, oldest first: unit `i` is bit `i` of
    /// [`Crash::Subset`].
    #[must_use]
    pub fn pending(&self) -> Vec<String> {
        self.disk().describe_pending()
    }

    /// The disk that a power cut now would leave, powered on: nothing pending,
    /// no locks, no rules, steps counted from the start, a seed of its own.
    /// This disk stays as it is.
    #[must_use]
    pub fn crash(&self, choice: Crash) -> Self {
        let image = self.disk().crash(choice);
        Self::of(image)
    }

    /// What to try: all subsets if at most `exhaustive_up_to` units (never
    /// more than 20) are pending, else nothing, all, and `samples` by seed.
    #[must_use]
    pub fn crash_choices(&self, exhaustive_up_to: u32, samples: u32, seed: u64) -> Vec<Crash> {
        self.disk().crash_choices(exhaustive_up_to, samples, seed)
    }

    /// The disks for [`Self::crash_choices`], made one at a time.
    pub fn crash_images(
        &self,
        exhaustive_up_to: u32,
        samples: u32,
        seed: u64,
    ) -> impl Iterator<Item = (Crash, Self)> {
        let choices = self.crash_choices(exhaustive_up_to, samples, seed);
        let disk = self.clone();
        choices.into_iter().map(move |c| (c, disk.crash(c)))
    }
}

/// Faults, space and counts.
impl SimFs {
    /// Adds a fault to come. All rules hold side by side; of those that strike
    /// at once the one given first decides.
    pub fn fail(&self, rule: FaultRule) {
        self.disk().gate.faults.add(rule);
    }

    /// Takes all rules back. What they broke stays broken.
    pub fn clear_faults(&self) {
        self.disk().gate.faults.clear();
    }

    /// How many bytes files may take up, in pages of 4 KiB; `None` for no end.
    /// Beyond, writes and [`allocate`](super::File::allocate) fail with
    /// `StorageFull`. Overwriting what has its space never does.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().settings.capacity = bytes;
    }

    /// Bytes that files take up, removed ones that are still open included.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.disk().used()
    }

    /// How often what was done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.disk().gate.counts.clone()
    }
}

/// Direct access, behind the back of all handles: durable at once, no step, no
/// fault. Paths start from the root of the disk. A path that is not there is a
/// mistake in the test.
impl SimFs {
    /// What the file holds now, synced or not.
    ///
    /// # Panics
    ///
    /// If there is no file at `path`.
    #[must_use]
    #[track_caller]
    pub fn read_file(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let path = path.as_ref();
        let disk = self.disk();
        let file = disk.find(path).and_then(|ino| disk.file(ino));
        let bytes = file.map(|file| file.live.to_vec());
        drop(disk);
        done("read", path, bytes)
    }

    /// Replaces the file, or makes it, and the directories above it.
    ///
    /// # Panics
    ///
    /// If there is something other than a file at `path`.
    #[track_caller]
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        let result = self.disk().put_file(path, bytes);
        done("write", path, result);
    }

    /// Turns bit `bit` (0 to 7) of the byte at `byte` over.
    ///
    /// # Panics
    ///
    /// If there is no file at `path`, or it is not that long.
    #[track_caller]
    pub fn flip_bit(&self, path: impl AsRef<Path>, byte: u64, bit: u8) {
        let path = path.as_ref();
        let result = self.disk().flip_bit(path, byte, bit);
        done("flip a bit of", path, result);
    }

    /// Removes the file.
    ///
    /// # Panics
    ///
    /// If there is no file at `path`.
    #[track_caller]
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let result = self.disk().take_file(path);
        done("remove", path, result);
    }

    /// Moves the file, between directories too, and replaces what is there.
    ///
    /// # Panics
    ///
    /// If there is no file at `from`, or no directory for `to`.
    #[track_caller]
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        let from = from.as_ref();
        let result = self.disk().move_file(from, to.as_ref());
        done("rename", from, result);
    }

    /// Path and length of every file, sorted by path.
    #[must_use]
    pub fn list_files(&self) -> Vec<(String, u64)> {
        self.disk().files()
    }
}

/// Says what a test got wrong. The lock is free again by then.
#[track_caller]
fn done<T>(verb: &str, path: &Path, result: io::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("cannot {verb} {}: {error}", path.display()),
    }
}

impl FileSystem for SimFs {
    fn open_root(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Directory>> {
        let ino = self.disk().open_root(path, create)?;
        let fs = self.clone();
        Ok(Arc::new(SimDirectory { fs, ino }))
    }

    fn random(&self, buf: &mut [u8]) -> io::Result<()> {
        let mut disk = self.disk();
        disk.gate.powered()?;
        disk.random.fill(buf);
        Ok(())
    }

    fn name(&self) -> &'static str {
        "sim"
    }

    fn write_queue(&self, _depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.queue()
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk();
        f.debug_struct("SimFs")
            .field("seed", &disk.seed)
            .field("steps", &disk.gate.steps)
            .field("off", &disk.gate.off)
            .finish_non_exhaustive()
    }
}
