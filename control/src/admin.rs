//! What a proxy's admin port says: carbyne-proxy's or Envoy's, the pages are the same.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

use crate::{
    fetch::get,
    output::{Finding, code},
    running::{self, Kind, Member, Running},
};

/// A proxy to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// What it is called: its workload's name, or its address.
    pub name: String,
    /// Its admin port.
    pub address: SocketAddr,
}

impl Proxy {
    /// The sidecar of this name in what runs, or the proxy at this address.
    ///
    /// # Errors
    /// When nothing runs, or nothing of that name.
    pub fn find(
        name: &str,
        run: Option<&std::path::Path>,
    ) -> Result<(Self, Option<Running>), Finding> {
        if let Ok(address) = name.parse() {
            let proxy = Self {
                name: name.to_owned(),
                address,
            };
            return Ok((proxy, None));
        }
        let (_, running) = running::find(run)?;
        let named = running
            .members
            .iter()
            .filter(|member| member.kind == Kind::Sidecar);
        let found = named.clone().find(|member| member.name == name);
        let Some(proxy) = found.and_then(Self::of) else {
            let known: Vec<&str> = named.map(|member| member.name.as_str()).collect();
            return Err(
                Finding::new(&code::NO_SUCH_PROXY, format!("no sidecar is called {name}")).fix(
                    format!(
                        "one of: {}; or give an admin port as ADDRESS:PORT",
                        known.join(", ")
                    ),
                ),
            );
        };
        Ok((proxy, Some(running)))
    }

    /// The sidecar that a member is.
    #[must_use]
    pub fn of(member: &Member) -> Option<Self> {
        Some(Self {
            name: member.name.clone(),
            address: member.admin?,
        })
    }

    /// One page as JSON.
    ///
    /// # Errors
    /// When there is no answer, or it is no JSON.
    pub async fn page(&self, path: &str, limit: Duration) -> Result<Value, Finding> {
        let body = get(self.address, path, limit).await?;
        serde_json::from_slice(&body).map_err(|error| {
            Finding::new(
                &code::UNREADABLE_ANSWER,
                format!("{path} is no JSON: {error}"),
            )
            .about(self.address.to_string())
        })
    }
}

/// A `/config_dump?include_eds`, taken apart.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    /// Listeners.
    pub listeners: Vec<Resource>,
    /// Route configurations of their own; others are in listeners.
    pub routes: Vec<Resource>,
    /// Clusters.
    pub clusters: Vec<Resource>,
}

/// A resource in a dump.
#[derive(Clone, Debug, Default)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Version in which it came; empty if it came with the bootstrap.
    pub version: String,
    /// The message in proto3-JSON.
    pub value: Value,
    /// Why its last update was refused; empty if it was not.
    pub error: String,
}

impl Dump {
    /// Reads the page.
    #[must_use]
    pub fn read(page: &Value) -> Self {
        let mut dump = Self::default();
        for config in list(page, "/configs") {
            for (list_name, inner) in [
                ("dynamic_listeners", "listener"),
                ("static_listeners", "listener"),
            ] {
                dump.listeners
                    .extend(list(config, &format!("/{list_name}")).filter_map(|entry| {
                        Resource::read(entry.get("active_state").unwrap_or(entry), inner, entry)
                    }));
            }
            for name in ["dynamic_route_configs", "static_route_configs"] {
                dump.routes.extend(
                    list(config, &format!("/{name}"))
                        .filter_map(|entry| Resource::read(entry, "route_config", entry)),
                );
            }
            for name in ["dynamic_active_clusters", "static_clusters"] {
                dump.clusters.extend(
                    list(config, &format!("/{name}"))
                        .filter_map(|entry| Resource::read(entry, "cluster", entry)),
                );
            }
        }
        dump
    }

    /// The newest version of what came from the control plane.
    #[must_use]
    pub fn version(&self) -> &str {
        let all = [&self.listeners, &self.routes, &self.clusters];
        let versions = all
            .into_iter()
            .flatten()
            .map(|resource| resource.version.as_str());
        // istiod's: seconds/number.
        versions
            .max_by_key(|version| {
                let (seconds, number) = version.split_once('/').unwrap_or((version, ""));
                (
                    seconds.parse::<u64>().unwrap_or(0),
                    number.parse::<u64>().unwrap_or(0),
                )
            })
            .unwrap_or_default()
    }

    /// Resources whose last update was refused.
    pub fn refused(&self) -> impl Iterator<Item = &Resource> {
        let all = [&self.listeners, &self.routes, &self.clusters];
        all.into_iter()
            .flatten()
            .filter(|resource| !resource.error.is_empty())
    }
}

impl Resource {
    fn read(state: &Value, key: &str, entry: &Value) -> Option<Self> {
        let value = state.get(key)?;
        Some(Self {
            name: text(value, "/name").to_owned(),
            version: text(state, "/version_info").to_owned(),
            error: text(entry, "/error_state/details").to_owned(),
            value: value.clone(),
        })
    }
}

/// A text at a pointer; empty if there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The elements of a list at a pointer.
pub fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten()
}

/// A number at a pointer, however proto3-JSON writes it.
#[must_use]
pub fn number(value: &Value, pointer: &str) -> Option<f64> {
    match value.pointer(pointer)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// An address message as `host:port` or the path of a pipe.
#[must_use]
pub fn address(value: &Value) -> String {
    if let Some(socket) = value.get("socket_address") {
        let host = text(socket, "/address");
        let port = number(socket, "/port_value").unwrap_or(0.0);
        return if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
    }
    let internal = text(value, "/envoy_internal_address/server_listener_name");
    let pipe = text(value, "/pipe/path");
    if pipe.is_empty() { internal } else { pipe }.to_owned()
}
