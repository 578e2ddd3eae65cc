//! The gateway's routes with the names of their plugins, from the Admin API. Configurations of plugins are not looked at: they may hold
//! secrets.

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use super::state::{Gateway, Route};
use crate::fetch::{FetchError, get};

/// Asks the Admin API.
pub async fn read(admin: SocketAddr) -> Gateway {
    match ask(admin).await {
        Ok(gateway) => gateway,
        Err(error) => Gateway {
            routes: Vec::new(),
            error: Some(error.to_string()),
        },
    }
}

async fn ask(admin: SocketAddr) -> Result<Gateway, FetchError> {
    let (routes, services, plugins) = tokio::try_join!(
        page::<RouteRow>(admin, "/routes?size=1000"),
        page::<ServiceRow>(admin, "/services?size=1000"),
        page::<PluginRow>(admin, "/plugins?size=1000"),
    )?;
    let mut shown: Vec<Route> = routes
        .iter()
        .map(|route| {
            let service = route.service.as_ref();
            let service =
                service.and_then(|of| services.iter().find(|service| service.id == of.id));
            let mut names: Vec<String> = plugins
                .iter()
                .filter(|plugin| plugin.concerns(route))
                .map(|plugin| plugin.name.clone())
                .collect();
            names.sort();
            names.dedup();
            Route {
                name: route.name.clone().unwrap_or_else(|| route.id.clone()),
                matches: route.matches(),
                service: service.map_or_else(String::new, |service| {
                    service.name.clone().unwrap_or_else(|| service.host.clone())
                }),
                plugins: names,
            }
        })
        .collect();
    shown.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Gateway {
        routes: shown,
        error: None,
    })
}

/// The rows of a list; none where it does not read as one.
async fn page<T: for<'a> Deserialize<'a>>(
    admin: SocketAddr,
    path: &str,
) -> Result<Vec<T>, FetchError> {
    let body = get(admin, path, LIMIT).await?;
    let page: Result<Page<T>, _> = serde_json::from_slice(&body);
    Ok(page.map(|page| page.data).unwrap_or_default())
}

#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct RouteRow {
    id: String,
    name: Option<String>,
    service: Option<Id>,
    methods: Option<Vec<String>>,
    hosts: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    snis: Option<Vec<String>>,
    expression: Option<String>,
}

#[derive(Deserialize)]
struct ServiceRow {
    id: String,
    name: Option<String>,
    host: String,
}

#[derive(Deserialize)]
struct PluginRow {
    name: String,
    enabled: bool,
    route: Option<Id>,
    service: Option<Id>,
    consumer: Option<Id>,
    consumer_group: Option<Id>,
}

impl RouteRow {
    fn matches(&self) -> Vec<String> {
        let lists = [&self.methods, &self.hosts, &self.snis, &self.paths];
        let lists = lists.into_iter().flatten().flatten();
        lists.chain(&self.expression).cloned().collect()
    }
}

impl PluginRow {
    /// True if a request of this route passes it, whoever sends it.
    fn concerns(&self, route: &RouteRow) -> bool {
        let fits = |scope: &Option<Id>, id: Option<&str>| {
            scope.as_ref().is_none_or(|scope| Some(&*scope.id) == id)
        };
        let service = route.service.as_ref().map(|service| &*service.id);
        self.enabled
            && self.consumer.is_none()
            && self.consumer_group.is_none()
            && fits(&self.route, Some(&route.id))
            && fits(&self.service, service)
    }
}

const LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_concern_the_routes_of_their_scope() {
        let id = |id: &str| Some(Id { id: id.to_owned() });
        let route = RouteRow {
            id: "r".to_owned(),
            name: None,
            service: id("s"),
            methods: Some(vec!["GET".to_owned()]),
            hosts: None,
            paths: Some(vec!["/a".to_owned()]),
            snis: None,
            expression: None,
        };
        assert_eq!(route.matches(), ["GET", "/a"]);
        let plugin = || PluginRow {
            name: "acl".to_owned(),
            enabled: true,
            route: None,
            service: None,
            consumer: None,
            consumer_group: None,
        };
        for (plugin, expected) in [
            (plugin(), true),
            (
                PluginRow {
                    service: id("s"),
                    ..plugin()
                },
                true,
            ),
            (
                PluginRow {
                    service: id("other"),
                    ..plugin()
                },
                false,
            ),
            (
                PluginRow {
                    route: id("r"),
                    ..plugin()
                },
                true,
            ),
            (
                PluginRow {
                    route: id("other"),
                    ..plugin()
                },
                false,
            ),
            (
                PluginRow {
                    consumer: id("c"),
                    ..plugin()
                },
                false,
            ),
            (
                PluginRow {
                    enabled: false,
                    ..plugin()
                },
                false,
            ),
        ] {
            assert_eq!(plugin.concerns(&route), expected);
        }
    }
}
