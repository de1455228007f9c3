//! `duolog bench`: how fast this store is, beside how fast this disk is.
//!
//! Disks drift by a factor of two within minutes. Each measurement therefore
//! has the plain loop that it is to be held against in the same run, on the
//! same directory, and prints the ratio.

mod append;
mod meter;
mod payload;
mod raw;
mod scan;
mod scratch;

use std::path::PathBuf;

use clap::Subcommand;

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  duolog bench append --dir /var/tmp --size 1024 --seconds 10
  duolog bench append --dir /var/tmp --threads 16 --json
  duolog bench append --dir /var/tmp --batch 100 --nowait 16
  duolog bench append --dir /var/tmp --size 100 --batch 1000 --durability buffered
  duolog bench scan --dir /var/tmp --size 1024 --messages 1000000";

/// Measure appends and scans on this disk, beside what the disk can do.
///
/// Everything is done in a new subdirectory, which is removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Append for some seconds, and measure calls and throughput.
    Append(append::Args),
    /// Fill a topic and read all of it, every batch checked.
    Scan(scan::Args),
}

/// Where to measure.
#[derive(Debug, clap::Args)]
struct Place {
    /// Directory on the disk to measure; a new one is made in it and removed.
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Measures.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    match &args.what {
        What::Append(args) => append::run(args),
        What::Scan(args) => scan::run(args),
    }
}

/// `n` as a number to calculate rates with.
#[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
fn float(n: u64) -> f64 {
    n as f64
}

/// `n`, with the three decimal places that mean something.
fn rounded(n: f64) -> f64 {
    (n * 1000.0).round() / 1000.0
}

/// `part` of `whole`; zero if there is no whole.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A length in memory as a number to count with.
fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
