//! Every schema, built from its file when first asked for.

use std::sync::{LazyLock, OnceLock};

use indexmap::IndexMap;

use super::load::{Loader, Result};
use super::{Record, Schema, flavor};
use crate::router::Flavor;
use crate::value::{Object, Value};

/// A plugin's schema.
#[derive(Debug)]
pub struct Plugin {
    /// Plugins of higher priority run earlier.
    pub priority: i64,
    /// Requests that it was configured for are refused rather than let through without it: it
    /// authenticates, authorises, limits or checks.
    pub guards: bool,
    pub record: Record,
}

/// Says which routes are served. The program does it before anything else: schemas are built once.
/// False where they were built for others already.
pub fn choose(chosen: Flavor) -> bool {
    *FLAVOR.get_or_init(|| chosen) == chosen
}

/// Which routes are served.
pub fn flavor() -> Flavor {
    *FLAVOR.get_or_init(Flavor::default)
}

/// The schema of a kind of entity.
pub fn entity(name: &str) -> Option<&'static Schema> {
    ENTITIES.get(name)
}

/// All kinds of entities, Kong's own first.
pub fn entities() -> impl Iterator<Item = &'static Schema> {
    ENTITIES.values()
}

/// A plugin's schema.
pub fn plugin(name: &str) -> Option<&'static Plugin> {
    let (text, slot) = PLUGINS.get(name)?;
    Some(slot.get_or_init(|| built(name, plugin_of(text))))
}

/// The names of all plugins, sorted.
pub fn plugins() -> impl Iterator<Item = &'static str> {
    PLUGINS.keys().copied()
}

/// A vault's schema.
pub fn vault(name: &str) -> Option<&'static Record> {
    (name == "env").then(|| &*ENV)
}

/// The entities of a declarative file, parents before children.
pub fn by_dependency() -> &'static [&'static Schema] {
    &BY_DEPENDENCY
}

static FLAVOR: OnceLock<Flavor> = OnceLock::new();

static TYPES: LazyLock<Object> =
    LazyLock::new(|| built("types", yaml(include_str!("../../schemas/types.yaml"))));

static ENTITIES: LazyLock<IndexMap<&str, Schema>> = LazyLock::new(|| {
    let load = |(name, text): &(&'static str, &str)| {
        let schema = yaml(text).and_then(|mut raw| {
            if *name == "routes" && flavor() == Flavor::Expressions {
                flavor::with_expressions(&mut raw);
            }
            Loader { types: &TYPES }.schema(name, &raw)
        });
        (*name, built(name, schema))
    };
    ENTITY_FILES.iter().map(load).collect()
});

type Slot = (&'static str, OnceLock<Plugin>);

static PLUGINS: LazyLock<IndexMap<&str, Slot>> = LazyLock::new(|| {
    PLUGIN_FILES
        .iter()
        .map(|(name, text)| (*name, (*text, OnceLock::new())))
        .collect()
});

static ENV: LazyLock<Record> = LazyLock::new(|| {
    let record = yaml(include_str!("../../schemas/vaults/env.yaml"))
        .and_then(|raw| Loader { types: &TYPES }.record(&raw, Some(&vaults())));
    built("env", record)
});

static BY_DEPENDENCY: LazyLock<Vec<&Schema>> = LazyLock::new(|| {
    let mut left: Vec<&'static Schema> =
        entities().filter(|schema| schema.name != "tags").collect();
    let mut sorted: Vec<&'static Schema> = Vec::with_capacity(left.len());
    // References between entities have no cycle, so each round places at least one.
    while !left.is_empty() {
        let waits = |schema: &&'static Schema| {
            schema.foreign().any(|(_, parent, _)| {
                left.iter()
                    .any(|other| other.name == parent && other.name != schema.name)
            })
        };
        let (later, now): (Vec<_>, Vec<_>) = left.iter().copied().partition(waits);
        sorted.extend(now);
        left = later;
    }
    sorted
});

fn plugin_of(text: &str) -> Result<Plugin> {
    let raw = yaml(text)?;
    let priority = raw
        .get("priority")
        .and_then(Value::as_number)
        .and_then(crate::value::as_integer);
    let record = Loader { types: &TYPES }.record(&raw, Some(&file("plugins")))?;
    Ok(Plugin {
        priority: priority.unwrap_or_default(),
        guards: raw.get("guards").and_then(Value::as_bool) == Some(true),
        record,
    })
}

fn vaults() -> Object {
    file("vaults")
}

/// An entity's file as it is written.
fn file(entity: &str) -> Object {
    let text = ENTITY_FILES
        .iter()
        .find(|(name, _)| *name == entity)
        .map_or("", |(_, text)| text);
    built(entity, yaml(text))
}

fn yaml(text: &str) -> Result<Object> {
    serde_saphyr::from_str(text).map_err(|error| super::load::LoadError::new(error.to_string()))
}

/// The files are part of the program, and a test loads them all: they cannot fail later.
#[expect(clippy::panic, reason = "see above")]
fn built<T>(name: &str, loaded: Result<T>) -> T {
    loaded.unwrap_or_else(|error| panic!("schema {name}: {error}"))
}

macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../schemas/", $folder, "/", $name, ".yaml")))),*]
    };
}

const ENTITY_FILES: &[(&str, &str)] = files! {
    "entities":
        "workspaces" "consumers" "certificates" "services" "routes" "snis" "upstreams" "targets" "plugins"
        "tags" "ca_certificates" "clustering_data_planes" "parameters" "vaults" "key_sets" "keys"
        "filter_chains" "acls" "acme_storage" "basicauth_credentials" "hmacauth_credentials" "jwt_secrets"
        "keyauth_credentials" "oauth2_authorization_codes" "oauth2_credentials" "oauth2_tokens"
        "ratelimiting_metrics" "sessions"
};

const PLUGIN_FILES: &[(&str, &str)] = files! {
    "plugins":
        "acl" "acme" "ai-prompt-decorator" "ai-prompt-guard" "ai-prompt-template" "ai-proxy"
        "ai-request-transformer" "ai-response-transformer" "aws-lambda" "azure-functions" "basic-auth"
        "bot-detection" "correlation-id" "cors" "datadog" "file-log" "grpc-gateway" "grpc-web" "hmac-auth"
        "http-log" "ip-restriction" "jwt" "key-auth" "ldap-auth" "loggly" "oauth2" "opentelemetry"
        "post-function" "pre-function" "prometheus" "proxy-cache" "rate-limiting" "redirect"
        "request-size-limiting" "request-termination" "request-transformer" "response-ratelimiting"
        "response-transformer" "session" "standard-webhooks" "statsd" "syslog" "tcp-log" "udp-log" "zipkin"
};
