//! What routes of fields ask for.

use http::{HeaderName, HeaderValue};

use super::*;

#[test]
fn hosts_with_wildcards_and_ports() {
    for (host, good, bad) in [
        (
            "a.com",
            &["a.com", "A.COM", "a.com:80"][..],
            &["b.a.com", "a.com.x", "xa.com"][..],
        ),
        ("A.com", &["a.com"], &[]),
        ("*.a.com", &["b.a.com", "c.b.a.com"], &["a.com", "ba.com"]),
        ("a.*", &["a.com", "a.b.c"], &["a", "b.a.com"]),
        ("a.com:80", &["a.com:80"], &["a.com", "a.com:8080"]),
        ("*.a.com:80", &["b.a.com:80"], &["b.a.com"]),
        // The port of the listener counts where the request names none.
        ("a.com:8000", &["a.com", "a.com:8000"], &["a.com:80"]),
        ("[::1]:80", &["[::1]:80"], &["[::1]", "[::2]:80"]),
        ("[::1]", &["[::1]:80", "[::1]"], &["[::2]"]),
    ] {
        let fields = format!("\"hosts\":[\"{host}\"]");
        for (hosts, expected) in [(good, Some(0)), (bad, None)] {
            for request in hosts {
                // The engine's canonical host is lower-case.
                let line = format!("GET http://{}/", request.to_lowercase());
                check(ORIGINAL, &[&fields], &[(&line, expected)]);
            }
        }
    }
}

#[test]
fn headers_by_value_and_pattern() {
    let fields = [r#""headers":{"X-Version":["V1","~*^v2\\.\\d$"]}"#];
    check(
        ORIGINAL,
        &fields,
        &[
            ("GET http://a/", None),
            ("GET http://a/ x-version=v1", Some(0)),
            ("GET http://a/ x-version=V2.3", Some(0)),
            ("GET http://a/ x-version=v2", None),
            // One of several is enough.
            ("GET http://a/ x-version=v9 x-version=v1", Some(0)),
            // Kong asks for `x_version`, which OpenResty finds in either spelling.
            ("GET http://a/ x_version=v1", Some(0)),
            ("GET http://a/ x_version=v9 x-version=v1", None),
        ],
    );
}

#[test]
fn paths_and_captures() {
    for (rules, fields, path, matched, captures) in [
        (ORIGINAL, r#""paths":["/a"]"#, "/ab/c", Some("/a"), &[][..]),
        (ORIGINAL, r#""hosts":["x"]"#, "/ab/c", None, &[]),
        (
            ORIGINAL,
            r#""paths":["~/a.*b"]"#,
            "/a/b/c",
            Some("/a/b"),
            &[],
        ),
        (
            ORIGINAL,
            r#""paths":["~/(?<kind>\\w+)/(\\d+)(x)?"]"#,
            "/users/42/z",
            Some("/users/42"),
            &[
                ("0", "/users/42"),
                ("1", "users"),
                ("2", "42"),
                ("kind", "users"),
            ],
        ),
        // Kong's engine keeps all captures in one place: those of headers hide those of paths.
        (
            ORIGINAL,
            r#""paths":["~/(a)(b)"],"headers":{"h":["~*(\\d)"]}"#,
            "/ab",
            Some("/ab"),
            &[("0", "7"), ("1", "7"), ("2", "b")],
        ),
        (
            EXPRESSIONS,
            r#""expression":"http.path ^= \"/a\" || http.path ^= \"/ab\"""#,
            "/abc",
            Some("/a"),
            &[],
        ),
        (
            EXPRESSIONS,
            r#""expression":"http.path =^ \"/c\"""#,
            "/a/b/c",
            Some("/c"),
            &[],
        ),
        (
            EXPRESSIONS,
            r#""expression":"http.path ~ \"b/(.)\"""#,
            "/a/b/c",
            Some("b/c"),
            &[("0", "b/c"), ("1", "c")],
        ),
        (
            EXPRESSIONS,
            r#""expression":"lower(http.path) == \"/a\"""#,
            "/A",
            Some("/a"),
            &[],
        ),
    ] {
        let router = table(rules, &[fields]);
        let asked = Asked::new(&format!("GET http://x{path} h=7"));
        let lookup = asked.lookup();
        let found = router.find(&lookup).expect(fields);
        assert_eq!(found.path().as_deref(), matched, "{fields}");
        let found = found.captures().unwrap_or_default();
        let mut listed: Vec<_> = found.iter().collect();
        listed.sort_unstable();
        assert_eq!(listed, captures, "{fields}");
        for (name, value) in captures {
            assert_eq!(found.get(name), Some(*value), "{fields}");
        }
    }
}

#[test]
fn streams_find_their_routes() {
    let router = table(
        ORIGINAL,
        &[
            r#""protocols":["tcp"],"destinations":[{"port":9000}]"#,
            r#""protocols":["tcp"],"sources":[{"ip":"10.0.0.0/8"}],"destinations":[{"port":9000}]"#,
            r#""protocols":["tls"],"snis":["a.com"]"#,
            r#""protocols":["tls_passthrough"],"snis":["*.b.com"]"#,
            r#""protocols":["http"],"paths":["/"]"#,
        ],
    );
    let ask = |protocol, sni, source: &str, port: u16| {
        let lookup = Lookup {
            protocol,
            sni,
            source: source.parse().unwrap(),
            destination: ([1, 1, 1, 1], port).into(),
            http: None,
        };
        router.find(&lookup).map(|found| {
            assert_eq!((found.path(), found.captures()), (None, None));
            *found.payload
        })
    };
    for (protocol, sni, source, port, expected) in [
        (Protocol::Tls, Some("a.com"), "9.9.9.9:1", 443, Some(2)),
        (Protocol::Tls, Some("x.b.com"), "9.9.9.9:1", 443, Some(3)),
        (Protocol::Tls, Some("c.com"), "9.9.9.9:1", 443, None),
        (Protocol::Tls, Some("c.com"), "9.9.9.9:1", 9000, Some(0)),
        // Both ends count more than a name.
        (Protocol::Tls, Some("a.com"), "10.9.9.9:1", 9000, Some(1)),
        // As in Kong, a plain client passes what asks for a server's name.
        (Protocol::Tcp, None, "9.9.9.9:1", 9000, Some(3)),
    ] {
        assert_eq!(
            ask(protocol, sni, source, port),
            expected,
            "{protocol:?} {sni:?} {source} {port}"
        );
    }
}

#[test]
fn what_is_no_text_finds_no_route() {
    let router = table(ORIGINAL, &[r#""hosts":["a"]"#, r#""paths":["/"]"#]);
    let mut asked = Asked::new("GET http://a/");
    let path = [b'/', 0xff];
    let mut lookup = asked.lookup();
    if let Some(http) = &mut lookup.http {
        http.path = &path;
    }
    assert!(router.find(&lookup).is_none());
    // Nobody reads the path here, nor the header.
    let router = table(ORIGINAL, &[r#""hosts":["a"]"#]);
    assert!(router.find(&lookup).is_some());
    let value = HeaderValue::from_bytes(b"\xff").unwrap();
    asked.headers.append(HeaderName::from_static("h"), value);
    assert!(router.find(&asked.lookup()).is_some());
    let router = table(ORIGINAL, &[r#""hosts":["a"]"#, r#""headers":{"h":["1"]}"#]);
    assert!(router.find(&asked.lookup()).is_none());
}

/// A table whose hosts and paths multiply is listed by hosts alone.
#[test]
fn many_hosts_and_many_paths() {
    let hosts: Vec<Value> = (0..300).map(|at| format!("h{at}").into()).collect();
    let paths: Vec<Value> = (100..400).map(|at| format!("/p{at}").into()).collect();
    let fields = object_of(&[("hosts", hosts.into()), ("paths", paths.into())]);
    check(
        ORIGINAL,
        &[&fields],
        &[
            ("GET http://h299/p399/x", Some(0)),
            ("GET http://h299/p400", None),
            ("GET http://h300/p399", None),
        ],
    );
}

/// More nested prefixes than the trie remembers on its way.
#[test]
fn many_prefixes_of_one_path() {
    let fields: Vec<_> = (1..=100)
        .map(|length| {
            let method = if length % 7 == 0 { "PUT" } else { "GET" };
            format!(
                "\"paths\":[\"/{}\"],\"methods\":[\"{method}\"]",
                "a".repeat(length)
            )
        })
        .collect();
    let fields: Vec<_> = fields.iter().map(String::as_str).collect();
    let router = table(ORIGINAL, &fields);
    for length in [1, 31, 32, 33, 64, 65, 70, 97, 98, 99, 100, 150] {
        for method in ["PUT", "GET"] {
            let line = format!("{method} http://x/{}", "a".repeat(length));
            let longest = (1..=length.min(100)).rev();
            let mut mine = longest.filter(|length| (length % 7 == 0) == (method == "PUT"));
            assert_eq!(
                find(&router, &line),
                mine.next().map(|length| length - 1),
                "{line}"
            );
        }
    }
}
