//! kong.conf and `KONG_*`: what the node is told when it starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use indexmap::IndexMap;

use crate::router::{Calculation, Flavor, Rules};
use crate::value::{Object, Value};

mod listen;

pub use listen::Listen;

/// What the node was told.
#[derive(Clone, Debug)]
pub struct Conf {
    /// Every key in effect; what was not told has its default.
    values: IndexMap<String, Option<String>>,
}

/// Why a node does not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfError {
    #[error("{key}: {value:?} {problem}")]
    Invalid {
        key: String,
        value: String,
        problem: String,
    },
    #[error("no file at: {0}")]
    NoFile(PathBuf),
    #[error("{0}")]
    Refused(String),
    #[error("{path}: {problem}")]
    Unreadable { path: PathBuf, problem: String },
}

/// The files that are looked for where none is named.
const DEFAULT_FILES: [&str; 2] = ["/etc/kong/kong.conf", "/etc/kong.conf"];

/// Keys whose values nobody needs to see.
const SECRET: [&str; 11] = [
    "admin_gui_ssl_cert_key",
    "admin_ssl_cert_key",
    "client_ssl_cert_key",
    "cluster_cert_key",
    "declarative_config_string",
    "pg_password",
    "pg_ro_password",
    "pluginserver_secret",
    "proxy_server",
    "ssl_cert_key",
    "status_ssl_cert_key",
];

impl Conf {
    /// Reads a file, if there is one, and the environment, which wins. The second part is what
    /// the operator should know: one sentence a key.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<String>), ConfError> {
        let file = match file {
            Some(path) if !path.is_file() => return Err(ConfError::NoFile(path.into())),
            Some(path) => Some(path.to_owned()),
            None => DEFAULT_FILES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.is_file()),
        };
        let mut told = BTreeMap::new();
        if let Some(path) = file {
            let unreadable = |problem: String| ConfError::Unreadable {
                path: path.clone(),
                problem,
            };
            let text =
                std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
            for (key, value) in lines(&text).map_err(unreadable)? {
                told.insert(key.clone(), (key, value));
            }
        }
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix("KONG_")
                && !is_injected(key, &value)
            {
                told.insert(key.to_ascii_lowercase(), (name, value));
            }
        }
        let mut notes = Vec::new();
        let mut values = DEFAULTS.values.clone();
        for (key, (written, value)) in told {
            if let Some(slot) = values.get_mut(&key) {
                *slot = (value != "NONE").then(|| value.trim().to_owned());
                if !DEFAULTS.effective.contains(&key) {
                    notes.push(format!("{written} is known but has no effect here"));
                }
            } else if key.starts_with("nginx_") {
                notes.push(format!(
                    "{written} is an nginx directive, of which none has an effect here"
                ));
            } else {
                notes.push(unknown(&written, &key));
            }
        }
        let conf = Self { values };
        conf.check()?;
        Ok((conf, notes))
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.as_deref()
    }

    /// The folder in which the node keeps what it has to keep.
    pub fn prefix(&self) -> PathBuf {
        self.get("prefix").unwrap_or("/usr/local/kong/").into()
    }

    /// Whether the configuration comes from a file and the Admin API only reads.
    pub fn is_dbless(&self) -> bool {
        self.get("database") == Some("off")
    }

    /// The addresses of the Admin API.
    pub fn admin_listen(&self) -> Result<Vec<Listen>, ConfError> {
        Listen::parse("admin_listen", self.get("admin_listen").unwrap_or("off"))
    }

    /// What the router goes by.
    pub fn router(&self) -> Rules {
        Rules {
            flavor: match self.get("router_flavor") {
                Some("expressions") => Flavor::Expressions,
                _ => Flavor::TraditionalCompatible,
            },
            calculation: match self.get("route_match_calculation") {
                Some("strict") => Calculation::Strict,
                _ => Calculation::Original,
            },
        }
    }

    /// The addresses at which requests are proxied.
    pub fn proxy_listen(&self) -> Result<Vec<Listen>, ConfError> {
        Listen::parse("proxy_listen", self.get("proxy_listen").unwrap_or("off"))
    }

    /// What `GET /` shows, secrets blotted out.
    pub fn print(&self) -> Object {
        let one = |(key, value): (&String, &Option<String>)| {
            let secret = value.is_some() && SECRET.contains(&key.as_str());
            let value = if secret {
                Some("******")
            } else {
                value.as_deref()
            };
            (key.clone(), value.map_or(Value::Null, typed))
        };
        self.values
            .iter()
            .filter(|(_, value)| value.is_some())
            .map(one)
            .collect()
    }

    /// What would change what the gateway does, and is not served, stops it: it never starts as
    /// something else than it was told to be.
    fn check(&self) -> Result<(), ConfError> {
        let refuse = |why: &str| Err(ConfError::Refused(why.into()));
        let changed = |key: &str| self.values.get(key) != DEFAULTS.values.get(key);
        if self.get("role") != Some("traditional") {
            return refuse(
                "role: only 'traditional' is served: control planes and data planes are not",
            );
        }
        if let Some(key) = self
            .values
            .keys()
            .find(|key| key.starts_with("pg_") && changed(key))
        {
            return Err(ConfError::Refused(format!(
                "{key} is set, but PostgreSQL is not served yet: unset every pg_* key to use the embedded store, or \
                 set database = off"
            )));
        }
        let choice = |key: &str, options: &[&str]| {
            let value = self.get(key).unwrap_or_default();
            if options.contains(&value) {
                return Ok(());
            }
            let problem = format!("is none of {}", options.join(", "));
            Err(ConfError::Invalid {
                key: key.into(),
                value: value.into(),
                problem,
            })
        };
        choice("database", &["postgres", "off"])?;
        choice(
            "router_flavor",
            &["traditional", "traditional_compatible", "expressions"],
        )?;
        if self.get("router_flavor") == Some("traditional") {
            return refuse(
                "router_flavor: the router that Kong had before 3.0 is not served: 'traditional_compatible' takes the \
                 same routes, and with route_match_calculation = strict puts them in nearly the same order",
            );
        }
        choice("route_match_calculation", &["original", "strict"])?;
        choice(
            "log_level",
            &[
                "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg",
            ],
        )?;
        self.admin_listen().map(drop)
    }
}

/// A value as JSON has it: numbers and switches are no texts.
fn typed(value: &str) -> Value {
    match value {
        "on" | "true" => true.into(),
        "off" | "false" => false.into(),
        text => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => number.into(),
            _ => text.into(),
        },
    }
}

/// `key = value` lines; `#` begins a comment.
fn lines(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line
            .split_once('#')
            .map_or(line, |(before, _)| before)
            .trim();
        if line.is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("line {} is no `key = value`", number + 1));
        };
        all.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(all)
}

/// What Kubernetes sets for a Service called `kong-…`: addresses that nobody meant as settings.
fn is_injected(key: &str, value: &str) -> bool {
    let ends = [
        "_SERVICE_HOST",
        "_SERVICE_PORT",
        "_TCP",
        "_UDP",
        "_TCP_ADDR",
        "_TCP_PORT",
        "_TCP_PROTO",
        "_UDP_ADDR",
    ];
    value.starts_with("tcp://")
        || value.starts_with("udp://")
        || ends.iter().any(|end| key.ends_with(end))
        || key.contains("_SERVICE_PORT_")
        || key.contains("_PORT_") && (key.ends_with("_UDP_PORT") || key.ends_with("_UDP_PROTO"))
}

fn unknown(written: &str, key: &str) -> String {
    let nearest = DEFAULTS
        .values
        .keys()
        .map(|known| (distance(key, known), known))
        .min();
    match nearest {
        Some((distance, known)) if distance <= 3 => {
            let known = if written.starts_with("KONG_") {
                format!("KONG_{}", known.to_ascii_uppercase())
            } else {
                known.clone()
            };
            format!("{written} is unknown; did you mean {known}?")
        }
        _ => format!("{written} is unknown"),
    }
}

/// How many letters are to be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

struct Defaults {
    effective: Vec<String>,
    values: IndexMap<String, Option<String>>,
}

#[expect(
    clippy::expect_used,
    reason = "the file is part of the program, and tests read it"
)]
static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| {
    let file: IndexMap<String, IndexMap<String, Option<String>>> =
        serde_saphyr::from_str(include_str!("../schemas/conf.yaml")).expect("conf.yaml");
    let effective = file["effective"].keys().cloned().collect();
    Defaults {
        effective,
        values: file.into_values().flatten().collect(),
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<(Conf, Vec<String>), ConfError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kong.conf");
        std::fs::write(&path, file).unwrap();
        Conf::load(
            Some(&path),
            environment
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into())),
        )
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let (conf, notes) = load(
            "# a comment\nadmin_listen = 127.0.0.1:1 # here\nprefix = /a\n",
            &[
                ("KONG_PREFIX", "/b"),
                ("KONG_DATABASE", "off"),
                ("HOME", "/root"),
            ],
        )
        .unwrap();
        assert_eq!(
            (conf.get("prefix"), conf.get("admin_listen")),
            (Some("/b"), Some("127.0.0.1:1"))
        );
        assert!(conf.is_dbless());
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn what_has_no_effect_is_said_once_and_what_is_unknown_is_guessed() {
        let (_, notes) = load(
            "admin_lisen = 127.0.0.1:1\nwholly_something_else = 1\n",
            &[
                ("KONG_PROXY_LISTEN", "0.0.0.0:8000"),
                ("KONG_NGINX_HTTP_FOO", "1"),
                ("KONG_LOG_LEVL", "info"),
                ("KONG_PROXY_PORT", "tcp://10.0.0.1:80"),
                ("KONG_PROXY_SERVICE_HOST", "10.0.0.1"),
                ("KONG_ADMIN_PORT_8001_TCP_ADDR", "10.0.0.1"),
            ],
        )
        .unwrap();
        assert_eq!(
            notes,
            [
                "admin_lisen is unknown; did you mean admin_listen?",
                "KONG_LOG_LEVL is unknown; did you mean KONG_LOG_LEVEL?",
                "KONG_NGINX_HTTP_FOO is an nginx directive, of which none has an effect here",
                "KONG_PROXY_LISTEN is known but has no effect here",
                "wholly_something_else is unknown",
            ]
        );
    }

    #[test]
    fn what_is_not_served_stops_the_node() {
        for (key, value, why) in [
            ("KONG_ROLE", "data_plane", "role"),
            ("KONG_PG_HOST", "db", "pg_host"),
            ("KONG_DATABASE", "cassandra", "database"),
            ("KONG_ROUTER_FLAVOR", "traditional", "router_flavor"),
            (
                "KONG_ROUTE_MATCH_CALCULATION",
                "exact",
                "route_match_calculation",
            ),
            ("KONG_ADMIN_LISTEN", "nowhere", "admin_listen"),
        ] {
            let error = load("", &[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(why), "{key}: {error}");
        }
        assert!(matches!(
            load("nonsense\n", &[]),
            Err(ConfError::Unreadable { .. })
        ));
    }

    #[test]
    fn routers_by_their_names() {
        let rules = |environment: &[_]| load("", environment).unwrap().0.router();
        assert_eq!(rules(&[]), Rules::default());
        let told = rules(&[
            ("KONG_ROUTER_FLAVOR", "expressions"),
            ("KONG_ROUTE_MATCH_CALCULATION", "strict"),
        ]);
        let expected = Rules {
            flavor: Flavor::Expressions,
            calculation: Calculation::Strict,
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn secrets_are_not_shown() {
        let (conf, _) = load(
            "",
            &[
                ("KONG_SSL_CERT_KEY", "secret"),
                ("KONG_ADMIN_LISTEN", "off"),
            ],
        )
        .unwrap();
        let shown = conf.print();
        assert_eq!(shown["ssl_cert_key"], "******".into());
        assert_eq!(shown["anonymous_reports"], true.into());
        assert_eq!(shown["db_update_frequency"], 5.0.into());
    }
}
