use super::*;

fn load(text: &str) -> Result<Snapshot, Errors> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    std::fs::write(&file, text).unwrap();
    read_files(&[file])
}

fn said(errors: &Errors) -> Vec<String> {
    let text = errors.to_string();
    text.lines()
        .map(|line| {
            line.split_once("x.yaml:")
                .map_or(line, |(_, rest)| rest)
                .to_owned()
        })
        .collect()
}

#[test]
fn all_errors_at_once_with_positions() {
    let errors = load(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: n}
spec:
  hosts: [a.example, 'bad host']
  resolution: SOMETIMES
  ports:
  - {number: eighty, name: http}
  - number: 99999
    name: big
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: n}
spec:
  host: a.example
  trafficPolicy:
    connectionPool: {tcp: {connectTimeout: soon}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: n}
spec:
  action: CUSTOM
  rules: [{from: [{source: {ipBlocks: [10.0.0.0/99]}}]}]
",
    )
    .unwrap_err();
    let said = said(&errors);
    let starts: Vec<&str> = said
        .iter()
        .map(|line| line.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        starts,
        ["6:3", "8:6", "18:28", "23:1", "25:40"],
        "{said:#?}"
    );
    assert!(said[0].contains("spec.resolution"), "{}", said[0]);
    assert!(said[1].contains("spec.ports[0].number"), "{}", said[1]);
    assert!(said[2].contains("`soon` is not a duration"), "{}", said[2]);
}

#[test]
fn unknown_fields_are_warnings_with_positions() {
    let snapshot = load(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: n, uid: 17}
spec:
  hosts: [a.example]
  resolution: DNS
  colour: blue
  ports: [{number: 80, name: http, protocol: HTTP, colour: red}]
",
    )
    .unwrap();
    let warnings: Vec<String> = snapshot
        .warnings
        .iter()
        .map(|warning| {
            format!(
                "{}:{} {}",
                warning.origin.line, warning.origin.column, warning.path
            )
        })
        .collect();
    assert_eq!(warnings, ["7:3 spec.colour", "8:52 spec.ports[0].colour"]);
    assert_eq!(
        snapshot.registry.services[0].instances[0].address,
        "a.example"
    );
}

#[test]
fn names_used_twice_and_kinds_not_served_are_errors() {
    let one = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: n}\nspec: {servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]}\n";
    let wasm = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: w}\n";
    let errors = load(&format!(
        "{one}---\n{one}---\n{wasm}---\nkind: Pod\napiVersion: v1\n"
    ))
    .unwrap_err();
    let said = said(&errors);
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(
        said[0].starts_with("6:1: Gateway n/g is already at"),
        "{said:#?}"
    );
    assert!(
        said[1].starts_with("12:1: ") && said[1].contains("WasmPlugin is not served"),
        "{said:#?}"
    );
}

#[test]
fn short_names_become_full_names() {
    let snapshot = load(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: n}
spec:
  hosts: [shop]
  http: [{route: [{destination: {host: shop}}]}]
",
    )
    .unwrap();
    let spec = &snapshot.virtual_services[0].spec;
    assert_eq!(spec.hosts, ["shop.n.svc.cluster.local"]);
    assert_eq!(
        spec.http[0].route[0].destination.host,
        "shop.n.svc.cluster.local"
    );
    assert_eq!(spec.gateways, ["mesh"]);
    assert_eq!(snapshot.warnings.len(), 1, "{:?}", snapshot.warnings);
}

#[test]
fn an_inserted_filter_must_be_a_filter() {
    let filter = |value: &str| {
        load(&format!(
            "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: f, namespace: n}}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_FIRST
      value: {{name: x, typed_config: {value}}}
"
        ))
    };
    let fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
    assert!(filter(&format!("{{'@type': {fault}}}")).is_ok());
    let errors = filter(&format!("{{'@type': {fault}, colour: red}}")).unwrap_err();
    let said = said(&errors);
    assert!(
        said[0].starts_with("9:7: spec.configPatches[0].patch.value") && said[0].contains("colour"),
        "{said:#?}"
    );
}

#[test]
fn what_a_folder_holds_for_others_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    for name in OTHERS {
        std::fs::write(folder.path().join(name), "not: [ours").unwrap();
    }
    std::fs::write(folder.path().join("mesh.yaml"), "trustDomain: here\n").unwrap();
    assert_eq!(
        read_folder(folder.path()).unwrap().mesh.trust_domain,
        "here"
    );
}
