//! `duolog verify`: every byte of a store against its checksums and promises.

use std::sync::Arc;

use duolog::inspect::{self, Outcome, VerifyReport};
use duolog::io::OsFileSystem;
use serde::Serialize;

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::output::{self, Progress};
use crate::store::StoreArgs;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  duolog verify --dir data
  duolog verify --dir data --json | jq .problems
  duolog verify --dir data || echo \"not clean: $?\"

Reads the files as they lie there and changes nothing. A torn tail is what a
crash leaves: the next open cuts it, and nothing acknowledged is lost.";

/// Check every byte of a store that nobody has open.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A report with its outcome.
#[derive(Debug, Serialize)]
struct JsonReport<'a> {
    outcome: &'static str,
    #[serde(flatten)]
    report: &'a VerifyReport,
}

/// Verifies the store.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let bar = output::progress(Progress::Bytes, 0, "verify");
    let mut show = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let fs = Arc::new(OsFileSystem::new());
    let verified = inspect::verify_with(fs, &args.store.dir, &mut show);
    bar.finish_and_clear();
    let report = verified?;
    let (outcome, done) = match report.outcome() {
        Outcome::Clean => ("clean", Done::Well),
        Outcome::Torn => ("torn", Done::Torn),
        Outcome::Corrupt => ("corrupt", Done::Corrupt),
    };
    if args.json {
        let report = &report;
        output::print_json(&JsonReport { outcome, report })?;
    } else {
        output::print(&text(outcome, &report))?;
    }
    Ok(done)
}

fn text(outcome: &str, report: &VerifyReport) -> String {
    let mut text = output::pairs(&[
        ("outcome", outcome.to_owned()),
        ("store", report.store.clone()),
        ("files", units::count(report.files)),
        ("bytes", units::count(report.bytes)),
        ("batches", units::count(report.batches)),
        ("records", units::count(report.records)),
        ("torn bytes", units::count(report.torn_bytes)),
    ]);
    let mut line = |kind: &str, what: String| {
        text.push_str(kind);
        text.push_str(&what);
        text.push('\n');
    };
    for problem in &report.problems {
        let (file, position) = (&problem.file, problem.position);
        line(
            "problem: ",
            format!("{file}, byte {position}: {}", problem.message),
        );
    }
    for note in &report.notes {
        line("note: ", note.clone());
    }
    text
}
