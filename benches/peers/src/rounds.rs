//! A run: all rounds of all works with all peers, a process for each measurement.
//!
//! In a round, each work is done by everybody before the next work begins, and
//! who comes first moves on by one from round to round and from work to work.
//! Ratios are taken inside of a round, where the disk had the least time to
//! change; medians over the rounds.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cell::{Measured, RAW, RAW_DIRECT};
use crate::peers::{PEERS, Peer, peer};
use crate::plan::{Kind, Level, WORKS, Work, work};
use crate::scratch::Scratch;
use crate::{Result, RunArgs};

/// Longest time that a measurement may take beside what is measured: to
/// prepare files, and to read back.
const MARGIN: Duration = Duration::from_mins(3);

/// Time between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) work: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) round: u32,
    pub(crate) measured: Option<Measured>,
    /// Why there is none.
    pub(crate) failed: Option<String>,
}

/// All measurements of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) works: Vec<Work>,
    pub(crate) peers: Vec<&'static Peer>,
    pub(crate) cells: Vec<Cell>,
}

/// Does everything.
pub(crate) fn run(args: &RunArgs) -> Result<Report> {
    let works = works(&args.works)?;
    let peers = chosen(&args.only)?;
    let scratch = Scratch::new(&args.dir)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    ctrlc::set_handler(move || stop.store(true, SeqCst))?;
    let mut cells = Vec::new();
    for round in 0..args.rounds {
        for (n, work) in works.iter().enumerate() {
            let mut names = names(&peers, work);
            let first = (usize::try_from(round)? + n) % names.len();
            names.rotate_left(first);
            for name in names {
                if !args.quiet {
                    let of = args.rounds;
                    let now = format!("round {} of {of}: {}: {name}", round + 1, work.name);
                    writeln!(io::stderr(), "{now}")?;
                }
                let outcome = cell(args, &scratch, (work.name, name), &stopped)?;
                cells.push(Cell {
                    work: work.name,
                    peer: name,
                    round,
                    measured: outcome.as_ref().ok().copied(),
                    failed: outcome.err(),
                });
            }
        }
    }
    Ok(Report {
        works,
        peers,
        cells,
    })
}

fn works(names: &[String]) -> Result<Vec<Work>> {
    if names.is_empty() {
        return Ok(WORKS.to_vec());
    }
    names.iter().map(|name| work(name)).collect()
}

fn chosen(names: &[String]) -> Result<Vec<&'static Peer>> {
    if names.is_empty() {
        return Ok(PEERS.iter().collect());
    }
    for name in names {
        peer(name)?;
    }
    let wanted = |peer: &&Peer| peer.name == "duolog" || names.iter().any(|n| n == peer.name);
    Ok(PEERS.iter().filter(wanted).collect())
}

/// Who does `work`: the raw loops, and whoever can.
fn names(peers: &[&'static Peer], work: &Work) -> Vec<&'static str> {
    let mut names = vec![RAW];
    if let Kind::Append {
        level: Level::Durable,
        ..
    } = work.kind
    {
        names.push(RAW_DIRECT);
    }
    let able = peers.iter().filter(|peer| (peer.skips)(work).is_none());
    names.extend(able.map(|peer| peer.name));
    names
}

/// One measurement. The outer error ends the run, the inner one is its result.
fn cell(
    args: &RunArgs,
    scratch: &Scratch,
    (work, peer): (&str, &str),
    stopped: &AtomicBool,
) -> Result<std::result::Result<Measured, String>> {
    let dir = scratch.join("cell");
    fs::create_dir(&dir)?;
    let errors = scratch.join("errors");
    let mut child = Command::new(std::env::current_exe()?)
        .args(["cell", "--work", work, "--peer", peer])
        .args(["--seconds", &args.seconds.to_string()])
        .arg("--dir")
        .arg(&dir)
        // Walrus has no other way to be told.
        .env("WALRUS_DATA_DIR", &dir)
        .env("WALRUS_QUIET", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors)?)
        .spawn()?;
    let limit = Duration::from_secs_f64(args.seconds) + MARGIN;
    let outcome = wait(&mut child, limit, stopped);
    fs::remove_dir_all(&dir)?;
    Ok(match outcome? {
        Some(line) => {
            let last = line.lines().last().unwrap_or_default();
            serde_json::from_str(last).map_err(|error| format!("printed {last:?}: {error}"))
        }
        None => Err(last_line(&errors)),
    })
}

/// What the process printed, if it ended well.
fn wait(child: &mut Child, limit: Duration, stopped: &AtomicBool) -> Result<Option<String>> {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let stop = stopped.load(SeqCst);
        if stop || started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            if stop {
                return Err("stopped".into());
            }
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    };
    if stopped.load(SeqCst) {
        return Err("stopped".into());
    }
    let mut printed = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut printed)?;
    }
    Ok(status.success().then_some(printed))
}

fn last_line(errors: &Path) -> String {
    let errors = fs::read_to_string(errors).unwrap_or_default();
    let last = errors.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("took too long, or was killed").to_owned()
}
