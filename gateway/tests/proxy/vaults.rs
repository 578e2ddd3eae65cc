//! References to secrets in what is served: `{vault://env/…}`, in the fields that may hold such.

use serde_json::json;

use super::tls::certificate;
use crate::gateway::{Gateway, Message, Start, Upstream, get, program, reply};

/// The next call that a collector gets.
fn call(collector: &Upstream) -> Message {
    loop {
        if let Some(call) = collector.seen().pop() {
            return call;
        }
        std::thread::yield_now();
    }
}

#[test]
fn references_stand_for_variables() {
    let upstream = Upstream::start();
    let collector = Upstream::answering(|_| reply(204, &[], ""));
    let (chain, key) = certificate("secret.example");
    let yaml = format!(
        r#"
_format_version: "3.0"
vaults:
- {{name: env, prefix: mine, config: {{prefix: MINE_}}}}
certificates:
- cert: "{{vault://env/pair/cert}}"
  key: "{{vault://env/pair/key}}"
  snis: [{{name: secret.example}}]
services:
- name: s
  url: "{}"
  routes:
  - name: logged
    paths: [/logged]
    plugins:
    - name: http-log
      config: {{http_endpoint: "{{vault://env/collector}}", headers: {{x-token: "{{vault://mine/token}}", x-plain: plain}}}}
  - name: literal
    paths: [/literal]
    plugins:
    - {{name: request-termination, config: {{status_code: 200, message: "{{vault://env/collector}}"}}}}
  - name: dangling
    paths: [/dangling]
    plugins:
    - {{name: http-log, config: {{http_endpoint: "{{vault://env/absent}}", headers: {{x: "{{vault://hcv/x}}"}}}}}}
  - name: guarded
    paths: [/guarded]
    plugins:
    - {{name: rate-limiting, config: {{year: 1, redis: {{host: localhost, password: "{{vault://env/absent}}"}}}}}}
  - name: limited
    paths: [/limited]
    plugins:
    - {{name: rate-limiting, config: {{year: 1, policy: redis, redis: {{host: localhost, password: "{{vault://env/absent}}"}}}}}}
"#,
        upstream.url()
    );
    let gateway = Gateway::start(Start {
        yaml: Some(yaml),
        conf: vec![
            ("proxy_listen", "127.0.0.1:0, 127.0.0.1:0 ssl".to_owned()),
            ("vault_env_prefix", "SECRET_".to_owned()),
        ],
        variables: vec![
            ("SECRET_COLLECTOR", format!("{}/in", collector.url())),
            ("MINE_TOKEN", "s3cret".to_owned()),
            (
                "SECRET_PAIR",
                json!({"cert": chain, "key": key}).to_string(),
            ),
        ],
    });
    assert_eq!(gateway.send(&get("/logged")).status(), 200);
    let written = call(&collector);
    assert_eq!(written.asked(), "POST /in");
    assert_eq!(written.header("x-token"), Some("s3cret"));
    assert_eq!(written.header("x-plain"), Some("plain"));
    // A field that may hold none is what it says.
    let literal = gateway.send(&get("/literal")).json();
    assert_eq!(literal["message"], "{vault://env/collector}");
    // What stands for nothing is said, without a secret; what would log does nothing, and a limit that counts on this node
    // does not ask for the password of a Redis: it is the limit that was configured. One that does lets nobody through.
    assert_eq!(gateway.send(&get("/dangling")).status(), 200);
    assert_eq!(gateway.send(&get("/guarded")).status(), 200);
    assert_eq!(gateway.send(&get("/guarded")).status(), 429);
    assert_eq!(gateway.send(&get("/limited")).status(), 503);
    let log = gateway.log();
    for told in [
        "config.http_endpoint: {vault://env/absent}: the variable SECRET_ABSENT is not set",
        "config.headers.x: {vault://hcv/x}: the vault 'hcv' is not served",
        "config.redis.password: {vault://env/absent}: the variable SECRET_ABSENT is not set",
    ] {
        assert!(log.contains(told), "{told}:\n{log}");
    }
    assert!(!log.contains("s3cret"), "{log}");
    let shown = program(
        "openssl",
        &[
            "s_client",
            "-connect",
            &gateway.proxy[1].to_string(),
            "-servername",
            "secret.example",
        ],
    );
    assert!(shown.contains("secret.example"), "{shown}");
    // The Admin API shows what was written.
    let plugins = gateway.ask_admin(&get("/plugins")).text();
    assert!(plugins.contains("{vault://mine/token}"), "{plugins}");
    assert!(!plugins.contains("s3cret"), "{plugins}");
    let certificates = gateway.ask_admin(&get("/certificates")).text();
    assert!(
        certificates.contains("{vault://env/pair/key}"),
        "{certificates}"
    );
    crate::cases::report("references", 11, 11);
}

/// Another prefix of a vault is another secret at once.
#[test]
fn vaults_may_change() {
    let upstream = Upstream::start();
    let collector = Upstream::answering(|_| reply(204, &[], ""));
    let gateway = Gateway::start(Start {
        variables: vec![
            ("ONE_TOKEN", "one".to_owned()),
            ("TWO_TOKEN", "two".to_owned()),
        ],
        ..Start::default()
    });
    let send = |path: &str, body: serde_json::Value| {
        gateway.administer("PUT", path, &body.to_string());
    };
    send("/services/s", json!({"url": upstream.url()}));
    send("/services/s/routes/r", json!({"paths": ["/"]}));
    let plugin = json!({
        "name": "http-log",
        "config": {"http_endpoint": collector.url(), "headers": {"x-token": "{vault://mine/token}"}},
    });
    send("/plugins/10000000-0000-4000-8000-000000000001", plugin);
    let told = |wanted: &str| {
        loop {
            assert_eq!(
                gateway
                    .until(&get("/"), |answer| answer.status() == 200)
                    .status(),
                200
            );
            let found = collector.seen().pop();
            if found.is_some_and(|call| call.header("x-token") == Some(wanted)) {
                return;
            }
            std::thread::yield_now();
        }
    };
    // There is no such vault yet: nothing is logged. Then there is.
    send(
        "/vaults/mine",
        json!({"name": "env", "config": {"prefix": "ONE_"}}),
    );
    told("one");
    send(
        "/vaults/mine",
        json!({"name": "env", "config": {"prefix": "TWO_"}}),
    );
    told("two");
}
