//! What a measurement costs this process: processor time, memory, bytes written.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

use super::float;

/// Processor time of all threads of this process so far, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    float(time.tv_sec.unsigned_abs()) + float(time.tv_nsec.unsigned_abs()) / 1e9
}

/// Lets the peak of the memory start again from what is used now; false where
/// the kernel does not offer it, and the peak is that of the whole process.
#[expect(clippy::disallowed_methods, reason = "a file of the kernel's")]
pub(super) fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Most memory that this process had at a time, in bytes; zero if unknown.
///
/// What is shared with the page cache (maps of segments) counts.
pub(super) fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmHWM:").map_or(0, |kib| kib * 1024)
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

    #[test]
    fn a_field_is_the_number_after_its_name() {
        let status = "VmPeak:\t  99 kB\nVmHWM:\t   12 kB\n";
        assert_eq!(field(status, "VmHWM:"), Some(12));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn a_process_uses_time_and_memory() {
        assert!(cpu_seconds() >= 0.0);
        assert!(peak_memory_bytes() > 0);
    }
}
