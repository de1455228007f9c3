//! Looking at a store that nobody has open: [`verify`] and [`dump`].
//!
//! Nothing is written, not even what opening a store would mend. A shared lock
//! keeps engines away that would write meanwhile. What the log holds, where it
//! ends and what is damage are decided by the code that opens a store
//! (`wal::recover`), so that the two never differ; this goes on behind
//! damage at which an engine stops.

use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::io::{FileSystem, OsFileSystem};

mod dump;
mod item;
mod queues;
mod report;
mod segments;
mod store;
mod strangers;
#[cfg(test)]
mod tests;
mod verify;

pub use dump::{DumpOptions, dump};
pub use item::DumpItem;
pub use report::{Outcome, Problem, VerifyReport};

/// Checks every byte of the store at `path` that counts.
///
/// # Examples
///
/// ```
/// use duolog::inspect::{self, Outcome};
/// use duolog::{Engine, Options};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("data");
/// Engine::open(&path, Options::default())?.close()?;
///
/// let report = inspect::verify(&path)?;
/// assert_eq!(report.outcome(), Outcome::Clean);
/// for problem in &report.problems {
///     println!("{} at byte {}: {}", problem.file, problem.position, problem.message);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// `NotFound` if there is no store, `Locked` while an engine has it open for
/// writing, `Unsupported` if it needs another version. Damage is no error: it
/// is in the report.
pub fn verify(path: &Path) -> Result<VerifyReport> {
    verify_with(Arc::new(OsFileSystem::new()), path, &mut |_, _| {})
}

/// The same on any file system. `progress` is told bytes done and bytes in all.
///
/// # Errors
///
/// As [`verify`].
#[expect(clippy::needless_pass_by_value, reason = "as the engine takes it")]
pub fn verify_with(
    fs: Arc<dyn FileSystem>,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<VerifyReport> {
    verify::verify(&*fs, path, progress)
}
