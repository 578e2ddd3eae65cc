//! Metadata of the request, its route, cluster and endpoint.

use serde_json::Value;

use super::Operator;
use crate::observe::facts::Facts;

/// Where metadata is taken from.
#[derive(Clone, Copy, Debug)]
pub enum MetadataSource {
    /// What filters wrote.
    Dynamic,
    /// The cluster's.
    Cluster,
    /// The route's.
    Route,
    /// The host's.
    Endpoint,
}

/// What a path leads to.
pub(super) enum Metadata<'a> {
    None,
    Value(&'a Value),
    Object(&'a serde_json::Map<String, Value>),
}

/// `NAMESPACE:KEY:KEY`.
pub(super) fn metadata(source: MetadataSource, argument: &str) -> Result<Operator, String> {
    let mut keys = argument.split(':');
    let namespace = keys
        .next()
        .filter(|namespace| !namespace.is_empty())
        .ok_or("expected the name of a filter in parentheses")?;
    Ok(Operator::Metadata {
        source,
        namespace: namespace.into(),
        path: keys.map(Box::from).collect(),
    })
}

impl<'a> Metadata<'a> {
    /// Looks a value up.
    pub(super) fn of(
        facts: &Facts<'a>,
        source: MetadataSource,
        namespace: &str,
        path: &[Box<str>],
    ) -> Self {
        let below = |root: Option<&'a Value>| {
            let found = path
                .iter()
                .try_fold(root.and_then(|root| root.get(namespace))?, |value, key| {
                    value.get(&**key)
                })?;
            (!found.is_null()).then_some(found)
        };
        let value = match source {
            MetadataSource::Dynamic => {
                let Some(metadata) = facts.metadata else {
                    return Self::None;
                };
                if path.is_empty() {
                    return metadata
                        .namespace(namespace)
                        .map_or(Self::None, Self::Object);
                }
                metadata
                    .value(namespace, path.iter().map(|key| &**key))
                    .filter(|value| !value.is_null())
            }
            MetadataSource::Cluster => below(
                facts
                    .cluster_plan
                    .and_then(|cluster| cluster.metadata.as_deref()),
            ),
            MetadataSource::Route => below(
                facts
                    .context
                    .and_then(|context| context.route.as_ref())
                    .and_then(|route| route.metadata.as_deref()),
            ),
            MetadataSource::Endpoint => below(
                facts
                    .endpoint()
                    .and_then(|endpoint| endpoint.metadata.as_deref()),
            ),
        };
        value.map_or(Self::None, Self::Value)
    }
}
