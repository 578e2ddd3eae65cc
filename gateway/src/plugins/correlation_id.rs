//! correlation-id: an id that goes with the request, and back with the response where that is wanted.

use std::cell::Cell;
use std::time::UNIX_EPOCH;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::plugin::{Call, Flow, Plugin, Refusal, Setup};
use crate::schema::uuid;

#[derive(Debug)]
pub struct CorrelationId {
    header: HeaderName,
    generator: Generator,
    echo: bool,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    header_name: String,
    generator: Option<Generator>,
    echo_downstream: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Generator {
    #[serde(rename = "uuid")]
    Uuid,
    /// One UUID a worker, and a count behind it.
    #[serde(rename = "uuid#counter")]
    Counter,
    /// Address, port, process, connection, request on it, and time.
    #[serde(rename = "tracker")]
    Tracker,
}

thread_local! {
    static WORKER: String = uuid();
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

impl Plugin for CorrelationId {
    type Config = Config;
    type Shared = ();
    type State = Option<HeaderValue>;

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        Ok(Self {
            header: config
                .header_name
                .to_ascii_lowercase()
                .parse()
                .map_err(|error| Refusal::new("header_name", error))?,
            generator: config.generator.unwrap_or(Generator::Counter),
            echo: config.echo_downstream,
        })
    }

    async fn access(&self, call: &mut Call<'_, Self::State>) -> Flow {
        let given = call.request().headers().get(&self.header).cloned();
        let given = given.filter(|given| !given.as_bytes().trim_ascii().is_empty());
        let id = given.or_else(|| {
            let id = HeaderValue::from_str(&self.generate(call)).ok()?;
            let name = self.header.clone();
            call.service_request().set_header(name, id.clone());
            Some(id)
        });
        if let Some(text) = id.as_ref().and_then(|id| id.to_str().ok()) {
            call.set_log_value("correlation_id", text.into());
        }
        *call.state = id;
        Ok(())
    }

    fn header_filter(&self, call: &mut Call<'_, Self::State>) {
        if !self.echo {
            return;
        }
        // A request that another plugin answered before this one ran has the id that it came with.
        let given = || {
            call.exchange_ref()
                .request
                .headers
                .get(&self.header)
                .cloned()
        };
        if let Some(id) = call.state.clone().or_else(given) {
            call.response().set_header(self.header.clone(), id);
        }
    }
}

impl CorrelationId {
    fn generate(&self, call: &Call<'_, Option<HeaderValue>>) -> String {
        match self.generator {
            Generator::Uuid => uuid(),
            Generator::Counter => {
                let count = COUNT.get() + 1;
                COUNT.set(count);
                WORKER.with(|worker| format!("{worker}#{count}"))
            }
            Generator::Tracker => {
                let exchange = call.exchange_ref();
                let local = exchange.downstream.local.socket();
                let (ip, port) = local.map_or_else(
                    || ("127.0.0.1".to_owned(), 0),
                    |local| (local.ip().to_string(), local.port()),
                );
                let time = exchange.timing.start_time.duration_since(UNIX_EPOCH);
                format!(
                    "{ip}-{port}-{}-{}-{}-{:.3}",
                    std::process::id(),
                    exchange.downstream.id,
                    COUNT.replace(COUNT.get() + 1) + 1,
                    time.unwrap_or_default().as_secs_f64()
                )
            }
        }
    }
}
