//! See `duolog::fuzzing::timers` for what is held against what.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| duolog::fuzzing::timers(data));
