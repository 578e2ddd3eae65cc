//! Makes the state: every second while somebody looks, every five otherwise, and at once when something is told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    events::Tail,
    routes,
    state::{Program, State, Sync},
    traffic::Traffic,
};
use crate::{
    events::shipping::Shipping,
    fetch::get,
    running::{self, Control, Kind, Running},
    traces::ring::Traces,
    up::{
        board::{self, Board, Told},
        plane::Plane,
    },
};

/// The state as it was last made, in JSON; cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    state: watch::Receiver<Bytes>,
    plane: Plane,
    traces: Traces,
    looked: Arc<AtomicU64>,
    wake: Arc<tokio::sync::Notify>,
}

impl View {
    /// How sidecars stand with the control plane, in JSON: what `carbyne status` asks for.
    #[must_use]
    pub fn proxies(&self) -> Bytes {
        // What is made of plain data serializes.
        Bytes::from(serde_json::to_vec(&self.plane.proxies()).unwrap_or_default())
    }

    /// What is known of spans, in JSON; of one trace all that is kept of it.
    #[must_use]
    pub fn traces(&self, trace: Option<&str>) -> Bytes {
        let text = match trace {
            None => serde_json::to_vec(&self.traces.summary()),
            Some(trace) => serde_json::to_vec(&self.traces.of(trace)),
        };
        // What is made of plain data serializes.
        Bytes::from(text.unwrap_or_default())
    }

    /// What Prometheus is told of the control plane.
    #[must_use]
    pub fn metrics(&self) -> Bytes {
        Bytes::from(self.plane.metrics())
    }

    /// The state; somebody looks.
    #[must_use]
    pub fn now(&self) -> Bytes {
        self.look();
        self.state.borrow().clone()
    }

    /// Follows it from here on; the first one is there at once.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Bytes> {
        self.look();
        let mut state = self.state.clone();
        state.mark_changed();
        state
    }

    /// Somebody looks.
    pub fn look(&self) {
        let before = self.looked.swap(board::now(), Ordering::Relaxed);
        if board::now().saturating_sub(before) > ATTENTION {
            self.wake.notify_one();
        }
    }
}

/// Observes until nobody has the view any more.
pub fn observe(board: Board, plane: Plane, traces: Traces) -> View {
    let (told, state) = watch::channel(Bytes::from_static(b"{}"));
    let view = View {
        state,
        plane: plane.clone(),
        traces: traces.clone(),
        looked: Arc::default(),
        wake: Arc::default(),
    };
    let observer = Observer {
        board,
        plane,
        traces,
        traffic: Traffic::default(),
        tail: None,
        looked: Arc::clone(&view.looked),
        wake: Arc::clone(&view.wake),
    };
    tokio::spawn(observer.run(told));
    view
}

struct Observer {
    board: Board,
    plane: Plane,
    traces: Traces,
    traffic: Traffic,
    tail: Option<Tail>,
    looked: Arc<AtomicU64>,
    wake: Arc<tokio::sync::Notify>,
}

impl Observer {
    async fn run(mut self, told: watch::Sender<Bytes>) {
        while !told.is_closed() {
            let began = Instant::now();
            let state = self.state().await;
            // What is made of plain data serializes.
            let text = Bytes::from(serde_json::to_vec(&state).unwrap_or_default());
            told.send_if_modified(|before| {
                let changed = *before != text;
                *before = text;
                changed
            });
            let watched =
                board::now().saturating_sub(self.looked.load(Ordering::Relaxed)) < ATTENTION;
            let pause = if watched { OFTEN } else { SELDOM };
            tokio::select! {
                () = sleep_until(began + pause) => {}
                () = self.wake.notified() => {}
                () = self.board.changed() => {
                    // Several things are told at once when a platform starts.
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    }

    async fn state(&mut self) -> State {
        let told = self.board.told();
        let running = Running {
            version: running::VERSION,
            folder: told.folder.clone(),
            control: Control {
                pid: std::process::id(),
                page: None,
            },
            members: told.members.clone(),
            events: None,
            kafka: None,
        };
        let admin = running
            .members
            .iter()
            .find(|member| member.kind == Kind::Gateway)
            .and_then(|member| member.admin);
        let tail = self
            .tail
            .take()
            // Before the first publication nobody knows where.
            .filter(|tail| tail.root() == told.events)
            .unwrap_or_else(|| Tail::new(told.events.clone()));
        let read = tokio::task::spawn_blocking(move || {
            let mut tail = tail;
            let events = tail.read();
            (tail, events)
        });
        let shipper = running
            .members
            .iter()
            .find(|member| member.kind == Kind::Shipper)
            .and_then(|member| member.admin);
        let (graph, gateway, shipping, read) = tokio::join!(
            self.traffic.look(&running),
            gateway(admin),
            shipping(shipper),
            read
        );
        let events = match read {
            Ok((tail, events)) => {
                self.tail = Some(tail);
                events
            }
            Err(error) => super::state::Events {
                error: Some(error.to_string()),
                ..super::state::Events::default()
            },
        };
        let Told {
            folder,
            run,
            events: _,
            kafka,
            ready,
            members,
            mut conditions,
            notices,
            tries,
        } = told;
        let kafka = kafka.map(|kafka| super::state::Kafka {
            bootstrap: kafka.bootstrap,
            words: shipping
                .as_ref()
                .map_or_else(|| "the shipper does not answer".to_owned(), Shipping::words),
            shipping,
        });
        let sync = self.plane.sync();
        let programs = members
            .into_iter()
            .map(|member| {
                let title = member.kind.title(&member.name);
                let sidecar = member.kind == Kind::Sidecar;
                Program {
                    condition: conditions.remove(&title).unwrap_or_default(),
                    sync: sidecar.then(|| synced(&sync, &member.name, &member.namespace)),
                    title,
                    member,
                }
            })
            .collect();
        State {
            folder,
            run,
            ready,
            programs,
            notices: notices.into(),
            tries,
            graph,
            gateway,
            events,
            kafka,
            traces: self.traces.summary(),
        }
    }
}

async fn shipping(shipper: Option<SocketAddr>) -> Option<Shipping> {
    // Absent while it starts.
    let answer = get(shipper?, "/status", LIMIT).await.ok()?;
    serde_json::from_slice(&answer).ok()
}

async fn gateway(admin: Option<SocketAddr>) -> Option<super::state::Gateway> {
    match admin {
        Some(admin) => Some(routes::read(admin).await),
        None => None,
    }
}

fn synced(all: &BTreeMap<String, Sync>, name: &str, namespace: &str) -> Sync {
    let known = all.get(&format!("{name}.{namespace}")).cloned();
    known.unwrap_or(Sync {
        state: "away",
        refuses: Vec::new(),
    })
}

/// How long one answer may take.
const LIMIT: Duration = Duration::from_millis(500);
/// Milliseconds since somebody looked after which nobody does.
const ATTENTION: u64 = 10_000;
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(5);
const GATHER: Duration = Duration::from_millis(50);
