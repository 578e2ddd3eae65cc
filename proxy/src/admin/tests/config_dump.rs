//! The configuration dump and its parts.

use super::*;

fn time(timestamp: Option<Timestamp>) -> Option<SystemTime> {
    let timestamp = timestamp?;
    let seconds = Duration::from_secs(timestamp.seconds.unsigned_abs());
    Some(
        SystemTime::UNIX_EPOCH
            + seconds
            + Duration::from_nanos(u64::from(timestamp.nanos.unsigned_abs())),
    )
}

fn entry(
    name: &str,
    origin: Origin,
    version: &str,
    updated: Option<Timestamp>,
    resource: Option<Any>,
) -> Entry {
    Entry {
        name: name.into(),
        origin,
        version: version.into(),
        time: time(updated),
        resource,
        failure: None,
    }
}

/// The configuration that a dump shows.
fn configuration(dump: &ConfigDump) -> Configuration {
    let mut configuration = Configuration::default();
    let name = |any: &Option<Any>| {
        let any = any.as_ref().unwrap();
        let json = carbyne_protos::json::any_to_json(any);
        json["name"]
            .as_str()
            .or_else(|| json["cluster_name"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    for section in &dump.configs {
        if let Ok(dump) = decode_any::<BootstrapConfigDump>(section) {
            configuration.bootstrap = Arc::new(dump.bootstrap.unwrap());
            configuration.bootstrap_time = time(dump.last_updated);
        } else if let Ok(dump) = decode_any::<ClustersConfigDump>(section) {
            configuration.clusters_version = dump.version_info.into();
            for each in dump.static_clusters {
                let name = name(&each.cluster);
                configuration.clusters.push(entry(
                    &name,
                    Origin::Static,
                    "",
                    each.last_updated,
                    each.cluster,
                ));
            }
            for each in dump.dynamic_active_clusters {
                let name = name(&each.cluster);
                configuration.clusters.push(entry(
                    &name,
                    Origin::Active,
                    &each.version_info,
                    each.last_updated,
                    each.cluster,
                ));
            }
        } else if let Ok(dump) = decode_any::<EndpointsConfigDump>(section) {
            for each in dump.static_endpoint_configs {
                let name = name(&each.endpoint_config);
                configuration.endpoints.push(entry(
                    &name,
                    Origin::Static,
                    "",
                    each.last_updated,
                    each.endpoint_config,
                ));
            }
            for each in dump.dynamic_endpoint_configs {
                let name = name(&each.endpoint_config);
                configuration.endpoints.push(entry(
                    &name,
                    Origin::Active,
                    "",
                    each.last_updated,
                    each.endpoint_config,
                ));
            }
        } else if let Ok(dump) = decode_any::<ListenersConfigDump>(section) {
            configuration.listeners_version = dump.version_info.into();
            for each in dump.static_listeners {
                let name = name(&each.listener);
                configuration.listeners.push(entry(
                    &name,
                    Origin::Static,
                    "",
                    each.last_updated,
                    each.listener,
                ));
            }
            for each in dump.dynamic_listeners {
                let state = each.active_state.unwrap();
                configuration.listeners.push(entry(
                    &each.name,
                    Origin::Active,
                    &state.version_info,
                    state.last_updated,
                    state.listener,
                ));
            }
        } else if let Ok(dump) = decode_any::<RoutesConfigDump>(section) {
            for each in dump.static_route_configs {
                let name = name(&each.route_config);
                configuration.routes.push(entry(
                    &name,
                    Origin::Static,
                    "",
                    each.last_updated,
                    each.route_config,
                ));
            }
            for each in dump.dynamic_route_configs {
                let name = name(&each.route_config);
                configuration.routes.push(entry(
                    &name,
                    Origin::Active,
                    &each.version_info,
                    each.last_updated,
                    each.route_config,
                ));
            }
        } else if let Ok(dump) = decode_any::<SecretsConfigDump>(section) {
            for each in dump.dynamic_active_secrets {
                configuration.secrets.push(entry(
                    &each.name,
                    Origin::Active,
                    &each.version_info,
                    each.last_updated,
                    each.secret,
                ));
            }
        }
    }
    configuration
}

fn recorded_dump() -> Option<(Value, Fake)> {
    let expected = recorded_json("config_dump_include_eds.json")?;
    let dump: ConfigDump = from_json(&expected).unwrap_or_else(|errors| panic!("{errors}"));
    let state = Fake {
        configuration: configuration(&dump),
        ..Fake::default()
    };
    Some((expected, state))
}

#[test]
fn the_configuration_comes_back_as_recorded() {
    let Some((expected, state)) = recorded_dump() else {
        return;
    };
    let ours = value(&ask(&state, "GET", "/config_dump?include_eds"));
    let _: ConfigDump = from_json(&ours).unwrap();
    let sections = |dump: &Value| dump["configs"].as_array().unwrap().clone();
    let types = |sections: &[Value]| -> Vec<String> {
        sections
            .iter()
            .map(|section| {
                section["@type"]
                    .as_str()
                    .unwrap()
                    .rsplit('.')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let mut ours = sections(&ours);
    assert_eq!(
        types(&ours),
        [
            "BootstrapConfigDump",
            "ClustersConfigDump",
            "EcdsConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump",
        ]
    );
    // istioctl wants it; Envoy leaves it out where there is nothing in it.
    ours.remove(2);
    for (ours, theirs) in ours.iter().zip(&sections(&expected)) {
        assert_eq!(ours, theirs, "{}", theirs["@type"]);
    }
    let without = value(&ask(&state, "GET", "/config_dump"));
    assert!(!types(&sections(&without)).contains(&"EndpointsConfigDump".to_owned()));
}

#[test]
fn parts_of_the_configuration_can_be_asked_for() {
    let Some((_, state)) = recorded_dump() else {
        return;
    };
    let dump = value(&ask(
        &state,
        "GET",
        "/config_dump?resource=dynamic_listeners&mask=name",
    ));
    let listeners = dump["configs"].as_array().unwrap();
    assert_eq!(listeners.len(), 5);
    assert_eq!(
        listeners[0]["@type"],
        "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener"
    );
    assert_eq!(listeners[0].as_object().unwrap().len(), 2);
    let dump = value(&ask(&state, "GET", "/config_dump?mask=bootstrap.node.id"));
    assert_eq!(dump["configs"].as_array().unwrap().len(), 1);
    assert_eq!(
        dump["configs"][0]["bootstrap"]["node"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
    let dump = value(&ask(
        &state,
        "GET",
        "/config_dump?resource=static_clusters&name_regex=ag.*",
    ));
    assert_eq!(dump["configs"].as_array().unwrap().len(), 1);
    assert_eq!(
        ask(
            &state,
            "GET",
            "/config_dump?resource=static_clusters&name_regex=ag"
        )
        .body,
        "{}\n"
    );
    for (target, status, body) in [
        (
            "/config_dump?resource=nope",
            404,
            "nope not found in config dump",
        ),
        (
            "/config_dump?resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        (
            "/config_dump?mask=bogus.xx",
            400,
            "FieldMask bogus.xx could not be successfully applied to any configs.",
        ),
        (
            "/config_dump?resource=static_clusters&mask=bogus",
            400,
            "FieldMask bogus could not be successfully used.",
        ),
        (
            "/config_dump?resource=static_endpoint_configs",
            404,
            "static_endpoint_configs not found in config dump",
        ),
    ] {
        let response = ask(&state, "GET", target);
        assert_eq!((response.status, &*response.body), (status, body));
    }
    assert_eq!(ask(&state, "GET", "/config_dump?name_regex=(").status, 400);
}

#[test]
fn every_section_is_there_though_empty_and_secrets_are_not() {
    let state = Fake::default();
    let dump = value(&ask(&state, "GET", "/config_dump?include_eds"));
    assert_eq!(dump["configs"].as_array().unwrap().len(), 8);

    let secret = r#"{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "default",
        "tls_certificate": {"private_key": {"inline_string": "PRIVATE"}, "certificate_chain": {"inline_string": "PUBLIC"}}}"#;
    let secret: Any =
        carbyne_protos::json::any_from_json(&serde_json::from_str(secret).unwrap()).unwrap();
    let mut state = Fake::default();
    for origin in [Origin::Static, Origin::Active, Origin::Warming] {
        state.configuration.secrets.push(Entry {
            failure: Some(UpdateFailureState {
                failed_configuration: Some(secret.clone()),
                details: "does not fit".to_owned(),
                ..UpdateFailureState::default()
            }),
            ..entry("default", origin, "1", None, Some(secret.clone()))
        });
    }
    let text = ask(&state, "GET", "/config_dump").body;
    assert!(
        text.contains("PUBLIC") && text.contains("[redacted]") && !text.contains("PRIVATE"),
        "{text}"
    );
    for resource in [
        "static_secrets",
        "dynamic_active_secrets",
        "dynamic_warming_secrets",
    ] {
        let text = ask(
            &state,
            "GET",
            &format!("/config_dump?resource={resource}&mask=secret"),
        )
        .body;
        assert!(
            text.contains("[redacted]") && !text.contains("PRIVATE"),
            "{text}"
        );
    }
}

#[test]
fn states_of_one_listener_come_under_one_name() {
    let listener = Any {
        type_url: "type.googleapis.com/envoy.config.listener.v3.Listener".to_owned(),
        value: Vec::new(),
    };
    let mut state = Fake::default();
    for origin in [Origin::Active, Origin::Warming, Origin::Draining] {
        state
            .configuration
            .listeners
            .push(entry("a", origin, "1", None, Some(listener.clone())));
    }
    state.configuration.listeners.push(Entry {
        failure: Some(UpdateFailureState {
            details: "bad".to_owned(),
            ..UpdateFailureState::default()
        }),
        ..entry("b", Origin::Active, "2", None, None)
    });
    let dump = value(&ask(
        &state,
        "GET",
        "/config_dump?resource=dynamic_listeners",
    ));
    let keys = |index: usize| -> Vec<String> {
        dump["configs"][index]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        keys(0),
        [
            "@type",
            "active_state",
            "draining_state",
            "name",
            "warming_state"
        ]
    );
    assert_eq!(
        keys(1),
        ["@type", "error_state", "name"],
        "never accepted, and told so"
    );
}
