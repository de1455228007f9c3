//! Lines of an input into a topic or a queue, in order, several batches at once.
//!
//! One thread hands batches over, so lines keep their order; tickets are settled
//! first come, first served, so the number of lines acknowledged is always a
//! prefix of the input.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use duolog::Engine;
use indicatif::ProgressBar;

use crate::failure::{Done, Failure};
use crate::input::{self, Blocks, Lines};
use crate::output::{self, Progress, Stdout};
use crate::signals;
use crate::units;

/// Batches that may be on their way to the disk at once.
const IN_FLIGHT_MAX: usize = 16;

/// Where lines come from, and how they become batches.
#[derive(Debug, clap::Args)]
pub(crate) struct LineArgs {
    /// File to read; standard input if not given, or `-`.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Most lines of a batch; they are stored together, or not at all.
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Longest time that a line waits for its batch to fill (plain: milliseconds).
    #[arg(long, value_name = "DURATION", default_value = "5ms")]
    #[arg(value_parser = units::parse_duration_ms)]
    linger: Duration,
    /// Print how many lines are acknowledged so far, after each batch.
    #[arg(long)]
    acks: bool,
}

/// An input that was opened, and a bar for one whose length is known.
pub(crate) struct Input {
    source: Box<dyn Read + Send>,
    bar: ProgressBar,
}

/// What takes batches of lines.
pub(crate) trait Sink {
    /// The answer that is waited for later.
    type Ticket;

    /// Most bytes that a line may have; a longer one is refused by its number.
    fn line_bytes_max(&self) -> usize;

    /// Completes "line 7 is longer than ...", with what to do about it.
    fn limit(&self) -> String;

    /// Hands a batch over; at least one line.
    fn send(&mut self, lines: &Lines) -> Result<Self::Ticket, Failure>;

    /// Waits for the answer, and gives the ticket back if it did not come in
    /// time. May take longer than `patience`, but no longer than the disk does.
    fn settle(
        &self,
        ticket: Self::Ticket,
        patience: Duration,
    ) -> Result<Option<Self::Ticket>, Failure>;
}

impl LineArgs {
    /// Opens the input.
    pub(crate) fn open(&self) -> Result<Input, Failure> {
        let file = self.file.as_ref().filter(|path| path.as_os_str() != "-");
        let Some(path) = file else {
            return Ok(Input {
                source: Box::new(io::stdin()),
                bar: ProgressBar::hidden(),
            });
        };
        let fail = |error| Failure::io(format!("read {}", path.display()), error);
        let file = OpenOptions::new().read(true).open(path).map_err(fail)?;
        let about = file.metadata().map_err(fail)?;
        if about.is_dir() {
            return Err(Failure::Refused(format!(
                "{} is a directory: give a file, or - for standard input",
                path.display()
            )));
        }
        // On a terminal the bar and the acknowledgements would share a line.
        let bar = if about.is_file() && !(self.acks && io::stdout().is_terminal()) {
            output::progress(Progress::Bytes, about.len(), "read")
        } else {
            ProgressBar::hidden()
        };
        Ok(Input {
            source: Box::new(file),
            bar,
        })
    }
}

/// Hands all lines of the input to `sink`, and closes the engine behind it.
/// `thing` says what a line became, such as "record".
pub(crate) fn run<S: Sink>(
    args: &LineArgs,
    input: Input,
    engine: &Engine,
    sink: S,
    thing: &str,
) -> Result<Done, Failure> {
    let bar = input.bar;
    let blocks = input::blocks(input.source)?;
    let mut pump = Pump::new(args, sink);
    let pumped = pump.pump(&blocks, &bar);
    // However the input ended, what is in flight may be acknowledged yet.
    let settled = pump.settle_all();
    bar.finish_and_clear();
    let closed = engine.close();
    let things = units::counted(pump.acknowledged, thing);
    output::note(&format!("{things} acknowledged"));
    settled?;
    pumped?;
    closed?;
    Ok(Done::Well)
}

/// Hands lines over, and counts those that are acknowledged.
struct Pump<S: Sink> {
    sink: S,
    linger: Duration,
    lines: Lines,
    /// When the oldest line that waits was taken.
    waiting_since: Option<Instant>,
    in_flight: VecDeque<InFlight<S::Ticket>>,
    handed: u64,
    acknowledged: u64,
    acks: Option<Stdout>,
}

/// A batch on its way to the disk.
struct InFlight<T> {
    ticket: T,
    /// Lines handed over when it was: acknowledged as soon as it is.
    handed: u64,
}

/// What there is to do next.
enum Next {
    Block(Vec<u8>),
    Quiet,
    End,
}

impl<S: Sink> Pump<S> {
    fn new(args: &LineArgs, sink: S) -> Self {
        Self {
            sink,
            linger: args.linger,
            lines: Lines::new(usize::try_from(args.batch).unwrap_or(usize::MAX)),
            waiting_since: None,
            in_flight: VecDeque::with_capacity(IN_FLIGHT_MAX),
            handed: 0,
            acknowledged: 0,
            acks: args.acks.then(Stdout::lock),
        }
    }

    /// Hands over everything that comes, until the input ends or a signal says so.
    fn pump(&mut self, blocks: &Blocks, bar: &ProgressBar) -> Result<(), Failure> {
        loop {
            if signals::stopped() {
                // The lines that were read whole are worth keeping.
                self.send()?;
                return Err(Failure::Interrupted);
            }
            match self.next(blocks)? {
                Next::Block(block) => {
                    self.take(&block)?;
                    bar.inc(u64::try_from(block.len()).unwrap_or(u64::MAX));
                }
                Next::Quiet => {}
                Next::End => {
                    self.lines.finish();
                    return self.send();
                }
            }
            if self.patience().is_zero() {
                self.send()?;
            }
        }
    }

    /// The next block; while there is none, looks after what is in flight.
    fn next(&mut self, blocks: &Blocks) -> Result<Next, Failure> {
        let fail = |error| Failure::io("read the input", error);
        match blocks.try_recv() {
            Ok(block) => return block.map(Next::Block).map_err(fail),
            Err(TryRecvError::Disconnected) => return Ok(Next::End),
            Err(TryRecvError::Empty) => {}
        }
        let patience = self.patience();
        if self.settle_first(patience)? {
            return Ok(Next::Quiet);
        }
        match blocks.recv_timeout(patience) {
            Ok(block) => block.map(Next::Block).map_err(fail),
            Err(RecvTimeoutError::Timeout) => Ok(Next::Quiet),
            Err(RecvTimeoutError::Disconnected) => Ok(Next::End),
        }
    }

    /// How long to wait for more input; zero if lines have lingered enough.
    fn patience(&self) -> Duration {
        match self.waiting_since {
            Some(since) => self.linger.saturating_sub(since.elapsed()),
            None => signals::LOOK_EVERY,
        }
        .min(signals::LOOK_EVERY)
    }

    /// Divides a block into lines, and hands batches over as they fill.
    #[expect(clippy::disallowed_methods, reason = "lines linger in real time")]
    fn take(&mut self, block: &[u8]) -> Result<(), Failure> {
        let mut rest = block;
        while !rest.is_empty() {
            rest = self.lines.take(rest);
            if self.lines.unfinished_len() > self.sink.line_bytes_max() {
                self.send()?;
                return Err(self.too_long());
            }
            if self.lines.is_full() {
                self.send()?;
            }
        }
        if self.lines.len() > 0 && self.waiting_since.is_none() {
            self.waiting_since = Some(Instant::now());
        }
        Ok(())
    }

    /// The line behind those that were handed over is too long.
    fn too_long(&self) -> Failure {
        let (line, limit) = (self.handed + 1, self.sink.limit());
        Failure::Refused(format!("line {line} is longer than {limit}"))
    }

    /// Hands over the lines that wait, as one batch, up to one that is too long.
    fn send(&mut self) -> Result<(), Failure> {
        self.waiting_since = None;
        let longest = self.sink.line_bytes_max();
        let too_long = self.lines.iter().position(|line| line.len() > longest);
        if let Some(at) = too_long {
            self.lines.truncate(at);
        }
        self.hand_over()?;
        match too_long {
            Some(_) => Err(self.too_long()),
            None => Ok(()),
        }
    }

    fn hand_over(&mut self) -> Result<(), Failure> {
        if self.lines.len() == 0 {
            return Ok(());
        }
        // Only now: who waits for a batch writes it, and all that gathered
        // behind it are written along.
        while self.in_flight.len() >= IN_FLIGHT_MAX {
            self.settle_first(signals::LOOK_EVERY)?;
        }
        let ticket = self.sink.send(&self.lines)?;
        self.handed += u64::try_from(self.lines.len()).unwrap_or(u64::MAX);
        self.lines.clear();
        self.in_flight.push_back(InFlight {
            ticket,
            handed: self.handed,
        });
        Ok(())
    }

    /// Waits for the oldest batch in flight; true if it is acknowledged.
    fn settle_first(&mut self, patience: Duration) -> Result<bool, Failure> {
        let Some(InFlight { ticket, handed }) = self.in_flight.pop_front() else {
            return Ok(false);
        };
        if let Some(ticket) = self.sink.settle(ticket, patience)? {
            self.in_flight.push_front(InFlight { ticket, handed });
            return Ok(false);
        }
        self.acknowledged = handed;
        self.print_acknowledged()?;
        Ok(true)
    }

    fn print_acknowledged(&mut self) -> Result<(), Failure> {
        let Some(out) = &mut self.acks else {
            return Ok(());
        };
        let text = format!("{}\n", self.acknowledged);
        match out.text(&text).and_then(|()| out.flush()) {
            // Who no longer reads the numbers still wants the lines stored.
            Err(Failure::PipeClosed) => {
                self.acks = None;
                Ok(())
            }
            other => other,
        }
    }

    /// Waits for everything in flight.
    fn settle_all(&mut self) -> Result<(), Failure> {
        while !self.in_flight.is_empty() {
            self.settle_first(signals::LOOK_EVERY)?;
        }
        Ok(())
    }
}

/// `line` before and after the first `separator`.
pub(crate) fn split_once<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_divides() {
        assert_eq!(split_once(b"a:b:c", b":"), Some((&b"a"[..], &b"b:c"[..])));
        assert_eq!(split_once(b"a::b", b"::"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(split_once(b":", b":"), Some((&b""[..], &b""[..])));
        assert_eq!(split_once(b"ab", b":"), None);
        assert_eq!(split_once(b"", b":"), None);
    }
}
