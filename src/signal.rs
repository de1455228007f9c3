//! Waking somebody up: the one way in which threads and tasks wait for news.
//!
//! A [`Signal`] counts the news. Who waits remembers the count it has seen, so
//! that news between looking and sleeping is never lost.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Takes a lock whose holder may have panicked.
///
/// State under our locks is changed only after everything that can fail, so
/// it is whole even then; one panicking caller must not stop all others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A count of news that can be waited on.
#[derive(Default)]
pub(crate) struct Signal {
    count: AtomicU64,
    sleepers: Mutex<Sleepers>,
    wake: Condvar,
}

#[derive(Default)]
struct Sleepers {
    threads: usize,
    tasks: Vec<Waker>,
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({})", self.seen())
    }
}

impl Signal {
    /// News so far; to be read before looking at what the news are about.
    pub(crate) fn seen(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Tells all who wait. Costs no system call if nobody does.
    pub(crate) fn notify(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        // The lock orders this with a sleeper between its last look at the
        // count and its sleep.
        let mut sleepers = lock(&self.sleepers);
        if sleepers.threads > 0 {
            self.wake.notify_all();
        }
        let tasks = std::mem::take(&mut sleepers.tasks);
        drop(sleepers);
        tasks.into_iter().for_each(Waker::wake);
    }

    /// Wakes `waker` with the next news. To be called before looking at what the
    /// news are about.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut sleepers = lock(&self.sleepers);
        if !sleepers.tasks.iter().any(|task| task.will_wake(waker)) {
            sleepers.tasks.push(waker.clone());
        }
    }

    /// Wakes `waker` no more: whoever it belongs to does not wait any longer.
    pub(crate) fn forget(&self, waker: &Waker) {
        lock(&self.sleepers)
            .tasks
            .retain(|task| !task.will_wake(waker));
    }

    /// Sleeps until there are news since `seen`, at most `timeout`. True if
    /// there are.
    pub(crate) fn wait(&self, seen: u64, timeout: Duration) -> bool {
        let mut sleepers = lock(&self.sleepers);
        if self.seen() != seen {
            return true;
        }
        sleepers.threads += 1;
        let (mut sleepers, _) = self
            .wake
            .wait_timeout_while(sleepers, timeout, |_| self.seen() == seen)
            .unwrap_or_else(PoisonError::into_inner);
        sleepers.threads -= 1;
        self.seen() != seen
    }
}

/// Who else is told of news, beside those that wait for them: any number, and
/// mostly none.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    some: AtomicBool,
    signals: Mutex<Vec<Arc<Signal>>>,
}

impl Audience {
    /// Tells `signal`, too, from now on.
    pub(crate) fn add(&self, signal: &Arc<Signal>) {
        lock(&self.signals).push(Arc::clone(signal));
        self.some.store(true, Ordering::SeqCst);
    }

    pub(crate) fn remove(&self, signal: &Arc<Signal>) {
        let mut signals = lock(&self.signals);
        signals.retain(|other| !Arc::ptr_eq(other, signal));
        self.some.store(!signals.is_empty(), Ordering::SeqCst);
    }

    /// Costs a look where there is nobody.
    pub(crate) fn notify(&self) {
        if self.some.load(Ordering::SeqCst) {
            lock(&self.signals)
                .iter()
                .for_each(|signal| signal.notify());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_before_the_sleep_are_not_lost() {
        let signal = Signal::default();
        let seen = signal.seen();
        signal.notify();
        assert!(signal.wait(seen, Duration::from_secs(3600)));
        assert!(!signal.wait(signal.seen(), Duration::ZERO));
    }

    #[test]
    fn a_sleeping_thread_is_woken() {
        let signal = Arc::new(Signal::default());
        let seen = signal.seen();
        let other = Arc::clone(&signal);
        let thread = std::thread::Builder::new()
            .spawn(move || other.wait(seen, Duration::from_secs(3600)))
            .expect("a thread");
        signal.notify();
        assert!(thread.join().expect("no panic"));
    }
}
