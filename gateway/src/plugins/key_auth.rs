//! key-auth: a key in a header, the query or the body says who the consumer is.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use crate::plugin::client::Credential;
use crate::plugin::query::Query;
use crate::plugin::{Call, Exit, Flow, Plugin, Record, Refusal, Setup};
use crate::store::{Row, StoreError};
use crate::value::{Object, Value};

#[derive(Debug)]
pub struct KeyAuth {
    names: Vec<(HeaderName, Box<str>)>,
    hide_credentials: bool,
    anonymous: Option<Box<str>>,
    in_header: bool,
    in_query: bool,
    in_body: bool,
    run_on_preflight: bool,
    challenge: HeaderValue,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    key_names: Vec<String>,
    hide_credentials: bool,
    anonymous: Option<Box<str>>,
    key_in_header: bool,
    key_in_query: bool,
    key_in_body: bool,
    run_on_preflight: bool,
    realm: Option<String>,
}

/// A key and whose it is.
#[derive(Debug)]
struct Key {
    id: Arc<str>,
    consumer: Arc<str>,
}

impl Record for Key {
    const ENTITY: &'static str = "keyauth_credentials";

    fn read(row: &Row) -> Option<Self> {
        let consumer = row.entity.get("consumer")?.get("id")?.as_str()?;
        Some(Self {
            id: row.id.as_str().into(),
            consumer: consumer.into(),
        })
    }
}

impl Plugin for KeyAuth {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let names = config.key_names.into_iter().map(|name| {
            let header = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes());
            header
                .map(|header| (header, name.into_boxed_str()))
                .map_err(|error| Refusal::new("key_names", error))
        });
        let challenge = match config.realm {
            Some(realm) => format!("Key realm=\"{realm}\""),
            None => "Key".to_owned(),
        };
        Ok(Self {
            names: names.collect::<Result<_, _>>()?,
            hide_credentials: config.hide_credentials,
            anonymous: config.anonymous,
            in_header: config.key_in_header,
            in_query: config.key_in_query,
            in_body: config.key_in_body,
            run_on_preflight: config.run_on_preflight,
            challenge: HeaderValue::from_str(&challenge)
                .map_err(|error| Refusal::new("realm", error))?,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        if !self.run_on_preflight && *call.request().method() == Method::OPTIONS {
            return Ok(());
        }
        let Some(anonymous) = &self.anonymous else {
            return self.authenticate(call).await;
        };
        if call.client().credential().is_some() {
            // Another plugin knows who it is: with `anonymous` either is enough.
            return Ok(());
        }
        match self.authenticate(call).await {
            Err(exit) if exit.status() == StatusCode::UNAUTHORIZED => {
                call.authenticate_anonymous(anonymous).await
            }
            other => other,
        }
    }
}

impl KeyAuth {
    async fn authenticate(&self, call: &mut Call<'_, ()>) -> Flow {
        let key = match self.find_key(call).await? {
            Found::One(key) => key,
            Found::None => return Err(self.refuse("No API key found in request")),
            Found::Several => return Err(self.refuse("Duplicate API key found")),
        };
        let credential = call.find::<Key>("key", &key).await.map_err(unavailable)?;
        let Some(credential) = credential else {
            return Err(self.refuse("Unauthorized"));
        };
        let consumer = call
            .client()
            .load_consumer(&credential.consumer, false)
            .await;
        let Some(consumer) = consumer.map_err(unavailable)? else {
            return Err(Exit::unexpected());
        };
        let credential = Credential {
            id: credential.id.clone(),
            consumer: Some(credential.consumer.clone()),
            identifier: Some(Box::from(&*credential.id)),
        };
        call.client().authenticate(Some(consumer), Some(credential));
        Ok(())
    }

    /// The key, by the first name under which there is one. Where credentials are hidden it is taken out.
    async fn find_key(&self, call: &mut Call<'_, ()>) -> Result<Found, Exit> {
        let mut body = None;
        for (header, name) in &self.names {
            let mut found = Found::None;
            if self.in_header {
                found.add_all(
                    call.request()
                        .headers()
                        .all(header)
                        .filter_map(|value| value.to_str().ok()),
                );
                if self.hide_credentials && !matches!(found, Found::None) {
                    call.service_request().clear_header(header);
                }
            }
            if self.in_query
                && matches!(found, Found::None)
                && !call.request().raw_query().is_empty()
            {
                found.add_all(call.request().query().all(name));
                if self.hide_credentials && !matches!(found, Found::None) {
                    call.service_request().clear_query_argument(name);
                }
            }
            if self.in_body && matches!(found, Found::None) {
                let body = match &mut body {
                    Some(body) => body,
                    None => body.insert(Form::read(call).await?),
                };
                body.find(name, &mut found);
                if self.hide_credentials && !matches!(found, Found::None) {
                    body.remove(name);
                    body.write(call);
                }
            }
            if !matches!(found, Found::None) {
                return Ok(found);
            }
        }
        Ok(Found::None)
    }

    fn refuse(&self, text: &'static str) -> Exit {
        let exit = Exit::error(StatusCode::UNAUTHORIZED, text);
        exit.header(header::WWW_AUTHENTICATE, self.challenge.clone())
    }
}

enum Found {
    None,
    One(Box<str>),
    Several,
}

impl Found {
    fn add_all<'a>(&mut self, values: impl Iterator<Item = &'a str>) {
        for value in values {
            *self = match self {
                Self::None => Self::One(value.into()),
                Self::One(_) | Self::Several => Self::Several,
            };
        }
    }
}

/// A body that holds members by name.
enum Form {
    Json(Object),
    UrlEncoded(Query),
    Other,
}

impl Form {
    async fn read(call: &mut Call<'_, ()>) -> Result<Self, Exit> {
        let kind = call.request().media_type();
        let is_json = match kind.as_deref() {
            Some("application/json") => true,
            Some("application/x-www-form-urlencoded") => false,
            _ => return Ok(Self::Other),
        };
        let bytes = call.request().raw_body().await?;
        if !is_json {
            return Ok(Self::UrlEncoded(Query::parse(&bytes)));
        }
        Ok(match Value::from_json(&bytes) {
            Ok(Value::Object(members)) => Self::Json(members),
            Ok(_) => Self::Other,
            Err(_) => {
                return Err(Exit::error(
                    StatusCode::BAD_REQUEST,
                    "Cannot process request body",
                ));
            }
        })
    }

    fn find(&self, name: &str, found: &mut Found) {
        match self {
            Self::Json(members) => match members.get(name) {
                Some(Value::String(text)) => found.add_all(std::iter::once(text.as_str())),
                Some(Value::Array(_)) => *found = Found::Several,
                _ => {}
            },
            Self::UrlEncoded(query) => found.add_all(query.all(name)),
            Self::Other => {}
        }
    }

    fn remove(&mut self, name: &str) {
        match self {
            Self::Json(members) => drop(members.shift_remove(name)),
            Self::UrlEncoded(query) => drop(query.remove(name)),
            Self::Other => {}
        }
    }

    fn write(&self, call: &mut Call<'_, ()>) {
        match self {
            Self::Json(members) => {
                let text = Value::from(members.clone()).to_json();
                call.service_request().set_raw_body(text);
            }
            Self::UrlEncoded(query) => call.service_request().set_raw_body(query.to_text()),
            Self::Other => {}
        }
    }
}

/// The store does not answer: nobody can be told from anybody else.
fn unavailable(error: StoreError) -> Exit {
    tracing::error!(%error, "key-auth cannot look a key up");
    Exit::unexpected()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_none() {
        let mut found = Found::None;
        found.add_all(["a"].into_iter());
        assert!(matches!(&found, Found::One(key) if **key == *"a"));
        found.add_all(["a"].into_iter());
        assert!(matches!(found, Found::Several));
    }
}
