//! The one error of the crate: what was attempted, where, why, and what now.
//!
//! [`Error`] is opaque and cheap to clone (one failed sync answers many
//! waiters). [`Error::kind`] says what the caller can do next, `Display` says
//! what was attempted and where, and `source()` says why.

use std::fmt;
use std::io;
use std::sync::Arc;

/// What every fallible operation of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do next.
///
/// # Examples
///
/// ```
/// use duolog::{Error, ErrorKind};
///
/// fn retry_later(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::Busy | ErrorKind::Full)
/// }
/// let error = "sometimes".parse::<duolog::Durability>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// assert!(!retry_later(&error));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request was wrong; the engine is unchanged. Fix the argument.
    Invalid,
    /// The named thing does not exist; the engine is unchanged.
    NotFound,
    /// The named thing exists already; the engine is unchanged.
    Exists,
    /// The position is outside what is kept; the message has the range.
    OutOfRange,
    /// A limit was reached; the engine is unchanged. Retry later.
    Busy,
    /// The disk or a quota is full; the engine is unchanged. Free space, retry.
    Full,
    /// A delivery is not this consumer's any more: it was answered before, or its
    /// lease ended and somebody else has the message. Nothing was changed; drop
    /// the work, or undo it.
    Fenced,
    /// Stored bytes are not what was written. Run `duolog verify` before going on.
    Corrupt,
    /// A write or a sync failed, so what is on disk is unknown. Close and reopen:
    /// what waited for an answer may be there, whole, or not.
    Poisoned,
    /// The engine was closed, or the topic deleted. Open it again.
    Closed,
    /// Another process, or this one, has the store open. Close it there first.
    Locked,
    /// The store was opened read-only, or lies on a read-only file system.
    ReadOnly,
    /// This build or this version cannot do it; the message names what is needed.
    Unsupported,
    /// The operating system refused; `source()` has its reason.
    Io,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid request",
            Self::NotFound => "not found",
            Self::Exists => "already exists",
            Self::OutOfRange => "out of range",
            Self::Busy => "limit reached",
            Self::Full => "no space left",
            Self::Fenced => "no longer this consumer's",
            Self::Corrupt => "corrupt",
            Self::Poisoned => "poisoned by a failed write or sync",
            Self::Closed => "closed",
            Self::Locked => "locked",
            Self::ReadOnly => "read-only",
            Self::Unsupported => "unsupported",
            Self::Io => "input/output error",
        })
    }
}

/// An error of the crate.
///
/// # Examples
///
/// ```
/// use duolog::{Engine, ErrorKind, Options};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let error = engine.topic("orders").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// The same, with the reason beneath.
    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            source: Some(Box::new(source)),
        }))
    }

    /// A wrong argument: what was expected, what was found, what to do.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Damage: `message` names file, byte and what did not check out.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An error of the operating system, classified by what can be done.
    ///
    /// `attempt` completes "cannot ...": `open wal/1.wal`.
    pub(crate) fn io(attempt: impl fmt::Display, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::WouldBlock => ErrorKind::Locked,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, format!("cannot {attempt}"), source)
    }

    /// The same error under another kind, keeping this one as its source.
    pub(crate) fn because(self, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::with_source(kind, message, self)
    }

    /// What the caller should do next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        // The reason belongs to the sentence: callers print one line.
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.0.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Error::io("write x", full).kind(), ErrorKind::Full);
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Error::io("write x", other).kind(), ErrorKind::Io);
    }

    #[test]
    fn display_says_what_was_attempted_and_why() {
        let source = io::Error::other("the dog ate it");
        let text = Error::io("open wal/1.wal", source).to_string();
        assert_eq!(text, "cannot open wal/1.wal: the dog ate it");
    }
}
