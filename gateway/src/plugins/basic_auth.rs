//! basic-auth: a username and a password say who the consumer is (RFC 7617).

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::plugin::authentication::Authentication;
use crate::plugin::client::Credential;
use crate::plugin::{Call, Exit, Flow, Plugin, Record, Refusal, Setup};
use crate::schema::password_hash;
use crate::store::Row;

#[derive(Debug)]
pub struct BasicAuth {
    anonymous: Option<Box<str>>,
    hide_credentials: bool,
    challenge: HeaderValue,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    anonymous: Option<Box<str>>,
    hide_credentials: bool,
    realm: String,
}

/// A username, and whose it is.
struct User {
    id: Arc<str>,
    consumer: Arc<str>,
    name: Box<str>,
    /// Of the password.
    hash: Box<str>,
}

/// What a client says.
#[derive(Debug, Eq, PartialEq)]
struct Claimed {
    name: String,
    password: Vec<u8>,
}

impl Record for User {
    const ENTITY: &'static str = "basicauth_credentials";

    fn read(row: &Row) -> Option<Self> {
        let text = |field: &str| row.entity.get(field)?.as_str();
        let consumer = row.entity.get("consumer")?.get("id")?.as_str()?;
        Some(Self {
            id: row.id.as_ref().into(),
            consumer: consumer.into(),
            name: text("username")?.into(),
            hash: text("password")?.into(),
        })
    }
}

impl Plugin for BasicAuth {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let challenge = format!("Basic realm=\"{}\"", config.realm);
        Ok(Self {
            anonymous: config.anonymous,
            hide_credentials: config.hide_credentials,
            challenge: HeaderValue::from_bytes(challenge.as_bytes())
                .map_err(|error| Refusal::new("realm", error))?,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        self.authenticate(call).await
    }
}

impl Authentication for BasicAuth {
    fn anonymous(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    async fn identify(&self, call: &mut Call<'_, ()>) -> Flow {
        // As in Kong, what is for proxies goes first, and the other field counts where that names nobody who is known.
        let mut anonymous = true;
        for field in [header::PROXY_AUTHORIZATION, header::AUTHORIZATION] {
            let Some(claimed) = self.take(call, &field) else {
                continue;
            };
            anonymous = false;
            let Some(user) = call.find::<User>("username", &claimed.name).await? else {
                continue;
            };
            let hash = password_hash(&claimed.password, &user.consumer);
            if verify_slices_are_equal(hash.as_bytes(), user.hash.as_bytes()).is_err() {
                return Err(self.refuse());
            }
            let credential = Credential {
                id: user.id.clone(),
                consumer: Some(user.consumer.clone()),
                identifier: Some(user.name.clone()),
            };
            if call.authenticate_by(credential).await? {
                return Ok(());
            }
        }
        let exit = self.refuse();
        Err(if anonymous { exit.anonymous() } else { exit })
    }
}

impl BasicAuth {
    /// What a field says. Where credentials are hidden it is taken off.
    fn take(&self, call: &mut Call<'_, ()>, field: &HeaderName) -> Option<Claimed> {
        let claimed = call
            .request()
            .headers()
            .get(field)
            .and_then(|value| Claimed::read(value.as_bytes()));
        if self.hide_credentials {
            call.service_request().clear_header(field);
        }
        claimed
    }

    fn refuse(&self) -> Exit {
        let exit = Exit::error(StatusCode::UNAUTHORIZED, "Unauthorized");
        exit.header(header::WWW_AUTHENTICATE, self.challenge.clone())
    }
}

impl Claimed {
    /// Reads `Basic` and base64 of `name:password`, with or without padding and spaces, as Kong does.
    fn read(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let decoded = BASE64.decode(encoded.trim_ascii()).ok()?;
        let colon = memchr::memchr(b':', &decoded)?;
        let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
        let password = decoded[colon + 1..].to_vec();
        (!name.is_empty()).then_some(Self { name, password })
    }
}

/// Who it is may be told; what the hash is may not.
impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("User")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

const SCHEME: &[u8] = b"basic";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        let read = |value: &str| {
            let claimed = Claimed::read(value.as_bytes())?;
            Some(format!(
                "{}|{}",
                claimed.name,
                String::from_utf8_lossy(&claimed.password)
            ))
        };
        for (value, wanted) in [
            ("Basic Ym9iOmtvbmc=", Some("bob|kong")),
            ("basic  Ym9iOmtvbmc", Some("bob|kong")),
            ("BasicYm9iOmtvbmc=", Some("bob|kong")),
            // bob:ko:ng and bob:
            ("Basic Ym9iOmtvOm5n", Some("bob|ko:ng")),
            ("Basic Ym9iOg==", Some("bob|")),
            // :kong, bob, and no base64
            ("Basic OmtvbmM=", None),
            ("Basic Ym9i", None),
            ("Basic adXNlcjEyMzpwYXNzd29yZDEyMw==", None),
            ("Basic Ym9i\nOmtvbmc=", None),
            ("Basic ", None),
            ("Bas", None),
            ("Bearer Ym9iOmtvbmc=", None),
            ("", None),
        ] {
            assert_eq!(read(value).as_deref(), wanted, "{value}");
        }
    }
}
