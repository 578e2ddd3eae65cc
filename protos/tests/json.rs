//! Proto3-JSON beyond what the recorded files show: spellings, every scalar, errors with paths, secrets, and that nothing
//! that arrives can make the crate panic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use carbyne_protos::any::AnyError;
use carbyne_protos::envoy::admin::v3::ServerInfo;
use carbyne_protos::envoy::config::bootstrap::v3::Bootstrap;
use carbyne_protos::envoy::config::cluster::v3::Cluster;
use carbyne_protos::envoy::config::listener::v3::Listener;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::Secret;
use carbyne_protos::opentelemetry::proto::trace::v1::Span;
use carbyne_protos::prost_types::Any;
use carbyne_protos::stats::PluginConfig;
use carbyne_protos::undecoded::undecoded;
use carbyne_protos::{any as packed, json, schema};
use proptest::prelude::*;
use serde_json::{Value, json as value};

#[test]
fn both_spellings_give_one_message() {
    let snake: Cluster = json::from_json(&value!({
        "name": "a", "connect_timeout": "0.250s", "lb_policy": "RING_HASH", "per_connection_buffer_limit_bytes": 32768,
        "ring_hash_lb_config": {"minimum_ring_size": "1024"}, "type": 3
    }))
    .unwrap();
    let camel: Cluster = json::from_json(&value!({
        "name": "a", "connectTimeout": "0.25s", "lbPolicy": 2, "perConnectionBufferLimitBytes": "32768",
        "ringHashLbConfig": {"minimumRingSize": 1024}, "type": "EDS", "altStatName": null
    }))
    .unwrap();
    assert_eq!(snake, camel);
    assert_eq!(
        json::to_json(&camel),
        value!({
            "name": "a", "connect_timeout": "0.250s", "lb_policy": "RING_HASH", "per_connection_buffer_limit_bytes": 32768,
            "ring_hash_lb_config": {"minimum_ring_size": "1024"}, "type": "EDS"
        })
    );
}

#[test]
fn bytes_and_fixed_numbers() {
    let text = value!({"trace_id": "AAECAwQFBgcICQoLDA0ODw==", "start_time_unix_nano": "18446744073709551615", "flags": 257});
    let span: Span = json::from_json(&text).unwrap();
    assert_eq!(span.trace_id, (0..16).collect::<Vec<u8>>());
    assert_eq!((span.start_time_unix_nano, span.flags), (u64::MAX, 257));
    assert_eq!(json::to_json(&span), text);
    let url_safe: Span = json::from_json(&value!({"span_id": "-_8"})).unwrap();
    assert_eq!(url_safe.span_id, [0xfb, 0xff]);
}

#[test]
fn all_errors_at_once_with_their_paths() {
    let text = value!({
        "static_resources": {
            "clusters": [{"name": "a"}, {"name": 7, "connect_timeout": "5", "lb_policy": "NONE_SUCH"}],
            "listeners": [{"nmae": "x", "address": {"pipe": {}, "socket_address": {}}}],
        },
        "bootstrap_extensions": [{"typed_config": {"@type": "a/no.Such", "x": 1}}],
        "node": {"id": "a", "dynamic_parameters": {"k": {"params": {"p": 1}}}},
    });
    let errors = json::from_json::<Bootstrap>(&text).unwrap_err().0;
    let mut errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.sort();
    assert_eq!(
        errors,
        [
            "bootstrap_extensions[0].typed_config.@type: \"a/no.Such\" is not a message of this program",
            "node.dynamic_parameters[\"k\"].params[\"p\"]: expected a string, found 1",
            "static_resources.clusters[1].connect_timeout: expected a duration such as \"1.5s\", found \"5\"",
            "static_resources.clusters[1].lb_policy: envoy.config.cluster.v3.Cluster.LbPolicy has no value \"NONE_SUCH\"",
            "static_resources.clusters[1].name: expected a string, found 7",
            "static_resources.listeners[0].address.pipe: another member of the same oneof is given too",
            "static_resources.listeners[0].nmae: envoy.config.listener.v3.Listener has no such field",
        ]
    );
}

#[test]
fn tolerant_parsing_tells_what_it_ignored() {
    let text = value!({"name": "a", "newer": {"x": 1}, "filter_chains": [{"filters": [{"name": "f", "typedConfig": {"@type": "a/no.Such", "x": 1}}]}]});
    let (listener, mut ignored) = json::from_json_tolerant::<Listener>(&text).unwrap();
    ignored.sort();
    assert_eq!(
        ignored,
        ["filter_chains[0].filters[0].typedConfig.@type", "newer"]
    );
    assert_eq!(listener.name, "a");
    assert_eq!(undecoded(&packed::pack(&listener)).len(), 1);
}

#[test]
fn an_any_of_unknown_type_keeps_its_bytes() {
    let any = Any {
        type_url: "a/no.Such".to_owned(),
        value: vec![1, 2, 3],
    };
    let printed = json::any_to_json(&any);
    assert_eq!(printed, value!({"@type": "a/no.Such", "value": "AQID"}));
    assert_eq!(json::any_from_json(&printed).unwrap(), any);
    let broken = Any {
        type_url: "a/stats.PluginConfig".to_owned(),
        value: vec![0xff],
    };
    assert_eq!(
        json::any_to_json(&broken),
        value!({"@type": "a/stats.PluginConfig", "value": "/w=="})
    );
}

#[test]
fn typed_structs_decode_as_the_type_that_they_name() {
    let typed = json::any_from_json(&value!({
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/stats.PluginConfig",
        "value": {"disable_host_header_fallback": true, "metrics": [{"dimensions": {"a": "b"}}]}
    }))
    .unwrap();
    let config: PluginConfig = packed::decode_config(&typed).unwrap();
    assert!(config.disable_host_header_fallback);
    assert_eq!(config.metrics[0].dimensions["a"], "b");
    assert!(matches!(
        packed::decode_any::<PluginConfig>(&typed),
        Err(AnyError::Type { .. })
    ));
    assert!(matches!(
        packed::decode_config::<Cluster>(&typed),
        Err(AnyError::Type { .. })
    ));
    assert_eq!(
        packed::decode_config::<PluginConfig>(&packed::pack(&config)).unwrap(),
        config
    );
    let unwrapped = packed::Unwrapped::of(&typed).unwrap();
    assert!(
        unwrapped.is::<PluginConfig>() && unwrapped.is_known() && packed::is_known(&typed.type_url)
    );
}

#[test]
fn secrets_are_redacted_at_every_depth() {
    let text = value!({"name": "default", "tls_certificate": {
        "certificate_chain": {"inline_bytes": "Y2VydA=="}, "private_key": {"inline_bytes": "a2V5"}, "password": {"inline_string": "p"}
    }});
    let secret: Secret = json::from_json(&text).unwrap();
    let expected = value!({"name": "default", "tls_certificate": {
        "certificate_chain": {"inline_bytes": "Y2VydA=="}, "private_key": {"inline_bytes": "W3JlZGFjdGVkXQ=="}, "password": {"inline_string": "[redacted]"}
    }});
    assert_eq!(json::to_json(&secret), text);
    assert_eq!(json::to_json_redacted(&secret), expected);
    let mut inside = json::any_to_json_redacted(&packed::pack(&secret));
    assert_eq!(
        inside.as_object_mut().unwrap().remove("@type").unwrap(),
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    );
    assert_eq!(inside, expected);
    let typed = json::any_from_json(&value!({
        "@type": "a/xds.type.v3.TypedStruct", "type_url": "a/envoy.extensions.transport_sockets.tls.v3.Secret",
        "value": {"name": "default", "tlsCertificate": {"privateKey": {"inlineString": "key"}}}
    }))
    .unwrap();
    assert!(
        !json::any_to_json_redacted(&typed)
            .to_string()
            .contains("\"key\"")
    );
    let debug = format!("{secret:?}");
    assert!(
        debug.contains("3 bytes") && !debug.contains("107, 101, 121"),
        "{debug}"
    );
    let misplaced = json::from_json::<Secret>(
        &value!({"tls_certificate": {"private_key": {"inline_bytes": "not base64!"}}}),
    );
    assert!(!misplaced.unwrap_err().to_string().contains("not base64!"));
}

#[test]
fn defaults_print_where_they_are_asked_for() {
    let info = ServerInfo {
        version: "1".to_owned(),
        ..ServerInfo::default()
    };
    assert_eq!(json::to_json(&info), value!({"version": "1"}));
    assert_eq!(
        json::to_json_with_defaults(&info),
        value!({"version": "1", "state": "LIVE", "hot_restart_version": "", "hot_restart_initializing": false})
    );
}

#[test]
fn every_message_parses_from_its_empty_form() {
    for name in schema::message_names() {
        let any = Any {
            type_url: format!("a/{name}"),
            value: Vec::new(),
        };
        let printed = json::any_to_json(&any);
        assert_eq!(
            json::any_from_json(&printed)
                .unwrap_or_else(|errors| panic!("{name}: {errors}"))
                .type_url,
            any.type_url
        );
        // An empty TypedStruct names no type, which is nothing that anybody understands.
        assert_eq!(
            undecoded(&any).is_empty(),
            !name.ends_with(".TypedStruct"),
            "{name}"
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "name",
        "@type",
        "value",
        "address",
        "typed_config",
        "filters",
        "type",
        "seconds",
        "zz",
        "filterChains",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9./+-]{0,12}".prop_map(Value::from),
        Just(Value::from("a/envoy.config.listener.v3.Listener")),
        Just(Value::from("a/google.protobuf.Duration")),
        Just(Value::from("a/udpa.type.v1.TypedStruct")),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_document_parses_or_errs(document in any_json()) {
        if let Ok((listener, _)) = json::from_json_tolerant::<Listener>(&document) {
            let printed = json::to_json(&listener);
            prop_assert_eq!(json::from_json_tolerant::<Listener>(&printed).unwrap().0, listener);
        }
        let _parsed = json::from_json::<Any>(&document);
    }

    #[test]
    fn any_bytes_print_and_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for name in ["envoy.config.listener.v3.Listener", "google.protobuf.Any", "google.protobuf.Timestamp", "google.protobuf.Struct", "xds.type.v3.TypedStruct"] {
            let any = Any { type_url: format!("a/{name}"), value: bytes.clone() };
            let mut printed = json::any_to_json(&any);
            prop_assert!(printed.take().is_object());
            json::any_to_json_redacted(&any);
            undecoded(&any);
        }
    }

    #[test]
    fn what_prost_encodes_is_decoded_completely(name in ".{0,20}", timeout in any::<(i64, i32)>(), weight in any::<u32>(), ratio in any::<f64>()) {
        use carbyne_protos::prost_types::{Duration, Struct, Value as Field, value::Kind};
        let mut cluster = Cluster { name, ..Cluster::default() };
        cluster.connect_timeout = Some(Duration { seconds: timeout.0 % 315_576_000_000, nanos: 0 });
        cluster.per_connection_buffer_limit_bytes = Some(weight);
        let number = Field { kind: Some(Kind::NumberValue(if ratio.is_finite() { ratio } else { 0.5 })) };
        let metadata = carbyne_protos::envoy::config::core::v3::Metadata {
            filter_metadata: [("istio".to_owned(), Struct { fields: [("n".to_owned(), number)].into() })].into(),
            ..Default::default()
        };
        cluster.metadata = Some(metadata);
        prop_assert!(undecoded(&packed::pack(&cluster)).is_empty());
        prop_assert_eq!(json::from_json::<Cluster>(&json::to_json(&cluster)).unwrap(), cluster);
    }
}
