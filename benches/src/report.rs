//! Figures of a scenario: to the terminal, to `SCENARIO.json`, and from all such files to one page.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::peer::Peer;
use crate::scenario::SCENARIOS;

/// Something that was measured. The order is that of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// CPU time per request, µs.
    Cpu,
    /// CPU time over Envoy's in the same round.
    CpuOverEnvoy,
    /// Share of user mode in the CPU time, percent.
    UserShare,
    /// User instructions per request under callgrind, thousands.
    UserInstructions,
    /// User instructions per request by hardware counters, thousands.
    CounterUser,
    /// Kernel instructions per request by hardware counters, thousands.
    CounterKernel,
    /// System calls per request.
    Syscalls,
    /// Right answers per second.
    Throughput,
    /// Resident memory, MiB.
    Rss,
    /// Resident memory with shared pages divided, MiB.
    Pss,
    /// Resident memory at the end, MiB.
    RssAfter,
    /// Memory per connection, KiB.
    PerConnection,
    /// Memory at the end over memory at the first look.
    Growth,
    /// Start to first answer, ms.
    Start,
    /// Requests sent per second.
    Rate,
    /// Latency that half of the requests kept, µs.
    MedianLatency,
    /// Latency that 99 % kept, µs.
    TailLatency,
    /// The same less that of the direct way, µs.
    AddedTail,
    /// From the push to the first request by its last route, ms.
    Applied,
    /// The slowest answer of `/ready` meanwhile, ms.
    ReadyWorst,
    /// The longest time between two health checks meanwhile, ms.
    HealthGap,
    /// The slowest request meanwhile, ms.
    RequestWorst,
    /// Resident memory with the embedded store, MiB.
    RssStored,
    /// Latency that 99 % kept meanwhile, less that of before, µs.
    TailMoved,
    /// From a write to the first request that sees it, ms; half of the writes were faster.
    Live,
    /// The slowest of them.
    LiveWorst,
    /// Latency that half of the requests kept, less that of the direct way, µs.
    AddedMedian,
    /// User instructions of the thread that emits, per event, thousands.
    EmitInstructions,
    /// User instructions of the writer, per event, thousands.
    WriterInstructions,
    /// System calls of the thread that emits, for 100,000 events.
    EmitCalls,
    /// Events that a broker has acknowledged, per second.
    EventRate,
    /// CPU time of the process that emits and ships, per event, µs.
    EventCpu,
    /// CPU time of the broker, per event, µs.
    BrokerCpu,
    /// The most resident memory that the process had, MiB.
    RssMost,
    /// Events that were emitted and are nowhere, or were dropped and declared.
    Missing,
    /// Events that a topic holds once more.
    Twice,
    /// From the start of a process to its first acknowledgement, ms.
    FirstShipped,
    /// How long a command took, ms.
    Took,
    /// A sync of the spool in the mean, ms: what the disk beside it was like.
    Sync,
}

impl Figure {
    /// What it is called in tables, with its unit.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Cpu => "CPU per request, µs",
            Self::CpuOverEnvoy => "CPU ÷ Envoy",
            Self::UserShare => "of it in user mode, %",
            Self::UserInstructions => "user instructions per request, thousand (callgrind)",
            Self::CounterUser => "user instructions per request, thousand (counters)",
            Self::CounterKernel => "kernel instructions per request, thousand (counters)",
            Self::Syscalls => "system calls per request",
            Self::Throughput => "requests per second, one core",
            Self::Rss => "RSS, MiB",
            Self::Pss => "PSS, MiB",
            Self::RssAfter => "RSS at the end, MiB",
            Self::PerConnection => "KiB per connection",
            Self::Growth => "RSS, last ÷ first",
            Self::Start => "start to first answer, ms",
            Self::Rate => "requests sent per second",
            Self::MedianLatency => "p50, µs",
            Self::TailLatency => "p99, µs",
            Self::AddedTail => "p99 added to the direct way, µs",
            Self::Applied => "push to its last route's first answer, ms",
            Self::ReadyWorst => "slowest /ready meanwhile, ms",
            Self::HealthGap => "longest time between health checks due every 100 ms, ms",
            Self::RequestWorst => "slowest request meanwhile, ms",
            Self::RssStored => "RSS with the embedded store, MiB",
            Self::TailMoved => "p99 meanwhile less p99 before, µs",
            Self::Live => "write to the first request that sees it, median, ms",
            Self::LiveWorst => "write to the first request that sees it, slowest, ms",
            Self::AddedMedian => "p50 added to the direct way, µs",
            Self::EmitInstructions => "user instructions per emission, thousand (callgrind)",
            Self::WriterInstructions => "of the writer's thread per event, thousand (callgrind)",
            Self::EmitCalls => "system calls of 100,000 emissions",
            Self::EventRate => "events acknowledged per second",
            Self::EventCpu => "CPU per event, µs",
            Self::BrokerCpu => "CPU of the broker per event, µs",
            Self::RssMost => "RSS at most, MiB",
            Self::Missing => "events missing or dropped",
            Self::Twice => "events delivered twice",
            Self::FirstShipped => "start to the first acknowledgement, ms",
            Self::Took => "start to end, ms",
            Self::Sync => "a sync of the spool in the mean, ms",
        }
    }
}

/// What one peer did in one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerReport {
    /// One value a round, or one in all for counts.
    pub figures: BTreeMap<Figure, Vec<f64>>,
    /// System calls per request by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, f64>,
    /// Why it has no figures, or not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl PeerReport {
    /// Adds a value; three digits after the point are more than any of them is worth.
    pub fn add(&mut self, figure: Figure, value: f64) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.figures.entry(figure).or_default().push(rounded);
    }
}

/// One scenario's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioReport {
    /// Its name.
    pub scenario: String,
    /// What it does.
    pub title: String,
    /// Rounds; figures of fewer than five are no gate.
    pub rounds: usize,
    /// A tenth of the load: no measurement.
    pub quick: bool,
    /// How to do it again.
    pub command: String,
    /// Where it was done.
    pub machine: Machine,
    /// What the peers say of themselves.
    pub versions: BTreeMap<String, String>,
    /// By the peer's name.
    pub peers: BTreeMap<String, PeerReport>,
}

/// The machine that a figure is from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Whether instructions can be counted by hardware.
    pub counters: bool,
    /// The commit that was measured, with a mark if files differed.
    pub commit: String,
    /// The day, in UTC.
    pub day: String,
}

impl Machine {
    /// Looks at this one; `cores` as they were before this process was pinned.
    #[must_use]
    pub fn here(cores: usize) -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processor
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        Self {
            processor: processor.unwrap_or("unknown").to_owned(),
            cores,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            counters: crate::measure::counters::Counters::exist(),
            commit: says("git", &["describe", "--always", "--dirty", "--exclude=*"]),
            day: says("date", &["-u", "+%F"]),
        }
    }
}

impl ScenarioReport {
    /// Fills in the ratios to Envoy, round by round: only they survive a change of the weather.
    pub fn compare(peers: &mut BTreeMap<Peer, PeerReport>) {
        let base = peers
            .get(&Peer::Envoy)
            .and_then(|report| report.figures.get(&Figure::Cpu))
            .cloned()
            .unwrap_or_default();
        for report in peers.values_mut() {
            let own = report
                .figures
                .get(&Figure::Cpu)
                .cloned()
                .unwrap_or_default();
            for (own, base) in own.iter().zip(&base) {
                report.add(Figure::CpuOverEnvoy, own / base);
            }
        }
    }

    /// A Markdown table: a row a figure, a column a peer.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.scenario, self.title);
        let order = [
            "ours", "gateway", "events", "carbyne", "envoy", "nginx", "haproxy", "pingora",
        ];
        let columns: Vec<(&str, &PeerReport)> = order
            .iter()
            .filter_map(|name| Some((*name, self.peers.get(*name)?)))
            .collect();
        text.push_str("| |");
        for (name, _) in &columns {
            line(&mut text, format_args!(" {name} |"));
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(columns.len()));
        text.push('\n');
        let mut figures: Vec<Figure> = columns
            .iter()
            .flat_map(|(_, report)| report.figures.keys().copied())
            .collect();
        figures.sort_unstable();
        figures.dedup();
        for figure in figures {
            line(&mut text, format_args!("| {} |", figure.label()));
            for (_, report) in &columns {
                let cell = report.figures.get(&figure).map(|values| cell(values));
                line(&mut text, format_args!(" {} |", cell.unwrap_or_default()));
            }
            text.push('\n');
        }
        for (name, report) in &columns {
            if let Some(failure) = &report.failure {
                line(&mut text, format_args!("\n{name}: {failure}\n"));
            }
        }
        for (name, report) in &columns {
            if !report.calls.is_empty() {
                let calls: Vec<String> = report
                    .calls
                    .iter()
                    .map(|(call, each)| format!("{call} {each:.2}"))
                    .collect();
                line(
                    &mut text,
                    format_args!("\nCalls per request, {name}: {}\n", calls.join(", ")),
                );
            }
        }
        let machine = &self.machine;
        line(
            &mut text,
            format_args!(
                "\n{}{} rounds; {}, {} cores, kernel {}{}; commit {}, {}; `{}`\n",
                if self.quick {
                    "QUICK, no measurement; "
                } else {
                    ""
                },
                self.rounds,
                machine.processor,
                machine.cores,
                machine.kernel,
                if machine.counters {
                    ""
                } else {
                    ", no hardware counters"
                },
                machine.commit,
                machine.day,
                self.command,
            ),
        );
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(peer, version)| format!("{peer}: {version}"))
            .collect();
        line(
            &mut text,
            format_args!("Versions: {}\n\n", versions.join("; ")),
        );
        text
    }

    /// The stored report of a scenario, if there is one.
    ///
    /// # Errors
    /// When the file is not a report.
    pub fn read(folder: &Path, scenario: &str) -> Result<Option<Self>, BenchError> {
        let path = folder.join(format!("{scenario}.json"));
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| BenchError::file(path)(error.into()))
    }

    /// Writes `SCENARIO.json` and the page of all scenarios that have one.
    ///
    /// # Errors
    /// When a file cannot be written or an older one is not a report.
    pub fn store(&self, folder: &Path) -> Result<(), BenchError> {
        fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
        let path = folder.join(format!("{}.json", self.scenario));
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| BenchError::file(path.clone())(error.into()))?;
        fs::write(&path, json + "\n").map_err(BenchError::file(path))?;

        let mut page = String::from(
            "# Side by side\n\nWritten by `make bench` from the JSON files beside it. Values are medians, with least and \
             most of the rounds in brackets.\ndocs/performance.md says how they are taken.\n\n",
        );
        for scenario in SCENARIOS {
            if let Some(report) = Self::read(folder, scenario.name)? {
                page.push_str(&report.table());
            }
        }
        let path = folder.join("side-by-side.md");
        let page = page.trim_end().to_owned() + "\n";
        fs::write(&path, page).map_err(BenchError::file(path))
    }
}

/// The middle value; of an even number the lower one, so that it is a value that happened.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

fn cell(values: &[f64]) -> String {
    let Some(middle) = median(values) else {
        return String::new();
    };
    if values.len() == 1 {
        return short(middle);
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({} … {})", short(middle), short(least), short(most))
}

/// Three significant digits, and never less than whole units; nothing is nothing.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.push_str(&std::fmt::format(arguments));
}

fn says(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_median_and_range() {
        let cases: [(&[f64], &str); 5] = [
            (&[], ""),
            (&[4.5], "4.50"),
            (&[0.0], "0"),
            (&[3.0, 1.0, 2.0], "2.00 (1.00 … 3.00)"),
            (&[400.0, 100.0, 20.0, 300.0], "100 (20.0 … 400)"),
        ];
        for (values, expected) in cases {
            assert_eq!(cell(values), expected);
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut peers = BTreeMap::new();
        for (peer, values) in [(Peer::Ours, [10.0, 30.0]), (Peer::Envoy, [100.0, 100.0])] {
            let mut report = PeerReport::default();
            for value in values {
                report.add(Figure::Cpu, value);
            }
            peers.insert(peer, report);
        }
        ScenarioReport::compare(&mut peers);
        assert_eq!(
            peers[&Peer::Ours].figures[&Figure::CpuOverEnvoy],
            [0.1, 0.3]
        );
    }
}
