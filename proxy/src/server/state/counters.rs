//! What the process counts, beside what listeners, requests and Istio's metrics are told with.

use carbyne_engine::cluster::stats::Kind;
use carbyne_engine::observe::process::Process;
use carbyne_protos::envoy::admin::v3 as wire;

use super::{Running, milliseconds, stat_name};
use crate::wire::xds::ResourceType;

impl Running {
    pub(super) fn counters(&self, show: &mut dyn FnMut(&str, bool, u64)) {
        show("server.state", true, self.server_state() as u64);
        show("server.uptime", true, self.started.elapsed().as_secs());
        show("server.concurrency", true, u64::from(self.workers));
        show(
            "server.live",
            true,
            u64::from(self.server_state() == wire::server_info::State::Live),
        );
        show("listener_manager.workers_started", true, 1);
        let shown = self.discovery.listeners.shown();
        show(
            "listener_manager.total_listeners_active",
            true,
            shown.len() as u64,
        );
        show(
            "listener_manager.total_listeners_warming",
            true,
            self.discovery.listeners.warming().len() as u64,
        );
        let clusters = self.discovery.clusters.shown();
        let active = clusters.iter().filter(|shown| shown.served).count();
        show("cluster_manager.active_clusters", true, active as u64);
        let warming = clusters.iter().filter(|shown| shown.warming).count();
        show("cluster_manager.warming_clusters", true, warming as u64);
        if let Some(days) = self.certificates_in_use().days_left() {
            show("server.days_until_first_cert_expiring", true, days);
        }
        let memory = Process::read().resident;
        show("server.memory_physical_size", true, memory);
        let open = u64::try_from(self.telling.open_connections()).unwrap_or(0);
        show("server.total_connections", true, open);
        for (name, kind) in [
            ("cluster_manager.cds.not_served", ResourceType::Cluster),
            ("listener_manager.lds.not_served", ResourceType::Listener),
            ("listener_manager.rds.not_served", ResourceType::Route),
        ] {
            show(name, true, self.findings(kind).len() as u64);
        }
        self.with_ads(|ads| {
            for (prefix, kind) in [
                ("cluster_manager.cds", ResourceType::Cluster),
                ("listener_manager.lds", ResourceType::Listener),
            ] {
                let statistics = ads.statistics(kind);
                for (name, value) in [
                    ("update_attempt", statistics.update_attempt),
                    ("update_success", statistics.update_success),
                    ("update_rejected", statistics.update_rejected),
                    ("update_failure", statistics.update_failure),
                ] {
                    show(&format!("{prefix}.{name}"), false, value);
                }
                let updated = statistics.update_time.and_then(milliseconds);
                show(&format!("{prefix}.update_time"), true, updated.unwrap_or(0));
            }
            show(
                "control_plane.connected_state",
                true,
                u64::from(ads.is_connected()),
            );
        });
        for shown in clusters {
            let name = stat_name(&shown.live);
            let mut visit = |counter: &'static str, kind: Kind, value: u64| {
                let gauge = matches!(kind, Kind::Gauge);
                show(&format!("cluster.{name}.{counter}"), gauge, value);
            };
            let cluster = &shown.live.cluster;
            cluster.stats().visit(&mut visit);
            let set = cluster.endpoints();
            let originals = cluster.originals().all();
            let hosts = set.hosts().chain(originals.iter());
            let active: u64 = hosts.map(|host| u64::from(host.stats.rq_active())).sum();
            visit("upstream_rq_active", Kind::Gauge, active);
            cluster.responses().visit(|counter, value| {
                show(&format!("cluster.{name}.{counter}"), false, value);
            });
            shown
                .live
                .cluster
                .outlier_stats()
                .visit(&mut |counter, kind, value| {
                    let gauge = matches!(kind, Kind::Gauge);
                    show(
                        &format!("cluster.{name}.outlier_detection.{counter}"),
                        gauge,
                        value,
                    );
                });
            if !shown.live.plan.settings.health_checks.is_empty() {
                shown
                    .live
                    .cluster
                    .health_check_stats()
                    .visit(|counter, kind, value| {
                        let gauge = matches!(kind, Kind::Gauge);
                        show(
                            &format!("cluster.{name}.health_check.{counter}"),
                            gauge,
                            value,
                        );
                    });
            }
        }
        for (reference, machine) in self.discovery.secrets.borrow().iter() {
            let machine = machine.borrow();
            let statistics = machine.statistics(ResourceType::Secret);
            for (name, value) in [
                ("update_attempt", statistics.update_attempt),
                ("update_success", statistics.update_success),
                ("update_rejected", statistics.update_rejected),
                ("update_failure", statistics.update_failure),
            ] {
                show(&format!("sds.{}.{name}", reference.name), false, value);
            }
        }
        self.overload.visit(show);
        self.telling.visit(show);
    }
}
