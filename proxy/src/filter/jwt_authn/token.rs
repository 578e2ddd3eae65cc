//! A token taken apart (RFC 7515, RFC 7519), before anybody believes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::key::Algorithm;
use super::status::Failure;

/// A token whose form is right; its signature was not looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) algorithm: Algorithm,
    /// `kid`, if it is there and not empty.
    pub(super) key_id: Option<String>,
    pub(super) header: Map<String, Value>,
    pub(super) payload: Map<String, Value>,
    /// Empty where it is missing.
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) audiences: Vec<String>,
    /// Seconds since 1970.
    pub(super) not_before: Option<u64>,
    /// Seconds since 1970.
    pub(super) expires: Option<u64>,
    /// The payload as it was sent.
    pub(super) encoded_payload: &'t str,
    /// What the signature is about.
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes it apart, in Envoy's order, so that the same thing is said of a token with several faults. Base64url is strict: no padding, no
    /// other letters, no loose bits at the end, so that one token has one spelling.
    pub(super) fn parse(text: &'t [u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(text).map_err(|_| Failure::Form)?;
        let (signed, encoded_signature) = text.rsplit_once('.').ok_or(Failure::Form)?;
        let (encoded_header, encoded_payload) = signed.split_once('.').ok_or(Failure::Form)?;
        if [encoded_header, encoded_payload, encoded_signature].contains(&"")
            || encoded_payload.contains('.')
        {
            return Err(Failure::Form);
        }
        let header = URL_SAFE_NO_PAD
            .decode(encoded_header)
            .map_err(|_| Failure::HeaderBase64)?;
        let header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|_| Failure::HeaderJson)?;
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .ok_or(Failure::Algorithm)?;
        let algorithm = Algorithm::parse(algorithm).ok_or(Failure::AlgorithmUnknown)?;
        let key_id = text_claim(&header, "kid", Failure::KeyId)?
            .map(str::to_owned)
            .filter(|id| !id.is_empty());
        let payload = URL_SAFE_NO_PAD
            .decode(encoded_payload)
            .map_err(|_| Failure::PayloadBase64)?;
        let payload: Map<String, Value> =
            serde_json::from_slice(&payload).map_err(|_| Failure::PayloadJson)?;
        let issuer = text_claim(&payload, "iss", Failure::Issuer)?
            .unwrap_or_default()
            .to_owned();
        let subject = text_claim(&payload, "sub", Failure::Subject)?
            .unwrap_or_default()
            .to_owned();
        time_claim(&payload, "iat", Failure::IssuedAt, Failure::IssuedAtRange)?;
        let not_before = time_claim(&payload, "nbf", Failure::NotBefore, Failure::NotBeforeRange)?;
        let expires = time_claim(&payload, "exp", Failure::Expiry, Failure::ExpiryRange)?;
        text_claim(&payload, "jti", Failure::TokenId)?;
        let audiences = audiences(payload.get("aud"))?;
        let signature = URL_SAFE_NO_PAD
            .decode(encoded_signature)
            .map_err(|_| Failure::SignatureBase64)?;
        Ok(Self {
            algorithm,
            key_id,
            header,
            payload,
            issuer,
            subject,
            audiences,
            not_before,
            expires,
            encoded_payload,
            signed,
            signature,
        })
    }

    /// Whether it is valid at `now` (seconds since 1970), give or take `leeway` seconds. A time of 0 is no time, as in Envoy.
    pub(super) fn check_time(&self, now: u64, leeway: u64) -> Result<(), Failure> {
        if self
            .not_before
            .is_some_and(|start| now.saturating_add(leeway) < start)
        {
            return Err(Failure::NotYetValid);
        }
        if self
            .expires
            .is_some_and(|end| end != 0 && now > end.saturating_add(leeway))
        {
            return Err(Failure::Expired);
        }
        Ok(())
    }
}

fn text_claim<'a>(
    claims: &'a Map<String, Value>,
    name: &str,
    failure: Failure,
) -> Result<Option<&'a str>, Failure> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(failure),
    }
}

/// A NumericDate (RFC 7519 section 2), without its fraction.
fn time_claim(
    claims: &Map<String, Value>,
    name: &str,
    not_a_number: Failure,
    out_of_range: Failure,
) -> Result<Option<u64>, Failure> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    let seconds = value.as_f64().ok_or(not_a_number)?;
    if !(0.0..LATEST).contains(&seconds) {
        return Err(out_of_range);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked, the fraction has no meaning"
    )]
    Ok(Some(seconds as u64))
}

fn audiences(value: Option<&Value>) -> Result<Vec<String>, Failure> {
    let texts = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(texts)) => texts.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    texts
        .iter()
        .map(|text| text.as_str().map(str::to_owned).ok_or(Failure::Audience))
        .collect()
}

/// Above this a number of seconds does not fit 64 bits with a sign.
const LATEST: f64 = 9.2e18;
