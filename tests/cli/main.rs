//! The tool as its users meet it: a process with arguments, pipes, signals and
//! an exit code.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics says where"
)]
#![expect(clippy::disallowed_methods, reason = "a test damages files itself")]

mod bench;
mod crash;
mod damage;
mod lines;
mod process;
mod queues;
mod store;
mod topics;
