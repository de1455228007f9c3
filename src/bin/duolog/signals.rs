//! SIGINT, SIGTERM and SIGHUP: the first asks, the second ends.
//!
//! The first sets a flag that every loop looks at, so that the engine is closed
//! in order. The second ends the process at once, which loses nothing that was
//! acknowledged as durable.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::failure::Failure;

static STOP: AtomicBool = AtomicBool::new(false);

/// Longest time that a loop may go without looking at the flag.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Takes over the signals that end a process.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            process::exit(130);
        }
    })
    .map_err(|error| Failure::Refused(format!("cannot take over signals: {error}")))
}

/// True once a signal asked to end.
pub(crate) fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Fails once a signal asked to end.
pub(crate) fn check() -> Result<(), Failure> {
    if stopped() {
        return Err(Failure::Interrupted);
    }
    Ok(())
}
