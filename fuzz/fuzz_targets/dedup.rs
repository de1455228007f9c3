//! See `duolog::fuzzing::dedup` for what is held against what.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| duolog::fuzzing::dedup(data));
