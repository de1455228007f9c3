//! Killed at any moment, a store keeps what it acknowledged.
//!
//! This binary runs itself again as a child, which opens a store on the real
//! file system, appends from several threads and says on its standard output
//! what was acknowledged. It is killed with SIGKILL at a random moment. Then
//! the store is opened and compared with what was said, and the next child goes
//! on in it, so that a store lives through many crashes, of recoveries too.
//!
//! ```text
//! cargo test --test crash                        # 200 rounds
//! cargo test --test crash -- --rounds 100000     # a soak
//! cargo test --test crash -- --seed 7 --rounds 1 # one round again
//! ```
//!
//! SIGKILL loses nothing that was written to the page cache; what a power cut
//! loses is for the simulated file system (tests of `io::sim`).

#![expect(
    clippy::print_stdout,
    reason = "a test without the standard harness prints for itself"
)]
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds is a failed test"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test of the real file system and of real time"
)]

mod check;
mod child;
mod harness;
mod random;
mod rounds;
mod tests;
mod verify;
mod work;

use std::path::Path;
use std::process::ExitCode;

/// First argument of a child.
const CHILD: &str = "--child-of-crash-test";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, dir, seed, round] = &arguments[..]
        && first == CHILD
    {
        let (seed, round) = (seed.parse(), round.parse());
        child::run(
            Path::new(dir),
            seed.expect("a number"),
            round.expect("a number"),
        );
        return ExitCode::FAILURE;
    }
    harness::run(&arguments)
}
