//! Imports go downwards only, and docs/architecture.md shows the same table.

use std::fs;

use super::code::{heads, line_at, production, words};
use super::{SRC, keep, root};

/// Modules of a layer, the first layer it may not import, and whether its
/// modules may import each other. docs/architecture.md shows the same table.
type Layer = (&'static [&'static str], usize, bool);
const LAYERS: &[Layer] = &[
    (
        &["error", "ids", "clock", "options", "signal", "sync"],
        0,
        true,
    ),
    (&["format"], 1, false),
    (&["io"], 1, false),
    (&["segment", "wal", "timers"], 3, false),
    (&["partition"], 4, false),
    (&["topic"], 5, false),
    (&["retention", "compaction"], 6, false),
    (&["queue", "stream"], 6, false),
    (&["engine"], 8, false),
    (&["inspect"], 4, false),
    (&["bin"], 0, false),
];

fn imports_downwards(path: &str, text: &str) -> Vec<String> {
    let parts = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    let module = parts.split('/').next().unwrap_or_default();
    let layer_of = |name: &str| LAYERS.iter().position(|layer| layer.0.contains(&name));
    let code = production(path, text);
    let mut out = Vec::new();
    for smuggled in ["#[path", "include!"] {
        let hits = code
            .match_indices(smuggled)
            .map(|(at, _)| line_at(&code, at));
        out.extend(hits.map(|n| format!("{path}:{n}: {smuggled} goes around the layers: use mod")));
    }
    if ["lib", "fuzzing", "bin"].contains(&module) {
        return out;
    }
    let Some((own, layer)) = layer_of(module).and_then(|n| Some((n, LAYERS.get(n)?))) else {
        out.push(format!(
            "{path}:1: {module} has no layer: add it here and to architecture.md"
        ));
        return out;
    };
    for (n, name) in heads(&code, "crate") {
        let Some(other) = layer_of(&name) else {
            out.push(format!(
                "{path}:{n}: crate::{name}: name the module that defines it"
            ));
            continue;
        };
        if name != module && other >= layer.1 && !(layer.2 && other == own) {
            let why = format!("{module} (layer {own}) may not import {name} (layer {other})");
            out.push(format!(
                "{path}:{n}: {why}: hand it in as a value or a trait"
            ));
        }
    }
    let to_the_top = "super::".repeat(parts.split('/').count());
    let hits = words(&code, &to_the_top).map(|at| line_at(&code, at));
    out.extend(hits.map(|n| format!("{path}:{n}: {to_the_top} leaves {module}: write crate::")));
    out
}

fn agrees_with_the_table_of_layers(path: &str, text: &str) -> Vec<String> {
    let rows = text.lines().zip(1..).filter_map(|(line, n)| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let [number, modules, .., imports, ""] = cells.as_slice() else {
            return None;
        };
        let names: Vec<&str> = modules.split('`').skip(1).step_by(2).collect();
        let imports = imports.split(',').next()?.to_owned();
        Some((number.parse::<usize>().ok()?, names, imports, n))
    });
    let rows: Vec<_> = rows.collect();
    let mut out = Vec::new();
    for (n, (names, below, siblings)) in LAYERS.iter().enumerate() {
        let imports = match below {
            0 if *siblings => "each other".to_owned(),
            0 => "the public API".to_owned(),
            1 => "0".to_owned(),
            _ => format!("0-{}", below - 1),
        };
        let row = rows.get(n);
        let line = row.map_or(1, |row| row.3);
        if row.is_none_or(|row| (row.0, row.1.as_slice(), &row.2) != (n, *names, &imports)) {
            let want = format!("| {n} | `{}` | ... | {imports} |", names.join("` `"));
            out.push(format!(
                "{path}:{line}: row {n} of the table of layers must be {want}"
            ));
        }
    }
    if rows.len() != LAYERS.len() {
        out.push(format!(
            "{path}:1: {} layers, not {}: amend it",
            rows.len(),
            LAYERS.len()
        ));
    }
    out
}

#[test]
fn imports_go_downwards() {
    let refused = [
        ("src/wal/mod.rs", "use crate::segment::Segment;"),
        ("src/wal/mod.rs", "use super::segment::Segment;"),
        ("src/wal/replay.rs", "use super::super::segment::Segment;"),
        ("src/format/frame.rs", "fn f() { crate::io::sync() }"),
        (
            "src/io/mod.rs",
            "use crate::{ids::Lsn, format::{batch, frame}};",
        ),
        ("src/topic.rs", "use crate::engine::Engine;"),
        ("src/topic.rs", "use crate::Engine;"),
        ("src/queue/mod.rs", "use crate::stream::Group;"),
        ("src/inspect/mod.rs", "use crate::partition::Partition;"),
        ("src/unheard_of.rs", ""),
        (
            "src/bin/duolog/main.rs",
            "#[path = \"../../wal/mod.rs\"] mod wal;",
        ),
    ];
    let passed = [
        ("src/ids.rs", "use crate::error::Error;"),
        (
            "src/wal/replay.rs",
            "use super::Wal; use crate::{format::frame, io, wal::Wal};",
        ),
        (
            "src/queue/mod.rs",
            "use crate::topic::Topic; // not crate::stream",
        ),
        (
            "src/engine/mod.rs",
            "use crate::{retention, queue, stream, topic};",
        ),
        (
            "src/ids.rs",
            "#[cfg(test)]\nmod tests { use crate::io::sim; }",
        ),
        ("src/lib.rs", "pub use crate::engine::Engine;"),
        (
            "src/bin/duolog/main.rs",
            "use crate::report; use duolog::Engine;",
        ),
    ];
    keep(imports_downwards, SRC, &refused, &passed);
}

#[test]
fn architecture_shows_the_layers_of_this_test() {
    let path = "docs/architecture.md";
    let doc = fs::read_to_string(root().join(path)).expect("docs/architecture.md exists");
    assert_eq!(
        agrees_with_the_table_of_layers(path, &doc),
        Vec::<String>::new()
    );
    for (from, to) in [
        ("`segment` `wal`", "`wal` `segment`"),
        ("| 0-2,", "| 0-3,"),
        ("| 9 |", "| x |"),
    ] {
        assert!(doc.contains(from), "{from} is in the table");
        let drifted = doc.replace(from, to);
        assert!(
            !agrees_with_the_table_of_layers(path, &drifted).is_empty(),
            "let pass: {to}"
        );
    }
}
