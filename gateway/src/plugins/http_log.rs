//! http-log: requests as JSON to an HTTP endpoint, in batches, from a queue that holds nothing up ([`queue`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use carbyne_engine::http::Headers;
use http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;

use self::queue::{Queue, Queues, Sender, Settings};
use crate::plugin::custom_fields::CustomFields;
use crate::plugin::outgoing::Endpoint;
use crate::plugin::{Ended, Plugin, Refusal, Setup};
use crate::value::Value;

pub mod queue;

#[derive(Debug)]
pub struct HttpLog {
    queue: Arc<Queue>,
    fields: CustomFields,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    http_endpoint: String,
    method: String,
    content_type: String,
    timeout: f64,
    keepalive: f64,
    queue_size: Option<usize>,
    flush_timeout: Option<f64>,
    headers: Option<BTreeMap<String, String>>,
    queue: Settings,
    custom_fields_by_lua: Option<BTreeMap<Box<str>, Box<str>>>,
}

impl Plugin for HttpLog {
    type Config = Config;
    type Shared = Queues;
    type State = ();

    const SERIALIZES: bool = true;

    fn new(config: Config, setup: &Setup<'_, Queues>) -> Result<Self, Refusal> {
        let fields = CustomFields::read(config.custom_fields_by_lua)?;
        let method = Method::from_bytes(config.method.as_bytes());
        let method = method.map_err(|error| Refusal::new("method", error))?;
        let endpoint = Endpoint::new(
            &config.http_endpoint,
            milliseconds(config.timeout),
            milliseconds(config.keepalive),
            // As Kong.
            false,
            setup.node,
        );
        let endpoint = endpoint.map_err(|error| Refusal::new("http_endpoint", error))?;
        let mut headers = Headers::new();
        let content_type = HeaderValue::from_str(&config.content_type);
        let content_type = content_type.map_err(|error| Refusal::new("content_type", error))?;
        headers.insert(header::CONTENT_TYPE, content_type);
        if let Some(user) = user_of(&config.http_endpoint) {
            let basic = format!("Basic {}", STANDARD.encode(user));
            let basic = HeaderValue::from_str(&basic);
            headers.insert(
                header::AUTHORIZATION,
                basic.map_err(|error| Refusal::new("http_endpoint", error))?,
            );
        }
        for (name, value) in config.headers.unwrap_or_default() {
            let refused = |error: &dyn std::fmt::Display| Refusal::new("headers", error);
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
            let name = name.map_err(|error| refused(&error))?;
            let value = HeaderValue::from_str(&value).map_err(|error| refused(&error))?;
            if !headers.contains(&name) {
                headers.insert(name, value);
            }
        }
        let mut settings = config.queue;
        // Their defaults from before there was `queue`; another value is meant.
        if let Some(size) = config.queue_size.filter(|size| *size != 1) {
            settings.max_batch_size = size;
        }
        if let Some(delay) = config.flush_timeout.filter(|delay| *delay != 2.0) {
            settings.max_coalescing_delay = delay;
        }
        let sender = Sender {
            endpoint,
            method,
            headers,
        };
        Ok(Self {
            queue: setup.shared.open(Queue::new(setup.id, sender, settings)),
            fields,
        })
    }

    fn log(&self, ended: &Ended<'_, ()>) {
        let mut written = ended.serialize();
        self.fields.apply(&mut written);
        let entry = Value::from(written).to_json();
        self.queue.push(entry.into(), ended.worker());
    }
}

fn milliseconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time / 1000.0).unwrap_or_default()
}

/// Name and password within a URL.
fn user_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_urls() {
        for (url, user) in [
            ("http://a:b@host/p", Some("a:b")),
            ("http://host/p@x", None),
            ("https://user@host", Some("user")),
        ] {
            assert_eq!(user_of(url), user, "{url}");
        }
    }
}
