//! A directory for a run, gone when it is over.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;

use crate::Result;

/// A new directory, removed with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new directory in `dir`, which must exist.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            return Err(format!("{} is not a directory: make it first", dir.display()).into());
        }
        let dir = dir.canonicalize()?;
        let path = dir.join(format!("duolog-peers-{}", process::id()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            let path = self.0.display();
            // Nobody is left to tell if standard error is closed.
            writeln!(io::stderr(), "cannot remove {path}: {error}").ok();
        }
    }
}
