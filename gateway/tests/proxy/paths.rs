//! The paths of service, route and request, as the service sees them, with `path_handling` under every `router_flavor`.

use crate::gateway::{Gateway, Start, Upstream, get};

/// The paths of service and route (none: by its host alone), and of the request; then what Kong's traditional router makes
/// of them: `v0` as it came and with `strip_path`, then `v1`. Its other routers take `v1` for `v0`.
const ROWS: [[&str; 7]; 53] = [
    ["/", "/", "/", "/", "/", "/", "/"],
    ["/", "/", "/r", "/r", "/r", "/r", "/r"],
    ["/", "/", "/r/", "/r/", "/r/", "/r/", "/r/"],
    ["/", "/", "/rq", "/rq", "/rq", "/rq", "/rq"],
    ["/", "/", "/r/q", "/r/q", "/r/q", "/r/q", "/r/q"],
    ["/", "/r", "/r", "/r", "/", "/r", "/"],
    ["/", "/r", "/r/", "/r/", "/", "/r/", "/"],
    ["/", "/r", "/rq", "/rq", "/q", "/rq", "/q"],
    ["/", "/r/", "/r/", "/r/", "/", "/r/", "/"],
    ["/", "/r/", "/r/q", "/r/q", "/q", "/r/q", "/q"],
    ["/v", "/u", "/uq", "/v/uq", "/v/q", "/vuq", "/vq"],
    ["/v/", "/u", "/u", "/v/u", "/v", "/v/u", "/v/"],
    ["/s", "/", "/", "/s", "/s", "/s", "/s"],
    ["/s", "/", "/r", "/s/r", "/s/r", "/sr", "/sr"],
    ["/s", "/", "/r/", "/s/r/", "/s/r/", "/sr/", "/sr/"],
    ["/s", "/", "/rq", "/s/rq", "/s/rq", "/srq", "/srq"],
    ["/s", "/", "/r/q", "/s/r/q", "/s/r/q", "/sr/q", "/sr/q"],
    ["/s", "/r", "/r", "/s/r", "/s", "/sr", "/s"],
    ["/s", "/r", "/r/", "/s/r/", "/s/", "/sr/", "/s/"],
    ["/s", "/r", "/rq", "/s/rq", "/s/q", "/srq", "/sq"],
    ["/s", "/r", "/r./q", "/s/r./q", "/s/q", "/sr./q", "/sq"],
    ["/s", "/r", "/r%2E/q", "/s/r./q", "/s/q", "/sr./q", "/sq"],
    ["/s", "/r", "/r%2e/q", "/s/r./q", "/s/q", "/sr./q", "/sq"],
    ["/s", "/r", "/r../q", "/s/r../q", "/s/q", "/sr../q", "/sq"],
    [
        "/s",
        "/r",
        "/r%2E%2E/q",
        "/s/r../q",
        "/s/q",
        "/sr../q",
        "/sq",
    ],
    [
        "/s",
        "/r",
        "/r%2e%2E/q",
        "/s/r../q",
        "/s/q",
        "/sr../q",
        "/sq",
    ],
    ["/s", "/r/", "/r/", "/s/r/", "/s/", "/sr/", "/s"],
    ["/s", "/r/", "/r/q", "/s/r/q", "/s/q", "/sr/q", "/sq"],
    ["/s/", "/", "/r/", "/s/r/", "/s/r/", "/s/r/", "/s/r/"],
    ["/s/", "/", "/", "/s/", "/s/", "/s/", "/s/"],
    ["/s/", "/", "/r", "/s/r", "/s/r", "/s/r", "/s/r"],
    ["/s/", "/", "/rq", "/s/rq", "/s/rq", "/s/rq", "/s/rq"],
    ["/s/", "/", "/r/q", "/s/r/q", "/s/r/q", "/s/r/q", "/s/r/q"],
    ["/s/", "/r", "/r", "/s/r", "/s", "/s/r", "/s/"],
    ["/s/", "/r", "/r/", "/s/r/", "/s/", "/s/r/", "/s/"],
    ["/s/", "/r", "/rq", "/s/rq", "/s/q", "/s/rq", "/s/q"],
    ["/s/", "/r", "/r./q", "/s/r./q", "/s/q", "/s/r./q", "/s/q"],
    ["/s/", "/r", "/r%2E/q", "/s/r./q", "/s/q", "/s/r./q", "/s/q"],
    ["/s/", "/r", "/r%2e/q", "/s/r./q", "/s/q", "/s/r./q", "/s/q"],
    [
        "/s/", "/r", "/r../q", "/s/r../q", "/s/q", "/s/r../q", "/s/q",
    ],
    [
        "/s/",
        "/r",
        "/r%2E%2E/q",
        "/s/r../q",
        "/s/q",
        "/s/r../q",
        "/s/q",
    ],
    [
        "/s/",
        "/r",
        "/r%2e%2E/q",
        "/s/r../q",
        "/s/q",
        "/s/r../q",
        "/s/q",
    ],
    ["/s/", "/r/", "/r/", "/s/r/", "/s/", "/s/r/", "/s/"],
    ["/s/", "/r/", "/r/q", "/s/r/q", "/s/q", "/s/r/q", "/s/q"],
    ["/", "", "/", "/", "/", "/", "/"],
    ["/", "", "/r", "/r", "/r", "/r", "/r"],
    ["/", "", "/r/", "/r/", "/r/", "/r/", "/r/"],
    ["/s", "", "/", "/s", "/s", "/s", "/s"],
    ["/s", "", "/r", "/s/r", "/s/r", "/sr", "/sr"],
    ["/s", "", "/r/", "/s/r/", "/s/r/", "/sr/", "/sr/"],
    ["/s/", "", "/", "/s/", "/s/", "/s/", "/s/"],
    ["/s/", "", "/r", "/s/r", "/s/r", "/s/r", "/s/r"],
    ["/s/", "", "/r/", "/s/r/", "/s/r/", "/s/r/", "/s/r/"],
];

const KINDS: [(&str, bool); 4] = [("v0", false), ("v0", true), ("v1", false), ("v1", true)];

/// The host of a row's route.
fn host(row: &[&str; 7], kind: usize) -> String {
    let word = |path: &str| path.replace('/', "-");
    format!("s{}.r{}.k{kind}.test", word(row[0]), word(row[1])).replace("-.", "-x.")
}

#[test]
fn paths_are_joined_as_the_route_and_the_router_say() {
    let upstream = Upstream::start();
    let mut services = std::collections::BTreeMap::new();
    for row in &ROWS {
        for (kind, (handling, strip)) in KINDS.into_iter().enumerate() {
            let host = host(row, kind);
            let paths = match row[1] {
                "" => String::new(),
                path => format!("paths: [\"{path}\"], "),
            };
            let service = format!(
                "- url: \"{}{}\"\n  routes: [{{hosts: [\"{host}\"], {paths}strip_path: {strip}, path_handling: {handling}}}]\n",
                upstream.url(),
                row[0]
            );
            services.insert(host, service);
        }
    }
    let services: String = services.into_values().collect();
    let flavors = ["traditional", "traditional_compatible", "expressions"];
    for flavor in flavors {
        let gateway = Gateway::start(Start {
            yaml: Some(format!("_format_version: \"3.0\"\nservices:\n{services}")),
            conf: vec![("router_flavor", flavor.to_owned())],
            ..Start::default()
        });
        let mut client = gateway.client();
        for row in &ROWS {
            for (kind, (handling, strip)) in KINDS.into_iter().enumerate() {
                let column = if flavor == "traditional" {
                    kind
                } else {
                    kind % 2
                };
                let answer = client.send(&get(row[2]).header("host", &host(row, kind)));
                assert_eq!(answer.status(), 200, "{flavor}: {row:?}: {answer:?}");
                let seen = upstream.seen();
                let path = seen[0].asked().strip_prefix("GET ");
                assert_eq!(
                    path,
                    Some(row[3 + column]),
                    "{flavor}, {handling}, {strip}: {row:?}"
                );
            }
        }
    }
    let all = ROWS.len() * KINDS.len() * flavors.len();
    crate::cases::report("paths", all, all);
}
