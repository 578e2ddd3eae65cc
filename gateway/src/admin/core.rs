//! What Kong serves besides entities.

use std::sync::atomic::Ordering;

use super::Admin;
use super::answer::{Answer, listing};
use super::entities::{Answered, paging};
use super::form::escape;
use super::request::Asked;
use super::routes::Action;
use crate::entity::Entities;
use crate::error::{Code, Error, KONG_VERSION};
use crate::object;
use crate::schema::library;
use crate::store::StoreError;
use crate::value::{Object, Value};

impl Admin {
    pub(super) async fn core(&self, action: &Action, asked: Asked) -> Answered {
        match action {
            Action::Clustering => Err(Answer::message(
                400,
                "this endpoint is only available when Kong is configured to run as Control Plane for the cluster",
            )),
            Action::Endpoints => {
                let paths = self
                    .table
                    .paths()
                    .into_iter()
                    .map(Value::from)
                    .collect::<Vec<_>>();
                Ok(Answer::ok(object! { "data": paths }))
            }
            Action::PluginSchema => plugin(asked.parameter(0)).map(|record| {
                let mut body = record.print_config();
                body.shift_remove("entity_checks");
                Answer::ok(body)
            }),
            Action::PluginsEnabled => {
                let names = library::plugins().map(Value::from).collect::<Vec<_>>();
                Ok(Answer::ok(object! { "enabled_plugins": names }))
            }
            Action::Root => self.root().await,
            Action::Schema => match library::entity(asked.parameter(0)) {
                Some(schema) => Ok(Answer::ok(schema.print())),
                None => Err(Answer::message(
                    404,
                    &format!("No entity named '{}'", asked.parameter(0)),
                )),
            },
            Action::SchemaOfFilter => Err(Answer::message(
                404,
                &format!("Filter '{}' not found", asked.parameter(0)),
            )),
            Action::SchemaOfPlugin => {
                plugin(asked.parameter(0)).map(|record| Answer::ok(record.print()))
            }
            Action::SchemaOfVault => match library::vault(asked.parameter(0)) {
                Some(record) => Ok(Answer::ok(record.print())),
                None => Err(Answer::message(
                    404,
                    &format!("No vault named '{}'", asked.parameter(0)),
                )),
            },
            Action::Status => self.status(&asked).await,
            Action::Tag => self.tags(Some(asked.parameter(0)), &asked).await,
            Action::Tags => self.tags(None, &asked).await,
            Action::Validate => validate(asked.parameter(0), &asked),
            Action::ValidateNamed(entity) => validate(entity, &asked),
            Action::WasmIsOff => Err(Answer::message(
                400,
                "this endpoint is only available when wasm is enabled",
            )),
            _ => Err(Answer::not_found()),
        }
    }

    async fn root(&self) -> Answered {
        let mut available = Object::new();
        let mut loaded = Object::new();
        for name in library::plugins() {
            let Some(plugin) = library::plugin(name) else {
                continue;
            };
            #[expect(clippy::cast_precision_loss, reason = "priorities are small")]
            let priority = plugin.priority as f64;
            available.insert(
                name.into(),
                object! { "version": KONG_VERSION, "priority": priority }.into(),
            );
            loaded.insert(name.into(), true.into());
        }
        let mut enabled: Vec<Value> = Vec::new();
        if let Some(plugins) = library::entity("plugins") {
            for plugin in self.entities.all(plugins).await? {
                if let Some(name) = plugin.get("name").filter(|name| !enabled.contains(name)) {
                    enabled.push(name.clone());
                }
            }
        }
        let mut configuration = self.conf.print();
        configuration.insert(
            "database".into(),
            self.entities.store().announced().as_str().into(),
        );
        configuration.insert("loaded_plugins".into(), loaded.into());
        let listen = self.conf.get("admin_listen").unwrap_or_default();
        let listen: Vec<_> = listen
            .split(',')
            .map(|part| Value::from(part.trim()))
            .collect();
        configuration.insert("admin_listen".into(), listen.into());
        configuration.insert("admin_listeners".into(), self.listeners().into());
        // Nothing else listens: there is no data path and no Kong Manager yet.
        for key in [
            "proxy_listeners",
            "status_listeners",
            "stream_listeners",
            "admin_gui_listeners",
        ] {
            configuration.insert(key.into(), Vec::new().into());
        }
        let pid = std::process::id();
        Ok(Answer::ok(object! {
            "tagline": "Welcome to kong",
            "version": KONG_VERSION,
            "edition": "community",
            "hostname": hostname(),
            "node_id": self.node_id.as_str(),
            "timers": object! { "running": 0, "pending": 0 },
            "plugins": object! { "available_on_server": available, "enabled_in_cluster": enabled },
            "lua_version": "none",
            "configuration": configuration,
            "pids": object! { "master": pid, "workers": vec![Value::from(pid)] },
        }))
    }

    fn listeners(&self) -> Vec<Value> {
        let one = |listen: crate::conf::Listen| {
            object! {
                "ip": listen.address.ip().to_string(),
                "port": u32::from(listen.address.port()),
                "ssl": listen.tls,
                "listener": listen.address.to_string(),
            }
        };
        let all = self.conf.admin_listen().unwrap_or_default();
        all.into_iter()
            .filter(|listen| !listen.tls)
            .map(|listen| one(listen).into())
            .collect()
    }

    async fn status(&self, asked: &Asked) -> Answered {
        if let Some(unit) = asked.argument("unit")
            && !["b", "k", "m", "g"].contains(&unit.to_ascii_lowercase().as_str())
        {
            let why = format!("invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')");
            return Err(Answer::message(400, &why));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "every number is a double, as in Lua"
        )]
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let (accepted, active) = (count(&self.counters.accepted), count(&self.counters.active));
        let mut body = object! {
            "memory": object! { "workers_lua_vms": Vec::new(), "lua_shared_dicts": object! {} },
            "server": object! {
                "total_requests": count(&self.counters.requests),
                "connections_active": active,
                "connections_accepted": accepted,
                "connections_handled": accepted,
                "connections_reading": 0,
                "connections_writing": 1,
                "connections_waiting": (active - 1.0).max(0.0),
            },
        };
        match &self.declarative {
            Some(loaded) => drop(body.insert("configuration_hash".into(), loaded.hash().into())),
            None => {
                let reachable = self.entities.store().reachable().await.is_ok();
                body.insert("database".into(), object! { "reachable": reachable }.into());
            }
        }
        Ok(Answer::ok(body))
    }

    async fn tags(&self, tag: Option<&str>, asked: &Asked) -> Answered {
        let Some(schema) = library::entity("tags") else {
            return Err(Answer::not_found());
        };
        if asked.method != http::Method::GET && asked.method != http::Method::HEAD {
            let why = "does not support insert/upsert/update/delete operations";
            return Err(Error::schema_violation(object! { "tags": why }).into());
        }
        if let Some(tag) = tag {
            schema
                .validate_value("tag", &tag.into())
                .map_err(|why| Error::invalid_unique("tag", &why))?;
        }
        let size = match paging(schema, asked, None)?.size.unwrap_or(100.0) {
            size if size.fract() == 0.0 && (1.0..=1000.0).contains(&size) => size,
            _ => {
                return Err(Error::new(
                    Code::InvalidSize,
                    "size must be an integer between 1 and 1000",
                )
                .into());
            }
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        let page = self
            .entities
            .store()
            .tags(tag, size as usize, asked.argument("offset"))
            .await;
        let page = page.map_err(|error| match error {
            StoreError::Offset(error) => *error,
            error => Error::new(Code::DatabaseError, error.to_string()),
        })?;
        let one = |tagged: crate::store::Tagged| {
            object! { "tag": tagged.tag, "entity_name": tagged.entity, "entity_id": tagged.id }
                .into()
        };
        let path = tag.map_or_else(
            || "/tags".to_owned(),
            |tag| format!("/tags/{}", escape(tag)),
        );
        let data = page.tags.into_iter().map(one).collect();
        Ok(listing(data, page.offset, |offset| {
            format!("{path}?offset={}", escape(offset))
        }))
    }
}

fn plugin(name: &str) -> Result<&'static crate::schema::Record, Answer> {
    let plugin = library::plugin(name).map(|plugin| &plugin.record);
    plugin.ok_or_else(|| Answer::message(404, &format!("No plugin named '{name}'")))
}

/// `POST /schemas/{entity}/validate`.
fn validate(named: &str, asked: &Asked) -> Answered {
    let Some(schema) = library::entity(named) else {
        return Err(Answer::message(404, &format!("No entity named '{named}'")));
    };
    Entities::validate(schema, asked.entity(schema))?;
    Ok(Answer::message(200, "schema validation successful"))
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "localhost".into(), |name| name.trim().to_owned())
}
