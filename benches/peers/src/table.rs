//! What is printed: a table, a row for each work and peer, and notes under it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::json;

use crate::cell::{RAW, RAW_DIRECT};
use crate::peers::Peer;
use crate::plan::{Kind, Level, Work};
use crate::rounds::{Cell, Report};
use crate::{Result, RunArgs};

/// The one to whom the others are compared.
const OURS: &str = "duolog";

/// Mean by p1 of the raw loop above which a run is called disturbed.
const BUSY: f64 = 3.0;

/// The mark of those for whom nothing is durable.
const NO_SYNC: &str = "no sync";

const HEAD: [&str; 8] = [
    "work",
    "who",
    "messages/s",
    "of raw",
    "duolog / it",
    "p50",
    "p99",
    "mark",
];

type Row = [String; HEAD.len()];

/// Prints the report the way that was asked for.
pub(crate) fn print(args: &RunArgs, report: &Report) -> Result<()> {
    let text = if args.json {
        json_text(args, report)?
    } else {
        let rows: Vec<Row> = report.works.iter().flat_map(|w| rows(report, w)).collect();
        let table = if args.markdown {
            markdown(&rows)
        } else {
            aligned(&rows)
        };
        format!("{table}\n{}", notes(args, report))
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn json_text(args: &RunArgs, report: &Report) -> Result<String> {
    let peers = report.peers.iter().map(|peer| {
        json!({
            "name": peer.name, "version": peer.version(), "syncs": peer.syncs,
            "setting": peer.setting, "scan": peer.scan,
        })
    });
    let whole = json!({
        "seconds": args.seconds, "rounds": args.rounds,
        "peers": peers.collect::<Vec<_>>(), "cells": report.cells,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&whole)?))
}

/// The rows of a work: raw loops, duolog, then the others, the fastest first;
/// those that do not sync last where it was asked for.
fn rows(report: &Report, work: &Work) -> Vec<Row> {
    let durable = is_durable(work);
    let mut out = vec![row(report, work, RAW, "")];
    if durable {
        out.push(row(report, work, RAW_DIRECT, ""));
    }
    let mut peers: Vec<(&Peer, Option<f64>)> = Vec::new();
    for peer in &report.peers {
        peers.push((peer, median_rate(report, work, peer.name)));
    }
    peers.sort_by(|(a, a_rate), (b, b_rate)| {
        let last = |peer: &Peer| (!peer.name.starts_with(OURS), durable && !peer.syncs);
        let by_rate = b_rate.unwrap_or(0.0).total_cmp(&a_rate.unwrap_or(0.0));
        last(a).cmp(&last(b)).then(by_rate)
    });
    for (peer, _) in peers {
        match (peer.skips)(work) {
            Some(_) if peer.name.starts_with(OURS) => {}
            Some(why) => out.push(without(work, peer.name, why)),
            None if durable && !peer.syncs => out.push(row(report, work, peer.name, NO_SYNC)),
            None if is_scan(work) => out.push(row(report, work, peer.name, peer.scan)),
            None => out.push(row(report, work, peer.name, "")),
        }
    }
    out
}

fn is_durable(work: &Work) -> bool {
    let Kind::Append { level, .. } = work.kind else {
        return false;
    };
    level == Level::Durable
}

fn is_scan(work: &Work) -> bool {
    matches!(work.kind, Kind::Scan { .. })
}

fn without(work: &Work, name: &str, why: &str) -> Row {
    let cells = [work.name, name, "-", "-", "-", "-", "-", why];
    cells.map(str::to_owned)
}

fn cells<'a>(report: &'a Report, work: &Work, name: &str) -> Vec<&'a Cell> {
    let (work, name) = (work.name, name.to_owned());
    let wanted = move |cell: &&Cell| cell.work == work && cell.peer == name;
    report.cells.iter().filter(wanted).collect()
}

fn row(report: &Report, work: &Work, name: &str, mark: &str) -> Row {
    let mine = cells(report, work, name);
    let failed: Vec<_> = mine.iter().filter_map(|c| c.failed.as_deref()).collect();
    let Some(rate) = median_rate(report, work, name) else {
        let why = failed.first().copied().unwrap_or("not run");
        return without(work, name, &format!("failed: {why}"));
    };
    let mut marks = Vec::new();
    if !mark.is_empty() {
        marks.push(mark.to_owned());
    }
    if let Some(why) = failed.first() {
        marks.push(format!("{} of {} failed: {why}", failed.len(), mine.len()));
    }
    let of_raw = (name != RAW).then(|| median_ratio(report, work, name, RAW));
    // Not the same work: no ratio.
    let same_work = name != OURS && !name.starts_with(RAW) && mark != NO_SYNC;
    let ours = same_work.then(|| median_ratio(report, work, OURS, name));
    let quantile = |of: fn(&Cell) -> Option<f64>| median(mine.iter().filter_map(|c| of(c)));
    // A ticket's call returns before the ticket.
    let timed = !name.ends_with("-tickets");
    let p50 = quantile(|c| c.measured.and_then(|m| m.p50_us)).filter(|_| timed);
    let p99 = quantile(|c| c.measured.and_then(|m| m.p99_us)).filter(|_| timed);
    [
        work.name.to_owned(),
        name.to_owned(),
        count(rate),
        of_raw.flatten().map_or("-".to_owned(), ratio),
        ours.flatten().map_or("-".to_owned(), ratio),
        p50.map_or("-".to_owned(), time),
        p99.map_or("-".to_owned(), time),
        marks.join("; "),
    ]
}

fn median_rate(report: &Report, work: &Work, name: &str) -> Option<f64> {
    let cells = cells(report, work, name);
    median(cells.iter().filter_map(|c| c.measured).map(|m| m.rate))
}

/// The median of the ratios of the rounds in which both were measured.
fn median_ratio(report: &Report, work: &Work, above: &str, below: &str) -> Option<f64> {
    let below = cells(report, work, below);
    let ratios = cells(report, work, above).into_iter().filter_map(|a| {
        let b = below.iter().find(|b| b.round == a.round)?;
        Some(a.measured?.rate / b.measured?.rate)
    });
    median(ratios)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let (low, high) = (values.get(last / 2)?, values.get(last.div_ceil(2))?);
    Some(f64::midpoint(*low, *high))
}

/// Three digits and a unit.
fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn count(rate: f64) -> String {
    match rate {
        999_500.0.. => format!("{} M", digits(rate / 1e6)),
        999.5.. => format!("{} k", digits(rate / 1e3)),
        _ => digits(rate),
    }
}

fn time(us: f64) -> String {
    match us {
        999.5.. => format!("{} ms", digits(us / 1e3)),
        _ => format!("{} us", digits(us)),
    }
}

fn ratio(ratio: f64) -> String {
    digits(ratio)
}

fn markdown(rows: &[Row]) -> String {
    let mut out = String::new();
    let mut line = |cells: &[&str]| {
        let filled: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let joined = format!("| {} |", filled.join(" | "));
        out.push_str(&joined.replace("  |", " |"));
        out.push('\n');
    };
    line(&HEAD);
    line(&["---", "---", "---:", "---:", "---:", "---:", "---:", "---"]);
    for row in rows {
        line(&row.each_ref().map(String::as_str));
    }
    out
}

fn aligned(rows: &[Row]) -> String {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    let mut before = "";
    let head = HEAD.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let [work, ..] = row;
        if work != before {
            out.push('\n');
            before = work;
        }
        let mut line = String::new();
        for (n, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Text to the left, numbers to the right.
            let padding = " ".repeat(width - cell.len());
            let (left, right) = if (2..7).contains(&n) {
                (padding.as_str(), "")
            } else {
                ("", padding.as_str())
            };
            line.extend([left, cell, right, "  "]);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn notes(args: &RunArgs, report: &Report) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string has room");
    for work in &report.works {
        line(format!("* `{}`: {}.", work.name, work.title));
    }
    line(String::new());
    for peer in &report.peers {
        let sync = if peer.syncs {
            ""
        } else {
            "; **no sync**: its source has no fsync of the data"
        };
        let (name, version) = (peer.name, peer.version());
        line(format!("* {name} {version}: {}{sync}.", peer.setting));
    }
    line(String::new());
    line(format!(
        "Medians of {} rounds of {} s each; ratios are medians of the rounds' ratios.",
        args.rounds, args.seconds
    ));
    let busy: Vec<_> = report
        .works
        .iter()
        .filter(|w| was_busy(report, w))
        .collect();
    if !busy.is_empty() {
        let names: Vec<_> = busy.iter().map(|work| work.name).collect();
        line(format!(
            "The machine was busy: the raw loop took over {BUSY} times its p1 in the mean in \
             {}. Measure again when nothing else runs.",
            names.join(", ")
        ));
    }
    out
}

/// Whether the raw loop of a durable work was mostly kept from running: it does
/// the same all the time, so its mean is near its fastest on a quiet machine.
fn was_busy(report: &Report, work: &Work) -> bool {
    let Kind::Append {
        level: Level::Durable,
        batch,
        ..
    } = work.kind
    else {
        return false;
    };
    let raw = cells(report, work, RAW).into_iter();
    let slowdowns = raw.filter_map(|cell| {
        let measured = cell.measured?;
        let calls = measured.rate / f64::from(u32::try_from(batch).ok()?);
        Some(1e6 / calls / measured.p01_us?)
    });
    median(slowdowns).is_some_and(|slowdown| slowdown > BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
    }

    #[test]
    fn counts_have_three_digits_and_a_unit() {
        assert_eq!(count(12.345), "12.3");
        assert_eq!(count(9_540.0), "9.54 k");
        assert_eq!(count(999_600.0), "1.00 M");
        assert_eq!(count(123_000_000.0), "123 M");
    }
}
