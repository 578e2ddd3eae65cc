//! Where in a request a provider's tokens are.

use std::borrow::Cow;

use carbyne_engine::http::Request;
use carbyne_protos::envoy::extensions::filters::http::jwt_authn::v3::JwtProvider;
use http::{HeaderName, HeaderValue, header};

use crate::filter::{query, reading};
use crate::plan::scope::Scope;

/// The places in which a provider's tokens may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    headers: Box<[(HeaderName, Box<str>)]>,
    parameters: Box<[Box<str>]>,
    cookies: Box<[Box<str>]>,
}

/// A token and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) token: Vec<u8>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Header(HeaderName),
    Parameter(Box<str>),
    Cookie,
}

impl Places {
    pub(super) fn read(message: &JwtProvider, scope: &Scope<'_>) -> Option<Self> {
        let mut headers = Vec::new();
        for (index, from) in message.from_headers.iter().enumerate() {
            let name =
                reading::header_name(&from.name, &scope.item("from_headers", index).field("name"))?;
            headers.push((name, Box::from(from.value_prefix.as_str())));
        }
        let texts = |texts: &[String]| {
            texts
                .iter()
                .map(|text| text.as_str().into())
                .collect::<Box<[Box<str>]>>()
        };
        let (mut parameters, cookies) = (texts(&message.from_params), texts(&message.from_cookies));
        if headers.is_empty() && parameters.is_empty() && cookies.is_empty() {
            headers.push((header::AUTHORIZATION, "Bearer ".into()));
            parameters = ["access_token".into()].into();
        }
        Some(Self {
            headers: headers.into(),
            parameters,
            cookies,
        })
    }

    /// All tokens in the request: those of header fields, parameters, cookies.
    pub(super) fn find(&self, request: &Request, found: &mut Vec<Found>) {
        let mut add = |token: &[u8], place: Place| {
            let new = Found {
                token: token.to_vec(),
                place,
            };
            // Two providers may look into one place.
            if !found.contains(&new) {
                found.push(new);
            }
        };
        for (name, prefix) in &self.headers {
            // RFC 9110 §5.3: several lines are one list, and a list of tokens is no token. Whoever sends two does
            // not get to choose which one counts.
            let mut values = request.headers.all(name).map(HeaderValue::as_bytes);
            let value = match (values.next(), values.next()) {
                (None, _) => continue,
                (Some(only), None) => Cow::Borrowed(only),
                (Some(first), Some(second)) => {
                    let all: Vec<_> = [first, second].into_iter().chain(values).collect();
                    Cow::Owned(all.join(&b","[..]))
                }
            };
            if let Some(token) = after_prefix(&value, prefix.as_bytes()) {
                add(token, Place::Header(name.clone()));
            }
        }
        for parameter in &self.parameters {
            if let Some(token) = query::first(request, parameter) {
                add(&token, Place::Parameter(parameter.clone()));
            }
        }
        if self.cookies.is_empty() {
            return;
        }
        for wanted in &self.cookies {
            let pairs = request
                .headers
                .all(&header::COOKIE)
                .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
            let mut pairs = pairs.filter_map(|pair| {
                let at = memchr::memchr(b'=', pair)?;
                Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
            });
            if let Some((_, token)) = pairs.find(|(name, _)| *name == wanted.as_bytes()) {
                add(
                    token
                        .strip_prefix(b"\"")
                        .and_then(|token| token.strip_suffix(b"\""))
                        .unwrap_or(token),
                    Place::Cookie,
                );
            }
        }
    }
}

impl Found {
    /// Takes the token out of the request. Cookies stay, as in Envoy.
    pub(super) fn remove(&self, request: &mut Request) {
        match &self.place {
            Place::Header(name) => {
                request.headers.remove(name);
            }
            Place::Parameter(name) => query::remove(request, name),
            Place::Cookie => {}
        }
    }
}

/// What follows the prefix, wherever it stands, from the first letter that a token may have. Envoy takes the whole value where there is none;
/// so does this: it will be refused for its form.
fn after_prefix<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    if prefix.is_empty() {
        return Some(value);
    }
    let at = memchr::memmem::find(value, prefix)? + prefix.len();
    let is_of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    Some(
        value[at..]
            .iter()
            .position(is_of_token)
            .map_or(value, |start| &value[at + start..]),
    )
}
