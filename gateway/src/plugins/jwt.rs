//! jwt: a signed token says who the consumer is (RFC 7519).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use self::algorithm::Algorithm;
use self::token::Token;
use self::verifier::{Fault, Verifier};
use crate::plugin::authentication::Authentication;
use crate::plugin::client::Credential;
use crate::plugin::field::FieldName;
use crate::plugin::{Call, Exit, Flow, Plugin, Record, Refusal, Setup};
use crate::store::Row;
use crate::value::{Object, Value};

mod algorithm;
mod source;
mod token;
mod verifier;

#[derive(Debug)]
pub struct Jwt {
    uri_param_names: Vec<Box<str>>,
    cookie_names: Vec<Box<str>>,
    header_names: Vec<FieldName>,
    key_claim_name: Box<str>,
    secret_is_base64: bool,
    claims_to_verify: Vec<Claim>,
    maximum_expiration: f64,
    anonymous: Option<Box<str>>,
    run_on_preflight: bool,
    /// What a client without a token is told, and one with a bad one.
    challenge: HeaderValue,
    challenge_invalid: HeaderValue,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    uri_param_names: Option<Vec<Box<str>>>,
    cookie_names: Option<Vec<Box<str>>>,
    header_names: Option<Vec<String>>,
    key_claim_name: Option<Box<str>>,
    secret_is_base64: bool,
    claims_to_verify: Option<Vec<Claim>>,
    maximum_expiration: Option<f64>,
    anonymous: Option<Box<str>>,
    run_on_preflight: bool,
    realm: Option<String>,
}

/// A claim that is looked at beside the signature.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Claim {
    /// The token is good until then.
    Exp,
    /// The token is not good before.
    Nbf,
}

/// Who signs tokens, and with what.
#[derive(Debug)]
struct Issuer {
    id: Arc<str>,
    consumer: Arc<str>,
    key: Box<str>,
    algorithm: Option<&'static Algorithm>,
    verifier: Verifier,
}

impl Record for Issuer {
    const ENTITY: &'static str = "jwt_secrets";

    fn read(row: &Row) -> Option<Self> {
        let text = |field: &str| row.entity.get(field)?.as_str();
        let consumer = row.entity.get("consumer")?.get("id")?.as_str()?;
        let algorithm = Algorithm::named(text("algorithm").unwrap_or("HS256"));
        Some(Self {
            id: row.id.as_ref().into(),
            consumer: consumer.into(),
            key: text("key")?.into(),
            algorithm,
            // The key is for this algorithm and no other, whatever a token says.
            verifier: algorithm.map_or(Verifier::Unusable, |algorithm| {
                Verifier::new(algorithm, text("secret"), text("rsa_public_key"))
            }),
        })
    }
}

impl Plugin for Jwt {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let names = config.header_names.unwrap_or_default();
        let names = names.iter().map(|name| FieldName::parse(name));
        let challenge = match config.realm {
            Some(realm) => format!("Bearer realm=\"{realm}\""),
            None => "Bearer".to_owned(),
        };
        let invalid = format!("{challenge} error=\"invalid_token\"");
        let value = |text: String| {
            HeaderValue::try_from(text.into_bytes()).map_err(|error| Refusal::new("realm", error))
        };
        Ok(Self {
            uri_param_names: config.uri_param_names.unwrap_or_default(),
            cookie_names: config.cookie_names.unwrap_or_default(),
            header_names: names
                .collect::<Result<_, _>>()
                .map_err(|error| Refusal::new("header_names", error))?,
            key_claim_name: config.key_claim_name.unwrap_or_else(|| "iss".into()),
            secret_is_base64: config.secret_is_base64,
            claims_to_verify: config.claims_to_verify.unwrap_or_default(),
            maximum_expiration: config.maximum_expiration.unwrap_or_default(),
            anonymous: config.anonymous,
            run_on_preflight: config.run_on_preflight,
            challenge: value(challenge)?,
            challenge_invalid: value(invalid)?,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        if !self.run_on_preflight && *call.request().method() == Method::OPTIONS {
            return Ok(());
        }
        self.authenticate(call).await
    }
}

impl Authentication for Jwt {
    fn anonymous(&self) -> Option<&str> {
        self.anonymous.as_deref()
    }

    async fn identify(&self, call: &mut Call<'_, ()>) -> Flow {
        let text = self.find_token(call)?;
        let token = Token::parse(&text).map_err(|why| self.refuse(format!("Bad token; {why}")))?;
        let name = &*self.key_claim_name;
        let key = match token.member(name) {
            None => return Err(self.refuse(format!("No mandatory '{name}' in claims"))),
            Some(Value::String(key)) if !key.is_empty() => key,
            Some(_) => return Err(self.refuse(format!("Invalid '{name}' in claims"))),
        };
        let Some(issuer) = call.find::<Issuer>("key", key).await? else {
            return Err(self.refuse(format!("No credentials found for given '{name}'")));
        };
        if issuer.algorithm != Some(token.algorithm) {
            return Err(self.refuse("Invalid algorithm"));
        }
        issuer
            .verifier
            .verify(&token, self.secret_is_base64)
            .map_err(|fault| {
                self.refuse(match fault {
                    Fault::Key => "Invalid key/secret",
                    Fault::Signature => "Invalid signature",
                })
            })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let errors = self.check_times(&token, now.unwrap_or_default().as_secs());
        if !errors.is_empty() {
            let exit = Exit::json(StatusCode::UNAUTHORIZED, errors);
            return Err(exit.header(header::WWW_AUTHENTICATE, self.challenge_invalid.clone()));
        }
        let credential = Credential {
            id: issuer.id.clone(),
            consumer: Some(issuer.consumer.clone()),
            identifier: Some(issuer.key.clone()),
        };
        if !call.authenticate_by(credential).await? {
            let text = format!("Could not find consumer for '{name}={key}'");
            return Err(Exit::message(StatusCode::UNAUTHORIZED, text));
        }
        call.share("authenticated_jwt_token", text.into_owned().into());
        Ok(())
    }
}

impl Jwt {
    /// The token, wherever the request has it: the same one may be in several places.
    fn find_token(&self, call: &mut Call<'_, ()>) -> Result<Cow<'static, str>, Exit> {
        let mut found = Vec::new();
        let request = call.request();
        let query;
        if !request.raw_query().is_empty() {
            query = request.query();
            for name in &self.uri_param_names {
                source::gather(
                    query.values(name).map(|value| value.map(Cow::Borrowed)),
                    &mut found,
                );
            }
        }
        for name in &self.cookie_names {
            let cookie = source::cookie(request.headers(), name);
            source::gather(cookie.into_iter().map(Some), &mut found);
        }
        for name in &self.header_names {
            // Of several fields of one name the first counts.
            let field = name.all(request.headers()).next();
            let token = field.and_then(|value| source::bearer(value.as_bytes()));
            source::gather(token.into_iter().map(Some), &mut found);
        }
        match found.pop() {
            None => Err(self
                .challenge(self.challenge.clone(), "Unauthorized")
                .anonymous()),
            Some(_) if !found.is_empty() => Err(self.refuse("Multiple tokens provided")),
            Some(None) => Err(self.refuse("Unrecognizable token")),
            Some(Some(token)) => Ok(Cow::Owned(token.into_owned())),
        }
    }

    /// What is wrong with the token at this time, by claim.
    fn check_times(&self, token: &Token<'_>, now: u64) -> Object {
        #[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
        let now = now as f64;
        let mut errors = Object::new();
        for claim in &self.claims_to_verify {
            let (name, time) = match claim {
                Claim::Exp => ("exp", token.claims.get("exp")),
                Claim::Nbf => ("nbf", token.claims.get("nbf")),
            };
            let error = match (claim, time.and_then(Value::as_number)) {
                (_, None) => "must be a number",
                (Claim::Exp, Some(exp)) if exp <= now => "token expired",
                (Claim::Nbf, Some(nbf)) if nbf > now => "token not valid yet",
                _ => continue,
            };
            errors.insert(name.into(), error.into());
        }
        if errors.is_empty() && self.maximum_expiration > 0.0 {
            let exp = token.claims.get("exp").and_then(Value::as_number);
            if exp.is_none_or(|exp| exp - now > self.maximum_expiration) {
                errors.insert("exp".into(), "exceeds maximum allowed expiration".into());
            }
        }
        errors
    }

    fn refuse(&self, text: impl Into<Cow<'static, str>>) -> Exit {
        self.challenge(self.challenge_invalid.clone(), text)
    }

    fn challenge(&self, challenge: HeaderValue, text: impl Into<Cow<'static, str>>) -> Exit {
        let exit = Exit::message(StatusCode::UNAUTHORIZED, text);
        exit.header(header::WWW_AUTHENTICATE, challenge)
    }
}
