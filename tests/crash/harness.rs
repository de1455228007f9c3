//! As much of the standard harness as `cargo test` and its users expect: a
//! filter, `--skip`, `--exact`, `--list`; the last line. Other arguments of it
//! are accepted and change nothing.

use std::process::ExitCode;
use std::time::Instant;

use crate::{rounds, tests};

/// Rounds of a run that did not ask for a number: a minute or so.
const ROUNDS: u32 = 200;

/// A test: what is wrong, if anything is.
type Test = Box<dyn FnOnce() -> Result<(), String>>;

/// What the command line asks for.
struct Wanted {
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    list: bool,
    ignored: bool,
    rounds: u32,
    seed: Option<u64>,
}

impl Wanted {
    fn parse(arguments: &[String]) -> Self {
        let mut wanted = Self {
            filters: Vec::new(),
            skips: Vec::new(),
            exact: false,
            list: false,
            ignored: false,
            rounds: ROUNDS,
            seed: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value = || inline.clone().or_else(|| arguments.next().cloned());
            match name {
                "--rounds" => {
                    let rounds = value().and_then(|value| value.parse().ok());
                    wanted.rounds = rounds.expect("--rounds takes a number");
                }
                "--seed" => {
                    let seed = value().and_then(|value| value.parse().ok());
                    wanted.seed = Some(seed.expect("--seed takes a number"));
                }
                "--skip" => wanted.skips.extend(value()),
                "--exact" => wanted.exact = true,
                "--list" => wanted.list = true,
                "--ignored" => wanted.ignored = true,
                // Arguments of the standard harness that have a value.
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(value()),
                name if name.starts_with('-') => {}
                name => wanted.filters.push(name.to_owned()),
            }
        }
        wanted
    }

    fn has(&self, name: &str) -> bool {
        let fits = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        let wanted = self.filters.is_empty() || self.filters.iter().any(fits);
        wanted && !self.skips.iter().any(fits) && !self.ignored
    }
}

/// Runs what the command line asks for.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let wanted = Wanted::parse(arguments);
    let (rounds, seed) = (wanted.rounds, wanted.seed);
    let mut all: Vec<(&str, Test)> = Vec::new();
    for (name, test) in tests::ALL {
        all.push((name, Box::new(test)));
    }
    let name = "what_was_acknowledged_survives_a_kill_at_any_moment";
    all.push((name, Box::new(move || rounds::run(rounds, seed))));
    let count = all.len();
    all.retain(|(name, _)| wanted.has(name));
    if wanted.list {
        for (name, _) in &all {
            println!("{name}: test");
        }
        println!("\n{} tests, 0 benchmarks", all.len());
        return ExitCode::SUCCESS;
    }
    let filtered = count - all.len();
    println!("\nrunning {} tests", all.len());
    let started = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in all {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
        let result = result.unwrap_or_else(|_| Err("it panicked".to_owned()));
        match result {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED\n{error}\n");
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {filtered} filtered out; finished in {seconds:.2}s\n"
    );
    ExitCode::from(u8::from(failed > 0))
}
