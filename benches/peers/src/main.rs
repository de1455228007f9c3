//! The same work on duolog and on its peers, in one run, on one directory.
//!
//! The disk drifts by a factor of two from run to run, so nothing here is worth
//! much alone: each work is done by everybody, in rounds whose order rotates,
//! beside the raw limit of the same disk, and what is printed are medians and
//! ratios. Each measurement runs in a process of its own (`cell`), which starts
//! with an empty directory and ends by reading back and counting what it wrote.
//!
//! docs/performance.md says how to read the table.

mod cell;
mod combine;
mod payload;
mod peers;
mod plan;
mod raw;
mod rounds;
mod scratch;
mod table;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cell::CellArgs;

/// Whatever ends a measurement.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// What is returned by all that can fail.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Do the same work with duolog and with its peers, and compare.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(flatten)]
    run: Option<RunArgs>,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// One measurement; called by the program itself.
    #[command(hide = true)]
    Cell(CellArgs),
}

/// What a run is made of.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Directory to measure in; a scratch directory is made in it, and removed.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Seconds of a measurement.
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    /// Rounds; the medians of them are printed.
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// Peers to run, by name; raw loops and duolog always run.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Works to do, by name.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) works: Vec<String>,
    /// Print one JSON object with every measurement.
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Print tables in Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Keep quiet about the measurement under way.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (0.05..=60.0).contains(seconds))
        .ok_or_else(|| format!("{text:?} is not a number of seconds from 0.05 to 60"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (args.inner, args.run) {
        (Some(Inner::Cell(cell)), _) => cell::run(&cell),
        (None, Some(run)) => rounds::run(&run).and_then(|report| table::print(&run, &report)),
        (None, None) => Err("--dir DIR is missing: where to measure".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            writeln!(io::stderr(), "duolog-peers: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_bounds() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        for text in ["", "0", "-1", "61", "NaN", "s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
