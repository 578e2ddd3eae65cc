//! Log levels under Envoy's logger names, over the targets of our own log.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as format, reload};

use crate::cli::{LogLevel, Options};

/// The levels, and the log that follows them.
pub struct Loggers {
    levels: Mutex<Vec<(&'static str, LogLevel)>>,
    /// Takes the directives of a filter.
    follow: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file of `--log-path` cannot be opened.
    #[error("--log-path {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process has a log already.
    #[error("the log is already set up")]
    Installed,
}

impl Loggers {
    /// Sets the process's log up as the command line says: to standard error, or to a file.
    pub fn install(options: &Options) -> Result<Self, LogError> {
        let levels = levels(options);
        let (filter, handle) = reload::Layer::new(EnvFilter::new(directives(&levels)));
        let registry = tracing_subscriber::registry().with(filter);
        let installed = match &options.log_path {
            None => registry
                .with(
                    format::layer()
                        .with_writer(std::io::stderr)
                        .with_ansi(false),
                )
                .try_init(),
            Some(path) => {
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path);
                let file = file.map_err(|source| LogError::Open {
                    path: path.clone(),
                    source,
                })?;
                registry
                    .with(
                        format::layer()
                            .with_writer(Mutex::new(file))
                            .with_ansi(false),
                    )
                    .try_init()
            }
        };
        installed.map_err(|_| LogError::Installed)?;
        let follow = move |directives: &str| {
            if let Err(error) = handle.reload(EnvFilter::new(directives)) {
                tracing::error!(%error, "log levels do not change");
            }
        };
        Ok(Self {
            levels: Mutex::new(levels),
            follow: Box::new(follow),
        })
    }

    /// All loggers and their levels, in Envoy's order.
    pub fn levels(&self) -> Vec<(&'static str, LogLevel)> {
        self.levels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the level of one logger, or of all.
    pub fn set(&self, logger: Option<&str>, level: LogLevel) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, now) in levels.iter_mut() {
            if logger.is_none_or(|logger| logger == *name) {
                *now = level;
            }
        }
        (self.follow)(&directives(&levels));
    }
}

impl fmt::Debug for Loggers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loggers")
            .field("levels", &self.levels)
            .finish_non_exhaustive()
    }
}

/// What `-l` and `--component-log-level` say. A component that is not known is left out: the list differs from one
/// version of Envoy to the next.
fn levels(options: &Options) -> Vec<(&'static str, LogLevel)> {
    let mut levels: Vec<_> = LOGGERS
        .iter()
        .map(|(name, _)| (*name, options.log_level))
        .collect();
    for part in options.component_log_level.split(',') {
        let Some((component, level)) = part.split_once(':') else {
            continue;
        };
        let known = levels
            .iter_mut()
            .find(|(name, _)| *name == component.trim());
        if let (Some((_, now)), Some(level)) = (known, LogLevel::from_name(level.trim())) {
            *now = level;
        }
    }
    levels
}

/// The filter of `tracing` for these levels: `misc` is the level of what has no logger of its own.
fn directives(levels: &[(&'static str, LogLevel)]) -> String {
    let level = |name: &str| {
        levels
            .iter()
            .find(|(other, _)| *other == name)
            .map_or("info", |(_, level)| directive(*level))
    };
    let mut text = level("misc").to_owned();
    for (name, targets) in LOGGERS {
        for target in *targets {
            text.push_str(&format!(",{target}={}", level(name)));
        }
    }
    text
}

fn directive(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Warning => "warn",
        LogLevel::Critical => "error",
        other => other.name(),
    }
}

/// Envoy's loggers, and the rooms of ours that each one governs. Of two that fit, the longer target decides.
const LOGGERS: &[(&str, &[&str])] = &[
    ("admin", &["carbyne_proxy::admin"]),
    ("alternate_protocols_cache", &[]),
    ("aws", &[]),
    ("assert", &[]),
    ("backtrace", &[]),
    ("basic_auth", &[]),
    ("cache_filter", &[]),
    ("client", &[]),
    ("config", &["carbyne_proxy::wire", "carbyne_proxy::plan"]),
    (
        "connection",
        &["carbyne_engine::net", "carbyne_engine::tls"],
    ),
    ("conn_handler", &["carbyne_engine::runtime"]),
    ("compression", &[]),
    ("credential_injector", &[]),
    ("decompression", &[]),
    ("dns", &["carbyne_engine::cluster::dns"]),
    ("dubbo", &[]),
    ("envoy_bug", &[]),
    ("ext_authz", &["carbyne_proxy::filter::ext_authz"]),
    ("ext_proc", &[]),
    ("rocketmq", &[]),
    ("file", &["carbyne_engine::observe::log"]),
    ("filter", &["carbyne_proxy::filter"]),
    ("forward_proxy", &[]),
    ("geolocation", &[]),
    (
        "grpc",
        &["carbyne_proxy::wire::grpc", "carbyne_proxy::wire::stream"],
    ),
    ("happy_eyeballs", &[]),
    ("hc", &["carbyne_engine::cluster::health"]),
    ("health_checker", &[]),
    ("http", &["carbyne_engine::http"]),
    ("http2", &["carbyne_engine::http::h2"]),
    ("hystrix", &[]),
    ("init", &["carbyne_proxy::live"]),
    ("io", &[]),
    ("jwt", &["carbyne_proxy::filter::jwt_authn"]),
    ("json_rpc", &[]),
    ("kafka", &[]),
    ("key_value_store", &[]),
    ("lua", &[]),
    (
        "local_rate_limit",
        &["carbyne_proxy::filter::local_ratelimit"],
    ),
    ("main", &["carbyne_proxy::server"]),
    ("matcher", &[]),
    ("misc", &[]),
    ("mongo", &[]),
    ("multi_connection", &[]),
    ("notification", &[]),
    ("oauth2", &[]),
    ("quic", &[]),
    ("quic_stream", &[]),
    ("pool", &["carbyne_engine::cluster::pool"]),
    ("rate_limit_quota", &[]),
    ("rbac", &["carbyne_proxy::filter::rbac"]),
    ("rds", &[]),
    ("redis", &[]),
    ("router", &["carbyne_engine::forward"]),
    ("runtime", &[]),
    (
        "stats",
        &["carbyne_proxy::observe", "carbyne_engine::observe"],
    ),
    ("secret", &["carbyne_proxy::wire::sds"]),
    ("tap", &[]),
    ("testing", &[]),
    ("thrift", &[]),
    ("tracing", &["carbyne_proxy::observe::trace"]),
    ("upstream", &["carbyne_engine::cluster"]),
    ("udp", &[]),
    ("wasm", &[]),
    ("websocket", &[]),
    ("golang", &[]),
    ("stats_sinks", &[]),
    ("dynamic_modules", &[]),
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cli::{Command, parse};

    fn options(line: &str) -> Options {
        match parse(line.split(' ').map(Into::into)) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_sets_levels_and_unknown_components_are_left_out() {
        let levels = levels(&options(
            "envoy -l warning --component-log-level misc:error,upstream:debug,new_one:info,bad",
        ));
        let level = |name: &str| levels.iter().find(|(other, _)| *other == name).unwrap().1;
        assert_eq!(
            (level("misc"), level("upstream"), level("http")),
            (LogLevel::Error, LogLevel::Debug, LogLevel::Warning)
        );
        let text = directives(&levels);
        assert!(text.starts_with("error,"), "{text}");
        assert!(
            text.contains(",carbyne_engine::cluster=debug")
                && text.contains(",carbyne_engine::http=warn"),
            "{text}"
        );
        assert!(EnvFilter::try_new(&text).is_ok());
    }

    #[test]
    fn changes_reach_the_log() {
        let seen = Arc::new(Mutex::new(String::new()));
        let follow = {
            let seen = seen.clone();
            move |directives: &str| directives.clone_into(&mut seen.lock().unwrap())
        };
        let loggers = Loggers {
            levels: Mutex::new(levels(&options("envoy"))),
            follow: Box::new(follow),
        };
        loggers.set(Some("rbac"), LogLevel::Trace);
        assert!(
            seen.lock()
                .unwrap()
                .contains(",carbyne_proxy::filter::rbac=trace")
        );
        assert!(seen.lock().unwrap().contains(",carbyne_proxy::filter=info"));
        loggers.set(None, LogLevel::Off);
        assert!(seen.lock().unwrap().starts_with("off,"));
        assert!(
            loggers
                .levels()
                .iter()
                .all(|(_, level)| *level == LogLevel::Off)
        );
    }
}
