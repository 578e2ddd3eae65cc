use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const NORMALIZE: Policy = Policy {
    normalize_path: true,
    ..DEFAULT
};
const MERGE: Policy = Policy {
    merge_slashes: true,
    ..NORMALIZE
};
const DECODE_AND_MERGE: Policy = Policy {
    escaped_slashes: EscapedSlashes::UnescapeAndForward,
    ..MERGE
};
const DEFAULT: Policy = Policy {
    normalize_path: false,
    merge_slashes: false,
    escaped_slashes: EscapedSlashes::Keep,
    fragment: Fragment::Reject,
    underscores: Underscores::Allow,
    strip_port: StripPort::Keep,
    strip_trailing_dot: false,
};

fn path(path: &str, policy: &Policy) -> Result<(String, Verdict), Rejection> {
    let mut request = Request::get("a", path.as_bytes().to_vec());
    let verdict = apply(&mut request, policy)?;
    Ok((
        String::from_utf8(request.path.to_vec()).expect("text"),
        verdict,
    ))
}

#[track_caller]
fn check(policy: &Policy, cases: &[(&str, &str)]) {
    for (before, after) in cases {
        assert_eq!(
            path(before, policy),
            Ok(((*after).to_owned(), Verdict::Continue)),
            "{before}"
        );
    }
}

#[test]
fn without_a_policy_a_path_stays() {
    for before in ["/", "/a//b/../c/%2e%2E/%2f\\x;y?z=/../", "/%zz%", "/a?b?c"] {
        check(&DEFAULT, &[(before, before)]);
    }
}

#[test]
fn normalisation_as_envoy_does_it() {
    check(
        &NORMALIZE,
        &[
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../..", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a/b/../../c", "/c"),
            ("/a/b/../../../c", "/c"),
            ("/a//../b", "/a/b"),
            ("/a/...", "/a/..."),
            ("/a/..b", "/a/..b"),
            ("/a/.b", "/a/.b"),
            ("/a./b", "/a./b"),
            ("/a../b", "/a../b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/file.txt", "/file.txt"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e./b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a/%2ehidden", "/a/.hidden"),
            ("/%61dmin", "/admin"),
            ("/%41%7e%2d%5f%30", "/A~-_0"),
            ("/%252e%252e/b", "/%252e%252e/b"),
            ("/a%2fb%2Fc", "/a%2fb%2Fc"),
            ("/a%5cb", "/a%5cb"),
            ("/a\\b", "/a/b"),
            ("/a\\..\\b", "/b"),
            ("/a/..\\b", "/b"),
            ("/a//b", "/a//b"),
            ("/a;params/b", "/a;params/b"),
            ("/a/..;/b", "/a/..;/b"),
            ("/a|b", "/a%7Cb"),
            ("/a\"<>^`{}b", "/a%22%3C%3E%5E%60%7B%7Db"),
            ("/\u{e4}", "/%C3%A4"),
            ("/%c3%a4", "/%c3%a4"),
            ("/a%20b%7c", "/a%20b%7c"),
            ("/a%3fb", "/a%3fb"),
            ("/a%23b", "/a%23b"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz", "/%zz"),
            ("/a?b=/../c\\%61|", "/a?b=/../c\\%61|"),
            ("/a/..?b", "/?b"),
            ("/[x]@!$&'()*+,;=:", "/[x]@!$&'()*+,;=:"),
        ],
    );
}

#[test]
fn nested_escapes_do_not_appear() {
    check(
        &NORMALIZE,
        &[
            ("/%%32e%%32e/a", "/%252e%252e/a"),
            ("/%2%65", "/%252e"),
            ("/%%32%66", "/%252f"),
            ("/%%%32e", "/%%252e"),
            ("/%%61", "/%a"),
            ("/%%61z", "/%az"),
        ],
    );
}

#[test]
fn encoded_nul_is_refused() {
    assert_eq!(path("/a%00b", &NORMALIZE), Err(Rejection::EncodedNul));
    check(&NORMALIZE, &[("/a?%00", "/a?%00")]);
}

#[test]
fn slashes_are_merged_after_normalisation() {
    check(
        &MERGE,
        &[
            ("//", "/"),
            ("//a", "/a"),
            ("/a//b///c", "/a/b/c"),
            ("/a//", "/a/"),
            ("/a//?b//c", "/a/?b//c"),
            ("/a\\/b", "/a/b"),
            ("/a/.//b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("/a%2f/b", "/a%2f/b"),
        ],
    );
    let merge_only = Policy {
        merge_slashes: true,
        ..DEFAULT
    };
    check(&merge_only, &[("/a//../b", "/a/../b"), ("//%2e", "/%2e")]);
}

#[test]
fn escaped_slashes() {
    check(
        &DECODE_AND_MERGE,
        &[
            ("/a%2fb", "/a/b"),
            ("/a%2F%2fb", "/a/b"),
            ("/a%5Cb", "/a/b"),
            ("/a%5c..%2fb", "/b"),
            ("/a%2f..%2fb", "/b"),
            ("/a%2f%2e%2e%2fb", "/b"),
            ("/a%252fb", "/a%252fb"),
            ("/a?%2f", "/a?%2f"),
        ],
    );
    let with = |escaped_slashes| Policy {
        escaped_slashes,
        ..NORMALIZE
    };
    let reject = with(EscapedSlashes::Reject);
    for bad in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a%5C"] {
        assert_eq!(path(bad, &reject), Err(Rejection::EscapedSlash), "{bad}");
    }
    check(&reject, &[("/a%2eb", "/a.b"), ("/a?%2f", "/a?%2f")]);
    let redirect = with(EscapedSlashes::UnescapeAndRedirect);
    assert_eq!(
        path("/a%2f..%2fb?c", &redirect),
        Ok(("/b?c".to_owned(), Verdict::Redirect))
    );
    check(&redirect, &[("/a/../b", "/b"), ("/a?%2f", "/a?%2f")]);
    assert_eq!(
        path("//example.org%2f", &redirect),
        Err(Rejection::EscapedSlash),
        "open redirect"
    );
    assert_eq!(
        path("/%2fexample.org", &redirect),
        Err(Rejection::EscapedSlash),
        "open redirect"
    );
}

#[test]
fn fragments() {
    for bad in ["/a#b", "/a?b#c", "/#", "/a#?b"] {
        assert_eq!(path(bad, &DEFAULT), Err(Rejection::Fragment), "{bad}");
    }
    let strip = Policy {
        fragment: Fragment::Strip,
        ..NORMALIZE
    };
    check(
        &strip,
        &[
            ("/a#b", "/a"),
            ("/a?b#c", "/a?b"),
            ("/a/../b#/../c", "/b"),
            ("/#", "/"),
        ],
    );
}

#[test]
fn paths_that_are_none() {
    for bad in [
        "",
        "a",
        "*",
        "\\a",
        "/a b",
        "/a\tb",
        "/a\0",
        "/a\r\nb: c",
        "/a?b c",
        "/a?b\n",
        "/a\u{7f}",
    ] {
        assert_eq!(path(bad, &DEFAULT), Err(Rejection::Path), "{bad:?}");
    }
    let mut request = Request::get("a", "*");
    request.method = Method::OPTIONS;
    assert_eq!(apply(&mut request, &Policy::EDGE), Ok(Verdict::Continue));
    assert_eq!(request.path, "*");
    let mut request = Request::get("a:1", "");
    request.method = Method::CONNECT;
    assert_eq!(apply(&mut request, &Policy::EDGE), Ok(Verdict::Continue));
}

fn hosts(authority: &'static str, policy: &Policy) -> Result<(String, String), Rejection> {
    let mut request = Request::get(authority, "/");
    apply(&mut request, policy)?;
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    Ok((text(request.host), text(request.authority)))
}

#[test]
fn host_is_lower_case_without_port() {
    let dot = Policy {
        strip_trailing_dot: true,
        ..DEFAULT
    };
    let any = Policy {
        strip_port: StripPort::Any,
        ..DEFAULT
    };
    let matching = Policy {
        strip_port: StripPort::Matching(80),
        ..DEFAULT
    };
    let all = Policy {
        strip_port: StripPort::Any,
        ..dot
    };
    let cases = [
        (DEFAULT, "a.b", "a.b", "a.b"),
        (DEFAULT, "A.b:80", "a.b", "A.b:80"),
        (DEFAULT, "a.b.:80", "a.b.", "a.b.:80"),
        (DEFAULT, "[::1]:80", "[::1]", "[::1]:80"),
        (dot, "A.b.:80", "a.b", "A.b:80"),
        (dot, "a.b.", "a.b", "a.b"),
        (dot, "a.b", "a.b", "a.b"),
        (any, "a.b:81", "a.b", "a.b"),
        (matching, "a.b:80", "a.b", "a.b"),
        (matching, "a.b:81", "a.b", "a.b:81"),
        (all, "A.b.:81", "a.b", "A.b"),
    ];
    for (policy, authority, host, rest) in cases {
        assert_eq!(
            hosts(authority, &policy),
            Ok((host.to_owned(), rest.to_owned())),
            "{authority}"
        );
    }
    for bad in ["a,b", "u@a", "a b", "a..b", "a:0", "a:b", "[::1"] {
        assert_eq!(hosts(bad, &DEFAULT), Err(Rejection::Authority), "{bad}");
    }
    assert_eq!(hosts("", &DEFAULT), Err(Rejection::AuthorityMissing));
    let mut request = Request::get("", "/");
    request.version = Version::HTTP_10;
    assert_eq!(apply(&mut request, &DEFAULT), Ok(Verdict::Continue));
    let mut request = Request::get("a:80", "");
    request.method = Method::CONNECT;
    assert_eq!(apply(&mut request, &any), Ok(Verdict::Continue));
    assert_eq!(
        (request.host, request.authority),
        ("a".into(), "a:80".into())
    );
}

#[test]
fn canonical_requests_are_not_copied() {
    let whole = Bytes::from_static(b"example.com:80/a/.b/c.d?e=%2f");
    let mut request = Request::get(whole.slice(..14), whole.slice(14..));
    assert_eq!(
        apply(&mut request, &DECODE_AND_MERGE),
        Ok(Verdict::Continue)
    );
    assert_eq!(request.host.as_ptr(), whole.as_ptr());
    assert_eq!(request.path.as_ptr(), whole[14..].as_ptr());
}

#[test]
fn underscores_in_names() {
    let request = || {
        let mut request = Request::get("a", "/");
        request.headers.append(
            HeaderName::from_static("x_user"),
            HeaderValue::from_static("b"),
        );
        request.headers.append(
            HeaderName::from_static("x-user"),
            HeaderValue::from_static("c_d"),
        );
        request
    };
    let apply_with = |underscores| {
        let mut request = request();
        let policy = Policy {
            underscores,
            ..DEFAULT
        };
        apply(&mut request, &policy).map(|_| request.headers.len())
    };
    assert_eq!(apply_with(Underscores::Allow), Ok(2));
    assert_eq!(apply_with(Underscores::AllowUnlessFraming), Ok(2));
    assert_eq!(apply_with(Underscores::Reject), Err(Rejection::Underscore));
    assert_eq!(apply_with(Underscores::Drop), Ok(1));
    assert_eq!(apply_with(Underscores::DropUnlessFraming), Ok(1));
    for underscores in [
        Underscores::AllowUnlessFraming,
        Underscores::DropUnlessFraming,
    ] {
        for name in ["content_length", "transfer_encoding"] {
            let mut request = request();
            request
                .headers
                .append(HeaderName::from_static(name), HeaderValue::from_static("0"));
            let policy = Policy {
                underscores,
                ..DEFAULT
            };
            assert_eq!(
                apply(&mut request, &policy),
                Err(Rejection::Underscore),
                "{name}"
            );
        }
    }
}

proptest! {
    #[test]
    fn twice_is_once(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "/", "\\", ".", "..", "%2e", "%2E", "%2f", "%5C", "%", "%%", "2", "e", "f", "a", "%61", "%32", "%25", "%00", "?",
                "#", "|", "\u{e4}", ";", "5", "c", "%65", "%66",
            ]),
            0..14,
        ),
    ) {
        fuzz_canonical(format!("/{}", words.concat()).as_bytes());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        fuzz_canonical(&bytes);
    }

    #[test]
    fn random_authorities_settle(authority in "[a-zA-Z0-9.:\\[\\]_-]{0,12}") {
        fuzz_canonical(format!("{authority}\n/").as_bytes());
    }

    /// The fast path and the slow one agree about what needs no change.
    #[test]
    fn what_the_scan_lets_pass_needs_no_rewriting(path in "/[a-z./\\\\%2eEfF|?]{0,16}") {
        let policies = [NORMALIZE, MERGE, DECODE_AND_MERGE];
        for policy in policies {
            if !path::scan(path.as_bytes(), &policy).suspicious {
                let (rewritten, _) = path::rewrite(path.as_bytes(), &policy).expect("nothing to refuse");
                prop_assert_eq!(rewritten, path.as_bytes());
            }
        }
    }
}
