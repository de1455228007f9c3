//! Faults by script, and the count of what was done.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// What a caller asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OpKind {
    /// A file was opened, created or not.
    Open,
    /// A file was created. A step.
    Create,
    /// A directory was opened.
    OpenDir,
    /// A directory was made. A step.
    CreateDir,
    /// A file was read.
    Read,
    /// A file was written, vectored or not. A step.
    Write,
    /// The length of a file was set. A step.
    SetLen,
    /// Space was reserved. A step.
    Allocate,
    /// A file was synced. A step.
    Sync,
    /// A directory was synced. A step.
    DirSync,
    /// A name was changed. A step.
    Rename,
    /// A file was removed. A step.
    Remove,
    /// A directory was removed. A step.
    RemoveDir,
    /// A directory was listed.
    List,
    /// The length of a file was asked for.
    Len,
    /// A file was mapped.
    Map,
    /// A lock was asked for.
    Lock,
}

/// How many kinds of operation there are.
const KINDS: usize = OpKind::Lock as usize + 1;

impl OpKind {
    /// True if it changes the disk or makes a change durable: such operations
    /// are numbered, and power can be cut at each.
    #[must_use]
    pub fn is_step(self) -> bool {
        match self {
            Self::Create
            | Self::CreateDir
            | Self::Write
            | Self::SetLen
            | Self::Allocate
            | Self::Sync
            | Self::DirSync
            | Self::Rename
            | Self::Remove
            | Self::RemoveDir => true,
            Self::Open
            | Self::OpenDir
            | Self::Read
            | Self::List
            | Self::Len
            | Self::Map
            | Self::Lock => false,
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Create => "create",
            Self::OpenDir => "open dir",
            Self::CreateDir => "create dir",
            Self::Read => "read",
            Self::Write => "write",
            Self::SetLen => "set length",
            Self::Allocate => "allocate",
            Self::Sync => "sync",
            Self::DirSync => "sync dir",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::RemoveDir => "remove dir",
            Self::List => "list",
            Self::Len => "length",
            Self::Map => "map",
            Self::Lock => "lock",
        })
    }
}

/// One fault, and when it strikes.
///
/// Without more, the next operation of its kind fails once, whatever the path.
///
/// # Examples
///
/// ```
/// use duolog::io::sim::{FaultRule, OpKind, SimFs};
///
/// let disk = SimFs::new(1);
/// // The third sync below wal/ fails, as a dying disk fails it.
/// disk.fail(FaultRule::new(OpKind::Sync, FaultRule::EIO).path("/wal/").nth(3));
/// // From now on there is no space for any write.
/// disk.fail(FaultRule::new(OpKind::Write, FaultRule::ENOSPC).forever());
/// ```
#[derive(Clone, Debug)]
pub struct FaultRule {
    kind: OpKind,
    path: Option<String>,
    /// Matches still to let pass.
    skip: u64,
    forever: bool,
    errno: i32,
    short: Option<usize>,
    keep_percent: u64,
    lie: bool,
    spent: bool,
}

impl FaultRule {
    /// Input/output error.
    pub const EIO: i32 = Errno::IO.raw_os_error();
    /// No space left on the device.
    pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();
    /// The quota of the user is used up.
    pub const EDQUOT: i32 = Errno::DQUOT.raw_os_error();
    /// This process has too many files open.
    pub const EMFILE: i32 = Errno::MFILE.raw_os_error();
    /// The system has too many files open.
    pub const ENFILE: i32 = Errno::NFILE.raw_os_error();
    /// The file system is read-only.
    pub const EROFS: i32 = Errno::ROFS.raw_os_error();
    /// Permission denied.
    pub const EACCES: i32 = Errno::ACCESS.raw_os_error();
    /// The kernel has no memory.
    pub const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
    /// No such file or directory.
    pub const ENOENT: i32 = Errno::NOENT.raw_os_error();

    /// Operations of `kind` fail with the error number `errno`.
    #[must_use]
    pub fn new(kind: OpKind, errno: i32) -> Self {
        Self {
            kind,
            path: None,
            skip: 0,
            forever: false,
            errno,
            short: None,
            keep_percent: 0,
            lie: false,
            spent: false,
        }
    }

    /// Only operations on a path that contains `part`.
    #[must_use]
    pub fn path(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    /// Only the `nth` match, counted from 1 since the rule was given.
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.skip = nth.saturating_sub(1);
        self
    }

    /// That match and every later one.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.forever = true;
        self
    }

    /// A write does its first `bytes` bytes before it fails. A read returns
    /// that many at most, and does not fail.
    #[must_use]
    pub fn short(mut self, bytes: usize) -> Self {
        self.short = Some(bytes);
        self
    }

    /// Of what a failing sync was to make durable, so many percent are durable
    /// nevertheless: the caller cannot tell. Default 0, all is lost.
    #[must_use]
    pub fn keep(mut self, percent: u64) -> Self {
        self.keep_percent = percent;
        self
    }

    /// A sync of a file or directory reports success and does nothing: a power
    /// cut may still take all. The disk is broken; what is tested with this is
    /// that the loss is noticed.
    #[must_use]
    pub fn lie(mut self) -> Self {
        self.lie = true;
        self
    }

    fn strikes(&mut self, kind: OpKind, path: &str) -> bool {
        let matches = self.kind == kind
            && !self.spent
            && self.path.as_ref().is_none_or(|part| path.contains(part));
        if !matches {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.spent = !self.forever;
        true
    }
}

/// A fault that struck.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    errno: i32,
    /// Bytes done before.
    pub(super) short: Option<usize>,
    /// Percent of the changes that a failed sync makes durable.
    pub(super) keep_percent: u64,
    /// A sync is to report success.
    pub(super) lie: bool,
}

impl Fault {
    /// What the caller gets.
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<FaultRule>,
}

impl Faults {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The first rule that strikes. All rules see the operation, so that their
    /// counts do not depend on each other.
    pub(super) fn strike(&mut self, kind: OpKind, path: &str) -> Option<Fault> {
        let mut struck = None;
        for rule in &mut self.rules {
            if rule.strikes(kind, path) && struck.is_none() {
                struck = Some(Fault {
                    errno: rule.errno,
                    short: rule.short,
                    keep_percent: rule.keep_percent,
                    lie: rule.lie,
                });
            }
        }
        struck
    }
}

/// How often what was done, failed attempts included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    kinds: [u64; KINDS],
    bytes_written: u64,
    bytes_read: u64,
}

impl Counts {
    /// Operations of `kind`.
    #[must_use]
    pub fn of(&self, kind: OpKind) -> u64 {
        self.kinds.get(kind as usize).copied().unwrap_or_default()
    }

    /// Syncs of files.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.of(OpKind::Sync)
    }

    /// Syncs of directories.
    #[must_use]
    pub fn dir_syncs(&self) -> u64 {
        self.of(OpKind::DirSync)
    }

    /// Bytes that were written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Bytes that were read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    pub(super) fn add(&mut self, kind: OpKind) {
        if let Some(count) = self.kinds.get_mut(kind as usize) {
            *count += 1;
        }
    }

    pub(super) fn add_written(&mut self, bytes: u64) {
        self.bytes_written += bytes;
    }

    pub(super) fn add_read(&mut self, bytes: u64) {
        self.bytes_read += bytes;
    }
}
