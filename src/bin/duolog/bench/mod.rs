//! `duolog bench`: how fast this store is, beside how fast this disk is.
//!
//! Disks drift by a factor of two within minutes. Each measurement therefore
//! has the plain loop that it is to be held against in the same run, on the
//! same directory, and prints the ratio.

mod append;
mod calls;
mod compare;
pub(crate) mod doctor;
mod environment;
mod fairness;
mod figures;
mod fill;
mod load;
mod matrix;
mod meter;
mod payload;
mod probe;
mod queue;
mod raw;
mod recover;
mod scan;
mod scratch;
mod usage;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};

pub(crate) use compare::Unfit;

const EXAMPLES: &str = "\
Examples:
  duolog bench matrix --dir /var/tmp --quick --report report.html
  duolog bench append --dir /var/tmp --size 1024 --seconds 10
  duolog bench append --dir /var/tmp --threads 16 --json
  duolog bench append --dir /var/tmp --batch 100 --nowait 16
  duolog bench append --dir /var/tmp --threads 16 --rate 20k --verify
  duolog bench append --dir /var/tmp --compare old.json --tolerance 20%
  duolog bench append --dir /var/tmp --size 100 --batch 1000 --durability buffered
  duolog bench queue --dir /var/tmp --producers 4 --consumers 4 --batch 100
  duolog bench scan --dir /var/tmp --size 1024 --messages 1000000
  duolog bench recover --dir /var/tmp --stores 64MiB,1GiB";

/// Measure appends, queues, scans and opens on this disk, beside what the disk can do.
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
    // Each says what it does at its flags: a comment here would hide that.
    Append(append::Args),
    Matrix(matrix::Args),
    Queue(queue::Args),
    Recover(recover::Args),
    #[command(hide = true)]
    Fill(fill::Args),
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
        What::Matrix(args) => matrix::run(args),
        What::Queue(args) => queue::run(args),
        What::Recover(args) => recover::run(args),
        What::Fill(args) => fill::run(args),
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

/// Whole milliseconds, for a progress bar.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A report as it will be printed, to compare with.
fn as_json(report: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(report)
        .map_err(|error| Failure::Refused(format!("cannot make JSON of a report: {error}")))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is not a number of seconds up to a day"))
}

/// The same, but not zero: nothing can be measured in no time.
fn parse_length(text: &str) -> Result<Duration, String> {
    let length = parse_seconds(text)?;
    if length < Duration::from_millis(1) {
        return Err(format!("{text} s is no time to measure in; write 5"));
    }
    Ok(length)
}

/// Reads a number of messages a second: `50000`, `50k`, `1.5M`.
fn parse_rate(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix('M').map_or((text, 1.0), |n| (n, 1e6)),
    };
    let rate = number.parse().ok().map(|rate: f64| rate * scale);
    let rate = rate.filter(|rate| (1.0..=1e9).contains(rate));
    rate.ok_or_else(|| {
        format!("{text:?} is not a rate from 1 to 1000M messages a second; write 50k")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_a_bound() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "-1", "1e9", "NaN", "inf", "s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_time_is_no_length() {
        assert_eq!(parse_length("0.001"), Ok(Duration::from_millis(1)));
        assert!(parse_length("0").is_err());
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(parse_rate("50k"), Ok(50_000.0));
        assert_eq!(parse_rate("1.5M"), Ok(1_500_000.0));
        for text in ["", "0", "-5", "NaN", "inf", "k", "2G"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
