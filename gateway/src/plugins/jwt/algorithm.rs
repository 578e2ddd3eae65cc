//! How tokens are signed.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, VerificationAlgorithm};

/// An algorithm (RFC 7518 section 3.1, RFC 8037). There is no `none`.
pub(super) struct Algorithm {
    /// What tokens and credentials call it.
    name: &'static str,
    pub(super) kind: Kind,
}

/// What a signature is checked with.
pub(super) enum Kind {
    Secret(hmac::Algorithm),
    Public(&'static dyn VerificationAlgorithm),
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|algorithm| algorithm.name == name)
    }
}

impl PartialEq for Algorithm {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

const fn secret(name: &'static str, hash: hmac::Algorithm) -> Algorithm {
    let kind = Kind::Secret(hash);
    Algorithm { name, kind }
}

const fn public(name: &'static str, by: &'static dyn VerificationAlgorithm) -> Algorithm {
    let kind = Kind::Public(by);
    Algorithm { name, kind }
}

/// Those that the schema of `jwt_secrets` lets credentials have.
static ALL: [Algorithm; 13] = [
    secret("HS256", hmac::HMAC_SHA256),
    secret("HS384", hmac::HMAC_SHA384),
    secret("HS512", hmac::HMAC_SHA512),
    public("RS256", &signature::RSA_PKCS1_2048_8192_SHA256),
    public("RS384", &signature::RSA_PKCS1_2048_8192_SHA384),
    public("RS512", &signature::RSA_PKCS1_2048_8192_SHA512),
    // Both halves at their full width, as RFC 7518 section 3.4 has them.
    public("ES256", &signature::ECDSA_P256_SHA256_FIXED),
    public("ES384", &signature::ECDSA_P384_SHA384_FIXED),
    public("ES512", &signature::ECDSA_P521_SHA512_FIXED),
    public("PS256", &signature::RSA_PSS_2048_8192_SHA256),
    public("PS384", &signature::RSA_PSS_2048_8192_SHA384),
    public("PS512", &signature::RSA_PSS_2048_8192_SHA512),
    public("EdDSA", &signature::ED25519),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::library;
    use crate::value::Value;

    #[test]
    fn they_are_those_of_the_schema() {
        let schema = library::entity("jwt_secrets").unwrap().print();
        let fields = schema.get("fields").and_then(Value::as_array).unwrap();
        let names = fields
            .iter()
            .find_map(|field| field.get("algorithm")?.get("one_of"));
        let all: Vec<Value> = ALL.iter().map(|algorithm| algorithm.name.into()).collect();
        assert_eq!(names, Some(&all.into()));
    }
}
