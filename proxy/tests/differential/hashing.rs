//! Hash policies: the same endpoint as Envoy's for the same key, by ring and by maglev.

use serde_json::{Value, json};

use crate::case::{PORT, Table, case};
use crate::support::config::{cluster, listener, manager, virtual_host};
use crate::support::http1::{Request, get};

#[test]
fn hashing() {
    let mut table = Table::new("hashing", &["one", "two", "three", "four", "five"]);
    let ports = table.ports(&[0, 1, 2, 3, 4]);
    table.resources = Box::new(move |place| {
        let filter = manager(
            "hashing",
            json!([virtual_host("all", &["*"], routes())]),
            Vec::new(),
            json!({}),
        );
        let ring = |name: &str, config: Value| {
            cluster(
                name,
                &ports,
                json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": config}),
            )
        };
        let maglev = |name: &str, config: Value| {
            cluster(
                name,
                &ports,
                json!({"lb_policy": "MAGLEV", "maglev_lb_config": config}),
            )
        };
        let mut named = ring("named", json!({}));
        let mut weighted = ring(
            "weighted",
            json!({"minimum_ring_size": 64, "maximum_ring_size": 256}),
        );
        let mut weighted_maglev = maglev("weighted-maglev", json!({"table_size": 251}));
        for (number, _) in ports.iter().enumerate() {
            let endpoint = |cluster: &mut Value, field: Value| {
                let place = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][number];
                for (name, value) in field.as_object().unwrap() {
                    place[name] = value.clone();
                }
            };
            endpoint(
                &mut named,
                json!({"metadata": {"filter_metadata": {"envoy.lb": {"hash_key": format!("key-{number}")}}}}),
            );
            endpoint(&mut weighted, json!({"load_balancing_weight": number + 1}));
            endpoint(
                &mut weighted_maglev,
                json!({"load_balancing_weight": number * 2 + 1}),
            );
        }
        let clusters = vec![
            ring("ring", json!({})),
            ring("small", json!({"minimum_ring_size": 5})),
            ring("murmur", json!({"hash_function": "MURMUR_HASH_2"})),
            maglev("maglev", json!({})),
            maglev("prime", json!({"table_size": 17})),
            named,
            weighted,
            weighted_maglev,
        ];
        (
            vec![listener(place, "hashing", PORT, vec![filter])],
            clusters,
        )
    });
    for name in [
        "ring",
        "small",
        "murmur",
        "maglev",
        "prime",
        "named",
        "weighted",
        "weighted-maglev",
    ] {
        for key in [
            "a",
            "user-42",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
            "",
            "\u{e9}",
        ] {
            let request = get(&format!("/{name}/header")).header("x-key", key);
            table.cases.push(case(
                &format!("{name} by {key:?}"),
                request,
                &["status 200"],
            ));
        }
    }
    let more: [(&str, Request); 9] = [
        (
            "header rewritten by a regex",
            get("/maglev/rewritten").header("x-key", "user-7-extra"),
        ),
        (
            "header of two lines",
            get("/maglev/header")
                .header("x-key", "b")
                .header("x-key", "a"),
        ),
        ("query parameter", get("/maglev/query?key=abc&x=y")),
        (
            "cookie",
            get("/maglev/cookie").header("cookie", "a=b; session=abc"),
        ),
        ("source address", get("/maglev/source")),
        (
            "source address forwarded",
            get("/maglev/source").header("x-forwarded-for", "1.2.3.4"),
        ),
        (
            "first policy ends",
            get("/maglev/terminal")
                .header("x-key", "a")
                .header("x-other", "b"),
        ),
        (
            "two policies together",
            get("/maglev/both")
                .header("x-key", "a")
                .header("x-other", "b"),
        ),
        (
            "second policy alone",
            get("/maglev/both").header("x-other", "b"),
        ),
    ];
    for (name, request) in more {
        table.cases.push(case(name, request, &["status 200"]));
    }
    table.run();
}

fn routes() -> Value {
    let header = |name: &str| json!({"header": {"header_name": name}});
    let mut routes = Vec::new();
    for name in [
        "ring",
        "small",
        "murmur",
        "maglev",
        "prime",
        "named",
        "weighted",
        "weighted-maglev",
    ] {
        let mut add = |kind: &str, policies: Value| {
            routes.push(json!({"name": kind, "match": {"prefix": format!("/{name}/{kind}")}, "route": {"cluster": name, "hash_policy": policies}}));
        };
        add("header", json!([header("x-key")]));
        if name == "maglev" {
            let mut terminal = header("x-key");
            terminal["terminal"] = true.into();
            add(
                "rewritten",
                json!([{"header": {"header_name": "x-key", "regex_rewrite": {"pattern": {"regex": "^(user-[0-9]+).*$"}, "substitution": "\\1"}}}]),
            );
            add("query", json!([{"query_parameter": {"name": "key"}}]));
            add("cookie", json!([{"cookie": {"name": "session"}}]));
            add(
                "source",
                json!([{"connection_properties": {"source_ip": true}}]),
            );
            add("terminal", json!([terminal, header("x-other")]));
            add("both", json!([header("x-key"), header("x-other")]));
        }
    }
    routes.into()
}
