//! What events cost: an emission, the way into a real broker, and a spool that lies there when a process starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use carbyne_events::broker::{self, Cluster};
use carbyne_events::event::Topic;
use carbyne_events::topics::{Access, Admin, BUILT_IN, File, Permission, Plan};
use carbyne_events::verify::{Report, Tally, read_spool, read_topics};

use super::{Turn, count, micros};
use crate::emission::{self, Filled, Loaded, fault};
use crate::error::BenchError;
use crate::measure::{instructions, process};
use crate::pinned::Everywhere;
use crate::report::{Figure, PeerReport};

impl Turn<'_> {
    /// User instructions by the difference of N and 2 N emissions, less what it takes to make the events; and system calls of the
    /// thread that emits.
    pub(super) fn emission(&self, number: u64, report: &mut PeerReport) -> Result<(), BenchError> {
        let threads = |part: &str| -> Result<[f64; 2], BenchError> {
            let short = self.instructions(part, number)?;
            let long = self.instructions(part, 2 * number)?;
            Ok([0, 1].map(|at| (long[at] - short[at]) / count(number) / 1000.0))
        };
        let ([emitting, writing], [making, _]) = (threads("emit")?, threads("make")?);
        report.add(Figure::EmitInstructions, emitting - making);
        report.add(Figure::WriterInstructions, writing);
        report.add(Figure::EmitCalls, self.system_calls()?);
        Ok(())
    }

    /// Of the thread that emits, and of all others.
    fn instructions(&self, part: &str, number: u64) -> Result<[f64; 2], BenchError> {
        instructions::clear(&self.options.folder)?;
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "-q", "--separate-threads=yes"])
            .arg("--callgrind-out-file=callgrind.%p")
            .arg(self.program()?)
            .args([part, &number.to_string()])
            .arg(self.spool("cost"))
            .current_dir(&self.options.folder)
            .status()
            .map_err(BenchError::file("valgrind"))?;
        if !status.success() {
            return Err(fault(format!("under valgrind: {status}")));
        }
        let threads = instructions::of_threads(&self.options.folder)?;
        let main = threads.get("01").copied().unwrap_or(0);
        let all: u64 = threads.values().sum();
        Ok([main, all - main].map(count))
    }

    /// Between the marks that the emitting thread sets. Without -f strace follows that thread and no other.
    fn system_calls(&self) -> Result<f64, BenchError> {
        let trace = self.options.folder.join("strace.lines");
        let status = Command::new("strace")
            .arg("-o")
            .arg(&trace)
            .arg(self.program()?)
            .args(["emit", &CALLS.to_string()])
            .arg(self.spool("cost"))
            .status()
            .map_err(BenchError::file("strace"))?;
        if !status.success() {
            return Err(fault(format!("under strace: {status}")));
        }
        let text = fs::read_to_string(&trace).map_err(BenchError::file(&trace))?;
        let parts: Vec<&str> = text.split("getppid(").collect();
        let [_, between, _] = parts[..] else {
            return Err(fault("strace saw no marks"));
        };
        // The rest of the first mark's own line ends before the first call.
        Ok(count(between.lines().skip(1).count() as u64))
    }

    /// One process and a broker on all cores; then the broker's topics are read, and nothing may be missing.
    pub(super) fn shipping(
        &self,
        length: Duration,
        rate: u32,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let _all = Everywhere::leave();
        let (cluster, root) = (self.broker()?, self.spool("shipping"));
        let broker = cluster.pids();
        let before = process::cpu(&broker);
        let load = self.emit(&[
            "load",
            &length.as_secs().to_string(),
            &rate.to_string(),
            &root.display().to_string(),
            &cluster.bootstrap(),
        ])?;
        let loaded: Loaded = emission::outcome(load)?;
        let brokers = process::cpu(&broker) - before;
        report.add(
            Figure::EventRate,
            count(loaded.acknowledged) / loaded.seconds,
        );
        report.add(Figure::EventCpu, loaded.cpu / count(loaded.acknowledged));
        report.add(
            Figure::BrokerCpu,
            micros(brokers.total) / count(loaded.acknowledged),
        );
        report.add(Figure::RssMost, loaded.peak_kib / 1024.0);
        report.add(Figure::Sync, loaded.sync);
        let ledger = ledger(&root, Some(&cluster))?;
        if ledger.found < loaded.emitted {
            return Err(fault(format!(
                "{} of {} events were found",
                ledger.found, loaded.emitted
            )));
        }
        let missing = ledger.lost + ledger.declared + ledger.expired;
        report.add(Figure::Missing, count(missing.max(loaded.dropped)));
        report.add(Figure::Twice, count(ledger.duplicates));
        fs::remove_dir_all(&root).map_err(BenchError::file(&root))
    }

    /// The spool is filled without a broker; then a process starts that ships.
    pub(super) fn backlog(&self, mib: u64, report: &mut PeerReport) -> Result<(), BenchError> {
        let _all = Everywhere::leave();
        let (cluster, root) = (self.broker()?, self.spool("backlog"));
        let place = root.display().to_string();
        // A broker that has just been started is slow by itself: this one has had a producer before.
        let other = self.spool("other").display().to_string();
        let before = self.emit(&["load", "2", "5000", &other, &cluster.bootstrap()])?;
        emission::outcome::<Loaded>(before)?;
        let fill = self.emit(&["fill", &mib.to_string(), &place])?;
        let filled: Filled = emission::outcome(fill)?;
        if filled.bytes < mib << 20 {
            return Err(fault(format!("the spool has {} bytes", filled.bytes)));
        }
        let started = Instant::now();
        let first = self.emit(&["first", &place, &cluster.bootstrap()])?;
        // It says so at once, and then ends.
        emission::said_something(first)?;
        report.add(Figure::FirstShipped, micros(started.elapsed()) / 1000.0);
        fs::remove_dir_all(&root).map_err(BenchError::file(&root))
    }

    fn program(&self) -> Result<PathBuf, BenchError> {
        self.peer.program(&self.options.installation)
    }

    fn emit(&self, arguments: &[&str]) -> Result<std::process::Child, BenchError> {
        emission::spawn(&self.program()?, arguments)
    }

    /// A folder for spools.
    fn spool(&self, name: &str) -> PathBuf {
        self.options.folder.join(format!("events-{name}"))
    }

    /// A broker with the topics as they are shipped.
    fn broker(&self) -> Result<Cluster, BenchError> {
        let options = broker::Options {
            directory: Some(self.options.folder.clone()),
            ..broker::Options::nodes(1)
        };
        let cluster = Cluster::start(&options).map_err(fault)?;
        let access = Access {
            bootstrap: cluster.bootstrap(),
            properties: Vec::new(),
            limit: Duration::from_secs(30),
        };
        let file = File::read(BUILT_IN).map_err(|_| fault("the built-in topics are not read"))?;
        let desired = file.desired(Some("single"));
        let desired = desired.ok_or_else(|| fault("there is no profile `single`"))?;
        let admin = Admin::new(access).map_err(fault)?;
        let state = admin.state(|_| true).map_err(fault)?;
        let plan = Plan::new(&desired, &state, &Permission::default());
        plan.apply(&admin, &desired, Duration::from_secs(30), |_| {})
            .map_err(fault)?;
        Ok(cluster)
    }
}

/// What spool and topics hold.
pub(super) fn ledger(root: &Path, cluster: Option<&Cluster>) -> Result<Report, BenchError> {
    let mut tally = Tally::default();
    if let Some(cluster) = cluster {
        read_topics(&cluster.bootstrap(), &[], &Topic::ALL, &mut tally).map_err(fault)?;
    }
    read_spool(root, &mut tally).map_err(fault)?;
    Ok(tally.report())
}

/// Emissions under strace.
const CALLS: u64 = 100_000;
