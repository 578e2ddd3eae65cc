//! CPU time and memory of a process and its children, read from `/proc`.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// CPU time spent so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// All of it, from the scheduler's own account (`schedstat`), in nanoseconds.
    pub total: Duration,
    /// The part in user mode, in clock ticks of 10 ms.
    pub user: Duration,
    /// The part in the kernel, in clock ticks of 10 ms.
    pub system: Duration,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// Memory held now, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident pages; pages that two processes share count twice.
    pub rss_kib: f64,
    /// Resident pages, shared ones divided among those who share them.
    pub pss_kib: f64,
}

/// A process and everything below it.
#[must_use]
pub fn tree(root: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = number(&entry.file_name().to_string_lossy()) else {
            continue;
        };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, above)| *above == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found
}

/// The CPU time of these processes together.
#[must_use]
pub fn cpu(pids: &[u32]) -> Cpu {
    let tick = 1.0 / ticks_per_second();
    let mut sum = Cpu::default();
    for &pid in pids {
        if let Some(fields) = stat(pid) {
            let ticks = |index: usize| -> f64 {
                fields
                    .get(index)
                    .and_then(|field| field.parse().ok())
                    .unwrap_or(0.0)
            };
            sum.user += Duration::from_secs_f64(ticks(11) * tick);
            sum.system += Duration::from_secs_f64(ticks(12) * tick);
        }
        for thread in threads(pid) {
            let path = format!("/proc/{pid}/task/{thread}/schedstat");
            let spent = fs::read_to_string(path).ok();
            let spent = spent.and_then(|text| text.split(' ').next()?.parse().ok());
            sum.total += Duration::from_nanos(spent.unwrap_or(0));
        }
    }
    // A kernel without schedstat: ticks are better than nothing.
    if sum.total.is_zero() {
        sum.total = sum.user + sum.system;
    }
    sum
}

/// The memory of these processes together.
#[must_use]
pub fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        for line in text.lines() {
            let kib = |name: &str| -> Option<f64> {
                let rest = line.strip_prefix(name)?.trim();
                rest.strip_suffix(" kB")?.parse().ok()
            };
            sum.rss_kib += kib("Rss:").unwrap_or(0.0);
            sum.pss_kib += kib("Pss:").unwrap_or(0.0);
        }
    }
    sum
}

/// The threads of a process.
pub(super) fn threads(pid: u32) -> Vec<u32> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| number(&entry.file_name().to_string_lossy()))
        .collect()
}

/// The fields of `/proc/PID/stat` after the program's name, which may itself hold spaces; the first is
/// the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "it is 100 on every Linux")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_tree_spends_time_and_holds_memory() {
        let pid = std::process::id();
        assert_eq!(tree(pid)[0], pid);
        let before = cpu(&[pid]);
        let mut sum = 0u64;
        while cpu(&[pid]).total == before.total {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(memory(&[pid]).rss_kib > 100.0);
    }

    #[test]
    fn nobody_spends_nothing() {
        let gone = u32::MAX;
        assert!(cpu(&[gone]).total.is_zero());
        assert!(memory(&[gone]).rss_kib < 1.0);
    }
}
