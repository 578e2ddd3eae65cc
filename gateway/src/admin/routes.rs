//! The table of endpoints.

use std::collections::BTreeMap;

use super::form::unescape;
use crate::schema::{Schema, library};

/// All endpoints, the most specific first.
#[derive(Debug)]
pub(super) struct Table(Vec<Endpoint>);

/// A path and what is behind it.
#[derive(Debug)]
pub(super) struct Endpoint {
    segments: Vec<Segment>,
    pub(super) action: Action,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Segment {
    // In this order: what is written out goes before what may be anything.
    Literal(String),
    Parameter(String),
}

/// What an endpoint serves.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// `/routes/{routes}/service`: what a foreign field refers to.
    Linked {
        schema: &'static Schema,
        field: &'static str,
        parent: &'static Schema,
    },
    /// `/services/{services}/routes`.
    Children {
        parent: &'static Schema,
        schema: &'static Schema,
        field: &'static str,
    },
    /// `/services/{services}/routes/{routes}`.
    Child {
        parent: &'static Schema,
        schema: &'static Schema,
        field: &'static str,
    },
    Cache,
    ChangeLogLevel,
    Clustering,
    Collection(&'static Schema),
    Config,
    Disabled,
    Endpoints,
    Entity(&'static Schema),
    LogLevel,
    Metrics,
    PluginSchema,
    PluginsEnabled,
    Ready,
    Root,
    Schema,
    SchemaOfFilter,
    SchemaOfPlugin,
    SchemaOfVault,
    Status,
    StatusOfDns,
    Tag,
    Tags,
    Target,
    TargetHealth {
        healthy: bool,
    },
    Targets,
    TargetsAll,
    UpstreamHealth,
    Timers,
    Validate,
    ValidateNamed(&'static str),
    WasmIsOff,
}

/// An endpoint that a path leads to.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) parameters: Vec<String>,
}

impl Table {
    /// The Admin API's.
    pub(super) fn admin() -> Self {
        let mut all = BTreeMap::new();
        for schema in library::entities().filter(|schema| schema.meta.generate_admin_api) {
            for (path, action) in generated(schema) {
                all.insert(segments(&path), action);
            }
        }
        for (path, action) in own() {
            all.insert(segments(path), action);
        }
        Self::of(all)
    }

    /// The Status API's: what monitoring may see without being able to change anything.
    pub(super) fn status() -> Self {
        let own = [
            ("/metrics", Action::Metrics),
            ("/status", Action::Status),
            ("/status/dns", Action::StatusOfDns),
            ("/status/ready", Action::Ready),
        ];
        let own = own.map(|(path, action)| (segments(path), action));
        Self::of(own.into())
    }

    fn of(all: BTreeMap<Vec<Segment>, Action>) -> Self {
        Self(
            all.into_iter()
                .map(|(segments, action)| Endpoint { segments, action })
                .collect(),
        )
    }

    /// The endpoint of a path; a slash at its end does not matter.
    pub(super) fn find(&self, path: &str) -> Option<Found<'_>> {
        let path = path.strip_prefix('/')?;
        let parts: Vec<_> = path
            .strip_suffix('/')
            .unwrap_or(path)
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let endpoint = self.0.iter().find(|endpoint| endpoint.matches(&parts))?;
        let parameters = endpoint
            .segments
            .iter()
            .zip(parts)
            .filter_map(|(segment, part)| match segment {
                Segment::Literal(_) => None,
                Segment::Parameter(_) => Some(unescape(part, false)),
            });
        Some(Found {
            endpoint,
            parameters: parameters.collect(),
        })
    }

    /// Every path, what it serves, and its methods.
    pub(super) fn described(&self) -> impl Iterator<Item = (String, &Action, Vec<&'static str>)> {
        self.0
            .iter()
            .map(|endpoint| (endpoint.path(), &endpoint.action, endpoint.methods()))
    }

    /// Every path, as `GET /endpoints` lists them.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.0.iter().map(Endpoint::path).collect();
        paths.sort_by_key(|path| path.replace('/', "\0"));
        paths
    }
}

impl Endpoint {
    fn matches(&self, parts: &[&str]) -> bool {
        let one = |(segment, part): (&Segment, &&str)| match segment {
            Segment::Literal(text) => text == part,
            Segment::Parameter(_) => true,
        };
        self.segments.len() == parts.len() && self.segments.iter().zip(parts).all(one)
    }

    fn path(&self) -> String {
        if self.segments.is_empty() {
            return "/".into();
        }
        let one = |segment: &Segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter(name) => format!("/{{{name}}}"),
        };
        self.segments.iter().map(one).collect()
    }

    /// The methods of the endpoint, sorted.
    pub(super) fn methods(&self) -> Vec<&'static str> {
        match self.action {
            Action::Children { .. }
            | Action::Collection(_)
            | Action::Config
            | Action::Tags
            | Action::Targets => {
                vec!["GET", "HEAD", "OPTIONS", "POST"]
            }
            Action::Child { .. }
            | Action::Entity(_)
            | Action::Linked { .. }
            | Action::Tag
            | Action::Target => {
                vec!["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"]
            }
            Action::Disabled | Action::WasmIsOff => {
                vec!["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
            }
            // Kong has no way to read the level under the name of another.
            Action::ChangeLogLevel => vec!["OPTIONS", "PUT"],
            Action::Cache if self.segments.len() == 1 => vec!["DELETE", "OPTIONS"],
            Action::Cache => vec!["DELETE", "GET", "HEAD", "OPTIONS"],
            Action::Ready => vec!["GET", "HEAD", "OPTIONS", "POST"],
            Action::TargetHealth { .. } => vec!["OPTIONS", "PUT"],
            Action::Validate | Action::ValidateNamed(_) => vec!["OPTIONS", "POST"],
            _ => vec!["GET", "HEAD", "OPTIONS"],
        }
    }

    pub(super) fn takes_yaml(&self) -> bool {
        matches!(self.action, Action::Config)
    }
}

fn segments(path: &str) -> Vec<Segment> {
    let one = |part: &str| match part
        .strip_prefix('{')
        .and_then(|name| name.strip_suffix('}'))
    {
        Some(name) => Segment::Parameter(name.into()),
        None => Segment::Literal(part.into()),
    };
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(one)
        .collect()
}

/// The endpoints of a kind of entity.
fn generated(schema: &'static Schema) -> Vec<(String, Action)> {
    let (name, api) = (&schema.name, schema.api_name());
    let mut all = vec![
        (format!("/{api}"), Action::Collection(schema)),
        (format!("/{api}/{{{name}}}"), Action::Entity(schema)),
    ];
    for (field, parent, _) in schema.foreign() {
        let Some(parent) = library::entity(parent) else {
            continue;
        };
        let (above, nested) = (
            format!("/{}/{{{}}}", parent.api_name(), parent.name),
            schema.nested_name(),
        );
        all.push((
            format!("/{api}/{{{name}}}/{field}"),
            Action::Linked {
                schema,
                field,
                parent,
            },
        ));
        all.push((
            format!("{above}/{nested}"),
            Action::Children {
                parent,
                schema,
                field,
            },
        ));
        all.push((
            format!("{above}/{nested}/{{{name}}}"),
            Action::Child {
                parent,
                schema,
                field,
            },
        ));
    }
    all
}

/// The endpoints that no schema generates, and those that replace generated ones.
fn own() -> Vec<(&'static str, Action)> {
    vec![
        ("/", Action::Root),
        ("/cache", Action::Cache),
        ("/cache/{key}", Action::Cache),
        ("/clustering/data-planes", Action::Clustering),
        (
            "/clustering/data-planes/{clustering_data_planes}",
            Action::Disabled,
        ),
        ("/clustering/status", Action::Clustering),
        ("/config", Action::Config),
        (
            "/debug/cluster/log-level/{log_level}",
            Action::ChangeLogLevel,
        ),
        ("/debug/node/log-level", Action::LogLevel),
        ("/debug/node/log-level/{log_level}", Action::ChangeLogLevel),
        ("/endpoints", Action::Endpoints),
        ("/filter-chains", Action::WasmIsOff),
        ("/filter-chains/{filter_chains}", Action::WasmIsOff),
        ("/filter-chains/{filter_chains}/route", Action::WasmIsOff),
        ("/filter-chains/{filter_chains}/service", Action::WasmIsOff),
        ("/parameters", Action::Disabled),
        ("/parameters/{parameters}", Action::Disabled),
        ("/plugins/enabled", Action::PluginsEnabled),
        ("/plugins/schema/{name}", Action::PluginSchema),
        ("/routes/{routes}/filter-chains", Action::WasmIsOff),
        (
            "/routes/{routes}/filter-chains/{filter_chains}",
            Action::WasmIsOff,
        ),
        ("/schemas/filters/{name}", Action::SchemaOfFilter),
        ("/schemas/plugins/{name}", Action::SchemaOfPlugin),
        ("/schemas/vaults/{name}", Action::SchemaOfVault),
        ("/schemas/{name}", Action::Schema),
        ("/schemas/{db_entity_name}/validate", Action::Validate),
        (
            "/schemas/plugins/validate",
            Action::ValidateNamed("plugins"),
        ),
        ("/schemas/vaults/validate", Action::ValidateNamed("vaults")),
        ("/services/{services}/filter-chains", Action::WasmIsOff),
        (
            "/services/{services}/filter-chains/{filter_chains}",
            Action::WasmIsOff,
        ),
        ("/snis/{snis}/certificate", Action::Disabled),
        ("/metrics", Action::Metrics),
        ("/status", Action::Status),
        ("/status/dns", Action::StatusOfDns),
        ("/tags", Action::Tags),
        ("/tags/{tags}", Action::Tag),
        ("/targets", Action::Disabled),
        ("/targets/{targets}", Action::Disabled),
        ("/targets/{targets}/upstream", Action::Disabled),
        ("/timers", Action::Timers),
        ("/upstreams/{upstreams}/targets", Action::Targets),
        ("/upstreams/{upstreams}/targets/all", Action::TargetsAll),
        ("/upstreams/{upstreams}/targets/{targets}", Action::Target),
        ("/upstreams/{upstreams}/health", Action::UpstreamHealth),
        (
            "/upstreams/{upstreams}/targets/{targets}/healthy",
            Action::TargetHealth { healthy: true },
        ),
        (
            "/upstreams/{upstreams}/targets/{targets}/unhealthy",
            Action::TargetHealth { healthy: false },
        ),
        (
            "/upstreams/{upstreams}/targets/{targets}/{address}/healthy",
            Action::TargetHealth { healthy: true },
        ),
        (
            "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy",
            Action::TargetHealth { healthy: false },
        ),
        // Kong 3.9 has one workspace and no endpoint for it.
        ("/workspaces", Action::Disabled),
        ("/workspaces/{workspaces}", Action::Disabled),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_out_wins_over_parameters() {
        let table = Table::admin();
        let action = |path: &str| {
            table
                .find(path)
                .map(|found| format!("{:?}", found.endpoint.action))
        };
        let starts =
            |path: &str, with: &str| assert!(action(path).unwrap().starts_with(with), "{path}");
        starts("/plugins/enabled", "PluginsEnabled");
        starts("/plugins/x", "Entity");
        starts("/schemas/plugins/validate", "ValidateNamed");
        starts("/schemas/plugins/key-auth", "SchemaOfPlugin");
        starts("/schemas/routes/validate", "Validate");
        starts("/upstreams/u/targets/all", "TargetsAll");
        starts("/consumers/c/key-auth/x", "Child");
        starts("/services/", "Collection");
        assert_eq!(action("/consumer_groups"), None);
        assert_eq!(
            table.find("/consumers/a%40b%2Fc").unwrap().parameters,
            ["a@b/c"]
        );
    }

    #[test]
    fn endpoints_are_listed_by_segments() {
        let paths = Table::admin().paths();
        let place = |path: &str| paths.iter().position(|known| known == path).unwrap();
        assert_eq!(paths[0], "/");
        assert!(place("/key-sets/{key_sets}/keys/{keys}") < place("/keys"));
        assert!(
            paths.contains(&"/consumers/{consumers}/basic-auth/{basicauth_credentials}".to_owned())
        );
        assert!(
            place("/upstreams/{upstreams}/targets/{targets}/healthy")
                < place("/upstreams/{upstreams}/targets/{targets}/{address}/healthy")
        );
        assert!(!paths.iter().any(|path| path.contains("ratelimiting")));
    }
}
