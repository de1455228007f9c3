//! Where a measurement was made: without it, a figure means nothing.
//!
//! Neither the name of the machine nor any path goes into a report: people send
//! them around.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::probe::{Probe, Way};
use super::rounded;
use crate::failure::Failure;

/// Time for each of the two costs of a sync.
const SYNC_PROBE: Duration = Duration::from_millis(60);

/// The machine, the disk under the directory, and this build.
#[derive(Debug, Serialize)]
pub(super) struct Environment {
    /// Version of the tool and the library.
    pub(super) duolog: &'static str,
    /// `release`, or `debug`, whose figures say nothing.
    pub(super) build: &'static str,
    /// When the measurement began, RFC 3339.
    pub(super) time: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
    /// Of the last minute before the measurement: other work makes figures low.
    pub(super) load_average: f64,
    pub(super) memory_bytes: u64,
    pub(super) architecture: &'static str,
    pub(super) kernel: String,
    pub(super) file_system: String,
    pub(super) device: String,
    pub(super) mount_options: String,
    /// 4 KiB over blocks that were written before, and a sync: the p50.
    pub(super) sync_overwrite_us: f64,
    /// 4 KiB at the end of a file that grows, and a sync: the p50.
    pub(super) sync_grow_us: f64,
}

impl Environment {
    /// Looks around, and syncs for a moment in `scratch`.
    pub(super) fn look(scratch: &Path) -> Result<Self, Failure> {
        let mount = Mount::of(scratch);
        let sync_us = |way| {
            let probe = Probe::new(way, 4096, 1);
            let result = probe.run(&scratch.join("probe"), SYNC_PROBE);
            result.map(|figures| figures.map_or(0.0, |figures| figures.p50_us))
        };
        Ok(Self {
            duolog: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            time: now(),
            cpu: first_line("/proc/cpuinfo", "model name"),
            cores: thread::available_parallelism().map_or(1, Into::into),
            load_average: load_average(),
            memory_bytes: memory_bytes(),
            architecture: std::env::consts::ARCH,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: mount.kind,
            device: mount.device,
            mount_options: mount.options,
            sync_overwrite_us: rounded(sync_us(Way::Overwrite)?),
            sync_grow_us: rounded(sync_us(Way::Grow)?),
        })
    }
}

impl Environment {
    /// True if other work took more than half of the machine.
    pub(super) fn is_busy(&self) -> bool {
        let cores = u32::try_from(self.cores).unwrap_or(u32::MAX);
        self.load_average > f64::from(cores) / 2.0
    }
}

#[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |time| time.to_string())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line of `path` that begins with `name`.
fn first_line(path: &str, name: &str) -> String {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

fn load_average() -> f64 {
    let text = read("/proc/loadavg");
    let first = text.split(' ').next().and_then(|load| load.parse().ok());
    first.unwrap_or(0.0)
}

fn memory_bytes() -> u64 {
    let line = first_line("/proc/meminfo", "MemTotal");
    let kib = line
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok());
    kib.map_or(0, |kib: u64| kib * 1024)
}

/// The file system that a directory lies in.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    kind: String,
    device: String,
    options: String,
}

impl Mount {
    fn of(dir: &Path) -> Self {
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        Self::find(&read("/proc/self/mountinfo"), &dir)
    }

    /// The mount with the longest path that leads to `dir`; of two with the
    /// same path the later one, which hides the other.
    fn find(mountinfo: &str, dir: &Path) -> Self {
        let mut found = (0, None);
        for line in mountinfo.lines() {
            let Some((own, system)) = line.split_once(" - ") else {
                continue;
            };
            let own: Vec<&str> = own.split(' ').collect();
            let system: Vec<&str> = system.split(' ').collect();
            let ([_, _, _, _, point, options, ..], [kind, device, ..]) =
                (own.as_slice(), system.as_slice())
            else {
                continue;
            };
            if dir.starts_with(point) && point.len() >= found.0 {
                let mount = Self {
                    kind: (*kind).to_owned(),
                    device: (*device).to_owned(),
                    options: (*options).to_owned(),
                };
                found = (point.len(), Some(mount));
            }
        }
        found.1.unwrap_or_else(|| Self {
            kind: "unknown".to_owned(),
            device: "unknown".to_owned(),
            options: String::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_longest_mount() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
             30 22 0:26 / /var/tmp rw,nosuid - tmpfs tmpfs rw,size=1k\n\
             nonsense\n";
        let kind = |dir: &str| Mount::find(mounts, Path::new(dir)).kind;
        assert_eq!(kind("/var/tmp/x"), "tmpfs");
        assert_eq!(kind("/var/tmpx"), "ext4");
        assert_eq!(kind("/"), "ext4");
        let mount = Mount::find(mounts, Path::new("/srv"));
        assert_eq!(
            (&*mount.device, &*mount.options),
            ("/dev/vda", "rw,relatime")
        );
    }
}
