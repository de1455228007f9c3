//! What the tests share: stores in temporary directories, all records of a
//! partition, a picture of a directory, this binary as another process, and a
//! runtime of a few lines.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use duolog::{
    AppendOptions, Background, Durability, Engine, Error, ErrorKind, Fetch, Options, Start,
    StoredRecord, Topic, TopicOptions,
};
use tempfile::TempDir;

/// A directory for a store, which does not exist yet.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Opens the store, which must work.
    pub(crate) fn open(&self, options: Options) -> Engine {
        Engine::open(self.path(), options).expect("the store opens")
    }

    /// Opens the store, which must not work.
    pub(crate) fn refused(&self, options: Options) -> Error {
        Engine::open(self.path(), options).expect_err("the store must not open")
    }
}

/// Small files, so that a store is made in no time.
pub(crate) fn small() -> Options {
    Options::default()
        .wal_file_bytes(1 << 20)
        .wal_bytes_max(8 << 20)
}

/// The same without threads.
pub(crate) fn manual() -> Options {
    small().background(Background::Manual)
}

pub(crate) fn read_only() -> Options {
    small().read_only(true)
}

pub(crate) fn topic(engine: &Engine, name: &str) -> Topic {
    let topic = engine.create_topic(name, TopicOptions::default());
    topic.expect("a topic")
}

pub(crate) fn buffered() -> AppendOptions {
    AppendOptions::default().durability(Durability::Buffered)
}

pub(crate) fn transient() -> AppendOptions {
    AppendOptions::default().durability(Durability::Transient)
}

/// All visible records of a partition.
pub(crate) fn records(topic: &Topic, partition: u32) -> Vec<StoredRecord> {
    let mut reader = topic
        .reader(partition, Start::Earliest)
        .expect("a reader of what is there");
    let mut all = Vec::new();
    loop {
        let fetched = reader.fetch(&Fetch::default()).expect("a fetch");
        if fetched.is_empty() {
            return all;
        }
        all.extend(fetched.records().expect("records"));
    }
}

/// Their values, as text.
pub(crate) fn values(topic: &Topic, partition: u32) -> Vec<String> {
    let text = |record: StoredRecord| {
        let value = record.value.expect("a value");
        String::from_utf8(value.to_vec()).expect("text")
    };
    records(topic, partition).into_iter().map(text).collect()
}

/// Checks kind and words of an error.
#[track_caller]
pub(crate) fn says(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

/// The error of what must not work.
#[track_caller]
pub(crate) fn fails<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, words: &[&str]) {
    says(&result.expect_err("it must fail"), kind, words);
}

/// What a directory looks like: names, sizes, modes, times, contents.
pub(crate) fn picture(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        let meta = next.metadata().expect("a directory");
        let shown = format!("{:o} {}.{}", meta.mode(), meta.mtime(), meta.mtime_nsec());
        all.insert(next.clone(), shown);
        for entry in std::fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = path.symlink_metadata().expect("metadata");
            if meta.is_dir() {
                dirs.push(path);
                continue;
            }
            let contents = if meta.is_file() {
                crc32fast::hash(&std::fs::read(&path).expect("a file"))
            } else {
                0
            };
            let (time, nanos) = (meta.mtime(), meta.mtime_nsec());
            let shown = format!(
                "{:o} {} bytes, {time}.{nanos}, crc {contents:08x}",
                meta.mode(),
                meta.len()
            );
            all.insert(path, shown);
        }
    }
    all
}

/// This binary, to run the ignored test `name` in a process of its own.
pub(crate) fn other_process(name: &str, variable: &str, value: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(variable, value);
    command
}

/// Runs `work`; if it takes longer than two minutes, something waits for ever,
/// and the process ends with a message: a test that hangs says nothing.
pub(crate) fn watched<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let (done, wait) = channel::<()>();
    let owner = name.to_owned();
    let watchdog = std::thread::spawn(move || {
        if wait.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
            let mut out = std::io::stderr();
            _ = writeln!(
                out,
                "{owner} has hung for 120 s: a deadlock or a lost wake-up"
            );
            std::process::abort();
        }
    });
    let result = work();
    drop(done);
    watchdog.join().expect("the watchdog does not panic");
    result
}

/// Counts how often it is woken, and lets a thread wait for that.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<usize>,
    changed: Condvar,
}

impl Bell {
    pub(crate) fn wait(&self) {
        let rung = self.rung.lock().unwrap();
        drop(self.changed.wait_while(rung, |rung| *rung == 0).unwrap());
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

/// Polls until it is ready, sleeping in between until woken.
pub(crate) fn block_on<F: Future + Unpin>(mut future: F) -> (F::Output, usize) {
    let mut polls = 0;
    loop {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        polls += 1;
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return (output, polls),
            Poll::Pending => bell.wait(),
        }
    }
}
