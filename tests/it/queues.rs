//! Queues under power cuts, faults and damage, against a model of messages.
//!
//! A message is in one place: in the queue that it was sent to, in the one that
//! it was moved to (dead, redriven, moved by hand), or nowhere, once it is done.
//! The model keeps, for each, every place that a crash may find it at; each
//! disk that a cut can leave is opened and held against that.

mod damage;
mod drain;
mod faults;
mod history;
mod model;
mod power_cut;
mod workloads;
mod world;
