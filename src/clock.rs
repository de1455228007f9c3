//! Time: the only place that asks the operating system what time it is.
//!
//! Order never depends on a clock (it is by LSN and offset). Clocks feed
//! record timestamps, retention, linger and waits, and all of them may jump.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ids::Timestamp;

/// A source of time. Implementations are shared by all threads of an engine;
/// they must neither wait nor panic: locks may be held.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::clock::{Clock, SystemClock};
/// use duolog::ids::Timestamp;
///
/// /// A clock that runs an hour ahead.
/// #[derive(Debug)]
/// struct Ahead(SystemClock);
///
/// impl Clock for Ahead {
///     fn now(&self) -> Timestamp {
///         self.0.now().saturating_add(3_600_000)
///     }
///     fn monotonic(&self) -> Duration {
///         self.0.monotonic()
///     }
/// }
/// let clock = Ahead(SystemClock::new());
/// assert!(clock.now() > SystemClock::new().now());
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall clock, in milliseconds since 1970-01-01T00:00Z. May jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start. Never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The clock of the operating system. A wall clock before 1970 reads as 1970.
///
/// # Examples
///
/// ```
/// use duolog::clock::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let earlier = clock.monotonic();
/// assert!(clock.monotonic() >= earlier);
/// ```
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
    fn now(&self) -> Timestamp {
        // A clock set before 1970 reads as 1970: timestamps are advisory, and
        // retention guards itself against jumps.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when told to, for tests and simulations.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use duolog::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new(1_000);
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now().millis(), 3_000);
/// assert_eq!(clock.monotonic(), Duration::from_secs(2));
/// ```
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_us: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `wall_ms` milliseconds since 1970.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        Self {
            wall_ms: AtomicI64::new(wall_ms),
            monotonic_us: AtomicU64::new(0),
        }
    }

    /// Moves both times on by `by`.
    pub fn advance(&self, by: Duration) {
        let wall = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall_ms.fetch_add(wall, Ordering::SeqCst);
        let mono = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.monotonic_us.fetch_add(mono, Ordering::SeqCst);
    }

    /// Sets the wall clock, forwards or backwards; monotonic time stands still.
    pub fn jump_to(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic_us.load(Ordering::SeqCst))
    }
}

/// The end of a wait, in real time: a simulated clock stands still while a
/// thread sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// No end at all.
    pub(crate) const NEVER: Self = Self(None);

    /// So long from now. Beyond what the clock can say is never.
    #[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
    pub(crate) fn after(wait: Duration) -> Self {
        Self(Instant::now().checked_add(wait))
    }

    /// Time that is left; `None` if there is no end.
    pub(crate) fn left(self) -> Option<Duration> {
        self.0.map(|end| {
            #[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
            let now = Instant::now();
            end.saturating_duration_since(now)
        })
    }
}

/// Measures how long something takes, in real time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is what others use instead")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Whole microseconds since the start.
    pub(crate) fn micros(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
