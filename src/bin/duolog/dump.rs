//! `duolog dump`: what lies in the files of a store, item by item.

use std::ops::ControlFlow;
use std::sync::Arc;

use duolog::ids::TopicId;
use duolog::inspect::{self, DumpItem, DumpOptions};
use duolog::io::OsFileSystem;

use crate::args::EXIT_CODES;
use crate::failure::{Done, Failure};
use crate::output::Stdout;
use crate::store::StoreArgs;

const EXAMPLES: &str = "\
Examples:
  duolog dump --dir data
  duolog dump --wal --json | jq -c .
  duolog dump --segments --records --topic 1 --partition 0 | less

Reads the files as they lie there: nothing is opened, recovered or changed.
Without --wal, --segments and --snapshots, all three are printed.";

/// Print what lies in the files of a store that nobody has open.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Print the write-ahead log: files, frames, entries.
    #[arg(long)]
    wal: bool,
    /// Print segments: their headers and batches.
    #[arg(long)]
    segments: bool,
    /// Print snapshots.
    #[arg(long)]
    snapshots: bool,
    /// Print the records in batches, too.
    #[arg(long)]
    records: bool,
    /// Only this topic, by its id (see `duolog topic list`).
    #[arg(long, value_name = "ID")]
    topic: Option<u32>,
    /// Only this partition.
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Prints the files.
pub(crate) fn run(args: &Args) -> Result<Done, Failure> {
    let all = !(args.wal || args.segments || args.snapshots);
    let options = DumpOptions::default()
        .wal(args.wal || all)
        .segments(args.segments || all)
        .snapshots(args.snapshots || all)
        .records(args.records)
        .topic(args.topic.map(TopicId::new))
        .partition(args.partition);
    let mut out = Stdout::lock();
    let mut done = Done::Well;
    let mut failed = None;
    let mut print = |item: &DumpItem| {
        if matches!(item, DumpItem::Damage { .. }) {
            done = Done::Corrupt;
        }
        let printed = if args.json {
            out.json(item)
        } else {
            out.text(&format!("{item}\n"))
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    };
    let fs = Arc::new(OsFileSystem::new());
    inspect::dump(fs, &args.store.dir, &options, &mut print)?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    out.flush()?;
    Ok(done)
}
