//! Why a token was refused, in Envoy's words and numbers.

use http::StatusCode;

/// What is wrong with a token or with the keys. The text is the body of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no token.
    #[error("Jwt is missing")]
    Missing,
    /// Its `nbf` is in the future.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// Its `exp` is in the past.
    #[error("Jwt is expired")]
    Expired,
    /// It has not three parts.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    /// Its header is not base64url.
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    /// Its header is not a JSON object.
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    /// Its header has no `alg`.
    #[error("Jwt header [alg] field is required and must be a string")]
    Algorithm,
    /// Its algorithm is none that we know; `none` is one of these.
    #[error("Jwt header [alg] is not supported")]
    AlgorithmUnknown,
    /// Its `kid` is not a text.
    #[error("Jwt header [kid] field is not a string")]
    KeyId,
    /// Its payload is not base64url.
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    /// Its payload is not a JSON object.
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    /// `iss` is not a text.
    #[error("Jwt payload [iss] field is not a string")]
    Issuer,
    /// `sub` is not a text.
    #[error("Jwt payload [sub] field is not a string")]
    Subject,
    /// `iat` is not a number.
    #[error("Jwt payload [iat] field is not an integer")]
    IssuedAt,
    /// `iat` is negative.
    #[error("Jwt payload [iat] field is not a positive 64 bit integer")]
    IssuedAtRange,
    /// `nbf` is not a number.
    #[error("Jwt payload [nbf] field is not an integer")]
    NotBefore,
    /// `nbf` is negative.
    #[error("Jwt payload [nbf] field is not a positive 64 bit integer")]
    NotBeforeRange,
    /// `exp` is not a number.
    #[error("Jwt payload [exp] field is not an integer")]
    Expiry,
    /// `exp` is negative.
    #[error("Jwt payload [exp] field is not a positive 64 bit integer")]
    ExpiryRange,
    /// `jti` is not a text.
    #[error("Jwt payload [jti] field is not a string")]
    TokenId,
    /// `aud` is neither a text nor a list of texts.
    #[error("Jwt payload [aud] field is not a string or string list")]
    Audience,
    /// Its signature is not base64url.
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    /// No provider has its issuer.
    #[error("Jwt issuer is not configured")]
    IssuerUnknown,
    /// It is meant for others.
    #[error("Audiences in Jwt are not allowed")]
    AudienceRefused,
    /// Its signature is wrong, or its subject or lifetime is not allowed.
    #[error("Jwt verification fails")]
    Verification,
    /// The key set has no key that can be used.
    #[error("Jwks doesn't have any valid public key")]
    NoKeys,
    /// No key has its `kid` and algorithm.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoMatchingKey,
    /// The key set cannot be had.
    #[error("Jwks remote fetch is failed")]
    Fetch,
}

impl Failure {
    /// Envoy's number, as `failed_status_in_metadata` tells it.
    pub const fn code(self) -> u32 {
        match self {
            Self::Missing => 1,
            Self::NotYetValid => 2,
            Self::Expired => 3,
            Self::Form => 4,
            Self::HeaderBase64 => 5,
            Self::HeaderJson => 6,
            Self::Algorithm => 7,
            Self::AlgorithmUnknown => 8,
            Self::KeyId => 9,
            Self::PayloadBase64 => 10,
            Self::PayloadJson => 11,
            Self::Issuer => 12,
            Self::Subject => 13,
            Self::IssuedAt => 14,
            Self::IssuedAtRange => 15,
            Self::NotBefore => 16,
            Self::NotBeforeRange => 17,
            Self::Expiry => 18,
            Self::ExpiryRange => 19,
            Self::TokenId => 20,
            Self::Audience => 21,
            Self::SignatureBase64 => 22,
            Self::IssuerUnknown => 24,
            Self::AudienceRefused => 25,
            Self::Verification => 26,
            Self::NoKeys => 31,
            Self::NoMatchingKey => 32,
            Self::Fetch => 40,
        }
    }

    /// 403 for a good token that is meant for others, else 401.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::AudienceRefused => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Whether it says only that this was not the right provider: among several failures the others tell more.
    pub(super) const fn is_weak(self) -> bool {
        matches!(self, Self::Missing | Self::IssuerUnknown)
    }
}
