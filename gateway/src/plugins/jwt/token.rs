//! A token taken apart (RFC 7515), before anybody believes it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::algorithm::Algorithm;
use crate::value::{Object, Value};

/// A token whose form is right; its signature was not looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) algorithm: &'static Algorithm,
    pub(super) header: Object,
    pub(super) claims: Object,
    /// What the signature is about.
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
}

/// Why a text is no token, in Kong's words and order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("invalid JSON")]
    Json,
    #[error("invalid alg")]
    Algorithm,
    #[error("invalid claims")]
    Claims,
    #[error("invalid signature")]
    Signature,
}

impl<'t> Token<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, TokenError> {
        let (header, rest) = text.split_once('.').ok_or(TokenError::Json)?;
        let (claims, signature) = rest.split_once('.').ok_or(TokenError::Json)?;
        let signed = &text[..header.len() + 1 + claims.len()];
        let header = decode(header)?;
        let claims = decode(claims)?;
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm
            .and_then(Algorithm::named)
            .ok_or(TokenError::Algorithm)?;
        let (Value::Object(header), Value::Object(claims)) = (header, claims) else {
            return Err(TokenError::Claims);
        };
        let signature = BASE64URL.decode(signature);
        Ok(Self {
            algorithm,
            header,
            claims,
            signed,
            signature: signature.map_err(|_| TokenError::Signature)?,
        })
    }

    /// A member of the claims, else of the header. What is false is as good as missing: it is to Lua.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        let counts = |value: &&Value| **value != Value::Boolean(false);
        let claim = self.claims.get(name).filter(counts);
        claim.or_else(|| self.header.get(name).filter(counts))
    }
}

fn decode(text: &str) -> Result<Value, TokenError> {
    let json = BASE64URL.decode(text).map_err(|_| TokenError::Json)?;
    Value::from_json(&json).map_err(|_| TokenError::Json)
}

/// With or without padding, as Kong takes it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_apart() {
        let part = |json: &str| BASE64URL.encode(json);
        let token = |header: &str, claims: &str| format!("{}.{}.c2ln", part(header), part(claims));
        let hs256 = r#"{"alg":"HS256","kid":"k"}"#;
        let good = token(hs256, r#"{"iss":"a","kid":false,"exp":1.5}"#);
        let read = Token::parse(&good).unwrap();
        assert_eq!(Some(read.algorithm), Algorithm::named("HS256"));
        assert_eq!(read.signature, b"sig");
        assert_eq!(format!("{}.c2ln", read.signed), good);
        assert_eq!(read.member("iss"), Some(&"a".into()));
        assert_eq!(read.member("kid"), Some(&"k".into()));
        assert_eq!(read.member("sub"), None);

        let unpadded = good.replace('=', "");
        assert_eq!(
            Token::parse(&unpadded).map(|token| token.claims),
            Ok(read.claims)
        );

        let deep = format!("{}{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        for (text, error) in [
            (String::new(), TokenError::Json),
            ("a".into(), TokenError::Json),
            ("a.b".into(), TokenError::Json),
            ("..".into(), TokenError::Json),
            ("e30.e30".into(), TokenError::Json),
            ("%.e30.".into(), TokenError::Json),
            (token("{", "{}"), TokenError::Json),
            (token(hs256, "{"), TokenError::Json),
            (token(hs256, &deep), TokenError::Json),
            (token("{}", "{}"), TokenError::Algorithm),
            (token("[]", "{}"), TokenError::Algorithm),
            (token(r#"{"alg":1}"#, "{}"), TokenError::Algorithm),
            (token(r#"{"alg":"none"}"#, "{}"), TokenError::Algorithm),
            (token(r#"{"alg":"None"}"#, "{}"), TokenError::Algorithm),
            (token(r#"{"alg":"hs256"}"#, "{}"), TokenError::Algorithm),
            (token(hs256, "false"), TokenError::Claims),
            (token(hs256, "1"), TokenError::Claims),
            (format!("{good}.x"), TokenError::Signature),
            (format!("{good}+"), TokenError::Signature),
        ] {
            assert_eq!(Token::parse(&text).map(drop), Err(error), "{text:.80}");
        }
        // Nothing is a signature as well; no key made it.
        assert_eq!(
            Token::parse("eyJhbGciOiJIUzI1NiJ9.e30.").unwrap().signature,
            b""
        );
    }
}
