//! The inputs of the fuzz targets, without a fuzzer: on every test run, on any
//! toolchain.

use std::fs;
use std::path::Path;

use duolog::fuzzing;

type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("batch", fuzzing::batch),
    ("compress", fuzzing::compress),
    ("dedup", fuzzing::dedup),
    ("entry", fuzzing::entry),
    ("frame", fuzzing::frame),
    ("identity", fuzzing::identity),
    ("index", fuzzing::index),
    ("ledger", fuzzing::ledger),
    ("queue", fuzzing::queue),
    ("record", fuzzing::record),
    ("segment", fuzzing::segment),
    ("snapshot", fuzzing::snapshot),
    ("timers", fuzzing::timers),
    ("topic", fuzzing::topic),
    ("varint", fuzzing::varint),
    ("walfile", fuzzing::walfile),
];

fn inputs(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    #[expect(clippy::disallowed_methods, reason = "reads the source tree")]
    let read = |path: &Path| fs::read(path).expect("a file can be read");
    paths
        .map(|path| (path.display().to_string(), read(&path)))
        .collect()
}

#[test]
fn every_input_of_every_corpus_keeps_the_promises_of_its_decoder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in TARGETS {
        let corpus = inputs(&root.join("fuzz/corpus").join(name));
        assert!(!corpus.is_empty(), "fuzz/corpus/{name} is empty");
        for (path, bytes) in corpus {
            println!("{path}");
            target(&bytes);
        }
    }
}

#[test]
fn every_decoder_survives_what_is_meant_for_the_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, bytes) in inputs(&root.join("tests/fixtures/v1")) {
        for (name, target) in TARGETS {
            println!("{path} as {name}");
            for cut in 0..=bytes.len() {
                target(&bytes[..cut]);
                target(&bytes[cut..]);
            }
        }
    }
}

#[test]
fn every_target_is_replayed() {
    let manifest = include_str!("../fuzz/Cargo.toml");
    let names = manifest.lines().filter_map(|line| {
        let name = line.strip_prefix("name = \"")?.strip_suffix('"')?;
        (name != "duolog-fuzz").then_some(name)
    });
    let replayed: Vec<_> = TARGETS.iter().map(|target| target.0).collect();
    assert_eq!(names.collect::<Vec<_>>(), replayed);
}
