use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::key::KeySet;
use super::super::status::Failure;
use super::super::token::Token;
use super::signing::{Signer, encode, set};

static SIGNERS: LazyLock<Vec<Signer>> = LazyLock::new(|| {
    let names = [
        "EdDSA", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512",
        "RS256", "RS384", "RS512",
    ];
    names.into_iter().map(Signer::new).collect()
});

fn verify(keys: &str, token: &str) -> Result<(), Failure> {
    KeySet::parse(keys.as_bytes())
        .unwrap()
        .verify(&Token::parse(token.as_bytes())?)
}

#[test]
fn every_algorithm_verifies_its_own_and_nothing_else() {
    let payload = json!({"iss": "a", "sub": "b"});
    for signer in &*SIGNERS {
        let name = signer.algorithm;
        let (plain, named) = (
            signer.jwk(&[]),
            signer.jwk(&[("alg", name), ("kid", "k"), ("use", "sig")]),
        );
        let token = signer.token(&payload);
        assert_eq!(
            verify(&set(std::slice::from_ref(&plain)), &token),
            Ok(()),
            "{name}"
        );
        assert_eq!(
            verify(&set(std::slice::from_ref(&named)), &token),
            Ok(()),
            "{name} with alg and kid"
        );
        for other in &*SIGNERS {
            if other.algorithm != name {
                // Another's key, under another's algorithm and under this one's.
                let foreign = other.token_with(&json!({"alg": name}), &payload);
                assert!(
                    verify(&set(std::slice::from_ref(&plain)), &foreign).is_err(),
                    "{name} by {}",
                    other.algorithm
                );
                assert!(
                    verify(&set(&[other.jwk(&[])]), &token).is_err(),
                    "{name} for {}",
                    other.algorithm
                );
                // The right key under a wrong algorithm.
                let renamed = signer.token_with(&json!({"alg": other.algorithm}), &payload);
                assert!(
                    verify(&set(std::slice::from_ref(&plain)), &renamed).is_err(),
                    "{name} as {}",
                    other.algorithm
                );
            }
        }
        let tokens = token.rsplit_once('.').unwrap().0;
        for cut in ["", "AA"] {
            assert!(
                verify(
                    &set(std::slice::from_ref(&plain)),
                    &format!("{tokens}.{cut}")
                )
                .is_err(),
                "{name} cut"
            );
        }
    }
}

#[test]
fn the_classic_tricks_fail() {
    let rsa = SIGNERS
        .iter()
        .find(|signer| signer.algorithm == "RS256")
        .unwrap();
    let keys = set(&[rsa.jwk(&[("kid", "k1")])]);
    let payload = json!({"iss": "a"});
    let body = |header: Value| {
        format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(payload.to_string().as_bytes())
        )
    };

    for none in ["none", "None", "NONE", "nOnE", ""] {
        let unsigned = body(json!({"alg": none}));
        assert_eq!(
            Token::parse(format!("{unsigned}.AA").as_bytes()),
            Err(Failure::AlgorithmUnknown),
            "{none}"
        );
        assert_eq!(
            Token::parse(format!("{unsigned}.").as_bytes()),
            Err(Failure::Form),
            "{none}"
        );
    }

    // The public key as an HMAC secret, in every spelling of it.
    let n = rsa.jwk["n"].as_str().unwrap();
    for secret in [n.as_bytes().to_vec(), rsa.jwk.to_string().into_bytes()] {
        let signed = body(json!({"alg": "HS256"}));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let token = format!(
            "{signed}.{}",
            encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()).as_ref())
        );
        assert_eq!(verify(&keys, &token), Err(Failure::Verification));
    }

    // A key that the token brings along.
    let own = Signer::new("ES256");
    let token = own.token_with(&json!({"alg": "ES256", "jwk": own.jwk(&[]), "jku": "https://evil.example", "x5u": "https://evil.example"}), &payload);
    assert!(verify(&keys, &token).is_err());

    // A kid that is a path, or another's.
    for kid in ["../../dev/null", "k2", "k1\u{0}"] {
        let token = rsa.token_with(&json!({"alg": "RS256", "kid": kid}), &payload);
        assert_eq!(verify(&keys, &token), Err(Failure::NoMatchingKey), "{kid}");
    }
    for header in [
        json!({"alg": "RS256", "kid": "k1"}),
        json!({"alg": "RS256", "kid": ""}),
        json!({"alg": "RS256"}),
    ] {
        assert_eq!(
            verify(&keys, &rsa.token_with(&header, &payload)),
            Ok(()),
            "{header}"
        );
    }
}

#[test]
fn keys_that_nobody_may_trust_are_left_out() {
    let rsa = SIGNERS
        .iter()
        .find(|signer| signer.algorithm == "RS256")
        .unwrap();
    let token = rsa.token(&json!({}));
    let without = |name: &str| {
        let mut jwk = rsa.jwk(&[]);
        jwk.as_object_mut().unwrap().remove(name);
        jwk
    };
    let short = json!({"kty": "RSA", "e": "AQAB", "n": encode(&[0xc5; 128])});
    // istiod up to 1.20 where it cannot fetch keys; 1.21 to 1.29.0 send a set with its private half (CVE-2026-31837).
    let error = format!(
        "Error-IstiodFailedToFetchJwksUri-{}",
        "https://issuer.example/keys".repeat(10)
    );
    let worded = json!({"kty": "RSA", "kid": "abc", "e": "AQAB", "n": encode(error.as_bytes())});
    let cases: &[(&str, Vec<Value>, Result<(), Failure>)] = &[
        ("good", vec![rsa.jwk(&[])], Ok(())),
        ("no keys", vec![], Err(Failure::NoKeys)),
        (
            "private half",
            vec![rsa.jwk(&[("d", "AQAB")])],
            Err(Failure::NoKeys),
        ),
        (
            "for encryption",
            vec![rsa.jwk(&[("use", "enc")])],
            Err(Failure::NoKeys),
        ),
        (
            "unknown algorithm",
            vec![rsa.jwk(&[("alg", "RSA-OAEP")])],
            Err(Failure::NoKeys),
        ),
        (
            "algorithm of another kind",
            vec![rsa.jwk(&[("alg", "HS256")])],
            Err(Failure::NoKeys),
        ),
        ("no modulus", vec![without("n")], Err(Failure::NoKeys)),
        ("no kind", vec![without("kty")], Err(Failure::NoKeys)),
        ("1024 bits", vec![short], Err(Failure::NoKeys)),
        ("istiod's error", vec![worded.clone()], Err(Failure::NoKeys)),
        (
            "bad beside good",
            vec![worded, json!({}), rsa.jwk(&[])],
            Ok(()),
        ),
        (
            "another algorithm only",
            vec![rsa.jwk(&[("alg", "RS512")])],
            Err(Failure::NoMatchingKey),
        ),
    ];
    for (name, keys, expected) in cases {
        assert_eq!(verify(&set(keys), &token), *expected, "{name}");
    }
    for broken in ["", "[]", "{}", "{\"keys\":{}}", "nonsense"] {
        assert!(KeySet::parse(broken.as_bytes()).is_err(), "{broken}");
    }
    let deep = format!("{{\"keys\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    assert!(KeySet::parse(deep.as_bytes()).is_err());
}

#[test]
fn base64url_is_strict_and_json_is_bounded() {
    let signer = Signer::new("HS256");
    let token = signer.token(&json!({"iss": "a"}));
    let keys = set(&[signer.jwk(&[])]);
    assert_eq!(verify(&keys, &token), Ok(()));
    for spelled in [
        format!("{token}="),
        format!("{token} "),
        token.replace('.', "=."),
        format!(" {token}"),
        format!("{token}.x"),
    ] {
        assert!(verify(&keys, &spelled).is_err(), "{spelled}");
    }
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let bomb = format!(
        "{}.{}.AA",
        encode(br#"{"alg":"HS256"}"#),
        encode(nested.as_bytes())
    );
    assert_eq!(Token::parse(bomb.as_bytes()), Err(Failure::PayloadJson));
}

proptest! {
    /// Whatever is done to a token, it is not a good token any more.
    #[test]
    fn tampering_shows(which in 0_usize..13, at in any::<prop::sample::Index>(), letter in prop::sample::select(b"ABCxyz019-_.= ".to_vec())) {
        let signer = &SIGNERS[which];
        let token = signer.token(&json!({"iss": "a", "sub": "b", "exp": 4_000_000_000_u64}));
        let keys = set(&[signer.jwk(&[])]);
        let mut changed = token.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] = letter;
        let changed = String::from_utf8(changed).unwrap();
        prop_assert_eq!(verify(&keys, &changed).is_ok(), changed == token);
    }

    /// No bytes make the parser panic.
    #[test]
    fn parsing_is_total(bytes in prop::collection::vec(any::<u8>(), 0..200), header in ".{0,40}", payload in ".{0,40}") {
        drop(Token::parse(&bytes));
        drop(Token::parse(format!("{}.{}.AA", encode(header.as_bytes()), encode(payload.as_bytes())).as_bytes()));
        drop(KeySet::parse(&bytes));
    }
}
