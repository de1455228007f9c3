//! Rounds: a child is started, killed, buried, and its store read.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duolog::{Background, Engine, ErrorKind};
use tempfile::TempDir;

use crate::CHILD;
use crate::check::Model;
use crate::random::Random;
use crate::{child, verify};

/// Rounds after which a new store is begun.
const ROUNDS_OF_A_STORE: u32 = 25;
/// Longest life of a child.
const LIFE_US_MAX: u64 = 60_000;
const SIGKILL: i32 = 9;

/// Kills `rounds` children; prints the seed with which a failure can be
/// repeated, as far as a race can.
pub(crate) fn run(rounds: u32, seed: Option<u64>) -> Result<(), String> {
    let first = seed.unwrap_or_else(seed_of_the_clock);
    let mut total = 0;
    for (n, begin) in (0..rounds).step_by(ROUNDS_OF_A_STORE as usize).enumerate() {
        let seed = first.wrapping_add(n as u64);
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let count = ROUNDS_OF_A_STORE.min(rounds - begin);
        match live(&dir, seed, count) {
            Ok(acknowledged) => total += acknowledged,
            Err(error) => {
                let path = dir.keep();
                return Err(format!(
                    "{error}\nseed {seed}; repeat with: cargo test --test crash -- --seed {seed} \
                     --rounds {ROUNDS_OF_A_STORE}\nthe store is left at {}",
                    path.display()
                ));
            }
        }
        if rounds > 1_000 && n % 40 == 39 {
            println!(
                "{} rounds, {total} acknowledged appends checked",
                begin + count
            );
        }
    }
    println!("{rounds} kills, {total} acknowledged appends checked, first seed {first}");
    Ok(())
}

fn seed_of_the_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| u64::from(since.subsec_micros()))
}

/// The life of one store; returns how many appends were acknowledged in it.
fn live(dir: &TempDir, seed: u64, rounds: u32) -> Result<usize, String> {
    let path = dir.path().join("data");
    let mut model = Model::default();
    for round in 0..rounds {
        let wrong = |error| format!("round {round}: {error}");
        let said = kill_one(&path, seed, round).map_err(wrong)?;
        for line in said.lines() {
            let said = child::parse(line).ok_or(format!("round {round}: strange line {line:?}"))?;
            model.hear(round, said);
        }
        look(&path, seed, round, &mut model).map_err(wrong)?;
    }
    Ok(model.acknowledged())
}

/// Runs a child for a while and returns the whole lines that it wrote.
fn kill_one(path: &Path, seed: u64, round: u32) -> Result<String, String> {
    let mut random = Random::of(&[seed, u64::from(round), 4]);
    let exe = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(exe)
        .arg(CHILD)
        .arg(path)
        .arg(seed.to_string())
        .arg(round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start a child: {error}"))?;
    let mut out = child.stdout.take().expect("it was asked for");
    let listener = std::thread::spawn(move || {
        let mut said = Vec::new();
        out.read_to_end(&mut said).map(|_| said)
    });
    // One in four is killed while it makes or recovers the store.
    let most = random.pick(&[6_000, LIFE_US_MAX, LIFE_US_MAX, LIFE_US_MAX]);
    std::thread::sleep(Duration::from_micros(random.below(most)));
    child.kill().map_err(|error| format!("no kill: {error}"))?;
    // Buried before anybody looks: a dying process may still write.
    let status = child.wait().map_err(|error| format!("no wait: {error}"))?;
    let said = listener.join().expect("it does not panic");
    let said = said.map_err(|error| format!("no answer: {error}"))?;
    if status.signal() != Some(SIGKILL) {
        return Err(format!("the child ended by itself: {status}"));
    }
    let mut said = String::from_utf8(said).map_err(|error| error.to_string())?;
    said.truncate(said.rfind('\n').map_or(0, |end| end + 1));
    Ok(said)
}

/// Opens the store and checks it: without writing, or for good, or both.
fn look(path: &Path, seed: u64, round: u32, model: &mut Model) -> Result<(), String> {
    let mut random = Random::of(&[seed, u64::from(round), 5]);
    let ways = random.pick(&[&[true][..], &[false], &[true, false], &[false, true]]);
    for read_only in ways {
        let options = child::options(seed, round).read_only(*read_only);
        let options = match random.below(2) {
            0 => options,
            _ => options.background(Background::Manual),
        };
        let engine = match Engine::open(path, options) {
            Ok(engine) => engine,
            // Killed before there was a store.
            Err(error)
                if *read_only
                    && error.kind() == ErrorKind::NotFound
                    && model.acknowledged() == 0 =>
            {
                continue;
            }
            Err(error) => return Err(format!("cannot open (read-only {read_only}): {error}")),
        };
        let found = verify::read(&engine)?;
        model
            .check(&found, round)
            .map_err(|error| format!("{error}\nrecovery: {:?}", engine.recovery()))?;
        engine.close().map_err(|error| format!("close: {error}"))?;
    }
    Ok(())
}
