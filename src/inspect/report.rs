//! What a verification found, for people and for programs.

use std::fmt;

use crate::ids::Offset;

/// What the state of a store means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Outcome {
    /// Everything checks out.
    Clean,
    /// The log ends in a write that a crash cut short and that was never
    /// acknowledged. Opening the store cuts it.
    Torn,
    /// Stored bytes are missing, or not what was written.
    Corrupt,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Torn => "torn",
            Self::Corrupt => "corrupt",
        })
    }
}

/// One thing that does not check out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Problem {
    /// The file, from the directory of the store on.
    pub file: String,
    /// The byte in it.
    pub position: u64,
    /// What was expected there, and what was found.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            position,
            message,
        } = self;
        write!(f, "{file} at byte {position}: {message}")
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct VerifyReport {
    /// Identity of the store, in hexadecimal.
    pub store: String,
    /// Files that were checked.
    pub files: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// Batches in segments, and in the log behind them.
    pub batches: u64,
    /// Records in those batches.
    pub records: u64,
    /// Bytes at the end of the log that opening the store will cut.
    pub torn_bytes: u64,
    /// Damage, in the order in which it was found.
    pub problems: Vec<Problem>,
    /// What is unusual and does no harm.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// The report in one word.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if !self.problems.is_empty() {
            Outcome::Corrupt
        } else if self.torn_bytes > 0 {
            Outcome::Torn
        } else {
            Outcome::Clean
        }
    }

    pub(super) fn problem(&mut self, file: &str, position: u64, message: impl fmt::Display) {
        self.problems.push(Problem {
            file: file.to_owned(),
            position,
            message: message.to_string(),
        });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = self.outcome();
        writeln!(f, "store {}: {outcome}", self.store)?;
        writeln!(f, "  {} files, {} bytes checked", self.files, self.bytes)?;
        writeln!(f, "  {} batches, {} records", self.batches, self.records)?;
        if self.torn_bytes > 0 {
            let torn = self.torn_bytes;
            writeln!(
                f,
                "  {torn} bytes at the end of the log were cut short by a"
            )?;
            writeln!(
                f,
                "  crash and never acknowledged: opening the store cuts them"
            )?;
        }
        for (title, count) in [
            ("problems", self.problems.len()),
            ("notes", self.notes.len()),
        ] {
            if count == 0 {
                continue;
            }
            writeln!(f, "{title}:")?;
            match title {
                "notes" => self.notes.iter().try_for_each(|n| writeln!(f, "  {n}"))?,
                _ => self
                    .problems
                    .iter()
                    .try_for_each(|p| writeln!(f, "  {p}"))?,
            }
        }
        Ok(())
    }
}

/// "offsets 3..9", as all of this module writes it.
pub(super) fn range(from: Offset, to: Offset) -> String {
    format!("offsets {from}..{to}")
}
