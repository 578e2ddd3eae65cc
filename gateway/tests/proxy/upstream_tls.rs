//! TLS towards services: whom they are shown, whom they are believed to be, by nginx's own variables.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::tls::indented;
use crate::gateway::{Gateway, PATIENCE, Peer, Start, get};

/// What signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn parameters(name: &str) -> CertificateParams {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters
    }

    fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(Self::parameters(name), key).expect("a certificate"))
    }

    fn below(name: &str, issuer: &Self) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer: &Issuer<'_, KeyPair> = &issuer.0;
        Self(
            CertifiedIssuer::signed_by(Self::parameters(name), key, issuer).expect("a certificate"),
        )
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// nginx, which tells what it was shown.
struct Nginx {
    _process: Peer,
    port: u16,
}

impl Nginx {
    fn start(folder: &Path, chain: &str, key: &str, clients: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        drop(listener);
        std::fs::create_dir_all(folder).expect("a folder");
        let mut text = format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\nevents {{}}\nhttp {{\n  access_log off;\n\
             \x20 server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate chain.pem;\n    ssl_certificate_key key.pem;\n\
             \x20   ssl_client_certificate clients.pem;\n    ssl_verify_client optional;\n\
             \x20   location / {{ return 200 \"$ssl_client_verify $ssl_client_s_dn $ssl_server_name $http_host\"; }}\n  }}\n"
        );
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            text += &format!("  {kind}_temp_path temp-{kind};\n");
        }
        for (name, text) in [
            ("nginx.conf", format!("{text}}}\n").as_str()),
            ("chain.pem", chain),
            ("key.pem", key),
            ("clients.pem", clients),
        ] {
            std::fs::write(folder.join(name), text).expect("a file in the folder");
        }
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(folder)
            .args(["-c", "nginx.conf", "-e", "error.log"]);
        let process = Peer::start(&mut command);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(folder.join("error.log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "nginx does not listen: {log}");
            std::thread::yield_now();
        }
        Self {
            _process: process,
            port,
        }
    }
}

fn entity(id: u8, parts: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (index, (name, pem)) in parts.iter().enumerate() {
        let mark = if index == 0 { "- " } else { "  " };
        text += &format!("{mark}{name}: |\n{}", indented(pem, 4));
    }
    text + &format!("  id: {}\n", number(id))
}

fn number(id: u8) -> String {
    format!("10000000-0000-4000-8000-0000000000{id:02}")
}

#[test]
fn services_are_shown_and_believed_what_was_configured() {
    let folder = tempfile::tempdir().expect("a folder");
    let (root, stranger) = (Authority::root("root"), Authority::root("stranger"));
    let upper = Authority::below("upper", &root);
    let lower = Authority::below("lower", &upper);
    let (served, served_key) = root.sign("localhost");
    let direct = Nginx::start(&folder.path().join("a"), &served, &served_key, &root.pem());
    let (leaf, leaf_key) = lower.sign("localhost");
    let chain = leaf + &lower.pem() + &upper.pem();
    let deep = Nginx::start(&folder.path().join("b"), &chain, &leaf_key, &root.pem());
    let (address, address_key) = root.sign("127.0.0.1");
    let numeric = Nginx::start(
        &folder.path().join("c"),
        &address,
        &address_key,
        &root.pem(),
    );

    let services = [
        format!("- {{name: open, url: \"https://localhost:{}\"", direct.port),
        format!(
            "- {{name: shown, url: \"https://localhost:{}\", client_certificate: {}",
            direct.port,
            number(1)
        ),
        format!(
            "- {{name: other, url: \"https://localhost:{}\", client_certificate: {}",
            direct.port,
            number(2)
        ),
        format!(
            "- {{name: strange, url: \"https://localhost:{}\", client_certificate: {}",
            direct.port,
            number(3)
        ),
        format!(
            "- {{name: verified, url: \"https://localhost:{}\", tls_verify: true, ca_certificates: [{}]",
            direct.port,
            number(4)
        ),
        format!(
            "- {{name: doubted, url: \"https://localhost:{}\", tls_verify: true, ca_certificates: [{}]",
            direct.port,
            number(5)
        ),
        format!(
            "- {{name: node, url: \"https://localhost:{}\", tls_verify: true",
            direct.port
        ),
        format!(
            "- {{name: careless, url: \"https://localhost:{}\", tls_verify: false, ca_certificates: [{}]",
            direct.port,
            number(5)
        ),
        format!(
            "- {{name: both, url: \"https://localhost:{}\", tls_verify: true, ca_certificates: [{}, {}]",
            direct.port,
            number(5),
            number(4)
        ),
        format!(
            "- {{name: misnamed, url: \"https://127.0.0.1:{}\", tls_verify: true, ca_certificates: [{}]",
            direct.port,
            number(4)
        ),
        format!(
            "- {{name: numeric, url: \"https://127.0.0.1:{}\", tls_verify: true, ca_certificates: [{}]",
            numeric.port,
            number(4)
        ),
        format!(
            "- {{name: shallow, url: \"https://localhost:{}\", tls_verify: true, tls_verify_depth: 1, ca_certificates: [{}]",
            deep.port,
            number(4)
        ),
        format!(
            "- {{name: deep, url: \"https://localhost:{}\", tls_verify: true, tls_verify_depth: 2, ca_certificates: [{}]",
            deep.port,
            number(4)
        ),
        "- {name: pool, url: \"https://pool\"".to_owned(),
        format!(
            "- {{name: own, url: \"https://pool\", client_certificate: {}",
            number(2)
        ),
    ];
    let mut yaml = String::from("_format_version: \"3.0\"\nservices:\n");
    for service in &services {
        let name = service.split([':', ',']).nth(1).expect("a name").trim();
        yaml += &format!(
            "{service}, retries: 0, routes: [{{name: {name}, paths: [/{name}]}}, {{name: {name}-kept, paths: [/kept-{name}], preserve_host: true}}]}}\n"
        );
    }
    yaml += "certificates:\n";
    let mut shown = Vec::new();
    for (id, authority, name) in [
        (1, &root, "one"),
        (2, &root, "two"),
        (3, &stranger, "three"),
    ] {
        let (certificate, key) = authority.sign(name);
        yaml += &entity(id, &[("cert", &certificate), ("key", &key)]);
        shown.push(certificate);
    }
    yaml += "ca_certificates:\n";
    yaml += &entity(4, &[("cert", &root.pem())]);
    yaml += &entity(5, &[("cert", &stranger.pem())]);
    yaml += &format!(
        "upstreams: [{{name: pool, client_certificate: {}, targets: [{{target: \"localhost:{}\"}}]}}]\n",
        number(1),
        direct.port
    );
    let gateway = Gateway::start(Start {
        yaml: Some(yaml),
        ..Start::default()
    });
    let host = format!("localhost:{}", direct.port);
    let rows: [(&str, u16, &str); 17] = [
        ("/open", 200, "NONE  localhost {host}"),
        ("/kept-open", 200, "NONE  test.example test.example"),
        ("/shown", 200, "SUCCESS CN=one localhost {host}"),
        ("/other", 200, "SUCCESS CN=two localhost {host}"),
        // nginx's own refusal of a certificate that nobody it knows has signed.
        ("/strange", 400, "The SSL certificate error"),
        ("/verified", 200, "NONE  localhost {host}"),
        // The name that is sent is the name that is verified.
        ("/kept-verified", 502, "An invalid response"),
        ("/doubted", 502, "An invalid response"),
        ("/node", 502, "An invalid response"),
        ("/careless", 200, "NONE  localhost {host}"),
        ("/both", 200, "NONE  localhost {host}"),
        ("/misnamed", 502, "An invalid response"),
        ("/numeric", 200, "NONE   127.0.0.1:{numeric}"),
        ("/shallow", 502, "An invalid response"),
        ("/deep", 200, "NONE  localhost localhost:{deep}"),
        ("/pool", 200, "SUCCESS CN=one localhost {host}"),
        ("/own", 200, "SUCCESS CN=two localhost {host}"),
    ];
    // Twice: a connection that is kept is not lent to whom it was not made for, and sessions that are resumed neither.
    for _ in 0..2 {
        for (path, status, text) in &rows {
            let wanted = text
                .replace("{host}", &host)
                .replace("{numeric}", &numeric.port.to_string())
                .replace("{deep}", &deep.port.to_string());
            let answer = gateway.send(&get(path));
            assert_eq!(answer.status(), *status, "{path}: {answer:?}");
            assert!(
                answer.text().contains(&wanted),
                "{path}: {answer:?} instead of {wanted:?}"
            );
        }
    }
    crate::cases::report("TLS towards services", rows.len(), rows.len());

    // Another certificate in its place is shown from the next connection on.
    let (certificate, key) = root.sign("anew");
    let text = std::fs::read_to_string(gateway.kong_yml()).expect("kong.yml");
    let begin = text.find("certificates:\n- cert").expect("certificates");
    let end = text[begin..]
        .find("- cert: |\n")
        .map(|first| begin + first)
        .expect("a first one");
    let second = end + 1 + text[end + 1..].find("- cert: |\n").expect("a second one");
    let anew = format!(
        "{}{}{}",
        &text[..end],
        entity(1, &[("cert", &certificate), ("key", &key)]),
        &text[second..]
    );
    gateway.reload(&anew);
    let wanted = format!("SUCCESS CN=anew localhost {host}");
    gateway.until(&get("/shown"), |answer| answer.text() == wanted);
    gateway.until(&get("/pool"), |answer| answer.text() == wanted);
}
