//! What configurations cost the gateway: memory that they take, how soon they serve, and what requests notice.

use std::fs;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::pushes::status;
use super::{Turn, micros};
use crate::error::BenchError;
use crate::gateway;
use crate::load::{Fleet, Job};
use crate::measure::process;
use crate::peer::{Running, Under};
use crate::report::{Figure, PeerReport};
use crate::scenario::{Door, Message, Setup, Traffic, fresh};

impl Turn<'_> {
    /// Memory with so many routes, of a file and of the embedded store.
    pub(super) async fn tables(
        &self,
        routes: usize,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        for (setup, figure) in [
            (Setup::Table(routes), Figure::Rss),
            (Setup::Stored(routes), Figure::RssStored),
        ] {
            let running = self.configured(setup).await?;
            sleep(SETTLED).await;
            let memory = process::memory(&process::tree(running.id()));
            report.add(figure, memory.rss_kib / 1024.0);
            running.stop().await?;
        }
        Ok(())
    }

    /// How long a file of so many routes takes, first in place of almost nothing and then of as many others; and the
    /// latency of requests that were due meanwhile.
    pub(super) async fn reload(
        &self,
        routes: usize,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let length = Duration::from_secs(if self.options.quick { 2 } else { 4 });
        let running = self.configured(Setup::Table(0)).await?;
        let traffic = Traffic {
            door: Door::Gateway,
            message: Message::Get,
            connections: 64,
            streams: 1,
            fresh: false,
        };
        let job = Job::through(traffic, &self.options.tls);
        let mut fleet = Fleet::open(job).await.map_err(|fault| self.wrong(&fault))?;
        self.check(&fleet.run(2_000).await)?;
        let (mut applied, mut moved) = (Duration::ZERO, f64::NEG_INFINITY);
        let mut worst = Duration::ZERO;
        for version in 1..=2 {
            let quiet = fleet.pace(RATE, length).await;
            self.check(&quiet)?;
            let prepared = self.prepare(routes, version)?;
            let change = async {
                sleep(Duration::from_millis(500)).await;
                let from = Instant::now();
                self.apply(&running, prepared, version).await?;
                Ok::<_, BenchError>((from, Instant::now()))
            };
            let (tally, span) = tokio::join!(fleet.pace(RATE, length), change);
            self.check(&tally)?;
            let (from, until) = span?;
            let meanwhile = tally.during(from, until);
            applied = applied.max(until - from);
            worst = worst.max(meanwhile.quantile(1.0));
            let tails = [&meanwhile, &quiet].map(|tally| micros(tally.quantile(0.99)));
            moved = moved.max(tails[0] - tails[1]);
        }
        report.add(Figure::Applied, micros(applied) / 1000.0);
        report.add(Figure::TailMoved, moved);
        report.add(Figure::RequestWorst, micros(worst) / 1000.0);
        drop(fleet);
        running.stop().await
    }

    /// How memory grows over files that change every route.
    pub(super) async fn reloads(
        &self,
        routes: usize,
        before: u32,
        after: u32,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let running = self.configured(Setup::Table(routes)).await?;
        let pids = process::tree(running.id());
        let mut early = process::memory(&pids);
        for version in 1..=after {
            let prepared = self.prepare(routes, version)?;
            self.apply(&running, prepared, version).await?;
            if version == before {
                sleep(SETTLED).await;
                early = process::memory(&pids);
            }
        }
        sleep(SETTLED).await;
        let late = process::memory(&pids);
        report.add(Figure::Growth, late.rss_kib / early.rss_kib);
        report.add(Figure::RssAfter, late.rss_kib / 1024.0);
        running.stop().await
    }

    /// How long after it is sent a write of the Admin API is served.
    pub(super) async fn writes(
        &self,
        count: u32,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let running = self.configured(self.scenario.question.setup()).await?;
        let mut admin = TcpStream::connect(gateway::ADMIN)
            .await
            .map_err(|error| self.wrong(&error.into()))?;
        let mut taken = Vec::new();
        for number in 1..=count {
            // No path begins with another: the route of the other would take its requests.
            let path = format!("/written-{number:05}");
            let body = format!(r#"{{"name":"written-{number}","paths":["{path}"]}}"#);
            let sent = Instant::now();
            let answer = post(&mut admin, "/services/backend/routes", &body).await;
            if !matches!(answer, Ok(201)) {
                return Err(running.fault(format!("the Admin API answers {answer:?}")));
            }
            self.served(&running, &path, Duration::ZERO).await?;
            taken.push(sent.elapsed());
        }
        taken.sort_unstable();
        let middle = taken.get(taken.len() / 2);
        for (figure, time) in [(Figure::Live, middle), (Figure::LiveWorst, taken.last())] {
            report.add(figure, micros(time.copied().unwrap_or_default()) / 1000.0);
        }
        running.stop().await
    }

    /// A gateway that has answered once.
    async fn configured(&self, setup: Setup) -> Result<Running, BenchError> {
        let probe = Job::through(fresh(Door::Gateway, 1), &self.options.tls);
        let mut running = self.spawn_with(setup, Under::Bare)?;
        running.ready(&probe, Instant::now()).await?;
        Ok(running)
    }

    /// Writes a file beside the one that is served.
    fn prepare(&self, routes: usize, version: u32) -> Result<std::path::PathBuf, BenchError> {
        let prepared = self.options.folder.join("kong-routes.next");
        let text = gateway::document(routes, version);
        fs::write(&prepared, text).map_err(BenchError::file(&prepared))?;
        Ok(prepared)
    }

    /// Puts the file in place and waits until it is served.
    async fn apply(
        &self,
        running: &Running,
        prepared: std::path::PathBuf,
        version: u32,
    ) -> Result<(), BenchError> {
        let file = self.options.folder.join(gateway::FILE);
        fs::rename(&prepared, file).map_err(BenchError::file(prepared))?;
        running.reload()?;
        let pause = Duration::from_millis(2);
        self.served(running, &gateway::mark(version), pause).await
    }

    /// Asks until there is a route for the path. The backend does not know it, and says so.
    async fn served(
        &self,
        running: &Running,
        path: &str,
        pause: Duration,
    ) -> Result<(), BenchError> {
        let served = async {
            while status(Door::Gateway.address(), path).await != Some(400) {
                sleep(pause).await;
            }
        };
        let patience = Duration::from_secs(30);
        let served = timeout(patience, served).await;
        served.map_err(|_| running.fault(format!("{path} is not served after {patience:?}")))
    }
}

/// One request on a connection that stays open.
async fn post(socket: &mut TcpStream, path: &str, body: &str) -> std::io::Result<u16> {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: admin\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if socket.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = response.parse(&answer) else {
            continue;
        };
        let length = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
        if answer.len() >= head + length.unwrap_or(0) {
            return Ok(response.code.unwrap_or_default());
        }
    }
}

/// Until an allocator has given back what was only needed at the start.
const SETTLED: Duration = Duration::from_secs(4);
/// Requests per second while a file is applied.
const RATE: f64 = 5_000.0;
