//! Queues as their users see them: each promise of a queue, by the public API,
//! on the real file system.
//!
//! Time stands still in most of these tests: a manual clock, no threads, and
//! the steps of the background called by hand. Where many consumers compete, or
//! somebody waits, threads and time are real.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test of the real file system, real threads and real time"
)]

mod acks;
mod alone;
mod awaiting;
mod bad_input;
mod batches;
mod clocks;
mod credit;
mod dead;
mod dedup;
mod delays;
mod durability;
mod fanout;
mod leases;
mod length;
mod looking;
mod model;
mod names;
mod order;
mod priorities;
mod redrive;
mod restart;
mod retries;
mod returns;
mod shards;
#[path = "../api/support.rs"]
#[expect(dead_code, reason = "shared with the tests of topics")]
mod support;
mod transactions;
mod ttl;
mod waiting;
mod work;
mod world;
