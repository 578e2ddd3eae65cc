//! What is refused while a resource is short, or too many clients are connected.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::plan::overload::{Monitor, OverloadPlan, ReactionKind, Trigger};

/// The state that connections and requests look at: a load of one atomic each while nothing is short.
#[derive(Debug)]
pub struct Overload {
    plan: OverloadPlan,
    connections: AtomicU64,
    /// Share of connections that are rejected, of [`ALL`].
    rejected: AtomicU32,
    /// Share of requests that are refused.
    refused: AtomicU32,
    paused: watch::Sender<bool>,
    /// Pressure of each monitor in percent, for statistics.
    pressures: Box<[AtomicU32]>,
    /// How far each reaction has set in, in percent.
    reactions: Box<[AtomicU32]>,
}

/// A client's connection; counted until it is dropped.
#[derive(Debug)]
pub struct Admitted(Option<Arc<Overload>>);

impl Overload {
    /// As planned; nothing is short yet.
    pub fn new(plan: OverloadPlan) -> Arc<Self> {
        let cells = |count: usize| (0..count).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            connections: AtomicU64::new(0),
            rejected: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            paused: watch::Sender::new(false),
            pressures: cells(plan.monitors.len()),
            reactions: cells(plan.reactions.len()),
            plan,
        })
    }

    /// Looks at the resources again and again. For the control runtime.
    pub async fn watch(self: Arc<Self>) {
        let meters: Vec<Meter> = self
            .plan
            .monitors
            .iter()
            .map(|(_, monitor)| Meter::new(monitor))
            .collect();
        let mut every = tokio::time::interval(self.plan.refresh);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let pressures: Vec<f64> = meters.iter().map(Meter::pressure).collect();
            self.react(&pressures);
        }
    }

    /// A client connected: counted, or nothing where it is one too many or too much is short. A listener may be exempt from either.
    pub fn admit(self: &Arc<Self>, ignores_limit: bool, bypasses: bool) -> Option<Admitted> {
        if !bypasses && hits(self.rejected.load(Ordering::Relaxed)) {
            return None;
        }
        if ignores_limit {
            return Some(Admitted(None));
        }
        let Some(most) = self.plan.max_connections else {
            return Some(Admitted(None));
        };
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        // Counted down again by the drop, also where it was one too many.
        let admitted = Admitted(Some(Arc::clone(self)));
        (before < most).then_some(admitted)
    }

    /// Whether a request is to be refused.
    #[inline]
    pub fn refuses_request(&self) -> bool {
        let share = self.refused.load(Ordering::Relaxed);
        share > 0 && hits(share)
    }

    /// Told when accepting stops and goes on.
    pub fn paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    /// Shows its gauges.
    pub fn visit(&self, show: &mut dyn FnMut(&str, bool, u64)) {
        for ((name, _), pressure) in self.plan.monitors.iter().zip(&self.pressures) {
            let value = pressure.load(Ordering::Relaxed).into();
            show(&format!("overload.{name}.pressure"), true, value);
        }
        for (reaction, scale) in self.plan.reactions.iter().zip(&self.reactions) {
            let value: u64 = scale.load(Ordering::Relaxed).into();
            let name = &reaction.name;
            show(
                &format!("overload.{name}.active"),
                true,
                u64::from(value >= 100),
            );
            show(&format!("overload.{name}.scale_percent"), true, value);
        }
        if self.plan.max_connections.is_some() {
            let name = "envoy.resource_monitors.global_downstream_max_connections";
            let open = self.connections.load(Ordering::Relaxed);
            show(&format!("overload.{name}.current_value"), true, open);
        }
    }

    fn react(&self, pressures: &[f64]) {
        for (cell, pressure) in self.pressures.iter().zip(pressures) {
            cell.store(percent(*pressure), Ordering::Relaxed);
        }
        let (mut rejected, mut refused, mut stops) = (0.0_f64, 0.0_f64, false);
        for (reaction, cell) in self.plan.reactions.iter().zip(&self.reactions) {
            let scale = scale(&reaction.triggers, pressures);
            cell.store(percent(scale), Ordering::Relaxed);
            match reaction.kind {
                // Of a reaction that has no halves only the whole counts.
                ReactionKind::StopAccepting => stops |= scale >= 1.0,
                ReactionKind::RejectConnections => rejected = rejected.max(scale),
                ReactionKind::StopRequests => refused = refused.max(scale),
            }
        }
        if rejected.max(refused) > 0.0 && self.refused.load(Ordering::Relaxed) == 0 {
            tracing::warn!(?pressures, "overloaded: new work is refused");
        }
        self.rejected.store(share(rejected), Ordering::Relaxed);
        self.refused.store(share(refused), Ordering::Relaxed);
        self.paused
            .send_if_modified(|paused| std::mem::replace(paused, stops) != stops);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(overload) = &self.0 {
            overload.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The largest of what the triggers say, from 0 to 1.
fn scale(triggers: &[Trigger], pressures: &[f64]) -> f64 {
    let of = |trigger: &Trigger| {
        let pressure = pressures.get(trigger.monitor).copied().unwrap_or(0.0);
        if pressure >= trigger.to {
            1.0
        } else if pressure <= trigger.from {
            0.0
        } else {
            (pressure - trigger.from) / (trigger.to - trigger.from)
        }
    };
    triggers.iter().map(of).fold(0.0, f64::max)
}

/// Where a pressure is read.
#[derive(Debug)]
enum Meter {
    File(PathBuf),
    Process {
        max: f64,
    },
    Group {
        folder: PathBuf,
        max: f64,
    },
    /// There is nothing to read: never short.
    Nothing,
}

impl Meter {
    fn new(monitor: &Monitor) -> Self {
        match monitor {
            Monitor::Injected(path) => Self::File(path.clone()),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a share of memory needs no more than a double holds"
            )]
            Monitor::FixedHeap { max } => Self::Process { max: *max as f64 },
            Monitor::CgroupMemory { max } => Self::group(*max),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of memory needs no more than a double holds"
    )]
    fn group(max: Option<u64>) -> Self {
        let Some((folder, limit)) = limited_group() else {
            return Self::Nothing;
        };
        let max = max.unwrap_or(u64::MAX).min(limit) as f64;
        Self::Group { folder, max }
    }

    fn pressure(&self) -> f64 {
        match self {
            Self::File(path) => {
                let text = fs::read_to_string(path).unwrap_or_default();
                let pressure: f64 = text.trim().parse().unwrap_or(0.0);
                pressure.clamp(0.0, 1.0)
            }
            Self::Process { max } => resident() / max,
            Self::Group { folder, max } => used(folder) / max,
            Self::Nothing => 0.0,
        }
    }
}

/// The nearest control group (version 2) with a limit, and the limit.
fn limited_group() -> Option<(PathBuf, u64)> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = Path::new("/sys/fs/cgroup");
    let mut folder = root.join(path.trim_start_matches('/'));
    loop {
        // In a container the group's own folder is the root of what is seen.
        let limit = number(&folder.join("memory.max"));
        if let Some(limit) = limit {
            return Some((folder, limit));
        }
        if folder == root || !folder.pop() {
            return None;
        }
    }
}

/// Memory that the group cannot give back: all but pages of files that nobody used lately.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of memory needs no more than a double holds"
)]
fn used(folder: &Path) -> f64 {
    let current = number(&folder.join("memory.current")).unwrap_or(0);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let inactive = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let inactive: u64 = inactive
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    current.saturating_sub(inactive) as f64
}

/// Memory of this process that is its own.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of memory needs no more than a double holds"
)]
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = text.split_ascii_whitespace().skip(1);
    let mut next = || {
        pages
            .next()
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (resident, shared) = (next(), next());
    (resident.saturating_sub(shared) * PAGE) as f64
}

/// The number in a file; `None` where there is none, such as `max`.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn hits(share: u32) -> bool {
    share > 0 && (share == ALL || fastrand::u32(..ALL) < share)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and ALL"
)]
fn share(scale: f64) -> u32 {
    (scale.clamp(0.0, 1.0) * f64::from(ALL)) as u32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100 and a little above"
)]
fn percent(value: f64) -> u32 {
    (value.clamp(0.0, 100.0) * 100.0) as u32
}

const ALL: u32 = 1 << 30;
/// Bytes in a page, on both architectures that we serve with their usual kernels.
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::overload::Reaction;

    fn planned(kind: ReactionKind, from: f64, to: f64) -> OverloadPlan {
        OverloadPlan {
            monitors: vec![(Arc::from("injected"), Monitor::Injected(PathBuf::new()))],
            reactions: vec![Reaction {
                name: Arc::from("it"),
                kind,
                triggers: vec![Trigger {
                    monitor: 0,
                    from,
                    to,
                }],
            }],
            ..OverloadPlan::default()
        }
    }

    #[test]
    fn reactions_set_in_with_pressure() {
        // (from, to, pressure) → scale
        for (from, to, pressure, expected) in [
            (0.9, 0.9, 0.89, 0.0),
            (0.9, 0.9, 0.9, 1.0),
            (0.5, 0.9, 0.5, 0.0),
            (0.5, 0.9, 0.7, 0.5),
            (0.5, 0.9, 0.95, 1.0),
            (0.0, 0.0, 0.0, 1.0),
        ] {
            let trigger = Trigger {
                monitor: 0,
                from,
                to,
            };
            let found = scale(&[trigger], &[pressure]);
            assert!(
                (found - expected).abs() < 1e-9,
                "{from} {to} {pressure}: {found}"
            );
        }
    }

    #[test]
    fn requests_and_connections_are_refused_while_it_lasts() {
        let overload = Overload::new(planned(ReactionKind::StopRequests, 0.9, 0.9));
        assert!(!overload.refuses_request());
        overload.react(&[0.95]);
        assert!(overload.refuses_request() && overload.admit(false, false).is_some());
        overload.react(&[0.5]);
        assert!(!overload.refuses_request());

        let overload = Overload::new(planned(ReactionKind::RejectConnections, 0.5, 1.0));
        overload.react(&[1.0]);
        assert!(overload.admit(false, false).is_none() && overload.admit(false, true).is_some());
        overload.react(&[0.75]);
        let admitted = (0..1000)
            .filter(|_| overload.admit(false, false).is_some())
            .count();
        assert!((300..700).contains(&admitted), "{admitted} of 1000");

        let overload = Overload::new(planned(ReactionKind::StopAccepting, 0.9, 0.9));
        let paused = overload.paused();
        overload.react(&[0.9]);
        assert!(*paused.borrow());
        overload.react(&[0.1]);
        assert!(!*paused.borrow());
    }

    #[test]
    fn so_many_clients_and_no_more() {
        let overload = Overload::new(OverloadPlan {
            max_connections: Some(2),
            ..OverloadPlan::default()
        });
        let first = overload.admit(false, false);
        let second = overload.admit(false, false);
        assert!(first.is_some() && second.is_some());
        assert!(overload.admit(false, false).is_none());
        assert!(
            overload.admit(true, false).is_some(),
            "its listener is exempt"
        );
        drop(first);
        assert!(overload.admit(false, false).is_some());
    }
}
