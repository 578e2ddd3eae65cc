//! What is answered, and what becomes of the request: every line was checked against Envoy 1.40.

use carbyne_engine::forward::Exchange;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use super::super::*;
use super::signing::{Signer, encode, set};
use crate::filter::testing::{Nobody, exchange, outcome, request, run, served, values};

/// One filter with a provider for everything.
fn filter(signer: &Signer) -> JwtAuthnFilter {
    let keys = set(&[signer.jwk(&[("alg", "HS256"), ("kid", "k1")])]);
    let provider = |more: Value| {
        let mut provider = json!({"issuer": "A", "local_jwks": {"inline_string": keys}, "payload_in_metadata": "payload", "failed_status_in_metadata": "failed"});
        for (name, value) in more.as_object().unwrap() {
            provider[name] = value.clone();
        }
        provider
    };
    let rule = |prefix: &str, requires: Value| json!({"match": {"path_separated_prefix": prefix}, "requires": requires});
    let any = |list: Value| json!({"requires_any": {"requirements": list}});
    served::<wire::JwtAuthentication, _>(
        json!({
            "providers": {
                "a": provider(json!({})),
                "b": provider(json!({"issuer": "B"})),
                "aud": provider(json!({"audiences": ["https://x/", "y"]})),
                "life": provider(json!({"max_lifetime": "100s"})),
                "req": provider(json!({"require_expiration": true})),
                "sub": provider(json!({"subjects": {"prefix": "good"}})),
                "noiss": provider(json!({"issuer": ""})),
                "claims": provider(json!({"forward": true, "forward_payload_header": "x-p", "pad_forward_payload_header": true, "header_in_metadata": "header",
                    "claim_to_headers": [{"header_name": "x-c", "claim_name": "n.m"}, {"header_name": "x-f", "claim_name": "f"}],
                    "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]}})),
                "places": provider(json!({"from_cookies": ["tok"], "from_params": ["t"], "from_headers": [{"name": "x-tok", "value_prefix": "P "}]})),
                "clears": provider(json!({"clear_route_cache": true, "clock_skew_seconds": 5})),
            },
            "rules": [
                rule("/a", json!({"provider_name": "a"})),
                rule("/any", any(json!([{"provider_name": "a"}, {"provider_name": "b"}]))),
                rule("/opt", any(json!([{"provider_name": "a"}, {"allow_missing": {}}]))),
                rule("/failed", any(json!([{"provider_name": "a"}, {"allow_missing_or_failed": {}}]))),
                rule("/missing", json!({"allow_missing": {}})),
                rule("/all", json!({"requires_all": {"requirements": [{"provider_name": "claims"}, {"provider_name": "a"}]}})),
                rule("/aud", json!({"provider_name": "aud"})),
                rule("/own", json!({"provider_and_audiences": {"provider_name": "a", "audiences": ["z"]}})),
                rule("/life", json!({"provider_name": "life"})),
                rule("/req", json!({"provider_name": "req"})),
                rule("/sub", json!({"provider_name": "sub"})),
                rule("/noiss", json!({"provider_name": "noiss"})),
                rule("/claims", json!({"provider_name": "claims"})),
                rule("/places", json!({"provider_name": "places"})),
                rule("/clears", json!({"provider_name": "clears"})),
                {"match": {"prefix": "/named"}, "requirement_name": "one"},
                {"match": {"prefix": "/free"}},
            ],
            "requirement_map": {"one": {"provider_name": "a"}, "two": {"provider_name": "b"}},
            "bypass_cors_preflight": true,
        }),
        JwtAuthnFilter::plan,
    )
}

fn ask(
    filter: &JwtAuthnFilter,
    path: &str,
    headers: &[(&str, &str)],
) -> (Result<(), Answer>, Exchange<Context>) {
    let mut exchange = exchange(request("GET", path, headers));
    let result = run(filter.request(&mut exchange, None, &Nobody));
    (result, exchange)
}

fn text(result: &Result<(), Answer>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(answer) => String::from_utf8(answer.body.to_vec()).unwrap(),
    }
}

fn failed(exchange: &Exchange<Context>) -> Option<u64> {
    exchange
        .context
        .metadata
        .value(NAME, ["failed", "code"].into_iter())?
        .as_u64()
}

#[test]
fn answers_are_worded_as_envoy_words_them() {
    let signer = Signer::new("HS256");
    let filter = filter(&signer);
    let now = now();
    let good = |payload: Value| signer.token(&payload);
    let raw = |header: &str, payload: &str, signature: &str| {
        format!(
            "{}.{}.{signature}",
            encode(header.as_bytes()),
            encode(payload.as_bytes())
        )
    };
    let claims = |payload: &str| raw(r#"{"alg":"HS256"}"#, payload, "AA");
    let integer = |name: &str| format!("Jwt payload [{name}] field is not an integer");
    let positive =
        |name: &str| format!("Jwt payload [{name}] field is not a positive 64 bit integer");
    let no_text = |name: &str| format!("Jwt payload [{name}] field is not a string");
    let form = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    let words = |text: &str| text.to_owned();
    let cases: Vec<(&str, String, String, Option<u64>)> = vec![
        (
            "/a",
            good(json!({"iss": "A", "exp": now + 50})),
            words("ok"),
            None,
        ),
        (
            "/a",
            good(json!({"iss": "A", "exp": now - 100})),
            words("Jwt is expired"),
            Some(3),
        ),
        (
            "/a",
            good(json!({"iss": "A", "exp": now - 50})),
            words("ok"),
            None,
        ),
        (
            "/clears",
            good(json!({"iss": "A", "exp": now - 50})),
            words("Jwt is expired"),
            Some(3),
        ),
        (
            "/a",
            good(json!({"iss": "A", "nbf": now + 100})),
            words("Jwt not yet valid"),
            Some(2),
        ),
        (
            "/a",
            good(json!({"iss": "A", "exp": 4e9})),
            words("ok"),
            None,
        ),
        ("/a", words("a.b"), words(form), Some(4)),
        (
            "/a",
            raw(r#"{"alg":"none"}"#, "{}", ""),
            words(form),
            Some(4),
        ),
        (
            "/a",
            raw(r#"{"alg":"none"}"#, "{}", "AA"),
            words("Jwt header [alg] is not supported"),
            Some(8),
        ),
        (
            "/a",
            words("a!.b.c"),
            words("Jwt header is an invalid Base64url encoded"),
            Some(5),
        ),
        (
            "/a",
            raw("x", "{}", "AA"),
            words("Jwt header is an invalid JSON"),
            Some(6),
        ),
        (
            "/a",
            raw("{}", "{}", "AA"),
            words("Jwt header [alg] field is required and must be a string"),
            Some(7),
        ),
        (
            "/a",
            raw(r#"{"alg":"HS256","kid":1}"#, "{}", "AA"),
            words("Jwt header [kid] field is not a string"),
            Some(9),
        ),
        (
            "/a",
            format!("{}.!.AA", encode(br#"{"alg":"HS256"}"#)),
            words("Jwt payload is an invalid Base64url encoded"),
            Some(10),
        ),
        (
            "/a",
            claims("x"),
            words("Jwt payload is an invalid JSON"),
            Some(11),
        ),
        ("/a", claims(r#"{"iss":1}"#), no_text("iss"), Some(12)),
        ("/a", claims(r#"{"sub":1}"#), no_text("sub"), Some(13)),
        ("/a", claims(r#"{"iat":"x"}"#), integer("iat"), Some(14)),
        ("/a", claims(r#"{"iat":-1}"#), positive("iat"), Some(15)),
        ("/a", claims(r#"{"nbf":"x"}"#), integer("nbf"), Some(16)),
        ("/a", claims(r#"{"nbf":-1}"#), positive("nbf"), Some(17)),
        ("/a", claims(r#"{"exp":"x"}"#), integer("exp"), Some(18)),
        ("/a", claims(r#"{"exp":-1}"#), positive("exp"), Some(19)),
        ("/a", claims(r#"{"jti":1}"#), no_text("jti"), Some(20)),
        (
            "/a",
            claims(r#"{"aud":1}"#),
            words("Jwt payload [aud] field is not a string or string list"),
            Some(21),
        ),
        (
            "/a",
            raw(r#"{"alg":"HS256"}"#, "{}", "!"),
            words("Jwt signature is an invalid Base64url encoded"),
            Some(22),
        ),
        (
            "/a",
            Signer::new("HS256").token(&json!({"iss": "A"})),
            words("Jwt verification fails"),
            Some(26),
        ),
        (
            "/a",
            signer.token_with(&json!({"alg": "HS256", "kid": "k2"}), &json!({"iss": "A"})),
            words("Jwks doesn't have key to match kid or alg from Jwt"),
            Some(32),
        ),
        (
            "/a",
            signer.token_with(&json!({"alg": "RS256"}), &json!({"iss": "A"})),
            words("Jwks doesn't have key to match kid or alg from Jwt"),
            Some(32),
        ),
        (
            "/a",
            good(json!({"iss": "C"})),
            words("Jwt issuer is not configured"),
            Some(24),
        ),
        (
            "/a",
            good(json!({})),
            words("Jwt issuer is not configured"),
            Some(24),
        ),
        (
            "/any",
            good(json!({"iss": "C"})),
            words("Jwt issuer is not configured"),
            Some(24),
        ),
        ("/any", good(json!({"iss": "B"})), words("ok"), Some(24)),
        (
            "/any",
            good(json!({"iss": "A", "exp": 1})),
            words("Jwt is expired"),
            Some(24),
        ),
        (
            "/any",
            good(json!({"iss": "B", "exp": 1})),
            words("Jwt is expired"),
            Some(3),
        ),
        ("/opt", good(json!({"iss": "A"})), words("ok"), None),
        (
            "/opt",
            good(json!({"iss": "A", "exp": 1})),
            words("Jwt is expired"),
            Some(3),
        ),
        (
            "/opt",
            good(json!({"iss": "C"})),
            words("Jwt issuer is not configured"),
            Some(24),
        ),
        (
            "/failed",
            good(json!({"iss": "A", "exp": 1})),
            words("ok"),
            Some(3),
        ),
        ("/missing", good(json!({"iss": "C"})), words("ok"), None),
        ("/all", good(json!({"iss": "A"})), words("ok"), None),
        (
            "/all",
            good(json!({"iss": "B"})),
            words("Jwt issuer is not configured"),
            Some(24),
        ),
        (
            "/aud",
            good(json!({"iss": "A"})),
            words("Audiences in Jwt are not allowed"),
            Some(25),
        ),
        (
            "/aud",
            good(json!({"iss": "A", "aud": "z"})),
            words("Audiences in Jwt are not allowed"),
            Some(25),
        ),
        (
            "/aud",
            good(json!({"iss": "A", "aud": ["z", "x"]})),
            words("ok"),
            None,
        ),
        (
            "/aud",
            good(json!({"iss": "A", "aud": "http://y/"})),
            words("ok"),
            None,
        ),
        (
            "/own",
            good(json!({"iss": "A", "aud": "z"})),
            words("ok"),
            None,
        ),
        (
            "/own",
            good(json!({"iss": "A", "aud": "x"})),
            words("Audiences in Jwt are not allowed"),
            Some(25),
        ),
        (
            "/life",
            good(json!({"iss": "A", "exp": now + 500})),
            words("Jwt verification fails"),
            Some(26),
        ),
        (
            "/life",
            good(json!({"iss": "A", "exp": now + 50})),
            words("ok"),
            None,
        ),
        (
            "/life",
            good(json!({"iss": "A"})),
            words("Jwt verification fails"),
            Some(26),
        ),
        (
            "/req",
            good(json!({"iss": "A"})),
            words("Jwt verification fails"),
            Some(26),
        ),
        (
            "/sub",
            good(json!({"iss": "A", "sub": "bad"})),
            words("Jwt verification fails"),
            Some(26),
        ),
        (
            "/sub",
            good(json!({"iss": "A", "sub": "good1"})),
            words("ok"),
            None,
        ),
        ("/noiss", good(json!({"iss": "Q"})), words("ok"), None),
        ("/noiss", good(json!({})), words("ok"), None),
        ("/named", good(json!({"iss": "A"})), words("ok"), None),
        (
            "/named",
            good(json!({"iss": "B"})),
            words("Jwt issuer is not configured"),
            Some(24),
        ),
        ("/free", words("nonsense"), words("ok"), None),
        ("/ax", words("nonsense"), words("ok"), None),
    ];
    for (path, token, expected, code) in cases {
        let (result, exchange) = ask(
            &filter,
            path,
            &[("authorization", &format!("Bearer {token}"))],
        );
        assert_eq!(
            (text(&result), failed(&exchange)),
            (expected.clone(), code),
            "{path} {token}"
        );
        if let Err(answer) = result {
            let status = if code == Some(25) { 403 } else { 401 };
            assert_eq!(answer.response.status.as_u16(), status);
            assert_eq!(
                answer.details,
                format!("jwt_authn_access_denied{{{}}}", expected.replace(' ', "_"))
            );
            let realm = format!("Bearer realm=\"http://a.example{path}\", error=\"invalid_token\"");
            assert_eq!(
                answer.response.headers.text(&WWW_AUTHENTICATE),
                Some(&*realm)
            );
        }
    }
}

#[test]
fn a_missing_token_has_no_error_in_its_challenge() {
    let filter = filter(&Signer::new("HS256"));
    for (path, expected) in [
        ("/a?b=c", "Jwt is missing"),
        ("/any", "Jwt is missing"),
        ("/opt", "ok"),
        ("/failed", "ok"),
        ("/missing", "ok"),
        ("/other", "ok"),
    ] {
        let (result, exchange) = ask(&filter, path, &[("x-forwarded-proto", "https")]);
        assert_eq!(text(&result), expected, "{path}");
        assert_eq!(failed(&exchange), None);
        if let Err(answer) = result {
            let challenge = answer.response.headers.text(&WWW_AUTHENTICATE).unwrap();
            assert_eq!(
                challenge,
                format!("Bearer realm=\"https://a.example{path}\"")
            );
        }
    }
    let (result, _) = ask(&filter, &format!("/a/{}", "x".repeat(300)), &[]);
    let challenge = result
        .unwrap_err()
        .response
        .headers
        .text(&WWW_AUTHENTICATE)
        .unwrap()
        .to_owned();
    assert_eq!(
        challenge.len(),
        "Bearer realm=\"http://a.example\"".len() + 256
    );
}

#[test]
fn good_tokens_are_read_and_taken_out() {
    let signer = Signer::new("HS256");
    let filter = filter(&signer);
    let token = signer.token(&json!({"iss": "A", "scope": "a  b", "n": {"m": 12}, "f": 1.5}));
    let (result, exchange) = ask(
        &filter,
        "/claims",
        &[
            ("authorization", &format!("Bearer {token}")),
            ("x-c", "spoof"),
            ("x-p", "spoof"),
            ("x-f", "spoof"),
        ],
    );
    result.unwrap();
    let headers = &exchange.request.headers;
    assert_eq!(values(headers, "x-c"), ["12"]);
    assert_eq!(values(headers, "x-f"), ["1.500000"]);
    let payload = token.split('.').nth(1).unwrap();
    let padded = format!("{payload}{}", "=".repeat((4 - payload.len() % 4) % 4));
    assert_eq!(values(headers, "x-p"), [&*padded]);
    assert_eq!(values(headers, "authorization").len(), 1, "it is forwarded");
    let written = exchange.context.metadata.namespace(NAME).unwrap();
    assert_eq!(
        Value::Object(written.clone()),
        json!({
            "header": {"alg": "HS256", "typ": "JWT"},
            "payload": {"iss": "A", "scope": ["a", "b"], "n": {"m": 12}, "f": 1.5},
        })
    );

    let claims = [
        (json!([1]), Some("WzFd")),
        (json!({"a": 1}), Some("eyJhIjoxfQ==")),
        (json!(true), Some("true")),
        (json!(null), None),
        (json!(""), None),
        (json!("a\nb"), None),
    ];
    for (claim, expected) in claims {
        let token = signer.token(&json!({"iss": "A", "n": {"m": claim}}));
        let (result, exchange) = ask(
            &filter,
            "/claims",
            &[("authorization", &format!("Bearer {token}"))],
        );
        result.unwrap();
        assert_eq!(
            values(&exchange.request.headers, "x-c").first().copied(),
            expected,
            "{claim}"
        );
    }

    let (result, exchange) = ask(
        &filter,
        "/clears",
        &[("authorization", &format!("Bearer {token}"))],
    );
    result.unwrap();
    assert!(exchange.context.route_cleared);
    assert_eq!(values(&exchange.request.headers, "authorization").len(), 0);
}

#[test]
fn tokens_are_found_in_their_places() {
    let signer = Signer::new("HS256");
    let filter = filter(&signer);
    let good = signer.token(&json!({"iss": "A"}));
    let old = signer.token(&json!({"iss": "A", "exp": 1}));
    let cookie = format!("a=b; tok={good}; c=d");
    let (spaced, unspaced) = (format!("foo P {good}"), format!("P{good}"));
    let bearer = format!("Bearer {good}");
    let lower = format!("bearer {good}");
    let cases: Vec<(String, Vec<(&str, &str)>, &str, &str)> = vec![
        (
            "/places".to_owned(),
            vec![("cookie", &cookie)],
            "ok",
            "/places",
        ),
        (
            format!("/places?z=1&t={good}&y=2"),
            vec![],
            "ok",
            "/places?z=1&y=2",
        ),
        (format!("/places?%74={good}"), vec![], "ok", "/places"),
        (
            "/places".to_owned(),
            vec![("x-tok", &spaced)],
            "ok",
            "/places",
        ),
        (
            "/places".to_owned(),
            vec![("x-tok", &unspaced)],
            "Jwt is missing",
            "/places",
        ),
        (
            "/places".to_owned(),
            vec![("authorization", &bearer)],
            "Jwt is missing",
            "/places",
        ),
        (
            format!("/a?access_token={good}&r=1"),
            vec![],
            "ok",
            "/a?r=1",
        ),
        (
            "/a".to_owned(),
            vec![("authorization", &lower)],
            "Jwt is missing",
            "/a",
        ),
        // All tokens must be good: the host may believe another one than we checked.
        (
            format!("/places?t={old}"),
            vec![("x-tok", &spaced)],
            "Jwt is expired",
            "",
        ),
        (
            "/a".to_owned(),
            vec![("authorization", &bearer), ("authorization", "Bearer x")],
            "Jwt signature is an invalid Base64url encoded",
            "",
        ),
    ];
    for (path, headers, expected, left) in cases {
        let (result, exchange) = ask(&filter, &path, &headers);
        assert_eq!(text(&result), expected, "{path} {headers:?}");
        if result.is_ok() {
            assert_eq!(exchange.request.path, left.as_bytes());
        }
    }
}

#[test]
fn preflights_and_routes_go_other_ways() {
    let filter = filter(&Signer::new("HS256"));
    let preflight = request(
        "OPTIONS",
        "/a",
        &[
            ("origin", "https://o"),
            ("access-control-request-method", "GET"),
        ],
    );
    let mut exchange = exchange(preflight);
    run(filter.request(&mut exchange, None, &Nobody)).unwrap();
    assert_eq!(filter.stats.cors_preflight_bypassed.value(), 1);
    exchange.request = request("GET", "/a", &[]);
    run(filter.request(&mut exchange, Some(&JwtAuthnRoute::Disabled), &Nobody)).unwrap();
    let named = JwtAuthnRoute::Named("one".into());
    assert_eq!(
        text(&run(filter.request(&mut exchange, Some(&named), &Nobody))),
        "Jwt is missing"
    );
    let unknown = JwtAuthnRoute::Named("three".into());
    let answer = run(filter.request(&mut exchange, Some(&unknown), &Nobody)).unwrap_err();
    assert_eq!(answer.response.status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer.body,
        "Failed JWT authentication: Wrong requirement_name: three. It should be one of [one,two]"
    );
}

#[test]
fn what_is_not_understood_refuses_and_what_is_wrong_is_rejected() {
    let keys = set(&[]);
    let provider = json!({"issuer": "A", "local_jwks": {"inline_string": keys}});
    let with = |more: Value| {
        let mut message = json!({"providers": {"a": provider}});
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        message
    };
    let rule = |rule: Value| with(json!({"rules": [rule]}));
    let cases = vec![
        (with(json!({})), "served"),
        (
            with(json!({"filter_state_rules": {"name": "x"}})),
            "refused: filter_state_rules",
        ),
        (
            json!({"providers": {"a": {"issuer": "A"}}}),
            "refused: providers[\"a\"]: a provider without keys",
        ),
        (
            json!({"providers": {"a": {"local_jwks": {"inline_string": "x"}}}}),
            "rejected: providers[\"a\"].local_jwks: malformed: Jwks is an invalid JSON",
        ),
        (
            json!({"providers": {"a": {"local_jwks": {"inline_string": "{}"}}}}),
            "rejected: providers[\"a\"].local_jwks: malformed: Jwks does not have [keys] field",
        ),
        (
            rule(json!({"match": {"prefix": "/"}, "requires": {"provider_name": "z"}})),
            "rejected: rules[0].requires.provider_name: `z` is not the name of a provider",
        ),
        (
            rule(json!({"match": {"prefix": "/"}, "requirement_name": "z"})),
            "rejected: rules[0].requirement_name",
        ),
        (
            rule(
                json!({"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [{"provider_name": "a"}]}}}),
            ),
            "rejected: rules[0].requires.requires_any.requirements",
        ),
        (
            rule(
                json!({"match": {"prefix": "/"}, "requires": {"extract_only_without_validation": {}}}),
            ),
            "refused: rules[0].requires.extract_only_without_validation",
        ),
        (
            rule(json!({"match": {"prefix": "/", "grpc": {}}})),
            "refused: rules[0].match.grpc",
        ),
        (
            rule(json!({"match": {}})),
            "rejected: rules[0].match: required",
        ),
        (
            rule(json!({"requires": {"provider_name": "a"}})),
            "rejected: rules[0].match: required",
        ),
        (
            json!({"providers": {"a": {"remote_jwks": {"http_uri": {"uri": "https://h/p", "timeout": "1s"}}}}}),
            "rejected: providers[\"a\"].remote_jwks.http_uri.cluster: required",
        ),
        (
            json!({"providers": {"a": {"remote_jwks": {"http_uri": {"uri": "file:///etc/passwd", "cluster": "c", "timeout": "1s"}}}}}),
            "rejected: providers[\"a\"].remote_jwks.http_uri.uri",
        ),
    ];
    for (message, expected) in cases {
        let found = outcome::<wire::JwtAuthentication, _>(message.clone(), JwtAuthnFilter::plan);
        assert!(found.starts_with(expected), "{message}: {found}");
    }
}

#[test]
fn stripped_answers_say_nothing() {
    let message = json!({"providers": {"a": {"local_jwks": {"inline_string": set(&[])}}}, "strip_failure_response": true,
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "a"}}]});
    let filter = served::<wire::JwtAuthentication, _>(message, JwtAuthnFilter::plan);
    let (result, _) = ask(&filter, "/", &[]);
    let answer = result.unwrap_err();
    assert!(answer.body.is_empty() && answer.response.headers.is_empty());
    assert_eq!(answer.details, "jwt_authn_access_denied{Jwt_is_missing}");
}
