//! Matchers and access rules, case by case.

use serde_json::{Value, json};

use super::{
    matching::{cidr, header, string},
    rbac::{Decision, decide},
    walk::{Ask, Direction},
};

fn ask() -> Ask {
    Ask {
        direction: Direction::Inbound,
        method: "GET".to_owned(),
        host: "a.b".to_owned(),
        port: 80,
        path: "/x/y?z=1".to_owned(),
        headers: vec![("x-a".to_owned(), "One".to_owned())],
        tls: true,
        principal: Some("spiffe://t/ns/n/sa/s".to_owned()),
        source: "10.1.2.3".parse().ok(),
    }
}

#[test]
fn texts_and_fields() {
    for (matcher, expected) in [
        (json!({"exact": "abc"}), Some(true)),
        (json!({"exact": "ABC"}), Some(false)),
        (json!({"exact": "ABC", "ignore_case": true}), Some(true)),
        (json!({"prefix": "ab"}), Some(true)),
        (json!({"suffix": "ab"}), Some(false)),
        (json!({"contains": "b"}), Some(true)),
        (json!({"safe_regex": {"regex": "a.c"}}), Some(true)),
        (json!({"safe_regex": {"regex": "b"}}), Some(false)),
        (json!({"custom": {}}), None),
    ] {
        assert_eq!(string(&matcher, "abc"), expected, "{matcher}");
    }
    for (matcher, expected) in [
        (json!({"name": "X-A"}), Some(true)),
        (json!({"name": "x-a", "present_match": false}), Some(false)),
        (json!({"name": "x-b", "present_match": false}), Some(true)),
        (
            json!({"name": "x-a", "string_match": {"exact": "One"}}),
            Some(true),
        ),
        (
            json!({"name": "x-a", "exact_match": "One", "invert_match": true}),
            Some(false),
        ),
        (
            json!({"name": ":method", "string_match": {"exact": "GET"}}),
            Some(true),
        ),
        (
            json!({"name": "x-b", "string_match": {"exact": ""}}),
            Some(false),
        ),
        (
            json!({"name": "x-b", "string_match": {"exact": ""}, "treat_missing_header_as_empty": true}),
            Some(true),
        ),
    ] {
        assert_eq!(header(&matcher, &ask()), expected, "{matcher}");
    }
}

#[test]
fn addresses() {
    for (prefix, length, expected) in [
        ("10.1.0.0", 16, Some(true)),
        ("10.2.0.0", 16, Some(false)),
        ("0.0.0.0", 0, Some(true)),
        ("10.1.2.3", 32, Some(true)),
        ("::", 0, Some(false)),
    ] {
        let range = json!({"address_prefix": prefix, "prefix_len": length});
        assert_eq!(cidr(&range, ask().source), expected, "{range}");
    }
    assert_eq!(cidr(&json!({"address_prefix": "10.0.0.0"}), None), None);
}

#[test]
fn rules() {
    let of = |action: &str, permission: Value, principal: Value| {
        let filter = json!({"rules": {"action": action, "policies": {"p": {"permissions": [permission], "principals": [principal]}}}});
        decide(&filter, &ask())
    };
    let any = || json!({"any": true});
    let me = || json!({"authenticated": {"principal_name": {"exact": "spiffe://t/ns/n/sa/s"}}});
    let token = || json!({"metadata": {"filter": "envoy.filters.http.jwt_authn"}});
    let passed = || Decision::Pass(Some("p".to_owned()));
    assert_eq!(of("ALLOW", any(), me()), passed());
    assert_eq!(
        of("ALLOW", any(), json!({"not_id": me()})),
        Decision::Deny("no ALLOW policy lets it pass: p".to_owned())
    );
    assert_eq!(
        of("DENY", any(), me()),
        Decision::Deny("policy p denies it".to_owned())
    );
    assert_eq!(
        of("DENY", json!({"destination_port": 81}), any()),
        Decision::Pass(None)
    );
    assert_eq!(of("LOG", any(), any()), Decision::Pass(None));
    assert_eq!(
        of("ALLOW", any(), token()),
        Decision::Unknown("p".to_owned())
    );
    // Unknown or not: the other half decides.
    assert_eq!(
        of(
            "ALLOW",
            json!({"url_path": {"path": {"exact": "/other"}}}),
            token()
        ),
        Decision::Deny("no ALLOW policy lets it pass: p".to_owned())
    );
    assert_eq!(
        of(
            "ALLOW",
            json!({"or_rules": {"rules": [{"uri_template": {}}, {"url_path": {"path": {"exact": "/x/y"}}}]}}),
            any()
        ),
        passed()
    );
    assert_eq!(decide(&json!({}), &ask()), Decision::Pass(None));
    assert_eq!(
        decide(&json!({"rules": {}}), &ask()),
        Decision::Deny("there are ALLOW policies, and none with a rule".to_owned())
    );
}
