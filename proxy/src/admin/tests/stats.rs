//! Statistics as text, JSON and for Prometheus.

use super::*;

#[test]
fn statistics_come_back_as_recorded() {
    let Some(recorded) = recorded("stats.txt") else {
        return;
    };
    let mut state = Fake::default();
    let mut lines = String::new();
    for line in recorded.lines() {
        let (name, text) = line.split_once(": ").unwrap();
        if let Ok(number) = text.parse() {
            state.numbers.push((
                name.to_owned(),
                number,
                number > 0 || name.starts_with("server.state"),
            ));
        } else if text.starts_with('"') {
            state
                .texts
                .push((name.to_owned(), text.trim_matches('"').to_owned()));
        } else {
            continue;
        }
        lines.push_str(line);
        lines.push('\n');
    }
    assert!(state.numbers.len() > 150);
    assert_eq!(ask(&state, "GET", "/stats").body, lines);

    // What pilot-agent asks before it calls the proxy ready, raw as it sends it and escaped.
    for target in [
        r"/stats?usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$",
        "/stats?usedonly=&filter=%5E%28cluster_manager%5C.cds%7Clistener_manager%5C.lds%29%5C.%28update_success%7Cupdate_rejected%29%24",
    ] {
        let text = ask(&state, "GET", target).body;
        assert_eq!(
            text,
            "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 2\n"
        );
    }
    let text = ask(
        &state,
        "GET",
        r"/stats?usedonly&filter=^(server\.state|listener_manager\.workers_started)",
    )
    .body;
    assert_eq!(
        text,
        "listener_manager.workers_started: 1\nserver.state: 0\n"
    );

    let json = value(&ask(&state, "GET", "/stats?format=json&filter=cds.version"));
    assert_eq!(json["stats"][0]["name"], "cluster_manager.cds.version_text");
    assert_eq!(json["stats"][1]["value"], 5_281_820_302_302_349_204_u64);
}

#[test]
fn statistics_are_filtered_by_type_and_wrong_parameters_refused() {
    let state = Fake {
        tagged: tagged(),
        ..Fake::default()
    };
    for (target, expected) in [
        (
            "/stats?type=Counters",
            "cluster.a;.upstream_cx_total: 3\ncluster.b;.upstream_cx_total: 4\nistiocustom.istio_requests_total: 5\n",
        ),
        ("/stats?type=Gauges", "server.live: 1\n"),
        (
            "/stats?type=TextReadouts",
            "cluster_manager.cds.version_text: \"a\\\"b\"\n",
        ),
    ] {
        assert_eq!(ask(&state, "GET", target).body, expected, "{target}");
    }
    let text = ask(&state, "GET", "/stats?type=Histograms").body;
    assert!(
        text.starts_with("http.x;.downstream_rq_time: P0(nan,0) P25(nan,"),
        "{text}"
    );
    let text = ask(
        &state,
        "GET",
        "/stats?type=Histograms&histogram_buckets=cumulative",
    )
    .body;
    assert_eq!(text, "http.x;.downstream_rq_time: B1(0,1) B5(0,3)\n");
    let json = value(&ask(&state, "GET", "/stats?format=json&type=Histograms"));
    assert_eq!(
        json["stats"][0]["histograms"]["computed_quantiles"][0]["values"]
            .as_array()
            .map(Vec::len),
        Some(10)
    );
    for (target, body) in [
        ("/stats?type=foo", "invalid &type= param"),
        ("/stats?format=xml", "usage: /stats?format="),
        (
            "/stats?histogram_buckets=foo",
            "usage: /stats?histogram_buckets=",
        ),
        ("/stats?filter=(", "Invalid re2 regex: "),
        ("/stats/prometheus?filter=(", "Invalid re2 regex: "),
        ("/clusters?filter=(", "Invalid re2 regex: "),
    ] {
        let response = ask(&state, "GET", target);
        assert_eq!(response.status, 400, "{target}");
        assert!(response.body.starts_with(body), "{}", response.body);
    }
}

#[test]
fn prometheus_gets_one_block_a_metric() {
    let state = Fake {
        tagged: tagged(),
        ..Fake::default()
    };
    let expected = "\
# TYPE envoy_cluster_upstream_cx_total counter
envoy_cluster_upstream_cx_total{cluster_name=\"a\"} 3
envoy_cluster_upstream_cx_total{cluster_name=\"b\"} 4
# TYPE istio_requests_total counter
istio_requests_total{reporter=\"source\",path=\"a\\\"b\\\\c\\nd\"} 5
# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE envoy_http_downstream_rq_time histogram
envoy_http_downstream_rq_time_bucket{prefix=\"x\",le=\"1\"} 1
envoy_http_downstream_rq_time_bucket{prefix=\"x\",le=\"5\"} 3
envoy_http_downstream_rq_time_bucket{prefix=\"x\",le=\"+Inf\"} 4
envoy_http_downstream_rq_time_sum{prefix=\"x\"} 20.5
envoy_http_downstream_rq_time_count{prefix=\"x\"} 4
# TYPE carbyne_own gauge
carbyne_own 1
";
    assert_eq!(ask(&state, "GET", "/stats/prometheus").body, expected);
    assert_eq!(
        ask(&state, "GET", "/stats?format=prometheus").body,
        expected
    );
    let text = ask(
        &state,
        "GET",
        "/stats/prometheus?text_readouts&filter=version_text",
    )
    .body;
    assert!(
        text.ends_with("envoy_cluster_manager_cds_version_text{text_value=\"a\\\"b\"} 0\n"),
        "{text}"
    );
}

fn tagged() -> Vec<Tagged> {
    let entry = |name: &str, extracted: &str, tags: &[(&str, &str)], number| {
        let tags = tags
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        (name.to_owned(), extracted.to_owned(), tags, number)
    };
    let distribution = Distribution {
        buckets: vec![(1.0, 1), (5.0, 3), (f64::INFINITY, 4)],
        sum: 20.5,
        count: 4,
    };
    vec![
        entry(
            "cluster.b;.upstream_cx_total",
            "cluster.upstream_cx_total",
            &[("cluster_name", "b")],
            Number::Counter(4),
        ),
        entry("server.live", "server.live", &[], Number::Gauge(1)),
        entry(
            "http.x;.downstream_rq_time",
            "http.downstream_rq_time",
            &[("prefix", "x")],
            Number::Histogram(distribution),
        ),
        entry(
            "istiocustom.istio_requests_total",
            "istiocustom.istio_requests_total",
            &[("reporter", "source"), ("path", "a\"b\\c\nd")],
            Number::Counter(5),
        ),
        entry(
            "cluster.a;.upstream_cx_total",
            "cluster.upstream_cx_total",
            &[("cluster_name", "a")],
            Number::Counter(3),
        ),
        entry(
            "cluster_manager.cds.version_text",
            "cluster_manager.cds.version_text",
            &[],
            Number::Text("a\"b".to_owned()),
        ),
    ]
}
