//! A directory for one measurement, gone when it is over.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;

use crate::failure::Failure;
use crate::output;

/// Names to try: an earlier run that was killed may have left one.
const NAMES_MAX: u32 = 1000;

/// A new directory, removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new directory in `dir`.
    pub(super) fn new(dir: &Path) -> Result<Self, Failure> {
        let fail = |path: &Path, error| Failure::io(format!("make {}", path.display()), error);
        let mut parents = DirBuilder::new();
        parents.recursive(true).mode(0o700);
        parents.create(dir).map_err(|error| fail(dir, error))?;
        for n in 0..NAMES_MAX {
            let path = dir.join(format!("duolog-bench-{}-{n}", process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail(&path, error)),
            }
        }
        Err(Failure::Refused(format!(
            "{} is full of directories duolog-bench-*: remove them",
            dir.display()
        )))
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            output::note(&format!("cannot remove {}: {error}", self.0.display()));
        }
    }
}
