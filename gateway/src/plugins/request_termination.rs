//! request-termination: answers in the service's place.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::error::KONG_VERSION;
use crate::object;
use crate::plugin::{Call, Exit, Flow, Plugin, Refusal, Setup};
use crate::value::{Object, Value};

#[derive(Debug)]
pub struct RequestTermination {
    status: StatusCode,
    message: Option<Box<str>>,
    content_type: Option<HeaderValue>,
    body: Option<Box<str>>,
    echo: bool,
    trigger: Option<(HeaderName, Box<str>)>,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    status_code: u16,
    message: Option<Box<str>>,
    content_type: Option<String>,
    body: Option<Box<str>>,
    echo: bool,
    trigger: Option<String>,
}

impl Plugin for RequestTermination {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let content_type = config
            .content_type
            .map(|value| HeaderValue::from_str(&value));
        let trigger = config.trigger.map(|name| {
            let header = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
            header.map(|header| (header, name.into_boxed_str()))
        });
        Ok(Self {
            status: StatusCode::from_u16(config.status_code)
                .map_err(|error| Refusal::new("status_code", error))?,
            message: config.message,
            content_type: content_type
                .transpose()
                .map_err(|error| Refusal::new("content_type", error))?,
            body: config.body,
            echo: config.echo,
            trigger: trigger
                .transpose()
                .map_err(|error| Refusal::new("trigger", error))?,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        if !self.is_triggered(call) {
            return Ok(());
        }
        if self.echo {
            return Err(self.echoed(call).await?);
        }
        if let Some(body) = &self.body {
            let default = HeaderValue::from_static("application/json; charset=utf-8");
            let content_type = self.content_type.clone().unwrap_or(default);
            let exit = Exit::body(self.status, body.to_string());
            return Err(exit.header(header::CONTENT_TYPE, content_type));
        }
        let message = match &self.message {
            Some(message) => Cow::Owned(message.to_string()),
            None => default_message(self.status),
        };
        Err(Exit::message(self.status, message))
    }
}

impl RequestTermination {
    fn is_triggered(&self, call: &mut Call<'_, ()>) -> bool {
        let Some((header, argument)) = &self.trigger else {
            return true;
        };
        let request = call.request();
        request.headers().contains(header) || request.query().contains(argument)
    }

    /// What came, sent back.
    async fn echoed(&self, call: &mut Call<'_, ()>) -> Result<Exit, Exit> {
        let body = call.request().raw_body().await?;
        let captures = call.exchange_ref().context.captures.iter();
        let captures: Object = captures
            .flat_map(|captures| captures.iter())
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let mut matched = object! { "uri_captures": captures };
        let entity = |json: &str| Value::from_json(json.as_bytes()).unwrap_or_default();
        if let Some(route) = &call.exchange_ref().context.route {
            matched.insert("route".into(), entity(&route.json));
            if let Some(service) = &route.service {
                matched.insert("service".into(), entity(&service.json));
            }
        }
        let request = call.request();
        let fields = request.headers().iter();
        let mut headers: Object = fields
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value.into())
            })
            .collect();
        headers.insert("host".into(), request.host().into());
        let query = request.query().arguments.into_iter();
        let query: Object = query
            .map(|argument| {
                (
                    argument.name,
                    argument.value.map_or(Value::Boolean(true), Value::from),
                )
            })
            .collect();
        let echoed = object! {
            "scheme": request.scheme(),
            "host": request.host(),
            "port": u32::from(request.port()),
            "headers": headers,
            "query": query,
            "body": String::from_utf8_lossy(&body).into_owned(),
            "raw_body": String::from_utf8_lossy(&body).into_owned(),
            "method": request.method().as_str(),
            "path": request.path(),
        };
        Ok(Exit::json(
            self.status,
            object! {
                "message": self.message.as_deref().map_or_else(
                    || Value::from(default_message(self.status).into_owned()),
                    Value::from,
                ),
                "kong": object! { "version": KONG_VERSION },
                "matched_route": matched,
                "request": echoed,
            },
        ))
    }
}

/// Kong's words for a status, where none were configured.
fn default_message(status: StatusCode) -> Cow<'static, str> {
    Cow::Borrowed(match status.as_u16() {
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        500 => "An unexpected error occurred",
        502 => "Bad Gateway",
        503 => "Service unavailable",
        _ => "",
    })
}
