//! audit-admin-operations and config-changes.

use carbyne_events::event::Topic;

use crate::gateway::{Start, Upstream, ask, get};
use crate::spool::{self, Found, end, of, read};

#[test]
fn operations_are_told_before_and_after_and_what_they_changed() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = spool::start(folder.path(), Start::default());
    let service = gateway.administer(
        "POST",
        "/services",
        r#"{"name": "s", "url": "http://127.0.0.1:1"}"#,
    );
    let service = service["id"].as_str().unwrap().to_owned();
    gateway.administer("PATCH", "/services/s", r#"{"retries": 1}"#);
    gateway.administer("PUT", "/services/s/routes/r", r#"{"paths": ["/a"]}"#);
    gateway.administer("POST", "/consumers", r#"{"username": "alice"}"#);
    let key = gateway.administer(
        "POST",
        "/consumers/alice/key-auth",
        r#"{"key": "opensesame"}"#,
    );
    let key = key["id"].as_str().unwrap().to_owned();
    gateway.administer("DELETE", "/consumers/alice", "");
    let refused = gateway.ask_admin(&ask("POST", "/services").json(r#"{"opensesame": 1}"#));
    assert_eq!(refused.status(), 400);
    // Reading changes nothing.
    assert_eq!(gateway.ask_admin(&get("/services")).status(), 200);
    end(gateway);
    let found = read(folder.path());
    let operations = of(&found, Topic::AuditAdminOperations);
    let shown: Vec<_> = operations.iter().map(line).collect();
    assert_eq!(
        shown,
        [
            "requested create services  [name url]",
            "completed create services  201 [name url]",
            "requested update services s [retries]",
            "completed update services s 200 [retries]",
            "requested upsert routes r [paths]",
            "completed upsert routes r 200 [paths]",
            "requested create consumers  [username]",
            "completed create consumers  201 [username]",
            "requested create keyauth_credentials  [key]",
            "completed create keyauth_credentials  201 [key]",
            "requested delete consumers alice []",
            "completed delete consumers alice 204 []",
            "requested create services  []",
            "completed create services  400 []",
        ]
    );
    for pair in operations.chunks(2) {
        assert_eq!(pair[0].body["request_id"], pair[1].body["request_id"]);
        assert_eq!(pair[0].key.as_deref(), Some("127.0.0.0/24"));
    }
    let changes = of(&found, Topic::ConfigChanges);
    let shown: Vec<_> = changes
        .iter()
        .map(|event| format!("{} {}", event.key.as_deref().unwrap(), event.text("change")))
        .collect();
    assert_eq!(shown[0], format!("services/{service} created"));
    assert_eq!(shown[1], format!("services/{service} updated"));
    assert!(
        shown[2].starts_with("routes/") && shown[2].ends_with(" created"),
        "{shown:?}"
    );
    assert_eq!(shown[4], format!("keyauth_credentials/{key} created"));
    // The consumer takes its credential along.
    let gone: Vec<_> = changes[5..]
        .iter()
        .filter(|event| event.body.is_null())
        .map(|event| event.key.clone().unwrap())
        .collect();
    assert!(
        gone.contains(&format!("keyauth_credentials/{key}")),
        "{gone:?}"
    );
    assert_eq!(gone.len(), 2);
    // Which operation did it is known.
    assert_eq!(
        changes[0].body["request_id"],
        operations[0].body["request_id"]
    );
    assert_eq!(changes[0].body["actor"], operations[0].body["actor"]);
    assert!(!format!("{found:?}").contains("opensesame"));
}

fn line(event: &Found) -> String {
    let fields: Vec<_> = event.body["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field.as_str().unwrap())
        .collect();
    let status = event.body["status"]
        .as_u64()
        .map(|status| format!("{status} "))
        .unwrap_or_default();
    format!(
        "{} {} {} {} {status}[{}]",
        event.text("stage"),
        event.text("operation"),
        event.text("entity_kind"),
        event.text("entity_id"),
        fields.join(" ")
    )
}

#[test]
fn a_file_that_is_loaded_is_told_by_what_is_different() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start();
    let yaml = |path: &str, more: &str| {
        format!(
            "_format_version: \"3.0\"\nservices:\n- name: s\n  url: {}\n  routes:\n  - {{name: r, paths: [{path}]}}\n{more}",
            upstream.url()
        )
    };
    let start = Start {
        yaml: Some(yaml("/a", "  - {name: old, paths: [/old]}\n")),
        ..Start::default()
    };
    let gateway = spool::start(folder.path(), start);
    gateway.reload(&yaml("/b", "  - {name: new, paths: [/new]}\n"));
    gateway.until(&get("/b"), |answer| answer.status() == 200);
    end(gateway);
    let changes = of(&read(folder.path()), Topic::ConfigChanges);
    let shown: Vec<_> = changes
        .iter()
        .map(|event| match event.body.is_null() {
            true => format!(
                "{} gone",
                event.key.as_deref().unwrap().split('/').next().unwrap()
            ),
            false => format!("{} {}", event.text("name"), event.text("change")),
        })
        .collect();
    let (first, second) = shown.split_at(4);
    let sorted = |part: &[String]| {
        let mut part = part.to_vec();
        part.sort();
        part.join(", ")
    };
    assert_eq!(
        sorted(first),
        "default loaded, old loaded, r loaded, s loaded"
    );
    assert_eq!(sorted(second), "new loaded, r loaded, routes gone");
}
