//! Refusals of the other guards: tokens, an authorizer, limits, and what is not served.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::support::config::{bootstrap, cluster, http_filter, listener, manager, virtual_host};
use crate::support::http1::{Connection, Request, get, post};
use crate::support::place::Place;
use crate::support::process::{Process, Program};
use crate::support::upstream::{Upstream, dead_port, reply};
use crate::tests::{end, gather};

const TOKENS: u16 = 8081;
const AUTHORIZER: u16 = 8082;
const NOBODY: u16 = 8083;
const LIMITED: u16 = 8084;
const SMALL: u16 = 8085;
const NOT_SERVED: u16 = 8086;

/// One guard a listener; the request that it lets pass is answered with 200 by the route.
fn config(place: &Place, keys: &str, authority: u16) -> Value {
    let on = |name: &str, port: u16, filters: Vec<Value>| {
        let hosts = json!([virtual_host(
            "all",
            &["*"],
            json!([{"name": "all", "match": {"prefix": "/"}, "direct_response": {"status": 200}}])
        )]);
        let manager = manager(name, hosts, filters, json!({}));
        listener(place, name, port, vec![manager])
    };
    let tokens = http_filter(
        "envoy.filters.http.jwt_authn",
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": {"main": {
                "issuer": "https://issuer.test", "local_jwks": {"inline_string": keys}, "payload_in_metadata": "payload",
            }},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "main"}}],
        }),
    );
    let claim = json!({"metadata": {
        "filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "sub"}],
        "value": {"string_match": {"exact": "ann"}},
    }});
    let no_ann = http_filter(
        "envoy.filters.http.rbac",
        "rbac.v3.RBAC",
        json!({"rules": {"action": "DENY", "policies": {"ns[shop]-policy[no-ann]-rule[0]": {
            "permissions": [{"any": true}], "principals": [claim],
        }}}}),
    );
    let authorizer = |cluster: &str| {
        http_filter(
            "envoy.filters.http.ext_authz",
            "ext_authz.v3.ExtAuthz",
            json!({
                "http_service": {"server_uri": {"uri": "http://authority.test", "cluster": cluster, "timeout": "2s"}},
                "transport_api_version": "V3",
            }),
        )
    };
    let all = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    let limit = http_filter(
        "envoy.filters.http.local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        json!({
            "stat_prefix": "limit",
            "token_bucket": {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"},
            "filter_enabled": all, "filter_enforced": all,
        }),
    );
    let small = http_filter(
        "envoy.filters.http.ext_authz",
        "ext_authz.v3.ExtAuthz",
        json!({
            "http_service": {"server_uri": {"uri": "http://authority.test", "cluster": "authority", "timeout": "2s"}},
            "with_request_body": {"max_request_bytes": 8},
            "transport_api_version": "V3",
        }),
    );
    let listeners = vec![
        on("tokens", TOKENS, vec![tokens, no_ann]),
        on("authorizer", AUTHORIZER, vec![authorizer("authority")]),
        on("nobody", NOBODY, vec![authorizer("dead")]),
        on("limited", LIMITED, vec![limit]),
        on("small", SMALL, vec![small]),
        on(
            "not-served",
            NOT_SERVED,
            vec![http_filter(
                "envoy.filters.http.lua",
                "lua.v3.Lua",
                json!({"default_source_code": {"inline_string": "function envoy_on_request(handle) end"}}),
            )],
        ),
    ];
    let clusters = vec![
        cluster("authority", &[authority], json!({})),
        cluster("dead", &[dead_port()], json!({})),
    ];
    bootstrap(place, listeners, clusters)
}

/// Of each refusal what must be told; and never a token.
#[test]
fn every_guard_is_told_by_its_name() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k",
        "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..65])}]});
    let token = |subject: &str| {
        let claims = json!({"iss": "https://issuer.test", "sub": subject, "exp": 4_000_000_000_u64, "secret": "hunter2"});
        let head = BASE64.encode(json!({"alg": "ES256", "kid": "k"}).to_string());
        let signed = format!("{head}.{}", BASE64.encode(claims.to_string()));
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    };
    let authority = Upstream::http("authority", &Arc::new(Mutex::default()));
    authority.script(&[vec![reply("403 Forbidden", &[], "no")]]);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let process = Process::proxy_in(
        Program::Carbyne,
        &[
            ("CARBYNE_EVENTS_DIR", &root),
            ("CARBYNE_EVENTS_NODE", "node"),
        ],
        |place| config(place, &keys.to_string(), authority.port()),
    );
    let bearer = |token: &str| get("/").header("authorization", &format!("Bearer {token}"));
    let forged = format!("{}x", token("bob"));
    let ann = json!({"token_issuer": "https://issuer.test", "token_subject": "ann", "policy": "ns[shop]-policy[no-ann]-rule[0]"});
    // Port, request, status; the reason, and more that is told with it. None where it is let pass.
    let rows: Vec<(u16, Request, u16, Option<(&str, Value)>)> = vec![
        (TOKENS, bearer(&token("bob")), 200, None),
        (
            TOKENS,
            get("/"),
            401,
            Some(("token_missing", json!({"token_subject": null}))),
        ),
        // Whose it says it is, is not believed, so it is not told.
        (
            TOKENS,
            bearer(&forged),
            401,
            Some(("token_invalid", json!({"token_subject": null}))),
        ),
        (
            TOKENS,
            bearer(&token("ann")),
            403,
            Some(("policy_denied", ann)),
        ),
        (
            AUTHORIZER,
            get("/"),
            403,
            Some(("authorizer_denied", json!({"detail": "ext_authz_denied"}))),
        ),
        (AUTHORIZER, get("/"), 200, None),
        (
            NOBODY,
            get("/"),
            403,
            Some(("authorizer_failed", json!({"detail": "ext_authz_error"}))),
        ),
        (LIMITED, get("/"), 200, None),
        (
            LIMITED,
            get("/"),
            429,
            Some(("rate_limited", json!({"method": "GET"}))),
        ),
        (
            SMALL,
            post("/", "hunter2hunter2"),
            413,
            Some(("too_large", json!({"method": "POST"}))),
        ),
        (
            NOT_SERVED,
            get("/"),
            503,
            Some(("guard_unavailable", json!({}))),
        ),
    ];
    let mut expected = BTreeMap::new();
    for (port, request, status, told) in rows {
        let mut connection = Connection::open(process.at(port)).unwrap();
        assert!(connection.send(&request.host("shop.test").bytes()));
        let answered = connection.response(false).unwrap().status;
        assert_eq!(answered, status, "{port}: {told:?}");
        if let Some((reason, more)) = told {
            let before = expected.insert(reason, (status, more));
            assert_eq!(before, None);
        }
    }
    end(process);

    let found = carbyne_events::found::read(folder.path()).unwrap();
    let events: Vec<Value> = found
        .iter()
        .filter(|event| event.kind.event_type() == "carbyne.security.refusal")
        .map(|event| serde_json::from_str(&event.json).unwrap())
        .collect();
    assert_eq!(events.len(), expected.len(), "{events:#?}");
    for (reason, (status, more)) in expected {
        let event = events.iter().find(|event| event["reason"] == reason);
        let event = event.unwrap_or_else(|| panic!("{reason} in {events:#?}"));
        let always = json!({"status": status, "count": 1, "node": "node", "component": "carbyne-proxy", "host": "shop.test"});
        for fields in [&always, &more] {
            for (name, value) in fields.as_object().unwrap() {
                assert_eq!(event[name], *value, "{name} of {event:#}");
            }
        }
    }
    let mut bytes = Vec::new();
    gather(folder.path(), &mut bytes);
    for secret in [&b"hunter2"[..], b"eyJ"] {
        let planted = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!planted, "{} is told", String::from_utf8_lossy(secret));
    }
}
