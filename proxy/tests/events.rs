//! Events of a real sidecar: what it refuses is told with the policy that did, alike refusals together; and without
//! `CARBYNE_EVENTS_DIR` nothing is written.

#[cfg(test)]
#[path = "support/parts.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "each suite uses a part of the support"
)]
mod support;

#[cfg(test)]
#[path = "events/guards.rs"]
mod guards;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use crate::support::config::{
        any, bootstrap, http_filter, listener, listener_with, manager, virtual_host,
    };
    use crate::support::http1::{Connection, get};
    use crate::support::place::Place;
    use crate::support::process::{Process, Program};
    use crate::support::tls::{Authority, ClientTls};

    const PLAIN: u16 = 8080;
    const SECURE: u16 = 8443;
    /// Where a token is wanted.
    const GUARDED: u16 = 8081;

    const ISSUER: &str = "https://issuer.test";
    const KEY_ID: &str = "key-of-the-week";
    const KEY: &str = "YSBrZXkgb2YgYSB0ZXN0LCBhcyBsb25nIGFzIFNIQS0yNTYgd2FudHMgaXQ";
    /// Of `somebody`, signed with that key.
    const TOKEN: &str = concat!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6ImtleS1vZi10aGUtd2VlayJ9.",
        "eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0Iiwic3ViIjoic29tZWJvZHkifQ.",
        "LaAE8l_WK_0Y9pNXeWN0cjOWxY0sRUyU4YyNuCWjHTc"
    );

    fn config(place: &Place, server: (&str, &str), root: &str) -> Value {
        let policy = json!({"action": "DENY", "policies": {
            "ns[shop]-policy[no-admin]-rule[0]": {
                "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}], "principals": [{"any": true}],
            },
        }});
        let hosts = json!([virtual_host(
            "all",
            &["*"],
            json!([
                {"name": "all", "match": {"prefix": "/"}, "direct_response": {"status": 200}},
            ])
        )]);
        let rbac = http_filter(
            "envoy.filters.http.rbac",
            "rbac.v3.RBAC",
            json!({"rules": policy}),
        );
        let keys = json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": KEY_ID, "k": KEY}]});
        let tokens = http_filter(
            "envoy.filters.http.jwt_authn",
            "jwt_authn.v3.JwtAuthentication",
            json!({
                "providers": {"issuer": {
                    "issuer": ISSUER,
                    "local_jwks": {"inline_string": keys.to_string()},
                    "payload_in_metadata": "payload",
                }},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}],
            }),
        );
        let plain = manager("plain", hosts.clone(), vec![rbac.clone()], json!({}));
        let guarded = manager("guarded", hosts.clone(), vec![tokens, rbac], json!({}));
        let secure = manager("secure", hosts, Vec::new(), json!({}));
        let context = any(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            json!({
                "require_client_certificate": true,
                "common_tls_context": {
                    "tls_certificates": [{
                        "certificate_chain": {"inline_string": server.0}, "private_key": {"inline_string": server.1},
                    }],
                    "validation_context": {"trusted_ca": {"inline_string": root}},
                },
            }),
        );
        let strict = json!({
            "listener_filters": [{"name": "envoy.filters.listener.tls_inspector", "typed_config":
                any("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({}))}],
            "filter_chains": [{
                "filter_chain_match": {"transport_protocol": "tls"},
                "filters": [secure],
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
            }],
        });
        let listeners = vec![
            listener(place, "plain", PLAIN, vec![plain]),
            listener(place, "guarded", GUARDED, vec![guarded]),
            listener_with(place, "strict", SECURE, strict),
        ];
        bootstrap(place, listeners, Vec::new())
    }

    fn sidecar(environment: &[(&str, &str)]) -> Process {
        let authority = Authority::new("root");
        let server = authority.sign(
            "server",
            &["server.test"],
            &["spiffe://mesh/ns/shop/sa/echo"],
        );
        Process::proxy_in(Program::Carbyne, environment, |place| {
            config(place, (&server.chain, &server.key), &authority.root())
        })
    }

    fn ask(process: &Process, path: &str) -> u16 {
        ask_as(process, PLAIN, path, "hunter2hunter2")
    }

    fn ask_as(process: &Process, port: u16, path: &str, token: &str) -> u16 {
        let mut connection = Connection::open(process.at(port)).unwrap();
        let authorization = format!("Bearer {token}");
        let request = get(path)
            .host("shop.test")
            .header("authorization", &authorization);
        assert!(connection.send(&request.bytes()));
        connection.response(false).unwrap().status
    }

    pub(crate) fn end(mut process: Process) {
        process.terminate();
        process.wait_until("the end", |_| Some(()));
        let began = std::time::Instant::now();
        while process.is_running() {
            assert!(
                began.elapsed() < crate::support::PATIENCE * 3,
                "it does not end"
            );
            std::thread::yield_now();
        }
    }

    #[test]
    fn refusals_are_told_with_what_decided() {
        const MANY: u64 = 50;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap().to_owned();
        let process = sidecar(&[
            ("CARBYNE_EVENTS_DIR", &root),
            ("CARBYNE_EVENTS_NODE", "node"),
        ]);
        assert_eq!(ask(&process, "/open?token=hunter2hunter2"), 200);
        for _ in 0..MANY {
            assert_eq!(ask(&process, "/admin?token=hunter2hunter2"), 403);
        }
        let mut malformed = Connection::open(process.at(PLAIN)).unwrap();
        malformed.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nCookie: hunter2hunter2\r\n\r\n");
        assert_eq!(malformed.response(false).unwrap().status, 400);
        let mut plaintext = Connection::open(process.at(SECURE)).unwrap();
        plaintext.send(&get("/").host("shop.test").bytes());
        assert!(
            plaintext.response(false).is_err(),
            "plaintext where TLS is strict"
        );
        // Without a certificate: TLS 1.3 says so with the first read.
        if let Ok(mut handshake) = ClientTls::default().connect(process.at(SECURE)) {
            let read = std::io::Read::read(&mut handshake.stream, &mut [0; 16]);
            assert!(
                !matches!(read, Ok(1..)),
                "a handshake without a certificate"
            );
        }
        end(process);
        let found = carbyne_events::found::read(folder.path()).unwrap();
        let events: Vec<(&str, Value)> = found
            .iter()
            .map(|event| {
                (
                    event.kind.event_type(),
                    serde_json::from_str(&event.json).unwrap(),
                )
            })
            .collect();
        let of = |reason: &str| {
            let all = events.iter().filter(|(_, event)| event["reason"] == reason);
            all.map(|(_, event)| event).collect::<Vec<_>>()
        };
        let count = |events: &[&Value]| {
            events
                .iter()
                .map(|event| event["count"].as_u64().unwrap())
                .sum::<u64>()
        };
        let denied = of("policy_denied");
        assert_eq!(count(&denied), MANY, "{events:?}");
        assert!(
            denied.len() < 20,
            "{} events of {MANY} refusals",
            denied.len()
        );
        let first = denied[0];
        for (field, expected) in [
            ("node", json!("node")),
            ("component", json!("carbyne-proxy")),
            ("policy", json!("ns[shop]-policy[no-admin]-rule[0]")),
            ("status", json!(403)),
            ("client_address", json!("127.0.0.0/24")),
            ("method", json!("GET")),
            ("host", json!("shop.test")),
        ] {
            assert_eq!(first[field], expected, "{field} of {first}");
        }
        for reason in ["malformed_request", "plaintext_refused", "handshake_failed"] {
            assert_eq!(count(&of(reason)), 1, "{reason}: {events:?}");
        }
        let states: Vec<_> = events
            .iter()
            .filter(|(kind, _)| *kind == "carbyne.system.health")
            .map(|(_, event)| event["state"].as_str().unwrap())
            .collect();
        // Whether it was seen to be ready depends on when it was looked at.
        assert!(matches!(states[0], "starting" | "ready"), "{states:?}");
        assert!(states.ends_with(&["draining", "stopped"]), "{states:?}");
        let mut bytes = Vec::new();
        gather(folder.path(), &mut bytes);
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    }

    #[test]
    fn whose_token_was_refused_is_told_and_by_which_key_it_was_signed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap().to_owned();
        let process = sidecar(&[("CARBYNE_EVENTS_DIR", &root)]);
        assert_eq!(ask_as(&process, GUARDED, "/open", TOKEN), 200);
        assert_eq!(ask_as(&process, GUARDED, "/admin", TOKEN), 403);
        let (signed, _) = TOKEN.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", "A".repeat(43));
        assert_eq!(ask_as(&process, GUARDED, "/admin", &forged), 401);
        end(process);
        let found = carbyne_events::found::read(folder.path()).unwrap();
        let events: Vec<Value> = found
            .iter()
            .map(|event| serde_json::from_str(&event.json).unwrap())
            .collect();
        let of = |reason: &str| {
            let event = events.iter().find(|event| event["reason"] == reason);
            event.unwrap_or_else(|| panic!("{reason}: {events:?}"))
        };
        let denied = of("policy_denied");
        let hash = carbyne_events::redact::key_id(KEY_ID);
        for (field, expected) in [
            ("token_issuer", ISSUER),
            ("token_subject", "somebody"),
            ("token_key_hash", hash.as_str()),
        ] {
            assert_eq!(denied[field], expected, "{field} of {denied}");
        }
        // What a forged token says of itself is not told.
        let forged = of("token_invalid");
        for field in ["token_issuer", "token_subject", "token_key_hash"] {
            assert!(forged[field].is_null(), "{field} of {forged}");
        }
        let mut bytes = Vec::new();
        gather(folder.path(), &mut bytes);
        for secret in [KEY_ID, KEY, signed] {
            let secret = secret.as_bytes();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }

    #[test]
    fn without_a_directory_nothing_is_written() {
        let process = sidecar(&[]);
        assert_eq!(ask(&process, "/admin"), 403);
        let names = std::fs::read_dir(process.place.folder()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            !names
                .iter()
                .any(|name| name.to_string_lossy().starts_with("proxy-")),
            "{names:?}"
        );
        end(process);
    }

    pub(crate) fn gather(folder: &Path, bytes: &mut Vec<u8>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, bytes);
            } else {
                bytes.extend(std::fs::read(&path).unwrap());
            }
        }
    }
}
