//! What `src/format` owes others: its lengths to docs/format.md, its decoders a
//! fuzz target each.

use std::fs;

use super::code::{production, words};
use super::{SRC, keep, root, rust_files};

fn has_documented_lengths(doc: &str, path: &str, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if !path.starts_with("src/format") {
        return out;
    }
    for (line, n) in production(path, text).lines().zip(1..) {
        let Some((_, constant)) = line
            .split_once("const ")
            .filter(|(b, _)| b.starts_with("pub"))
        else {
            continue;
        };
        let Some((name, value)) = constant.trim_end_matches(';').split_once(": usize = ") else {
            continue;
        };
        let number = value.replace('_', "");
        if !name.ends_with("_LEN") || !number.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let says = |line: &str| {
            let line = line.replace('`', "");
            let number_in = |text: &str| words(text, &number).next().is_some();
            let mut names = words(&line, name);
            if line.starts_with('|') {
                names.next().is_some() && number_in(&line)
            } else {
                names.any(|at| {
                    let rest = line.split_at(at + name.len()).1.strip_prefix(" = ");
                    rest.is_some_and(|rest| words(rest, &number).next() == Some(0))
                })
            }
        };
        if !doc.lines().any(says) {
            out.push(format!(
                "{path}:{n}: docs/format.md lacks {name} = {number}: one of them is wrong"
            ));
        }
    }
    out
}

fn has_a_fuzz_target(targets: &[String], path: &str, text: &str) -> Vec<String> {
    let code = production(path, text);
    let names = ["fn decode", "fn split_first"];
    let decodes = |line: &&str| {
        line.trim_start().starts_with("pub") && names.iter().any(|f| line.contains(f))
    };
    // A part of a folder is fuzzed by the target of the folder.
    let stem = path
        .trim_start_matches("src/format/")
        .trim_end_matches(".rs")
        .split('/')
        .next()
        .unwrap_or(path);
    let missing = path.starts_with("src/format")
        && code.lines().any(|line| decodes(&line))
        && !targets.iter().any(|t| t == stem);
    let complaint = format!(
        "{path}:1: decodes unfuzzed: add fuzz/fuzz_targets/{stem}.rs and name it in fuzz/Cargo.toml"
    );
    if missing { vec![complaint] } else { vec![] }
}

#[test]
fn lengths_in_format_are_those_of_the_document() {
    let doc = fs::read_to_string(root().join("docs/format.md"));
    let begun = root().join("src/format/mod.rs").exists();
    assert!(
        doc.is_ok() || !begun,
        "docs/format.md: write it: it has the last word on every byte"
    );
    let (path, text) = ("src/format/a.rs", "pub const A_LEN: usize = 12;\n");
    for bad in [
        "A_LEN = 13",
        "A_LEN = 120",
        "XA_LEN = 12",
        "A_LEN is 12",
        "| A_LEN | 13 |",
        "",
    ] {
        assert!(
            !has_documented_lengths(bad, path, text).is_empty(),
            "let pass: {bad}"
        );
    }
    for good in ["`A_LEN = 12`.", "| `A_LEN` | 12 | bytes |"] {
        assert_eq!(
            has_documented_lengths(good, path, text),
            Vec::<String>::new(),
            "{good}"
        );
    }
    let doc = doc.unwrap_or_default();
    keep(
        |path, text| has_documented_lengths(&doc, path, text),
        SRC,
        &[],
        &[],
    );
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap_or_default();
    let mut targets = Vec::new();
    rust_files(&root().join("fuzz/fuzz_targets"), &mut targets);
    let stems = targets
        .iter()
        .filter_map(|path| path.file_stem())
        .map(|stem| stem.to_string_lossy());
    let targets: Vec<String> = stems
        .filter(|stem| manifest.contains(&format!("\"{stem}\"")))
        .map(Into::into)
        .collect();
    let rule = |path: &str, text: &str| has_a_fuzz_target(&targets, path, text);
    let refused = [
        ("src/format/unfuzzed.rs", "pub(crate) fn decode_header() {}"),
        (
            "src/format/unfuzzed/mod.rs",
            "impl A {\n    pub fn split_first() {}\n}",
        ),
        (
            "src/format/unfuzzed/batch.rs",
            "pub(super) fn split_first() {}",
        ),
    ];
    let passed = [(
        "src/format/unfuzzed.rs",
        "bytes.split_first();\nfn decode_inner() {}",
    )];
    keep(rule, SRC, &refused, &passed);
}
