//! What a measurement costs this process: processor time, memory, bytes written.

use std::fs;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::float;
use crate::units;

/// Processor time of all threads of this process so far, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    float(time.tv_sec.unsigned_abs()) + float(time.tv_nsec.unsigned_abs()) / 1e9
}

/// Most memory that this process had at a time, since a measurement began.
///
/// What is shared with the page cache (maps of segments) counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PeakMemory {
    /// Zero if unknown.
    #[serde(rename = "peak_memory_bytes")]
    bytes: u64,
    /// True where the kernel does not let a peak begin anew, and it is that of
    /// the whole process.
    #[serde(rename = "peak_memory_since_start")]
    since_start: bool,
}

impl PeakMemory {
    /// Lets the peak begin again from what is used now.
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel's")]
    pub(super) fn begin() -> Self {
        Self {
            bytes: 0,
            since_start: fs::write("/proc/self/clear_refs", "5").is_err(),
        }
    }

    /// The peak so far.
    pub(super) fn look(self) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            bytes: field(&status, "VmHWM:").map_or(0, |kib| kib * 1024),
            ..self
        }
    }

    /// As people read it.
    pub(super) fn text(self) -> String {
        let bytes = units::size(self.bytes);
        if self.since_start {
            return format!("{bytes} since the start");
        }
        bytes
    }
}

/// Bytes that this process made the kernel write, if the kernel counts them.
///
/// More than the engine counts: indexes, snapshots, files of the log that are
/// written in advance, and whole pages where a part of one was written.
pub(super) fn kernel_written_bytes() -> Option<u64> {
    field(&fs::read_to_string("/proc/self/io").ok()?, "\nwrite_bytes:")
}

/// The number after `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::to_u64;

    #[test]
    fn a_field_is_the_number_after_its_name() {
        let status = "VmPeak:\t  99 kB\nVmHWM:\t   12 kB\n";
        assert_eq!(field(status, "VmHWM:"), Some(12));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn a_process_uses_time_and_memory() {
        assert!(cpu_seconds() >= 0.0);
        // Not begun: another test looks at what a beginning does.
        let peak = PeakMemory {
            bytes: 0,
            since_start: true,
        };
        assert!(peak.look().bytes > 0);
    }

    #[test]
    fn a_peak_has_nothing_of_what_was_given_back_before_it_began() {
        const MUCH: usize = 256 << 20;
        let before = PeakMemory::begin();
        drop(std::hint::black_box(vec![1_u8; MUCH]));
        let most = before.look().bytes;
        assert!(most > to_u64(MUCH), "{most}");
        let after = PeakMemory::begin().look();
        assert_eq!(after.since_start, before.since_start);
        if after.since_start {
            assert!(after.bytes >= most);
            assert!(after.text().ends_with(" since the start"));
        } else {
            assert!(after.bytes < most - to_u64(MUCH / 2), "{after:?}, {most}");
        }
    }
}
