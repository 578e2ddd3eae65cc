//! Every code of `lint` is found where it was planted, and the examples have none.

use std::{fmt::Write, path::Path};

use super::*;
use crate::output::{Finding, Text};

fn istio(text: &str) -> Vec<Finding> {
    Findings::from(istio::look(&[("shop.yaml".into(), text.to_owned())])).findings
}

/// A service with two versions, which nothing is wrong with.
const SHOP: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: billing, namespace: shop}
spec:
  hosts: [billing.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 90, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: billing}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: billing, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: billing, version: v1, security.istio.io/tlsMode: istio}, serviceAccount: billing}
";

/// (code, place, what is added to the shop)
const PLANTED: [(&str, &str, &str); 21] = [
    (
        "CTL-0201",
        "19:28",
        "kind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec: {hosts: [a], http: [{timeout: soon, route: [{destination: {host: billing}}]}]}",
    ),
    (
        "CTL-0202",
        "19:3",
        "kind: VirtualService\nmetadata: {name: a, namespace: shop}\n  spec: [",
    ),
    (
        "CTL-0203",
        "17:1",
        "kind: WasmPlugin\nmetadata: {name: a, namespace: shop}\nspec: {}",
    ),
    (
        "CTL-0204",
        "16:1",
        "kind: WorkloadEntry\nmetadata: {name: billing, namespace: shop}\nspec: {address: 10.0.0.2, labels: {app: billing, security.istio.io/tlsMode: istio}}",
    ),
    (
        "CTL-0205",
        "19:23",
        "kind: DestinationRule\nmetadata: {name: a, namespace: shop}\nspec: {host: billing, trafficPolice: {}}",
    ),
    (
        "CTL-0206",
        "17:1",
        "kind: Banana\nmetadata: {name: a, namespace: shop}\nspec: {}",
    ),
    (
        "CTL-0207",
        "18:1",
        "kind: DestinationRule\nmetadata: {name: a}\nspec: {host: billing.shop.svc.cluster.local}",
    ),
    (
        "CTL-0208",
        "19:16",
        "kind: ServiceEntry\nmetadata: {name: b, namespace: shop}\nspec: {hosts: [billing.shop.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}",
    ),
    (
        "CTL-0209",
        "19:8",
        "kind: DestinationRule\nmetadata: {name: a, namespace: shop}\nspec: {host: bilink}",
    ),
    (
        "CTL-0210",
        "22:28",
        "kind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec:\n  hosts: [billing]\n  http:\n  - route: [{destination: {subset: v9, host: billing}}]",
    ),
    (
        "CTL-0211",
        "19:37",
        "kind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec: {hosts: [billing], gateways: [door], http: [{route: [{destination: {host: billing}}]}]}",
    ),
    (
        "CTL-0212",
        "19:32",
        "kind: Telemetry\nmetadata: {name: a, namespace: shop}\nspec: {tracing: [{providers: [{name: jaeger}]}]}",
    ),
    (
        "CTL-0213",
        "22:3",
        "kind: VirtualService\nmetadata: {name: a, namespace: shop}\nspec:\n  hosts: [billing]\n  http: [{route: [{destination: {host: billing}}]},\n  {match: [{uri: {prefix: /a}}], route: [{destination: {host: billing}}]}]",
    ),
    (
        "CTL-0214",
        "24:1",
        "kind: PeerAuthentication\nmetadata: {name: a, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: b, namespace: shop}\nspec: {mtls: {mode: PERMISSIVE}}",
    ),
    (
        "CTL-0215",
        "19:8",
        "kind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\nspec: {selector: {matchLabels: {app: bilink}}, action: ALLOW}",
    ),
    (
        "CTL-0216",
        "19:45",
        "kind: DestinationRule\nmetadata: {name: a, namespace: shop}\nspec: {host: billing, trafficPolicy: {tls: {mode: DISABLE}}}\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}",
    ),
    (
        "CTL-0217",
        "4:1",
        "kind: WorkloadEntry\nmetadata: {name: bare, namespace: shop}\nspec: {address: 10.0.0.2, labels: {app: billing}}\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: shop}\nspec: {mtls: {mode: STRICT}}",
    ),
    (
        "CTL-0218",
        "22:35",
        "kind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\nspec:\n  action: ALLOW\n  rules:\n  - from: [{source: {principals: [cluster.local/ns/shop/sa/bilink]}}]",
    ),
    (
        "CTL-0219",
        "22:5",
        "kind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\nspec:\n  action: DENY\n  rules:\n  - from: [{source: {principals: [cluster.local/ns/shop/sa/billing]}}]",
    ),
    (
        "CTL-0220",
        "23:5",
        "kind: AuthorizationPolicy\nmetadata: {name: a, namespace: shop}\nspec:\n  selector: {matchLabels: {app: billing}}\n  action: ALLOW\n  rules:\n  - to: [{operation: {methods: [GET]}}]",
    ),
    (
        "CTL-0215",
        "19:44",
        "kind: DestinationRule\nmetadata: {name: a, namespace: shop}\nspec: {host: billing, subsets: [{name: v9, labels: {version: v9}}]}",
    ),
];

fn with(added: &str) -> String {
    let kind = added
        .strip_prefix("kind: ")
        .and_then(|rest| rest.split('\n').next())
        .unwrap_or_default();
    let api = match kind {
        "Banana" => "fruit.example/v1",
        "WasmPlugin" => "extensions.istio.io/v1alpha1",
        "Telemetry" => "telemetry.istio.io/v1",
        "PeerAuthentication" | "AuthorizationPolicy" => "security.istio.io/v1",
        _ => "networking.istio.io/v1",
    };
    format!("{SHOP}---\napiVersion: {api}\n{added}\n")
}

#[test]
fn each_fault_is_found_where_it_is() {
    assert_eq!(istio(SHOP).len(), 0, "{:?}", istio(SHOP));
    let mut wrong = String::new();
    for (code, place, added) in PLANTED {
        let found = istio(&with(added));
        let here = found.iter().any(|finding| {
            finding.code.to_string() == code
                && format!("{}:{}", finding.place.line, finding.place.column) == place
        });
        if !here || found.len() != 1 {
            let all: Vec<String> = found.iter().map(ToString::to_string).collect();
            writeln!(
                wrong,
                "{code} at {place}, but:\n  {}\nof\n{}",
                all.join("\n  "),
                with(added)
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A code that no case plants is a code that nobody knows to work.
#[test]
fn every_code_is_planted() {
    let of_istio = output_codes(200..300);
    for code in of_istio {
        assert!(
            PLANTED.iter().any(|(planted, ..)| *planted == code),
            "{code}"
        );
    }
}

fn output_codes(range: std::ops::Range<u16>) -> Vec<String> {
    let all = crate::output::code::ALL
        .iter()
        .filter(|code| range.contains(&code.code));
    all.map(ToString::to_string).collect()
}

#[test]
fn services_and_workloads_of_kubernetes_count() {
    let kubernetes = "\
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews, namespace: shop}
spec: {template: {metadata: {labels: {app: reviews}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews, namespace: shop}
spec: {selector: {matchLabels: {app: reviews}}, action: ALLOW}
";
    let found = istio(kubernetes);
    let [only] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(
        only.to_string().lines().next(),
        Some("shop.yaml:2:1: note CTL-0206: 2 objects are another API's: not looked at")
    );
}

#[test]
fn what_may_be_in_a_resource_that_does_not_read_is_not_missed() {
    let broken = format!(
        "{SHOP}---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: x, namespace: shop}}\nspec: {{hosts: [x.shop.svc.cluster.local], ports: 7}}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x, namespace: shop}}\nspec: {{host: x}}\n"
    );
    let found = istio(&broken);
    let codes: Vec<String> = found
        .iter()
        .map(|finding| finding.code.to_string())
        .collect();
    assert_eq!(codes, ["CTL-0201"], "{found:?}");
}

#[test]
fn the_examples_have_no_fault() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/platform");
    let files = gather(&[examples]).unwrap();
    assert!(!files.istio.is_empty());
    let found = istio::look(&files.istio);
    let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(shown.is_empty(), "{}", shown.join("\n"));
}

fn everything() -> Findings {
    let all: Vec<Finding> = PLANTED
        .iter()
        .enumerate()
        .flat_map(|(index, (_, _, added))| {
            istio::look(&[(format!("{index:02}.yaml").into(), with(added))])
        })
        .collect();
    Findings::from(all)
}

#[test]
fn text() {
    let mut text = String::new();
    everything().text(&mut text).unwrap();
    insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
}

#[test]
fn json() {
    insta::assert_snapshot!(crate::output::json(&everything()).unwrap());
}

/// 1,000 objects: the bench measures the time.
#[test]
fn a_thousand_objects() {
    let mut text = String::new();
    for index in 0..250 {
        writeln!(
            text,
            "{}",
            SHOP.replace("billing", &format!("billing-{index}"))
        )
        .unwrap();
        writeln!(text, "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: b{index}, namespace: shop}}\nspec: {{host: billing-{index}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}").unwrap();
        writeln!(text, "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: b{index}, namespace: shop}}\nspec: {{hosts: [billing-{index}], http: [{{route: [{{destination: {{host: billing-{index}, subset: v1}}}}]}}]}}\n---").unwrap();
    }
    assert_eq!(istio(&text).len(), 0);
}
