//! What this process takes of the machine, as the kernel counts.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::exposition::Exposition;

/// A look at the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// Bytes in memory.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// As many may be open; `None` is any number.
    pub most_open_files: Option<u64>,
}

impl Process {
    /// Looks. What the kernel does not tell is zero.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a double counts ticks exactly for longer than a machine lives"
    )]
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program comes in parentheses and may hold anything.
        let fields: Vec<u64> = stat
            .rsplit_once(") ")
            .map_or("", |(_, rest)| rest)
            .split(' ')
            .map(|field| field.trim().parse().unwrap_or_default())
            .collect();
        let field = |number: usize| {
            fields
                .get(number - FIRST_FIELD)
                .copied()
                .unwrap_or_default()
        };
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            cpu: (field(UTIME) + field(STIME)) as f64 / clock_ticks_per_second() as f64,
            resident: field(RSS) * page_size() as u64,
            threads: field(NUM_THREADS),
            // One of them is the one that lists them.
            open_files: (open_files as u64).saturating_sub(1),
            most_open_files: getrlimit(Resource::Nofile).current,
        }
    }

    /// Tells it, and which program of ours it is.
    pub fn write(&self, program: &str, version: &str, page: &mut Exposition) {
        page.head("carbyne_build_info", "Which program this is.", "gauge");
        let labels = [("program", program), ("version", version)];
        page.line("carbyne_build_info", &labels, 1);
        page.single(
            "carbyne_process_cpu_seconds_total",
            "Processor time, user and system.",
            "counter",
            self.cpu,
        );
        for (name, help, value) in [
            ("resident_bytes", "Memory that is in use.", self.resident),
            ("threads", "Threads.", self.threads),
            ("open_files", "Open file descriptors.", self.open_files),
        ] {
            let name = format!("carbyne_process_{name}");
            page.single(&name, help, "gauge", value);
        }
        if let Some(most) = self.most_open_files {
            let name = "carbyne_process_open_files_limit";
            page.single(name, "File descriptors that may be open.", "gauge", most);
        }
    }
}

/// proc_pid_stat(5): the first field after the name.
const FIRST_FIELD: usize = 3;
const UTIME: usize = 14;
const STIME: usize = 15;
const NUM_THREADS: usize = 20;
const RSS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_takes_something() {
        let seen = Process::read();
        assert!(seen.resident > 100 * 1024, "{seen:?}");
        assert!(seen.threads >= 1 && seen.open_files >= 3, "{seen:?}");
        let before = seen.cpu;
        let mut sum = 0_u64;
        // Until the kernel counted another tick.
        while Process::read().cpu <= before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
