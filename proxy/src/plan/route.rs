//! Route configurations.
//!
//! | file | what it plans |
//! |---|---|
//! | here | tables, virtual hosts |
//! | [`entry`] | one route: match, fields, configurations of filters |
//! | [`action`] | forwarding: clusters, rewrites, times, mirrors, hash |
//! | [`answer`] | redirections and answers of a route's own |
//! | [`retry`] | when to try again |
//! | [`fields`] | fields added and removed |

use std::sync::Arc;

use carbyne_protos::envoy::config::route::v3 as wire;
use carbyne_protos::envoy::config::route::v3::virtual_host::TlsRequirementType;
use smallvec::SmallVec;

use super::error::Fault;
use super::scope::Scope;
use crate::live::route::{FilterConfig, HeaderOperations, RouteTable, TlsRequirement, VirtualHost};

pub mod action;
pub mod answer;
pub mod entry;
pub mod fields;
pub mod retry;
#[cfg(test)]
mod tests;

/// What routes take over from their virtual host and table.
#[derive(Debug)]
pub struct Inherited<'a> {
    /// The table's name.
    table: Arc<str>,
    /// The virtual host's name.
    host: Arc<str>,
    /// Operations on request fields of the table and the virtual host.
    request_headers: [Option<Arc<HeaderOperations>>; 2],
    /// Operations on response fields.
    response_headers: [Option<Arc<HeaderOperations>>; 2],
    /// Which level has the last word.
    most_specific_wins: bool,
    /// Configurations of filters of the table and the virtual host.
    filters: Vec<(Arc<str>, FilterConfig)>,
    /// Whether bodies of answers may have this many bytes.
    largest_body: usize,
    /// The virtual host.
    message: &'a wire::VirtualHost,
    /// The table.
    configuration: &'a wire::RouteConfiguration,
}

/// Plans a route configuration.
pub fn plan(message: &wire::RouteConfiguration, scope: &Scope<'_>) -> Option<Arc<RouteTable>> {
    let name: Arc<str> = Arc::from(message.name.as_str());
    let mut table = RouteTable::new(Arc::clone(&name), message.ignore_port_in_host_matching);
    let request = fields::plan_shared(
        &message.request_headers_to_add,
        &message.request_headers_to_remove,
        "request_headers",
        scope,
    );
    let response = fields::plan_shared(
        &message.response_headers_to_add,
        &message.response_headers_to_remove,
        "response_headers",
        scope,
    );
    let mut filters = Vec::new();
    entry::filter_configs(&message.typed_per_filter_config, scope, &mut filters);
    if message.vhds.is_some() {
        scope
            .field("vhds")
            .note("virtual hosts by discovery are not served");
    }
    let mut hosts: rustc_hash::FxHashSet<&str> = rustc_hash::FxHashSet::default();
    for (index, host) in message.virtual_hosts.iter().enumerate() {
        let scope = scope.item("virtual_hosts", index);
        if host.name.is_empty() {
            scope.field("name").missing();
        }
        if !hosts.insert(&host.name) {
            scope
                .field("name")
                .reject(Fault::Duplicate(host.name.clone()));
        }
        let inherited = Inherited {
            table: Arc::clone(&name),
            host: Arc::from(host.name.as_str()),
            request_headers: [
                fields::plan_shared(
                    &host.request_headers_to_add,
                    &host.request_headers_to_remove,
                    "request_headers",
                    &scope,
                ),
                request.clone(),
            ],
            response_headers: [
                fields::plan_shared(
                    &host.response_headers_to_add,
                    &host.response_headers_to_remove,
                    "response_headers",
                    &scope,
                ),
                response.clone(),
            ],
            most_specific_wins: message.most_specific_header_mutations_wins,
            filters: {
                let mut filters = filters.clone();
                entry::filter_configs(&host.typed_per_filter_config, &scope, &mut filters);
                filters
            },
            largest_body: message
                .max_direct_response_body_size_bytes
                .unwrap_or(LARGEST_BODY) as usize,
            message: host,
            configuration: message,
        };
        if let Some(planned) = virtual_host(host, &inherited, &scope) {
            domains(&mut table, planned, host, &scope);
        }
    }
    Some(Arc::new(table))
}

fn virtual_host(
    host: &wire::VirtualHost,
    inherited: &Inherited<'_>,
    scope: &Scope<'_>,
) -> Option<VirtualHost> {
    let require_tls = match TlsRequirementType::try_from(host.require_tls) {
        Ok(TlsRequirementType::None) => TlsRequirement::None,
        Ok(TlsRequirementType::ExternalOnly) => TlsRequirement::External,
        Ok(TlsRequirementType::All) => TlsRequirement::All,
        Err(_) => {
            scope
                .field("require_tls")
                .out_of_range(host.require_tls, "NONE, EXTERNAL_ONLY or ALL");
            return None;
        }
    };
    let routes = host
        .routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| entry::plan(route, inherited, &scope.item("routes", index)))
        .collect();
    Some(VirtualHost::new(
        Arc::clone(&inherited.host),
        require_tls,
        routes,
    ))
}

fn domains(
    table: &mut RouteTable,
    planned: VirtualHost,
    host: &wire::VirtualHost,
    scope: &Scope<'_>,
) {
    if host.domains.is_empty() {
        scope.field("domains").missing();
    }
    for domain in table.add(planned, &host.domains) {
        scope
            .field("domains")
            .reject(Fault::Duplicate(domain.to_owned()));
    }
}

impl Inherited<'_> {
    /// Operations in the order of application: the route's own first, or last where the most specific shall win.
    fn ordered(
        &self,
        own: Option<Arc<HeaderOperations>>,
        rest: &[Option<Arc<HeaderOperations>>; 2],
    ) -> SmallVec<[Arc<HeaderOperations>; 3]> {
        let [host, table] = rest.clone();
        let levels = if self.most_specific_wins {
            [table, host, own]
        } else {
            [own, host, table]
        };
        levels.into_iter().flatten().collect()
    }
}

/// Envoy's default for `max_direct_response_body_size_bytes`.
const LARGEST_BODY: u32 = 4096;
