use std::rc::Rc;

use carbyne_engine::forward::Downstream;
use serde_json::{Value, json};

use super::*;
use crate::filter::testing::{
    downstream, exchange, exchange_on, outcome, request, respond, served, told, values,
};

fn filter(more: Value) -> LocalRateLimitFilter {
    let all = json!({"default_value": {"numerator": 100}});
    let mut message = json!({"stat_prefix": "x", "token_bucket": {"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"}, "filter_enabled": all, "filter_enforced": all});
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    served::<LocalRateLimit, _>(message, LocalRateLimitFilter::plan)
}

#[test]
fn refuses_when_the_tokens_are_gone() {
    let filter = filter(
        json!({"response_headers_to_add": [{"header": {"key": "x-l", "value": "1"}}], "enable_retry_after_header": true, "enable_x_ratelimit_headers": "DRAFT_VERSION_03"}),
    );
    let mut exchange = exchange(request("GET", "/", &[]));
    // Left after each request, and the wait that is told, as Envoy 1.40 tells them.
    for (left, wait) in [("1", "0"), ("0", "3600")] {
        filter.request(&mut exchange, None).unwrap();
        respond(&mut exchange);
        filter.response(&mut exchange, None);
        let headers = &exchange.response.as_ref().unwrap().headers;
        assert_eq!(
            [
                values(headers, "x-ratelimit-limit"),
                values(headers, "x-ratelimit-remaining"),
                values(headers, "x-ratelimit-reset")
            ]
            .concat(),
            ["2", left, wait]
        );
    }
    let answer = filter.request(&mut exchange, None).unwrap_err();
    assert_eq!(
        told(&answer),
        (429, "local_rate_limited", "local_rate_limited")
    );
    assert_eq!(values(&answer.response.headers, "x-l"), ["1"]);
    assert_eq!(values(&answer.response.headers, "retry-after"), ["3600"]);
    assert!(exchange.events.contains(Event::RateLimited));
    let stats = &filter.stats;
    assert_eq!(
        [
            &stats.enabled,
            &stats.ok,
            &stats.rate_limited,
            &stats.enforced
        ]
        .map(Counter::value),
        [3, 2, 1, 1]
    );
}

#[test]
fn shares_and_statuses() {
    let none = json!({"default_value": {"numerator": 0}});
    let drained = |more: Value, headers: &[(&str, &str)]| {
        let filter = filter(more);
        let mut exchange = exchange(request("POST", "/", headers));
        for _ in 0..2 {
            filter.request(&mut exchange, None).unwrap();
        }
        let result = filter.request(&mut exchange, None);
        (result, exchange)
    };
    assert!(drained(json!({"filter_enabled": none}), &[]).0.is_ok());
    let (result, exchange) = drained(
        json!({"filter_enforced": none, "request_headers_to_add_when_not_enforced": [{"header": {"key": "x-n", "value": "1"}}]}),
        &[],
    );
    assert!(result.is_ok());
    assert_eq!(values(&exchange.request.headers, "x-n"), ["1"]);
    for (status, expected) in [("OK", 429), ("ServiceUnavailable", 503)] {
        let (result, _) = drained(json!({"status": {"code": status}}), &[]);
        assert_eq!(result.unwrap_err().response.status.as_u16(), expected);
    }
    let (result, _) = drained(
        json!({"rate_limited_as_resource_exhausted": true}),
        &[("content-type", "application/grpc")],
    );
    assert_eq!(
        values(&result.unwrap_err().response.headers, "grpc-status"),
        ["8"]
    );
    let off = served::<LocalRateLimit, _>(json!({"stat_prefix": "x"}), LocalRateLimitFilter::plan);
    let mut exchange = exchange;
    assert!((0..9).all(|_| off.request(&mut exchange, None).is_ok()));
    let route = filter(json!({}));
    assert_eq!(
        (0..9)
            .filter(|_| off.request(&mut exchange, Some(&route)).is_ok())
            .count(),
        2
    );
}

#[test]
fn connections_may_have_their_own() {
    let filter = filter(json!({"local_rate_limit_per_downstream_connection": true}));
    let other = self::filter(json!({"local_rate_limit_per_downstream_connection": true}));
    let connection = |id| Downstream { id, ..downstream() };
    let pass = |filter: &LocalRateLimitFilter, connection: &Rc<Downstream>| {
        let mut exchange = exchange_on(downstream(), request("GET", "/", &[]));
        exchange.downstream = Rc::clone(connection);
        filter.request(&mut exchange, None).is_ok()
    };
    let (first, second) = (Rc::new(connection(1)), Rc::new(connection(2)));
    assert_eq!(
        [
            pass(&filter, &first),
            pass(&filter, &first),
            pass(&filter, &first)
        ],
        [true, true, false]
    );
    assert!(pass(&filter, &second) && pass(&other, &first));
    for id in 3..1000 {
        assert!(pass(&filter, &Rc::new(connection(id))));
    }
    // Those of closed connections do not stay; those of open ones do.
    assert!(OF_CONNECTIONS.with_borrow(|held| held.buckets.len()) <= 2 * SMALLEST_SWEEP);
    assert!(!pass(&filter, &first));
}

#[test]
fn what_is_not_served_refuses_and_what_is_wrong_is_rejected() {
    let bucket = json!({"max_tokens": 1, "fill_interval": "1s"});
    let cases = vec![
        (json!({"token_bucket": bucket}), "served"),
        (
            json!({"token_bucket": bucket, "descriptors": [{"entries": [{"key": "a", "value": "b"}], "token_bucket": bucket}]}),
            "refused: descriptors",
        ),
        (
            json!({"token_bucket": bucket, "local_cluster_rate_limit": {}}),
            "refused: local_cluster_rate_limit",
        ),
        (
            json!({"token_bucket": {"fill_interval": "1s"}}),
            "rejected: token_bucket.max_tokens: 0 is not a number above 0",
        ),
        (
            json!({"token_bucket": {"max_tokens": 1}}),
            "rejected: token_bucket.fill_interval: required",
        ),
        (
            json!({"token_bucket": {"max_tokens": 1, "fill_interval": "0.049s"}}),
            "rejected: token_bucket.fill_interval: 49ms is not 50 ms or more",
        ),
        (
            json!({"token_bucket": {"max_tokens": 1, "tokens_per_fill": 0, "fill_interval": "1s"}}),
            "rejected: token_bucket.tokens_per_fill",
        ),
    ];
    for (message, expected) in cases {
        let found = outcome::<LocalRateLimit, _>(message.clone(), LocalRateLimitFilter::plan);
        assert!(found.starts_with(expected), "{message}: {found}");
    }
    assert!(
        outcome::<LocalRateLimit, _>(json!({}), LocalRateLimitFilter::plan_route)
            .starts_with("rejected: token_bucket")
    );
}
