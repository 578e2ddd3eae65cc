//! Which virtual host, which route, which cluster.

use serde_json::{Value, json};

use super::{routes, to};
use crate::case::{Case, PORT, Table, case};
use crate::support::config::{cluster, extension, listener, manager, virtual_host};
use crate::support::http1::{get, post, request};

#[test]
fn routing() {
    let mut table = Table::new("routing", &["one", "two"]);
    let ports = table.ports(&[0, 1]);
    table.resources = Box::new(move |place| {
        let filter = manager("routing", hosts(), Vec::new(), json!({}));
        (
            vec![listener(place, "routing", PORT, vec![filter])],
            vec![
                cluster("one", &ports[..1], json!({})),
                cluster("two", &ports[1..], json!({})),
                cluster("empty", &[], json!({})),
            ],
        )
    });
    table.cases = [paths(), conditions(), hosts_and_clusters()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn template(pattern: &str) -> Value {
    json!({"path_match_policy": extension(
        "envoy.path.match.uri_template.uri_template_matcher",
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        json!({"path_template": pattern}),
    )})
}

fn with_header(name: &str, header: Value) -> Value {
    to(
        name,
        json!({"prefix": "/header/", "headers": [header]}),
        "one",
    )
}

fn hosts() -> Value {
    let regex = |text: &str| json!({"regex": text});
    let paths = json!([
        to("exact", json!({"path": "/exact"}), "one"),
        to("exact-any-case", json!({"path": "/ANYCASE", "case_sensitive": false}), "one"),
        to("prefix-any-case", json!({"prefix": "/Any/Case", "case_sensitive": false}), "two"),
        to("separated", json!({"path_separated_prefix": "/api/dev"}), "one"),
        to("regex", json!({"safe_regex": regex("/re/[0-9]+(/end)?")}), "one"),
        to("template", template("/t/{one}/mid/{two=*}"), "one"),
        to("template-deep", template("/deep/{path=**}.txt"), "two"),
        to("connect", json!({"connect_matcher": {}}), "one"),
        with_header("h-exact", json!({"name": "x-exact", "string_match": {"exact": "Yes"}})),
        with_header("h-any-case", json!({"name": "x-any", "string_match": {"exact": "yes", "ignore_case": true}})),
        with_header("h-prefix", json!({"name": "x-prefix", "string_match": {"prefix": "ab"}})),
        with_header("h-suffix", json!({"name": "x-suffix", "string_match": {"suffix": "yz"}})),
        with_header("h-contains", json!({"name": "x-contains", "string_match": {"contains": "mm"}})),
        with_header("h-regex", json!({"name": "x-regex", "string_match": {"safe_regex": {"regex": "v[0-9]"}}})),
        with_header("h-range", json!({"name": "x-range", "range_match": {"start": "-5", "end": "10"}})),
        with_header("h-present", json!({"name": "x-present", "present_match": true})),
        with_header("h-inverted", json!({"name": "x-inverted", "string_match": {"exact": "no"}, "invert_match": true,
            "treat_missing_header_as_empty": true})),
        with_header("never", json!({"name": "x-never", "string_match": {"exact": "x"}})),
        to("q-exact", json!({"prefix": "/query", "query_parameters": [
            {"name": "v", "string_match": {"exact": "1"}}]}), "one"),
        to("q-present", json!({"prefix": "/query", "query_parameters": [
            {"name": "flag", "present_match": true}]}), "two"),
        to("q-regex", json!({"prefix": "/query", "query_parameters": [
            {"name": "r", "string_match": {"safe_regex": {"regex": "[a-z]+"}}}]}), "one"),
        to("method", json!({"prefix": "/method", "headers": [
            {"name": ":method", "string_match": {"exact": "DELETE"}}]}), "two"),
        to("grpc-only", json!({"prefix": "/grpc", "grpc": {}}), "two"),
        to("never-by-runtime", json!({"prefix": "/fraction", "runtime_fraction": {
            "default_value": {"numerator": 0, "denominator": "HUNDRED"}}}), "two"),
        to("fraction", json!({"prefix": "/fraction"}), "one"),
        routes("weights", json!({"prefix": "/weights"}), json!({"weighted_clusters": {"clusters": [
            {"name": "one", "weight": 0}, {"name": "two", "weight": 100}]}})),
        routes("weights-header", json!({"prefix": "/header-weights"}), json!({"weighted_clusters": {"clusters": [
            {"name": "one", "weight": 100, "request_headers_to_add": [{"header": {"key": "x-side", "value": "one"}}],
             "response_headers_to_add": [{"header": {"key": "x-chosen", "value": "one"}}],
             "host_rewrite_literal": "weighted.test"}]}})),
        routes("by-header", json!({"prefix": "/by-header"}), json!({"cluster_header": "x-cluster"})),
        routes("missing", json!({"prefix": "/missing"}), json!({"cluster": "nowhere"})),
        routes("missing-404", json!({"prefix": "/gone"}),
            json!({"cluster": "nowhere", "cluster_not_found_response_code": "NOT_FOUND"})),
        routes("missing-500", json!({"prefix": "/broken"}),
            json!({"cluster": "nowhere", "cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"})),
        to("nobody", json!({"prefix": "/empty"}), "empty"),
        {"name": "no-forwarding", "match": {"prefix": "/stop"}, "non_forwarding_action": {}},
        to("prefix", json!({"prefix": "/prefix"}), "two"),
    ]);
    json!([
        virtual_host("a", &["a.test"], paths),
        virtual_host("suffix", &["*.wild.test", "*-dash.test"], json!([to("suffix", json!({"prefix": "/"}), "one")])),
        virtual_host("longer", &["*.very.wild.test"], json!([to("longer", json!({"prefix": "/"}), "two")])),
        virtual_host("front", &["front.*"], json!([to("front", json!({"prefix": "/"}), "one")])),
        virtual_host("port", &["port.test:8080"], json!([to("port", json!({"prefix": "/"}), "two")])),
        virtual_host("case", &["Upper.Test"], json!([to("upper", json!({"prefix": "/"}), "one")])),
        virtual_host("six", &["[2001:db8::1]:80"], json!([to("six", json!({"prefix": "/"}), "one")])),
        {"name": "tls", "domains": ["tls.test"], "require_tls": "ALL", "routes": [to("tls", json!({"prefix": "/"}), "one")]},
        virtual_host("rest", &["*"], json!([to("rest", json!({"path": "/rest"}), "one")])),
    ])
}

fn paths() -> Vec<Case> {
    let hit = |name: &str, target: &str, route: &str| {
        case(
            name,
            get(target),
            &["status 200", &format!("log route \"{route}\"")],
        )
    };
    let miss = |name: &str, target: &str| {
        case(
            name,
            get(target),
            &[
                "status 404 Not Found",
                "log flags \"NR\"",
                "log details \"route_not_found\"",
                "body \"\"",
            ],
        )
    };
    vec![
        hit("path exact", "/exact", "exact"),
        hit("path exact with a query", "/exact?x=1", "exact"),
        miss("path exact is not a prefix", "/exact/more"),
        miss("path is case sensitive", "/Exact"),
        hit("path in any case", "/anyCase", "exact-any-case"),
        hit("prefix", "/prefixed/on", "prefix"),
        hit("prefix in any case", "/aNY/cASE/x", "prefix-any-case"),
        hit("separated prefix itself", "/api/dev", "separated"),
        hit("separated prefix with a query", "/api/dev?x", "separated"),
        hit("separated prefix below", "/api/dev/x", "separated"),
        miss("separated prefix needs a slash", "/api/devel"),
        hit("regex", "/re/42", "regex"),
        hit("regex with a query", "/re/42/end?q=/re", "regex"),
        miss("regex is anchored", "/re/42/endless"),
        hit("template", "/t/a/mid/b", "template"),
        miss("template takes one segment", "/t/a/mid/b/c"),
        hit(
            "template of several segments",
            "/deep/a/b/c.txt",
            "template-deep",
        ),
        hit(
            "template passes the query over",
            "/t/a/mid/b?x=/y",
            "template",
        ),
        miss("empty path segment", "//exact"),
        case("fragment", get("/exact#part"), &["status "]),
    ]
}

fn conditions() -> Vec<Case> {
    let header = |name: &str, header: (&str, &str), route: &str| {
        case(
            name,
            get("/header/x").header(header.0, header.1),
            &["status 200", &format!("log route \"{route}\"")],
        )
    };
    let query = |name: &str, target: &str, route: &str| {
        case(name, get(target), &[&format!("log route {route}")])
    };
    vec![
        header("header exact", ("X-Exact", "Yes"), "h-exact"),
        header(
            "header exact is case sensitive",
            ("x-exact", "yes"),
            "h-inverted",
        ),
        header("header exact in any case", ("x-any", "YES"), "h-any-case"),
        header("header prefix", ("x-prefix", "abc"), "h-prefix"),
        header("header suffix", ("x-suffix", "xyz"), "h-suffix"),
        header("header contains", ("x-contains", "hammer"), "h-contains"),
        header("header regex", ("x-regex", "v1"), "h-regex"),
        header("header regex is anchored", ("x-regex", "v12"), "h-inverted"),
        header("header range begins", ("x-range", "-5"), "h-range"),
        header(
            "header range ends before its end",
            ("x-range", "10"),
            "h-inverted",
        ),
        header(
            "header range of no number",
            ("x-range", "five"),
            "h-inverted",
        ),
        header(
            "header present though empty",
            ("x-present", ""),
            "h-present",
        ),
        case(
            "header inverted refuses",
            get("/header/x").header("x-inverted", "no"),
            &["status 404"],
        ),
        case(
            "header of two equal lines",
            get("/header/x")
                .header("x-exact", "Yes")
                .header("x-exact", "Yes"),
            &["log route \"h-exact\""],
        ),
        case(
            "header of two lines, the first fits",
            get("/header/x")
                .header("x-exact", "Yes")
                .header("x-exact", "No"),
            &["status 200"],
        ),
        case(
            "header of two lines, the last fits",
            get("/header/x")
                .header("x-exact", "No")
                .header("x-exact", "Yes"),
            &["status 200"],
        ),
        case(
            "header whose lines fit only together",
            get("/header/x").header("x-exact", "Yes,Yes"),
            &["log route \"h-inverted\""],
        ),
        case(
            "inverted header of two lines",
            get("/header/x")
                .header("x-inverted", "no")
                .header("x-inverted", "yes"),
            &["status "],
        ),
        case(
            "regex over two lines",
            get("/header/x")
                .header("x-regex", "v1")
                .header("x-regex", "w"),
            &["status 200"],
        ),
        case(
            "prefix over two lines",
            get("/header/x")
                .header("x-prefix", "zz")
                .header("x-prefix", "ab"),
            &["status 200"],
        ),
        query("query exact", "/query?a=0&v=1", "\"q-exact\""),
        query("query first of two", "/query?v=2&v=1", "null"),
        query("query present", "/query?flag", "\"q-present\""),
        query("query regex", "/query?r=abc", "\"q-regex\""),
        query("query regex is anchored", "/query?r=abc1", "null"),
        query("query is not decoded", "/query?v=%31", ""),
        case(
            "method",
            request("DELETE", "/method"),
            &[
                "log route \"method\"",
                "upstream two: DELETE /method HTTP/1.1",
            ],
        ),
        case(
            "grpc by content type",
            post("/grpc", "").header("content-type", "application/grpc+proto"),
            &["log route \"grpc-only\""],
        ),
        case(
            "not grpc",
            post("/grpc", "").header("content-type", "application/grpc-web"),
            &["status 404"],
        ),
        case(
            "fraction of zero",
            get("/fraction"),
            &["log route \"fraction\"", "log upstream \"one\""],
        ),
    ]
}

fn hosts_and_clusters() -> Vec<Case> {
    let host = |name: &str, host: &str, route: &str| {
        case(
            name,
            get("/rest").host(host),
            &[&format!("log route {route}")],
        )
    };
    vec![
        host("host suffix", "x.wild.test", "\"suffix\""),
        host("host longest suffix", "x.very.wild.test", "\"longer\""),
        host(
            "host suffix needs something before it",
            ".wild.test",
            "\"rest\"",
        )
        .differs(
            "no host has an empty label (RFC 1035 section 3.1): what two readers may read as two hosts is refused",
            &["status 400", "log details \"http.invalid_authority\"", "reached 0 times"],
        ),
        host("host suffix without a dot", "left-dash.test", "\"suffix\""),
        host("host prefix", "front.example", "\"front\""),
        host("host with a port is another", "a.test:81", "\"rest\""),
        host("host with its port", "port.test:8080", "\"port\""),
        host("host without the port", "port.test", "\"rest\""),
        host("host in any case", "uPPER.tEST", "\"upper\""),
        host("host in brackets", "[2001:db8::1]:80", "\"six\""),
        host("host with a trailing dot", "a.test.", "\"rest\""),
        case(
            "tls required",
            get("/x?y=1").host("tls.test"),
            &[
                "status 301",
                "header location: https://tls.test/x?y=1",
                "log details ",
            ],
        ),
        case(
            "tls required and a port",
            post("/x", "b").host("tls.test"),
            &["status 301"],
        ),
        case(
            "weights",
            get("/weights"),
            &["log cluster \"two\"", "body \"two\""],
        ),
        case(
            "weighted cluster with its headers",
            get("/header-weights"),
            &[
                "upstream one header x-side: one",
                "header x-chosen: one",
                "upstream one header host: weighted.test",
            ],
        ),
        case(
            "cluster by header",
            get("/by-header").header("x-cluster", "two"),
            &["log cluster \"two\""],
        ),
        case(
            "cluster by a header that names nothing",
            get("/by-header").header("x-cluster", "nope"),
            &[
                "status 503",
                "log flags \"NC\"",
                "log details \"cluster_not_found\"",
            ],
        ),
        case(
            "cluster by a header that is missing",
            get("/by-header"),
            &["status "],
        ),
        case(
            "missing cluster",
            get("/missing"),
            &["status 503 Service Unavailable", "log flags \"NC\""],
        ),
        case(
            "missing cluster as 404",
            get("/gone"),
            &["status 404", "log flags \"NC\""],
        ),
        case("missing cluster as 500", get("/broken"), &["status 500"]),
        case(
            "no endpoint",
            get("/empty"),
            &[
                "status 503",
                "body \"no healthy upstream\"",
                "log flags \"UH\"",
                "log details \"no_healthy_upstream\"",
            ],
        ),
        case("no forwarding", get("/stop"), &["status "]),
    ]
}
