//! The pages against what stock Envoy answered: its pages are read strictly into messages, given to ours as
//! state, and must come back as they were.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::any::decode_any;
use carbyne_protos::envoy::admin::v3::{
    BootstrapConfigDump, Certificate, Certificates, ClusterStatus, Clusters, ClustersConfigDump, ConfigDump,
    EndpointsConfigDump, ListenerStatus, Listeners, ListenersConfigDump, Memory, RoutesConfigDump, SecretsConfigDump,
    ServerInfo, UnreadyTargetsDumps, UpdateFailureState, server_info,
};
use carbyne_protos::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use carbyne_protos::json::from_json;
use carbyne_protos::prost_types::{Any, Timestamp};
use serde_json::Value;

use super::histogram::Distribution;
use super::state::{Configuration, Drain, Entry, Origin, Server, Statistic, StatisticValue, Unready};
use super::*;
use crate::cli::{self, Command, LogLevel};

/// State that tests fill in, and what was done to it.
struct Fake {
    state: server_info::State,
    info: Option<ServerInfo>,
    texts: Vec<(String, String)>,
    numbers: Vec<(String, u64, bool)>,
    tagged: Vec<(String, String, Vec<(String, String)>, Number)>,
    clusters: Vec<ClusterStatus>,
    listeners: Vec<ListenerStatus>,
    certificates: Vec<Certificate>,
    configuration: Configuration,
    done: RefCell<Vec<String>>,
    levels: RefCell<Vec<(&'static str, LogLevel)>>,
}

enum Number {
    Counter(u64),
    Gauge(u64),
    Text(String),
    Histogram(Distribution),
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            state: server_info::State::Live,
            info: None,
            texts: Vec::new(),
            numbers: Vec::new(),
            tagged: Vec::new(),
            clusters: Vec::new(),
            listeners: Vec::new(),
            certificates: Vec::new(),
            configuration: Configuration::default(),
            done: RefCell::default(),
            levels: RefCell::new(vec![("admin", LogLevel::Warning), ("upstream", LogLevel::Warning)]),
        }
    }
}

impl State for Fake {
    fn server(&self) -> Server {
        let info = self.info.clone().unwrap_or_default();
        Server {
            state: self.state,
            uptime: Duration::from_secs(37),
            options: info.command_line_options.unwrap_or_default(),
            node: info.node.unwrap_or_default(),
        }
    }

    fn statistics(&self, show: &mut dyn FnMut(Statistic<'_>)) {
        let plain = |name, value, used| Statistic {
            name,
            tag_extracted_name: name,
            tags: &[],
            value,
            used,
        };
        for (name, value, used) in self.numbers.iter().rev() {
            show(plain(name, StatisticValue::Counter(*value), *used));
        }
        for (name, text) in &self.texts {
            show(plain(name, StatisticValue::Text(text), true));
        }
        for (name, extracted, tags, value) in &self.tagged {
            let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
            show(Statistic {
                name,
                tag_extracted_name: extracted,
                tags: &tags,
                value: match value {
                    Number::Counter(value) => StatisticValue::Counter(*value),
                    Number::Gauge(value) => StatisticValue::Gauge(*value),
                    Number::Text(text) => StatisticValue::Text(text),
                    Number::Histogram(distribution) => StatisticValue::Histogram(distribution),
                },
                used: true,
            });
        }
    }

    fn clusters(&self) -> Vec<ClusterStatus> {
        self.clusters.clone()
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        self.listeners.clone()
    }

    fn certificates(&self) -> Vec<Certificate> {
        self.certificates.clone()
    }

    fn configuration(&self, _: bool) -> Configuration {
        self.configuration.clone()
    }

    fn unready(&self) -> Vec<Unready> {
        vec![Unready {
            name: "listener virtualInbound".to_owned(),
            targets: vec!["secret default".to_owned()],
        }]
    }

    fn loggers(&self) -> Vec<(&'static str, LogLevel)> {
        self.levels.borrow().clone()
    }

    fn set_log_level(&self, logger: Option<&str>, level: LogLevel) {
        for (name, now) in self.levels.borrow_mut().iter_mut() {
            if logger.is_none_or(|logger| logger == *name) {
                *now = level;
            }
        }
    }

    fn drain_listeners(&self, drain: Drain) {
        self.done.borrow_mut().push(format!("{drain:?}"));
    }

    fn fail_health_checks(&self, fail: bool) {
        self.done.borrow_mut().push(format!("fail {fail}"));
    }

    fn reset_counters(&self) {
        self.done.borrow_mut().push("reset".to_owned());
    }

    fn reopen_logs(&self) {
        self.done.borrow_mut().push("reopen".to_owned());
    }

    fn quit(&self) {
        self.done.borrow_mut().push("quit".to_owned());
    }
}

fn ask(state: &Fake, method: &str, target: &str) -> Response {
    handle(Request { method, target }, state)
}

fn value(response: &Response) -> Value {
    assert_eq!((response.status, response.content_type), (200, "application/json"), "{}", response.body);
    serde_json::from_str(&response.body).unwrap()
}

/// A page of stock Envoy.
fn recorded(name: &str) -> Option<String> {
    let shared = std::env::var_os("CARBYNE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = shared.join("captures/istio-1.29/envoy-admin").join(name);
    let text = std::fs::read_to_string(&path);
    if text.is_err() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{} is missing", path.display());
        println!("skipped: {} is missing", path.display());
    }
    text.ok()
}

fn recorded_json(name: &str) -> Option<Value> {
    Some(serde_json::from_str(&recorded(name)?).unwrap())
}

#[test]
fn clusters_come_back_as_recorded() {
    let Some(expected) = recorded_json("clusters_format_json.json") else { return };
    let clusters: Clusters = from_json(&expected).unwrap();
    let state = Fake {
        clusters: clusters.cluster_statuses,
        ..Fake::default()
    };
    assert_eq!(value(&ask(&state, "GET", "/clusters?format=json")), expected);

    let text = ask(&state, "GET", "/clusters?filter=^agent$").body;
    for line in [
        "agent::observability_name::agent;",
        "agent::default_priority::max_connections::1024",
        "agent::high_priority::max_retries::3",
        "agent::added_via_api::false",
        "agent::127.0.0.1:15020::cx_total::1",
        "agent::127.0.0.1:15020::health_flags::healthy",
        "agent::127.0.0.1:15020::success_rate::-1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("xds-grpc"));
    assert!(ask(&state, "GET", "/clusters").body.contains("sds-grpc::./var/run/secrets/workload-spiffe-uds/socket::weight::1"));
}

#[test]
fn certificates_come_back_as_recorded() {
    let Some(expected) = recorded_json("certs.json") else { return };
    let certificates: Certificates = from_json(&expected).unwrap();
    let state = Fake {
        certificates: certificates.certificates,
        ..Fake::default()
    };
    assert_eq!(value(&ask(&state, "GET", "/certs")), expected);
    assert_eq!(ask(&Fake::default(), "GET", "/certs").body, "{\n \"certificates\": []\n}\n");
}

#[test]
fn listeners_come_back_as_recorded() {
    let Some(expected) = recorded("listeners.txt") else { return };
    let listeners = expected.lines().filter_map(|line| line.split_once("::")).map(|(name, address)| {
        let (host, port) = address.rsplit_once(':').unwrap();
        ListenerStatus {
            name: name.to_owned(),
            local_address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: host.to_owned(),
                    port_specifier: Some(socket_address::PortSpecifier::PortValue(port.parse().unwrap())),
                    ..SocketAddress::default()
                })),
            }),
            ..ListenerStatus::default()
        }
    });
    let state = Fake {
        listeners: listeners.collect(),
        ..Fake::default()
    };
    assert_eq!(ask(&state, "GET", "/listeners").body.trim(), expected.trim());
    let message: Listeners = from_json(&value(&ask(&state, "GET", "/listeners?format=json"))).unwrap();
    assert_eq!(message.listener_statuses, state.listeners);
    assert_eq!(ask(&state, "GET", "/listeners?format=xml").status, 400);
}

#[test]
fn server_info_comes_back_as_recorded() {
    let Some(mut expected) = recorded_json("server_info.json") else { return };
    let info: ServerInfo = from_json(&expected).unwrap();
    let state = Fake {
        info: Some(info),
        ..Fake::default()
    };
    let ours = value(&ask(&state, "GET", "/server_info"));
    let _: ServerInfo = from_json(&ours).unwrap();
    expected["version"] = ours["version"].clone();
    for (key, theirs) in expected.as_object().unwrap() {
        assert_eq!(&ours[key], theirs, "{key}");
    }
    assert_eq!(ours.as_object().unwrap().len(), expected.as_object().unwrap().len());
}

#[test]
fn our_command_line_prints_with_envoys_keys() {
    let Some(expected) = recorded_json("server_info.json") else { return };
    let line = "envoy -c etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate \
                --local-address-ip-version v4 --file-flush-interval-msec 1000 --disable-hot-restart \
                --allow-unknown-static-fields -l warning --skip-deprecated-logs --concurrency 1 --file-flush-min-size-kb 0";
    let Ok(Command::Run(options)) = cli::parse(line.split_whitespace().map(Into::into)) else {
        panic!("{line}");
    };
    let state = Fake {
        info: Some(ServerInfo {
            command_line_options: Some(options.to_message(1)),
            ..ServerInfo::default()
        }),
        ..Fake::default()
    };
    let ours = value(&ask(&state, "GET", "/server_info"));
    assert_eq!(ours["command_line_options"], expected["command_line_options"]);
}

#[test]
fn statistics_come_back_as_recorded() {
    let Some(recorded) = recorded("stats.txt") else { return };
    let mut state = Fake::default();
    let mut lines = String::new();
    for line in recorded.lines() {
        let (name, text) = line.split_once(": ").unwrap();
        if let Ok(number) = text.parse() {
            state.numbers.push((name.to_owned(), number, number > 0 || name.starts_with("server.state")));
        } else if text.starts_with('"') {
            state.texts.push((name.to_owned(), text.trim_matches('"').to_owned()));
        } else {
            continue;
        }
        lines.push_str(line);
        lines.push('\n');
    }
    assert!(state.numbers.len() > 150);
    assert_eq!(ask(&state, "GET", "/stats").body, lines);

    // What pilot-agent asks before it calls the proxy ready, raw as it sends it and escaped.
    for target in [
        r"/stats?usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$",
        "/stats?usedonly=&filter=%5E%28cluster_manager%5C.cds%7Clistener_manager%5C.lds%29%5C.%28update_success%7Cupdate_rejected%29%24",
    ] {
        let text = ask(&state, "GET", target).body;
        assert_eq!(text, "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 2\n");
    }
    let text = ask(&state, "GET", r"/stats?usedonly&filter=^(server\.state|listener_manager\.workers_started)").body;
    assert_eq!(text, "listener_manager.workers_started: 1\nserver.state: 0\n");

    let json = value(&ask(&state, "GET", "/stats?format=json&filter=cds.version"));
    assert_eq!(json["stats"][0]["name"], "cluster_manager.cds.version_text");
    assert_eq!(json["stats"][1]["value"], 5_281_820_302_302_349_204_u64);
}

#[test]
fn statistics_are_filtered_by_type_and_wrong_parameters_refused() {
    let state = Fake {
        tagged: tagged(),
        ..Fake::default()
    };
    for (target, expected) in [
        ("/stats?type=Counters", "cluster.a;.upstream_cx_total: 3\ncluster.b;.upstream_cx_total: 4\nistiocustom.istio_requests_total: 5\n"),
        ("/stats?type=Gauges", "server.live: 1\n"),
        ("/stats?type=TextReadouts", "cluster_manager.cds.version_text: \"a\\\"b\"\n"),
    ] {
        assert_eq!(ask(&state, "GET", target).body, expected, "{target}");
    }
    let text = ask(&state, "GET", "/stats?type=Histograms").body;
    assert!(text.starts_with("http.x;.downstream_rq_time: P0(nan,0) P25(nan,"), "{text}");
    let text = ask(&state, "GET", "/stats?type=Histograms&histogram_buckets=cumulative").body;
    assert_eq!(text, "http.x;.downstream_rq_time: B1(0,1) B5(0,3)\n");
    let json = value(&ask(&state, "GET", "/stats?format=json&type=Histograms"));
    assert_eq!(json["stats"][0]["histograms"]["computed_quantiles"][0]["values"].as_array().map(Vec::len), Some(10));
    for (target, body) in [
        ("/stats?type=foo", "invalid &type= param"),
        ("/stats?format=xml", "usage: /stats?format="),
        ("/stats?histogram_buckets=foo", "usage: /stats?histogram_buckets="),
        ("/stats?filter=(", "Invalid re2 regex: "),
        ("/stats/prometheus?filter=(", "Invalid re2 regex: "),
        ("/clusters?filter=(", "Invalid re2 regex: "),
    ] {
        let response = ask(&state, "GET", target);
        assert_eq!(response.status, 400, "{target}");
        assert!(response.body.starts_with(body), "{}", response.body);
    }
}

#[test]
fn prometheus_gets_one_block_a_metric() {
    let state = Fake {
        tagged: tagged(),
        ..Fake::default()
    };
    let expected = "\
# TYPE envoy_cluster_upstream_cx_total counter
envoy_cluster_upstream_cx_total{cluster_name=\"a\"} 3
envoy_cluster_upstream_cx_total{cluster_name=\"b\"} 4
# TYPE istio_requests_total counter
istio_requests_total{reporter=\"source\",path=\"a\\\"b\\\\c\\nd\"} 5
# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE envoy_http_downstream_rq_time histogram
envoy_http_downstream_rq_time_bucket{prefix=\"x\",le=\"1\"} 1
envoy_http_downstream_rq_time_bucket{prefix=\"x\",le=\"5\"} 3
envoy_http_downstream_rq_time_bucket{prefix=\"x\",le=\"+Inf\"} 4
envoy_http_downstream_rq_time_sum{prefix=\"x\"} 20.5
envoy_http_downstream_rq_time_count{prefix=\"x\"} 4
";
    assert_eq!(ask(&state, "GET", "/stats/prometheus").body, expected);
    assert_eq!(ask(&state, "GET", "/stats?format=prometheus").body, expected);
    let text = ask(&state, "GET", "/stats/prometheus?text_readouts&filter=version_text").body;
    assert!(text.ends_with("envoy_cluster_manager_cds_version_text{text_value=\"a\\\"b\"} 0\n"), "{text}");
}

fn tagged() -> Vec<(String, String, Vec<(String, String)>, Number)> {
    let entry = |name: &str, extracted: &str, tags: &[(&str, &str)], number| {
        let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        (name.to_owned(), extracted.to_owned(), tags, number)
    };
    let distribution = Distribution {
        buckets: vec![(1.0, 1), (5.0, 3), (f64::INFINITY, 4)],
        sum: 20.5,
        count: 4,
    };
    vec![
        entry("cluster.b;.upstream_cx_total", "cluster.upstream_cx_total", &[("cluster_name", "b")], Number::Counter(4)),
        entry("server.live", "server.live", &[], Number::Gauge(1)),
        entry("http.x;.downstream_rq_time", "http.downstream_rq_time", &[("prefix", "x")], Number::Histogram(distribution)),
        entry(
            "istiocustom.istio_requests_total",
            "istiocustom.istio_requests_total",
            &[("reporter", "source"), ("path", "a\"b\\c\nd")],
            Number::Counter(5),
        ),
        entry("cluster.a;.upstream_cx_total", "cluster.upstream_cx_total", &[("cluster_name", "a")], Number::Counter(3)),
        entry(
            "cluster_manager.cds.version_text",
            "cluster_manager.cds.version_text",
            &[],
            Number::Text("a\"b".to_owned()),
        ),
    ]
}

fn time(timestamp: Option<Timestamp>) -> Option<SystemTime> {
    let timestamp = timestamp?;
    let seconds = Duration::from_secs(timestamp.seconds.unsigned_abs());
    Some(SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(u64::from(timestamp.nanos.unsigned_abs())))
}

fn entry(name: &str, origin: Origin, version: &str, updated: Option<Timestamp>, resource: Option<Any>) -> Entry {
    Entry {
        name: name.into(),
        origin,
        version: version.into(),
        time: time(updated),
        resource,
        failure: None,
    }
}

/// The configuration that a dump shows.
fn configuration(dump: &ConfigDump) -> Configuration {
    let mut configuration = Configuration::default();
    let name = |any: &Option<Any>| {
        let any = any.as_ref().unwrap();
        let json = carbyne_protos::json::any_to_json(any);
        json["name"].as_str().or_else(|| json["cluster_name"].as_str()).unwrap_or_default().to_owned()
    };
    for section in &dump.configs {
        if let Ok(dump) = decode_any::<BootstrapConfigDump>(section) {
            configuration.bootstrap = Arc::new(dump.bootstrap.unwrap());
            configuration.bootstrap_time = time(dump.last_updated);
        } else if let Ok(dump) = decode_any::<ClustersConfigDump>(section) {
            configuration.clusters_version = dump.version_info.into();
            for each in dump.static_clusters {
                let name = name(&each.cluster);
                configuration.clusters.push(entry(&name, Origin::Static, "", each.last_updated, each.cluster));
            }
            for each in dump.dynamic_active_clusters {
                let name = name(&each.cluster);
                configuration.clusters.push(entry(&name, Origin::Active, &each.version_info, each.last_updated, each.cluster));
            }
        } else if let Ok(dump) = decode_any::<EndpointsConfigDump>(section) {
            for each in dump.static_endpoint_configs {
                let name = name(&each.endpoint_config);
                configuration.endpoints.push(entry(&name, Origin::Static, "", each.last_updated, each.endpoint_config));
            }
            for each in dump.dynamic_endpoint_configs {
                let name = name(&each.endpoint_config);
                configuration.endpoints.push(entry(&name, Origin::Active, "", each.last_updated, each.endpoint_config));
            }
        } else if let Ok(dump) = decode_any::<ListenersConfigDump>(section) {
            configuration.listeners_version = dump.version_info.into();
            for each in dump.static_listeners {
                let name = name(&each.listener);
                configuration.listeners.push(entry(&name, Origin::Static, "", each.last_updated, each.listener));
            }
            for each in dump.dynamic_listeners {
                let state = each.active_state.unwrap();
                configuration.listeners.push(entry(&each.name, Origin::Active, &state.version_info, state.last_updated, state.listener));
            }
        } else if let Ok(dump) = decode_any::<RoutesConfigDump>(section) {
            for each in dump.static_route_configs {
                let name = name(&each.route_config);
                configuration.routes.push(entry(&name, Origin::Static, "", each.last_updated, each.route_config));
            }
            for each in dump.dynamic_route_configs {
                let name = name(&each.route_config);
                configuration.routes.push(entry(&name, Origin::Active, &each.version_info, each.last_updated, each.route_config));
            }
        } else if let Ok(dump) = decode_any::<SecretsConfigDump>(section) {
            for each in dump.dynamic_active_secrets {
                configuration.secrets.push(entry(&each.name, Origin::Active, &each.version_info, each.last_updated, each.secret));
            }
        }
    }
    configuration
}

fn recorded_dump() -> Option<(Value, Fake)> {
    let expected = recorded_json("config_dump_include_eds.json")?;
    let dump: ConfigDump = from_json(&expected).unwrap_or_else(|errors| panic!("{errors}"));
    let state = Fake {
        configuration: configuration(&dump),
        ..Fake::default()
    };
    Some((expected, state))
}

#[test]
fn the_configuration_comes_back_as_recorded() {
    let Some((expected, state)) = recorded_dump() else { return };
    let ours = value(&ask(&state, "GET", "/config_dump?include_eds"));
    let _: ConfigDump = from_json(&ours).unwrap();
    let sections = |dump: &Value| dump["configs"].as_array().unwrap().clone();
    let types = |sections: &[Value]| -> Vec<String> {
        sections.iter().map(|section| section["@type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
    };
    let mut ours = sections(&ours);
    assert_eq!(
        types(&ours),
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EcdsConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump",
        ]
    );
    // istioctl wants it; Envoy leaves it out where there is nothing in it.
    ours.remove(2);
    for (ours, theirs) in ours.iter().zip(&sections(&expected)) {
        assert_eq!(ours, theirs, "{}", theirs["@type"]);
    }
    let without = value(&ask(&state, "GET", "/config_dump"));
    assert!(!types(&sections(&without)).contains(&"EndpointsConfigDump".to_owned()));
}

#[test]
fn parts_of_the_configuration_can_be_asked_for() {
    let Some((_, state)) = recorded_dump() else { return };
    let dump = value(&ask(&state, "GET", "/config_dump?resource=dynamic_listeners&mask=name"));
    let listeners = dump["configs"].as_array().unwrap();
    assert_eq!(listeners.len(), 5);
    assert_eq!(listeners[0]["@type"], "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener");
    assert_eq!(listeners[0].as_object().unwrap().len(), 2);
    let dump = value(&ask(&state, "GET", "/config_dump?mask=bootstrap.node.id"));
    assert_eq!(dump["configs"].as_array().unwrap().len(), 1);
    assert_eq!(dump["configs"][0]["bootstrap"]["node"].as_object().unwrap().len(), 1);
    let dump = value(&ask(&state, "GET", "/config_dump?resource=static_clusters&name_regex=ag.*"));
    assert_eq!(dump["configs"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&state, "GET", "/config_dump?resource=static_clusters&name_regex=ag").body, "{}\n");
    for (target, status, body) in [
        ("/config_dump?resource=nope", 404, "nope not found in config dump"),
        ("/config_dump?resource=bootstrap", 400, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"),
        ("/config_dump?mask=bogus.xx", 400, "FieldMask bogus.xx could not be successfully applied to any configs."),
        ("/config_dump?resource=static_clusters&mask=bogus", 400, "FieldMask bogus could not be successfully used."),
        ("/config_dump?resource=static_endpoint_configs", 404, "static_endpoint_configs not found in config dump"),
    ] {
        let response = ask(&state, "GET", target);
        assert_eq!((response.status, &*response.body), (status, body));
    }
    assert_eq!(ask(&state, "GET", "/config_dump?name_regex=(").status, 400);
}

#[test]
fn every_section_is_there_though_empty_and_secrets_are_not() {
    let state = Fake::default();
    let dump = value(&ask(&state, "GET", "/config_dump?include_eds"));
    assert_eq!(dump["configs"].as_array().unwrap().len(), 8);

    let secret = r#"{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "default",
        "tls_certificate": {"private_key": {"inline_string": "PRIVATE"}, "certificate_chain": {"inline_string": "PUBLIC"}}}"#;
    let secret: Any = carbyne_protos::json::any_from_json(&serde_json::from_str(secret).unwrap()).unwrap();
    let mut state = Fake::default();
    for origin in [Origin::Static, Origin::Active, Origin::Warming] {
        state.configuration.secrets.push(Entry {
            failure: Some(UpdateFailureState {
                failed_configuration: Some(secret.clone()),
                details: "does not fit".to_owned(),
                ..UpdateFailureState::default()
            }),
            ..entry("default", origin, "1", None, Some(secret.clone()))
        });
    }
    let text = ask(&state, "GET", "/config_dump").body;
    assert!(text.contains("PUBLIC") && text.contains("[redacted]") && !text.contains("PRIVATE"), "{text}");
    for resource in ["static_secrets", "dynamic_active_secrets", "dynamic_warming_secrets"] {
        let text = ask(&state, "GET", &format!("/config_dump?resource={resource}&mask=secret")).body;
        assert!(text.contains("[redacted]") && !text.contains("PRIVATE"), "{text}");
    }
}

#[test]
fn states_of_one_listener_come_under_one_name() {
    let listener = Any {
        type_url: "type.googleapis.com/envoy.config.listener.v3.Listener".to_owned(),
        value: Vec::new(),
    };
    let mut state = Fake::default();
    for origin in [Origin::Active, Origin::Warming, Origin::Draining] {
        state.configuration.listeners.push(entry("a", origin, "1", None, Some(listener.clone())));
    }
    state.configuration.listeners.push(Entry {
        failure: Some(UpdateFailureState {
            details: "bad".to_owned(),
            ..UpdateFailureState::default()
        }),
        ..entry("b", Origin::Active, "2", None, None)
    });
    let dump = value(&ask(&state, "GET", "/config_dump?resource=dynamic_listeners"));
    let keys = |index: usize| -> Vec<String> { dump["configs"][index].as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(0), ["@type", "active_state", "draining_state", "name", "warming_state"]);
    assert_eq!(keys(1), ["@type", "error_state", "name"], "never accepted, and told so");
}

#[test]
fn what_changes_something_must_be_posted() {
    let state = Fake::default();
    for page in PAGES.iter().filter(|page| page.post) {
        let response = ask(&state, "GET", page.path);
        assert_eq!((response.status, &*response.body), (405, "Method GET not allowed, POST required."));
        assert_eq!(ask(&state, "HEAD", page.path).body, "Method HEAD not allowed, POST required.");
    }
    assert!(state.done.borrow().is_empty());
    for target in [
        "/drain_listeners?inboundonly&graceful&skip_exit",
        "/drain_listeners?graceful",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/reset_counters",
        "/reopen_logs",
        "/quitquitquit",
    ] {
        assert_eq!(ask(&state, "POST", target), Response::done(), "{target}");
    }
    let drain = "Drain { graceful: true, skip_exit: true, inbound_only: true }";
    let plain = "Drain { graceful: true, skip_exit: false, inbound_only: false }";
    assert_eq!(*state.done.borrow(), [drain, plain, "fail true", "fail false", "reset", "reopen", "quit"]);
}

#[test]
fn every_page_of_the_list_answers_and_others_do_not() {
    let state = Fake::default();
    for page in PAGES {
        let method = if page.post { "POST" } else { "GET" };
        let response = ask(&state, method, page.path);
        assert_eq!(response.status, 200, "{}", page.path);
        assert!(ask(&state, "GET", "/help").body.contains(&format!("  {}", page.path)));
    }
    let response = ask(&state, "GET", "/nope");
    assert_eq!(response.status, 404);
    assert!(response.body.starts_with("invalid path. admin commands are:\n  /: "));
    let paths: Vec<_> = PAGES.iter().map(|page| page.path).collect();
    assert!(paths.is_sorted());
}

#[test]
fn readiness_follows_the_state() {
    for (state, status, body) in [
        (server_info::State::Live, 200, "LIVE\n"),
        (server_info::State::Draining, 503, "DRAINING\n"),
        (server_info::State::PreInitializing, 503, "PRE_INITIALIZING\n"),
        (server_info::State::Initializing, 503, "INITIALIZING\n"),
    ] {
        let fake = Fake {
            state,
            ..Fake::default()
        };
        let response = ask(&fake, "GET", "/ready");
        assert_eq!((response.status, &*response.body), (status, body));
    }
}

#[test]
fn levels_are_listed_and_changed() {
    let state = Fake::default();
    let list = |admin: &str, upstream: &str| format!("active loggers:\n  admin: {admin}\n  upstream: {upstream}\n\n");
    for (target, expected) in [
        ("/logging", list("warning", "warning")),
        ("/logging?admin=debug", list("debug", "warning")),
        ("/logging?level=info", list("info", "info")),
        ("/logging?paths=admin:trace,upstream:off", list("trace", "off")),
    ] {
        let response = ask(&state, "POST", target);
        assert_eq!((response.status, response.body), (200, expected), "{target}");
    }
    for (target, reason) in [
        ("/logging?level=loud", "unknown logger level"),
        ("/logging?nobody=debug", "unknown logger name"),
        ("/logging?level=debug&admin=debug", "invalid number of parameters"),
        ("/logging?paths=admin:debug,nobody:debug", "unknown logger name"),
    ] {
        let response = ask(&state, "POST", target);
        assert_eq!(response.status, 400, "{target}");
        assert!(response.body.starts_with(&format!("error: {reason}\n\nusage: ")), "{}", response.body);
        assert!(response.body.ends_with(&list("trace", "off")), "nothing changes: {}", response.body);
    }
}

#[test]
fn memory_runtime_and_initialisation_are_told() {
    let mut state = Fake::default();
    let bootstrap = r#"{"layered_runtime": {"layers": [
        {"name": "static", "static_layer": {"a": {"b": true}, "c": 1, "d": "x"}}, {"name": "top", "static_layer": {"c": 2}},
        {"name": "admin", "admin_layer": {}}]}}"#;
    state.configuration.bootstrap = Arc::new(from_json(&serde_json::from_str(bootstrap).unwrap()).unwrap());
    let runtime = value(&ask(&state, "GET", "/runtime"));
    assert_eq!(runtime["layers"], serde_json::json!(["static", "top", "admin"]));
    assert_eq!(runtime["entries"]["a.b"]["final_value"], "true");
    assert_eq!(runtime["entries"]["c"], serde_json::json!({"layer_values": ["1", "2", ""], "final_value": "2"}));

    let memory = value(&ask(&state, "GET", "/memory"));
    let memory: Memory = from_json(&memory).unwrap();
    assert!(memory.total_physical_bytes > 1 << 20 && memory.allocated > 0);

    let dump: UnreadyTargetsDumps = from_json(&value(&ask(&state, "GET", "/init_dump?mask=listener"))).unwrap();
    assert_eq!(dump.unready_targets_dumps[0].target_names, ["secret default"]);
    assert_eq!(ask(&state, "GET", "/init_dump?mask=cluster").body, "{}\n");
}
