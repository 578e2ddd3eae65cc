//! No planted secret is in a bundle, whatever it looks like and wherever it was written; and parts that are missing keep no other back.

use std::io::Read;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;
use crate::running::{Control, Kind, Member, Running, VERSION};

/// Every byte of a bundle, names included.
fn unpacked(bytes: &[u8]) -> String {
    let mut all = String::new();
    let mut archive = tar::Archive::new(GzDecoder::new(bytes));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        all.push_str(&entry.path().unwrap().display().to_string());
        all.push('\n');
        entry.read_to_string(&mut all).unwrap();
    }
    all
}

/// Places where secrets are written; `@` is the secret.
const PLACES: [(&str, &str); 16] = [
    (
        "folder/kong.yml",
        "_format_version: '3.0'\nconsumers:\n- username: a\n  keyauth_credentials: [{key: '@'}]\n",
    ),
    (
        "folder/kong.yml",
        "consumers:\n- username: a\n  jwt_secrets:\n  - key: issuer\n    secret: '@'\n",
    ),
    (
        "folder/kong.yml",
        "consumers:\n- basicauth_credentials:\n  - {username: a, password: '@'}\n",
    ),
    (
        "folder/kong.yml",
        "consumers:\n- hmacauth_credentials:\n  - username: a\n    secret: '@'\n",
    ),
    (
        "folder/kong.yml",
        "plugins:\n- name: rate-limiting\n  config: {redis: {password: '@'}}\n",
    ),
    (
        "folder/kong.yml",
        "# curl http://x -H 'apikey: @'\nservices: []\n",
    ),
    ("folder/kong.yml", "certificates:\n- cert: x\n  key: '@'\n"),
    ("folder/broken.yml", "a: [\nclient_secret: \"@\"\n"),
    (
        "programs/a-sidecar/log.log",
        "GET /x?apikey=@&a=b HTTP/1.1\n",
    ),
    ("programs/a-sidecar/log.log", "authorization: Bearer @\n"),
    ("programs/a-sidecar/log.log", "cookie: session=@\n"),
    (
        "programs/a-sidecar/log.log",
        "{\"Authorization\":\"Basic @\",\"status\":200}\n",
    ),
    (
        "programs/a-sidecar/config_dump.json",
        "{\"private_key\": \"@\", \"name\": \"default\"}\n",
    ),
    (
        "programs/a-sidecar/config_dump.json",
        "{\"address\": \"redis://u:@@127.0.0.1\"}\n",
    ),
    (
        "programs/a-gateway/log.log",
        "-----BEGIN PRIVATE KEY-----\n@\n-----END PRIVATE KEY-----\n",
    ),
    ("programs/a-gateway/log.log", "access_token=@ expires\n"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_planted_secret_is_in_a_bundle(
        secrets in prop::collection::vec("[A-Za-z0-9][A-Za-z0-9+/_.=-]{7,40}", PLACES.len()),
    ) {
        let mut parts = Parts::default();
        for (index, ((name, text), secret)) in PLACES.iter().zip(&secrets).enumerate() {
            let (folder, file) = name.rsplit_once('/').unwrap();
            parts.add(&format!("{folder}/{index}-{file}"), text.replacen('@', secret, 1));
        }
        // What the configuration says is secret turns up in a log where no name gives it away.
        for secret in &secrets[..5] {
            parts.add("programs/a-service/log.log", format!("got [{secret}] and went on\n"));
            parts.missing.push(format!("http://x/{secret}: no answer"));
        }
        let all = unpacked(&bundle::bundle(&parts, 7).unwrap());
        for (secret, (name, place)) in secrets.iter().zip(PLACES) {
            prop_assert!(!all.contains(secret.as_str()), "{secret} of {name}: {place}\n{all}");
        }
        // It is not empty either: what is no secret is there.
        prop_assert!(all.contains("and went on") && all.contains("\"name\": \"default\""), "{all}");
    }
}

/// A platform of which nothing answers any more.
#[test]
fn parts_that_are_missing_keep_no_other_back() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yaml"), "kind: [").unwrap();
    let log = folder.path().join("proxy.log");
    std::fs::write(&log, "first line\nlast line\n").unwrap();
    let member = |name: &str, files: &[(&str, PathBuf)]| Member {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        app: name.to_owned(),
        version: "v1".to_owned(),
        kind: Kind::Sidecar,
        pid: Some(u32::MAX),
        admin: "127.0.0.1:1".parse().ok(),
        metrics: None,
        addresses: Vec::new(),
        files: files
            .iter()
            .map(|(name, path)| ((*name).to_owned(), path.clone()))
            .collect(),
    };
    let running = Running {
        version: VERSION,
        folder: folder.path().to_owned(),
        control: Control { pid: 1, page: None },
        members: vec![
            member("portal", &[("log", log)]),
            member("billing", &[("log", folder.path().join("gone.log"))]),
        ],
        events: None,
        kafka: None,
    };
    let mut parts = Parts::default();
    runtime::run(gather::gather(
        &mut parts,
        Some(&running),
        Some(folder.path()),
        Duration::from_secs(10),
    ))
    .unwrap();
    let names: Vec<&str> = parts.files.iter().map(|(name, _)| name.as_str()).collect();
    for expected in [
        "folder/a.yaml",
        "graph.json",
        "lint.json",
        "machine/kernel.txt",
        "programs/portal-sidecar/log.log",
        "running.json",
        "status.json",
        "version.txt",
    ] {
        assert!(names.contains(&expected), "{expected} in {names:?}");
    }
    let missing = parts.missing.join("\n");
    for expected in [
        "programs/billing-sidecar/log.log",
        "programs/portal-sidecar/config_dump.json",
    ] {
        assert!(missing.contains(expected), "{expected} in {missing}");
    }
    let all = unpacked(&bundle::bundle(&parts, 7).unwrap());
    assert!(
        all.contains("last line") && all.contains("carbyne-doctor-7/missing.txt"),
        "{all}"
    );
    // What is wrong is said: the dead sidecars, the YAML.
    let codes: Vec<String> = parts
        .findings
        .iter()
        .map(|finding| finding.code.to_string())
        .collect();
    assert!(
        codes.contains(&"CTL-0502".to_owned()) && codes.contains(&"CTL-0202".to_owned()),
        "{codes:?}"
    );
}

#[test]
fn text_and_json() {
    let diagnosis = Diagnosis {
        file: "carbyne-doctor-7.tgz".into(),
        bytes: 12_345,
        parts: vec!["version.txt".to_owned(), "status.json".to_owned()],
        missing: vec![
            "programs/portal-sidecar/stats.txt: 127.0.10.1:15000: no answer within 5s".to_owned(),
        ],
        findings: Findings::from(vec![
            Finding::new(&code::PROGRAM_GONE, "its process is gone").about("portal's sidecar"),
        ]),
    };
    let mut text = String::new();
    diagnosis.text(&mut text).unwrap();
    insta::assert_snapshot!("text", anstream::adapter::strip_str(&text).to_string());
    insta::assert_snapshot!("json", crate::output::json(&diagnosis).unwrap());
}
