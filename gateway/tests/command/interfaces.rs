//! The Admin API over TLS, with and without certificates of clients, and the Status API.

use super::program::{Node, Program, curl};

#[test]
fn the_admin_api_speaks_tls_with_a_certificate_of_its_own() {
    let program = Program::new();
    let node = Node::start(
        &program,
        &["start"],
        &[("KONG_ADMIN_LISTEN", "127.0.0.1:0 http2 ssl")],
    );
    let port = node.address("Admin").rsplit_once(':').unwrap().1;
    let url = format!("https://localhost:{port}/services");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let roots = program.prefix().join("ssl/admin-kong-default-ecdsa.crt");
    let roots = roots.to_str().unwrap();
    let base = [
        "--resolve",
        &resolve,
        "-w",
        "\n%{http_version} %{http_code}",
        &url,
    ];
    for (version, words) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        let ended = curl(&[&base[..], &["--cacert", roots, version]].concat());
        assert_eq!(
            ended.out,
            format!("{{\"data\":[],\"next\":null}}\n{words}"),
            "{ended:?}"
        );
    }
    // Clients that know RSA alone get the other certificate.
    for (algorithm, kind) in [
        ("RSA-PSS+SHA256", "rsaEncryption"),
        ("ECDSA+SHA256", "id-ecPublicKey"),
    ] {
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{port} -sigalgs {algorithm} </dev/null 2>/dev/null | openssl x509 -noout -text"
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(
            text.contains(kind),
            "{algorithm}: {text}: is openssl there? apt-get install openssl"
        );
    }
    let plain = curl(&[&format!("http://127.0.0.1:{port}/")]);
    assert_ne!(plain.code, 0, "{plain:?}");
}

#[test]
fn the_admin_api_asks_for_certificates_where_it_is_told_to() {
    let program = Program::new();
    let authority = Authority::new();
    let stranger = Authority::new();
    let roots = program.write("clients.pem", &authority.certificate.pem());
    let (good, good_key) = authority.client(&program, "good");
    let (bad, bad_key) = stranger.client(&program, "bad");
    let listen = "0.0.0.0:0 ssl, 127.0.0.1:0";
    let told = |verify: &'static str| {
        vec![
            ("KONG_ADMIN_LISTEN", listen),
            ("KONG_NGINX_ADMIN_SSL_CLIENT_CERTIFICATE", roots.as_str()),
            ("KONG_NGINX_ADMIN_SSL_VERIFY_CLIENT", verify),
        ]
    };
    for (verify, nobody, warned) in [
        ("on", false, false),
        ("optional", true, true),
        ("off", true, true),
    ] {
        let node = Node::start(&program, &["start"], &told(verify));
        let port = node.addresses[0].1.rsplit_once(':').unwrap().1;
        let url = format!("https://127.0.0.1:{port}/status");
        let call = |arguments: &[&str]| curl(&[&["-k", &url], arguments].concat());
        let with = |certificate: &str, key: &str| call(&["--cert", certificate, "--key", key]);
        assert!(with(&good, &good_key).out.contains("reachable"), "{verify}");
        assert_eq!(
            call(&[]).out.contains("reachable"),
            nobody,
            "{verify}: without a certificate"
        );
        let refused = with(&bad, &bad_key);
        assert_eq!(
            refused.out.contains("reachable"),
            verify == "off",
            "{verify}: {refused:?}"
        );
        // An address that is open to everyone is told at the start and while it is so.
        let words = "everyone who reaches admin_listen 0.0.0.0:";
        assert_eq!(
            node.log.iter().any(|line| line.contains(words)),
            warned,
            "{verify}: {:#?}",
            node.log
        );
        let status = with(&good, &good_key).out;
        assert_eq!(status.contains(words), warned, "{verify}: {status}");
    }
}

#[test]
fn the_status_api_shows_and_changes_nothing() {
    let program = Program::new();
    let node = Node::start(&program, &["start"], &[("KONG_DATABASE", "off")]);
    let (status, admin) = (node.address("Status"), node.address("Admin"));
    let call = |method: &str, path: &str, more: &[&str]| {
        let url = format!("http://{status}{path}");
        let base = ["-X", method, "-w", " %{http_code}", &url];
        curl(&[&base[..], more].concat()).out
    };
    assert!(
        call("GET", "/status", &[])
            .contains("\"configuration_hash\":\"00000000000000000000000000000000\"")
    );
    let empty = r#"{"message":"no configuration available (empty configuration present)"} 503"#;
    assert_eq!(call("GET", "/status/ready", &[]), empty);
    assert!(call("GET", "/status/dns", &[]).ends_with(" 501"));
    for path in ["/", "/services", "/config", "/cache", "/endpoints"] {
        assert_eq!(
            call("GET", path, &[]),
            r#"{"message":"Not found"} 404"#,
            "{path}"
        );
    }
    let config = [
        "-d",
        "{\"_format_version\":\"3.0\"}",
        "-H",
        "content-type: application/json",
    ];
    let config = [&config[..], &["-w", " %{http_code}"]].concat();
    let loaded = curl(&[&config[..], &[&format!("http://{admin}/config")]].concat());
    assert!(loaded.out.ends_with(" 201"), "{loaded:?}");
    assert_eq!(
        call("GET", "/status/ready", &[]),
        r#"{"message":"ready"} 200"#
    );
    let form = ["-d", "status=draining"];
    assert_eq!(call("POST", "/status/ready", &form), " 204");
    assert_eq!(
        call("GET", "/status/ready", &[]),
        r#"{"message":"draining"} 503"#
    );
    assert_eq!(call("POST", "/status/ready", &["-d", "status=x"]), " 400");
}

/// Who signs certificates of clients.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn client(&self, program: &Program, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (
            program.write(&format!("{name}.pem"), &certificate.pem()),
            program.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }
}
