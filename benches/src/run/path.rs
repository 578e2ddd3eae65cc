//! What gateway and sidecars together add to a request.

use std::time::Duration;

use super::{Turn, count, events, micros};
use crate::error::BenchError;
use crate::load::{Fleet, Job};
use crate::measure::process;
use crate::path;
use crate::peer::{EVENTS, Peer, Running, Under};
use crate::report::{Figure, PeerReport};
use crate::scenario::{Setup, Traffic};

impl Turn<'_> {
    /// The same load straight to the service, then through gateway, caller's sidecar and called sidecar, which each tell events.
    pub(super) async fn path(
        &self,
        traffic: Traffic,
        rate: u32,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let rate = f64::from(rate);
        let (warmth, length) = if self.options.quick {
            (500, Duration::from_secs(1))
        } else {
            (4_000, Duration::from_secs(10))
        };
        let mut direct = Fleet::open(Job::direct(traffic))
            .await
            .map_err(|fault| self.wrong(&fault))?;
        self.check(&direct.run(warmth).await)?;

        let called = self.sidecar(Setup::Called, "called")?;
        let caller = self.sidecar(Setup::Caller, "caller")?;
        let (gateway, mut fleet) = self.warm(traffic, Under::Bare, warmth).await?;
        let pids: Vec<u32> = [&gateway, &caller, &called]
            .iter()
            .flat_map(|running| process::tree(running.id()))
            .collect();

        let bare = direct.pace(rate, length).await;
        self.check(&bare)?;
        let before = process::cpu(&pids);
        let through = fleet.pace(rate, length).await;
        let spent = process::cpu(&pids) - before;
        self.check(&through)?;
        drop((direct, fleet));
        for running in [gateway, caller, called] {
            running.stop().await?;
        }

        report.add(Figure::Rate, rate);
        report.add(Figure::Cpu, micros(spent.total) / count(through.right));
        for (quantile, figure, added) in [
            (0.5, Figure::MedianLatency, Figure::AddedMedian),
            (0.99, Figure::TailLatency, Figure::AddedTail),
        ] {
            let [through, bare] = [&through, &bare].map(|tally| micros(tally.quantile(quantile)));
            report.add(figure, through);
            report.add(added, through - bare);
        }
        self.told(warmth + through.right, report)
    }

    /// Starts one in a folder of its own.
    fn sidecar(&self, setup: Setup, name: &str) -> Result<Running, BenchError> {
        let folder = path::folder(&self.options.folder, name)?;
        let installation = &self.options.installation;
        Running::spawn(Peer::Ours, setup, installation, &folder, Under::Bare)
    }

    /// Every request is an event in the gateway's spool.
    fn told(&self, requests: u64, report: &mut PeerReport) -> Result<(), BenchError> {
        let ledger = events::ledger(&self.options.folder.join(EVENTS), None)?;
        let missing = ledger.lost + ledger.declared + requests.saturating_sub(ledger.found);
        report.add(Figure::Missing, count(missing));
        Ok(())
    }
}
