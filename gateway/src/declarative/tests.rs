//! Documents, their ids, and what is wrong with them.

use super::*;
use crate::schema::milliseconds;
use crate::store::{Query, Store};

fn flat(text: &str) -> Flat {
    Document::read(text, None)
        .unwrap()
        .flatten(SystemTime::now())
        .unwrap()
}

fn faults(text: &str) -> String {
    let error = Document::read(text, None)
        .and_then(|document| document.flatten(SystemTime::now()))
        .unwrap_err();
    Value::from(error.fields.unwrap()).to_json()
}

fn ids(text: &str) -> Vec<(String, String)> {
    flat(text)
        .into_rows()
        .map(|(schema, id, _, _)| (schema.name.clone(), id))
        .collect()
}

const NESTED: &str = "
_format_version: '3.0'
_comment: everything in its parent
services:
- name: foo
  host: example.com
  _comment: a service
  routes:
  - name: bar
    paths: [/bar]
    plugins:
    - name: rate-limiting
      config: {minute: 5}
plugins:
- name: cors
consumers:
- username: alice
  acls:
  - group: admins
  basicauth_credentials:
  - username: alice
    password: secret
  keyauth_credentials:
  - key: k
upstreams:
- name: u.x
  targets:
  - target: 1.2.3.4:80
vaults:
- name: env
  prefix: my-env
key_sets:
- name: set
  keys:
  - kid: k1
    jwk: '{\"kid\":\"k1\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}'
";

/// Computed with another implementation of version 5 UUIDs.
#[test]
fn ids_are_the_same_at_each_load() {
    let all = ids(NESTED);
    for (entity, id) in [
        ("services", "2933fbcc-9d7c-54a7-a984-fe2bde836cea"),
        ("routes", "ca257182-105b-55e7-848e-fa474e46c71f"),
        ("consumers", "b32379d9-3d28-5683-a79c-72139be6e34f"),
        ("upstreams", "83fa5daa-b1da-524b-850d-96d0fc909c95"),
        ("plugins", "48ee727e-8b90-5faa-bda1-a3c6bc3c9daa"),
        ("plugins", "68bc8474-97d2-59cb-bb06-022f10aab72d"),
        ("acls", "dc1ddbfc-2574-5f8c-ab9c-efb6170dfeaa"),
        (
            "basicauth_credentials",
            "1ee08b36-0e31-553f-bc05-85227e1a7ca8",
        ),
        ("vaults", "3dc3bf8d-e9b4-576c-af74-01619966a0d0"),
        ("targets", "7afd166f-4922-5992-bb85-df157a9b0ab9"),
        ("key_sets", "b92cb4a6-36bc-5d31-bb75-652f135a9edb"),
        ("keys", "c457dfe9-9246-536d-b43c-1db00f35f577"),
        ("workspaces", DEFAULT_WORKSPACE),
    ] {
        assert!(
            all.contains(&(entity.into(), id.into())),
            "{entity} {id}: {all:?}"
        );
    }
    // A key that may be generated names nothing: it gets another id each time.
    let random = |all: Vec<(String, String)>| {
        all.into_iter()
            .find(|(entity, _)| entity == "keyauth_credentials")
    };
    assert_ne!(random(all), random(ids(NESTED)));
}

#[test]
fn flat_and_nested_documents_say_the_same() {
    let nested = flat(
        "{_format_version: '3.0', services: [{name: s, host: h, routes: [{name: r, paths: [/]}]}]}",
    );
    let by_name = flat(
        "{_format_version: '3.0', services: [{name: s, host: h}], routes: [{name: r, paths: [/], service: s}]}",
    );
    let by_table = flat(
        r#"{"_format_version":"3.0","services":[{"name":"s","host":"h"}],
            "routes":[{"name":"r","paths":["/"],"service":{"name":"s"}}]}"#,
    );
    let route = |flat: Flat| {
        let (_, id, entity, _) = flat
            .into_rows()
            .find(|(schema, ..)| schema.name == "routes")
            .unwrap();
        (id, entity["service"].to_json())
    };
    let nested = route(nested);
    assert_eq!(nested, route(by_name));
    assert_eq!(nested, route(by_table));
}

#[test]
fn all_errors_are_reported_at_once() {
    assert_eq!(
        faults(
            "{_format_version: '3.0', services: [{name: a}, {name: b, host: h, routes: [{paths: [x]}]}], foo: 1}"
        ),
        r#"{"foo":"unknown field","services":[{"host":"required field missing"},{"routes":[{"paths":["should start with: / (fixed path) or ~/ (regex path)"]}]}]}"#
    );
    assert_eq!(
        faults("services: []"),
        r#"{"_format_version":"required field missing"}"#
    );
    assert_eq!(
        faults("_format_version: '9'"),
        r#"{"_format_version":"expected one of: 1.1, 2.1, 3.0"}"#
    );
    assert_eq!(
        faults("{_format_version: '3.0', services: 1}"),
        r#"{"services":"expected an array"}"#
    );
    assert_eq!(
        faults("just text"),
        r#"{"error":"failed parsing declarative configuration: expected an object"}"#
    );
}

#[test]
fn references_lead_somewhere_and_nothing_is_declared_twice() {
    assert_eq!(
        faults("{_format_version: '3.0', routes: [{name: r, paths: [/], service: foo}]}"),
        r#"{"routes":{"r":["invalid reference 'service: foo' (no such entry in 'services')"]}}"#
    );
    assert_eq!(
        faults("{_format_version: '3.0', services: [{name: a, host: h}, {name: a, host: h}]}"),
        r#"{"services":[null,"uniqueness violation: 'services' entity with name set to 'a' already declared"]}"#
    );
    assert_eq!(
        faults(
            "{_format_version: '3.0', consumers: [{username: a, custom_id: x}, {username: b, custom_id: x}]}"
        ),
        r#"{"consumers":{"b":"uniqueness violation: 'consumers' entity with custom_id set to 'x' already declared"}}"#
    );
}

/// The answer to `flatten_errors`: entities, what is wrong with them, and what is left over.
#[test]
fn errors_are_assigned_to_entities() {
    for (text, entries, left) in [
        // The last first, as Kong tells them.
        (
            "{services: [{name: a, tags: [t]}, {id: 11111111-1111-4111-8111-111111111111, host: 'h:1', retries: x}]}",
            r#"[{"entity_type":"service","entity_id":"11111111-1111-4111-8111-111111111111",
                 "entity":{"id":"11111111-1111-4111-8111-111111111111","host":"h:1","retries":"x"},
                 "errors":[{"type":"field","field":"retries","message":"expected an integer"},
                           {"type":"field","field":"host","message":"must not have a port"}]},
                {"entity_type":"service","entity_name":"a","entity_tags":["t"],"entity":{"name":"a","tags":["t"]},
                 "errors":[{"type":"field","field":"host","message":"required field missing"}]}]"#,
            "{}",
        ),
        (
            "{services: [{name: a, host: h, protocol: grpc, path: /x}]}",
            r#"[{"entity_type":"service","entity_name":"a",
                 "entity":{"name":"a","host":"h","protocol":"grpc","path":"/x"},
                 "errors":[{"type":"field","field":"path","message":"value must be null"},
                           {"type":"entity","message":"failed conditional validation given value of field 'protocol'"}]}]"#,
            "{}",
        ),
        // What stands where another entity's name should is an entity by itself.
        (
            "{services: [{name: a, host: h, protocol: https, client_certificate: {tags: [c], cert: '', key: ''}}]}",
            r#"[{"entity_type":"certificate","entity_tags":["c"],"entity":{"tags":["c"],"cert":"","key":"******"},
                 "errors":[{"type":"field","field":"key","message":"length must be at least 1"},
                           {"type":"field","field":"cert","message":"length must be at least 1"}]}]"#,
            "{}",
        ),
        // When it is seen that something is declared twice, everything has its id.
        (
            "{upstreams: [{name: u, targets: [{target: 'a:1'}, {target: 'a:1', tags: [t]}]}]}",
            r#"[{"entity_type":"target","entity_id":"b21a4848-f7f7-52f5-b249-52528a43601f","entity_tags":["t"],
                 "entity":{"target":"a:1","tags":["t"],"upstream":{"id":"597a2b96-28b9-56b9-8745-bb55e59539cc"},"id":"b21a4848-f7f7-52f5-b249-52528a43601f"},
                 "errors":[{"type":"entity",
                            "message":"uniqueness violation: 'targets' entity with primary key set to 'b21a4848-f7f7-52f5-b249-52528a43601f' already declared"}]}]"#,
            "{}",
        ),
        (
            "{consumers: [{username: a, custom_id: x}, {username: b, custom_id: x}]}",
            r#"[{"entity_type":"consumer","entity_id":"5ce2872b-9a8e-5a66-88d5-9080c75d7986","entity":{"username":"b","custom_id":"x","id":"5ce2872b-9a8e-5a66-88d5-9080c75d7986"},
                 "errors":[{"type":"entity",
                            "message":"uniqueness violation: 'consumers' entity with custom_id set to 'x' already declared"}]}]"#,
            "{}",
        ),
        (
            "{consumers: [{username: a, custom_id: x}, {username: b, custom_id: x}], foo: 1}",
            "[]",
            r#"{"foo":"unknown field"}"#,
        ),
        (
            "{routes: [{name: r, paths: [/], service: s}]}",
            r#"[{"entity_type":"route","entity_name":"r","entity_id":"da7ba03a-f1be-52d4-8a7e-c8f32640689a",
                 "entity":{"name":"r","paths":["/"],"service":"s","id":"da7ba03a-f1be-52d4-8a7e-c8f32640689a"},
                 "errors":[{"type":"entity","message":"invalid reference 'service: s' (no such entry in 'services')"}]}]"#,
            "{}",
        ),
    ] {
        let mut document = Document::read(text, None).unwrap();
        document
            .content
            .insert("_format_version".into(), "3.0".into());
        let content = document.content.clone();
        let error = document.flatten(SystemTime::now()).unwrap_err();
        let (list, others) = flattened(&error.fields.unwrap(), &content);
        let expected = Value::from_json(entries.as_bytes()).unwrap();
        assert_eq!(Value::from(list).to_json(), expected.to_json(), "{text}");
        assert_eq!(Value::from(others).to_json(), left, "{text}");
    }
}

#[test]
fn targets_have_a_port() {
    let text = "{_format_version: '3.0', upstreams: [{name: u, targets: [{target: 10.20.30.40}, {target: 'a:1'}]}]}";
    let targets: Vec<_> = flat(text)
        .into_rows()
        .filter(|(schema, ..)| schema.name == "targets")
        .map(|(_, _, target, _)| target["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(targets, ["10.20.30.40:8000", "a:1"]);
}

/// Of workspaces the answer to `POST /config` says nothing.
#[test]
fn what_is_printed_has_no_workspaces() {
    let printed = flat("{_format_version: '3.0', services: [{name: s, host: h}]}").print();
    assert_eq!(printed.keys().collect::<Vec<_>>(), ["services"]);
}

#[test]
fn passwords_are_hashed_unless_they_are_already() {
    let password = |transform: &str| {
        let text = format!(
            "{{_format_version: '3.0', {transform} consumers: [{{username: a, basicauth_credentials: [{{username: a, \
             password: p}}]}}]}}"
        );
        let flat = flat(&text);
        let (_, _, entity, _) = flat
            .into_rows()
            .find(|(schema, ..)| schema.name == "basicauth_credentials")
            .unwrap();
        entity["password"].as_str().unwrap().to_owned()
    };
    assert_eq!(password("_transform: false,"), "p");
    assert_eq!(password("").len(), 40);
}

#[test]
fn paths_of_old_formats_are_migrated() {
    let flat = flat(
        r"{_format_version: '1.1', services: [{name: s, host: h, routes: [{name: r, paths: ['/a/\d+']}]}]}",
    );
    let (_, _, route, _) = flat
        .into_rows()
        .find(|(schema, ..)| schema.name == "routes")
        .unwrap();
    assert_eq!(route["paths"].to_json(), r#"["~/a/\\d+"]"#);
}

#[test]
fn errors_have_their_line_and_column() {
    let text = "_format_version: '3.0'\nservices:\n- name: a\n  host: h\n- name: b\n  host: 'h:1'\n  retries: x\n- name: c\n";
    let error = Document::read(text, None)
        .unwrap()
        .flatten(SystemTime::now())
        .unwrap_err();
    let places: Vec<_> = Place::find(text, &error.fields.unwrap())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        places,
        [
            "6:9: services[1].host: must not have a port",
            "7:12: services[1].retries: expected an integer",
            "8:3: services[2].host: required field missing",
        ]
    );
}

#[test]
fn a_text_that_is_no_document_is_wrong_where_it_ceases_to_be_one() {
    let texts = [
        "_format_version: '3.0'\nservices:\n- name: a\n  host: [b\n",
        "_format_version: '3.0'\nservices:\n  name: a: b\n",
        "_format_version: '3.0'\n\tservices: []\n",
    ];
    let places = texts.map(|text| {
        let error = Document::read(text, Some("kong.yml")).unwrap_err();
        let places = Place::find(text, &error.fields.unwrap());
        let at: Vec<_> = places
            .iter()
            .map(|place| (place.line, place.column))
            .collect();
        at
    });
    assert_eq!(places, [[(4, 9)], [(3, 10)], [(2, 2)]]);
}

#[test]
fn kinds_of_files_are_told_by_their_names() {
    assert!(Document::read("{\"_format_version\":\"3.0\"}", Some("kong.json")).is_ok());
    assert!(Document::read("_format_version: '3.0'", Some("kong.yml")).is_ok());
    assert!(Document::read("_format_version: '3.0'", Some("kong.json")).is_err());
    let error = Document::read("", Some("kong.txt")).unwrap_err();
    assert!(
        error
            .message
            .contains("unknown file type: kong.txt. (Accepted types: json, yaml)"),
        "{error}"
    );
}

#[tokio::test]
async fn two_plugins_of_a_name_in_one_place_are_refused_whole() {
    let loaded = Loaded::default();
    loaded
        .load(flat("{_format_version: '3.0', plugins: [{name: cors}]}"))
        .await
        .unwrap();
    let hash = loaded.hash();
    assert_ne!(hash, EMPTY_HASH);
    let two = "{_format_version: '3.0', plugins: [{id: 11111111-1111-4111-8111-111111111111, name: cors}, \
               {id: 21111111-1111-4111-8111-111111111111, name: cors}]}";
    let error = loaded.load(flat(two)).await.unwrap_err();
    assert!(error.message.contains("UNIQUE violation"), "{error}");
    assert_eq!(loaded.hash(), hash, "the old one stays");
}

/// A file that is loaded again, with one route more, brings the same rows to the byte: nothing else is planned anew, and
/// targets keep their order, which goes by age.
#[tokio::test]
async fn what_files_do_not_date_is_as_old_as_the_node() {
    let text = |more: &str| {
        format!(
            "{{_format_version: '3.0', services: [{{name: s, host: h}}, {{name: old, host: h, created_at: 7}}], \
             upstreams: [{{name: u, targets: [{{target: 'a:1'}}, {{target: 'b:1'}}]}}]{more}}}"
        )
    };
    let loaded = Loaded::default();
    let since = loaded.since();
    let mut known: Vec<Vec<(Arc<str>, Arc<str>)>> = Vec::new();
    for more in ["", "", ", routes: [{name: r, paths: [/]}]"] {
        let document = Document::read(&text(more), None).unwrap();
        loaded.load(document.flatten(since).unwrap()).await.unwrap();
        let mut rows = Vec::new();
        for entity in ["services", "upstreams", "targets"] {
            let query = Query {
                size: 10,
                ..Query::default()
            };
            let schema = crate::schema::library::entity(entity).unwrap();
            let page = loaded.store().page(schema, &query).await.unwrap();
            rows.extend(page.rows.into_iter().map(|row| (row.id, row.json)));
        }
        known.push(rows);
    }
    let seconds = milliseconds(since) / 1000;
    for (first, later) in known[1..]
        .iter()
        .flat_map(|later| known[0].iter().zip(later))
    {
        assert!(
            Arc::ptr_eq(&first.0, &later.0) && Arc::ptr_eq(&first.1, &later.1),
            "{later:?}"
        );
        let created = if first.1.contains(r#""name":"old""#) {
            7
        } else {
            seconds
        };
        let created = format!(r#""created_at":{created}"#);
        assert!(first.1.contains(&created), "{created} in {}", first.1);
    }
}
