//! Outbound clusters: the service port, then its subsets.

use serde_json::{Value, json};

use super::{
    super::{
        endpoint,
        json::{any, flag},
        name, peer,
        peer::Mode,
        proxy::Proxy,
        tls,
    },
    Policy, metadata_exchange,
    policy::{self, HttpOptions},
    rule_path, service_metadata,
};
use crate::{
    model::{
        Config, DestinationRule,
        destination_rule::{ClientTls, ClientTlsMode, SimpleBalancer, Subset, TrafficPolicy},
        service_entry::Resolution,
    },
    source::{Protocol, Service, ServicePort},
};

pub(super) fn build(proxy: &Proxy) -> Vec<Value> {
    let mut clusters = Vec::new();
    for service in &proxy.scope.services {
        let rule = proxy.rule_for(service, false);
        for port in &service.ports {
            if port.protocol == Protocol::Udp {
                continue;
            }
            let spec = rule.map(|rule| &rule.spec);
            let traffic = spec.and_then(|spec| spec.traffic_policy.as_ref());
            let policy = Policy::for_port(traffic, port.number).0;
            let one = Outbound {
                proxy,
                service,
                port,
                rule: rule.map(AsRef::as_ref),
            };
            clusters.extend(one.cluster(&policy, traffic, None));
            for subset in spec.map_or(&[][..], |spec| &spec.subsets) {
                let merged = policy.with_subset(subset.traffic_policy.as_ref(), port.number);
                clusters.extend(one.cluster(&merged, subset.traffic_policy.as_ref(), Some(subset)));
            }
        }
    }
    clusters
}

struct Outbound<'a> {
    proxy: &'a Proxy,
    service: &'a Service,
    port: &'a ServicePort,
    rule: Option<&'a Config<DestinationRule>>,
}

impl Outbound<'_> {
    /// None when a DNS service has no endpoint to ask for.
    fn cluster(
        &self,
        policy: &Policy<'_>,
        own: Option<&TrafficPolicy>,
        subset: Option<&Subset>,
    ) -> Option<Value> {
        let mesh = &self.proxy.snapshot.mesh;
        let subset_name = subset.map_or("", |subset| subset.name.as_str());
        let cluster_name = name::outbound(self.port.number, subset_name, &self.service.hostname);
        let kind = self.kind(policy);
        let mut cluster = json!({
            "name": cluster_name,
            "altStatName": format!("{cluster_name};"),
            "type": kind,
            "commonLbConfig": {},
            "filters": [metadata_exchange()],
        });
        if matches!(kind, "STRICT_DNS" | "LOGICAL_DNS") {
            self.dns(&mut cluster, &cluster_name)?;
        }
        if kind == "ORIGINAL_DST" && self.port.target != 0 {
            cluster["originalDstLbConfig"] = json!({"upstreamPortOverride": self.port.target});
        }
        let mut http = HttpOptions::for_protocol(self.port.protocol, self.proxy.is_router());
        policy::h2_upgrade(mesh, policy.connection_pool, self.port.protocol, &mut http);
        policy::connection_pool(
            mesh,
            &mut cluster,
            &mut http,
            policy.connection_pool,
            policy.retry_budget,
        );
        policy::outlier_detection(&mut cluster, policy.outlier_detection);
        policy::load_balancer(mesh, &mut cluster, policy, kind);
        self.tls(&mut cluster, &mut http, policy, own, subset_name, kind);
        http.write(&mut cluster);
        if kind == "EDS" {
            cluster["edsClusterConfig"] =
                json!({"edsConfig": super::super::json::ads(), "serviceName": cluster_name});
        }
        cluster["metadata"] = self.metadata(policy, subset);
        Some(cluster)
    }

    fn kind(&self, policy: &Policy<'_>) -> &'static str {
        let passthrough = policy
            .load_balancer
            .is_some_and(|balancer| balancer.simple == Some(SimpleBalancer::Passthrough));
        match self.service.resolution {
            _ if passthrough => "ORIGINAL_DST",
            Resolution::Static => "EDS",
            Resolution::Dns => "STRICT_DNS",
            Resolution::DnsRoundRobin => "LOGICAL_DNS",
            // A gateway has no original destination to go to.
            Resolution::None if self.proxy.is_router() => "EDS",
            Resolution::None => "ORIGINAL_DST",
        }
    }

    fn dns(&self, cluster: &mut Value, cluster_name: &str) -> Option<()> {
        let assignment = endpoint::assignment(self.proxy, self.service, cluster_name);
        assignment["endpoints"]
            .as_array()
            .filter(|endpoints| !endpoints.is_empty())?;
        let any_v6 = self
            .proxy
            .node
            .addresses
            .iter()
            .all(|address| address.contains(':'));
        cluster["loadAssignment"] = assignment;
        cluster["dnsRefreshRate"] = json!(self.proxy.snapshot.mesh.dns_refresh_rate.to_string());
        cluster["dnsJitter"] = json!("0.100s");
        cluster["respectDnsTtl"] = json!(true);
        cluster["dnsLookupFamily"] = json!(if any_v6 { "V6_ONLY" } else { "V4_ONLY" });
        cluster["typedDnsResolverConfig"] = json!({
            "name": "envoy.network.dns_resolver.cares",
            "typedConfig": any(
                "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                json!({"udpMaxQueries": 100}),
            ),
        });
        Some(())
    }

    fn tls(
        &self,
        cluster: &mut Value,
        http: &mut HttpOptions,
        policy: &Policy<'_>,
        own: Option<&TrafficPolicy>,
        subset: &str,
        kind: &str,
    ) {
        let mesh = &self.proxy.snapshot.mesh;
        let accounts = self.service.accounts(mesh);
        let sni = name::outbound_sni(self.port.number, subset, &self.service.hostname);
        match policy.tls {
            Some(tls) => match tls.mode {
                ClientTlsMode::Disable => {}
                ClientTlsMode::IstioMutual => {
                    let names = tls.subject_alt_names.as_deref().unwrap_or(&accounts);
                    let sni = if tls.sni.is_empty() { &sni } else { &tls.sni };
                    cluster["transportSocket"] = tls::upstream_mesh(sni, names, http.is_http2());
                }
                ClientTlsMode::Simple | ClientTlsMode::Mutual => {
                    self.originate(cluster, http, tls, &accounts)
                }
            },
            None => {
                let passthrough = own
                    .and_then(|policy| policy.load_balancer.as_ref())
                    .is_some_and(|balancer| balancer.simple == Some(SimpleBalancer::Passthrough));
                let inferred = peer::inferred(
                    &self.proxy.snapshot,
                    self.service,
                    self.port.number,
                    passthrough,
                );
                let auto =
                    mesh.enable_auto_mtls && inferred.is_some_and(|mode| mode != Mode::Disable);
                if !auto {
                    return;
                }
                let socket = tls::upstream_mesh(&sni, &accounts, http.is_http2());
                if kind == "ORIGINAL_DST" {
                    cluster["transportSocket"] = socket;
                    return;
                }
                // Endpoints without a proxy get plaintext: each says by its metadata which it is.
                cluster["transportSocketMatches"] = json!([
                    {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transportSocket": socket},
                    {"name": "tlsMode-disabled", "match": {}, "transportSocket": tls::raw_buffer()},
                ]);
            }
        }
    }

    fn originate(
        &self,
        cluster: &mut Value,
        http: &mut HttpOptions,
        tls: &ClientTls,
        accounts: &[String],
    ) {
        let mutual = tls.mode == ClientTlsMode::Mutual;
        if !tls.credential_name.is_empty() && !self.proxy.is_router() {
            // A sidecar may not read Kubernetes secrets (unless the rule selects workloads, which needs them to be here).
            return;
        }
        let named = tls
            .subject_alt_names
            .as_ref()
            .is_some_and(|names| !names.is_empty());
        if tls.sni.is_empty() {
            http.auto_sni = true;
            http.auto_san_validation = !named && !tls.insecure_skip_verify;
        }
        let mut tls = tls.clone();
        if !named {
            tls.subject_alt_names = Some(accounts.to_vec());
        }
        cluster["transportSocket"] = tls::upstream_user(&tls::Originate {
            tls: &tls,
            mutual,
            http2: http.is_http2(),
        });
    }

    fn metadata(&self, policy: &Policy<'_>, subset: Option<&Subset>) -> Value {
        let user_tls = policy
            .tls
            .is_some_and(|tls| matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual));
        let external = self.service.external && subset.is_none();
        json!({"filterMetadata": {"istio": {
            "services": [service_metadata(self.service)],
            "external": flag(external),
            "config": self.rule.map(rule_path),
            "subset": subset.map(|subset| subset.name.as_str()),
            "alpn_override": (self.rule.is_some() && user_tls).then_some("false"),
        }}})
    }
}
