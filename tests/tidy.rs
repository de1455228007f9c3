//! Rules of the house that a machine keeps: reads the tree, names file and line.
//!
//! A rule takes one file and returns its complaints. Each test first shows its
//! rule a text that it must refuse and one that it must let pass, and only
//! then the tree: a rule that stopped working is found too.

use std::fs;
use std::path::{Path, PathBuf};

use code::{code, heads, line_at, production, words};

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/formats.rs"]
mod formats;
#[path = "tidy/layers.rs"]
mod layers;

const CODE_LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;

/// Paths that only the listed files may name; an empty last part is any name.
const LISTED: &[(&str, &[&str])] = &[
    ("std::fs", &["src/io/", "src/bin/"]),
    (
        "std::thread",
        &["src/engine/background.rs", "src/sync.rs", "src/bin/"],
    ),
    ("Instant::now", &["src/clock.rs", "src/bin/"]),
    ("SystemTime::now", &["src/clock.rs", "src/bin/"]),
    ("std::env", &["src/bin/"]),
    ("std::process", &["src/io/", "src/bin/"]),
    ("rustix::", &["src/io/", "src/bin/duolog/bench/"]),
    ("memmap2::", &["src/io/"]),
];

const SRC: &[&str] = &["src"];
const ALL: &[&str] = &["src", "tests", "benches", "examples", "fuzz"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("the tree can be listed").path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Holds `rule` against the texts it must refuse and let pass, then the tree.
fn keep(
    rule: impl Fn(&str, &str) -> Vec<String>,
    dirs: &[&str],
    refused: &[(&str, &str)],
    passed: &[(&str, &str)],
) {
    for (path, text) in refused {
        assert!(!rule(path, text).is_empty(), "let pass: {path}: {text}");
    }
    for (path, text) in passed {
        assert_eq!(rule(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    let mut files = Vec::new();
    for dir in dirs {
        rust_files(&root().join(dir), &mut files);
    }
    assert!(files.contains(&root().join("src/lib.rs")), "found no files");
    files.sort();
    let complaints = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).expect("sources are UTF-8");
        let name = file.strip_prefix(root()).expect("under the root");
        rule(&name.to_string_lossy(), &text)
    });
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn begins_with_a_header(path: &str, text: &str) -> Vec<String> {
    let complaint = format!("{path}:1: no header: begin with //! and what a stranger needs");
    if text.starts_with("//!") {
        vec![]
    } else {
        vec![complaint]
    }
}

fn is_of_a_readable_size(path: &str, text: &str) -> Vec<String> {
    let lines = production(path, text)
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count();
    let complaint = format!("{path}:1: {lines} code lines, over {CODE_LINES_MAX}: split it");
    if lines > CODE_LINES_MAX {
        vec![complaint]
    } else {
        vec![]
    }
}

fn has_plain_lines(path: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (line, n) in text.split('\n').zip(1..) {
        if line.chars().count() > COLUMNS_MAX {
            out.push(format!("{path}:{n}: over {COLUMNS_MAX} columns: wrap it"));
        }
        if line.ends_with(char::is_whitespace) {
            out.push(format!("{path}:{n}: trailing blanks: remove them"));
        }
        if let Some(odd) = line.chars().find(|c| !c.is_ascii() || *c == '\t') {
            out.push(format!(
                "{path}:{n}: {odd:?}: use printable ASCII or an escape"
            ));
        }
    }
    out
}

fn has_no_unsafe_outside_io(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("src/io/") {
        return vec![];
    }
    let code = code(text);
    let lines = words(&code, "unsafe").map(|at| line_at(&code, at));
    lines
        .map(|n| format!("{path}:{n}: unsafe: only src/io may; move it there"))
        .collect()
}

fn names_only_listed_paths(path: &str, text: &str) -> Vec<String> {
    let code = production(path, text);
    let mut out = Vec::new();
    for (what, listed) in LISTED
        .iter()
        .filter(|(_, l)| !l.iter().any(|f| path.starts_with(f)))
    {
        let (root, head) = what.split_once("::").unwrap_or((what, ""));
        let hits = heads(&code, root)
            .into_iter()
            .filter(|(_, name)| head.is_empty() || name == head);
        let listed = listed.join(", ");
        out.extend(
            hits.map(|(n, _)| {
                format!("{path}:{n}: {what}: only in {listed}; take it as an argument")
            }),
        );
    }
    out
}

fn leaves_nothing_undone(path: &str, text: &str) -> Vec<String> {
    // In two halves, so that this file does not complain about itself.
    let later = concat!("TO", "DO");
    let never = [
        concat!("FIX", "ME"),
        concat!("db", "g!"),
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
    ];
    let mut out = Vec::new();
    for (line, n) in text.lines().zip(1..) {
        for word in never
            .iter()
            .filter(|word| words(line, word).next().is_some())
        {
            out.push(format!("{path}:{n}: {word}: finish it or take it out"));
        }
        let numbered = line
            .split('#')
            .skip(1)
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if words(line, later).next().is_some() && !numbered {
            out.push(format!(
                "{path}:{n}: {later} without an issue: write {later} #<number>"
            ));
        }
    }
    out
}

#[test]
fn every_source_begins_with_a_header() {
    let refused = [("a.rs", "use x;\n//! late")];
    keep(
        begins_with_a_header,
        SRC,
        &refused,
        &[("a.rs", "//! What it is.\n")],
    );
}

#[test]
fn every_source_is_of_a_readable_size() {
    let (wall, beyond) = (
        "a;\n".repeat(CODE_LINES_MAX),
        "a;\n".repeat(CODE_LINES_MAX + 1),
    );
    let tested = format!("{wall}// why\n\n#[cfg(test)]\nmod tests {{\n{beyond}}}\n");
    let refused = [("src/a.rs", beyond.as_str())];
    keep(
        is_of_a_readable_size,
        SRC,
        &refused,
        &[("src/a.rs", &tested), ("src/a/tests.rs", &beyond)],
    );
}

#[test]
fn every_line_is_plain() {
    let (wall, beyond) = ("x".repeat(COLUMNS_MAX), "x".repeat(COLUMNS_MAX + 1));
    let refused = [
        ("a", beyond.as_str()),
        ("a", "a; \n"),
        ("a", "a\r\n"),
        ("a", "\tb"),
        ("a", "// \u{e9}"),
    ];
    keep(has_plain_lines, ALL, &refused, &[("a", &wall)]);
}

#[test]
fn unsafe_stands_only_in_io() {
    let refused = [("src/wal/mod.rs", "fn f() { unsafe { g() } }")];
    let passed = [
        ("src/io/map.rs", "unsafe { g() }"),
        ("src/a.rs", "#![deny(unsafe_code)] // unsafe\n\"unsafe\""),
    ];
    keep(has_no_unsafe_outside_io, ALL, &refused, &passed);
}

#[test]
fn files_clock_and_threads_are_touched_only_where_listed() {
    let refused = [
        ("src/wal/mod.rs", "use std::fs::File;"),
        ("src/engine/mod.rs", "use std::{io, thread};"),
        ("src/topic.rs", "let now = std::time::Instant::now();"),
        ("src/topic.rs", "let now = SystemTime::now();"),
        ("src/options.rs", "std::env::var(name)"),
        ("src/wal/mod.rs", "use rustix::fs::fsync;"),
    ];
    let passed = [
        ("src/io/blocking.rs", "use std::fs::File;"),
        ("src/engine/background.rs", "use std::thread;"),
        (
            "src/wal/mod.rs",
            "#[cfg(test)]\nmod tests { use std::thread; }",
        ),
        ("src/wal/mod.rs", "use std::{fmt, io}; // not std::fs"),
    ];
    keep(names_only_listed_paths, SRC, &refused, &passed);
}

#[test]
fn nothing_is_left_undone_without_an_issue() {
    let refused = [
        concat!("// TO", "DO: later"),
        concat!("// TO", "DO # 1"),
        concat!("// FIX", "ME #1"),
        concat!("db", "g!(x)"),
        concat!("to", "do!()"),
        concat!("unimple", "mented!()"),
    ];
    let passed = [
        ("a", concat!("// TO", "DO #12: later")),
        ("a", "// mastodon"),
    ];
    keep(
        leaves_nothing_undone,
        ALL,
        &refused.map(|text| ("a", text)),
        &passed,
    );
}
