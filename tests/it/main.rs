//! What crosses layers: the whole engine on a simulated disk, against a model.
//!
//! `cargo test --features sim --test it` runs all but the soaks;
//! `-- --ignored` runs those, for as long as they take.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that is wrong may panic, and the totals are for its reader"
)]

mod corruption;
mod faults;
mod model;
mod observe;
mod payload;
mod power_cut;
mod properties;
mod queues;
mod reading;
mod world;
