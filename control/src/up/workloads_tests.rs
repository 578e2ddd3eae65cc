use super::{super::testing, *};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn finds_who_is_where() {
    let found = find(&testing::snapshot(""), false);
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    let names: Vec<&str> = found
        .workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect();
    assert_eq!(names, ["portal", "catalogue", "billing"]);
    let [portal, catalogue, _] = found.workloads.as_slice() else {
        panic!("three workloads");
    };
    assert_eq!(
        portal.principal("cluster.local"),
        "cluster.local/ns/shop/sa/portal"
    );
    assert_eq!(portal.admin(), at("127.0.10.1:15000"));
    assert_eq!(portal.version(), "v1");
    assert_eq!(
        portal.inbound,
        [Inbound {
            listen: at("127.0.10.1:8081"),
            application: at("127.0.10.1:9080"),
        }]
    );
    let callees: Vec<String> = portal
        .callees(&found.workloads)
        .iter()
        .map(Callee::to_argument)
        .collect();
    assert_eq!(
        callees,
        [
            "billing=billing.shop.svc.cluster.local@127.0.10.1:8080",
            "catalogue=catalogue.shop.svc.cluster.local@127.0.10.1:8080",
        ]
    );
    assert_eq!(catalogue.inbound[0].listen, at("127.0.10.2:8080"));
    assert_eq!(catalogue.outbound, []);
    let listens: Vec<SocketAddr> = portal.listens().collect();
    assert_eq!(listens.len(), 6, "{listens:?}");
}

#[test]
fn says_what_it_leaves_out() {
    let found = find(
        &testing::snapshot(
            "---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far, namespace: elsewhere}
spec:
  hosts: [far.elsewhere.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}, {address: 127.0.10.9, labels: {app: portal}}]
",
        ),
        false,
    );
    assert_eq!(
        found.left_out,
        [
            "10.0.0.1 of far.elsewhere.svc.cluster.local is not a loopback address: nothing is started for it",
            "no Sidecar gives portal-2 (127.0.10.9) an ingress listener with a defaultEndpoint: no service is started for it",
        ]
    );
}

#[test]
fn egress_hosts_select_as_istio_reads_them() {
    let snapshot = testing::snapshot("");
    let service = snapshot
        .registry
        .named("billing.shop.svc.cluster.local")
        .next()
        .unwrap();
    for (pattern, own, expected) in [
        ("./*", "shop", true),
        ("./*", "other", false),
        ("*/*", "other", true),
        ("shop/*", "other", true),
        ("~/*", "shop", false),
        ("*/billing.shop.svc.cluster.local", "other", true),
        ("*/*.shop.svc.cluster.local", "other", true),
        ("*/*.other.svc.cluster.local", "other", false),
        ("billing.shop.svc.cluster.local", "shop", false),
    ] {
        assert_eq!(
            imported(pattern, service, own),
            expected,
            "{pattern} from {own}"
        );
    }
}
