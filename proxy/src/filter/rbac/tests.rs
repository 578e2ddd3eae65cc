mod naive;

use carbyne_engine::forward::Downstream;
use carbyne_engine::net::Address;
use carbyne_protos::envoy::config::rbac::v3 as wire;
use carbyne_protos::envoy::extensions::filters::http::rbac::v3::{Rbac, RbacPerRoute};
use carbyne_protos::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use prost::Message as _;
use serde_json::{Value, json};

use super::*;
use crate::filter::testing::{
    downstream, exchange, exchange_on, mtls, outcome, plan, request, served, told,
};
use crate::plan::Environment;
use crate::plan::scope::Room;

fn filter(message: Value) -> RbacFilter {
    served(message, RbacFilter::plan)
}

/// The policy that istiod writes for a rule with everything in it.
fn full() -> Value {
    json!({"permissions": [{"and_rules": {"rules": [
        {"or_rules": {"rules": [
            {"header": {"name": ":authority", "string_match": {"exact": "a.example", "ignore_case": true}}},
            {"header": {"name": ":authority", "string_match": {"suffix": ".b.example", "ignore_case": true}}}]}},
        {"not_rule": {"or_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "DELETE"}}}]}}},
        {"or_rules": {"rules": [
            {"url_path": {"path": {"prefix": "/api/"}}},
            {"uri_template": {"name": "uri-template", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "/t/*/x"}}}]}},
        {"or_rules": {"rules": [{"destination_port": 8080}]}}]}}],
     "principals": [{"and_ids": {"ids": [
        {"or_ids": {"ids": [
            {"authenticated": {"principal_name": {"exact": "spiffe://cluster.local/ns/shop/sa/cart"}}},
            {"authenticated": {"principal_name": {"safe_regex": {"regex": ".*/ns/admin/.*"}}}}]}},
        {"or_ids": {"ids": [{"direct_remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}]}},
        {"not_id": {"or_ids": {"ids": [{"remote_ip": {"address_prefix": "10.6.6.0", "prefix_len": 24}}]}}},
        {"or_ids": {"ids": [{"metadata": {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "payload"}, {"key": "aud"}],
            "value": {"or_match": {"value_matchers": [{"string_match": {"exact": "shop"}}, {"list_match": {"one_of": {"string_match": {"exact": "shop"}}}}]}}}}]}}]}}]})
}

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

#[test]
fn a_full_rule_asks_everything() {
    let filter = filter(json!({"rules": {"policies": {"ns[shop]-policy[full]-rule[0]": full()}}}));
    struct Case {
        name: &'static str,
        method: &'static str,
        path: &'static str,
        authority: &'static str,
        peer: &'static [&'static str],
        remote: Option<&'static str>,
        aud: Value,
        port: &'static str,
        allowed: bool,
    }
    let base = || Case {
        name: "base",
        method: "GET",
        path: "/api/x?y",
        authority: "a.example",
        peer: &[CART],
        remote: None,
        aud: json!("shop"),
        port: "10.0.0.1:8080",
        allowed: true,
    };
    let cases = [
        base(),
        Case {
            name: "case of the host",
            authority: "A.EXAMPLE",
            ..base()
        },
        Case {
            name: "suffix of the host",
            authority: "x.b.example",
            ..base()
        },
        Case {
            name: "other host",
            authority: "b.example",
            allowed: false,
            ..base()
        },
        Case {
            name: "refused method",
            method: "DELETE",
            allowed: false,
            ..base()
        },
        Case {
            name: "other path",
            path: "/apix",
            allowed: false,
            ..base()
        },
        Case {
            name: "the query is no path",
            path: "/?/api/",
            allowed: false,
            ..base()
        },
        Case {
            name: "template",
            path: "/t/one/x?q",
            ..base()
        },
        Case {
            name: "template of two segments",
            path: "/t/one/two/x",
            allowed: false,
            ..base()
        },
        Case {
            name: "other port",
            port: "10.0.0.1:8081",
            allowed: false,
            ..base()
        },
        Case {
            name: "namespace",
            peer: &["spiffe://cluster.local/ns/admin/sa/x"],
            ..base()
        },
        Case {
            name: "principal that only begins so",
            peer: &["spiffe://cluster.local/ns/shop/sa/cart2"],
            allowed: false,
            ..base()
        },
        Case {
            name: "second URI name",
            peer: &["spiffe://x", CART],
            ..base()
        },
        Case {
            name: "no certificate",
            peer: &[],
            allowed: false,
            ..base()
        },
        Case {
            name: "client behind a proxy",
            remote: Some("10.6.6.6"),
            allowed: false,
            ..base()
        },
        Case {
            name: "audience in a list",
            aud: json!(["x", "shop"]),
            ..base()
        },
        Case {
            name: "other audience",
            aud: json!("x"),
            allowed: false,
            ..base()
        },
        Case {
            name: "no token",
            aud: Value::Null,
            allowed: false,
            ..base()
        },
    ];
    for case in cases {
        let mut connection = downstream();
        connection.local = Address::Tcp(case.port.parse().unwrap());
        if !case.peer.is_empty() {
            connection.tls = Some(mtls(case.peer, &[], true));
        }
        let mut request = request(case.method, case.path, &[]);
        request.authority = case.authority.into();
        let mut exchange = exchange_on(connection, request);
        exchange.context.client = case.remote.map(|address| address.parse().unwrap());
        if !case.aud.is_null() {
            let Value::Object(payload) = json!({"payload": {"aud": case.aud}}) else {
                unreachable!()
            };
            exchange
                .context
                .metadata
                .merge("envoy.filters.http.jwt_authn", payload);
        }
        assert_eq!(
            filter.request(&mut exchange, None).is_ok(),
            case.allowed,
            "{}",
            case.name
        );
    }
}

#[test]
fn actions_and_their_answers() {
    let any = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
    let on_path = |path: &str| json!({"permissions": [{"url_path": {"path": {"exact": path}}}], "principals": [{"any": true}]});
    let cases: &[(Value, Option<&str>)] = &[
        (json!({}), None),
        (
            json!({"rules": {}}),
            Some("rbac_access_denied_matched_policy[none]"),
        ),
        (json!({"rules": {"action": "DENY"}}), None),
        (json!({"rules": {"action": "LOG"}}), None),
        (json!({"rules": {"policies": {"a": any}}}), None),
        (
            json!({"rules": {"policies": {"a": on_path("/x")}}}),
            Some("rbac_access_denied_matched_policy[none]"),
        ),
        (
            json!({"rules": {"action": "DENY", "policies": {"my policy": any}}}),
            Some("rbac_access_denied_matched_policy[my_policy]"),
        ),
        // In the order of their names, whatever the order on the wire.
        (
            json!({"rules": {"action": "DENY", "policies": {"b": any, "a": any, "B": any}}}),
            Some("rbac_access_denied_matched_policy[B]"),
        ),
        (
            json!({"rules": {"action": "LOG", "policies": {"a": any}}}),
            None,
        ),
        (
            json!({"shadow_rules": {"action": "DENY", "policies": {"a": any}}}),
            None,
        ),
    ];
    for (message, expected) in cases {
        let filter = filter(message.clone());
        let mut exchange = exchange(request("GET", "/", &[]));
        match (filter.request(&mut exchange, None), expected) {
            (Ok(()), None) => assert_eq!(exchange.context.denied_by, None),
            (Err(answer), Some(details)) => {
                assert_eq!(told(&answer), (403, "RBAC: access denied", *details));
                assert!(exchange.context.denied_by.is_some());
                assert_eq!(filter.stats.denied.value(), 1);
            }
            (result, _) => panic!("{message}: {result:?}"),
        }
    }
}

#[test]
fn shadow_rules_and_hints_tell_other_filters() {
    let shadow = filter(json!({
        "shadow_rules": {"action": "DENY", "policies": {"istio-ext-authz-ns[a]-policy[b]-rule[0]":
            {"permissions": [{"url_path": {"path": {"prefix": "/admin"}}}], "principals": [{"any": true}]}}},
        "shadow_rules_stat_prefix": "istio_ext_authz_",
    }));
    for (path, expected) in [
        (
            "/admin/x",
            json!({"istio_ext_authz_shadow_engine_result": "denied", "istio_ext_authz_shadow_effective_policy_id": "istio-ext-authz-ns[a]-policy[b]-rule[0]"}),
        ),
        (
            "/",
            json!({"istio_ext_authz_shadow_engine_result": "allowed"}),
        ),
    ] {
        let mut exchange = exchange(request("GET", path, &[]));
        shadow.request(&mut exchange, None).unwrap();
        let written = exchange.context.metadata.namespace(HTTP).unwrap();
        assert_eq!(Value::Object(written.clone()), expected, "{path}");
    }
    assert_eq!(
        (
            shadow.stats.shadow_allowed.value(),
            shadow.stats.shadow_denied.value(),
            shadow.stats.allowed.value()
        ),
        (1, 1, 0)
    );

    let audit = filter(
        json!({"rules": {"action": "LOG", "policies": {"p": {"permissions": [{"url_path": {"path": {"exact": "/a"}}}], "principals": [{"any": true}]}}}}),
    );
    for (path, hint) in [("/a", true), ("/b", false)] {
        let mut exchange = exchange(request("GET", path, &[]));
        audit.request(&mut exchange, None).unwrap();
        assert_eq!(
            exchange
                .context
                .metadata
                .value("envoy.common", ["access_log_hint"].into_iter()),
            Some(&Value::Bool(hint))
        );
    }

    // As real Envoy 1.40 writes it.
    let denied = filter(
        json!({"rules": {"action": "DENY", "policies": {"p q": {"permissions": [{"any": true}], "principals": [{"any": true}]}}}}),
    );
    let mut exchange = exchange(request("GET", "/", &[]));
    denied.request(&mut exchange, None).unwrap_err();
    let written = exchange.context.metadata.namespace(HTTP).unwrap();
    assert_eq!(
        Value::Object(written.clone()),
        json!({"enforced_effective_policy_id": "p q", "enforced_engine_result": "denied"})
    );
}

/// CVE-2026-26308: values of a repeated field are judged one by one, to the disadvantage of who sent them.
#[test]
fn repeated_fields_help_nobody() {
    let header = json!({"header": {"name": "x-role", "string_match": {"exact": "admin"}}});
    let policy =
        |rule: &Value| json!({"p": {"permissions": [rule], "principals": [{"any": true}]}});
    let not = json!({"not_rule": header});
    let inverted = json!({"header": {"name": "x-role", "string_match": {"exact": "admin"}, "invert_match": true}});
    // Action, rule, values, whether the request passes.
    let cases: &[(&str, &Value, &[&str], bool)] = &[
        ("DENY", &header, &["admin"], false),
        ("DENY", &header, &["user", "admin"], false),
        ("DENY", &header, &["user"], true),
        ("DENY", &header, &[], true),
        ("ALLOW", &header, &["admin"], true),
        ("ALLOW", &header, &["admin", "user"], false),
        ("ALLOW", &header, &["admin,user"], false),
        ("ALLOW", &header, &[], false),
        ("DENY", &not, &["admin", "user"], false),
        ("DENY", &not, &["admin"], true),
        ("DENY", &not, &[], false),
        ("ALLOW", &not, &["user", "admin"], false),
        ("ALLOW", &not, &["user"], true),
        ("ALLOW", &not, &[], true),
        ("DENY", &inverted, &["admin", "user"], false),
        ("ALLOW", &inverted, &["user", "admin"], false),
        ("ALLOW", &inverted, &["user"], true),
    ];
    for (action, rule, sent, passes) in cases {
        let filter = filter(json!({"rules": {"action": action, "policies": policy(rule)}}));
        let headers: Vec<_> = sent.iter().map(|value| ("x-role", *value)).collect();
        let mut exchange = exchange(request("GET", "/", &headers));
        assert_eq!(
            filter.request(&mut exchange, None).is_ok(),
            *passes,
            "{action} {rule} on {sent:?}"
        );
    }
}

#[test]
fn who_is_authenticated() {
    let named = json!({"authenticated": {"principal_name": {"exact": "client.example"}}});
    let anyone = json!({"authenticated": {}});
    // Action, principal, DNS names of the certificate (none: plaintext), verified, passes.
    let cases: &[(&str, &Value, Option<&[&str]>, bool, bool)] = &[
        ("ALLOW", &named, Some(&["client.example"]), true, true),
        (
            "ALLOW",
            &named,
            Some(&["other.example", "client.example"]),
            true,
            true,
        ),
        ("ALLOW", &named, Some(&["other.example"]), true, false),
        ("ALLOW", &named, Some(&["client.example"]), false, false),
        ("DENY", &named, Some(&["client.example"]), false, false),
        ("DENY", &named, None, false, true),
        ("ALLOW", &anyone, None, false, false),
        ("ALLOW", &anyone, Some(&["x"]), true, true),
        ("ALLOW", &anyone, Some(&["x"]), false, false),
        ("DENY", &anyone, Some(&["x"]), false, false),
    ];
    for (action, principal, names, verified, passes) in cases {
        let filter = filter(
            json!({"rules": {"action": action, "policies": {"p": {"permissions": [{"any": true}], "principals": [principal]}}}}),
        );
        let mut connection = downstream();
        connection.tls = names.map(|names| mtls(&[], names, *verified));
        let mut exchange = exchange_on(connection, request("GET", "/", &[]));
        assert_eq!(
            filter.request(&mut exchange, None).is_ok(),
            *passes,
            "{action} {principal} {names:?} {verified}"
        );
    }
}

#[test]
fn tcp_connections_have_no_fields() {
    let deny = |permission: Value| json!({"stat_prefix": "tcp.", "rules": {"action": "DENY", "policies": {"p": {"permissions": [permission], "principals": [{"any": true}]}}}});
    let cases = [
        (json!({"any": true}), false),
        (json!({"destination_port": 8080}), false),
        (
            json!({"destination_port_range": {"start": 8000, "end": 8080}}),
            true,
        ),
        (
            json!({"destination_port_range": {"start": 8080, "end": 8081}}),
            false,
        ),
        (
            json!({"destination_ip": {"address_prefix": "10.0.0.1", "prefix_len": 32}}),
            false,
        ),
        (
            json!({"requested_server_name": {"exact": "sni.example"}}),
            false,
        ),
        (
            json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}}),
            true,
        ),
        (
            json!({"header": {"name": "x", "present_match": false}}),
            false,
        ),
        (json!({"url_path": {"path": {"prefix": "/"}}}), true),
        (
            json!({"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"present_match": true}}}),
            true,
        ),
    ];
    for (permission, passes) in cases {
        let filter: RbacFilter =
            served::<NetworkRbac, _>(deny(permission.clone()), RbacFilter::plan_network);
        let connection = Downstream {
            server_name: Some("sni.example".into()),
            ..downstream()
        };
        let metadata = Metadata::default();
        let decision = filter.check_connection(
            &Facts::connection(&connection, &metadata),
            &mut Metadata::default(),
        );
        assert_eq!(decision == Decision::Allow, passes, "{permission}");
        if let Decision::Deny(denial) = decision {
            assert_eq!(denial.details(), "rbac_access_denied_matched_policy[p]");
        }
    }
}

#[test]
fn routes_replace_the_rules() {
    let denies = filter(json!({"rules": {}}));
    let mut exchange = exchange(request("GET", "/", &[]));
    let off: RbacRoute = served::<RbacPerRoute, _>(json!({}), RbacRoute::plan);
    assert!(denies.request(&mut exchange, Some(&off)).is_ok());
    let own: RbacRoute = served::<RbacPerRoute, _>(
        json!({"rbac": {"rules": {"action": "DENY"}}}),
        RbacRoute::plan,
    );
    assert!(denies.request(&mut exchange, Some(&own)).is_ok());
    assert!(denies.request(&mut exchange, None).is_err());
}

#[test]
fn what_is_not_understood_refuses_and_what_is_wrong_is_rejected() {
    let with = |permission: Value, principal: Value| json!({"rules": {"policies": {"p": {"permissions": [permission], "principals": [principal]}}}});
    let any = || json!({"any": true});
    let cases: Vec<(Value, &str)> = vec![
        (with(any(), any()), "served"),
        (
            json!({"rules": {"policies": {"p": {"permissions": [any()], "principals": [any()], "condition": {"const_expr": {"bool_value": false}}}}}}),
            "refused: rules.policies[\"p\"].condition: CEL conditions are not served",
        ),
        (
            json!({"matcher": {}}),
            "refused: matcher: matcher trees are not served",
        ),
        (
            with(json!({"matcher": {"name": "m"}}), any()),
            "refused: rules.policies[\"p\"].permissions[0].matcher: the extension `m` is not served",
        ),
        (
            with(json!({}), any()),
            "refused: rules.policies[\"p\"].permissions[0]: a permission that is empty or not known",
        ),
        (
            with(json!({"not_rule": {}}), any()),
            "refused: rules.policies[\"p\"].permissions[0].not_rule: a permission that is empty or not known",
        ),
        (
            with(any(), json!({})),
            "refused: rules.policies[\"p\"].principals[0]: a principal that is empty or not known",
        ),
        (
            with(
                any(),
                json!({"filter_state": {"key": "io.istio.peer_principal", "string_match": {"exact": "x"}}}),
            ),
            "served",
        ),
        (
            with(
                any(),
                json!({"filter_state": {"key": "other", "string_match": {"exact": "x"}}}),
            ),
            "refused: rules.policies[\"p\"].principals[0].filter_state.key: the filter state `other` is not served",
        ),
        (
            with(
                any(),
                json!({"sourced_metadata": {"metadata_source": "ROUTE"}}),
            ),
            "refused: rules.policies[\"p\"].principals[0].sourced_metadata.metadata_source: only dynamic metadata is served",
        ),
        (
            with(json!({"any": false}), any()),
            "rejected: rules.policies[\"p\"].permissions[0].any: false is not true",
        ),
        (
            with(json!({"destination_port": 65536}), any()),
            "rejected: rules.policies[\"p\"].permissions[0].destination_port: 65536 is not a port (0 to 65535)",
        ),
        (
            with(
                json!({"url_path": {"path": {"safe_regex": {"regex": "("}}}}),
                any(),
            ),
            "rejected: rules.policies[\"p\"].permissions[0].url_path.path",
        ),
        (
            with(
                json!({"destination_ip": {"address_prefix": "10.0.0.300"}}),
                any(),
            ),
            "rejected: rules.policies[\"p\"].permissions[0].destination_ip.address_prefix",
        ),
        (
            json!({"rules": {"policies": {"p": {"principals": [any()]}}}}),
            "rejected: rules.policies[\"p\"].permissions: required",
        ),
        (
            json!({"rules": {"policies": {"p": {"permissions": [any()]}, "q": {"principals": [any()]}}}}),
            "rejected: rules.policies[\"p\"].principals: required; rules.policies[\"q\"].permissions: required",
        ),
    ];
    for (message, expected) in cases {
        let found = outcome::<Rbac, _>(message.clone(), RbacFilter::plan);
        assert!(found.starts_with(expected), "{message}: {found}");
    }
    let continuous = json!({"stat_prefix": "x", "enforcement_type": "CONTINUOUS"});
    assert!(
        outcome::<NetworkRbac, _>(continuous, RbacFilter::plan_network)
            .starts_with("refused: enforcement_type")
    );
    // An unknown action is a number that the enum does not have.
    let unknown = Rbac {
        rules: Some(wire::Rbac {
            action: 9,
            ..wire::Rbac::default()
        }),
        ..Rbac::default()
    };
    let environment = Environment::default();
    let room = Room::new(&environment, Vec::new());
    assert!(matches!(
        RbacFilter::plan(&unknown, &room.scope()),
        Some(Planned::Refuses(_))
    ));
}

#[test]
fn the_fuzz_target_takes_seeds_and_broken_ones() {
    let message: Rbac = carbyne_protos::json::from_json(
        &json!({"rules": {"policies": {"p": full()}}, "shadow_rules": {"action": "LOG"}}),
    )
    .unwrap();
    let bytes = message.encode_to_vec();
    for end in 0..bytes.len() {
        fuzz::fuzz_rbac(&bytes[..end]);
        let mut flipped = bytes.clone();
        flipped[end] ^= 0x55;
        fuzz::fuzz_rbac(&flipped);
    }
    drop(plan::<Rbac, _>(json!({}), RbacFilter::plan));
}
