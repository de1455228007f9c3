//! The files of a report: proven to be writable before the run, complete or
//! absent after it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A page that will be written, and the JSON beside it.
#[derive(Debug)]
pub(super) struct ReportFile {
    page: PathBuf,
    json: PathBuf,
    /// Shows that the directory can be written to; becomes the page.
    part: PathBuf,
}

impl ReportFile {
    /// Finds now what would otherwise be found when all is measured.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the user's, not a store"
    )]
    pub(super) fn begin(page: &Path) -> Result<Self, Failure> {
        let refuse = |why: String| Err(Failure::Refused(why));
        let json = page.with_extension("json");
        if json == page {
            return refuse(format!(
                "--report {} is the page, and the JSON goes beside it: give a name in .html",
                page.display()
            ));
        }
        let parent = page
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return refuse(format!(
                "cannot write --report {}: there is no directory {}; make it first",
                page.display(),
                parent.display()
            ));
        }
        if page.is_dir() {
            return refuse(format!(
                "--report {} is a directory: give the name of a file in it",
                page.display()
            ));
        }
        let part = page.with_extension(format!("part-{}", std::process::id()));
        fs::write(&part, b"").map_err(|error| fail(page, error))?;
        Ok(Self {
            page: page.to_owned(),
            json,
            part,
        })
    }

    /// Writes both; a page that was there before is replaced as a whole.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file of the user's, not a store"
    )]
    pub(super) fn finish(self, page: &str, json: &str) -> Result<(PathBuf, PathBuf), Failure> {
        for (path, text) in [(&self.json, json), (&self.page, page)] {
            fs::write(&self.part, text)
                .and_then(|()| fs::rename(&self.part, path))
                .map_err(|error| fail(path, error))?;
        }
        Ok((self.page.clone(), self.json.clone()))
    }
}

fn fail(path: &Path, error: io::Error) -> Failure {
    Failure::io(format!("write the report {}", path.display()), error)
}

impl Drop for ReportFile {
    #[expect(clippy::disallowed_methods, reason = "a file of its own")]
    fn drop(&mut self) {
        // Renamed if all went well, and then there is nothing to remove.
        fs::remove_file(&self.part).unwrap_or_default();
    }
}
