//! cors: which origins' scripts may ask, and what (the CORS protocol of the Fetch standard).

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use self::origin::Origins;
use crate::plugin::{Call, Exit, Flow, Plugin, Refusal, Setup};
use crate::value::number_text;

mod origin;

#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    headers: Option<HeaderValue>,
    exposed_headers: Option<HeaderValue>,
    methods: HeaderValue,
    max_age: Option<HeaderValue>,
    credentials: bool,
    private_network: bool,
    preflight_continue: bool,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    origins: Option<Vec<Box<str>>>,
    headers: Option<Vec<String>>,
    exposed_headers: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    max_age: Option<f64>,
    credentials: bool,
    private_network: bool,
    preflight_continue: bool,
}

/// What the protocol says of an origin.
#[derive(Debug, Default)]
struct Granted {
    /// `Access-Control-Allow-Origin`; nothing takes off what the service said.
    origin: Option<HeaderValue>,
    credentials: bool,
    /// Caches must keep the answers for several origins apart.
    varies: bool,
}

impl Plugin for Cors {
    type Config = Config;
    type Shared = ();
    /// Whether the request was a preflight: its answer is whole, or is the service's.
    type State = bool;

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let methods = config.methods.map(|methods| methods.join(","));
        let methods = methods.unwrap_or_else(|| METHODS.to_owned());
        Ok(Self {
            origins: Origins::compile(config.origins.unwrap_or_default())?,
            headers: joined("headers", config.headers)?,
            exposed_headers: joined("exposed_headers", config.exposed_headers)?,
            methods: HeaderValue::from_str(&methods)
                .map_err(|error| Refusal::new("methods", error))?,
            max_age: config
                .max_age
                .map(|age| HeaderValue::from_str(&number_text(age)))
                .transpose()
                .map_err(|error| Refusal::new("max_age", error))?,
            credentials: config.credentials,
            private_network: config.private_network,
            preflight_continue: config.preflight_continue,
        })
    }

    async fn access(&self, call: &mut Call<'_, bool>) -> Flow {
        let request = call.request();
        let headers = request.headers();
        let is_preflight = *request.method() == Method::OPTIONS
            && headers.contains(&header::ACCESS_CONTROL_REQUEST_METHOD);
        let origin = asking(headers.get(&header::ORIGIN)).filter(|_| is_preflight);
        let Some(origin) = origin else {
            return Ok(());
        };
        if self.preflight_continue {
            *call.state = true;
            return Ok(());
        }
        let exit = self.answer(headers, &origin);
        *call.state = true;
        Err(exit)
    }

    fn header_filter(&self, call: &mut Call<'_, bool>) {
        if *call.state {
            return;
        }
        let origin = asking(call.request().headers().get(&header::ORIGIN));
        let granted = self.grant(origin.as_ref());
        let mut response = call.response();
        let headers = response.headers();
        if granted.varies {
            headers.append(header::VARY, ORIGIN);
        }
        match granted.origin {
            Some(origin) => headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            None => drop(headers.remove(&header::ACCESS_CONTROL_ALLOW_ORIGIN)),
        }
        if granted.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(exposed) = &self.exposed_headers {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

impl Cors {
    /// The answer to a preflight.
    fn answer(&self, asked: &carbyne_engine::http::Headers, origin: &HeaderValue) -> Exit {
        let granted = self.grant(Some(origin));
        let mut exit = Exit::body(StatusCode::OK, "");
        if granted.varies {
            exit = exit.header(header::VARY, ORIGIN);
        }
        if let Some(origin) = granted.origin {
            exit = exit.header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if granted.credentials {
            exit = exit.header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        // Without a list of its own it allows what is asked for.
        let headers = self.headers.as_ref();
        if let Some(headers) =
            headers.or_else(|| asked.get(&header::ACCESS_CONTROL_REQUEST_HEADERS))
        {
            exit = exit.header(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        exit = exit.header(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(age) = &self.max_age {
            exit = exit.header(header::ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        let wants_private = asked.text(&REQUEST_PRIVATE_NETWORK) == Some("true");
        if self.private_network && wants_private {
            exit = exit.header(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        exit
    }

    fn grant(&self, asking: Option<&HeaderValue>) -> Granted {
        let mut granted = Granted {
            origin: self.origins.allowed(asking),
            credentials: self.credentials,
            varies: self.origins.varies(),
        };
        // Credentials may go to an origin that is named only.
        if self.credentials && granted.origin.as_ref() == Some(&ANY) {
            granted.credentials = asking.is_some();
            if let Some(asking) = asking {
                granted.origin = Some(asking.clone());
                granted.varies = true;
            }
        }
        granted
    }
}

/// The origin of a request. An empty one is none.
fn asking(origin: Option<&HeaderValue>) -> Option<HeaderValue> {
    origin.filter(|origin| !origin.is_empty()).cloned()
}

/// A list as it is sent; nothing for one that is empty.
fn joined(field: &str, names: Option<Vec<String>>) -> Result<Option<HeaderValue>, Refusal> {
    let names = names.filter(|names| !names.is_empty());
    names
        .map(|names| HeaderValue::from_bytes(names.join(",").as_bytes()))
        .transpose()
        .map_err(|error| Refusal::new(field, error))
}

const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
const ANY: HeaderValue = HeaderValue::from_static("*");
const ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
