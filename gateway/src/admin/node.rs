//! What the node tells of itself, and what of it can be changed while it runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;

use super::Admin;
use super::answer::Answer;
use super::entities::Answered;
use super::request::Asked;
use super::routes::Action;
use crate::conf::Listen;
use crate::declarative::EMPTY_HASH;
use crate::error::KONG_VERSION;
use crate::log;
use crate::object;
use crate::schema::library;
use crate::shipping::Watch;
use crate::value::{Object, Value};

impl Admin {
    pub(super) async fn node(&self, action: &Action, asked: &Asked) -> Answered {
        match action {
            // Nothing that the Admin API answers from is cached: an entry is never there.
            Action::Cache if asked.method == Method::DELETE => Ok(Answer::empty(204)),
            Action::LogLevel => {
                let level = format!("log level: {}", log::level());
                Ok(Answer::message(200, &level))
            }
            Action::ChangeLogLevel => self.change_log_level(asked),
            Action::Ready => self.ready(asked).await,
            Action::Root => self.root().await,
            Action::Status => self.status(asked).await,
            Action::StatusOfDns => Err(Answer::message(
                501,
                "not implemented with the legacy DNS client",
            )),
            Action::Timers => Ok(Answer::ok(timers())),
            _ => Err(Answer::not_found()),
        }
    }

    /// `PUT /debug/node/log-level/{level}`, for 60 seconds or for a while that the client names.
    fn change_log_level(&self, asked: &Asked) -> Answered {
        let refuse = |status, why: &str| Err(Answer::message(status, why));
        if self.declarative.is_some() {
            return refuse(405, "cannot change log level when not using a database");
        }
        let timeout = asked.member_or_argument("timeout");
        let timeout = timeout.and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_number(),
        });
        let timeout: f64 = timeout
            .filter(|time: &f64| time.is_finite())
            .unwrap_or(60.0);
        let name = asked.parameter(0);
        let Some(level) = log::known(name) else {
            return refuse(400, &format!("unknown log level: {name}"));
        };
        if timeout < 0.0 {
            return refuse(400, "timeout must be greater than or equal to 0");
        }
        if log::level() == level {
            return Ok(Answer::message(
                200,
                &format!("log level is already {level}"),
            ));
        }
        let time = Duration::try_from_secs_f64(timeout.ceil().min(LONGEST_SECONDS));
        log::change(level, time.unwrap_or_default());
        Ok(Answer::message(200, "log level changed"))
    }

    /// Whether load balancers should send requests here.
    async fn ready(&self, asked: &Asked) -> Answered {
        if asked.method == Method::POST {
            let status = asked.member_or_argument("status");
            if status.as_ref().and_then(Value::as_str) == Some("draining") {
                self.drain();
                return Ok(Answer::empty(204));
            }
            return Err(Answer::empty(400));
        }
        let not = |why: &str| Err(Answer::message(503, why));
        if self.draining.load(Ordering::Relaxed) {
            return not("draining");
        }
        if self.entities.store().reachable().await.is_err() {
            return not("failed to connect to database");
        }
        if self
            .declarative
            .as_ref()
            .is_some_and(|loaded| loaded.hash() == EMPTY_HASH)
        {
            return not("no configuration available (empty configuration present)");
        }
        Ok(Answer::message(200, "ready"))
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
            let mut about = object! { "version": KONG_VERSION, "priority": priority };
            if !crate::plugin::table::runs(name) {
                // Accepted, and known by its schema alone; what it guards is refused.
                about.insert("running".into(), false.into());
            }
            available.insert(name.into(), about.into());
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
        let print = |listeners: Vec<Listen>| -> Value {
            let print = listeners.iter().map(|listen| listen.print().into());
            print.collect::<Vec<Value>>().into()
        };
        // What does not parse has stopped the node before.
        for (key, listeners) in [
            ("admin_listeners", self.conf.admin_listen()),
            ("proxy_listeners", self.conf.proxy_listen()),
            ("status_listeners", self.conf.status_listen()),
        ] {
            configuration.insert(key.into(), print(listeners.unwrap_or_default()));
        }
        // There is no Kong Manager yet, and no streams.
        for key in ["stream_listeners", "admin_gui_listeners"] {
            configuration.insert(key.into(), Vec::new().into());
        }
        configuration.insert("log_level".into(), log::level().into());
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
        let mut warnings = self.warnings.clone();
        warnings.extend(self.shipping.iter().flat_map(Watch::problems));
        if !warnings.is_empty() {
            let warnings = warnings.into_iter().map(Value::from);
            body.insert("warnings".into(), warnings.collect::<Vec<_>>().into());
        }
        Ok(Answer::ok(body))
    }
}

/// A year: what is meant for ever ends with the process anyway.
const LONGEST_SECONDS: f64 = 31_536_000.0;

/// The form of Kong's timers, of which there are none here.
fn timers() -> Object {
    object! {
        "worker": object! { "id": 0, "count": 1 },
        "stats": object! {
            "flamegraph": object! { "elapsed_time": "", "pending": "", "running": "" },
            "sys": object! { "pending": 0, "running": 0, "runs": 0, "total": 0, "waiting": 0 },
            "timers": object! {},
        },
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "localhost".into(), |name| name.trim().to_owned())
}
