//! The pages against what stock Envoy answered: its pages are read strictly into messages, given to ours as
//! state, and must come back as they were.

mod config_dump;
mod pages;
mod stats;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carbyne_protos::any::decode_any;
use carbyne_protos::envoy::admin::v3::{
    BootstrapConfigDump, Certificate, Certificates, ClusterStatus, Clusters, ClustersConfigDump,
    ConfigDump, EndpointsConfigDump, ListenerStatus, Listeners, ListenersConfigDump, Memory,
    RoutesConfigDump, SecretsConfigDump, ServerInfo, UnreadyTargetsDumps, UpdateFailureState,
    server_info,
};
use carbyne_protos::envoy::config::core::v3::{Address, SocketAddress, address, socket_address};
use carbyne_protos::json::from_json;
use carbyne_protos::prost_types::{Any, Timestamp};
use serde_json::Value;

use super::histogram::Distribution;
use super::state::{
    Configuration, Drain, Entry, Origin, Server, Statistic, StatisticValue, Unready,
};
use super::*;
use crate::cli::{self, Command, LogLevel};

/// State that tests fill in, and what was done to it.
struct Fake {
    state: server_info::State,
    info: Option<ServerInfo>,
    texts: Vec<(String, String)>,
    numbers: Vec<(String, u64, bool)>,
    tagged: Vec<Tagged>,
    clusters: Vec<ClusterStatus>,
    listeners: Vec<ListenerStatus>,
    certificates: Vec<Certificate>,
    configuration: Configuration,
    done: RefCell<Vec<String>>,
    levels: RefCell<Vec<(&'static str, LogLevel)>>,
}

/// Name, tag-extracted name, tags and value.
type Tagged = (String, String, Vec<(String, String)>, Number);

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
            levels: RefCell::new(vec![
                ("admin", LogLevel::Warning),
                ("upstream", LogLevel::Warning),
            ]),
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

    fn exposition(&self) -> String {
        "# TYPE carbyne_own gauge\ncarbyne_own 1\n".to_owned()
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
            let tags: Vec<(&str, &str)> = tags
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
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
    assert_eq!(
        (response.status, response.content_type),
        (200, "application/json"),
        "{}",
        response.body
    );
    serde_json::from_str(&response.body).unwrap()
}

/// A page of stock Envoy.
fn recorded(name: &str) -> Option<String> {
    let shared = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = shared.join("captures/istio-1.29/envoy-admin").join(name);
    let text = std::fs::read_to_string(&path);
    if text.is_err() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "{} is missing",
            path.display()
        );
        println!("skipped: {} is missing", path.display());
    }
    text.ok()
}

fn recorded_json(name: &str) -> Option<Value> {
    Some(serde_json::from_str(&recorded(name)?).unwrap())
}
