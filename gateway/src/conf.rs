//! kong.conf and `KONG_*`: what the node is told when it starts.
//!
//! [`sources`] reads files and variables, `reference` puts in what `{vault://env/…}` stands for,
//! [`listen`], [`nginx`] and [`certificates`] give what was told its types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use indexmap::IndexMap;

use crate::router::{Calculation, Flavor, Rules};
use crate::value::{Object, Value};

mod certificates;
mod listen;
mod nginx;
mod reference;
mod sources;

pub use certificates::{Interface, create_default};
pub use listen::Listen;
pub use nginx::VerifyClient;
pub use reference::dereference;

/// What the node was told. `Debug` shows no secret.
#[derive(Clone)]
pub struct Conf {
    /// Every key in effect; what was not told has its default.
    values: IndexMap<String, Option<String>>,
    /// Keys that were told, as they were written: before references became values.
    told: BTreeMap<String, String>,
    /// Keys whose value is, or holds, a reference.
    references: BTreeSet<String>,
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
    #[error("failed to dereference '{reference}': {problem} for config option '{key}'")]
    Dangling {
        key: String,
        reference: String,
        problem: String,
    },
    #[error("no file at: {0}")]
    NoFile(PathBuf),
    #[error("{0}")]
    Refused(String),
    #[error("{path}: {problem}")]
    Unreadable { path: PathBuf, problem: String },
}

/// Keys whose values nobody needs to see.
const SECRET: [&str; 11] = [
    "admin_gui_ssl_cert_key",
    "admin_ssl_cert_key",
    "client_ssl_cert_key",
    "cluster_cert_key",
    "declarative_config_string",
    "pg_password",
    "pg_ro_password",
    "proxy_server",
    "request_debug_token",
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
        Self::load_at(file, environment, None)
    }

    /// The same, with the folder that a verb's `--prefix` names, which wins over both.
    pub fn load_at(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        prefix: Option<&str>,
    ) -> Result<(Self, Vec<String>), ConfError> {
        let environment: BTreeMap<String, String> = environment.collect();
        let mut told = sources::file(file)?;
        told.extend(sources::environment(&environment)?);
        if let Some(prefix) = prefix {
            told.insert("prefix".into(), ("--prefix".into(), prefix.into()));
        }
        let mut notes = Vec::new();
        let mut conf = Self {
            values: DEFAULTS.values.clone(),
            told: BTreeMap::new(),
            references: BTreeSet::new(),
        };
        for (key, (written, value)) in told {
            let Some(slot) = conf.values.get_mut(&key) else {
                notes.push(sources::unknown(&written, &key));
                continue;
            };
            let value = value.trim();
            *slot = (value != "NONE" && !value.is_empty()).then(|| value.to_owned());
            if !DEFAULTS.effective.contains(&key) {
                notes.push(format!("{written} is known but has no effect here"));
            }
            conf.told.insert(key, value.to_owned());
        }
        conf.resolve(&environment)?;
        conf.spread();
        conf.check()?;
        if conf.is_traditional() {
            notes.push(
                "router_flavor = traditional is served as traditional_compatible, whose routes are in nearly the same order"
                    .to_owned(),
            );
        }
        Ok((conf, notes))
    }

    /// Keys whose values differ.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let differs = |(key, value): &(&String, &Option<String>)| {
            before.values.get(key.as_str()) != Some(*value)
        };
        self.values
            .iter()
            .filter(move |pair| differs(pair))
            .map(|(key, _)| key.as_str())
    }

    /// Whether the operator set a key.
    pub fn is_told(&self, key: &str) -> bool {
        self.told.contains_key(key)
    }

    /// What was told, as lines of a file: references, not what they stand for. A value of several
    /// lines has no place in one.
    pub fn told_lines(&self) -> impl Iterator<Item = String> {
        let single = self.told.iter().filter(|(_, value)| !value.contains('\n'));
        single.map(|(key, value)| format!("{key} = {}", sources::escaped(value)))
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.as_deref()
    }

    /// The folder in which the node keeps what it has to keep.
    pub fn prefix(&self) -> PathBuf {
        self.get("prefix").unwrap_or("/usr/local/kong/").into()
    }

    /// The file of the embedded store.
    pub fn store(&self) -> PathBuf {
        self.prefix().join("carbyne.redb")
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
                Some("traditional") => Flavor::Traditional,
                _ => Flavor::TraditionalCompatible,
            },
            calculation: match self.get("route_match_calculation") {
                Some("strict") => Calculation::Strict,
                _ if self.is_traditional()
                    && !self.told.contains_key("route_match_calculation") =>
                {
                    Calculation::Strict
                }
                _ => Calculation::Original,
            },
        }
    }

    /// Whether the router that Kong had before 3.0 is asked for. The order of its routes is nearly the one that `strict`
    /// stands for.
    fn is_traditional(&self) -> bool {
        self.get("router_flavor") == Some("traditional")
    }

    /// The addresses at which requests are proxied.
    pub fn proxy_listen(&self) -> Result<Vec<Listen>, ConfError> {
        Listen::parse("proxy_listen", self.get("proxy_listen").unwrap_or("off"))
    }

    /// The addresses of the Status API.
    pub fn status_listen(&self) -> Result<Vec<Listen>, ConfError> {
        Listen::parse("status_listen", self.get("status_listen").unwrap_or("off"))
    }

    /// Origins of the Kong Manager: the only ones whose pages may call the Admin API, if any is
    /// named.
    pub fn admin_gui_origins(&self) -> Vec<String> {
        let urls = self.get("admin_gui_url").unwrap_or_default();
        urls.split(',')
            .filter_map(|url| {
                let url: http::Uri = url.trim().parse().ok()?;
                Some(format!("{}://{}", url.scheme_str()?, url.authority()?))
            })
            .collect()
    }

    /// What `GET /` shows, secrets blotted out.
    pub fn print(&self) -> Object {
        let one = |(key, value): (&String, &Option<String>)| {
            let secret = value.is_some() && SECRET.contains(&key.as_str());
            let value = if secret {
                Some("******")
            } else if self.references.contains(key) {
                self.told.get(key).map(String::as_str)
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
        if self
            .get("stream_listen")
            .is_some_and(|listen| listen != "off")
        {
            return refuse("stream_listen: streams of TCP and TLS are not proxied, set it to off");
        }
        // Without a database, Kong does not look at them either.
        if let Some(key) = self
            .values
            .keys()
            .filter(|_| !self.is_dbless())
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
        choice("route_match_calculation", &["original", "strict"])?;
        choice(
            "log_level",
            &[
                "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg",
            ],
        )?;
        if let Some(id) = self.get("node_id").filter(|id| !crate::schema::is_uuid(id)) {
            return Err(ConfError::Invalid {
                key: "node_id".into(),
                value: id.into(),
                problem: "is no UUID".into(),
            });
        }
        self.admin_listen()?;
        self.proxy_listen()?;
        self.status_listen()?;
        self.check_nginx()
    }
}

impl fmt::Debug for Conf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Conf").field(&self.print()).finish()
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
mod tests;
