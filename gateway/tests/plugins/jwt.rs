use crate::gateway::{Ask, Body, Case, Gateway, SEEN, Seen, Upstream, ask, get, run};

#[path = "jwt/keys.rs"]
mod keys;

use keys::{Keys, later, secret_token, secret_token_with, unsigned};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: bob
  custom_id: b-1
  jwt_secrets:
  - {key: HS256, secret: of HS256, algorithm: HS256}
  - {key: HS384, secret: of HS384, algorithm: HS384}
  - {key: HS512, secret: of HS512, algorithm: HS512}
  - {key: base64, secret: "AP-_AP8="}
  - {key: standard, secret: "AP+/AP8="}
  - {key: nothing, secret: "="}
  - {key: keyless, algorithm: ES256}
  - {key: crossed, algorithm: ES384, rsa_public_key: {ES256}}
{keys}
- username: nobody
services:
- name: s
  url: "{upstream}"
  routes:
  - {name: plain, paths: [/plain], plugins: [{name: jwt}]}
  - name: places
    paths: [/places]
    plugins:
    - name: jwt
      config: {uri_param_names: [jwt, token], cookie_names: [silly, crumble], header_names: [authorization, X_Token], realm: here}
  - {name: kid, paths: [/kid], plugins: [{name: jwt, config: {key_claim_name: kid}}]}
  - {name: base64, paths: [/base64], plugins: [{name: jwt, config: {secret_is_base64: true}}]}
  - {name: times, paths: [/times], plugins: [{name: jwt, config: {claims_to_verify: [nbf, exp]}}]}
  - {name: short, paths: [/short], plugins: [{name: jwt, config: {claims_to_verify: [exp], maximum_expiration: 300}}]}
  - {name: open, paths: [/open], plugins: [{name: jwt, config: {anonymous: nobody, run_on_preflight: false}}]}
  - {name: astray, paths: [/astray], plugins: [{name: jwt, config: {anonymous: 7e5c5d2f-0000-4b9a-9a53-0b8f3ad2c7a1}}]}
"#;

const PUBLIC: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

fn yaml(keys: &Keys) -> String {
    let credential = |algorithm: &&str| {
        let pem = keys.public(algorithm);
        format!("  - {{key: {algorithm}, algorithm: {algorithm}, rsa_public_key: {pem:?}}}\n")
    };
    let all: String = PUBLIC.iter().map(credential).collect();
    YAML.replace("{keys}\n", &all)
        .replace("{ES256}", &format!("{:?}", keys.public("ES256")))
}

fn bearer(path: &str, token: &str) -> Ask {
    get(path).header("Authorization", &format!("Bearer {token}"))
}

fn iss(key: &str) -> String {
    format!(r#"{{"iss":"{key}","sub":"1"}}"#)
}

fn passes(name: &'static str, ask: Ask, seen: Seen) -> Case {
    Case {
        name,
        ask,
        status: 200,
        headers: &[],
        body: Body::Is("hello"),
        seen: Some(seen),
    }
}

fn refused(name: &'static str, ask: Ask, body: &'static str) -> Case {
    Case {
        name,
        ask,
        status: 401,
        headers: &[
            ("www-authenticate", Some("Bearer error=\"invalid_token\"")),
            ("content-type", Some("application/json; charset=utf-8")),
        ],
        body: Body::Is(body),
        seen: None,
    }
}

const BOB: Seen = Seen {
    headers: &[
        ("x-consumer-username", Some("bob")),
        ("x-consumer-custom-id", Some("b-1")),
        ("x-consumer-id", Some("*")),
        ("x-credential-identifier", Some("HS256")),
        ("x-anonymous-consumer", None),
    ],
    ..SEEN
};

#[test]
fn tokens_open_doors() {
    let keys = Keys::make();
    let good = secret_token("HS256", b"of HS256", &iss("HS256"));
    let other = secret_token("HS512", b"of HS512", &iss("HS512"));
    let nobody = Seen {
        headers: &[
            ("x-anonymous-consumer", Some("true")),
            ("x-consumer-username", Some("nobody")),
            ("x-credential-identifier", None),
        ],
        ..SEEN
    };
    let mut cases = vec![
        Case {
            name: "no token",
            ask: get("/plain"),
            status: 401,
            headers: &[("www-authenticate", Some("Bearer"))],
            body: Body::Is(r#"{"message":"Unauthorized"}"#),
            seen: None,
        },
        Case {
            name: "a preflight",
            ask: ask("OPTIONS", "/places"),
            status: 401,
            headers: &[("www-authenticate", Some("Bearer realm=\"here\""))],
            body: Body::Is(r#"{"message":"Unauthorized"}"#),
            seen: None,
        },
        Case {
            name: "no token in sight",
            ask: get("/plain").header("Authorization", &good),
            status: 401,
            headers: &[("www-authenticate", Some("Bearer"))],
            body: Body::Is(r#"{"message":"Unauthorized"}"#),
            seen: None,
        },
        Case {
            name: "a bad token in a realm",
            ask: get("/places?token=x"),
            status: 401,
            headers: &[(
                "www-authenticate",
                Some("Bearer realm=\"here\" error=\"invalid_token\""),
            )],
            body: Body::Is(r#"{"message":"Bad token; invalid JSON"}"#),
            seen: None,
        },
        passes(
            "what a client says of itself does not count",
            bearer("/plain", &good)
                .header("X-Consumer-Username", "eve")
                .header("X-Credential-Identifier", "eve")
                .header("X-Anonymous-Consumer", "true"),
            BOB,
        ),
        passes("as an argument", get(&format!("/plain?jwt={good}")), BOB),
        passes(
            "as another argument",
            get(&format!("/places?a=1&token={good}")),
            BOB,
        ),
        passes(
            "as a cookie",
            get("/places").header("Cookie", &format!("a=b; silly={good}; c")),
            BOB,
        ),
        passes(
            "as another cookie",
            get("/places").header("Cookie", &format!("crumble={good}")),
            BOB,
        ),
        passes(
            "in another field, its name written otherwise",
            get("/places").header("X-Token", &format!("bearer {good}")),
            BOB,
        ),
        passes(
            "the first of several fields",
            bearer("/places", &good).header("Authorization", "Bearer other"),
            BOB,
        ),
        passes(
            "the same in two places",
            bearer(&format!("/plain?jwt={good}"), &good),
            BOB,
        ),
        refused(
            "others in two places",
            bearer(&format!("/plain?jwt={good}"), &other),
            r#"{"message":"Multiple tokens provided"}"#,
        ),
        refused(
            "two arguments",
            get(&format!("/plain?jwt={good}&jwt={other}")),
            r#"{"message":"Multiple tokens provided"}"#,
        ),
        refused(
            "no text",
            get("/plain?jwt"),
            r#"{"message":"Unrecognizable token"}"#,
        ),
        Case {
            name: "nothing as an argument",
            ask: get("/plain?jwt="),
            status: 401,
            headers: &[("www-authenticate", Some("Bearer"))],
            body: Body::Is(r#"{"message":"Unauthorized"}"#),
            seen: None,
        },
        passes(
            "the key in the token's header",
            bearer(
                "/kid",
                &secret_token_with(
                    r#"{"alg":"HS256","kid":"HS256"}"#,
                    "HS256",
                    b"of HS256",
                    "{}",
                ),
            ),
            BOB,
        ),
        passes(
            "the key in another claim",
            bearer(
                "/kid",
                &secret_token("HS256", b"of HS256", r#"{"kid":"HS256","iss":"x"}"#),
            ),
            BOB,
        ),
        refused(
            "no key in another claim",
            bearer("/kid", &good),
            r#"{"message":"No mandatory 'kid' in claims"}"#,
        ),
        passes(
            "a secret in base64",
            bearer(
                "/base64",
                &secret_token("HS256", b"\0\xff\xbf\0\xff", &iss("base64")),
            ),
            SEEN,
        ),
        passes(
            "a secret in the other base64",
            bearer(
                "/base64",
                &secret_token("HS256", b"\0\xff\xbf\0\xff", &iss("standard")),
            ),
            SEEN,
        ),
        passes(
            "keys of RSA are not in base64",
            bearer("/base64", &keys.token("RS256", &iss("RS256"))),
            SEEN,
        ),
        passes("anonymous", get("/open"), nobody),
        passes(
            "a bad token is anonymous as well",
            bearer("/open", "x"),
            nobody,
        ),
        passes("a token beside anonymous", bearer("/open", &good), BOB),
        passes(
            "a preflight that passes",
            ask("OPTIONS", "/open"),
            Seen {
                headers: &[("x-anonymous-consumer", None), ("x-consumer-id", None)],
                ..SEEN
            },
        ),
        Case {
            name: "an anonymous consumer who does not exist",
            ask: get("/astray"),
            status: 500,
            headers: &[],
            body: Body::Is(r#"{"message":"An unexpected error occurred"}"#),
            seen: None,
        },
    ];
    for name in ["HS256", "HS384", "HS512"] {
        let secret = format!("of {name}");
        let token = secret_token(name, secret.as_bytes(), &iss(name));
        cases.push(passes(name, bearer("/plain", &token), SEEN));
    }
    for name in PUBLIC {
        let token = keys.token(name, &iss(name));
        cases.push(passes(name, bearer("/plain", &token), SEEN));
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        for forged in [
            // Other claims, half a signature, none at all.
            format!(
                "{}.{signature}",
                unsigned(&format!(r#"{{"alg":"{name}"}}"#), &iss(name))
            ),
            format!("{signed}.{}", &signature[..signature.len() / 2]),
            format!("{signed}."),
        ] {
            let body = r#"{"message":"Invalid signature"}"#;
            cases.push(refused(name, bearer("/plain", &forged), body));
        }
    }
    run("jwt", &yaml(&keys), &cases);
}

/// Tokens that nobody signed who may, in the ways in which they are forged.
#[test]
fn forged_tokens_open_nothing() {
    let keys = Keys::make();
    let pem = keys.public("RS256");
    let plain = |token: &str| bearer("/plain", token);
    let none = |header: &str| format!("{}.", unsigned(header, &iss("HS256")));
    let claims = |claims: &str| plain(&secret_token("HS256", b"of HS256", claims));
    let big = format!(r#"{{"iss":"{}"}}"#, "k".repeat(3000));
    let deep = format!("{}{}", r#"{"a":"#.repeat(500), "}".repeat(500));
    let algorithm = r#"{"message":"Invalid algorithm"}"#;
    let signature = r#"{"message":"Invalid signature"}"#;
    let invalid_alg = r#"{"message":"Bad token; invalid alg"}"#;
    let invalid_json = r#"{"message":"Bad token; invalid JSON"}"#;
    let invalid_iss = r#"{"message":"Invalid 'iss' in claims"}"#;
    let unknown = r#"{"message":"No credentials found for given 'iss'"}"#;
    let no_key = r#"{"message":"Invalid key/secret"}"#;
    let cases = [
        refused("alg none", plain(&none(r#"{"alg":"none"}"#)), invalid_alg),
        refused("alg NONE", plain(&none(r#"{"alg":"NONE"}"#)), invalid_alg),
        refused("no alg", plain(&none("{}")), invalid_alg),
        refused("alg null", plain(&none(r#"{"alg":null}"#)), invalid_alg),
        refused(
            "two algorithms, the last counts",
            plain(&secret_token_with(
                r#"{"alg":"HS256","alg":"none"}"#,
                "HS256",
                b"of HS256",
                &iss("HS256"),
            )),
            invalid_alg,
        ),
        refused(
            "a public key as a secret",
            plain(&secret_token("HS256", pem.as_bytes(), &iss("RS256"))),
            algorithm,
        ),
        refused(
            "a public key as a secret, the algorithm hidden",
            plain(&secret_token_with(
                r#"{"alg":"RS256"}"#,
                "HS256",
                pem.as_bytes(),
                &iss("RS256"),
            )),
            signature,
        ),
        refused(
            "another hash of the same secret",
            plain(&secret_token("HS512", b"of HS256", &iss("HS256"))),
            algorithm,
        ),
        refused(
            "another padding of the same key",
            plain(&keys.token("PS256", &iss("RS256"))),
            algorithm,
        ),
        refused(
            "somebody else's key",
            plain(&Keys::make().token("RS256", &iss("RS256"))),
            signature,
        ),
        refused(
            "another secret",
            plain(&secret_token("HS256", b"guess", &iss("HS256"))),
            signature,
        ),
        refused(
            "an empty secret",
            plain(&secret_token("HS256", b"", &iss("HS256"))),
            signature,
        ),
        refused(
            "a secret that decodes to nothing",
            bearer("/base64", &secret_token("HS256", b"", &iss("nothing"))),
            no_key,
        ),
        refused(
            "a secret that is no base64",
            bearer(
                "/base64",
                &secret_token("HS256", b"of HS256", &iss("HS256")),
            ),
            no_key,
        ),
        refused(
            "a credential without a key",
            plain(&keys.token("ES256", &iss("keyless"))),
            no_key,
        ),
        refused(
            "a key of another curve",
            plain(&keys.token("ES384", &iss("crossed"))),
            no_key,
        ),
        refused(
            "no issuer",
            claims("{}"),
            r#"{"message":"No mandatory 'iss' in claims"}"#,
        ),
        refused("an empty issuer", claims(r#"{"iss":""}"#), invalid_iss),
        refused(
            "a number for an issuer",
            claims(r#"{"iss":1}"#),
            invalid_iss,
        ),
        refused("null for an issuer", claims(r#"{"iss":null}"#), invalid_iss),
        refused(
            "a list for an issuer",
            claims(r#"{"iss":["HS256"]}"#),
            invalid_iss,
        ),
        refused(
            "false for an issuer",
            claims(r#"{"iss":false}"#),
            r#"{"message":"No mandatory 'iss' in claims"}"#,
        ),
        refused("an unknown issuer", claims(&iss("eve")), unknown),
        refused(
            "the same unknown issuer again",
            claims(&iss("eve")),
            unknown,
        ),
        refused("a long issuer", claims(&big), unknown),
        refused("deep claims", claims(&deep), invalid_json),
        refused(
            "no object",
            claims("[]"),
            r#"{"message":"Bad token; invalid claims"}"#,
        ),
        refused("one part", plain("x"), invalid_json),
        refused("two parts", plain("e30.e30"), invalid_json),
        refused("dots", plain("..."), invalid_json),
        refused(
            "four parts",
            plain(&format!(
                "{}.x",
                secret_token("HS256", b"of HS256", &iss("HS256"))
            )),
            r#"{"message":"Bad token; invalid signature"}"#,
        ),
        Case {
            name: "a token larger than fields may be",
            ask: plain(&"a".repeat(70_000)),
            status: 400,
            headers: &[],
            body: Body::Any,
            seen: None,
        },
    ];
    run("jwt: forged", &yaml(&keys), &cases);
}

#[test]
fn tokens_have_their_time() {
    let keys = Keys::make();
    let token = |path: &str, exp: &str, nbf: &str| {
        let claims = format!(r#"{{"iss":"HS256"{exp}{nbf}}}"#);
        get(&format!(
            "{path}?jwt={}",
            secret_token("HS256", b"of HS256", &claims)
        ))
    };
    let exp = |seconds| format!(r#","exp":{}"#, later(seconds));
    let nbf = |seconds| format!(r#","nbf":{}"#, later(seconds));
    let cases = [
        passes("in its time", token("/times", &exp(600), &nbf(-600)), SEEN),
        passes("nobody looks", token("/plain", &exp(-600), &nbf(600)), SEEN),
        passes(
            "a fraction of a second",
            token("/times", &(exp(600) + ".5"), &nbf(-600)),
            SEEN,
        ),
        refused(
            "expired",
            token("/times", &exp(-600), &nbf(-600)),
            r#"{"exp":"token expired"}"#,
        ),
        refused(
            "too early",
            token("/times", &exp(6000), &nbf(600)),
            r#"{"nbf":"token not valid yet"}"#,
        ),
        refused(
            "both",
            token("/times", &exp(-600), &nbf(600)),
            r#"{"nbf":"token not valid yet","exp":"token expired"}"#,
        ),
        refused(
            "no times",
            token("/times", "", ""),
            r#"{"nbf":"must be a number","exp":"must be a number"}"#,
        ),
        refused(
            "times that are no numbers",
            token("/times", r#","exp":"9999999999""#, r#","nbf":null"#),
            r#"{"nbf":"must be a number","exp":"must be a number"}"#,
        ),
        refused(
            "the signature goes first",
            get(&format!(
                "/times?jwt={}",
                secret_token("HS256", b"guess", r#"{"iss":"HS256","exp":1}"#)
            )),
            r#"{"message":"Invalid signature"}"#,
        ),
        passes("for a short while", token("/short", &exp(150), ""), SEEN),
        refused(
            "for too long",
            token("/short", &exp(3600), ""),
            r#"{"exp":"exceeds maximum allowed expiration"}"#,
        ),
        refused(
            "for ever",
            token("/short", r#","exp":1e300"#, ""),
            r#"{"exp":"exceeds maximum allowed expiration"}"#,
        ),
    ];
    run("jwt: times", &yaml(&keys), &cases);
}

/// Issuers come, change their keys, and go.
#[test]
fn issuers_come_and_go() {
    let keys = Keys::make();
    let upstream = Upstream::start();
    let gateway = Gateway::embedded();
    let url = format!(r#"{{"url":"{}"}}"#, upstream.url());
    gateway.administer("PUT", "/services/s", &url);
    gateway.administer("PUT", "/services/s/routes/r", r#"{"paths":["/"]}"#);
    gateway.administer("POST", "/services/s/plugins", r#"{"name":"jwt"}"#);
    gateway.administer("PUT", "/consumers/bob", "{}");
    let old = bearer("/", &secret_token("HS256", b"old", &iss("i")));
    let new = bearer("/", &keys.token("EdDSA", &iss("i")));
    gateway.until(&old, |answer| answer.text().contains("No credentials"));
    for _ in 0..3 {
        gateway.administer("PUT", "/consumers/bob/jwt/i", r#"{"secret":"old"}"#);
        gateway.until(&old, |answer| answer.status() == 200);
        assert!(gateway.send(&new).text().contains("Invalid algorithm"));
        let changed = serde_json::json!({
            "algorithm": "EdDSA",
            "rsa_public_key": keys.public("EdDSA"),
        });
        gateway.administer("PATCH", "/consumers/bob/jwt/i", &changed.to_string());
        gateway.until(&new, |answer| answer.status() == 200);
        assert!(gateway.send(&old).text().contains("Invalid algorithm"));
        gateway.administer("DELETE", "/consumers/bob/jwt/i", "");
        gateway.until(&new, |answer| answer.text().contains("No credentials"));
    }
}
