//! See `duolog::fuzzing::queue` for what is held against what.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| duolog::fuzzing::queue(data));
