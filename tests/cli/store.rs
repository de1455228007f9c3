//! A store in a directory of its own, and the tool run on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

/// A store that does not exist yet, in a directory that goes when it goes.
pub(crate) struct Store {
    pub(crate) temp: TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
        }
    }

    /// A store whose topic `t` holds the lines of `input`.
    pub(crate) fn with_lines(input: &[u8]) -> Self {
        let store = Self::new();
        let output = store.run_with("produce --topic t", input);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        store
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    /// The tool with the words of `line` and the directory as its arguments.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = duolog(line);
        command.arg("--dir").arg(self.dir());
        command
    }

    /// Runs the tool to its end.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.run_with(line, b"")
    }

    /// Runs the tool to its end with `input` on its standard input.
    pub(crate) fn run_with(&self, line: &str, input: &[u8]) -> Output {
        let mut command = self.command(line);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // A child that ends early does not read everything.
            scope.spawn(move || stdin.write_all(input).ok());
            child.wait_with_output().unwrap()
        })
    }

    /// Runs the tool, which must succeed, and returns its standard output.
    pub(crate) fn output(&self, line: &str) -> Vec<u8> {
        let output = self.run(line);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        output.stdout
    }

    /// The same, as lines of JSON.
    pub(crate) fn json(&self, line: &str) -> Vec<serde_json::Value> {
        let output = self.output(line);
        let lines = output.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// Runs the tool, which must fail with `code`, and returns what it said.
    pub(crate) fn refused(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {stderr}");
        assert!(stderr.starts_with("duolog: "), "{line}: {stderr}");
        for leak in ["panicked", "Error {", "Some(", "kind:"] {
            assert!(!stderr.contains(leak), "{line}: {stderr}");
        }
        stderr
    }

    /// Starts a `produce --acks` that waits for lines.
    pub(crate) fn producer(&self, line: &str) -> Producer {
        let mut command = self.command(line);
        command.arg("--acks").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Producer {
            lines: child.stdin.take(),
            acks: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }
}

/// The tool with the words of `line` as its arguments.
pub(crate) fn duolog(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duolog"));
    command.args(line.split_whitespace());
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A `produce --acks` that runs.
pub(crate) struct Producer {
    pub(crate) child: Child,
    lines: Option<ChildStdin>,
    acks: BufReader<ChildStdout>,
}

impl Producer {
    /// Sends bytes to it.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let stdin = self.lines.as_mut().expect("it waits for lines");
        stdin.write_all(bytes).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits until it says that at least `lines` are acknowledged.
    pub(crate) fn wait_for(&mut self, lines: u64) -> u64 {
        loop {
            let mut line = String::new();
            self.acks.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "it ended: {}", self.complaints());
            let acknowledged = line.trim().parse().unwrap();
            if acknowledged >= lines {
                return acknowledged;
            }
        }
    }

    fn complaints(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text).unwrap();
        }
        text
    }

    /// Takes its standard input, to be fed by somebody else.
    pub(crate) fn take_lines(&mut self) -> ChildStdin {
        self.lines.take().expect("it waits for lines")
    }

    /// Ends it as a power switch would end a machine, and returns the last
    /// number that it printed.
    pub(crate) fn kill(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = String::new();
        self.acks.read_to_string(&mut rest).unwrap();
        // A number that was cut short is not one that was printed.
        let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().last().map_or(0, |line| line.parse().unwrap())
    }

    /// Asks it to end, as Ctrl-C does, and returns its exit code.
    pub(crate) fn interrupt(&mut self) -> Option<i32> {
        interrupt(&self.child);
        self.child.wait().unwrap().code()
    }

    /// Ends its input and returns its exit code.
    pub(crate) fn finish(mut self) -> Option<i32> {
        drop(self.lines.take());
        self.child.wait().unwrap().code()
    }
}

/// Sends SIGINT.
pub(crate) fn interrupt(child: &Child) {
    let line = format!("kill -INT {}", child.id());
    let status = Command::new("sh").arg("-c").arg(line).status().unwrap();
    assert!(status.success());
}
