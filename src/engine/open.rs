//! Opening: the lock, the identity, the newest snapshot, the log after it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use super::background::{Helper, Threads};
use super::replay::Replayer;
use super::upper::Upper;
use super::{BackEnd, CheckpointState, Engine, Owner, RecoveryReport, Shared, create};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DecodeError;
use crate::format::identity::{IDENTITY_LEN, Identity};
use crate::format::layout;
use crate::format::snapshot::Snapshot;
use crate::ids::{Lsn, StoreId, to_u64, to_usize};
use crate::io::{Directory, FileSystem, LockGuard, OpenMode, OsFileSystem, WriteQueue};
use crate::options::{Background, Options, WriteMode};
use crate::partition::{Counters, Memory, PartitionEnv, Readers, Worklist, Writers};
use crate::queue::{QueueEnv, Queues};
use crate::retention::TimeGuard;
use crate::sync::Mutex;
use crate::timers::{Timers, TimersEnv, Turn};
use crate::wal::recover::{From, Recovered, recover};
use crate::wal::{FilesEnv, Wal, WalOptions};

/// Largest snapshot file that is read.
const SNAPSHOT_FILE_LEN_MAX: u64 = 2 << 30;

impl Engine {
    /// Opens the store at `path`, or makes one there.
    ///
    /// Reads the newest snapshot and the log after it: the time follows what
    /// was not checkpointed, not the size of the store.
    ///
    /// # Errors
    ///
    /// * `Invalid`: an option is out of range, or the directory holds something
    ///   else than a store.
    /// * `Locked`: somebody else has it open; the message says who.
    /// * `NotFound`: there is no store, and `create` is false.
    /// * `Unsupported`: another version made it.
    /// * `Corrupt`: something that was durable is damaged or missing. Nothing
    ///   was changed.
    /// * `Io`, `Full`, `ReadOnly`: the operating system's.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        Self::open_with(Arc::new(OsFileSystem::new()), path, options)
    }

    /// The same on another file system, such as the simulated one.
    ///
    /// # Errors
    ///
    /// As [`Engine::open`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the engine keeps what it is given"
    )]
    pub fn open_with(
        file_system: Arc<dyn FileSystem>,
        path: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self> {
        options.check()?;
        let path = path.as_ref();
        let shown = path.display();
        let create = options.create && !options.read_only;
        let root = file_system.open_root(path, create).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                return Error::with_source(
                    ErrorKind::NotFound,
                    format!("there is no store at {shown}; check the path, or open with `create`"),
                    error,
                );
            }
            Error::io(format!("open {shown}"), error)
        })?;
        let guard = take_lock(&*root, path, options.read_only)?;
        let identity = match read_identity(&*root, path, !options.read_only)? {
            Some(identity) => identity,
            None if create => create::create(&*file_system, &root, path, &options)?,
            None => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("there is no store at {shown}; check the path, or open with `create`"),
                ));
            }
        };
        let shared = assemble(&*file_system, path, options, &*root, guard, identity)?;
        Ok(Self {
            owner: Arc::new(Owner { shared }),
        })
    }
}

/// Takes the lock of the store, or says who has it.
fn take_lock(root: &dyn Directory, path: &Path, read_only: bool) -> Result<Option<LockGuard>> {
    let note = create::lock_note();
    let taken = match root.lock(layout::LOCK, !read_only, &note) {
        // A store that was copied without its lock file has nobody to keep out.
        Err(error) if read_only && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io(format!("lock {}", path.display()), error))?,
    };
    if taken.is_some() {
        return Ok(taken);
    }
    let holder = root.lock_note(layout::LOCK).unwrap_or_default();
    let holder = if holder.is_empty() {
        "another process".to_owned()
    } else {
        holder
    };
    Err(Error::new(
        ErrorKind::Locked,
        format!(
            "the store at {} is in use by {holder}; close it there first",
            path.display()
        ),
    ))
}

fn read_identity(root: &dyn Directory, path: &Path, to_write: bool) -> Result<Option<Identity>> {
    let shown = path.join(layout::IDENTITY);
    let shown = shown.display();
    let file = match root.open(layout::IDENTITY, OpenMode::Read) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io(format!("open {shown}"), error))?,
    };
    let len = file
        .len()
        .map_err(|error| Error::io(format!("measure {shown}"), error))?;
    let mut bytes = vec![0; to_usize(len.min(to_u64(IDENTITY_LEN) + 1))];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| Error::io(format!("read {shown}"), error))?;
    let kind = |error: &DecodeError| match error {
        DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::Corrupt,
    };
    Identity::decode(&bytes, to_write)
        .map(Some)
        .map_err(|error| Error::with_source(kind(&error), format!("cannot use {shown}"), error))
}

fn open_child(root: &dyn Directory, path: &Path, name: &str) -> Result<Arc<dyn Directory>> {
    let shown = path.join(name);
    root.open_dir(name).map_err(|error| {
        let shown = shown.display();
        if error.kind() == std::io::ErrorKind::NotFound {
            return Error::corrupt(format!("{shown} is missing; nothing was changed"));
        }
        Error::io(format!("open {shown}"), error)
    })
}

fn assemble(
    file_system: &dyn FileSystem,
    path: &Path,
    options: Options,
    root: &dyn Directory,
    guard: Option<LockGuard>,
    identity: Identity,
) -> Result<Arc<Shared>> {
    let child = |name: &str| open_child(root, path, name);
    let (snapshots, wal_dir, topics) = (child("snapshot")?, child("wal")?, child("topics")?);
    let env = Arc::new(partition_env(&options, &identity, topics));
    let mut loaded = load_snapshot(&*snapshots, identity)?;
    env.snapshot_lsn
        .store(loaded.snapshot.lsn.get(), Ordering::Relaxed);
    let queues = open_queues(&env, child(layout::TIMERS)?, &loaded.snapshot)?;
    let mut state = Replayer::new(&env, &queues, &mut loaded.snapshot)?;
    let files = files_env(&options, identity.store, wal_dir);
    let from = From {
        lsn: loaded.snapshot.lsn,
        sequence: loaded.snapshot.wal_sequence,
        evidence: loaded.evidence,
        keep: loaded.keep(),
    };
    let recovered = recover(&files, from, !options.read_only, &mut state)?;
    state.finish()?;
    let mut report = report(&loaded, &recovered, state.records);
    let Replayer {
        catalog, garbage, ..
    } = state;
    let upper = Upper {
        root,
        snapshots: &*snapshots,
        topics: &*env.topics,
    };
    report.notes.extend(upper.strangers(&catalog, &garbage)?);
    let clock = Arc::clone(&options.clock);
    let now = clock.monotonic();
    let mut back_end = BackEnd::of(file_system);
    if !options.read_only {
        upper.sync(path)?;
        let queue = write_queue(file_system, &options);
        let wal = start_log(recovered, files, &options, queue, &mut back_end)?;
        let set = env.wal.set(Arc::new(wal));
        debug_assert!(set.is_ok(), "set once");
    }
    let shared = Arc::new(Shared {
        path: path.to_owned(),
        back_end,
        identity,
        snapshots,
        env,
        queues,
        catalog: RwLock::new(catalog),
        admin: Mutex::new(()),
        checkpoint: Mutex::new(CheckpointState {
            turns: loaded.kept.iter().map(|_| Turn::default()).collect(),
            snapshots: loaded.kept,
            at: now,
            retention_at: now,
        }),
        garbage: Mutex::new(garbage),
        guard: Mutex::new(TimeGuard::new(
            loaded.snapshot.trusted_time,
            clock.now(),
            now,
        )),
        recovery: report,
        checkpoints: AtomicU64::new(0),
        trouble: Mutex::new(None),
        lock: Mutex::new(guard),
        closed: AtomicBool::new(false),
        threads: Threads::default(),
        options,
    });
    start_background(&shared)?;
    Ok(shared)
}

fn open_queues(
    env: &Arc<PartitionEnv>,
    dir: Arc<dyn Directory>,
    snapshot: &Snapshot,
) -> Result<Queues> {
    let timers_env = TimersEnv {
        dir,
        store: env.store,
    };
    let timers = Timers::open(timers_env.clone(), &snapshot.timers)?;
    let queues = QueueEnv::new(Arc::clone(env), timers, timers_env);
    Ok(Queues::new(queues))
}

fn files_env(options: &Options, store: StoreId, dir: Arc<dyn Directory>) -> FilesEnv {
    FilesEnv {
        dir,
        store,
        file_bytes: options.wal_file_bytes,
        direct: options.write_mode == WriteMode::Direct,
    }
}

fn partition_env(
    options: &Options,
    identity: &Identity,
    topics: Arc<dyn Directory>,
) -> PartitionEnv {
    PartitionEnv {
        store: identity.store,
        clock: Arc::clone(&options.clock),
        topics,
        read_mode: options.read_mode,
        writable: !options.read_only,
        direct: options.write_mode == WriteMode::Direct,
        scratch: Arc::default(),
        reads: Arc::default(),
        wal: OnceLock::new(),
        memory: Memory::new(options.tail_bytes_max),
        open: Worklist::default(),
        dirty: Worklist::default(),
        readers: Readers::new(to_usize(u64::from(options.segments_open_max))),
        relief: OnceLock::new(),
        snapshot_lsn: AtomicU64::new(0),
        // The other half is for the older of the two snapshots that are kept.
        log_bytes_max: options.wal_bytes_max / 2,
        unlogged: AtomicBool::new(false),
        writers: Writers::default(),
        counters: Counters::default(),
    }
}

fn start_background(shared: &Arc<Shared>) -> Result<()> {
    if shared.options.read_only {
        return Ok(());
    }
    let helper = Helper::new(
        Arc::downgrade(shared),
        Arc::clone(&shared.env.memory.pressure),
    );
    let set = shared.env.relief.set(Box::new(helper));
    debug_assert!(set.is_ok(), "set once");
    for note in &shared.recovery.notes {
        shared.event(note);
    }
    if let Some(note) = &shared.back_end.note {
        shared.event(&format!("the log is written one group at a time: {note}"));
    }
    if shared.options.background == Background::Threads {
        shared.threads.start(shared)?;
    }
    Ok(())
}

fn wal_options(options: &Options) -> WalOptions {
    let files = to_usize(options.wal_bytes_max / options.wal_file_bytes);
    WalOptions {
        sync_policy: options.sync_policy,
        group_bytes_max: to_usize(u64::from(options.group_bytes_max)),
        commit_bytes_max: options.commit_bytes_max(),
        spares_max: files / 2,
        in_flight_max: to_usize(u64::from(options.in_flight_max)),
    }
}

/// Starts to write the log, and notes what writes it.
fn start_log(
    recovered: Recovered,
    files: FilesEnv,
    options: &Options,
    queue: Queue,
    back_end: &mut BackEnd,
) -> Result<Wal> {
    back_end.note = queue.as_ref().err().cloned();
    let clock = Arc::clone(&options.clock);
    let wal = recovered.start(files, wal_options(options), clock, queue.ok())?;
    back_end.settle(&wal);
    Ok(wal)
}

/// A queue for writes, or why there is none.
type Queue = std::result::Result<Box<dyn WriteQueue>, String>;

fn write_queue(file_system: &dyn FileSystem, options: &Options) -> Queue {
    if options.write_mode == WriteMode::Cached {
        return Err("`write_mode` is `Cached`".to_owned());
    }
    let depth = to_usize(u64::from(options.in_flight_max));
    file_system
        .write_queue(depth)
        .map_err(|error| error.to_string())
}

fn report(loaded: &Loaded, recovered: &Recovered, records: u64) -> RecoveryReport {
    let mut notes = loaded.notes.clone();
    notes.extend(recovered.notes.iter().cloned());
    if let Some(torn) = &recovered.torn {
        notes.push(format!(
            "cut a torn tail of {} bytes at byte {} of {}: it was never acknowledged",
            torn.bytes, torn.position, torn.file
        ));
    }
    RecoveryReport {
        snapshot_lsn: loaded.snapshot.lsn,
        end_lsn: recovered.end,
        frames_replayed: recovered.frames,
        records_replayed: records,
        torn_bytes: recovered.torn.as_ref().map_or(0, |torn| torn.bytes),
        clean: recovered.clean,
        notes,
    }
}

/// The newest snapshot that is whole, and what the others say.
struct Loaded {
    snapshot: Snapshot,
    /// LSNs of snapshots up to that one, oldest first. The next checkpoint
    /// removes those of them that are too many.
    kept: VecDeque<Lsn>,
    /// The newest LSN that a snapshot's name claims: it was durable.
    evidence: Lsn,
    notes: Vec<String>,
}

impl Loaded {
    /// What lies above in the log is for the older of the two snapshots that
    /// count. Any before those were to be removed when a crash came.
    fn keep(&self) -> Lsn {
        let older = self.kept.iter().rev().nth(1).or(self.kept.back());
        older.copied().unwrap_or(self.snapshot.lsn)
    }
}

fn load_snapshot(dir: &dyn Directory, identity: Identity) -> Result<Loaded> {
    let entries = dir
        .list()
        .map_err(|error| Error::io("list directory snapshot", error))?;
    let mut lsns: Vec<Lsn> = entries
        .iter()
        .filter_map(|entry| layout::parse_snapshot_name(&entry.name))
        .collect();
    lsns.sort_unstable();
    let evidence = lsns.last().copied().unwrap_or(Lsn::ZERO);
    let mut notes = Vec::new();
    let mut kept: VecDeque<Lsn> = lsns.iter().copied().collect();
    let mut last_error = None;
    for lsn in lsns.iter().rev() {
        match read_snapshot(dir, *lsn, identity) {
            Ok(snapshot) => {
                return Ok(Loaded {
                    snapshot,
                    kept,
                    evidence,
                    notes,
                });
            }
            // A failure to read says nothing of what is there.
            Err(error) if error.kind() != ErrorKind::Corrupt => return Err(error),
            Err(error) => {
                notes.push(format!("{error}; using an older snapshot"));
                kept.pop_back();
                last_error = Some(error);
            }
        }
    }
    Err(last_error.unwrap_or_else(|| {
        Error::corrupt("directory snapshot has no snapshot; nothing was changed")
    }))
}

fn read_snapshot(dir: &dyn Directory, lsn: Lsn, identity: Identity) -> Result<Snapshot> {
    let name = layout::snapshot_name(lsn);
    let attempt = |step: &str| format!("{step} snapshot/{name}");
    let file = dir
        .open(&name, OpenMode::Read)
        .map_err(|error| Error::io(attempt("open"), error))?;
    let len = file
        .len()
        .map_err(|error| Error::io(attempt("measure"), error))?;
    if len > SNAPSHOT_FILE_LEN_MAX {
        return Err(Error::corrupt(format!(
            "snapshot/{name} has {len} bytes, more than any snapshot"
        )));
    }
    let mut bytes = vec![0; to_usize(len)];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| Error::io(attempt("read"), error))?;
    let snapshot = Snapshot::decode(&bytes, identity.store).map_err(|error| {
        let kind = match error {
            DecodeError::Unsupported { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        };
        Error::with_source(kind, format!("snapshot/{name} does not check out"), error)
    })?;
    if snapshot.lsn == lsn {
        return Ok(snapshot);
    }
    Err(Error::corrupt(format!(
        "snapshot/{name} is of LSN {}: it was renamed",
        snapshot.lsn
    )))
}
