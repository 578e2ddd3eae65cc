//! What a control plane's pushes cost: memory from push to push, and how late everything else is meanwhile.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::core::v3::{DataSource, data_source};
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost, header_matcher::HeaderMatchSpecifier, route, route_action, route_match,
};
use carbyne_protos::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use prost::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Turn, micros};
use crate::backend::Checks;
use crate::certificates::HOST;
use crate::error::BenchError;
use crate::load::{Fleet, Job};
use crate::measure::process;
use crate::peer::{Running, Under};
use crate::platform::{Platform, packed};
use crate::report::{Figure, PeerReport};
use crate::scenario::{
    ADMIN_PORT, BACKEND_ADDRESS, Door, HEALTH_PORT, Message, PEER_ADDRESS, Traffic,
};

impl Turn<'_> {
    /// Memory with the platform, and how it grows over pushes that change all of it.
    pub(super) async fn platform(
        &self,
        before: u32,
        after: u32,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let plane = &self.options.plane;
        plane.clear();
        let mut platform = Platform::read(&self.options.folder)?;
        platform.publish(plane, 0);
        let running = self.spawn(Under::Bare)?;
        self.admitted(&running).await?;
        plane.acknowledged().await?;
        sleep(Duration::from_secs(1)).await;
        let pids = process::tree(running.id());
        let loaded = process::memory(&pids);
        report.add(Figure::Rss, loaded.rss_kib / 1024.0);
        report.add(Figure::Pss, loaded.pss_kib / 1024.0);
        let mut early = loaded;
        for number in 1..=after {
            platform.publish(plane, number);
            plane.acknowledged().await?;
            if number == before {
                sleep(Duration::from_secs(1)).await;
                early = process::memory(&pids);
            }
        }
        sleep(Duration::from_secs(1)).await;
        let late = process::memory(&pids);
        report.add(Figure::Growth, late.rss_kib / early.rss_kib);
        report.add(Figure::RssAfter, late.rss_kib / 1024.0);
        running.stop().await
    }

    /// How late readiness, health checks and requests are while `count` routes are applied.
    pub(super) async fn routes(
        &self,
        count: usize,
        report: &mut PeerReport,
    ) -> Result<(), BenchError> {
        let plane = &self.options.plane;
        plane.clear();
        // Everything else is static: there is nothing of it, and that is said.
        for type_url in [Cluster::type_url(), Listener::type_url()] {
            plane.publish(&type_url, Vec::new());
        }
        plane.publish(&RouteConfiguration::type_url(), table(0));
        let checks = Checks::listen(SocketAddr::new(BACKEND_ADDRESS, HEALTH_PORT)).await?;
        let traffic = Traffic {
            door: Door::Plain,
            message: Message::Get,
            connections: 16,
            streams: 1,
            fresh: false,
        };
        let job = Job::through(traffic, &self.options.tls);
        let running = self.started(&job, Under::Bare).await?;
        let mut fleet = Fleet::open(job).await.map_err(|fault| self.wrong(&fault))?;
        let routes = table(count);
        checks.restart();
        let over = Rc::new(Cell::new(false));
        let ready = tokio::task::spawn_local(slowest_ready(Rc::clone(&over)));
        let pushed = async {
            sleep(Duration::from_millis(500)).await;
            let started = Instant::now();
            plane.publish(&RouteConfiguration::type_url(), routes);
            let applied = async {
                while status(Door::Plain.address(), LAST).await != Some(200) {
                    sleep(Duration::from_millis(2)).await;
                }
            };
            let applied = timeout(Duration::from_secs(30), applied).await.is_ok();
            applied.then(|| started.elapsed())
        };
        let (tally, applied) = tokio::join!(fleet.pace(1_000.0, Duration::from_secs(3)), pushed);
        over.set(true);
        let ready = ready.await.unwrap_or_default();
        let gap = checks.longest_gap();
        self.check(&tally)?;
        let applied = applied.ok_or_else(|| BenchError::Peer {
            peer: self.peer.name(),
            what: "the last route is not served 30 s after its push".to_owned(),
            output: self
                .options
                .folder
                .join(format!("{}.out", self.peer.name())),
        })?;
        for (figure, time) in [
            (Figure::Applied, applied),
            (Figure::ReadyWorst, ready),
            (Figure::HealthGap, gap),
            (Figure::RequestWorst, tally.quantile(1.0)),
        ] {
            report.add(figure, micros(time) / 1000.0);
        }
        drop(fleet);
        running.stop().await
    }

    /// Waits for the first answer of the admin listener.
    async fn admitted(&self, running: &Running) -> Result<(), BenchError> {
        let answered = async {
            while status(ADMIN, "/server_info").await != Some(200) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), answered)
            .await
            .map_err(|_| BenchError::Peer {
                peer: self.peer.name(),
                what: format!("process {} has no admin listener", running.id()),
                output: self
                    .options
                    .folder
                    .join(format!("{}.out", self.peer.name())),
            })
    }
}

/// Asks `/ready` every 10 ms until `over`; an answer that never comes is as slow as the wait for it.
async fn slowest_ready(over: Rc<Cell<bool>>) -> Duration {
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut slowest = Duration::ZERO;
    while !over.get() {
        ticks.tick().await;
        let asked = Instant::now();
        let answer = timeout(Duration::from_secs(10), status(ADMIN, "/ready")).await;
        slowest = match answer {
            Ok(Some(200)) => slowest.max(asked.elapsed()),
            _ => slowest.max(Duration::from_secs(10)),
        };
    }
    slowest
}

/// The status of one GET on a connection of its own.
pub(super) async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// A route configuration of one route to the backend, or of many before it, of which the last answers by itself.
fn table(count: usize) -> Vec<crate::control_plane::Named> {
    let matching = |specifier| RouteMatch {
        path_specifier: Some(specifier),
        ..RouteMatch::default()
    };
    let backend = || {
        Some(route::Action::Route(RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(
                "backend".to_owned(),
            )),
            ..RouteAction::default()
        }))
    };
    let mut routes: Vec<Route> = (1..count)
        .map(|number| Route {
            name: format!("route-{number}"),
            r#match: Some(RouteMatch {
                headers: vec![HeaderMatcher {
                    name: "x-tenant".to_owned(),
                    header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(
                        StringMatcher {
                            match_pattern: Some(string_matcher::MatchPattern::Exact(format!(
                                "tenant-{}",
                                number % 100
                            ))),
                            ..StringMatcher::default()
                        },
                    )),
                    ..HeaderMatcher::default()
                }],
                ..matching(route_match::PathSpecifier::Prefix(format!(
                    "/api/v1/service-{number}/"
                )))
            }),
            action: backend(),
            ..Route::default()
        })
        .collect();
    if count > 0 {
        routes.push(Route {
            name: "last".to_owned(),
            r#match: Some(matching(route_match::PathSpecifier::Path(LAST.to_owned()))),
            action: Some(route::Action::DirectResponse(DirectResponseAction {
                status: 200,
                body: Some(DataSource {
                    specifier: Some(data_source::Specifier::InlineString("last".to_owned())),
                    ..DataSource::default()
                }),
                ..DirectResponseAction::default()
            })),
            ..Route::default()
        });
    }
    routes.push(Route {
        name: "default".to_owned(),
        r#match: Some(matching(route_match::PathSpecifier::Prefix("/".to_owned()))),
        action: backend(),
        ..Route::default()
    });
    let configuration = RouteConfiguration {
        name: "bench".to_owned(),
        virtual_hosts: vec![VirtualHost {
            name: "bench".to_owned(),
            domains: vec![HOST.to_owned()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    };
    packed(&[configuration], |routes| &routes.name)
}

const ADMIN: SocketAddr = SocketAddr::new(PEER_ADDRESS, ADMIN_PORT);
/// The path of the last route.
const LAST: &str = "/last";
