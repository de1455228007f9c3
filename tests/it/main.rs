//! What crosses layers: the whole engine on a simulated disk, against a model.
//!
//! `cargo test --features sim --test it` runs all but the soaks;
//! `-- --ignored` runs those, for as long as they take.

mod corruption;
mod faults;
mod model;
mod observe;
mod payload;
mod power_cut;
mod properties;
mod world;
