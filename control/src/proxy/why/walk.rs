//! The steps of a request through one proxy.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::Value;

use super::{
    chain,
    matching::{all, header, regex, string},
    rbac::{Decision, decide},
};
use crate::{
    admin::{Dump, address, list, number, text},
    proxy::tables::{health, route_configurations, route_match, security, short, target},
};

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Which side of the sidecar it comes to.
    pub direction: Direction,
    /// Method.
    pub method: String,
    /// Host, without a port.
    pub host: String,
    /// Port that it goes to.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// It comes by TLS.
    pub tls: bool,
    /// Who sends it, proved by mutual TLS: `spiffe://…`.
    pub principal: Option<String>,
    /// Where it comes from.
    pub source: Option<IpAddr>,
}

/// Which side of a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the workload to others.
    Outbound,
    /// From others to the workload.
    Inbound,
}

/// The way through one proxy.
#[derive(Clone, Debug, Serialize)]
pub struct Walk {
    /// Whose.
    pub proxy: String,
    /// Which side.
    pub direction: Direction,
    /// What was passed.
    pub steps: Vec<Step>,
    /// Where it ends.
    pub end: End,
}

/// One thing on the way.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// listener, chain, filter, route, cluster, endpoints.
    pub at: &'static str,
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a request ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// It is sent to this address, or one of several of which this is the first.
    Endpoint {
        /// Which.
        address: SocketAddr,
        /// By mutual TLS.
        mutual_tls: bool,
    },
    /// The proxy answers itself.
    Answered {
        /// Status.
        status: u16,
        /// Why.
        why: String,
    },
    /// The connection is closed or never taken.
    Closed {
        /// Why.
        why: String,
    },
    /// It depends on something that nobody said.
    Unknown {
        /// On what.
        why: String,
    },
}

impl Ask {
    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// A field's value; those in front of HTTP/2's fields too.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        match name {
            ":method" => Some(self.method.clone()),
            ":path" => Some(self.path.clone()),
            ":authority" | "host" => Some(self.host.clone()),
            ":scheme" => Some(if self.tls { "https" } else { "http" }.to_owned()),
            name => self
                .headers
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone()),
        }
    }
}

/// Walks a request through a proxy's configuration; `clusters` is its `/clusters?format=json`.
#[must_use]
pub fn walk(proxy: &str, dump: &Dump, clusters: &Value, ask: &Ask) -> Walk {
    let mut steps = Vec::new();
    let end = steps_of(dump, clusters, ask, &mut steps).unwrap_or_else(|end| end);
    Walk {
        proxy: proxy.to_owned(),
        direction: ask.direction,
        steps,
        end,
    }
}

/// `Err` is an end before the endpoint, so that `?` leaves the way.
fn steps_of(dump: &Dump, clusters: &Value, ask: &Ask, steps: &mut Vec<Step>) -> Result<End, End> {
    let listener = listener(dump, ask).ok_or_else(|| End::Closed {
        why: format!(
            "it has no {} listener for port {}",
            word(ask.direction),
            ask.port
        ),
    })?;
    let place = listener
        .value
        .get("address")
        .map(address)
        .unwrap_or_default();
    step(steps, "listener", &listener.name, [place]);
    let Some(chain) = chain::choose(&listener.value, ask) else {
        let how = if ask.tls { "TLS" } else { "plaintext" };
        return Err(End::Closed {
            why: format!(
                "no filter chain takes {how} at port {}{}",
                ask.port,
                if ask.tls {
                    ""
                } else {
                    ": the port wants mutual TLS (PeerAuthentication STRICT)"
                }
            ),
        });
    };
    let tls = chain.get("transport_socket").is_some();
    let named = text(chain, "/name");
    let described = if tls { "TLS ends here" } else { "plaintext" };
    step(
        steps,
        "chain",
        if named.is_empty() {
            "(only one)"
        } else {
            named
        },
        [described.to_owned()],
    );
    for filter in list(chain, "/filters") {
        let settings = filter.get("typed_config").unwrap_or(&Value::Null);
        match short(text(filter, "/name")) {
            "rbac" => rbac("connection filter rbac", settings, ask, 0, steps)?,
            "tcp_proxy" => {
                let cluster = match text(settings, "/cluster") {
                    "" => list(settings, "/weighted_clusters/clusters")
                        .map(|part| text(part, "/name"))
                        .next()
                        .unwrap_or_default(),
                    name => name,
                };
                step(steps, "tcp", "tcp_proxy", [format!("to {cluster}")]);
                return send(dump, clusters, cluster, steps);
            }
            "http_connection_manager" => {
                let route = http(dump, settings, ask, steps)?;
                return send(dump, clusters, &route, steps);
            }
            _ => {}
        }
    }
    Err(End::Closed {
        why: "the filter chain sends it nowhere".to_owned(),
    })
}

/// HTTP filters in order, then the route; gives back the cluster.
fn http(dump: &Dump, manager: &Value, ask: &Ask, steps: &mut Vec<Step>) -> Result<String, End> {
    for filter in list(manager, "/http_filters") {
        let settings = filter.get("typed_config").unwrap_or(&Value::Null);
        let name = short(text(filter, "/name"));
        match name {
            "rbac" => rbac("filter rbac", settings, ask, 403, steps)?,
            "jwt_authn" => {
                let providers: Vec<&str> = settings
                    .get("providers")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.as_str())
                    .collect();
                step(
                    steps,
                    "filter",
                    name,
                    [format!(
                        "a token that is there must be good: {}",
                        providers.join(", ")
                    )],
                );
            }
            "ext_authz" => step(
                steps,
                "filter",
                name,
                ["asks a service, which may refuse".to_owned()],
            ),
            "local_ratelimit" => step(
                steps,
                "filter",
                name,
                ["answers 429 above its rate".to_owned()],
            ),
            "fault" if settings.get("abort").is_some() || settings.get("delay").is_some() => {
                step(
                    steps,
                    "filter",
                    name,
                    ["aborts or delays a share of requests".to_owned()],
                );
            }
            _ => {}
        }
    }
    let (name, configuration) = match manager.get("route_config") {
        Some(inside) => (text(inside, "/name").to_owned(), inside.clone()),
        None => {
            let name = text(manager, "/rds/route_config_name");
            let found = route_configurations(dump)
                .into_iter()
                .find(|(known, _)| known == name);
            found.ok_or_else(|| End::Answered {
                status: 404,
                why: format!("its routes `{name}` have not come from the control plane (flag NR)"),
            })?
        }
    };
    let host = virtual_host(&configuration, ask).ok_or_else(|| End::Answered {
        status: 404,
        why: format!(
            "no virtual host of routes `{name}` has the domain {} (flag NR)",
            ask.host
        ),
    })?;
    let mut chosen = None;
    for route in list(host, "/routes") {
        match matches(route.get("match").unwrap_or(&Value::Null), ask) {
            Some(true) => {
                chosen = Some(route);
                break;
            }
            Some(false) => {}
            None => {
                return Err(End::Unknown {
                    why: format!(
                        "whether the route {} matches depends on more than was said",
                        text(route, "/name")
                    ),
                });
            }
        }
    }
    let route = chosen.ok_or_else(|| End::Answered {
        status: 404,
        why: format!(
            "no route of {} matches {} {} (flag NR)",
            text(host, "/name"),
            ask.method,
            ask.path
        ),
    })?;
    let mut notes = vec![format!(
        "{} → {}",
        route.get("match").map(route_match).unwrap_or_default(),
        target(route)
    )];
    let origin = text(route, "/metadata/filter_metadata/istio/config");
    if !origin.is_empty() {
        notes.push(format!("from {origin}"));
    }
    for (what, pointer) in [
        ("timeout", "/route/timeout"),
        ("retries on", "/route/retry_policy/retry_on"),
    ] {
        let value = text(route, pointer);
        if !value.is_empty() && value != "0s" {
            notes.push(format!("{what} {value}"));
        }
    }
    step(
        steps,
        "route",
        &format!("{} of {}, {name}", named(route), text(host, "/name")),
        notes,
    );
    if let Some(status) = number(route, "/direct_response/status") {
        return Err(answered(
            status,
            format!("the route {} answers itself", named(route)),
        ));
    }
    if route.get("redirect").is_some() {
        return Err(answered(
            301.0,
            format!("the route {} redirects", named(route)),
        ));
    }
    let weighted = list(route, "/route/weighted_clusters/clusters")
        .find(|part| number(part, "/weight").unwrap_or(0.0) > 0.0);
    let cluster = match weighted {
        Some(part) => text(part, "/name"),
        None => text(route, "/route/cluster"),
    };
    if cluster.is_empty() {
        return Err(End::Unknown {
            why: "the request names its cluster by a field".to_owned(),
        });
    }
    Ok(cluster.to_owned())
}

/// Cluster and endpoints.
fn send(dump: &Dump, clusters: &Value, name: &str, steps: &mut Vec<Step>) -> Result<End, End> {
    let Some(cluster) = dump.clusters.iter().find(|cluster| cluster.name == name) else {
        return Err(End::Answered {
            status: 503,
            why: format!("it has no cluster {name} (flag NC)"),
        });
    };
    let mut notes = Vec::new();
    let security = security(&cluster.value);
    if !security.is_empty() {
        notes.push(format!("TLS: {security}"));
    }
    step(steps, "cluster", name, notes);
    if text(&cluster.value, "/type") == "ORIGINAL_DST" {
        return Err(End::Unknown {
            why: "it goes to the address that the connection was meant for".to_owned(),
        });
    }
    let status = list(clusters, "/cluster_statuses").find(|status| text(status, "/name") == name);
    let hosts: Vec<&Value> = status
        .into_iter()
        .flat_map(|status| list(status, "/host_statuses"))
        .collect();
    if hosts.is_empty() {
        return Err(End::Answered {
            status: 503,
            why: format!("the cluster {name} has no endpoints (flag UH)"),
        });
    }
    let shown = hosts.iter().map(|host| {
        format!(
            "{} {}",
            host.get("address").map(address).unwrap_or_default(),
            health(host)
        )
    });
    step(
        steps,
        "endpoints",
        &format!("{} of them", hosts.len()),
        shown.collect::<Vec<_>>(),
    );
    let healthy = hosts.iter().find(|host| health(host) == "healthy");
    let Some(first) = healthy.and_then(|host| host.get("address")).map(address) else {
        return Err(End::Answered {
            status: 503,
            why: format!("no endpoint of {name} is healthy (flag UH)"),
        });
    };
    let Ok(to) = first.parse() else {
        return Err(End::Unknown {
            why: format!("it goes to {first}"),
        });
    };
    Ok(End::Endpoint {
        address: to,
        mutual_tls: mutual(dump, &cluster.value, name, &first),
    })
}

/// True when this endpoint is spoken to by mutual TLS.
fn mutual(dump: &Dump, cluster: &Value, name: &str, wanted: &str) -> bool {
    match security(cluster).as_str() {
        "mutual" => true,
        "mutual where spoken" => {
            let assigned = dump
                .endpoints
                .iter()
                .filter(|endpoints| endpoints.name == name);
            let mut endpoints = assigned
                .flat_map(|endpoints| list(&endpoints.value, "/endpoints"))
                .flat_map(|locality| list(locality, "/lb_endpoints"));
            endpoints.any(|endpoint| {
                let here = endpoint
                    .pointer("/endpoint/address")
                    .map(address)
                    .as_deref()
                    == Some(wanted);
                here && text(
                    endpoint,
                    "/metadata/filter_metadata/envoy.transport_socket_match/tlsMode",
                ) == "istio"
            })
        }
        _ => false,
    }
}

/// The listener that takes the connection: of the address, else of any; outbound the one whose routes know the host; else the one that
/// takes what nobody else does.
fn listener<'a>(dump: &'a Dump, ask: &Ask) -> Option<&'a crate::admin::Resource> {
    let side = word(ask.direction).to_uppercase();
    let own = || {
        dump.listeners
            .iter()
            .filter(|listener| text(&listener.value, "/traffic_direction") == side)
    };
    let of_port = || {
        own().filter(|listener| {
            number(&listener.value, "/address/socket_address/port_value")
                == Some(f64::from(ask.port))
        })
    };
    let of_host = |listener: &&crate::admin::Resource| {
        list(&listener.value, "/filter_chains")
            .flat_map(|chain| list(chain, "/filters"))
            .any(|filter| {
                let name = text(filter, "/typed_config/rds/route_config_name");
                let found = route_configurations(dump)
                    .into_iter()
                    .find(|(known, _)| !name.is_empty() && known == name);
                found.is_some_and(|(_, routes)| {
                    virtual_host(&routes, ask)
                        .is_some_and(|host| !list(host, "/domains").any(|domain| domain == "*"))
                })
            })
    };
    of_port()
        .find(|listener| text(&listener.value, "/address/socket_address/address") == ask.host)
        .or_else(|| {
            of_port().find(|listener| ask.direction == Direction::Outbound && of_host(listener))
        })
        .or_else(|| of_port().next())
        .or_else(|| {
            own().find(|listener| {
                matches!(listener.name.as_str(), "virtualOutbound" | "virtualInbound")
            })
        })
}

/// Envoy's order: the exact name, the longest `*.suffix`, the longest `prefix.*`, `*`.
fn virtual_host<'a>(routes: &'a Value, ask: &Ask) -> Option<&'a Value> {
    let host = ask.host.to_lowercase();
    let with_port = format!("{host}:{}", ask.port);
    let rank = |domain: &str| {
        let domain = domain.to_lowercase();
        if domain == host || domain == with_port {
            Some((3, domain.len()))
        } else if domain == "*" {
            Some((0, 0))
        } else if let Some(suffix) = domain.strip_prefix('*') {
            host.ends_with(suffix).then_some((2, suffix.len()))
        } else if let Some(prefix) = domain.strip_suffix('*') {
            host.starts_with(prefix).then_some((1, prefix.len()))
        } else {
            None
        }
    };
    let ranked = list(routes, "/virtual_hosts").filter_map(|host| {
        let best = list(host, "/domains")
            .filter_map(Value::as_str)
            .filter_map(rank)
            .max()?;
        Some((best, host))
    });
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, host)| host)
}

/// A RouteMatch.
fn matches(matching: &Value, ask: &Ask) -> Option<bool> {
    let fold = matching.get("case_sensitive") == Some(&Value::Bool(false));
    let case = |text: &str| {
        if fold {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let path = case(ask.path());
    let by_path = if let Some(prefix) = matching.get("prefix").and_then(Value::as_str) {
        Some(path.starts_with(&case(prefix)))
    } else if let Some(exact) = matching.get("path").and_then(Value::as_str) {
        Some(path == case(exact))
    } else if let Some(prefix) = matching
        .get("path_separated_prefix")
        .and_then(Value::as_str)
    {
        let rest = path.strip_prefix(&case(prefix));
        Some(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    } else if let Some(pattern) = matching
        .pointer("/safe_regex/regex")
        .and_then(Value::as_str)
    {
        regex(pattern, ask.path())
    } else {
        None
    };
    let query = ask.path.split_once('?').map_or("", |(_, query)| query);
    let parameters = list(matching, "/query_parameters").map(|parameter| {
        let name = text(parameter, "/name");
        let value = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| *key == name);
        match (parameter.get("string_match"), value) {
            (_, None) => Some(false),
            (None, Some(_)) => Some(true),
            (Some(matcher), Some((_, value))) => string(matcher, value),
        }
    });
    all(std::iter::once(by_path)
        .chain(list(matching, "/headers").map(|matcher| header(matcher, ask)))
        .chain(parameters))
}

fn rbac(
    at: &str,
    settings: &Value,
    ask: &Ask,
    status: u16,
    steps: &mut Vec<Step>,
) -> Result<(), End> {
    match decide(settings, ask) {
        Decision::Pass(by) => {
            if settings.get("rules").is_some() {
                let note = by.map_or_else(
                    || "no DENY policy is about it".to_owned(),
                    |name| format!("policy {name} lets it pass"),
                );
                step(steps, "filter", "rbac", [note]);
            }
            Ok(())
        }
        Decision::Deny(why) => {
            let who = ask.principal.as_deref().unwrap_or("nobody that is known");
            step(
                steps,
                "filter",
                "rbac",
                [why.clone(), format!("the caller is {who}")],
            );
            Err(if status == 0 {
                End::Closed {
                    why: format!("{at}: {why}"),
                }
            } else {
                End::Answered {
                    status,
                    why: format!("RBAC: access denied; {why}"),
                }
            })
        }
        Decision::Unknown(name) => {
            step(
                steps,
                "filter",
                "rbac",
                [format!("policy {name} looks at more than was said")],
            );
            Err(End::Unknown {
                why: format!(
                    "policy {name} looks at more than was said: tokens, fields (-H) or addresses"
                ),
            })
        }
    }
}

fn step(
    steps: &mut Vec<Step>,
    at: &'static str,
    name: &str,
    notes: impl IntoIterator<Item = String>,
) {
    steps.push(Step {
        at,
        name: name.to_owned(),
        notes: notes.into_iter().filter(|note| !note.is_empty()).collect(),
    });
}

fn answered(status: f64, why: String) -> End {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a status, clamped"
    )]
    let status = status.clamp(100.0, 599.0) as u16;
    End::Answered { status, why }
}

fn named(route: &Value) -> &str {
    match text(route, "/name") {
        "" => "(without a name)",
        name => name,
    }
}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
    }
}
