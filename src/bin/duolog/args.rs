//! The command line as a whole: the commands, and the exit codes they share.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::CANNOT_RUN;
use crate::{bench, consume, dump, produce, queue, receive, send, topic, verify};

/// The exit codes, as every help shows them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done (verify: clean); also if the reader of the output went away
  1    verify: the log ends in a torn tail, which the next open cuts
  2    stored bytes are not what was written
  3    it could not be done; standard error says why
  4    bench --compare: something got worse by more than the tolerance
  130  interrupted by a signal; what was acknowledged is kept";

const EXAMPLES: &str = "\
Examples:
  duolog topic create orders --partitions 12 --retention-age 7d
  duolog produce --topic orders lines.txt
  duolog consume --topic orders --from earliest
  duolog queue create jobs --lease 1m
  duolog send --queue jobs jobs.txt
  duolog receive --queue jobs --ack
  duolog verify --dir /var/lib/broker/data
  duolog bench append --threads 16 --size 1024 --seconds 10
  duolog bench matrix --quick --report report.html
  duolog doctor --dir /var/lib/broker";

/// One durable log: records and messages in and out, a look inside, and how fast it is.
///
/// A store is a directory that one process has open at a time for writing.
/// Commands that only look share it with each other, but not with a writer.
#[derive(Debug, Parser)]
#[command(name = "duolog", version, after_help = EXAMPLES, after_long_help = long_help())]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list, describe, alter and delete topics.
    Topic(topic::Args),
    /// Append lines of a file or of standard input to a topic.
    Produce(produce::Args),
    /// Print records of a topic.
    Consume(consume::Args),
    /// Make, list, describe, alter and delete queues, and look after their messages.
    Queue(queue::Args),
    /// Send lines of a file or of standard input to a queue.
    Send(send::Args),
    /// Take messages of a queue, print them, and answer for them.
    Receive(receive::Args),
    /// Print what lies in the files of a store that nobody has open.
    Dump(dump::Args),
    /// Check every byte of a store that nobody has open.
    Verify(verify::Args),
    // These two say what they do at their flags.
    Bench(bench::Args),
    Doctor(bench::doctor::Args),
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

/// Prints what clap has to say, which may be the help that was asked for.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    // A help whose reader went away is no failure, and a complaint that cannot
    // be printed is one all the same.
    match (error.print(), error.kind()) {
        (_, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => ExitCode::SUCCESS,
        // Not clap's own 2: here that is damage.
        (Ok(()) | Err(_), _) => ExitCode::from(CANNOT_RUN),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }
}
