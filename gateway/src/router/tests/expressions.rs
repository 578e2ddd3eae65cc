//! Routes of expressions.

use super::*;

#[test]
fn expressions_by_their_own_rules() {
    for (expression, good, bad) in [
        // `||` binds tighter than `&&`.
        (
            r#"http.path == "/a" || http.path == "/b" && http.method == "GET""#,
            "GET http://x/a",
            "PUT http://x/a",
        ),
        (
            r#"!(http.path == "/a")"#,
            "GET http://x/b",
            "GET http://x/a",
        ),
        // What is missing passes nothing, not even `!=`.
        (
            r#"http.headers.a != "1""#,
            "GET http://x/ a=2",
            "GET http://x/",
        ),
        // All values have to pass, unless any may.
        (
            r#"http.headers.a == "1""#,
            "GET http://x/ a=1 a=1",
            "GET http://x/ a=1 a=2",
        ),
        (
            r#"any(http.headers.a) == "1""#,
            "GET http://x/ a=2 a=1",
            "GET http://x/ a=2",
        ),
        (
            r#"lower(http.headers.a) == "b""#,
            "GET http://x/ a=B",
            "GET http://x/ a=C",
        ),
        (
            r#"http.headers.host == "x""#,
            "GET http://x/",
            "GET http://y/",
        ),
        (
            r#"http.queries.q == "a b""#,
            "GET http://x/?q=a+b",
            "GET http://x/?q=ab",
        ),
        (
            r#"http.queries.q == """#,
            "GET http://x/?q",
            "GET http://x/?p",
        ),
        (
            "http.path.segments.len == 2",
            "GET http://x/a/b/",
            "GET http://x/a",
        ),
        (
            r#"http.path.segments.1_2 == "b/c""#,
            "GET http://x/a/b/c",
            "GET http://x/a/b",
        ),
        (
            r#"http.path.segments.0 contains "x""#,
            "GET http://x/axb",
            "GET http://x/a/x",
        ),
        ("net.port == 81", "GET http://x:81/", "GET http://x/"),
        (
            "net.dst.port >= 8000 && net.src.ip in 10.0.0.0/8",
            "GET http://x/",
            "GET http://x:80/",
        ),
        (
            r#"http.host == "Example.COM""#,
            "GET http://example.com/",
            "GET http://example.org/",
        ),
        (
            r#"tls.sni =^ ".com""#,
            "GET https://a.com/",
            "GET http://a.com/",
        ),
    ] {
        let fields = object_of(&[("expression", expression.into())]);
        check(EXPRESSIONS, &[&fields], &[(good, Some(0)), (bad, None)]);
    }
}

#[test]
fn expressions_have_priorities_and_protocols() {
    check(
        EXPRESSIONS,
        &[
            r#""expression":"http.path ^= \"/\"","priority":1"#,
            r#""expression":"http.path ^= \"/a\"","priority":2"#,
            // Routes of fields come last, however much they ask for.
            r#""hosts":["x"],"paths":["/a"],"methods":["GET"],"headers":{"h":["1"]}"#,
            r#""expression":"http.path ^= \"/b\"","priority":3,"protocols":["http"]"#,
            // Of HTTPS alone: plain requests come, and are redirected.
            r#""expression":"http.path ^= \"/c\"","priority":3,"protocols":["https"]"#,
            r#""expression":"http.path ^= \"/d\"","priority":3,"protocols":["grpcs"]"#,
            // One more condition, not the last part of an alternative.
            r#""expression":"http.path ^= \"/e\" || http.path ^= \"/f\"","priority":3,"protocols":["http"]"#,
        ],
        &[
            ("GET http://x/ h=1", Some(0)),
            ("GET http://x/a h=1", Some(1)),
            ("GET http://x/b", Some(3)),
            ("GET https://x/b", Some(0)),
            ("GET http://x/c", Some(4)),
            ("GET http://x/d", Some(0)),
            ("GET https://x/d", Some(5)),
            ("GET http://x/e", Some(6)),
            ("GET https://x/e", Some(0)),
        ],
    );
}

#[test]
fn expressions_cannot_exhaust_the_stack() {
    let nested = |depth: usize| {
        format!(
            "{}http.path == \"/\"{}",
            "(".repeat(depth),
            ")".repeat(depth)
        )
    };
    let long = |count: usize| vec!["http.path == \"/a\""; count].join(" || ");
    for (expression, good) in [
        (nested(64), true),
        (nested(65), false),
        (nested(100_000), false),
        (long(2_000), true),
        (long(100_000), false),
    ] {
        let fields = object_of(&[("expression", expression.into())]);
        let result = super::super::check(EXPRESSIONS, &route(1, &fields));
        assert_eq!(result.is_ok(), good, "{result:?}");
    }
}
