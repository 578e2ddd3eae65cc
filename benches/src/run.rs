//! Rounds: every peer in turn, the same load, the same questions.

mod configurations;
mod events;
mod path;
mod pushes;
mod verbs;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::control_plane::ControlPlane;
use crate::error::BenchError;
use crate::load::{Fault, Fleet, Job, Tally};
use crate::measure::counters::Counters;
use crate::measure::syscalls::Syscalls;
use crate::measure::{instructions, process};
use crate::peer::{Installation, Peer, Running, Under};
use crate::report::{Figure, PeerReport};
use crate::scenario::{Door, Message, Question, Scenario, Setup, Traffic, fresh};

/// What to do beside the rounds, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// In the order of the first round; each round starts with the next.
    pub peers: Vec<Peer>,
    /// How often each peer takes its turn.
    pub rounds: usize,
    /// A tenth of the load: shows that all works, is no measurement.
    pub quick: bool,
    /// Whose user instructions to count under valgrind.
    pub callgrind: Vec<Peer>,
    /// Also count system calls.
    pub syscalls: bool,
    /// Where the programs are.
    pub installation: Installation,
    /// Where peers run: certificates, configuration, logs.
    pub folder: PathBuf,
    /// What tells peers that are configured from outside.
    pub plane: ControlPlane,
    /// The load generator's identity.
    pub tls: Arc<ClientConfig>,
}

/// Runs one scenario; a peer that fails is reported with its reason and left out of later rounds.
pub async fn scenario(scenario: &Scenario, options: &Options) -> BTreeMap<Peer, PeerReport> {
    let mut reports: BTreeMap<Peer, PeerReport> = options
        .peers
        .iter()
        .filter(|peer| peer.can(scenario))
        .map(|peer| (*peer, PeerReport::default()))
        .collect();
    for round in 0..scenario.question.rounds(options.rounds) {
        let start = round % options.peers.len().max(1);
        let (first, last) = options.peers.split_at(start);
        for peer in last.iter().chain(first) {
            let Some(report) = reports.get_mut(peer) else {
                continue;
            };
            if report.failure.is_none() {
                let turn = Turn {
                    scenario,
                    peer: *peer,
                    options,
                };
                if let Err(error) = turn.take(report).await {
                    report.failure = Some(error.to_string());
                }
            }
        }
    }
    for (peer, report) in &mut reports {
        let turn = Turn {
            scenario,
            peer: *peer,
            options,
        };
        if report.failure.is_none()
            && let Err(error) = turn.once(report).await
        {
            report.failure = Some(error.to_string());
        }
    }
    reports
}

/// One peer's turn in one round.
struct Turn<'a> {
    scenario: &'a Scenario,
    peer: Peer,
    options: &'a Options,
}

impl Turn<'_> {
    async fn take(&self, report: &mut PeerReport) -> Result<(), BenchError> {
        match self.scenario.question {
            Question::Cost {
                traffic, requests, ..
            } => self.cost(traffic, self.share(requests), report).await,
            Question::Idle => self.idle(report).await,
            Question::Connections { door, count } => {
                let count = if self.options.quick {
                    count / 10
                } else {
                    count
                };
                self.connections(door, count, report).await
            }
            Question::Churn { before, after } => {
                self.churn(self.share(before), self.share(after), report)
                    .await
            }
            Question::Platform { before, after } => {
                let share = |pushes: u32| {
                    if self.options.quick {
                        pushes / 10
                    } else {
                        pushes
                    }
                };
                self.platform(share(before), share(after), report).await
            }
            Question::Routes { count } => self.routes(count, report).await,
            Question::Start => self.start(report).await,
            Question::Latency { traffic, rate } => self.latency(traffic, rate, report).await,
            Question::Tables { routes } => self.tables(routes, report).await,
            Question::Reload { routes } => self.reload(routes, report).await,
            Question::Reloads {
                routes,
                before,
                after,
            } => {
                let share = |files: u32| {
                    if self.options.quick {
                        files / 10
                    } else {
                        files
                    }
                };
                self.reloads(routes, share(before), share(after), report)
                    .await
            }
            Question::Writes { count, .. } => self.writes(count, report).await,
            Question::Path { traffic, rate } => self.path(traffic, rate, report).await,
            Question::Emission { count } => self.emission(count, report),
            Question::Shipping { length, rate } => {
                let length = if self.options.quick {
                    length / 10
                } else {
                    length
                };
                self.shipping(length, rate, report)
            }
            Question::Backlog { mib } => self.backlog(self.share(mib), report),
            Question::Lint { objects } => self.lint(objects, report),
            Question::Graph { services } => self.graph(services, report),
            Question::Up => self.up(report),
        }
    }

    /// What need not be repeated: these counts do not depend on the neighbours.
    async fn once(&self, report: &mut PeerReport) -> Result<(), BenchError> {
        let Question::Cost {
            traffic,
            requests,
            instrumented,
        } = self.scenario.question
        else {
            return Ok(());
        };
        if self.options.syscalls {
            self.syscalls(traffic, self.share(requests) / 4, report)
                .await?;
        }
        if Counters::exist() {
            self.counters(traffic, self.share(requests), report).await?;
        }
        if self.options.callgrind.contains(&self.peer) {
            self.callgrind(traffic, instrumented, report).await?;
        }
        Ok(())
    }

    async fn cost(
        &self,
        traffic: Traffic,
        requests: u64,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let (running, mut fleet) = self.warm(traffic, Under::Bare, requests / 10).await?;
        let pids = process::tree(running.id());
        let before = process::cpu(&pids);
        let tally = fleet.run(requests).await;
        let spent = process::cpu(&pids) - before;
        self.check(&tally)?;
        let each = micros(spent.total) / count(requests);
        report.add(Figure::Cpu, each);
        let ticks = micros(spent.user + spent.system);
        if ticks > 0.0 {
            report.add(Figure::UserShare, 100.0 * micros(spent.user) / ticks);
        }
        report.add(
            Figure::Throughput,
            count(requests) / tally.elapsed.as_secs_f64(),
        );
        drop(fleet);
        running.stop().await
    }

    async fn idle(&self, report: &mut PeerReport) -> Result<(), BenchError> {
        let running = self.started(&self.probe(), Under::Bare).await?;
        // Threads that initialise late, and an allocator that gives back, get a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let memory = process::memory(&process::tree(running.id()));
        report.add(Figure::Rss, memory.rss_kib / 1024.0);
        report.add(Figure::Pss, memory.pss_kib / 1024.0);
        running.stop().await
    }

    async fn connections(
        &self,
        door: Door,
        number: usize,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let traffic = Traffic {
            door,
            message: Message::Get,
            connections: 0,
            streams: 1,
            fresh: false,
        };
        let job = Job::through(traffic, &self.options.tls);
        let running = self.started(&job, Under::Bare).await?;
        let pids = process::tree(running.id());
        // The first connections pay for the pool to the backend and for lazy tables.
        let mut warm = Fleet::empty(job.clone());
        for _ in 0..64 {
            warm.grow().await.map_err(|fault| self.wrong(&fault))?;
        }
        let before = process::memory(&pids);
        let mut fleet = Fleet::empty(job);
        for _ in 0..number {
            fleet.grow().await.map_err(|fault| self.wrong(&fault))?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = process::memory(&pids);
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let each = (after.pss_kib - before.pss_kib) / number as f64;
        report.add(Figure::PerConnection, each);
        drop((fleet, warm));
        running.stop().await
    }

    async fn churn(
        &self,
        before: u64,
        after: u64,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let (running, mut fleet) = self
            .warm(fresh(Door::Plain, 64), Under::Bare, before)
            .await?;
        let pids = process::tree(running.id());
        let early = process::memory(&pids);
        let tally = fleet.run(after - before).await;
        self.check(&tally)?;
        let late = process::memory(&pids);
        report.add(Figure::Growth, late.rss_kib / early.rss_kib);
        report.add(Figure::Rss, late.rss_kib / 1024.0);
        running.stop().await
    }

    async fn start(&self, report: &mut PeerReport) -> Result<(), BenchError> {
        let job = self.probe();
        let started = Instant::now();
        let mut running = self.spawn(Under::Bare)?;
        let taken = running.ready(&job, started).await?;
        report.add(Figure::Start, micros(taken) / 1000.0);
        running.stop().await
    }

    async fn latency(
        &self,
        traffic: Traffic,
        rate: Option<u32>,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let (requests, length) = if self.options.quick {
            (3_000, Duration::from_millis(500))
        } else {
            (20_000, Duration::from_secs(3))
        };
        let (running, mut fleet) = self.warm(traffic, Under::Bare, requests / 4).await?;
        let full = fleet.run(requests).await;
        self.check(&full)?;
        let half = count(requests) / full.elapsed.as_secs_f64() / 2.0;
        let rate = rate.map_or(half, f64::from);
        let paced = fleet.pace(rate, length).await;
        self.check(&paced)?;
        drop(fleet);
        running.stop().await?;

        let mut direct = Fleet::open(Job::direct(traffic))
            .await
            .map_err(|fault| self.wrong(&fault))?;
        let bare = direct.pace(rate, length).await;
        self.check(&bare)?;
        report.add(Figure::Rate, rate);
        report.add(Figure::MedianLatency, micros(paced.quantile(0.5)));
        report.add(Figure::TailLatency, micros(paced.quantile(0.99)));
        let added = micros(paced.quantile(0.99)) - micros(bare.quantile(0.99));
        report.add(Figure::AddedTail, added);
        Ok(())
    }

    async fn syscalls(
        &self,
        traffic: Traffic,
        requests: u64,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let requests = requests.max(100);
        let (running, mut fleet) = self.warm(traffic, Under::Bare, requests / 4).await?;
        let window = Syscalls::open(&process::tree(running.id()), &self.options.folder)?;
        let tally = fleet.run(requests).await;
        let calls = window.close()?;
        self.check(&tally)?;
        report.add(
            Figure::Syscalls,
            count(calls.values().sum()) / count(requests),
        );
        report.calls = calls
            .into_iter()
            .map(|(name, calls)| (name, count(calls) / count(requests)))
            .filter(|(_, each)| *each >= 0.005)
            .collect();
        drop(fleet);
        running.stop().await
    }

    async fn counters(
        &self,
        traffic: Traffic,
        requests: u64,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let (running, mut fleet) = self.warm(traffic, Under::Bare, requests / 10).await?;
        let window = Counters::open(&process::tree(running.id()), &self.options.folder)?;
        // perf does not say when it has attached; the peer is idle meanwhile.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let tally = fleet.run(requests).await;
        let counted = window.close()?;
        self.check(&tally)?;
        if let Some(counted) = counted {
            let each = |instructions: u64| count(instructions) / count(requests) / 1000.0;
            report.add(Figure::CounterUser, each(counted.user));
            report.add(Figure::CounterKernel, each(counted.kernel));
        }
        drop(fleet);
        running.stop().await
    }

    /// The difference of a run of N and one of 2 N, counted from the moment when all connections are open, leaves out the end.
    async fn callgrind(
        &self,
        traffic: Traffic,
        requests: u64,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        // Until the pool has a connection for every request that is ever under way: a handshake costs as much as some fifty requests.
        let warmth = requests / 4 + 256;
        let mut totals = [0; 2];
        for (total, requests) in totals.iter_mut().zip([requests, 2 * requests]) {
            instructions::clear(&self.options.folder)?;
            let (running, mut fleet) = self.warm(traffic, Under::Callgrind, warmth).await?;
            instructions::zero(running.id())?;
            let tally = fleet.run(requests).await;
            self.check(&tally)?;
            drop(fleet);
            running.stop().await?;
            *total = instructions::total(&self.options.folder)?;
        }
        let [short, long] = totals;
        let each = count(long.saturating_sub(short)) / count(requests);
        report.add(Figure::UserInstructions, each / 1000.0);
        Ok(())
    }

    /// A started peer with its connections open and used.
    async fn warm(
        &self,
        traffic: Traffic,
        under: Under,
        requests: u64,
    ) -> Result<(Running, Fleet), BenchError> {
        let job = Job::through(traffic, &self.options.tls);
        let running = self.started(&job, under).await?;
        let mut fleet = Fleet::open(job).await.map_err(|fault| self.wrong(&fault))?;
        let tally = fleet.run(requests.max(1)).await;
        self.check(&tally)?;
        Ok((running, fleet))
    }

    async fn started(&self, job: &Job, under: Under) -> Result<Running, BenchError> {
        let started = Instant::now();
        let mut running = self.spawn(under)?;
        running.ready(job, started).await?;
        Ok(running)
    }

    fn spawn(&self, under: Under) -> Result<Running, BenchError> {
        self.spawn_with(self.scenario.question.setup(), under)
    }

    fn spawn_with(&self, setup: Setup, under: Under) -> Result<Running, BenchError> {
        let Options {
            installation,
            folder,
            ..
        } = self.options;
        Running::spawn(self.peer, setup, installation, folder, under)
    }

    /// One GET through the plain door.
    fn probe(&self) -> Job {
        Job::through(fresh(Door::Plain, 1), &self.options.tls)
    }

    fn check(&self, tally: &Tally) -> Result<(), BenchError> {
        let Some(first) = &tally.first_fault else {
            return Ok(());
        };
        Err(BenchError::Wrong {
            peer: self.peer.name(),
            scenario: self.scenario.name,
            faults: tally.faults,
            total: tally.right + tally.faults,
            first: first.clone(),
        })
    }

    fn wrong(&self, fault: &Fault) -> BenchError {
        BenchError::Wrong {
            peer: self.peer.name(),
            scenario: self.scenario.name,
            faults: 1,
            total: 1,
            first: fault.to_string(),
        }
    }

    fn share(&self, requests: u64) -> u64 {
        if self.options.quick {
            requests / 10
        } else {
            requests
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}
