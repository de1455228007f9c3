//! Locks, atomics and parking: where threads meet, all of it through here.
//!
//! They are the standard library's. With `--cfg duolog_shuttle` they belong to
//! the crate `shuttle`, whose scheduler then decides at each of them which
//! thread goes on: `wal/schedules.rs` runs the commit path that way. Nothing
//! else works in such a build.
//!
//! The standard lock lets a thread that runs overtake those that sleep in front
//! of it, for as long as it likes. Where callers of the public API meet, a
//! [`FairMutex`] hands itself over once in half a millisecond.
//!
//! `shuttle` has no time: a sleep with a timeout sleeps until it is woken. What
//! passes there needs no timeout to be saved by.

#[cfg(not(duolog_shuttle))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(not(duolog_shuttle))]
pub(crate) use parking_lot::{Mutex as FairMutex, MutexGuard as FairMutexGuard};

#[cfg(duolog_shuttle)]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(duolog_shuttle)]
pub(crate) use self::fair::{FairMutex, FairMutexGuard};

/// The scheduler is as fair as it wants to be: any lock will do.
#[cfg(duolog_shuttle)]
mod fair {
    pub(crate) use crate::sync::MutexGuard as FairMutexGuard;

    #[derive(Debug)]
    pub(crate) struct FairMutex<T>(crate::sync::Mutex<T>);

    impl<T> FairMutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(crate::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> FairMutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}
