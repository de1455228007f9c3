//! Standard output for results, standard error for everything else.
//!
//! A reader that went away (`| head`) ends a command without a complaint, a
//! full disk behind the output does not.

use std::fmt::Write as _;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

const BUFFER_LEN: usize = 64 << 10;

/// Standard output, buffered, with failures as the tool reports them.
#[derive(Debug)]
pub(crate) struct Stdout(BufWriter<StdoutLock<'static>>);

impl Stdout {
    /// Standard output, for this value alone until it is dropped.
    pub(crate) fn lock() -> Self {
        Self(BufWriter::with_capacity(BUFFER_LEN, io::stdout().lock()))
    }

    /// Writes `bytes` as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(Failure::stdout)
    }

    /// Writes `text` as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes `value` as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, value).map_err(|error| Failure::stdout(error.into()))?;
        self.bytes(b"\n")
    }

    /// Hands everything to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(Failure::stdout)
    }
}

/// Prints one text and nothing else.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = Stdout::lock();
    out.text(text)?;
    out.flush()
}

/// Prints one value as a line of JSON and nothing else.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = Stdout::lock();
    out.json(value)?;
    out.flush()
}

/// Says `text` on standard error, in a line of its own.
pub(crate) fn note(text: &str) {
    match writeln!(io::stderr(), "duolog: {text}") {
        // Where standard error is closed there is nowhere left to say so.
        Ok(()) | Err(_) => {}
    }
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    /// Words: to the left.
    Left(&'static str),
    /// Numbers: to the right.
    Right(&'static str),
}

/// Rows under a heading, each column as wide as its widest cell.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let heading = columns.iter().map(|column| match column {
        Column::Left(name) | Column::Right(name) => (*name).to_owned(),
    });
    let lines: Vec<Vec<String>> = std::iter::once(heading.collect())
        .chain(rows.iter().cloned())
        .collect();
    let width = |at: usize| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for ((cell, column), width) in line.iter().zip(columns).zip(&widths) {
            match column {
                Column::Left(_) => write!(row, "{cell:<width$}  "),
                Column::Right(_) => write!(row, "{cell:>width$}  "),
            }
            .expect("written to memory");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one pair a line.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"));
    lines.collect()
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// Bytes.
    Bytes,
    /// Things.
    Items,
    /// Time that is known beforehand.
    Milliseconds,
}

/// A bar on standard error, where that is a terminal; nothing in a pipe.
pub(crate) fn progress(what: Progress, total: u64, label: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = match what {
        Progress::Bytes => {
            "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta_precise} left"
        }
        Progress::Items => "{msg} [{bar:30}] {human_pos}/{human_len} {eta_precise} left",
        Progress::Milliseconds => "{msg} [{bar:30}] {elapsed_precise}",
    };
    // Fails for a template that is wrong, and then the default bar does.
    let style = ProgressStyle::with_template(template).map_or_else(
        |_| ProgressStyle::default_bar(),
        |s| s.progress_chars("=> "),
    );
    bar.set_style(style);
    bar.set_message(label);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_words_left_and_numbers_right() {
        let columns = [Column::Left("NAME"), Column::Right("N"), Column::Left("X")];
        let row = |name: &str, n: &str| vec![name.to_owned(), n.to_owned(), String::new()];
        let text = table(&columns, &[row("orders", "7"), row("a", "1234")]);
        assert_eq!(text, "NAME       N  X\norders     7\na       1234\n");
    }

    #[test]
    fn pairs_align_their_values() {
        let text = pairs(&[("a", "1".to_owned()), ("long", "2".to_owned())]);
        assert_eq!(text, "a     1\nlong  2\n");
    }
}
