//! How a command ends: what it says on standard error, and its exit code.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use duolog::{Error, ErrorKind};

use crate::bench::Unfit;
use crate::output;

/// Exit code for stored bytes that are not what was written.
pub(crate) const CORRUPT: u8 = 2;
/// Exit code for everything else that could not be done.
pub(crate) const CANNOT_RUN: u8 = 3;
/// Exit code of a comparison in which something got worse.
const WORSE: u8 = 4;
/// Exit code after a signal, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// How a command ended that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// As it should.
    Well,
    /// It found a torn tail.
    Torn,
    /// It found damage.
    Corrupt,
    /// It compared, and something got worse.
    Worse,
}

impl From<Done> for ExitCode {
    fn from(done: Done) -> Self {
        match done {
            Done::Well => Self::SUCCESS,
            Done::Torn => Self::from(1),
            Done::Corrupt => Self::from(CORRUPT),
            Done::Worse => Self::from(WORSE),
        }
    }
}

/// Why a command ended before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine said so.
    Engine(Error),
    /// The operating system said so, to the tool itself.
    Io {
        /// Completes "cannot ...".
        attempt: String,
        source: io::Error,
    },
    /// A batch that checks out holds what cannot be decoded.
    Corrupt(String),
    /// An earlier report is not one to compare with.
    Unfit { path: PathBuf, why: Unfit },
    /// The tool itself refuses.
    Refused(String),
    /// Nobody reads the output any more (`| head`): no failure.
    PipeClosed,
    /// A signal asked to end.
    Interrupted,
}

impl Failure {
    /// A failure of the operating system; `attempt` completes "cannot ...".
    pub(crate) fn io(attempt: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            attempt: attempt.into(),
            source,
        }
    }

    /// A failure to write to standard output.
    pub(crate) fn stdout(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::PipeClosed;
        }
        Self::io("write to standard output", source)
    }

    /// Says on standard error what went wrong, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::PipeClosed => return ExitCode::SUCCESS,
            Self::Interrupted => return ExitCode::from(INTERRUPTED),
            _ => output::note(&self.to_string()),
        }
        match self {
            Self::Engine(error) if error.kind() == ErrorKind::Corrupt => ExitCode::from(CORRUPT),
            Self::Corrupt(_) => ExitCode::from(CORRUPT),
            _ => ExitCode::from(CANNOT_RUN),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Io { attempt, source } => write!(f, "cannot {attempt}: {source}"),
            Self::Unfit { path, why } => {
                write!(f, "cannot compare with {}: {why}", path.display())
            }
            Self::Corrupt(why) | Self::Refused(why) => f.write_str(why),
            Self::PipeClosed => f.write_str("nobody reads the output"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}
