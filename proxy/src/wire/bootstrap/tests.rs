use super::*;

fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn load_text(name: &str, text: &str, allow_unknown: bool) -> Result<Loaded, LoadError> {
    let (_folder, path) = file(name, text);
    load(&Source {
        path: Some(path),
        allow_unknown,
        ..Source::default()
    })
}

fn problems(result: Result<Loaded, LoadError>) -> Vec<Problem> {
    match result {
        Err(LoadError::Invalid(problems)) => problems.0,
        other => panic!("{other:?}"),
    }
}

const STATIC: &str = "
static_resources:
  clusters:
  - name: one
    connectTimeout: 0.25s
    type: STATIC
";

#[test]
fn recorded_bootstraps_load() {
    let shared = std::env::var_os("CARBYNE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("captures/istio-1.29/bootstrap");
    if !folder.is_dir() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "{} is missing",
            folder.display()
        );
        println!("skipped: {} is missing", folder.display());
        return;
    }
    for (name, protocol) in [
        ("delta.json", Protocol::Delta),
        ("sotw.json", Protocol::Sotw),
    ] {
        for allow_unknown in [false, true] {
            let loaded = load(&Source {
                path: Some(folder.join(name)),
                allow_unknown,
                ..Source::default()
            })
            .unwrap();
            assert!(loaded.ignored.is_empty(), "{:?}", loaded.ignored);
            let expected = AdsSource {
                protocol,
                cluster: "xds-grpc".to_owned(),
                node_in_every_request: false,
                back_off: None,
                clusters: true,
                listeners: true,
            };
            assert_eq!(ads_source(&loaded.message), Some(expected));
            let statics = loaded.message.static_resources.as_ref().unwrap();
            assert_eq!((statics.clusters.len(), statics.listeners.len()), (4, 2));
            let node = node(&loaded.message);
            assert!(node.id.starts_with("sidecar~") && node.metadata.is_some());
            assert_eq!(node.user_agent_name, "carbyne-proxy");
        }
    }
}

#[test]
fn json_yaml_and_both_spellings_mean_the_same() {
    let yaml = load_text("a.yaml", STATIC, false).unwrap().message;
    let json = r#"{"staticResources": {"clusters": [{"name": "one", "connect_timeout": "0.250s", "type": "STATIC"}]}}"#;
    assert_eq!(load_text("a.json", json, false).unwrap().message, yaml);
    let (_folder, path) = file("a.pb", "");
    std::fs::write(&path, yaml.encode_to_vec()).unwrap();
    let source = Source {
        path: Some(path),
        ..Source::default()
    };
    assert_eq!(load(&source).unwrap().message, yaml);
}

#[test]
fn overrides_merge_as_protobuf_does() {
    let (_folder, path) = file("a.yaml", &format!("{STATIC}node: {{id: a, cluster: b}}\n"));
    let mut source = Source {
        path: Some(path),
        yaml: Some(
            "{node: {id: c, locality: {zone: z}}, static_resources: {clusters: [{name: two}]}, admin: {profile_path: p}}".to_owned(),
        ),
        ..Source::default()
    };
    let message = load(&source).unwrap().message;
    let node = message.node.unwrap();
    assert_eq!(
        (&*node.id, &*node.cluster, &*node.locality.unwrap().zone),
        ("c", "b", "z")
    );
    let names: Vec<_> = message
        .static_resources
        .unwrap()
        .clusters
        .into_iter()
        .map(|cluster| cluster.name)
        .collect();
    assert_eq!(names, ["one", "two"], "lists grow");
    assert_eq!(message.admin.unwrap().profile_path, "p");

    source.node = Some("from-option".to_owned());
    source.zone = Some("zone".to_owned());
    let node = load(&source).unwrap().message.node.unwrap();
    assert_eq!(
        (&*node.id, &*node.locality.unwrap().zone),
        ("from-option", "zone")
    );
}

#[test]
fn all_errors_come_at_once_with_place_and_advice() {
    let text = r#"{
        "static_resource": {},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": "many"}}},
        "static_resources": {"clusters": [{"name": "a", "type": "STATICS", "connect_timeout": 5}]},
        "bootstrap_extensions": [{"typed_config": {"value": 1}}]
    }"#;
    let found = problems(load_text("a.json", text, false));
    let texts: Vec<_> = found.iter().map(|problem| problem.to_string()).collect();
    let all = texts.join("\n");
    assert_eq!(found.len(), 5, "{all}");
    for part in [
        "static_resource: envoy.config.bootstrap.v3.Bootstrap has no such field; write \"static_resources\"",
        "admin.address.socket_address.port_value: expected a whole number",
        "static_resources.clusters[0].type: envoy.config.cluster.v3.Cluster.DiscoveryType has no value \"STATICS\"; write STATIC",
        "static_resources.clusters[0].connect_timeout: expected a duration such as \"1.5s\", found 5",
        "bootstrap_extensions[0].typed_config: \"@type\" is missing; write \"@type\"",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
    assert!(
        found
            .iter()
            .all(|problem| problem.origin.ends_with("a.json"))
    );

    let message = load_text("a.json", r#"{"static_resource": {}, "admin": {}}"#, true).unwrap();
    assert_eq!(message.ignored, ["static_resource"]);
}

#[test]
fn texts_that_are_not_configuration_are_refused_by_place() {
    for (name, text, part) in [
        ("a.json", "{\"admin\": }", "line 1 column 11"),
        ("a.yaml", "admin: [", "is not YAML"),
        ("a.pb", "\u{1}\u{2}", "is not an encoded Bootstrap"),
        ("a.pb_text", "node {}", "YAML or JSON"),
        ("a.json", "[]", "expected an object"),
    ] {
        let found = problems(load_text(name, text, true));
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains(part), "{}", found[0]);
    }
    assert!(matches!(load(&Source::default()), Err(LoadError::Missing)));
    let missing = Source {
        path: Some("/nonexistent/file".into()),
        ..Source::default()
    };
    assert!(
        load(&missing)
            .unwrap_err()
            .to_string()
            .contains("/nonexistent/file")
    );
    assert!(
        load_text("a.yaml", "", false).is_ok(),
        "an empty text is an empty bootstrap"
    );
}

#[test]
fn the_control_plane_must_be_reachable_and_know_us() {
    let ads = "dynamic_resources: {ads_config: {api_type: REST, grpc_services: [{envoy_grpc: {cluster_name: ome}}]}, \
               cds_config: {path_config_source: {path: x}}, lds_config: {ads: {}}}";
    let found = problems(load_text("a.yaml", &format!("{STATIC}{ads}"), false));
    let paths: Vec<_> = found.iter().map(|problem| &*problem.path).collect();
    assert_eq!(
        paths,
        [
            "dynamic_resources.cds_config",
            "node.id",
            "node.cluster",
            "dynamic_resources.ads_config.api_type",
            "dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name",
        ]
    );
    assert_eq!(found[4].hint.as_deref(), Some("write \"one\""));
    let found = problems(load_text(
        "a.yaml",
        "dynamic_resources: {lds_config: {ads: {}}}",
        false,
    ));
    assert!(
        found[0]
            .hint
            .as_deref()
            .is_some_and(|hint| hint.starts_with("add ads_config")),
        "{found:?}"
    );
}
