//! An issuer of tokens: what is asked of its tokens, and what is done with good ones.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carbyne_engine::http::Request;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtClaimToHeader, JwtProvider,
};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::extract::{Found, Places};
use super::key::KeySet;
use super::remote::RemoteKeys;
use super::status::Failure;
use super::token::Token;
use crate::filter::planned::Doubts;
use crate::filter::reading;
use crate::live::matcher::StringMatcher;
use crate::plan::error::Fault;
use crate::plan::scope::Scope;
use crate::plan::{matcher, value};

/// A provider.
#[derive(Debug)]
pub(super) struct Provider {
    /// `None` takes any.
    pub(super) issuer: Option<Box<str>>,
    pub(super) places: Places,
    pub(super) keys: Keys,
    audiences: Audiences,
    subjects: Option<StringMatcher>,
    must_expire: bool,
    /// Longest time in seconds that a token may have left.
    longest_life: Option<u64>,
    /// Seconds.
    leeway: u64,
    forward: bool,
    payload_header: Option<HeaderName>,
    pad_payload_header: bool,
    claim_headers: Box<[(HeaderName, ClaimPath)]>,
    payload_key: Option<Box<str>>,
    header_key: Option<Box<str>>,
    failure_key: Option<Box<str>>,
    /// Claims whose texts are lists in the metadata.
    split_claims: Box<[Box<str>]>,
    clears_route: bool,
}

/// Keys from object to object.
type ClaimPath = Box<[Box<str>]>;

/// Where the keys are.
#[derive(Debug)]
pub(super) enum Keys {
    Local(KeySet),
    Remote(Arc<RemoteKeys>),
}

/// For whom tokens may be meant; an empty list takes all.
#[derive(Clone, Debug, Default)]
pub(super) struct Audiences(Box<[Box<str>]>);

/// What the tokens of one request did, beside changing it.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To be written under the filter's name.
    pub(super) metadata: Map<String, Value>,
    pub(super) clears_route: bool,
    /// `kid` of the last token that was good.
    pub(super) key_id: Option<String>,
}

impl Provider {
    pub(super) fn read(message: &JwtProvider, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        if message.jwt_cache_config.is_some() {
            scope
                .field("jwt_cache_config")
                .note("every token is verified");
        }
        let subjects = match &message.subjects {
            None => None,
            Some(subjects) => Some(matcher::string(subjects, &scope.field("subjects"))?),
        };
        let name = |text: &str, field: &'static str| match text {
            "" => Some(None),
            text => reading::header_name(text, &scope.field(field)).map(Some),
        };
        let claim_headers = message.claim_to_headers.iter().enumerate();
        let claim_headers = claim_headers
            .map(|(index, claim)| claim_header(claim, &scope.item("claim_to_headers", index)));
        let key = |text: &str| (!text.is_empty()).then(|| text.into());
        Some(Self {
            issuer: key(&message.issuer),
            places: Places::read(message, scope)?,
            keys: Keys::read(message, scope, doubts)?,
            audiences: Audiences::new(&message.audiences),
            subjects,
            must_expire: message.require_expiration,
            longest_life: value::duration(
                message.max_lifetime.as_ref(),
                &scope.field("max_lifetime"),
            )
            .map(|life| life.as_secs()),
            leeway: match message.clock_skew_seconds {
                0 => LEEWAY,
                seconds => u64::from(seconds),
            },
            forward: message.forward,
            payload_header: name(&message.forward_payload_header, "forward_payload_header")?,
            pad_payload_header: message.pad_forward_payload_header,
            claim_headers: claim_headers.collect::<Option<_>>()?,
            payload_key: key(&message.payload_in_metadata),
            header_key: key(&message.header_in_metadata),
            failure_key: key(&message.failed_status_in_metadata),
            split_claims: (message.normalize_payload_in_metadata.iter())
                .flat_map(|normalize| {
                    normalize
                        .space_delimited_claims
                        .iter()
                        .map(|claim| claim.as_str().into())
                })
                .collect(),
            clears_route: message.clear_route_cache,
        })
    }

    /// Takes out what only this provider may put in.
    pub(super) fn sanitize(&self, request: &mut Request) {
        let claims = self.claim_headers.iter().map(|(name, _)| name);
        for name in self.payload_header.iter().chain(claims) {
            request.headers.remove(name);
        }
    }

    /// Whether a token of that issuer may be this provider's.
    pub(super) fn takes(&self, issuer: &str) -> bool {
        self.issuer.as_deref().is_none_or(|own| own == issuer)
    }

    /// All that is asked of a token, in Envoy's order. `now` is in seconds since 1970.
    pub(super) fn check(
        &self,
        token: &Token<'_>,
        audiences: Option<&Audiences>,
        now: u64,
    ) -> Result<(), Failure> {
        if !self.takes(&token.issuer) {
            return Err(Failure::IssuerUnknown);
        }
        if self
            .subjects
            .as_ref()
            .is_some_and(|subjects| !subjects.matches(token.subject.as_bytes()))
        {
            return Err(Failure::Verification);
        }
        let expires = token.expires.filter(|expires| *expires != 0);
        let lives_too_long = match (self.longest_life, expires) {
            (Some(longest), Some(expires)) => expires.saturating_sub(now) > longest,
            (Some(_), None) => true,
            (None, expires) => self.must_expire && expires.is_none(),
        };
        if lives_too_long {
            return Err(Failure::Verification);
        }
        token.check_time(now, self.leeway)?;
        if !audiences.unwrap_or(&self.audiences).allow(&token.audiences) {
            return Err(Failure::AudienceRefused);
        }
        match &self.keys {
            Keys::Local(keys) => keys.verify(token),
            Keys::Remote(remote) => remote
                .with(|keys| keys.verify(token))
                .unwrap_or(Err(Failure::Fetch)),
        }
    }

    /// Does what shall be done with a good token.
    pub(super) fn accept(
        &self,
        token: Token<'_>,
        found: &Found,
        request: &mut Request,
        effects: &mut Effects,
    ) {
        effects.key_id = token.key_id;
        if let Some(name) = &self.payload_header {
            let mut payload = token.encoded_payload.to_owned();
            if self.pad_payload_header {
                payload.extend(std::iter::repeat_n('=', (4 - payload.len() % 4) % 4));
            }
            if let Ok(value) = HeaderValue::try_from(payload) {
                request.headers.append(name.clone(), value);
            }
        }
        for (name, path) in &self.claim_headers {
            if let Some(value) = claim(&token.payload, path)
                .and_then(claim_text)
                .and_then(|text| HeaderValue::try_from(text).ok())
            {
                request.headers.append(name.clone(), value);
            }
        }
        if !self.forward {
            found.remove(request);
        }
        if let Some(key) = &self.header_key {
            effects
                .metadata
                .insert(key.to_string(), Value::Object(token.header));
        }
        if let Some(key) = &self.payload_key {
            let mut payload = token.payload;
            for claim in &self.split_claims {
                if let Some(Value::String(text)) = payload.get(&**claim) {
                    let words = text
                        .split(' ')
                        .filter(|word| !word.is_empty())
                        .map(Value::from)
                        .collect();
                    payload.insert(claim.to_string(), Value::Array(words));
                }
            }
            effects
                .metadata
                .insert(key.to_string(), Value::Object(payload));
        }
        effects.clears_route |= self.clears_route;
    }

    /// Notes a failure where the provider wants it known.
    pub(super) fn note(&self, failure: Failure, effects: &mut Effects) {
        if let (Some(key), true) = (&self.failure_key, failure != Failure::Missing) {
            let status = Map::from_iter([
                ("code".to_owned(), Value::from(failure.code())),
                ("message".to_owned(), Value::from(failure.to_string())),
            ]);
            effects
                .metadata
                .insert(key.to_string(), Value::Object(status));
        }
    }
}

impl Keys {
    fn read(message: &JwtProvider, scope: &Scope<'_>, doubts: &Doubts) -> Option<Self> {
        match &message.jwks_source_specifier {
            Some(JwksSourceSpecifier::LocalJwks(source)) => {
                let scope = scope.field("local_jwks");
                let Some(text) = value::data(Some(source), &scope) else {
                    scope.missing();
                    return None;
                };
                match KeySet::parse(&text) {
                    Ok(keys) => Some(Self::Local(keys)),
                    Err(error) => {
                        scope.reject(Fault::Malformed(error.to_string()));
                        None
                    }
                }
            }
            Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
                RemoteKeys::read(remote, &scope.field("remote_jwks"))
                    .map(|keys| Self::Remote(Arc::new(keys)))
            }
            None => {
                doubts.add(scope, "a provider without keys");
                None
            }
        }
    }
}

impl Audiences {
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| plain(name).into()).collect())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn allow(&self, audiences: &[String]) -> bool {
        self.0.is_empty()
            || audiences
                .iter()
                .any(|audience| self.0.iter().any(|own| **own == *plain(audience)))
    }
}

/// Envoy takes `https://a/`, `http://a` and `a` for one audience.
fn plain(audience: &str) -> &str {
    let rest = audience
        .strip_prefix("https://")
        .or_else(|| audience.strip_prefix("http://"))
        .unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest)
}

fn claim_header(message: &JwtClaimToHeader, scope: &Scope<'_>) -> Option<(HeaderName, ClaimPath)> {
    let name = reading::header_name(&message.header_name, &scope.field("header_name"))?;
    let path: ClaimPath = if message.claim_path.is_empty() {
        message.claim_name.split('.').map(Box::from).collect()
    } else {
        message
            .claim_path
            .iter()
            .map(|segment| segment.key.as_str().into())
            .collect()
    };
    if path.iter().any(|key| key.is_empty()) {
        scope.field("claim_name").missing();
        return None;
    }
    Some((name, path))
}

fn claim<'a>(payload: &'a Map<String, Value>, path: &[Box<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(payload.get(&**first)?, |value, key| {
        value.as_object()?.get(&**key)
    })
}

/// Envoy's text of a claim: lists and objects as base64 of their JSON, whole numbers without a fraction, others with six digits.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => Some(whole.to_string()),
            (None, Some(float)) => Some(format!("{float:.6}")),
            (None, None) => None,
        },
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(value.to_string())),
    }
}

/// Seconds that clocks may differ, as in Envoy.
const LEEWAY: u64 = 60;
