use carbyne_protos::envoy::config::metrics::v3::StatsConfig;
use serde_json::{Value, json};

use super::*;
use crate::plan::Environment;

fn rules(config: &Value) -> StatsRules {
    let message: StatsConfig = carbyne_protos::json::from_json(config).unwrap();
    Environment::default()
        .plan_message(&message, |message, scope| {
            StatsRules::plan(Some(message), scope)
        })
        .unwrap()
        .plan
}

/// Istio's bootstrap, as pilot-agent writes it.
fn istio() -> StatsRules {
    rules(&json!({
        "use_all_default_tags": false,
        "stats_tags": [
            {"tag_name": "cluster_name", "regex": "^cluster(\\.(.+);)"},
            {"tag_name": "http_conn_manager_prefix", "regex": "^http\\.(((?:[_.[:digit:]\\w]*|[_\\[\\]aAbBcCdDeEfF[:digit:]\\w\\:]*));\\.)"},
            {"tag_name": "response_code_class", "regex": "_rq(_(\\dxx))$"},
            {"tag_name": "http_conn_manager_listener_prefix", "regex": "^listener(?=\\.).*?\\.http\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)"},
            {"tag_name": "listener_address", "regex": "^listener\\.(((?:[_.[:digit:]]*|[_\\[\\]aAbBcCdDeEfF[:digit:]]*))\\.)"},
            {"tag_name": "fixed", "fixed_value": "v"}
        ],
        "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": "cluster.xds-grpc"}, {"prefix": "server"}, {"prefix": "istio"}, {"suffix": "rbac.allowed"}, {"prefix": "http"}]}},
        "histogram_bucket_settings": [{"match": {"prefix": "istiocustom.istio_request_bytes"}, "buckets": [10, 100]}]
    }))
}

#[test]
fn tags_leave_the_name() {
    let rules = istio();
    let cases: &[(&str, &str, &[(&str, &str)])] = &[
        (
            "cluster.outbound|80||a.b;.upstream_rq_5xx",
            "cluster.upstream_rq",
            &[
                ("cluster_name", "outbound|80||a.b"),
                ("response_code_class", "5xx"),
                ("fixed", "v"),
            ],
        ),
        (
            "http.inbound_0.0.0.0_80;.downstream_cx_total",
            "http.downstream_cx_total",
            &[
                ("http_conn_manager_prefix", "inbound_0.0.0.0_80"),
                ("fixed", "v"),
            ],
        ),
        (
            "listener.0.0.0.0_15006.http.1.downstream_rq_total",
            "listener.http.downstream_rq_total",
            &[
                ("http_conn_manager_listener_prefix", "1"),
                ("listener_address", "0.0.0.0_15006"),
                ("fixed", "v"),
            ],
        ),
        ("server.live", "server.live", &[("fixed", "v")]),
    ];
    for (name, extracted, tags) in cases {
        let tagged = rules.tags(name);
        let found: Vec<(&str, &str)> = tagged
            .tags
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, *tags, "{name}");
        assert_eq!(&*tagged.name, *extracted, "{name}");
    }
    let tagged = StatsRules::default().tags("cluster.my.backend.upstream_rq_200");
    assert_eq!(&*tagged.name, "cluster.upstream_rq");
    assert_eq!(tagged.tags.len(), 2);
}

#[test]
fn names_are_admitted_by_the_matcher() {
    let rules = istio();
    for (name, expected) in [
        ("server.live", true),
        ("cluster.xds-grpc;.x", true),
        ("cluster.other;.x", false),
        ("a.rbac.allowed", true),
        ("istiocustom.istio_requests_total", true),
    ] {
        assert_eq!(rules.admits(name), expected, "{name}");
    }
    assert!(StatsRules::default().admits("x"));
    let none = self::rules(&json!({"stats_matcher": {"reject_all": true}}));
    assert!(!none.admits("server.live"));
    let but =
        self::rules(&json!({"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "a"}]}}}));
    assert!(but.admits("b") && !but.admits("a"));
    assert_eq!(
        *rules.bounds("istiocustom.istio_request_bytes"),
        [10.0, 100.0]
    );
    assert_eq!(*rules.bounds("other"), DEFAULT_BOUNDS);
}

struct Server;

impl Source for Server {
    fn visit(&self, show: &mut dyn FnMut(&str, Reading<'_>)) {
        show("server.live", Reading::Gauge(1));
        show("server.state", Reading::Gauge(0));
        show("server.errors", Reading::Counter(0));
        show("other", Reading::Counter(7));
    }
}

#[test]
fn sources_are_walked_while_they_live() {
    let registry = Registry::new(istio(), "1.29.2");
    let server = Arc::new(Server);
    registry.register(&server);
    let seen = |registry: &Registry| {
        let mut seen = Vec::new();
        registry.visit(&mut |statistic| {
            seen.push((
                statistic.name.to_owned(),
                statistic.used,
                statistic.tags.len(),
            ))
        });
        seen
    };
    let build = || {
        (
            "istiocustom.istio_build.component.proxy.tag.1.29.2".to_owned(),
            true,
            2,
        )
    };
    let entry = |name: &str, used| (name.to_owned(), used, 1);
    assert_eq!(
        seen(&registry),
        [
            entry("server.live", true),
            entry("server.state", true),
            entry("server.errors", false),
            build()
        ]
    );
    drop(server);
    assert_eq!(seen(&registry), [build()]);
}
