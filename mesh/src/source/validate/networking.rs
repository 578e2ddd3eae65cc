//! networking.istio.io resources.

use std::{collections::BTreeSet, net::IpAddr};

use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;

use super::Report;
use crate::model::{
    DestinationRule, EnvoyFilter, Gateway, ServiceEntry, Sidecar, VirtualService,
    destination_rule::{ClientTls, ClientTlsMode, TrafficPolicy},
    gateway::{ServerTls, ServerTlsMode},
    service_entry::{Resolution, WorkloadEntry},
    virtual_service::{Destination, HttpRoute, TcpDestination},
};

pub(in crate::source) fn service_entry(spec: &ServiceEntry, report: &mut Report<'_>) {
    if spec.hosts.is_empty() {
        report.error("/spec", "a ServiceEntry needs at least one host in `hosts`");
    }
    for (index, host) in spec.hosts.iter().enumerate() {
        let pointer = format!("/spec/hosts/{index}");
        report.host(&pointer, host);
        if host.starts_with('*') && spec.resolution != Resolution::None {
            report.error(&pointer, "a wildcard host needs `resolution: NONE`");
        }
    }
    for (index, address) in spec.addresses.iter().enumerate() {
        report.cidr(&format!("/spec/addresses/{index}"), address);
    }
    if spec.ports.is_empty() {
        report.error("/spec", "a ServiceEntry needs at least one port in `ports`");
    }
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let pointer = format!("/spec/ports/{index}");
        report.port(&format!("{pointer}/number"), port.number);
        if port.name.is_empty() {
            report.error(&pointer, "the port needs a `name`");
        } else if !names.insert(&port.name) {
            report.error(
                &format!("{pointer}/name"),
                format!("the port name `{}` is there twice", port.name),
            );
        }
        if !numbers.insert(port.number) {
            report.error(
                &format!("{pointer}/number"),
                format!("the port {} is there twice", port.number),
            );
        }
        if port.target_port != 0 {
            report.port(&format!("{pointer}/targetPort"), port.target_port);
        }
    }
    if spec.workload_selector.is_some() && !spec.endpoints.is_empty() {
        report.error(
            "/spec/workloadSelector",
            "only one of `workloadSelector` and `endpoints` can be given",
        );
    }
    if spec.resolution == Resolution::None && !spec.endpoints.is_empty() {
        report.error(
            "/spec/endpoints",
            "`resolution: NONE` goes where the client goes and takes no endpoints",
        );
    }
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let pointer = format!("/spec/endpoints/{index}");
        endpoint_ports(endpoint, &pointer, report);
        let unix = endpoint.address.starts_with("unix://");
        if spec.resolution == Resolution::Static
            && !unix
            && endpoint.address.parse::<IpAddr>().is_err()
        {
            report.error(
                &format!("{pointer}/address"),
                format!(
                    "`resolution: STATIC` needs IP addresses, `{}` is none",
                    endpoint.address
                ),
            );
        }
        for name in endpoint.ports.keys() {
            if !names.contains(name) {
                report.error(
                    &format!("{pointer}/ports/{name}"),
                    format!("`{name}` is not a port of this entry"),
                );
            }
        }
    }
}

pub(in crate::source) fn workload_entry(spec: &WorkloadEntry, report: &mut Report<'_>) {
    endpoint_ports(spec, "/spec", report);
}

fn endpoint_ports(entry: &WorkloadEntry, pointer: &str, report: &mut Report<'_>) {
    if entry.address.is_empty() {
        report.error(pointer, "an `address` is missing");
    }
    for (name, port) in &entry.ports {
        report.port(&format!("{pointer}/ports/{name}"), *port);
    }
}

pub(in crate::source) fn virtual_service(spec: &VirtualService, report: &mut Report<'_>) {
    if spec.hosts.is_empty() {
        report.error(
            "/spec",
            "a VirtualService needs at least one host in `hosts`",
        );
    }
    for (index, host) in spec.hosts.iter().enumerate() {
        report.host(&format!("/spec/hosts/{index}"), host);
    }
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        report.error("/spec", "one of `http`, `tls`, `tcp` is needed");
    }
    for (index, http) in spec.http.iter().enumerate() {
        http_route(http, &format!("/spec/http/{index}"), report);
    }
    for (index, tls) in spec.tls.iter().enumerate() {
        let pointer = format!("/spec/tls/{index}");
        if tls.matching.is_empty() {
            report.error(&pointer, "a TLS route needs a `match`");
        }
        for (at, matching) in tls.matching.iter().enumerate() {
            if matching.sni_hosts.is_empty() {
                report.error(
                    &format!("{pointer}/match/{at}"),
                    "a TLS match needs `sniHosts`",
                );
            }
        }
        tcp_destinations(&tls.route, &pointer, report);
    }
    for (index, tcp) in spec.tcp.iter().enumerate() {
        tcp_destinations(&tcp.route, &format!("/spec/tcp/{index}"), report);
    }
}

fn http_route(http: &HttpRoute, pointer: &str, report: &mut Report<'_>) {
    let ways = [
        !http.route.is_empty(),
        http.redirect.is_some(),
        http.direct_response.is_some(),
    ];
    match ways.iter().filter(|way| **way).count() {
        1 => {}
        0 => report.error(
            pointer,
            "one of `route`, `redirect`, `directResponse` is needed",
        ),
        _ => report.error(
            pointer,
            "only one of `route`, `redirect`, `directResponse` can be given",
        ),
    }
    for (index, route) in http.route.iter().enumerate() {
        destination(
            &route.destination,
            &format!("{pointer}/route/{index}/destination"),
            report,
        );
    }
    if http.route.len() > 1 && http.route.iter().all(|route| route.weight == 0) {
        report.error(&format!("{pointer}/route"), "the weights add up to 0");
    }
    if let Some(response) = &http.direct_response
        && !(200..600).contains(&response.status)
    {
        report.error(
            &format!("{pointer}/directResponse/status"),
            format!("{} is not a status; 200 to 599", response.status),
        );
    }
    if let Some(redirect) = &http.redirect
        && ![0, 301, 302, 303, 307, 308].contains(&redirect.redirect_code)
    {
        report.error(
            &format!("{pointer}/redirect/redirectCode"),
            format!(
                "{} is not one of 301, 302, 303, 307, 308",
                redirect.redirect_code
            ),
        );
    }
    if let Some(fault) = &http.fault {
        if fault.delay.is_none() && fault.abort.is_none() {
            report.error(
                &format!("{pointer}/fault"),
                "one of `delay` and `abort` is needed",
            );
        }
        if let Some(delay) = &fault.delay
            && delay.fixed_delay.is_none()
        {
            report.error(
                &format!("{pointer}/fault/delay"),
                "a `fixedDelay` is needed",
            );
        }
        if let Some(abort) = &fault.abort
            && abort.http_status.is_none()
            && abort.grpc_status.is_none()
        {
            report.error(
                &format!("{pointer}/fault/abort"),
                "one of `httpStatus` and `grpcStatus` is needed",
            );
        }
    }
    for (index, matching) in http.matching.iter().enumerate() {
        let single = [
            ("uri", &matching.uri),
            ("scheme", &matching.scheme),
            ("method", &matching.method),
            ("authority", &matching.authority),
        ];
        for (name, value) in single {
            if let Some(value) = value
                && [&value.exact, &value.prefix, &value.regex]
                    .iter()
                    .filter(|way| way.is_some())
                    .count()
                    != 1
            {
                report.error(
                    &format!("{pointer}/match/{index}/{name}"),
                    "exactly one of `exact`, `prefix`, `regex` is needed",
                );
            }
        }
    }
}

fn tcp_destinations(routes: &[TcpDestination], pointer: &str, report: &mut Report<'_>) {
    if routes.is_empty() {
        report.error(pointer, "a `route` is needed");
    }
    for (index, route) in routes.iter().enumerate() {
        destination(
            &route.destination,
            &format!("{pointer}/route/{index}/destination"),
            report,
        );
    }
    if routes.len() > 1 && routes.iter().all(|route| route.weight == 0) {
        report.error(&format!("{pointer}/route"), "the weights add up to 0");
    }
}

fn destination(destination: &Destination, pointer: &str, report: &mut Report<'_>) {
    if destination.host.is_empty() {
        report.error(pointer, "a `host` is missing");
    }
    if let Some(port) = destination.port {
        report.port(&format!("{pointer}/port/number"), port.number);
    }
}

pub(in crate::source) fn destination_rule(spec: &DestinationRule, report: &mut Report<'_>) {
    if spec.host.is_empty() {
        report.error("/spec", "a `host` is missing");
    } else {
        report.host("/spec/host", &spec.host);
    }
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy(policy, "/spec/trafficPolicy", report);
    }
    let mut names = BTreeSet::new();
    for (index, subset) in spec.subsets.iter().enumerate() {
        let pointer = format!("/spec/subsets/{index}");
        if subset.name.is_empty() {
            report.error(&pointer, "the subset needs a `name`");
        } else if !names.insert(&subset.name) {
            report.error(
                &format!("{pointer}/name"),
                format!("the subset `{}` is there twice", subset.name),
            );
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(policy, &format!("{pointer}/trafficPolicy"), report);
        }
    }
}

fn traffic_policy(policy: &TrafficPolicy, pointer: &str, report: &mut Report<'_>) {
    if let Some(tls) = &policy.tls {
        client_tls(tls, &format!("{pointer}/tls"), report);
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let pointer = format!("{pointer}/portLevelSettings/{index}");
        report.port(&format!("{pointer}/port/number"), port.port.number);
        if let Some(tls) = &port.tls {
            client_tls(tls, &format!("{pointer}/tls"), report);
        }
    }
    if let Some(balancer) = &policy.load_balancer
        && balancer.simple.is_some()
        && balancer.consistent_hash.is_some()
    {
        report.error(
            &format!("{pointer}/loadBalancer"),
            "only one of `simple` and `consistentHash` can be given",
        );
    }
}

fn client_tls(tls: &ClientTls, pointer: &str, report: &mut Report<'_>) {
    let files = !tls.client_certificate.is_empty() && !tls.private_key.is_empty();
    if tls.mode == ClientTlsMode::Mutual && tls.credential_name.is_empty() && !files {
        report.error(
            pointer,
            "`mode: MUTUAL` needs `clientCertificate` and `privateKey`, or `credentialName`",
        );
    }
}

pub(in crate::source) fn gateway(spec: &Gateway, report: &mut Report<'_>) {
    if spec.servers.is_empty() {
        report.error("/spec", "a Gateway needs at least one server in `servers`");
    }
    for (index, server) in spec.servers.iter().enumerate() {
        let pointer = format!("/spec/servers/{index}");
        report.port(&format!("{pointer}/port/number"), server.port.number);
        if server.port.name.is_empty() {
            report.error(&format!("{pointer}/port"), "the port needs a `name`");
        }
        if server.hosts.is_empty() {
            report.error(&pointer, "the server needs at least one host in `hosts`");
        }
        for (at, host) in server.hosts.iter().enumerate() {
            let name = host.split_once('/').map_or(host.as_str(), |(_, name)| name);
            report.host(&format!("{pointer}/hosts/{at}"), name);
        }
        let protocol = crate::source::Protocol::parse(&server.port.protocol);
        match &server.tls {
            None if protocol.is_tls() => {
                report.error(&pointer, format!("{} needs `tls`", server.port.protocol))
            }
            None => {}
            Some(tls) => server_tls(tls, protocol.is_http(), &format!("{pointer}/tls"), report),
        }
    }
}

fn server_tls(tls: &ServerTls, plain: bool, pointer: &str, report: &mut Report<'_>) {
    if plain {
        return;
    }
    let files = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    let terminates = matches!(
        tls.mode,
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual
    );
    if terminates && tls.credential_name.is_empty() && !files {
        report.error(
            pointer,
            "`serverCertificate` and `privateKey`, or `credentialName`, are needed",
        );
    }
    if tls.mode == ServerTlsMode::Mutual
        && tls.credential_name.is_empty()
        && tls.ca_certificates.is_empty()
    {
        report.error(
            pointer,
            "`mode: MUTUAL` needs `caCertificates` or `credentialName`",
        );
    }
}

pub(in crate::source) fn sidecar(spec: &Sidecar, report: &mut Report<'_>) {
    for (index, ingress) in spec.ingress.iter().enumerate() {
        let pointer = format!("/spec/ingress/{index}");
        report.port(&format!("{pointer}/port/number"), ingress.port.number);
        if !ingress.default_endpoint.is_empty() && !ingress.default_endpoint.starts_with("unix://")
        {
            let good = ingress
                .default_endpoint
                .rsplit_once(':')
                .filter(|(host, _)| ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"].contains(host))
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
            if !good {
                report.error(
                    &format!("{pointer}/defaultEndpoint"),
                    format!(
                        "`{}` is not 127.0.0.1:PORT, 0.0.0.0:PORT or unix://PATH",
                        ingress.default_endpoint
                    ),
                );
            }
        }
        bind(&ingress.bind, &format!("{pointer}/bind"), report);
    }
    for (index, egress) in spec.egress.iter().enumerate() {
        let pointer = format!("/spec/egress/{index}");
        if let Some(port) = &egress.port
            && !egress.bind.starts_with("unix://")
        {
            report.port(&format!("{pointer}/port/number"), port.number);
        }
        if egress.hosts.is_empty() {
            report.error(&pointer, "an egress listener needs `hosts`");
        }
        for (at, host) in egress.hosts.iter().enumerate() {
            match host.split_once('/') {
                Some((namespace, name)) if !namespace.is_empty() => {
                    report.host(&format!("{pointer}/hosts/{at}"), name)
                }
                _ => report.error(
                    &format!("{pointer}/hosts/{at}"),
                    format!("`{host}` must be written `namespace/host`, such as `./*`"),
                ),
            }
        }
        bind(&egress.bind, &format!("{pointer}/bind"), report);
        if !egress.bind.is_empty() && egress.port.is_none() {
            report.error(&pointer, "`bind` needs a `port`");
        }
    }
}

fn bind(bind: &str, pointer: &str, report: &mut Report<'_>) {
    if !bind.is_empty() && !bind.starts_with("unix://") && bind.parse::<IpAddr>().is_err() {
        report.error(
            pointer,
            format!("`{bind}` is not an IP address or unix://PATH"),
        );
    }
}

pub(in crate::source) fn envoy_filter(spec: &EnvoyFilter, report: &mut Report<'_>) {
    for (index, patch) in spec.config_patches.iter().enumerate() {
        let pointer = format!("/spec/configPatches/{index}");
        if patch.apply_to != "HTTP_FILTER" {
            let message = format!(
                "applyTo `{}` is not served; only HTTP_FILTER is",
                patch.apply_to
            );
            report.error(&format!("{pointer}/applyTo"), message);
        }
        if !["INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"]
            .contains(&patch.patch.operation.as_str())
        {
            let message = format!(
                "`{}` is not served; INSERT_BEFORE, INSERT_AFTER and INSERT_FIRST are",
                patch.patch.operation
            );
            report.error(&format!("{pointer}/patch/operation"), message);
        }
        if !["", "ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"]
            .contains(&patch.matching.context.as_str())
        {
            let message = format!("`{}` is not a context", patch.matching.context);
            report.error(&format!("{pointer}/match/context"), message);
        }
        let name = patch.patch.value.get("name").and_then(|name| name.as_str());
        if name.is_none_or(str::is_empty) {
            report.error(
                &format!("{pointer}/patch"),
                "the filter in `value` needs a `name`",
            );
        }
        let filter = carbyne_protos::json::from_json::<HttpFilter>(&patch.patch.value);
        if let Err(error) = filter {
            report.error(
                &format!("{pointer}/patch/value"),
                format!("this is not an HTTP filter that is known: {error}"),
            );
        }
    }
}
