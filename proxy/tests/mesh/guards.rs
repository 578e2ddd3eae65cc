//! Who else is asked: tokens (RequestAuthentication) and an external authorizer (AuthorizationPolicy CUSTOM).

use std::io::{BufReader, Write};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::cases::{Cases, Row};
use crate::support::http1::{Request, get};
use crate::support::service::{self, Arrived, Service};
use crate::world::{CALLER, ECHO_2, ECHO_HOST, Scene, World};

/// Signs tokens, and says how they are checked.
#[derive(Debug)]
struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn keys(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let number = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k", "x": number(1..33), "y": number(33..65)}]})
    }

    fn token(&self, claims: &Value) -> String {
        let head = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": "k"}).to_string());
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self
            .0
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[test]
fn tokens() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let yaml = TOKENS.replace("KEYS", &issuer.keys().to_string());
    let world = World::new(Scene {
        yaml: &yaml,
        ..Scene::default()
    });
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    let claims = |change: &Value| {
        let mut claims = json!({
            "iss": "https://issuer.test", "sub": "alice", "aud": ["shop"], "exp": FAR, "groups": ["admins", "staff"], "realm": {"role": "writer"},
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let bearer = |request: Request, token: &str| {
        request
            .host(ECHO_HOST)
            .header("authorization", &format!("Bearer {token}"))
    };
    let with = |path: &str, change: &Value| bearer(get(path), &issuer.token(&claims(change)));
    let none = json!({});
    let refused = |name, request, body| Row::new(name, request).status(401).body(body);
    let forbidden = |name, request| {
        Row::new(name, request)
            .status(403)
            .body("RBAC: access denied")
            .log(
                "echo-1",
                &[(
                    "response_code_details",
                    "rbac_access_denied_matched_policy[none]",
                )],
            )
    };
    let mut cases = Cases::new("mesh RequestAuthentication");
    let rows = [
        Row::new("a valid token", with("/token", &none))
            .tells(&[("/headers/x-sub", "alice")])
            .lacks(&["/headers/authorization"]),
        forbidden(
            "no token where one is demanded",
            get("/token").host(ECHO_HOST),
        ),
        Row::new(
            "no token where none is demanded",
            get("/open").host(ECHO_HOST),
        ),
        Row::new("a valid token where none is demanded", with("/open", &none)),
        refused(
            "an expired token",
            with("/token", &json!({"exp": 1_000_000_000})),
            "Jwt is expired",
        )
        .log(
            "echo-1",
            &[
                ("response_code", "401"),
                (
                    "response_code_details",
                    "jwt_authn_access_denied{Jwt_is_expired}",
                ),
            ],
        ),
        refused(
            "an expired token where none is demanded",
            with("/open", &json!({"exp": 1_000_000_000})),
            "Jwt is expired",
        ),
        refused(
            "a token that is not valid yet",
            with("/token", &json!({"nbf": FAR})),
            "Jwt not yet valid",
        ),
        refused(
            "a token of another issuer",
            with("/token", &json!({"iss": "https://other.test"})),
            "Jwt issuer is not configured",
        ),
        refused(
            "a token for another audience",
            with("/token", &json!({"aud": "bank"})),
            "Audiences in Jwt are not allowed",
        )
        .status(403),
        refused(
            "a token signed by somebody else",
            bearer(get("/token"), &other.token(&claims(&none))),
            "Jwt verification fails",
        ),
        refused(
            "no token at all",
            bearer(get("/token"), "nonsense"),
            "Jwt is not in the form of Header.Payload.Signature",
        ),
        Row::new("a claim that is a list", with("/group", &none)),
        forbidden(
            "a claim that is another list",
            with("/group", &json!({"groups": ["guests"]})),
        ),
        forbidden(
            "a claim that is not there",
            with("/group", &json!({"groups": null})),
        ),
        Row::new("a claim in a claim", with("/role", &none)),
        forbidden(
            "another claim in a claim",
            with("/role", &json!({"realm": {"role": "reader"}})),
        ),
        Row::new("a request principal", with("/alice", &none)),
        forbidden(
            "another request principal",
            with("/alice", &json!({"sub": "bob"})),
        ),
    ];
    for row in &rows {
        cases.row(&world, row);
    }
    cases.finish();
}

#[test]
fn an_external_authorizer() {
    let world = World::new(Scene {
        pods: &["caller-1", "echo-1", "echo-2", "stranger-1"],
        yaml: CUSTOM,
        ..Scene::default()
    });
    for name in ["echo-1", "echo-2", "caller-1"] {
        Service::http(&world.pod(name).namespace, name, 8080);
    }
    authorizer(&world);
    let at = |path: &str| get(path).host(ECHO_HOST);
    let (first, second) = (crate::world::ECHO_1, ECHO_2);
    let mut cases = Cases::new("mesh CUSTOM");
    let rows = [
        Row::new("allowed", at("/guarded/a").header("x-ticket", "good"))
            .to(first, 8080)
            .tells(&[
                ("/service", "echo-1"),
                ("/headers/x-checked", "GET /guarded/a"),
            ]),
        Row::new("denied", at("/guarded/a").header("x-ticket", "bad"))
            .to(first, 8080)
            .status(403)
            .body("no entry")
            .answers(&[("x-reason", "bad ticket")])
            .log(
                "echo-1",
                &[
                    ("response_flags", "UAEX"),
                    ("response_code_details", "ext_authz_denied"),
                ],
            ),
        Row::new(
            "the authorizer chooses the status",
            at("/guarded/a").header("x-ticket", "401"),
        )
        .to(first, 8080)
        .status(401),
        Row::new(
            "a client cannot claim to be checked",
            at("/guarded/a")
                .header("x-ticket", "good")
                .header("x-checked", "forged"),
        )
        .to(first, 8080)
        .tells(&[("/headers/x-checked", "GET /guarded/a")]),
        Row::new("not asked on another path", at("/free"))
            .to(first, 8080)
            .tells(&[("/service", "echo-1")])
            .lacks(&["/headers/x-checked"]),
        Row::new(
            "the authorizer is down: closed",
            get("/guarded/a").host("caller.shop.svc.cluster.local"),
        )
        .from("stranger-1")
        .to(CALLER, 8080)
        .status(403)
        .log(
            "caller-1",
            &[
                ("response_flags", "UAEX"),
                ("response_code_details", "ext_authz_error"),
            ],
        ),
        Row::new(
            "the authorizer is down: another path",
            get("/free").host("caller.shop.svc.cluster.local"),
        )
        .from("stranger-1")
        .to(CALLER, 8080)
        .tells(&[("/service", "caller-1")]),
        Row::new("the authorizer is down: open", at("/guarded/a"))
            .to(second, 8080)
            .tells(&[("/service", "echo-2")]),
    ];
    for row in &rows {
        cases.row(&world, row);
    }
    cases.finish();
}

/// Lets in who shows a good ticket, and says what it was asked about.
fn authorizer(world: &World) {
    service::accept(world.node(), 9000, |mut socket| {
        let mut reader = BufReader::new(socket.try_clone()?);
        while let Some(request) = Arrived::read(&mut reader)? {
            let answer = match request.header("x-ticket") {
                Some("good") => format!(
                    "HTTP/1.1 200 OK\r\nx-checked: {} {}\r\ncontent-length: 0\r\n\r\n",
                    request.method, request.path
                ),
                Some("401") => "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned(),
                _ => "HTTP/1.1 403 Forbidden\r\nx-reason: bad ticket\r\nx-other: hidden\r\ncontent-length: 8\r\n\r\nno entry".to_owned(),
            };
            socket.write_all(answer.as_bytes())?;
        }
        Ok(())
    });
}

/// A time that no run of this suite sees.
const FAR: u64 = 10_000_000_000;

const TOKENS: &str = r#"
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  selector: {matchLabels: {app: echo}}
  jwtRules:
  - issuer: https://issuer.test
    audiences: [shop]
    outputClaimToHeaders: [{header: x-sub, claim: sub}]
    jwks: 'KEYS'
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: with-token, namespace: shop}
spec:
  selector: {matchLabels: {app: echo}}
  action: ALLOW
  rules:
  - from: [{source: {requestPrincipals: ["https://issuer.test/*"]}}]
    to: [{operation: {paths: [/token]}}]
  - to: [{operation: {paths: [/group]}}]
    when: [{key: "request.auth.claims[groups]", values: [admins]}]
  - to: [{operation: {paths: [/role]}}]
    when: [{key: "request.auth.claims[realm][role]", values: [writer]}]
  - from: [{source: {requestPrincipals: [https://issuer.test/alice]}}]
    to: [{operation: {paths: [/alice]}}]
  - to: [{operation: {paths: [/open]}}]
"#;

const CUSTOM: &str = r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: authorizer, namespace: shop}
spec:
  hosts: [authorizer.tools.example]
  addresses: [10.96.0.90]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 9000, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.0.1}]
---
# Nobody listens there.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: absent, namespace: shop}
spec:
  hosts: [absent.tools.example]
  addresses: [10.96.0.91]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 9009, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.0.1}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: asked, namespace: shop}
spec:
  selector: {matchLabels: {app: echo, version: v1}}
  action: CUSTOM
  provider: {name: authorizer}
  rules: [{to: [{operation: {paths: [/guarded/*]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open, namespace: shop}
spec:
  selector: {matchLabels: {app: echo, version: v2}}
  action: CUSTOM
  provider: {name: lenient}
  rules: [{to: [{operation: {paths: [/guarded/*]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec:
  selector: {matchLabels: {app: caller}}
  action: CUSTOM
  provider: {name: strict}
  rules: [{to: [{operation: {paths: [/guarded/*]}}]}]
"#;
