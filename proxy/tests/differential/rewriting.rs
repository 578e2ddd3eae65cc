//! What a route makes of the request: rewrites, redirects, answers of its own.

use serde_json::{Value, json};

use super::{routes, to};
use crate::case::{Case, PORT, Table, case};
use crate::support::config::{cluster, extension, listener, manager, virtual_host};
use crate::support::http1::{get, post, request};
use crate::support::upstream::reply;

#[test]
fn rewriting() {
    let mut table = Table::new("rewriting", &["one", "two"]);
    let ports = table.ports(&[0, 1]);
    table.resources = Box::new(move |place| {
        let filter = manager(
            "rewriting",
            json!([virtual_host("all", &["*"], all_routes())]),
            Vec::new(),
            json!({}),
        );
        let mut named = cluster("named", &[ports[0]], json!({}));
        named["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["hostname"] =
            "host.of.endpoint".into();
        (
            vec![listener(place, "rewriting", PORT, vec![filter])],
            vec![
                cluster("one", &ports[..1], json!({})),
                cluster("two", &ports[1..], json!({})),
                named,
            ],
        )
    });
    table.cases = [rewrites(), redirects(), direct()]
        .into_iter()
        .flatten()
        .collect();
    table.run();
}

fn all_routes() -> Value {
    let substitute =
        |pattern: &str, by: &str| json!({"pattern": {"regex": pattern}, "substitution": by});
    let redirect = |prefix: &str, action: Value| json!({"name": prefix, "match": {"prefix": prefix}, "redirect": action});
    let direct = |prefix: &str, action: Value| json!({"name": prefix, "match": {"prefix": prefix}, "direct_response": action});
    json!([
        routes(
            "w-prefix",
            json!({"prefix": "/old/"}),
            json!({"cluster": "one", "prefix_rewrite": "/new/"})
        ),
        routes(
            "w-root",
            json!({"prefix": "/root"}),
            json!({"cluster": "one", "prefix_rewrite": "/"})
        ),
        routes(
            "w-exact",
            json!({"path": "/exact"}),
            json!({"cluster": "one", "prefix_rewrite": "/replaced"})
        ),
        routes(
            "w-any-case",
            json!({"prefix": "/Any", "case_sensitive": false}),
            json!({"cluster": "one", "prefix_rewrite": "/some"})
        ),
        routes(
            "w-regex",
            json!({"prefix": "/service/"}),
            json!({"cluster": "one", "regex_rewrite": substitute("^/service/([^/]+)(/.*)$", "\\2/instance/\\1")})
        ),
        routes(
            "w-regex-all",
            json!({"prefix": "/xx"}),
            json!({"cluster": "one", "regex_rewrite": substitute("x", "yy")})
        ),
        routes(
            "w-template",
            json!({"path_match_policy": extension(
                "envoy.path.match.uri_template.uri_template_matcher",
                "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                json!({"path_template": "/tpl/{a}/{b=**}"}))}),
            json!({"cluster": "one", "path_rewrite_policy": extension(
                "envoy.path.rewrite.uri_template.uri_template_rewriter",
                "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
                json!({"path_template_rewrite": "/{b}/of/{a}"}))})
        ),
        routes(
            "h-literal",
            json!({"prefix": "/host/literal"}),
            json!({"cluster": "one", "host_rewrite_literal": "literal.test"})
        ),
        routes(
            "h-auto",
            json!({"prefix": "/host/auto"}),
            json!({"cluster": "named", "auto_host_rewrite": true})
        ),
        routes(
            "h-header",
            json!({"prefix": "/host/header"}),
            json!({"cluster": "one", "host_rewrite_header": "x-host"})
        ),
        routes(
            "h-path",
            json!({"prefix": "/host/path"}),
            json!({"cluster": "one", "host_rewrite_path_regex": substitute("^/host/path/(.+)$", "\\1.test")})
        ),
        routes(
            "h-append",
            json!({"prefix": "/host/append"}),
            json!({"cluster": "one", "host_rewrite_literal": "literal.test", "append_x_forwarded_host": true})
        ),
        routes(
            "mirror",
            json!({"prefix": "/mirror"}),
            json!({"cluster": "one", "request_mirror_policies": [
            {"cluster": "two", "runtime_fraction": {"default_value": {"numerator": 100}}}]})
        ),
        redirect("/r/https", json!({"https_redirect": true})),
        redirect("/r/scheme", json!({"scheme_redirect": "ftp"})),
        redirect("/r/host", json!({"host_redirect": "other.test"})),
        redirect("/r/port", json!({"port_redirect": 8443})),
        redirect("/r/path", json!({"path_redirect": "/there"})),
        redirect("/r/whole", json!({"path_redirect": "/there?own=1"})),
        redirect("/r/prefix/", json!({"prefix_rewrite": "/elsewhere/"})),
        redirect(
            "/r/regex",
            json!({"regex_rewrite": substitute("/r/regex/([a-z]+)", "/found/\\1")})
        ),
        redirect(
            "/r/strip",
            json!({"path_redirect": "/bare", "strip_query": true})
        ),
        redirect(
            "/r/302",
            json!({"host_redirect": "x.test", "response_code": "FOUND"})
        ),
        redirect(
            "/r/303",
            json!({"host_redirect": "x.test", "response_code": "SEE_OTHER"})
        ),
        redirect(
            "/r/307",
            json!({"host_redirect": "x.test", "response_code": "TEMPORARY_REDIRECT"})
        ),
        redirect(
            "/r/308",
            json!({"host_redirect": "x.test", "response_code": "PERMANENT_REDIRECT"})
        ),
        redirect(
            "/r/all",
            json!({"https_redirect": true, "host_redirect": "all.test", "port_redirect": 444, "path_redirect": "/all"})
        ),
        direct(
            "/d/text",
            json!({"status": 200, "body": {"inline_string": "hello\n"}})
        ),
        direct(
            "/d/bytes",
            json!({"status": 201, "body": {"inline_bytes": "aGk="}})
        ),
        direct("/d/empty", json!({"status": 404})),
        direct("/d/teapot", json!({"status": 418})),
        direct("/d/nothing", json!({"status": 204})),
        json!({"name": "typed", "match": {"prefix": "/d/typed"}, "direct_response": {"status": 200, "body": {"inline_string": "{}"}},
            "response_headers_to_add": [{"header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]}),
        json!({"name": "format", "match": {"prefix": "/d/format"}, "direct_response": {"status": 200, "body_format":
            {"text_format_source": {"inline_string": "%REQ(:METHOD)% %RESPONSE_CODE%"}, "content_type": "text/x-own"}}}),
        to("rest", json!({"prefix": "/"}), "one"),
    ])
}

fn rewrites() -> Vec<Case> {
    let sees = |name: &str, target: &str, line: &str| {
        case(
            name,
            get(target),
            &["status 200", &format!("upstream one: GET {line} HTTP/1.1")],
        )
    };
    vec![
        sees("prefix rewritten", "/old/x?q=1", "/new/x?q=1"),
        case(
            "original path is told",
            get("/old/x"),
            &[
                "upstream one header x-envoy-original-path: /old/x",
                "log path \"/old/x\"",
            ],
        ),
        case(
            "original path of the client is replaced",
            get("/old/x").header("x-envoy-original-path", "/forged"),
            &["upstream one header x-envoy-original-path: /old/x"],
        ),
        sees("prefix rewritten to the root", "/root", "/"),
        sees("prefix rewritten to two slashes", "/root/x", "//x"),
        sees("exact path rewritten", "/exact?q", "/replaced?q"),
        sees("prefix in any case rewritten", "/aNY/x", "/some/x"),
        sees(
            "regex rewritten",
            "/service/foo/v1/api?x=/service/",
            "/v1/api/instance/foo?x=/service/",
        ),
        sees("regex rewritten everywhere", "/xx/x?x=x", "/yyyy/yy?x=x"),
        sees(
            "template rewritten",
            "/tpl/one/two/three",
            "/two/three/of/one",
        ),
        case(
            "host literal",
            get("/host/literal").host("b.test"),
            &["upstream one header host: literal.test"],
        ),
        case(
            "host of the endpoint",
            get("/host/auto"),
            &["upstream one header host: host.of.endpoint"],
        ),
        case(
            "host out of a header",
            get("/host/header").header("x-host", "from.header"),
            &["upstream one header host: from.header"],
        ),
        case(
            "host out of a header that is missing",
            get("/host/header").host("kept.test"),
            &["upstream one header host: kept.test"],
        ),
        case(
            "host out of the path",
            get("/host/path/name?x"),
            &["upstream one header host: name.test"],
        ),
        case(
            "host told on",
            get("/host/append")
                .host("first.test")
                .header("x-forwarded-host", "zero.test"),
            &["upstream one header x-forwarded-host: zero.test*first.test"],
        ),
        case(
            "mirror",
            post("/mirror", "body").host("m.test"),
            &[
                "body \"one\"",
                "upstream two: POST /mirror HTTP/1.1",
                "upstream two header host: m.test-shadow",
                "upstream two body \"body\"",
            ],
        )
        .reaches(2),
        case(
            "mirror's answer is dropped",
            get("/mirror"),
            &["body \"one\"", "status 200"],
        )
        .reaches(2)
        .script(
            1,
            vec![vec![reply("500 Internal Server Error", &[], "bad")]],
        ),
    ]
}

fn redirects() -> Vec<Case> {
    let goes = |name: &str, target: &str, status: &str, location: &str| {
        case(
            name,
            get(target).host("h.test:8080"),
            &[
                &format!("status {status}"),
                &format!("header location: {location}"),
                "log details \"direct_response\"",
                "body \"\"",
            ],
        )
    };
    vec![
        goes(
            "redirect to https",
            "/r/https?a=b",
            "301",
            "https://h.test:8080/r/https?a=b",
        ),
        goes(
            "redirect to a scheme",
            "/r/scheme",
            "301",
            "ftp://h.test:8080/r/scheme",
        ),
        goes(
            "redirect to a host",
            "/r/host/x?a",
            "301",
            "http://other.test/r/host/x?a",
        ),
        goes(
            "redirect to a port",
            "/r/port",
            "301",
            "http://h.test:8443/r/port",
        ),
        goes(
            "redirect to a path",
            "/r/path?a=b",
            "301",
            "http://h.test:8080/there?a=b",
        ),
        goes(
            "redirect to a path with a query",
            "/r/whole?a=b",
            "301",
            "http://h.test:8080/there?own=1",
        ),
        goes(
            "redirect with a prefix rewritten",
            "/r/prefix/x?a=b",
            "301",
            "http://h.test:8080/elsewhere/x?a=b",
        ),
        goes(
            "redirect with a regex rewritten",
            "/r/regex/abc?x",
            "301",
            "http://h.test:8080/found/abc?x",
        ),
        goes(
            "redirect without the query",
            "/r/strip?a=b",
            "301",
            "http://h.test:8080/bare",
        ),
        goes("redirect 302", "/r/302", "302", "http://x.test/r/302"),
        goes("redirect 303", "/r/303", "303", "http://x.test/r/303"),
        goes("redirect 307", "/r/307", "307", "http://x.test/r/307"),
        goes("redirect 308", "/r/308", "308", "http://x.test/r/308"),
        goes(
            "redirect of everything",
            "/r/all?q",
            "301",
            "https://all.test:444/all?q",
        ),
        case(
            "redirect to https drops port 80",
            get("/r/https").host("h.test:80"),
            &["header location: https://h.test/r/https"],
        ),
        case(
            "redirect of an address in brackets",
            get("/r/port").host("[::1]:80"),
            &["header location: http://[::1]:8443/r/port"],
        ),
        case(
            "redirect of a post with a body",
            post("/r/host", "abc"),
            &["status 301", "header connection: close", "log received 0"],
        ),
    ]
}

fn direct() -> Vec<Case> {
    vec![
        case(
            "direct text",
            get("/d/text"),
            &[
                "status 200",
                "body \"hello\\n\"",
                "header content-type: text/plain",
                "header content-length: 6",
                "log details \"direct_response\"",
                "reached 0 times",
            ],
        ),
        case(
            "direct bytes",
            get("/d/bytes"),
            &["status 201 Created", "body \"hi\""],
        ),
        case(
            "direct without a body",
            get("/d/empty"),
            &["status 404", "body \"\""],
        ),
        case("direct 418", get("/d/teapot"), &["status 418 Unknown"]),
        case("direct 204", get("/d/nothing"), &["status 204"]),
        case(
            "direct with its type",
            get("/d/typed"),
            &["header content-type: application/json"],
        ),
        case("direct formatted", get("/d/format"), &["status 200"]),
        case(
            "direct to HEAD",
            request("HEAD", "/d/text"),
            &["status 200", "header content-length: 6"],
        ),
        case(
            "direct to a post",
            post("/d/text", "12345"),
            &["status 200", "header connection: close", "log received 0"],
        ),
    ]
}
