//! TLS of clients, by openssl's and curl's own words.

use rcgen::{CertificateParams, DnType, KeyPair};

use crate::gateway::{Gateway, Start, Upstream, program};

pub(super) fn certificate(name: &str) -> (String, String) {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    parameters.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

pub(super) fn indented(text: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    text.lines()
        .map(|line| format!("{margin}{line}\n"))
        .collect()
}

fn subject(gateway: &Gateway, name: Option<&str>) -> String {
    let address = gateway.proxy[0].to_string();
    let mut arguments = vec!["s_client", "-connect", &address];
    match name {
        Some(name) => arguments.extend(["-servername", name]),
        None => arguments.push("-noservername"),
    }
    let told = program("openssl", &arguments);
    let line = told
        .lines()
        .find(|line| line.trim_start().starts_with("subject="));
    let line = line.unwrap_or_else(|| panic!("no certificate for {name:?}:\n{told}"));
    line.rsplit("CN")
        .next()
        .unwrap_or_default()
        .trim_matches([' ', '='])
        .to_owned()
}

#[test]
fn certificates_are_chosen_by_name() {
    let upstream = Upstream::start();
    let mut yaml = format!(
        "_format_version: \"3.0\"\nservices: [{{name: s, url: \"{}\", routes: [{{paths: [/]}}, {{name: named, paths: [/named], protocols: [https], snis: [a.example]}}]}}]\ncertificates:\n",
        upstream.url()
    );
    for (common, snis) in [
        ("exact", "a.example"),
        ("leading", "\"*.example\""),
        ("trailing", "\"b.*\""),
    ] {
        let (certificate, key) = certificate(common);
        yaml.push_str(&format!(
            "- cert: |\n{}  key: |\n{}  snis: [{{name: {snis}}}]\n",
            indented(&certificate, 4),
            indented(&key, 4)
        ));
    }
    let gateway = Gateway::start(Start {
        yaml: Some(yaml),
        conf: vec![(
            "proxy_listen",
            "127.0.0.1:0 http2 ssl, 127.0.0.1:0 ssl".to_owned(),
        )],
        ..Start::default()
    });
    let rows = [
        (Some("a.example"), "exact"),
        (Some("A.Example"), "exact"),
        (Some("other.example"), "leading"),
        (Some("b.test"), "trailing"),
        (Some("elsewhere.test"), "localhost"),
        (None, "localhost"),
    ];
    for (name, wanted) in rows {
        let found = subject(&gateway, name);
        assert!(
            found.starts_with(wanted) || found.contains(wanted),
            "{name:?}: {found}"
        );
    }
    // The node keeps the certificate that it made.
    for file in ["kong-default.crt", "kong-default.key"] {
        assert!(gateway.prefix().join("ssl").join(file).is_file(), "{file}");
    }
    let curl = |host: &str, address: std::net::SocketAddr, path: &str, flag: &str| {
        let resolve = format!("{host}:{}:127.0.0.1", address.port());
        let url = format!("https://{host}:{}{path}", address.port());
        program(
            "curl",
            &[
                "-sk",
                flag,
                "--resolve",
                &resolve,
                "-w",
                "\n%{http_version} %{http_code}",
                &url,
            ],
        )
    };
    for (address, flag, wanted) in [
        (gateway.proxy[0], "--http2", "hello\n2 200"),
        (gateway.proxy[0], "--http1.1", "hello\n1.1 200"),
        (gateway.proxy[1], "--http2", "hello\n1.1 200"),
    ] {
        assert_eq!(curl("a.example", address, "/x", flag), wanted);
        let seen = &upstream.seen()[0];
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        let via = if wanted.contains("\n2") {
            "2 kong/3.9.3"
        } else {
            "1.1 kong/3.9.3"
        };
        assert_eq!(seen.header("via"), Some(via));
    }
    // A name that the route asks for is a condition as any other.
    assert!(curl("a.example", gateway.proxy[0], "/named/x", "--http2").ends_with("2 200"));
    assert_eq!(upstream.seen()[0].asked(), "GET /x");
    assert!(curl("b.test", gateway.proxy[0], "/named/x", "--http2").ends_with("2 200"));
    assert_eq!(upstream.seen()[0].asked(), "GET /named/x");
    crate::cases::report("certificates by name", rows.len(), rows.len());
}
