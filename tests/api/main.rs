//! The public API on the real file system: bad input, limits, handles, and
//! many threads at once.
//!
//! Tests that need a process of their own run this binary again, with the name
//! of an ignored test and an environment variable that says what to do.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test of the real file system, real threads and real time"
)]

mod appending;
mod closing;
mod directory;
mod limits;
mod opening;
mod options;
mod reading;
mod support;
mod threads;
mod tickets;
mod topics;
