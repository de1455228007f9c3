//! Locks, atomics and parking: where threads meet, all of it through here.
//!
//! They are the standard library's. With `--cfg duolog_shuttle` they belong to
//! the crate `shuttle`, whose scheduler then decides at each of them which
//! thread goes on: `wal/schedules.rs` runs the commit path that way. Nothing
//! else works in such a build.
//!
//! `shuttle` has no time: a sleep with a timeout sleeps until it is woken. What
//! passes there needs no timeout to be saved by.

#[cfg(not(duolog_shuttle))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(duolog_shuttle)]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};
