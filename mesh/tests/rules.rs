//! Istio's rules on configurations of our own: what the captures do not show, and every row of the tables.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::sync::Arc;

use carbyne_mesh::{
    generate::{self, Kind, Node, Proxy, Resource},
    source,
};
use serde_json::{Value, json};

/// A node of namespace `n` at 10.0.0.1 (a router when it is called `gate`), seen through a configuration.
fn proxy(node: &str, yaml: &str) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    std::fs::write(&file, yaml).unwrap();
    let snapshot = Arc::new(source::read_files(&[file]).unwrap());
    let kind = if node == "gate" { "router" } else { "sidecar" };
    let node = json!({
        "id": format!("{kind}~10.0.0.1~{node}.n~n.svc.cluster.local"),
        "metadata": {"NAMESPACE": "n", "CLUSTER_ID": "c", "LABELS": {"app": node}},
    });
    generate::proxy(&snapshot, &Node::from_json(&node).unwrap())
}

/// All resources of a type; each must be a message.
fn all(proxy: &Proxy, kind: Kind) -> Vec<Resource> {
    let resources = generate::all(proxy, kind);
    for resource in &resources {
        resource.encode().unwrap();
    }
    resources
}

fn find<'a>(resources: &'a [Resource], name: &str) -> &'a Value {
    let names: Vec<&str> = resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    let found = resources.iter().find(|resource| resource.name == name);
    &found
        .unwrap_or_else(|| panic!("no {name} in {names:?}"))
        .value
}

fn route(proxy: &Proxy, name: &str) -> Value {
    let mut routes = generate::named(proxy, Kind::Route, [name]);
    routes[0].encode().unwrap();
    routes.remove(0).value
}

fn entry(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: n}}\n\
         spec:\n  hosts: [{name}.n.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC\n{rest}\n---\n"
    )
}

fn own(port: &str) -> String {
    entry(
        "own",
        &format!(
            "  ports: [{{number: 80, name: p, {port}}}]\n  endpoints: [{{address: 10.0.0.1, labels: {{app: own}}}}]"
        ),
    )
}

fn http_filters(listener: &Value) -> Vec<Value> {
    let chains = listener["filterChains"].as_array().unwrap();
    let filters = chains
        .iter()
        .flat_map(|chain| chain["filters"].as_array().cloned().unwrap_or_default());
    let hcm = filters
        .into_iter()
        .find(|filter| filter["typedConfig"]["httpFilters"].is_array())
        .unwrap();
    hcm["typedConfig"]["httpFilters"]
        .as_array()
        .cloned()
        .unwrap()
}

#[test]
fn inbound_chains_by_mode_and_protocol() {
    const MESH: &str = "istio-http/1.0,istio-http/1.1,istio-h2";
    const ALL: &str = "istio,istio-peer-exchange,istio-http/1.0,istio-http/1.1,istio-h2";
    const TCP: &str = "istio-peer-exchange,istio";
    // Mode, protocol → rows of transport, application protocols, terminated here, HTTP (table 3.1 of istio.md).
    type Row = (&'static str, &'static str, bool, bool);
    let cases: [(&str, &str, &[Row]); 9] = [
        (
            "PERMISSIVE",
            "",
            &[
                ("tls", MESH, true, true),
                ("raw_buffer", "http/1.1,h2c", false, true),
                ("tls", TCP, true, false),
                ("raw_buffer", "", false, false),
                ("tls", "", false, false),
            ],
        ),
        (
            "PERMISSIVE",
            "HTTP",
            &[("tls", ALL, true, true), ("raw_buffer", "", false, true)],
        ),
        (
            "PERMISSIVE",
            "TCP",
            &[
                ("tls", ALL, true, false),
                ("tls", "", false, false),
                ("raw_buffer", "", false, false),
            ],
        ),
        (
            "STRICT",
            "",
            &[("tls", MESH, true, true), ("tls", "", true, false)],
        ),
        ("STRICT", "HTTP", &[("tls", "", true, true)]),
        ("STRICT", "TCP", &[("tls", "", true, false)]),
        (
            "DISABLE",
            "",
            &[
                ("raw_buffer", "http/1.1,h2c", false, true),
                ("raw_buffer", "", false, false),
            ],
        ),
        ("DISABLE", "HTTP", &[("raw_buffer", "", false, true)]),
        ("DISABLE", "TCP", &[("raw_buffer", "", false, false)]),
    ];
    for (mode, protocol, want) in cases {
        let protocol_line = if protocol.is_empty() {
            String::new()
        } else {
            format!("protocol: {protocol}")
        };
        let yaml = format!(
            "{}apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: d, namespace: n}}\nspec: {{mtls: {{mode: {mode}}}}}\n",
            own(&protocol_line)
        );
        let listeners = all(&proxy("own", &yaml), Kind::Listener);
        let chains = find(&listeners, "virtualInbound")["filterChains"]
            .as_array()
            .cloned()
            .unwrap();
        let rows: Vec<(String, String, bool, bool)> = chains
            .iter()
            .filter(|chain| chain["filterChainMatch"]["destinationPort"] == 80)
            .map(|chain| {
                let matching = &chain["filterChainMatch"];
                let names = matching["applicationProtocols"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                let http = chain["filters"]
                    .to_string()
                    .contains("http_connection_manager");
                let transport = matching["transportProtocol"].as_str().unwrap().to_owned();
                (
                    transport,
                    names.join(","),
                    chain["transportSocket"].is_object(),
                    http,
                )
            })
            .collect();
        let want: Vec<_> = want
            .iter()
            .map(|(t, a, s, h)| ((*t).to_owned(), (*a).to_owned(), *s, *h))
            .collect();
        assert_eq!(rows, want, "{mode} {protocol}");
    }
}

/// The one policy of the RBAC filter that a rule makes on an HTTP port.
fn rbac(action: &str, rule: &str) -> Value {
    let yaml = format!(
        "{}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  action: {action}\n  rules: [{rule}]\n",
        own("protocol: HTTP")
    );
    let listeners = all(&proxy("own", &yaml), Kind::Listener);
    let filters = http_filters(find(&listeners, "virtualInbound"));
    let rbac = filters
        .iter()
        .find(|filter| filter["name"] == "envoy.filters.http.rbac")
        .unwrap();
    rbac["typedConfig"]["rules"]["policies"]["ns[n]-policy[p]-rule[0]"].clone()
}

#[test]
fn rbac_vocabulary() {
    let name = |matcher: Value| json!({"authenticated": {"principalName": matcher}});
    let claim = |key: &str, matcher: Value| json!({"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": key}], "value": {"stringMatch": matcher}}});
    let principals: Vec<(&str, Value)> = vec![
        (
            "principals: [cluster.local/ns/a/sa/b]",
            name(json!({"exact": "spiffe://cluster.local/ns/a/sa/b"})),
        ),
        (
            "principals: ['*']",
            name(json!({"safeRegex": {"regex": ".+"}})),
        ),
        (
            "principals: ['*/sa/b']",
            name(json!({"safeRegex": {"regex": "spiffe://.*/sa/b"}})),
        ),
        (
            "principals: ['cluster.local/ns/a/*']",
            name(json!({"prefix": "spiffe://cluster.local/ns/a/"})),
        ),
        (
            "namespaces: ['a*']",
            name(json!({"safeRegex": {"regex": ".*/ns/a.*/.*"}})),
        ),
        (
            "serviceAccounts: [a.b/c]",
            name(json!({"safeRegex": {"regex": "spiffe://.+/ns/a\\.b/(.+/|)sa/c(/.+)?"}})),
        ),
        (
            "serviceAccounts: [c]",
            name(json!({"safeRegex": {"regex": "spiffe://.+/ns/n/(.+/|)sa/c(/.+)?"}})),
        ),
        (
            "ipBlocks: [10.0.0.0/8]",
            json!({"directRemoteIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}}),
        ),
        (
            "remoteIpBlocks: [10.1.2.3]",
            json!({"remoteIp": {"addressPrefix": "10.1.2.3", "prefixLen": 32}}),
        ),
    ];
    for (source, want) in principals {
        let policy = rbac("ALLOW", &format!("{{from: [{{source: {{{source}}}}}]}}"));
        assert_eq!(
            policy["principals"],
            json!([{"andIds": {"ids": [{"orIds": {"ids": [want]}}]}}]),
            "{source}"
        );
        assert_eq!(
            policy["permissions"],
            json!([{"andRules": {"rules": [{"any": true}]}}]),
            "{source}"
        );
        let negated = source.replacen(
            |c: char| c.is_ascii_lowercase(),
            &format!("not{}", &source[..1].to_uppercase()),
            1,
        );
        let policy = rbac("DENY", &format!("{{from: [{{source: {{{negated}}}}}]}}"));
        assert!(
            policy["principals"][0]["andIds"]["ids"][0]["notId"].is_object(),
            "{negated}"
        );
    }
    let request: Vec<(&str, Value)> = vec![
        (
            "'*'",
            json!([
                claim("iss", json!({"safeRegex": {"regex": ".+"}})),
                claim("sub", json!({"safeRegex": {"regex": ".+"}}))
            ]),
        ),
        (
            "iss/sub",
            json!([
                claim("iss", json!({"exact": "iss"})),
                claim("sub", json!({"exact": "sub"}))
            ]),
        ),
        (
            "'iss/*'",
            json!([
                claim("iss", json!({"exact": "iss"})),
                claim("sub", json!({"safeRegex": {"regex": ".+"}}))
            ]),
        ),
        (
            "'*/sub'",
            json!([
                claim("iss", json!({"safeRegex": {"regex": ".+"}})),
                claim("sub", json!({"exact": "sub"}))
            ]),
        ),
        (
            "'*.b/sub'",
            json!([
                claim("iss", json!({"suffix": ".b"})),
                claim("sub", json!({"exact": "sub"}))
            ]),
        ),
    ];
    for (value, want) in request {
        let policy = rbac(
            "ALLOW",
            &format!("{{from: [{{source: {{requestPrincipals: [{value}]}}}}]}}"),
        );
        assert_eq!(
            policy["principals"][0]["andIds"]["ids"][0],
            json!({"andIds": {"ids": want}}),
            "{value}"
        );
    }
    let permissions: Vec<(&str, Value)> = vec![
        (
            "hosts: ['*.a']",
            json!({"header": {"name": ":authority", "stringMatch": {"suffix": ".a", "ignoreCase": true}}}),
        ),
        (
            "hosts: ['*']",
            json!({"header": {"name": ":authority", "presentMatch": true}}),
        ),
        (
            "methods: [GET]",
            json!({"header": {"name": ":method", "stringMatch": {"exact": "GET"}}}),
        ),
        ("paths: [/a]", json!({"urlPath": {"path": {"exact": "/a"}}})),
        (
            "paths: [/a*]",
            json!({"urlPath": {"path": {"prefix": "/a"}}}),
        ),
        (
            "paths: ['*/a']",
            json!({"urlPath": {"path": {"suffix": "/a"}}}),
        ),
        ("ports: ['80']", json!({"destinationPort": 80})),
    ];
    for (operation, want) in permissions {
        let policy = rbac(
            "ALLOW",
            &format!("{{to: [{{operation: {{{operation}}}}}]}}"),
        );
        assert_eq!(
            policy["permissions"],
            json!([{"andRules": {"rules": [{"orRules": {"rules": [want]}}]}}]),
            "{operation}"
        );
    }
    let conditions: Vec<(&str, &str, &str, Value)> = vec![
        (
            "destination.ip",
            "10.0.0.1",
            "permissions",
            json!({"destinationIp": {"addressPrefix": "10.0.0.1", "prefixLen": 32}}),
        ),
        (
            "connection.sni",
            "a.b",
            "permissions",
            json!({"requestedServerName": {"exact": "a.b"}}),
        ),
        (
            "request.headers[x-a]",
            "v*",
            "principals",
            json!({"header": {"name": "x-a", "stringMatch": {"prefix": "v"}}}),
        ),
        (
            "source.namespace",
            "a",
            "principals",
            name(json!({"safeRegex": {"regex": ".*/ns/a/.*"}})),
        ),
    ];
    for (key, value, side, want) in conditions {
        let policy = rbac(
            "ALLOW",
            &format!("{{when: [{{key: '{key}', values: ['{value}']}}]}}"),
        );
        assert!(
            policy[side].to_string().contains(&want.to_string()),
            "{key}: {policy}"
        );
    }
}

#[test]
fn tcp_rules_never_allow_more_than_was_said() {
    let filters = |action: &str| -> Vec<Value> {
        let yaml = format!(
            "{}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  action: {action}\n  rules: [{{to: [{{operation: {{methods: [GET], ports: ['80']}}}}]}}]\n",
            own("protocol: TCP")
        );
        let listeners = all(&proxy("own", &yaml), Kind::Listener);
        let chains = find(&listeners, "virtualInbound")["filterChains"]
            .as_array()
            .cloned()
            .unwrap();
        let chain = chains
            .iter()
            .find(|chain| chain["filterChainMatch"]["destinationPort"] == 80)
            .unwrap();
        let filters = chain["filters"].as_array().unwrap().iter();
        filters
            .filter(|filter| filter["name"] == "envoy.filters.network.rbac")
            .cloned()
            .collect()
    };
    let allow = &filters("ALLOW")[0]["typedConfig"]["rules"];
    assert_eq!(
        allow["policies"],
        json!({}),
        "an ALLOW with HTTP conditions allows nothing"
    );
    let deny = &filters("DENY")[0]["typedConfig"]["rules"]["policies"]["ns[n]-policy[p]-rule[0]"];
    assert_eq!(
        deny["permissions"],
        json!([{"andRules": {"rules": [{"orRules": {"rules": [{"destinationPort": 80}]}}]}}])
    );
}

#[test]
fn an_authorizer_that_is_not_known_refuses() {
    let yaml = format!(
        "{}apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: n}}\nspec:\n  action: CUSTOM\n  provider: {{name: nobody}}\n  rules: [{{}}]\n",
        own("protocol: HTTP")
    );
    let listeners = all(&proxy("own", &yaml), Kind::Listener);
    let filters = http_filters(find(&listeners, "virtualInbound"));
    assert_eq!(filters[1]["name"], "envoy.filters.http.rbac");
    let rules = &filters[1]["typedConfig"]["rules"];
    assert_eq!(rules["action"], "DENY");
    assert!(
        rules["policies"]["istio-ext-authz-ns[n]-policy[p]-rule[0]-deny-due-to-bad-CUSTOM-action"]
            .is_object()
    );
}

#[test]
fn localities_decide_weights_and_priorities() {
    let service = |setting: &str| {
        format!(
            "{}{}apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: n}}\nspec:\n  host: far\n  trafficPolicy:\n    outlierDetection: {{consecutive5xxErrors: 1}}\n    loadBalancer: {{localityLbSetting: {{{setting}}}}}\n",
            entry(
                "own",
                "  ports: [{number: 80, name: p}]\n  endpoints: [{address: 10.0.0.1, locality: r1/z1, labels: {app: own, tier: a}}]"
            ),
            entry(
                "far",
                "  ports: [{number: 80, name: p}]\n  endpoints:\n  - {address: 10.1.0.1, locality: r1/z1, labels: {tier: b}}\n  - {address: 10.1.0.2, locality: r1/z2, labels: {tier: a}}\n  - {address: 10.1.0.3, locality: r2/z1, weight: 3}\n  - {address: 10.1.0.4, locality: r3/z1}",
            ),
        )
    };
    let groups = |setting: &str| -> Vec<(String, u64, u64)> {
        let proxy = proxy("own", &service(setting));
        let endpoints = generate::named(
            &proxy,
            Kind::Endpoint,
            ["outbound|80||far.n.svc.cluster.local"],
        );
        endpoints[0].encode().unwrap();
        let groups = endpoints[0].value["endpoints"].as_array().unwrap();
        let text = |group: &Value, key: &str| {
            group["locality"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        groups
            .iter()
            .map(|group| {
                let place = format!("{}/{}", text(group, "region"), text(group, "zone"));
                (
                    place,
                    group["priority"].as_u64().unwrap_or(0),
                    group["loadBalancingWeight"].as_u64().unwrap(),
                )
            })
            .collect()
    };
    let row = |place: &str, priority: u64, weight: u64| (place.to_owned(), priority, weight);
    assert_eq!(
        groups("enabled: true"),
        [
            row("r1/z1", 0, 1),
            row("r1/z2", 1, 1),
            row("r2/z1", 2, 3),
            row("r3/z1", 2, 1)
        ]
    );
    assert_eq!(
        groups("failover: [{from: r1, to: r3}]"),
        [
            row("r1/z1", 0, 1),
            row("r1/z2", 1, 1),
            row("r2/z1", 3, 3),
            row("r3/z1", 2, 1)
        ]
    );
    assert_eq!(
        groups("distribute: [{from: r1/*, to: {r1/z1/*: 70, r2/*: 30}}]"),
        [
            row("r1/z1", 0, 70),
            row("r1/z2", 0, 1),
            row("r2/z1", 0, 30),
            row("r3/z1", 0, 1)
        ]
    );
    assert_eq!(
        groups("failoverPriority: [tier]")[1],
        row("r1/z2", 0, 1),
        "the label wins over the place"
    );
    assert_eq!(
        groups("enabled: false"),
        [
            row("r1/z1", 0, 1),
            row("r1/z2", 0, 1),
            row("r2/z1", 0, 3),
            row("r3/z1", 0, 1)
        ]
    );
}

#[test]
fn http_and_tcp_share_a_wildcard_port() {
    let yaml = format!(
        "{}{}",
        entry(
            "web",
            "  ports: [{number: 90, name: h, protocol: HTTP}]\n  addresses: [10.9.0.1]"
        ),
        entry(
            "raw",
            "  ports: [{number: 90, name: t, protocol: TCP}]\n  addresses: [10.9.0.0/24]"
        ),
    );
    let listeners = all(&proxy("own", &yaml), Kind::Listener);
    let shared = find(&listeners, "0.0.0.0_90");
    let chains = shared["filterChains"].as_array().unwrap();
    assert_eq!(chains.len(), 2);
    assert!(
        chains.iter().any(
            |chain| chain["filterChainMatch"]["prefixRanges"][0]["addressPrefix"] == "10.9.0.0"
        )
    );
    assert!(chains.iter().any(
        |chain| chain["filterChainMatch"]["applicationProtocols"] == json!(["http/1.1", "h2c"])
    ));
    assert_eq!(
        shared["defaultFilterChain"]["name"],
        "PassthroughFilterChain"
    );
}

#[test]
fn virtual_services_with_wildcards_give_way_to_closer_ones() {
    let virtual_service = |name: &str, host: &str, uri: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: n}}\nspec:\n  hosts: ['{host}']\n  http: [{{redirect: {{uri: {uri}}}}}]\n---\n"
        )
    };
    let yaml = format!(
        "{}{}{}{}",
        entry("one", "  ports: [{number: 80, name: h, protocol: HTTP}]"),
        entry("two", "  ports: [{number: 80, name: h, protocol: HTTP}]"),
        virtual_service("all", "*.n.svc.cluster.local", "/all"),
        virtual_service("one", "one", "/one"),
    );
    let config = route(&proxy("own", &yaml), "80");
    let to = |host: &str| {
        let hosts = config["virtualHosts"].as_array().unwrap();
        let found = hosts
            .iter()
            .find(|found| found["name"] == format!("{host}.n.svc.cluster.local:80"))
            .unwrap();
        found["routes"][0]["redirect"]["pathRedirect"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        (to("one"), to("two")),
        ("/one".to_owned(), "/all".to_owned())
    );
}

#[test]
fn a_registry_only_sidecar_blocks_the_rest() {
    let yaml = format!(
        "{}{}apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: default, namespace: n}}\nspec:\n  outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}\n  egress: [{{hosts: [./one.n.svc.cluster.local]}}]\n",
        entry("one", "  ports: [{number: 80, name: h, protocol: HTTP}]"),
        entry("two", "  ports: [{number: 81, name: h, protocol: HTTP}]"),
    );
    let proxy = proxy("own", &yaml);
    let clusters = all(&proxy, Kind::Cluster);
    assert!(
        clusters.iter().all(|cluster| !cluster.name.contains("two")),
        "two is not imported"
    );
    let config = route(&proxy, "80");
    let last = config["virtualHosts"].as_array().unwrap().last().unwrap();
    assert_eq!(last["routes"][0]["directResponse"]["status"], 502);
    let listeners = all(&proxy, Kind::Listener);
    let chain = &find(&listeners, "virtualOutbound")["filterChains"][1];
    assert!(chain["filters"].to_string().contains("BlackHoleCluster"));
}

#[test]
fn gateways_terminate_pass_and_redirect() {
    let yaml = format!(
        "{}apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g, namespace: n}}
spec:
  selector: {{app: gate}}
  servers:
  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: [a.example], tls: {{mode: SIMPLE, credentialName: a-cert}}}}
  - {{port: {{number: 443, name: pass, protocol: TLS}}, hosts: [p.example], tls: {{mode: PASSTHROUGH}}}}
  - {{port: {{number: 9000, name: tcp, protocol: TCP}}, hosts: ['*']}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v, namespace: n}}
spec:
  hosts: [a.example, p.example]
  gateways: [g]
  http: [{{match: [{{uri: {{exact: /}}}}], redirect: {{uri: /home, derivePort: FROM_REQUEST_PORT}}}}, {{route: [{{destination: {{host: one}}}}]}}]
  tls: [{{match: [{{port: 443, sniHosts: [p.example]}}], route: [{{destination: {{host: one}}}}]}}]
  tcp: [{{match: [{{port: 9000}}], route: [{{destination: {{host: one}}, weight: 1}}, {{destination: {{host: two.example}}, weight: 2}}]}}]
",
        entry("one", "  ports: [{number: 80, name: h, protocol: HTTP}]"),
    );
    let proxy = proxy("gate", &yaml);
    let listeners = all(&proxy, Kind::Listener);
    let secure = find(&listeners, "0.0.0.0_443");
    let chains = secure["filterChains"].as_array().unwrap();
    assert_eq!(chains.len(), 2);
    let secret = &chains[0]["transportSocket"]["typedConfig"]["commonTlsContext"]["tlsCertificateSdsSecretConfigs"]
        [0];
    assert_eq!(secret["name"], "kubernetes://a-cert");
    assert_eq!(
        chains[1]["filterChainMatch"]["serverNames"],
        json!(["p.example"])
    );
    assert!(chains[1]["transportSocket"].is_null(), "passed through");
    let config = route(&proxy, "https.443.https.g.n");
    let routes = config["virtualHosts"][0]["routes"].as_array().unwrap();
    assert!(
        routes[0]["redirect"]["portRedirect"].is_null(),
        "443 is https's own port"
    );
    assert_eq!(
        routes[1]["route"]["cluster"],
        "outbound|80||one.n.svc.cluster.local"
    );
    let tcp = find(&listeners, "0.0.0.0_9000")["filterChains"][0]["filters"].to_string();
    assert!(tcp.contains("\"weight\":2") && tcp.contains("v.n"), "{tcp}");
}

#[test]
fn headless_services_have_a_listener_for_each_workload() {
    let yaml = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: h, namespace: n}
spec:
  hosts: [h.n.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: NONE
  ports: [{number: 9092, name: t, protocol: TCP}]
  workloadSelector: {labels: {app: h}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: h1, namespace: n}
spec: {address: 10.2.0.1, labels: {app: h}, serviceAccount: h}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: h2, namespace: n}
spec: {address: 10.2.0.2, labels: {app: h}, serviceAccount: h}
";
    let proxy = proxy("own", yaml);
    let listeners = all(&proxy, Kind::Listener);
    let names: Vec<&str> = listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "10.2.0.1_9092",
            "10.2.0.2_9092",
            "virtualOutbound",
            "virtualInbound"
        ]
    );
    let clusters = all(&proxy, Kind::Cluster);
    let cluster = find(&clusters, "outbound|9092||h.n.svc.cluster.local");
    assert_eq!(cluster["type"], "ORIGINAL_DST");
    assert!(
        cluster["transportSocket"].is_object(),
        "all its workloads speak mTLS"
    );
}
