//! jwt_authn with inline keys.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::to;
use crate::case::{PORT, Table, case};
use crate::support::config::{
    cluster, http_filter, json_log, listener, log_fields, manager, virtual_host,
};
use crate::support::http1::{Request, get, request};

#[test]
fn identity() {
    let mut table = Table::new("identity", &["one"]);
    let ports = table.ports(&[0]);
    let (first, second) = (Key::new("first"), Key::new("second"));
    let keys = json!({"keys": [first.public()]}).to_string();
    table.resources = Box::new(move |place| {
        let filter = http_filter(
            "envoy.filters.http.jwt_authn",
            "jwt_authn.v3.JwtAuthentication",
            filter(&keys),
        );
        let mut fields = log_fields();
        fields["subject"] = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%".into();
        fields["failure"] = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:failure)%".into();
        let hosts = json!([virtual_host(
            "all",
            &["*"],
            json!([to("rest", json!({"prefix": "/"}), "one")])
        )]);
        let manager = manager(
            "identity",
            hosts,
            vec![filter],
            json!({"access_log": [json_log(fields)]}),
        );
        (
            vec![listener(place, "identity", PORT, vec![manager])],
            vec![cluster("one", &ports, json!({}))],
        )
    });

    let good = json!({"iss": "https://issuer.test", "sub": "ann", "aud": ["api", "other"], "exp": 4_000_000_000u64, "groups": ["a", "b"],
        "nested": {"name": "deep"}, "count": 7, "yes": true});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let bearer =
        |request: Request, token: &str| request.header("authorization", &format!("Bearer {token}"));
    let shows = |name: &str, token: String, expect: &[&str]| {
        case(name, bearer(get("/need"), &token), expect)
    };
    let refused = |status: &str, body: &str| {
        vec![
            format!("status {status}"),
            format!("body \"{body}\""),
            "header content-type: text/plain".to_owned(),
            format!(
                "log details \"jwt_authn_access_denied{{{}}}\"",
                body.replace(' ', "_")
            ),
        ]
    };
    let refuses = |name: &str, token: String, body: &str| {
        // The audience alone is a matter of permission.
        let status = if body.starts_with("Audiences") {
            "403 Forbidden"
        } else {
            "401 Unauthorized"
        };
        let expect = refused(status, body);
        shows(
            name,
            token,
            &expect.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    };
    let valid = first.token("ES256", &good);
    let mut forged = valid.clone().into_bytes();
    let last = forged.len() - 5;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let none = format!(
        "{}.{}.",
        encode(&json!({"alg": "none", "kid": "first"})),
        encode(&good)
    );
    let hmac = format!(
        "{}.{}.{}",
        encode(&json!({"alg": "HS256", "kid": "first"})),
        encode(&good),
        BASE64.encode([0; 32])
    );
    table.cases = vec![
        shows(
            "valid",
            valid.clone(),
            &[
                "status 200",
                "log subject \"ann\"",
                "upstream one header x-claim-sub: ann",
                "upstream one header x-payload: ",
            ],
        ),
        case(
            "valid claims as headers",
            bearer(get("/need").header("x-claim-sub", "forged"), &valid),
            &[
                "upstream one header x-claim-sub: ann",
                "upstream one header x-claim-name: deep",
                "upstream one header x-claim-count: 7",
            ],
        ),
        case(
            "missing",
            get("/need"),
            &[
                "status 401",
                "body \"Jwt is missing\"",
                "header www-authenticate: Bearer realm=\"http://a.test/need\"",
            ],
        ),
        case("missing but allowed", get("/optional"), &["status 200"]),
        case(
            "wrong but missing allowed",
            bearer(get("/optional"), "x.y.z"),
            &["status 401"],
        ),
        case(
            "wrong but failure allowed",
            bearer(get("/lenient"), "x.y.z"),
            &["status 200"],
        ),
        case(
            "not required",
            bearer(get("/open"), "x.y.z"),
            &["status 200"],
        ),
        case(
            "of the query",
            get(&format!("/query?token={valid}&x=1")),
            &["status 200"],
        ),
        case(
            "of a header of its own",
            get("/own").header("x-jwt", &format!("jwt {valid}")),
            &["status 200"],
        ),
        case(
            "of a cookie",
            get("/cookie").header("cookie", &format!("a=b; session={valid}")),
            &["status 200"],
        ),
        case(
            "forwarded",
            bearer(get("/forward"), &valid),
            &["upstream one header authorization: Bearer "],
        ),
        case("taken away", bearer(get("/need"), &valid), &["status 200"])
            .never(&["upstream one header authorization"]),
        case(
            "preflight passes",
            request("OPTIONS", "/need")
                .header("origin", "x")
                .header("access-control-request-method", "GET"),
            &["status 200"],
        ),
        case(
            "either of two",
            bearer(
                get("/either"),
                &first.token("ES256", &with("iss", "https://second.test".into())),
            ),
            &["status 200"],
        ),
        case("both of two", bearer(get("/both"), &valid), &["status 401"]),
        refuses(
            "expired",
            first.token("ES256", &with("exp", 1_000_000_000.into())),
            "Jwt is expired",
        ),
        refuses(
            "not yet",
            first.token("ES256", &with("nbf", 3_999_999_999u64.into())),
            "Jwt not yet valid",
        ),
        refuses(
            "wrong audience",
            first.token("ES256", &with("aud", "nobody".into())),
            "Audiences in Jwt are not allowed",
        ),
        refuses(
            "no audience",
            first.token("ES256", &without("aud")),
            "Audiences in Jwt are not allowed",
        ),
        refuses(
            "wrong issuer",
            first.token("ES256", &with("iss", "https://evil.test".into())),
            "Jwt issuer is not configured",
        ),
        shows(
            "no issuer",
            first.token("ES256", &without("iss")),
            &["status "],
        ),
        shows(
            "audience as one text",
            first.token("ES256", &with("aud", "api".into())),
            &["status 200"],
        ),
        shows(
            "no end",
            first.token("ES256", &without("exp")),
            &["status "],
        ),
        refuses(
            "wrong signature",
            String::from_utf8(forged).unwrap(),
            "Jwt verification fails",
        ),
        shows("unknown key", second.token("ES256", &good), &["status 401"]),
        shows(
            "wrong key under the right name",
            second.token_named("first", "ES256", &good),
            &["status 401", "body \"Jwt verification fails\""],
        ),
        shows(
            "no key name",
            first.token_named("", "ES256", &good),
            &["status "],
        ),
        shows("no algorithm", none, &["status 401"]),
        shows("algorithm of another kind", hmac, &["status 401"]),
        shows(
            "algorithm unknown",
            first.token("XX999", &good),
            &["status 401"],
        ),
        refuses(
            "no token at all",
            "abc".into(),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        shows("header of nonsense", "!!!.e30.x".into(), &["status 401"]),
        shows(
            "payload of nonsense",
            format!("{}.!!!.x", encode(&json!({"alg": "ES256"}))),
            &["status 401"],
        ),
        shows(
            "exp of nonsense",
            first.token("ES256", &with("exp", "soon".into())),
            &["status 401"],
        ),
        case(
            "two tokens",
            bearer(bearer(get("/need"), "x.y.z"), &valid),
            &["status "],
        ),
        case(
            "basic instead",
            get("/need").header("authorization", "Basic YTpi"),
            &["status 401"],
        ),
    ];
    table.run();
}

/// An ECDSA key and its name.
struct Key {
    name: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    /// As a JSON web key.
    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.name,
            "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..65])})
    }

    fn token(&self, algorithm: &str, claims: &Value) -> String {
        self.token_named(self.name, algorithm, claims)
    }

    fn token_named(&self, name: &str, algorithm: &str, claims: &Value) -> String {
        let mut header = json!({"alg": algorithm, "typ": "JWT"});
        if !name.is_empty() {
            header["kid"] = name.into();
        }
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    }
}

fn encode(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

fn filter(keys: &str) -> Value {
    let provider = |issuer: &str, more: Value| {
        let mut provider = json!({"issuer": issuer, "local_jwks": {"inline_string": keys}, "payload_in_metadata": "payload",
            "failed_status_in_metadata": "failure"});
        for (name, value) in more.as_object().unwrap() {
            provider[name] = value.clone();
        }
        provider
    };
    let first = "https://issuer.test";
    let rule =
        |prefix: &str, requires: Value| json!({"match": {"prefix": prefix}, "requires": requires});
    json!({
        "providers": {
            "main": provider(first, json!({"audiences": ["api"], "forward_payload_header": "x-payload", "claim_to_headers": [
                {"header_name": "x-claim-sub", "claim_name": "sub"}, {"header_name": "x-claim-name", "claim_name": "nested.name"},
                {"header_name": "x-claim-count", "claim_name": "count"}]})),
            "forward": provider(first, json!({"forward": true})),
            "query": provider(first, json!({"from_params": ["token"]})),
            "own": provider(first, json!({"from_headers": [{"name": "x-jwt", "value_prefix": "jwt "}]})),
            "cookie": provider(first, json!({"from_cookies": ["session"]})),
            "second": provider("https://second.test", json!({})),
        },
        "rules": [
            rule("/need", json!({"provider_name": "main"})),
            rule("/optional", json!({"requires_any": {"requirements": [{"provider_name": "main"}, {"allow_missing": {}}]}})),
            rule("/lenient", json!({"requires_any": {"requirements": [{"provider_name": "main"}, {"allow_missing_or_failed": {}}]}})),
            rule("/forward", json!({"provider_name": "forward"})),
            rule("/query", json!({"provider_name": "query"})),
            rule("/own", json!({"provider_name": "own"})),
            rule("/cookie", json!({"provider_name": "cookie"})),
            rule("/either", json!({"requires_any": {"requirements": [{"provider_name": "main"}, {"provider_name": "second"}]}})),
            rule("/both", json!({"requires_all": {"requirements": [{"provider_name": "main"}, {"provider_name": "second"}]}})),
            json!({"match": {"prefix": "/open"}}),
        ],
        "bypass_cors_preflight": true,
    })
}
