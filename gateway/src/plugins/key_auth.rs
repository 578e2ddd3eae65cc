//! key-auth: a key in a header, the query or the body says who the consumer is.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use self::form::Form;
use crate::plugin::authentication::Authentication;
use crate::plugin::client::Credential;
use crate::plugin::field::FieldName;
use crate::plugin::{Call, Exit, Flow, Plugin, Record, Refusal, Setup};
use crate::store::Row;

mod form;

#[derive(Debug)]
pub struct KeyAuth {
    names: Vec<(FieldName, Box<str>)>,
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
            id: row.id.as_ref().into(),
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
            let field = FieldName::parse(&name).map_err(|error| Refusal::new("key_names", error));
            Ok((field?, name.into_boxed_str()))
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
            challenge: HeaderValue::from_bytes(challenge.as_bytes())
                .map_err(|error| Refusal::new("realm", error))?,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        if !self.run_on_preflight && *call.request().method() == Method::OPTIONS {
            return Ok(());
        }
        self.authenticate(call).await
    }
}

impl Authentication for KeyAuth {
    fn anonymous(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    async fn identify(&self, call: &mut Call<'_, ()>) -> Flow {
        let key = match self.find_key(call).await? {
            Found::One(key) if !key.is_empty() => key,
            Found::Several => return Err(self.refuse("Duplicate API key found")),
            _ => return Err(self.refuse("No API key found in request").anonymous()),
        };
        let Some(key) = call.find::<Key>("key", &key).await? else {
            return Err(self.refuse("Unauthorized"));
        };
        let credential = Credential {
            id: key.id.clone(),
            consumer: Some(key.consumer.clone()),
            identifier: Some(Box::from(&*key.id)),
        };
        if !call.authenticate_by(credential).await? {
            return Err(self.refuse("Unauthorized"));
        }
        Ok(())
    }
}

impl KeyAuth {
    /// The key, by the first name under which there is a text. Where credentials are hidden, whatever has that name is
    /// taken out.
    async fn find_key(&self, call: &mut Call<'_, ()>) -> Result<Found, Exit> {
        let mut body = None;
        for (field, name) in &self.names {
            let mut found = Found::Nothing;
            if self.in_header {
                let request = call.request();
                let values = field.all(request.headers());
                found.add_all(values.map(|value| Some(String::from_utf8_lossy(value.as_bytes()))));
            }
            if self.in_query && found.is_nothing() && !call.request().raw_query().is_empty() {
                let query = call.request().query();
                found.add_all(query.values(name));
            }
            if self.in_body && found.is_nothing() {
                found = Form::once(&mut body, call).await?.find(name);
            }
            if self.hide_credentials && matches!(found, Found::One(_)) {
                call.service_request().clear_query_argument(name);
                field.remove(call.service_request().headers());
                if self.in_body
                    && let Some(left) = Form::once(&mut body, call).await?.without(name)
                {
                    call.service_request().set_raw_body(left);
                }
            }
            if matches!(found, Found::One(_) | Found::Several) {
                return Ok(found);
            }
        }
        Ok(Found::Nothing)
    }

    fn refuse(&self, text: &'static str) -> Exit {
        let exit = Exit::error(StatusCode::UNAUTHORIZED, text);
        exit.header(header::WWW_AUTHENTICATE, self.challenge.clone())
    }
}

/// What there is under a name.
#[derive(Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    One(Box<str>),
    Several,
    /// Something that is no text, such as an argument without `=`. It counts for nothing, yet it is there.
    Other,
}

impl Found {
    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn add_all<T: AsRef<str>>(&mut self, values: impl Iterator<Item = Option<T>>) {
        for value in values {
            *self = match (&self, value) {
                (Self::Nothing, Some(text)) => Self::One(text.as_ref().into()),
                (Self::Nothing, None) => Self::Other,
                _ => Self::Several,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_none() {
        let found = |values: &[Option<&str>]| {
            let mut found = Found::Nothing;
            found.add_all(values.iter().copied());
            found
        };
        assert_eq!(found(&[]), Found::Nothing);
        assert_eq!(found(&[Some("a")]), Found::One("a".into()));
        assert_eq!(found(&[None]), Found::Other);
        assert_eq!(found(&[Some("a"), Some("a")]), Found::Several);
        assert_eq!(found(&[None, Some("a")]), Found::Several);
    }
}
