//! `duolog`: moves records and messages in and out of a store, looks into it,
//! verifies it, and measures it.
//!
//! The tool is an embedder like any other: it uses the public API alone. Each
//! command is a file with its flags, its help and its work. Results go to
//! standard output, everything else to standard error, and the exit code says
//! how it ended (see [`args::EXIT_CODES`]).

mod args;
mod bench;
mod consume;
mod dump;
mod failure;
mod follow;
mod input;
mod json;
mod output;
mod produce;
mod pump;
mod queue;
mod receive;
mod send;
mod signals;
mod store;
mod topic;
mod units;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Done, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return args::refuse(&error),
    };
    match run(&cli.command) {
        Ok(done) => done.into(),
        Err(failure) => failure.report(),
    }
}

fn run(command: &Command) -> Result<Done, Failure> {
    // The offline commands write nothing: a signal may end them as it always
    // does. The others have an engine to close first.
    if !matches!(command, Command::Dump(_) | Command::Verify(_)) {
        signals::install()?;
    }
    match command {
        Command::Topic(args) => topic::run(args),
        Command::Produce(args) => produce::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Queue(args) => queue::run(args),
        Command::Send(args) => send::run(args),
        Command::Receive(args) => receive::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Doctor(args) => bench::doctor::run(args),
    }
}
