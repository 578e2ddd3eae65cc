//! An entity of every kind, made of nothing but what it needs and refers to.

use carbyne_gateway::object;
use carbyne_gateway::value::{Object, Value};

/// The kinds that have endpoints for creating them, parents before children.
pub(crate) const KINDS: [&str; 21] = [
    "consumers",
    "certificates",
    "ca_certificates",
    "upstreams",
    "services",
    "routes",
    "snis",
    "targets",
    "plugins",
    "vaults",
    "key_sets",
    "keys",
    "keyauth_credentials",
    "basicauth_credentials",
    "hmacauth_credentials",
    "jwt_secrets",
    "acls",
    "oauth2_credentials",
    "oauth2_tokens",
    "sessions",
    "acme_storage",
];

/// The kinds that are only made under a parent.
pub(crate) fn is_nested_only(kind: &str) -> bool {
    kind == "targets"
}

/// The nth sample of a kind; `parent` makes a reference to the entity that stands for a kind.
pub(crate) fn sample(kind: &str, number: u32, parent: &dyn Fn(&str) -> Value) -> Object {
    let name = format!("{}-{number}", kind.replace('_', "-"));
    let consumer = || parent("consumers");
    match kind {
        "acls" => object! { "group": name, "consumer": consumer() },
        "acme_storage" => object! { "key": name, "value": "v" },
        "basicauth_credentials" => {
            object! { "username": name, "password": "p", "consumer": consumer() }
        }
        "ca_certificates" => object! { "cert": authority() },
        "certificates" => {
            let (cert, key) = certificate();
            object! { "cert": cert, "key": key }
        }
        "consumers" => object! { "username": name },
        "hmacauth_credentials" => object! { "username": name, "consumer": consumer() },
        "jwt_secrets" | "keyauth_credentials" => object! { "key": name, "consumer": consumer() },
        "key_sets" => object! { "name": name },
        "keys" => {
            let jwk = format!(
                r#"{{"kid":"{name}","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#
            );
            object! { "name": name.as_str(), "kid": name.as_str(), "set": parent("key_sets"), "jwk": jwk }
        }
        "oauth2_credentials" => object! {
            "name": name.as_str(), "client_id": name.as_str(), "consumer": consumer(),
            "redirect_uris": vec![Value::from("https://example.com/")],
        },
        "oauth2_tokens" => object! {
            "access_token": name, "expires_in": 5, "credential": parent("oauth2_credentials"),
        },
        "plugins" => {
            let names = [
                "cors",
                "correlation-id",
                "request-termination",
                "prometheus",
                "bot-detection",
                "grpc-web",
                "key-auth",
                "basic-auth",
                "hmac-auth",
                "jwt",
                "statsd",
            ];
            let plugin = names[number as usize % names.len()];
            object! { "name": plugin, "instance_name": name, "service": parent("services") }
        }
        "routes" => {
            let path = format!("/{name}");
            object! { "name": name, "paths": vec![Value::from(path)], "service": parent("services") }
        }
        "services" => object! { "name": name, "host": "example.com" },
        "sessions" => object! { "session_id": name },
        "snis" => {
            object! { "name": format!("{name}.example.com"), "certificate": parent("certificates") }
        }
        "targets" => {
            object! { "target": format!("10.0.0.{number}:80"), "upstream": parent("upstreams") }
        }
        "upstreams" => object! { "name": format!("{name}.upstream") },
        "vaults" => object! { "name": "env", "prefix": format!("vault-{number}") },
        other => panic!("there is no sample of {other}"),
    }
}

/// A certificate and its key.
pub(crate) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A certificate of RSA with 1024 bits and its key, as OpenSSL makes them.
pub(crate) fn short_certificate() -> Object {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj"])
        .args(["/CN=short.example.com", "-out"])
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl is missing: .ci/setup installs it");
    assert!(made.status.success(), "{made:?}");
    let text = |path| std::fs::read_to_string(path).unwrap();
    object! { "cert": text(cert), "key": text(key) }
}

/// The certificate of an authority.
pub(crate) fn authority() -> String {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .pem()
}
