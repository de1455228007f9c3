//! `duolog doctor`: what this disk can do, and which options suit it.
//!
//! It measures the bare disk and no engine: first what a sync costs, then what
//! more of them at a time bring. What it recommends follows from the figures by
//! the rules in [`Advice`], which are pure.

use std::time::Duration;

use serde::Serialize;

use super::compare::REPORT_FORMAT;
use super::environment::Environment;
use super::probe::{BLOCK_LEN, Figures, Probe, Way};
use super::scratch::Scratch;
use super::{Place, parse_length, ratio, rounded, to_u64};
use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::output::{self, Column, Progress};
use crate::signals;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  duolog doctor --dir /var/lib/broker
  duolog doctor --dir /var/lib/broker --json";

/// Writes that the disk has at a time.
const DEPTHS: &[u32] = &[1, 2, 4, 8, 16];
/// Sizes of a group of the log.
const GROUPS: &[usize] = &[16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// A larger group or depth must bring more than this over the smaller one.
const ENOUGH: f64 = 0.85;

/// Measure the disk under a directory, and recommend options for it.
///
/// Writes some files of up to 64 MiB in a new subdirectory, one after the other,
/// and removes them. Where direct writes are refused (some file systems and
/// containers) it says so and goes without.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Seconds for each of the measurements, of which there are 16.
    #[arg(long, value_name = "S", default_value = "0.5", value_parser = parse_length)]
    seconds: Duration,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    format: u64,
    environment: Environment,
    /// 4 KiB, one at a time: grown, overwritten, direct.
    sync_grow_us: f64,
    sync_overwrite_us: f64,
    sync_direct_us: Option<f64>,
    /// False where the file system refuses direct writes.
    direct: bool,
    probes: Vec<Figures>,
    advice: Advice,
}

/// What to set, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Advice {
    linger_us: u64,
    group_bytes_max: u64,
    in_flight_max: u32,
    /// Remarks on what is unusual.
    remarks: Vec<String>,
}

/// Examines a disk.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let scratch = Scratch::new(&args.place.dir)?;
    let environment = Environment::look(scratch.path())?;
    let plan = plan();
    let bar = output::progress(Progress::Items, to_u64(plan.len()), "doctor");
    let mut probes: Vec<Figures> = Vec::new();
    let mut direct = true;
    for probe in plan {
        signals::check()?;
        if direct || !probe.is_direct() {
            let figures = probe.run(&scratch.join("probe"), args.seconds)?;
            direct &= figures.is_some();
            probes.extend(figures);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let one = |way| find(&probes, way, BLOCK_LEN, 1).map(|figures| figures.p50_us);
    let report = Report {
        kind: "doctor",
        format: REPORT_FORMAT,
        sync_grow_us: one(Way::Grow).unwrap_or(0.0),
        sync_overwrite_us: one(Way::Overwrite).unwrap_or(0.0),
        sync_direct_us: one(Way::Direct),
        direct,
        advice: Advice::of(&probes, &environment.file_system),
        environment,
        probes,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    Ok(Done::Well)
}

fn plan() -> Vec<Probe> {
    let mut plan = vec![Probe::new(Way::Grow, BLOCK_LEN, 1)];
    plan.push(Probe::new(Way::Overwrite, BLOCK_LEN, 1));
    let overwrites = GROUPS.iter().map(|len| Probe::new(Way::Overwrite, *len, 1));
    plan.extend(overwrites);
    for len in [BLOCK_LEN, 256 << 10] {
        plan.extend(
            DEPTHS
                .iter()
                .map(|depth| Probe::new(Way::Direct, len, *depth)),
        );
    }
    plan
}

fn find(probes: &[Figures], way: Way, len: usize, depth: u32) -> Option<&Figures> {
    let mut probes = probes.iter();
    probes.find(|f| (f.way, f.write_bytes, f.depth) == (way, to_u64(len), depth))
}

impl Advice {
    fn of(probes: &[Figures], file_system: &str) -> Self {
        let sync = find(probes, Way::Overwrite, BLOCK_LEN, 1).map_or(0.0, |f| f.p50_us);
        let grow = find(probes, Way::Grow, BLOCK_LEN, 1).map_or(0.0, |f| f.p50_us);
        let groups = probes.iter().filter(|f| f.way == Way::Overwrite);
        let group = smallest(groups.map(|f| (f.write_bytes, f.bytes_per_second)));
        let deep = probes.iter();
        let deep = deep.filter(|f| f.way == Way::Direct && f.write_bytes > to_u64(BLOCK_LEN));
        let depth = smallest(deep.map(|f| (u64::from(f.depth), f.bytes_per_second)));
        let mut remarks = Vec::new();
        if depth.is_none() {
            remarks.push(format!(
                "{file_system} refuses direct writes here: one group at a time is all there is"
            ));
        }
        if sync < 20.0 {
            remarks.push(
                "a sync this cheap does not reach a medium: tmpfs, or a disk whose cache says \
                 done before it is. Do not count on it in a power cut"
                    .to_owned(),
            );
        }
        if sync > 2000.0 {
            remarks.push(
                "a sync this dear is a spinning or a busy disk: batch, or append from many threads"
                    .to_owned(),
            );
        }
        if sync >= 20.0 && ratio(grow, sync) > 1.3 {
            remarks.push(format!(
                "a growing file costs {:.1} times as much: the log is written in advance for that",
                ratio(grow, sync)
            ));
        }
        Self {
            linger_us: linger_us(sync),
            group_bytes_max: group.unwrap_or(1 << 20),
            in_flight_max: depth.map_or(1, |depth| u32::try_from(depth).unwrap_or(1)),
            remarks,
        }
    }
}

/// Four syncs, so that buffered records keep the disk busy for a quarter of the
/// time at the most; in steps of half a millisecond, from 1 ms to 20 ms.
fn linger_us(sync_us: f64) -> u64 {
    let wanted = sync_us * 4.0;
    let steps = (2..=40_u64).map(|step| step * 500);
    let mut enough = steps.filter(|us| super::float(*us) >= wanted);
    enough.next().unwrap_or(20_000)
}

/// The smallest of a group or depth that does nearly as much as the best.
fn smallest(figures: impl Iterator<Item = (u64, f64)>) -> Option<u64> {
    let figures: Vec<(u64, f64)> = figures.collect();
    let best = figures.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let enough = figures.iter().filter(|(_, rate)| *rate >= best * ENOUGH);
    enough.map(|(what, _)| *what).min()
}

impl Report {
    fn text(&self) -> String {
        let environment = &self.environment;
        let us = |us: f64| format!("{us:.0} us");
        let direct = self.sync_direct_us.map_or("refused".to_owned(), us);
        let linger = Duration::from_micros(self.advice.linger_us);
        let mut pairs = vec![
            (
                "file system",
                format!("{} on {}", environment.file_system, environment.device),
            ),
            ("kernel", environment.kernel.clone()),
            ("sync, growing", us(self.sync_grow_us)),
            ("sync, overwriting", us(self.sync_overwrite_us)),
            ("sync, direct", direct),
        ];
        if environment.is_busy() {
            let load = format!(
                "{:.1}: the machine is busy, ask again",
                environment.load_average
            );
            pairs.push(("load", load));
        }
        let mut text = output::pairs(&pairs);
        text.push('\n');
        text.push_str(&self.table());
        text.push_str("\nRecommended for duolog::Options:\n");
        text.push_str(&output::pairs(&[
            ("  linger", units::duration(linger)),
            (
                "  group_bytes_max",
                units::size(self.advice.group_bytes_max),
            ),
            ("  in_flight_max", self.advice.in_flight_max.to_string()),
        ]));
        for remark in &self.advice.remarks {
            text.push_str("\nNote: ");
            text.push_str(remark);
            text.push('.');
        }
        if !self.advice.remarks.is_empty() {
            text.push('\n');
        }
        text
    }

    fn table(&self) -> String {
        let columns = [
            Column::Left("WAY"),
            Column::Right("WRITE"),
            Column::Right("DEPTH"),
            Column::Right("WRITES/S"),
            Column::Right("MIB/S"),
            Column::Right("P50 US"),
            Column::Right("P99 US"),
            Column::Right("MAX US"),
        ];
        let row = |figures: &Figures| {
            let way = match figures.way {
                Way::Grow => "grow + fdatasync",
                Way::Overwrite => "overwrite + fdatasync",
                Way::Direct => "O_DIRECT | O_DSYNC",
            };
            vec![
                way.to_owned(),
                units::size(figures.write_bytes),
                figures.depth.to_string(),
                format!("{:.0}", figures.writes_per_second),
                format!("{:.1}", rounded(figures.bytes_per_second / 1_048_576.0)),
                format!("{:.0}", figures.p50_us),
                format!("{:.0}", figures.p99_us),
                format!("{:.0}", figures.max_us),
            ]
        };
        output::table(&columns, &self.probes.iter().map(row).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(way: Way, len: usize, depth: u32, rate: f64) -> Figures {
        Figures {
            way,
            write_bytes: to_u64(len),
            depth,
            writes: 1,
            writes_per_second: rate,
            bytes_per_second: rate * super::super::float(to_u64(len)),
            p50_us: 1e6 / rate,
            p99_us: 0.0,
            max_us: 0.0,
        }
    }

    #[test]
    fn linger_is_four_syncs_within_bounds() {
        assert_eq!(linger_us(93.0), 1000);
        assert_eq!(linger_us(600.0), 2500);
        assert_eq!(linger_us(1e6), 20_000);
    }

    #[test]
    fn the_smallest_that_does_nearly_as_much_is_enough() {
        let rates = [(1, 1.0), (4, 2.8), (16, 2.9)];
        assert_eq!(smallest(rates.into_iter()), Some(4));
        assert_eq!(smallest(std::iter::empty()), None);
    }

    #[test]
    fn without_direct_writes_there_is_one_group_at_a_time() {
        let probes = [figures(Way::Overwrite, BLOCK_LEN, 1, 200_000.0)];
        let advice = Advice::of(&probes, "tmpfs");
        assert_eq!(advice.in_flight_max, 1);
        assert!(advice.remarks[0].contains("tmpfs refuses"), "{advice:?}");
        assert!(advice.remarks[1].contains("power cut"), "{advice:?}");
    }
}
