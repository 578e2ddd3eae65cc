//! Paths in Kong's normal form, and how they become those of services.

use super::*;

fn text(bytes: Cow<'_, [u8]>) -> String {
    String::from_utf8(bytes.into_owned()).unwrap()
}

/// Kong's answers, but for the last two.
#[test]
fn paths_become_normal_and_are_escaped_again() {
    for (path, normal, escaped) in [
        ("", "", ""),
        ("/", "/", "/"),
        ("*", "*", "*"),
        ("/a/b.c", "/a/b.c", "/a/b.c"),
        ("/a/../../b", "/b", "/b"),
        ("/a/./b/.", "/a/b/", "/a/b/"),
        ("/a/b/..", "/a/", "/a/"),
        ("/..a/.b/...", "/..a/.b/...", "/..a/.b/..."),
        ("//a///b//", "/a/b/", "/a/b/"),
        ("/%2e%2E/a", "/a", "/a"),
        ("/a%2f..%2Fb", "/a%2F..%2Fb", "/a%2F..%2Fb"),
        ("/a/%2e%2e%2fb", "/a/..%2Fb", "/a/..%2Fb"),
        ("/%41%7e%20%c3%a9%00", "/A~ é\0", "/A~%20%C3%A9%00"),
        ("/a%25%32%65", "/a%252e", "/a%252e"),
        ("/%", "/%", "/%"),
        ("/a%2", "/a%2", "/a%2"),
        ("/%zz", "/%zz", "/%zz"),
        ("/a;b/..;/c", "/a;b/..;/c", "/a;b/..;/c"),
        ("/./", "/", "/"),
        ("/.", "/", "/"),
        ("/..", "/", "/"),
        ("/../..", "/", "/"),
        ("/a//../b", "/b", "/b"),
        ("/a\\..\\b", "/a\\..\\b", "/a%5C..%5Cb"),
        ("/%5C%2e%2e/", "/\\../", "/%5C../"),
        ("/a%3F%23b", "/a%3F%23b", "/a%3F%23b"),
        ("/.%2e/x", "/x", "/x"),
        ("/a/%%32e%%32e/b", "/a/%252e%252e/b", "/a/%252e%252e/b"),
        ("/%%%32%65", "/%%252e", "/%%252e"),
    ] {
        let found = normalize(path.as_bytes());
        assert_eq!(text(found.clone()), normal, "{path}");
        assert_eq!(text(escape(&found)), escaped, "{path}");
        assert_eq!(text(normalize(normal.as_bytes())), normal, "{path} twice");
    }
}

#[test]
fn what_goes_up_is_normal_for_who_decodes_it() {
    let mut random = fastrand::Rng::with_seed(5);
    let pieces = [
        "/", "%", ".", "%2e", "2", "e", "5", "%2f", "%25", "a", "%32", "%65", "//", "\\",
    ];
    for _ in 0..50_000 {
        let mut path = String::from("/");
        for _ in 0..random.usize(..12) {
            path.push_str(random.choice(pieces).unwrap());
        }
        let once = normalize(path.as_bytes());
        assert_eq!(normalize(&once), once, "{path}");
        let up = escape(&once);
        assert_eq!(normalize(&up), once, "{path}");
        let segments = up.split(|byte| *byte == b'/');
        for segment in segments {
            let decoded = decode(segment);
            assert!(!matches!(&*decoded, b"." | b".."), "{path}");
        }
    }
}

/// Kong's answers: service, route, then request, upstream without and with `strip_path`.
#[test]
fn paths_of_service_and_request_become_one() {
    type Row = (&'static str, &'static str, &'static str);
    let tables: &[(&str, &str, &[Row])] = &[
        (
            "/",
            "",
            &[("/", "/", "/"), ("/r", "/r", "/r"), ("/r/", "/r/", "/r/")],
        ),
        (
            "/",
            "/",
            &[
                ("/", "/", "/"),
                ("/r", "/r", "/r"),
                ("/r/", "/r/", "/r/"),
                ("/r/x", "/r/x", "/r/x"),
            ],
        ),
        (
            "/",
            "/r",
            &[
                ("/r", "/r", "/"),
                ("/r/", "/r/", "/"),
                ("/rx", "/rx", "/x"),
                ("/r/x", "/r/x", "/x"),
                ("/r./x", "/r./x", "/x"),
                ("/r../x", "/r../x", "/x"),
                ("/r..", "/r..", "/"),
                ("/r.", "/r.", "/"),
            ],
        ),
        (
            "/",
            "/r/",
            &[
                ("/r/", "/r/", "/"),
                ("/r/x", "/r/x", "/x"),
                ("/r/x/", "/r/x/", "/x/"),
            ],
        ),
        (
            "/s",
            "",
            &[
                ("/", "/s", "/s"),
                ("/r", "/s/r", "/s/r"),
                ("/r/", "/s/r/", "/s/r/"),
            ],
        ),
        (
            "/s",
            "/",
            &[
                ("/", "/s", "/s"),
                ("/r", "/s/r", "/s/r"),
                ("/r/", "/s/r/", "/s/r/"),
                ("/r/x", "/s/r/x", "/s/r/x"),
            ],
        ),
        (
            "/s",
            "/r",
            &[
                ("/r", "/s/r", "/s"),
                ("/r/", "/s/r/", "/s/"),
                ("/rx", "/s/rx", "/s/x"),
                ("/r/x", "/s/r/x", "/s/x"),
                ("/r./x", "/s/r./x", "/s/x"),
                ("/r../x", "/s/r../x", "/s/x"),
                ("/r..", "/s/r..", "/s"),
            ],
        ),
        (
            "/s",
            "/r/",
            &[
                ("/r/", "/s/r/", "/s/"),
                ("/r/x", "/s/r/x", "/s/x"),
                ("/r/x/", "/s/r/x/", "/s/x/"),
            ],
        ),
        (
            "/s/",
            "",
            &[
                ("/", "/s/", "/s/"),
                ("/r", "/s/r", "/s/r"),
                ("/r/", "/s/r/", "/s/r/"),
            ],
        ),
        (
            "/s/",
            "/",
            &[
                ("/", "/s/", "/s/"),
                ("/r", "/s/r", "/s/r"),
                ("/r/", "/s/r/", "/s/r/"),
                ("/r/x", "/s/r/x", "/s/r/x"),
            ],
        ),
        (
            "/s/",
            "/r",
            &[
                ("/r", "/s/r", "/s"),
                ("/r/", "/s/r/", "/s/"),
                ("/rx", "/s/rx", "/s/x"),
                ("/r/x", "/s/r/x", "/s/x"),
                ("/r../x", "/s/r../x", "/s/x"),
                ("/r.", "/s/r.", "/s"),
            ],
        ),
        (
            "/s/",
            "/r/",
            &[
                ("/r/", "/s/r/", "/s/"),
                ("/r/x", "/s/r/x", "/s/x"),
                ("/r/x/", "/s/r/x/", "/s/x/"),
            ],
        ),
    ];
    for (service, route, rows) in tables {
        let matched = (!route.is_empty()).then_some(route.len());
        for (request, kept, without) in *rows {
            for (strip_path, expected) in [(false, kept), (true, without)] {
                let stripped = stripped(strip_path, matched);
                let found = upstream(
                    service.as_bytes(),
                    request.as_bytes(),
                    stripped,
                    PathHandling::V0,
                );
                let case = format!("{service} {route} {request} {strip_path}");
                assert_eq!(text(found), *expected, "{case}");
            }
        }
    }
    assert_eq!(text(upstream(b"", b"/a", None, PathHandling::V0)), "/a");
}

/// What a service may read as another path, and what it may not. What Kong would send on is in the comment.
#[test]
fn paths_that_services_may_read_otherwise() {
    let ambiguous = [
        "/public%2f..%2fsecret", // as it is
        "/public%2F..",
        "/public/..%2fsecret",
        "/public/%2e%2e%2fsecret",
        "/public%5c..%5csecret",
        "/public\\..\\secret",
        "/public\\.\\secret",
        "/public\\../secret",
        "/public/..\\secret",
        "/public/..;/secret",
        "/public/..;a=b/secret",
        "/public/.;/secret",
        "/public/..%3b/secret",
        "/a%00",
        "/a%00.html",
    ];
    for path in ambiguous {
        assert!(is_ambiguous(path.as_bytes()), "{path}");
    }
    let clear = [
        "",
        "/",
        "*",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/..",
        "/api/queues/%2F/name",
        "/projects/group%2Fproject/raw/a..b",
        "/@scope%2fpackage",
        "/%2fa/...%2f",
        "/..a%2F.b%2Fc..",
        "/a;b=c/d",
        "/a;../b",
        "/dir\\file.txt",
        "/100%",
        "/a%252f..%252fb",
    ];
    for path in clear {
        assert!(!is_ambiguous(path.as_bytes()), "{path}");
    }
}

/// What is left behind a prefix is no dot segment for anybody.
#[test]
fn what_a_prefix_leaves_is_no_dot_segment() {
    for (rest, expected) in [
        ("", ""),
        (".", ""),
        ("..", ""),
        ("./x", "x"),
        ("../x", "x"),
        ("..\\x", "x"),
        ("..%2Fx", "x"),
        ("..;a/x", ";a/x"),
        ("...", "..."),
        ("..x", "..x"),
        (".x/", ".x/"),
        ("/x", "/x"),
    ] {
        assert_eq!(sanitized(rest.as_bytes()), expected.as_bytes(), "{rest}");
    }
}
