//! What Istio's and Kong's own dashboards ask, put together from what their panels have in common: metric, side, who, and how much of it.
//!
//! A query that must stay without an answer says why; one that is answered nevertheless fails the test.

/// A query of somebody else's dashboard.
pub(crate) struct Query {
    /// Dashboard and panel.
    pub(crate) panel: String,
    /// What it asks.
    pub(crate) text: String,
    /// Why there is no answer here.
    pub(crate) unanswered: Option<&'static str>,
}

const CATALOGUE: &str = "catalogue.platform.svc.cluster.local";
const DRIVER: &str = "driver.platform.svc.cluster.local";
const LEDGER: &str = "ledger.platform.svc.cluster.local";
const SPAN: &str = "[5s]";

const CADVISOR: &str = "the kubelet tells container_*";
const GO: &str = "istiod is a Go program";
const KUBERNETES: &str = "there is no Kubernetes to watch or to inject into";
const ISTIOD: &str = "istiod's own bookkeeping";
const NO_WASM: &str = "Wasm is refused by name";
const CALLERS_SAY_UNKNOWN: &str =
    "a caller's sidecar does not tell connection_security_policy, Istio's neither";
const NO_INGRESS: &str = "no istio-ingressgateway runs";

/// Istio 1.29: mesh, service, workload, performance, control plane, Wasm.
pub(crate) fn istio() -> Vec<Query> {
    let mut all = Vec::new();
    mesh(&mut all);
    service(&mut all);
    workload(&mut all);
    performance(&mut all);
    control_plane(&mut all);
    wasm(&mut all);
    all
}

fn ask(all: &mut Vec<Query>, panel: &str, text: impl Into<String>) {
    all.push(Query {
        panel: panel.to_owned(),
        text: text.into(),
        unanswered: None,
    });
}

fn without(all: &mut Vec<Query>, panel: &str, text: impl Into<String>, why: &'static str) {
    ask(all, panel, text);
    if let Some(query) = all.last_mut() {
        query.unanswered = Some(why);
    }
}

fn mesh(all: &mut Vec<Query>) {
    let requests = |more: &str| {
        format!("rate(istio_requests_total{{reporter=~\"source|waypoint\"{more}}}{SPAN})")
    };
    let joined = |inner: &str| {
        format!(
            "label_join({inner}, \"destination_workload_var\", \".\", \"destination_workload\", \"destination_workload_namespace\")"
        )
    };
    let good = ",response_code!~\"5..\"";
    ask(
        all,
        "mesh: volume",
        format!("round(sum({}), 0.01)", requests("")),
    );
    ask(
        all,
        "mesh: success",
        format!("sum({}) / sum({})", requests(good), requests("")),
    );
    for class in ["4..", "5.."] {
        let bad = requests(&format!(",response_code=~\"{class}\""));
        ask(
            all,
            "mesh: errors",
            format!("round(sum({bad}), 0.01) or vector(0)"),
        );
    }
    let by = "destination_workload,destination_workload_namespace";
    let sum = |what: &str| format!("sum by ({by}) ({what})");
    ask(
        all,
        "mesh: HTTP",
        joined(&format!(
            "sum by ({by},destination_service) ({})",
            requests("")
        )),
    );
    for quantile in ["0.5", "0.9", "0.99"] {
        let buckets = format!(
            "rate(istio_request_duration_milliseconds_bucket{{reporter=~\"source|waypoint\"}}{SPAN})"
        );
        let inner = format!("histogram_quantile({quantile}, sum by (le,{by}) ({buckets}))");
        ask(all, "mesh: HTTP", joined(&inner));
    }
    let share = format!("{}/{}", sum(&requests(good)), sum(&requests("")));
    ask(all, "mesh: HTTP", joined(&share));
    for direction in ["received", "sent"] {
        let bytes = format!(
            "rate(istio_tcp_{direction}_bytes_total{{reporter=~\"source|waypoint\"}}{SPAN})"
        );
        ask(
            all,
            "mesh: TCP",
            joined(&format!("sum by ({by},destination_service) ({bytes})")),
        );
    }
    ask(
        all,
        "mesh: versions",
        "sum by (component,tag) (istio_build)",
    );
}

/// Requests, success, times, sizes and bytes of streams, as three dashboards show them: `who` selects, `by` tells apart.
struct Detail<'a> {
    panel: &'a str,
    reporter: &'a str,
    who: String,
    streams: String,
    by: &'a str,
    quantiles: &'a [&'a str],
    unanswered: Option<&'static str>,
}

impl Detail<'_> {
    fn ask(&self, all: &mut Vec<Query>) {
        let Self {
            panel,
            reporter,
            who,
            streams,
            by,
            quantiles,
            unanswered,
        } = self;
        let start = all.len();
        let select = |metric: &str, more: &str| {
            format!("irate({metric}{{reporter=~\"{reporter}\",{who}{more}}}{SPAN})")
        };
        let requests = select("istio_requests_total", "");
        ask(
            all,
            panel,
            format!("round(sum({requests}) by ({by}, response_code), 0.001)"),
        );
        let good = select("istio_requests_total", ",response_code!~\"5.*\"");
        ask(
            all,
            panel,
            format!("sum({good}) by ({by}) / sum({requests}) by ({by})"),
        );
        for quantile in *quantiles {
            let of = |metric: &str| {
                let buckets = select(metric, "");
                format!("histogram_quantile({quantile}, sum({buckets}) by ({by}, le))")
            };
            let time = of("istio_request_duration_milliseconds_bucket");
            let seconds = of("istio_request_duration_seconds_bucket");
            ask(all, panel, format!("({time} / 1000) or {seconds}"));
            ask(all, panel, of("istio_request_bytes_bucket"));
            ask(all, panel, of("istio_response_bytes_bucket"));
        }
        for direction in ["received", "sent"] {
            let bytes = format!(
                "irate(istio_tcp_{direction}_bytes_total{{reporter=~\"{reporter}\",{streams}}}{SPAN})"
            );
            ask(all, panel, format!("round(sum({bytes}) by ({by}), 0.001)"));
        }
        for query in &mut all[start..] {
            query.unanswered = *unanswered;
        }
    }
}

const QUANTILES: [&str; 4] = ["0.50", "0.90", "0.95", "0.99"];
const MUTUAL: &str = "connection_security_policy=\"mutual_tls\"";
const CLEAR: &str = "connection_security_policy!=\"mutual_tls\"";

fn headline(all: &mut Vec<Query>, panel: &str, reporter: &str, who: &str) {
    let requests = |more: &str| {
        format!("irate(istio_requests_total{{reporter=~\"{reporter}\",{who}{more}}}{SPAN})")
    };
    let good = requests(",response_code!~\"5.*\"");
    let every = requests("");
    ask(all, panel, format!("round(sum({every}), 0.001)"));
    ask(
        all,
        panel,
        format!("sum({good}) / (sum({every}) or on () vector(1))"),
    );
    for quantile in ["0.50", "0.90", "0.99"] {
        let of = |unit: &str| {
            format!(
                "histogram_quantile({quantile}, sum(irate(istio_request_duration_{unit}_bucket{{reporter=~\"{reporter}\",{who}}}{SPAN})) by (le))"
            )
        };
        ask(
            all,
            panel,
            format!("({} / 1000) or {}", of("milliseconds"), of("seconds")),
        );
    }
}

/// `either` or the same of streams, as the choices of two dashboards are asked for.
fn choice(all: &mut Vec<Query>, who: &str, label: &str) {
    let of = |metric: &str| format!("sum({metric}{{{who}}}) by ({label})");
    let text = format!(
        "{} or {}",
        of("istio_requests_total"),
        of("istio_tcp_sent_bytes_total")
    );
    ask(all, &format!("choice of {label}"), text);
}

fn service(all: &mut Vec<Query>) {
    let panel = "service";
    choice(all, "", "destination_service");
    let here = format!("destination_service=\"{CATALOGUE}\"");
    for label in [
        "source_cluster",
        "source_workload_namespace",
        "source_workload",
    ] {
        choice(all, &format!("reporter=~\"destination\", {here}"), label);
    }
    for label in [
        "destination_cluster",
        "destination_workload_namespace",
        "destination_workload",
    ] {
        choice(all, &format!("reporter=\"destination\", {here}"), label);
    }
    for reporter in ["source|destination", "destination"] {
        headline(all, panel, reporter, &here);
        for direction in ["received", "sent"] {
            ask(
                all,
                panel,
                format!(
                    "sum(irate(istio_tcp_{direction}_bytes_total{{reporter=~\"{reporter}\", destination_service=\"{LEDGER}\"}}{SPAN}))"
                ),
            );
        }
    }
    let source = "source_workload=~\".+\",source_workload_namespace=~\".+\"";
    let destination = "destination_workload=~\".+\",destination_workload_namespace=~\".+\"";
    for (security, http) in [(MUTUAL, CATALOGUE), (CLEAR, DRIVER)] {
        for (side, by) in [
            (source, "source_workload, source_workload_namespace"),
            (
                destination,
                "destination_workload, destination_workload_namespace",
            ),
        ] {
            Detail {
                panel,
                reporter: "destination",
                who: format!("{security},destination_service=\"{http}\",{side}"),
                streams: format!("{security},destination_service=\"{LEDGER}\",{side}"),
                by,
                quantiles: &QUANTILES,
                unanswered: None,
            }
            .ask(all);
        }
    }
}

fn workload(all: &mut Vec<Query>) {
    let panel = "workload";
    let namespace = "destination_workload_namespace=~\"platform\"";
    choice(all, "", "destination_workload_namespace");
    choice(all, namespace, "destination_workload");
    choice(
        all,
        "source_workload_namespace=~\"platform\"",
        "source_workload",
    );
    let here = format!("{namespace},destination_workload=~\"catalogue.*\"");
    for label in ["source_workload_namespace", "source_workload"] {
        choice(all, &format!("reporter=~\"destination\", {here}"), label);
    }
    let from = "source_workload=~\"driver\",source_workload_namespace=~\"platform\"";
    choice(
        all,
        &format!("reporter=\"source\", {from}"),
        "destination_service",
    );
    headline(all, panel, "destination", &here);
    for side in [
        format!("{namespace}, destination_workload=~\"ledger\""),
        from.to_owned(),
    ] {
        let of = |direction: &str| {
            format!(
                "sum(irate(istio_tcp_{direction}_bytes_total{{reporter=~\"source|destination\", {side}}}{SPAN}))"
            )
        };
        ask(all, panel, format!("{} + {}", of("sent"), of("received")));
    }
    for (security, name) in [(MUTUAL, "catalogue.*"), (CLEAR, "driver")] {
        Detail {
            panel,
            reporter: "destination",
            who: format!("{security},{namespace},destination_workload=~\"{name}\",source_workload=~\".+\",source_workload_namespace=~\".+\""),
            streams: format!("{security},{namespace},destination_workload=~\"ledger\",source_workload=~\".+\",source_workload_namespace=~\".+\""),
            by: "source_workload, source_workload_namespace",
            quantiles: &QUANTILES,
            unanswered: None,
        }
        .ask(all);
    }
    for principal in ["=~", "!~"] {
        let requests = |more: &str| {
            format!(
                "irate(istio_requests_total{{destination_principal{principal}\"spiffe.*\", reporter=\"source\", {from}{more}}}{SPAN})"
            )
        };
        let good = requests(",response_code!~\"5.*\"");
        let every = requests("");
        ask(
            all,
            panel,
            format!("round(sum({every}) by (destination_service, response_code), 0.001)"),
        );
        ask(
            all,
            panel,
            format!("sum({good}) by (destination_service) / sum({every}) by (destination_service)"),
        );
    }
    for (security, unanswered) in [(MUTUAL, Some(CALLERS_SAY_UNKNOWN)), (CLEAR, None)] {
        Detail {
            panel,
            reporter: "source",
            who: format!("{security},{from},destination_service=~\".+\""),
            streams: format!("{security},{from},destination_service=~\".+\""),
            by: "destination_service",
            quantiles: &QUANTILES,
            unanswered,
        }
        .ask(all);
    }
}

fn performance(all: &mut Vec<Query>) {
    let panel = "performance";
    let sidecars = "namespace!=\"istio-system\",container=\"istio-proxy\"";
    for container in [
        sidecars,
        "pod=~\"istio-ingressgateway-.*\",container=\"istio-proxy\"",
        "container=~\"discovery|istio-proxy\", pod=~\"istiod-.*\"",
    ] {
        without(
            all,
            panel,
            format!("sum(rate(container_cpu_usage_seconds_total{{{container}}}{SPAN}))"),
            CADVISOR,
        );
        without(
            all,
            panel,
            format!("sum(container_memory_working_set_bytes{{{container}}})"),
            CADVISOR,
        );
        without(
            all,
            panel,
            format!("container_fs_usage_bytes{{{container}}}"),
            CADVISOR,
        );
    }
    without(
        all,
        panel,
        format!(
            "sum(irate(istio_response_bytes_sum{{source_workload=\"istio-ingressgateway\", reporter=\"source\"}}{SPAN}))"
        ),
        NO_INGRESS,
    );
    let bytes = |what: &str| {
        format!(
            "sum(irate(istio_{what}_bytes_sum{{source_workload_namespace!=\"istio-system\", reporter=\"source\"}}{SPAN}))"
        )
    };
    ask(
        all,
        panel,
        format!("{} + {}", bytes("response"), bytes("request")),
    );
    ask(all, panel, "sum(istio_build) by (component, tag)");
    for metric in [
        "go_goroutines",
        "go_memstats_heap_sys_bytes",
        "go_memstats_heap_alloc_bytes",
        "go_memstats_alloc_bytes",
        "go_memstats_heap_inuse_bytes",
        "go_memstats_stack_inuse_bytes",
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_open_fds",
    ] {
        without(all, panel, format!("{metric}{{app=\"istiod\"}}"), GO);
    }
    without(
        all,
        panel,
        format!("irate(process_cpu_seconds_total{{app=\"istiod\"}}{SPAN})"),
        GO,
    );
}

fn control_plane(all: &mut Vec<Query>) {
    let panel = "control plane";
    ask(
        all,
        panel,
        "sum(envoy_cluster_upstream_cx_active{cluster_name=\"xds-grpc\"})",
    );
    ask(
        all,
        panel,
        "sum by (tag) (istio_build{component=\"pilot\"})",
    );
    ask(
        all,
        panel,
        format!("sum by (type) (irate(pilot_xds_pushes{SPAN}))"),
    );
    ask(all, panel, "sum(pilot_xds)");
    ask(all, panel, "sum by (type) (pilot_total_xds_rejects)");
    without(all, panel, "pilot_total_xds_internal_errors", ISTIOD);
    for metric in [
        "pilot_xds_push_time_bucket",
        "pilot_xds_config_size_bytes_bucket",
    ] {
        without(
            all,
            panel,
            format!("sum(rate({metric}{SPAN})) by (le)"),
            ISTIOD,
        );
    }
    without(
        all,
        panel,
        format!("sum by (type) (rate(pilot_push_triggers{SPAN}))"),
        ISTIOD,
    );
    for metric in ["pilot_k8s_reg_events", "pilot_k8s_cfg_events"] {
        without(
            all,
            panel,
            format!("sum by (type,event) (rate({metric}{SPAN}))"),
            KUBERNETES,
        );
    }
    for metric in [
        "galley_validation_passed",
        "galley_validation_failed",
        "sidecar_injection_success_total",
        "sidecar_injection_failure_total",
    ] {
        without(all, panel, format!("sum(rate({metric}{SPAN}))"), KUBERNETES);
    }
    for metric in ["go_memstats_alloc_bytes_total", "go_memstats_mallocs_total"] {
        without(
            all,
            panel,
            format!("sum by (pod) (rate({metric}{{app=\"istiod\"}}{SPAN}))"),
            GO,
        );
    }
}

fn wasm(all: &mut Vec<Query>) {
    for metric in [
        "envoy_wasm_runtime_null_active",
        "envoy_wasm_runtime_v8_active",
        "envoy_wasm_runtime_null_created",
        "envoy_wasm_runtime_v8_created",
        "remote_load_cache_entries",
        "remote_load_cache_hits",
        "remote_load_cache_misses",
        "remote_load_cache_negative_hits",
        "remote_load_fetch_failures",
        "remote_load_fetch_successes",
    ] {
        without(all, "Wasm", format!("avg(envoy_wasm_{metric})"), NO_WASM);
    }
}

/// Kong 3.9's dashboard.
pub(crate) fn kong() -> Vec<Query> {
    let mut all = Vec::new();
    let all = &mut all;
    let (node, route) = (
        "instance=~\".+\"",
        "service=~\".+\", route=~\".+\", instance=~\".+\"",
    );
    ask(
        all,
        "rate",
        format!("sum(rate(kong_http_requests_total{{{node}}}{SPAN}))"),
    );
    for by in ["service", "route", "service,code", "route,code"] {
        ask(
            all,
            "rate",
            format!("sum(rate(kong_http_requests_total{{{route}}}{SPAN})) by ({by})"),
        );
    }
    for metric in ["kong", "request", "upstream"] {
        for (who, by) in [(node, "le"), (route, "service,le"), (route, "route,le")] {
            for quantile in ["0.90", "0.95", "0.99"] {
                ask(
                    all,
                    metric,
                    format!(
                        "histogram_quantile({quantile}, sum(rate(kong_{metric}_latency_ms_bucket{{{who}}}{SPAN})) by ({by}))"
                    ),
                );
            }
        }
    }
    // Kong says `type`, though the label is `direction`.
    ask(
        all,
        "bandwidth",
        format!("sum(irate(kong_bandwidth_bytes{{{node}}}{SPAN})) by (type)"),
    );
    for (direction, by) in [
        ("egress", "service"),
        ("egress", "route"),
        ("ingress", "service"),
        ("ingress", "route"),
    ] {
        ask(
            all,
            "bandwidth",
            format!(
                "sum(irate(kong_bandwidth_bytes{{direction=\"{direction}\", {route}}}{SPAN})) by ({by})"
            ),
        );
    }
    ask(
        all,
        "memory",
        format!(
            "(kong_memory_lua_shared_dict_bytes{{{node}}} / kong_memory_lua_shared_dict_total_bytes{{{node}}}) * 100"
        ),
    );
    ask(
        all,
        "memory",
        format!("kong_memory_workers_lua_vms_bytes{{{node}}}"),
    );
    let health = |state: &str| {
        format!(
            "sum(kong_upstream_target_health{{state{state},upstream=~\".+\"}}) by (upstream,target,address)"
        )
    };
    ask(
        all,
        "upstreams",
        format!(
            "{} * -1 + {}",
            health("=\"healthy\""),
            health("=~\"(unhealthy|dns_error)\"")
        ),
    );
    let mut states = "kong_upstream_target_health{upstream=~\".+\"}".to_owned();
    for (value, state) in [
        ("1", "healthy"),
        ("0", "healthchecks_off"),
        ("-1", "(dns_error|unhealthy)"),
    ] {
        states = format!(
            "label_replace({states}, \"state_value\", \"{value}\", \"state\", \"{state}\")"
        );
    }
    ask(
        all,
        "upstreams",
        format!("sum({states}) by (upstream, target, address, state, state_value) > 0"),
    );
    ask(
        all,
        "connections",
        format!(
            "sum(kong_nginx_connections_total{{state=~\"active|reading|writing|waiting\", {node}}}) by (state)"
        ),
    );
    for state in ["total", "handled", "accepted"] {
        ask(
            all,
            "connections",
            format!("sum(kong_nginx_connections_total{{state=\"{state}\", {node}}})"),
        );
    }
    std::mem::take(all)
}
