//! Planted secrets appear in no byte of the folder of events, nor in the node's log.

use std::path::Path;

use crate::gateway::{Start, Upstream, ask, get};
use crate::spool::{self, end, read};

const YAML: &str = r#"
_format_version: "3.0"
consumers:
- username: alice
  keyauth_credentials: [{key: "{key}"}]
  basicauth_credentials: [{username: alice, password: "{password}"}]
  jwt_secrets: [{key: issuer, secret: "{shared}"}]
services:
- name: s
  url: "{upstream}"
  routes:
  - name: keyed
    paths: [/keyed]
    plugins: [{name: key-auth, config: {key_in_body: true}}]
  - {name: basic, paths: [/basic], plugins: [{name: basic-auth}]}
  - {name: signed, paths: [/signed], plugins: [{name: jwt}]}
  - {name: open, paths: [/open]}
"#;

#[test]
fn no_secret_is_told() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut secrets = Vec::new();
    let mut plant = || {
        let secret: String = std::iter::repeat_with(|| random.alphanumeric())
            .take(24)
            .collect();
        secrets.push(secret.clone());
        secret
    };
    let (key, password, shared) = (plant(), plant(), plant());
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let yaml = YAML
        .replace("{upstream}", &upstream.url())
        .replace("{key}", &key)
        .replace("{password}", &password)
        .replace("{shared}", &shared);
    let mut start = Start {
        yaml: Some(yaml),
        ..Start::default()
    };
    start
        .variables
        .push(("CARBYNE_EVENTS_QUERY", "page".to_owned()));
    let gateway = spool::start(folder.path(), start);
    let basic = |name: &str, word: &str| format!("Basic {}", base64(&format!("{name}:{word}")));
    let bearer = |word: String| format!("Bearer {word}");
    let token = |signature: &str, subject: &str| {
        let head = base64(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = base64(&format!(r#"{{"iss":"issuer","sub":"{subject}"}}"#));
        format!(
            "{}.{}.{signature}",
            head.trim_end_matches('='),
            claims.trim_end_matches('=')
        )
    };
    let (wrong, subject, signature) = (plant(), plant(), plant());
    let asks = [
        get("/keyed").header("apikey", &key),
        get("/keyed").header("apikey", &wrong),
        get(&format!("/keyed?apikey={key}&page=2")),
        get(&format!("/keyed?apikey={}", plant())),
        ask("POST", "/keyed").form(&format!("apikey={}&a=b", plant())),
        ask("POST", "/keyed").json(&format!(r#"{{"apikey": "{key}"}}"#)),
        get("/basic").header("authorization", &basic("alice", &password)),
        get("/basic").header("authorization", &basic("alice", &plant())),
        get("/basic").header("authorization", &plant()),
        get("/signed").header("authorization", &bearer(token(&signature, &subject))),
        get(&format!("/signed?jwt={}", plant())),
        get("/open").header("cookie", &format!("session={}", plant())),
        get("/open").header("traceparent", &plant()),
        get("/open")
            .header("user-agent", &plant())
            .header("referer", &plant()),
        get(&format!("/open/reset/{}", plant())),
        get(&format!("/open?{}", plant())),
        get(&format!("/{}", plant())),
        ask("PUT", "/open").body(plant()),
    ];
    for ask in &asks {
        gateway.send(ask);
    }
    let mut broken = gateway.client();
    broken.write(
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\nHost: b\r\nCookie: {}\r\n\r\n",
            plant(),
            plant()
        )
        .as_bytes(),
    );
    assert!(broken.read(false).is_some());
    let log = gateway.log();
    end(gateway);
    let found = read(folder.path());
    assert_eq!(spool::requests(&found).len(), asks.len() + 1);
    let told: String = found.iter().map(|event| format!("{event:?}\n")).collect();
    // What may be told is, so the search would find what may not.
    assert!(told.contains("page=2") && told.contains("alice"));
    let mut bytes = told.into_bytes();
    gather(folder.path(), &mut bytes);
    for secret in &secrets {
        for form in [
            secret.clone(),
            base64(secret),
            base64(&format!("alice:{secret}")),
        ] {
            let form = form.trim_end_matches('=');
            let hidden = !bytes
                .windows(form.len())
                .any(|window| window == form.as_bytes());
            assert!(hidden, "{form} was told");
            assert!(!log.contains(form), "{form} was logged");
        }
    }
}

/// Every byte of every file.
fn gather(folder: &Path, bytes: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, bytes);
        } else {
            bytes.extend(std::fs::read(&path).unwrap());
        }
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    encoded
}
