//! Keys at the gateway: for the first route that the folder's kong.yml puts behind key-auth, no key and a wrong key are refused, and
//! one of the keys that it gives to consumers is accepted. Keys are never shown.

use std::net::SocketAddr;

use bytes::Bytes;
use carbyne_mesh::source::OTHERS;
use http::Response;
use serde_json::Value;

use super::{
    ask,
    report::{Category, Check},
};
use crate::{
    admin::{list, text},
    fetch::FetchError,
    running::{Kind, Member, Running},
};

/// A request that the gateway let in, and how to send another one.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The id that the gateway gave it; none where it gave none.
    pub request_id: Option<String>,
    /// Where it was sent.
    pub address: SocketAddr,
    /// Its host.
    pub host: String,
    /// Its path.
    pub path: String,
    /// Its field with the key, which is never shown.
    key: (String, String),
    /// The host of the service behind the route.
    pub service: String,
}

impl Accepted {
    /// Sends a GET to a path, with the same key and another field.
    pub(super) async fn again(
        &self,
        path: &str,
        field: (&str, &str),
    ) -> Result<Response<Bytes>, FetchError> {
        let key = (self.key.0.as_str(), self.key.1.as_str());
        let fields = [("host", self.host.as_str()), key, field];
        ask(self.address, "GET", path, &fields).await
    }
}

/// A route that wants a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Name of the route.
    pub route: String,
    /// A method that it takes.
    pub method: String,
    /// A path that it takes.
    pub path: String,
    /// A host that it takes; empty: any.
    pub host: String,
    /// Name of the field that the key stands in.
    pub field: String,
    /// Consumers' names and keys.
    pub keys: Vec<(String, String)>,
    /// Host of the service behind it; empty where there is none.
    pub service: String,
}

/// The gateway in what runs.
#[must_use]
pub fn member(running: &Running) -> Option<&Member> {
    running
        .members
        .iter()
        .find(|member| member.kind == Kind::Gateway)
}

/// Sends the three requests. None where there is no gateway.
pub(super) async fn check(running: &Running) -> (Option<Category>, Option<Accepted>) {
    let Some(address) = member(running).and_then(|member| member.addresses.first()) else {
        return (None, None);
    };
    let mut category = Category::new("keys at the gateway");
    let text = OTHERS
        .iter()
        .filter(|name| name.starts_with("kong"))
        .find_map(|name| std::fs::read_to_string(running.folder.join(name)).ok());
    let guarded = text
        .and_then(|text| serde_saphyr::from_str::<Value>(&text).ok())
        .and_then(|kong| guarded(&kong));
    let Some(guarded) = guarded else {
        category.checks.push(Check::warned(
            "a route wants a key",
            "no route of kong.yml is behind key-auth: there is nothing to refuse",
            "add the plugin key-auth to a service or route",
        ));
        return (Some(category), None);
    };
    let accepted = requests(*address, &guarded, &mut category).await;
    (Some(category), accepted)
}

async fn requests(
    address: SocketAddr,
    guarded: &Guarded,
    category: &mut Category,
) -> Option<Accepted> {
    let Guarded {
        route,
        method,
        path,
        host,
        field,
        keys,
        ..
    } = guarded;
    let address_text = address.to_string();
    let host = if host.is_empty() { &address_text } else { host };
    for (what, key) in [
        ("no key", None),
        ("a wrong key", Some("carbyne-verify-not-a-key")),
    ] {
        let mut fields = vec![("host", host.as_str())];
        fields.extend(key.map(|key| (field.as_str(), key)));
        let description = format!("route {route} refuses {what}");
        category.checks.push(match ask(address, method, path, &fields).await {
            Ok(answer) if answer.status() == 401 => Check::passed(format!("{description}: 401")),
            Ok(answer) => Check::failed(
                description,
                format!("{method} {path} was answered {}", answer.status()),
                "see the route's plugins: `carbyne lint` and the Admin API's /plugins; is key-auth enabled, without an anonymous consumer?",
            ),
            Err(error) => Check::failed(description, error.to_string(), GONE),
        });
    }
    let mut last = "no consumer of kong.yml has a key".to_owned();
    for (consumer, key) in keys {
        let fields = [("host", host.as_str()), (field.as_str(), key.as_str())];
        match ask(address, method, path, &fields).await {
            Ok(answer) if answer.status().as_u16() < 400 => {
                category.checks.push(Check::passed(format!(
                    "route {route} accepts {consumer}'s key: {}",
                    answer.status().as_u16()
                )));
                let id = ["x-kong-request-id", "x-request-id"]
                    .iter()
                    .find_map(|name| answer.headers().get(*name)?.to_str().ok());
                return Some(Accepted {
                    request_id: id.map(ToOwned::to_owned),
                    address,
                    host: host.clone(),
                    path: path.clone(),
                    key: (field.clone(), key.clone()),
                    service: guarded.service.clone(),
                });
            }
            Ok(answer) => {
                last = format!(
                    "{method} {path} with {consumer}'s key was answered {}",
                    answer.status()
                )
            }
            Err(error) => last = error.to_string(),
        }
    }
    category.checks.push(Check::failed(
        format!("route {route} accepts a key"),
        last,
        "401 or 403: compare consumers, credentials and acl groups of kong.yml; 5xx: the service behind the route does not answer",
    ));
    None
}

/// The first route behind key-auth, on it, on its service, or everywhere.
#[must_use]
pub fn guarded(kong: &Value) -> Option<Guarded> {
    let key_auth = |holder: &Value| -> Option<String> {
        let plugin = list(holder, "/plugins").find(|plugin| {
            text(plugin, "/name") == "key-auth"
                && plugin.get("enabled") != Some(&Value::Bool(false))
                && ["service", "route", "consumer"]
                    .iter()
                    .all(|scope| plugin.get(*scope).is_none())
        })?;
        let name = text(plugin, "/config/key_names/0");
        Some(if name.is_empty() { "apikey" } else { name }.to_owned())
    };
    let everywhere = key_auth(kong);
    let services = list(kong, "/services")
        .flat_map(|service| list(service, "/routes").map(move |route| (Some(service), route)));
    let routes = list(kong, "/routes").map(|route| (None, route));
    let (service, route, field) = services.chain(routes).find_map(|(service, route)| {
        let field = key_auth(route)
            .or_else(|| service.and_then(key_auth))
            .or_else(|| everywhere.clone())?;
        // A path that is a regular expression has no obvious example.
        let path = text(route, "/paths/0");
        (path.starts_with('/')).then_some((service, route, field))
    })?;
    let or = |value: &str, default: &str| if value.is_empty() { default } else { value }.to_owned();
    let keys = list(kong, "/consumers").flat_map(|consumer| {
        let name = or(text(consumer, "/username"), text(consumer, "/custom_id"));
        list(consumer, "/keyauth_credentials").filter_map(move |credential| {
            let key = text(credential, "/key");
            (!key.is_empty()).then(|| (name.clone(), key.to_owned()))
        })
    });
    Some(Guarded {
        route: or(text(route, "/name"), text(route, "/paths/0")),
        method: or(text(route, "/methods/0"), "GET"),
        path: text(route, "/paths/0").to_owned(),
        host: text(route, "/hosts/0").replace('*', "any"),
        field,
        keys: keys.collect(),
        service: service.map(host).unwrap_or_default(),
    })
}

/// The host of a service, from its `host` or its `url`.
fn host(service: &Value) -> String {
    let url: Option<http::Uri> = text(service, "/url").parse().ok();
    let of_url = url.as_ref().and_then(http::Uri::host);
    of_url.unwrap_or_else(|| text(service, "/host")).to_owned()
}

const GONE: &str = "is the gateway there? `carbyne status`; its log is in the runtime directory";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_route_behind_key_auth() {
        let consumers = json!([{"username": "shop", "keyauth_credentials": [{"key": "k"}]}, {"username": "none"}]);
        let guarded_of = |kong: &Value| {
            guarded(kong)
                .map(|guarded| (guarded.route, guarded.method, guarded.path, guarded.field))
        };
        let kong = json!({
            "services": [
                {"name": "open", "routes": [{"name": "open", "paths": ["/open"]}]},
                {"name": "a", "url": "http://a.shop:80/below", "plugins": [{"name": "key-auth", "config": {"key_names": ["x-key"]}}],
                 "routes": [{"name": "regex", "paths": ["~/a/\\d+"]}, {"name": "a", "paths": ["/a"], "methods": ["POST"]}]}],
            "consumers": consumers});
        assert_eq!(
            guarded_of(&kong),
            Some(("a".into(), "POST".into(), "/a".into(), "x-key".into()))
        );
        assert_eq!(guarded(&kong).unwrap().service, "a.shop");
        assert_eq!(
            guarded(&kong).unwrap().keys,
            [("shop".to_owned(), "k".to_owned())]
        );
        let everywhere = json!({"plugins": [{"name": "key-auth"}], "routes": [{"paths": ["/r"]}]});
        assert_eq!(
            guarded_of(&everywhere),
            Some(("/r".into(), "GET".into(), "/r".into(), "apikey".into()))
        );
        for open in [
            json!({"services": [{"routes": [{"paths": ["/a"]}]}]}),
            json!({"plugins": [{"name": "key-auth", "enabled": false}], "routes": [{"paths": ["/r"]}]}),
            json!({"plugins": [{"name": "key-auth", "service": "b"}], "routes": [{"paths": ["/r"]}]}),
            json!(7),
        ] {
            assert_eq!(guarded(&open), None, "{open}");
        }
    }
}
