//! `--compare old.json`: what became better or worse, with an exit code.
//!
//! A report says what it is a report of, and what work was done. Both are
//! checked before anything is measured: a comparison of different work would be
//! worse than none.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::failure::{Done, Failure};
use crate::output::{self, Column};

/// Version of what a report looks like; another is not compared.
pub(super) const REPORT_FORMAT: u64 = 1;

/// Named rows of a report that has more than one.
const ROWS: &[&str] = &["cells", "tickets", "stores"];

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

/// Whether a figure decides over the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Judged,
    /// One stall of the disk moves it, or it is not ours.
    Shown,
}

use Better::{Higher, Lower};
use Weight::{Judged, Shown};

/// Figures that are compared where both reports have them.
const METRICS: &[(&str, Better, Weight)] = &[
    ("messages_per_second", Higher, Judged),
    ("send_per_second", Higher, Shown),
    ("receive_per_second", Higher, Shown),
    ("p50_us", Lower, Judged),
    ("p90_us", Lower, Judged),
    ("p99_us", Lower, Judged),
    ("send_p50_us", Lower, Judged),
    ("send_p99_us", Lower, Judged),
    ("p999_us", Lower, Shown),
    ("p9999_us", Lower, Shown),
    ("max_us", Lower, Shown),
    ("records_per_sync", Higher, Shown),
    ("write_amplification", Lower, Judged),
    ("cpu_us_per_message", Lower, Judged),
    ("peak_memory_bytes", Lower, Judged),
    ("fairness_min_max_ratio", Higher, Shown),
    ("open_after_close_us", Lower, Judged),
    ("open_after_kill_us", Lower, Judged),
    ("raw_messages_per_second", Higher, Shown),
    ("raw_bytes_per_second", Higher, Shown),
    ("ratio_to_raw", Higher, Judged),
];

/// What to compare with, and how strictly.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Compare with an earlier JSON of the same work; exit code 4 if worse.
    ///
    /// Judged are throughput, p50 to p99, write amplification, processor time
    /// for a message, peak memory, open times and the ratio to raw. What one
    /// stall decides (p99.9 and beyond) and what the disk does are shown only.
    #[arg(long, value_name = "OLD.JSON")]
    compare: Option<PathBuf>,
    /// How much worse a figure may be. Disks drift: see `ratio_to_raw`.
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = parse_percent)]
    tolerance: f64,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').parse().ok();
    let number = number.filter(|percent: &f64| (0.0..=1000.0).contains(percent));
    number
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("{text:?} is not a percentage from 0% to 1000%; write 10%"))
}

/// Why a report cannot be compared with.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// There is no such file, or it cannot be read.
    Unreadable(io::Error),
    /// It is not JSON.
    NotJson(serde_json::Error),
    /// It is JSON, but no report of this tool's.
    NoReport,
    /// It is in another format.
    Format(u64),
    /// It is a report of something else.
    Kind { found: String, expected: String },
    /// It is about other work.
    Work {
        field: String,
        found: String,
        expected: String,
    },
    /// No row of it was measured this time.
    NothingInCommon,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::NotJson(error) => {
                write!(f, "it is not JSON ({error}); give a file that --json wrote")
            }
            Self::NoReport => f.write_str(
                "it has no \"kind\" and \"format\": it is no report of this version of \
                 duolog bench; give a file that --json wrote",
            ),
            Self::Format(found) => write!(
                f,
                "its format is {found}, not {REPORT_FORMAT}: measure again with the version \
                 that is to be compared"
            ),
            Self::Kind { found, expected } => write!(
                f,
                "it is a report of bench {found}, not of bench {expected}: compare it with \
                 bench {found}"
            ),
            Self::Work {
                field,
                found,
                expected,
            } => write!(
                f,
                "it was made with {field} {found}, and this is {expected}: give the same flags"
            ),
            Self::NothingInCommon => {
                f.write_str("nothing in it is measured this time: give the same flags")
            }
        }
    }
}

/// An earlier report that fits.
#[derive(Debug)]
pub(super) struct Baseline {
    path: PathBuf,
    report: Value,
    tolerance: f64,
}

impl Flags {
    /// Reads the earlier report, if one was given, and holds it against what is
    /// to be done now: `kind`, and `work` as it will stand in the new report.
    pub(super) fn load(&self, kind: &str, work: &Value) -> Result<Option<Baseline>, Failure> {
        let Some(path) = &self.compare else {
            return Ok(None);
        };
        let report = read(path).and_then(|report| {
            fits(&report, kind, work)?;
            Ok(report)
        });
        Ok(Some(Baseline {
            path: path.clone(),
            report: report.map_err(|why| unfit(path, why))?,
            tolerance: self.tolerance,
        }))
    }
}

fn unfit(path: &Path, why: Unfit) -> Failure {
    Failure::Unfit {
        path: path.to_owned(),
        why,
    }
}

fn read(path: &Path) -> Result<Value, Unfit> {
    let text = fs::read_to_string(path).map_err(Unfit::Unreadable)?;
    serde_json::from_str(&text).map_err(Unfit::NotJson)
}

fn fits(report: &Value, kind: &str, work: &Value) -> Result<(), Unfit> {
    let found = report.get("kind").and_then(Value::as_str);
    let format = report.get("format").and_then(Value::as_u64);
    let (Some(found), Some(format)) = (found, format) else {
        return Err(Unfit::NoReport);
    };
    if found != kind {
        return Err(Unfit::Kind {
            found: found.to_owned(),
            expected: kind.to_owned(),
        });
    }
    if format != REPORT_FORMAT {
        return Err(Unfit::Format(format));
    }
    for (field, expected) in work.as_object().into_iter().flatten() {
        let found = report.get(field).unwrap_or(&Value::Null);
        if found != expected {
            return Err(Unfit::Work {
                field: field.clone(),
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    Ok(())
}

impl Baseline {
    /// Fails if none of the rows that are to be measured is in it.
    pub(super) fn expect_some(&self, names: &[String]) -> Result<(), Failure> {
        let known = rows(&self.report);
        if known.iter().any(|(name, _)| names.contains(name)) {
            return Ok(());
        }
        Err(unfit(&self.path, Unfit::NothingInCommon))
    }

    /// Compares, prints the differences (to standard error if standard output
    /// has the JSON), and says how it ended.
    pub(super) fn judge(&self, report: &Value, json: bool) -> Result<Done, Failure> {
        let differences = differences(&self.report, report, self.tolerance);
        if differences.is_empty() {
            return Err(unfit(&self.path, Unfit::NothingInCommon));
        }
        let worse = differences.iter().filter(|d| d.verdict == "WORSE").count();
        let text = format!(
            "{}{worse} of {} figures worse than in {} by more than {:.0}%\n",
            table(&differences),
            differences.len(),
            self.path.display(),
            self.tolerance * 100.0
        );
        if json {
            output::note(&format!("compared\n{}", text.trim_end()));
        } else {
            output::print(&format!("\n{text}"))?;
        }
        Ok(if worse > 0 { Done::Worse } else { Done::Well })
    }
}

/// One figure, then and now.
#[derive(Debug)]
struct Difference {
    row: String,
    metric: &'static str,
    old: f64,
    new: f64,
    verdict: &'static str,
}

fn differences(old: &Value, new: &Value, tolerance: f64) -> Vec<Difference> {
    let old_rows = rows(old);
    let mut found = Vec::new();
    for (name, new) in rows(new) {
        let Some((_, old)) = old_rows.iter().find(|(other, _)| *other == name) else {
            continue;
        };
        for (metric, better, weight) in METRICS {
            let figure = |of: &Map<String, Value>| of.get(*metric).and_then(Value::as_f64);
            let (Some(old), Some(new)) = (figure(old), figure(new)) else {
                continue;
            };
            found.push(Difference {
                row: name.clone(),
                metric,
                old,
                new,
                verdict: verdict(old, new, *better, *weight, tolerance),
            });
        }
    }
    found
}

fn verdict(old: f64, new: f64, better: Better, weight: Weight, tolerance: f64) -> &'static str {
    if weight == Shown {
        return "";
    }
    // As a factor in time or cost: a throughput that halved took twice as long,
    // so that 100% allows the same in both directions.
    let (worse, best) = match better {
        Higher => (old, new),
        Lower => (new, old),
    };
    if worse > best * (1.0 + tolerance) {
        "WORSE"
    } else if best > worse * (1.0 + tolerance) {
        "better"
    } else {
        "same"
    }
}

/// The rows of a report, by name; a report without rows is one itself.
fn rows(report: &Value) -> Vec<(String, &Map<String, Value>)> {
    let lists = ROWS.iter().filter_map(|rows| report.get(rows)?.as_array());
    let mut found: Vec<_> = lists
        .flatten()
        .filter_map(|row| Some((row.get("name")?.as_str()?.to_owned(), row.as_object()?)))
        .collect();
    if found.is_empty() && ROWS.iter().all(|rows| report.get(rows).is_none()) {
        found.extend(report.as_object().map(|row| (String::new(), row)));
    }
    found
}

fn table(differences: &[Difference]) -> String {
    let named = differences.iter().any(|d| !d.row.is_empty());
    let mut columns = vec![
        Column::Left("FIGURE"),
        Column::Right("OLD"),
        Column::Right("NEW"),
        Column::Right("CHANGE"),
        Column::Left("VERDICT"),
    ];
    if named {
        columns.insert(0, Column::Left("WORK"));
    }
    let number = |n: f64| format!("{n:.*}", if n < 100.0 { 2 } else { 0 });
    let row = |d: &Difference| {
        let change = if d.old > 0.0 {
            format!("{:+.1}%", (d.new / d.old - 1.0) * 100.0)
        } else {
            "-".to_owned()
        };
        let mut row = vec![
            d.metric.to_owned(),
            number(d.old),
            number(d.new),
            change,
            d.verdict.to_owned(),
        ];
        if named {
            row.insert(0, d.row.clone());
        }
        row
    };
    output::table(&columns, &differences.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn worse_depends_on_the_direction_and_the_tolerance() {
        let judge = |old, new, better| verdict(old, new, better, Judged, 0.1);
        assert_eq!(judge(100.0, 85.0, Higher), "WORSE");
        assert_eq!(judge(100.0, 95.0, Higher), "same");
        assert_eq!(judge(100.0, 115.0, Higher), "better");
        assert_eq!(judge(100.0, 115.0, Lower), "WORSE");
        assert_eq!(judge(0.0, 0.0, Lower), "same");
        assert_eq!(verdict(1.0, 9.0, Lower, Shown, 0.1), "");
    }

    #[test]
    fn rows_are_found_by_their_names() {
        let old = json!({"cells": [{"name": "a", "p50_us": 10.0}, {"name": "b", "p50_us": 1.0}]});
        let new = json!({"cells": [{"name": "a", "p50_us": 20.0}, {"name": "c", "p50_us": 1.0}]});
        let found = differences(&old, &new, 0.1);
        let found: Vec<_> = found.iter().map(|d| (d.row.as_str(), d.verdict)).collect();
        assert_eq!(found, [("a", "WORSE")]);
        assert!(differences(&json!({"cells": []}), &new, 0.1).is_empty());
    }

    #[test]
    fn other_work_and_other_reports_do_not_fit() {
        let report = json!({"kind": "append", "format": 1, "threads": 4});
        assert!(fits(&report, "append", &json!({"threads": 4})).is_ok());
        for (report, part) in [
            (json!([1]), "no \"kind\""),
            (json!({"kind": "scan", "format": 1}), "bench scan"),
            (json!({"kind": "append", "format": 9}), "format is 9"),
            (report, "threads 4"),
        ] {
            let why = fits(&report, "append", &json!({"threads": 1})).unwrap_err();
            assert!(why.to_string().contains(part), "{why}");
        }
    }

    #[test]
    fn a_tolerance_is_a_percentage() {
        assert_eq!(parse_percent("10%"), Ok(0.1));
        assert_eq!(parse_percent("0"), Ok(0.0));
        for text in ["", "-1%", "x", "1e9", "NaN"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }
}
