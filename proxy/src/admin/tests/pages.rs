//! All other pages.

use super::*;

#[test]
fn clusters_come_back_as_recorded() {
    let Some(expected) = recorded_json("clusters_format_json.json") else {
        return;
    };
    let clusters: Clusters = from_json(&expected).unwrap();
    let state = Fake {
        clusters: clusters.cluster_statuses,
        ..Fake::default()
    };
    assert_eq!(
        value(&ask(&state, "GET", "/clusters?format=json")),
        expected
    );

    let text = ask(&state, "GET", "/clusters?filter=^agent$").body;
    for line in [
        "agent::observability_name::agent;",
        "agent::default_priority::max_connections::1024",
        "agent::high_priority::max_retries::3",
        "agent::added_via_api::false",
        "agent::127.0.0.1:15020::cx_total::1",
        "agent::127.0.0.1:15020::health_flags::healthy",
        "agent::127.0.0.1:15020::success_rate::-1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("xds-grpc"));
    assert!(
        ask(&state, "GET", "/clusters")
            .body
            .contains("sds-grpc::./var/run/secrets/workload-spiffe-uds/socket::weight::1")
    );
}

#[test]
fn certificates_come_back_as_recorded() {
    let Some(expected) = recorded_json("certs.json") else {
        return;
    };
    let certificates: Certificates = from_json(&expected).unwrap();
    let state = Fake {
        certificates: certificates.certificates,
        ..Fake::default()
    };
    assert_eq!(value(&ask(&state, "GET", "/certs")), expected);
    assert_eq!(
        ask(&Fake::default(), "GET", "/certs").body,
        "{\n \"certificates\": []\n}\n"
    );
}

#[test]
fn listeners_come_back_as_recorded() {
    let Some(expected) = recorded("listeners.txt") else {
        return;
    };
    let listeners = expected
        .lines()
        .filter_map(|line| line.split_once("::"))
        .map(|(name, address)| {
            let (host, port) = address.rsplit_once(':').unwrap();
            ListenerStatus {
                name: name.to_owned(),
                local_address: Some(Address {
                    address: Some(address::Address::SocketAddress(SocketAddress {
                        address: host.to_owned(),
                        port_specifier: Some(socket_address::PortSpecifier::PortValue(
                            port.parse().unwrap(),
                        )),
                        ..SocketAddress::default()
                    })),
                }),
                ..ListenerStatus::default()
            }
        });
    let state = Fake {
        listeners: listeners.collect(),
        ..Fake::default()
    };
    assert_eq!(
        ask(&state, "GET", "/listeners").body.trim(),
        expected.trim()
    );
    let message: Listeners =
        from_json(&value(&ask(&state, "GET", "/listeners?format=json"))).unwrap();
    assert_eq!(message.listener_statuses, state.listeners);
    assert_eq!(ask(&state, "GET", "/listeners?format=xml").status, 400);
}

#[test]
fn server_info_comes_back_as_recorded() {
    let Some(mut expected) = recorded_json("server_info.json") else {
        return;
    };
    let info: ServerInfo = from_json(&expected).unwrap();
    let state = Fake {
        info: Some(info),
        ..Fake::default()
    };
    let ours = value(&ask(&state, "GET", "/server_info"));
    let _: ServerInfo = from_json(&ours).unwrap();
    expected["version"] = ours["version"].clone();
    for (key, theirs) in expected.as_object().unwrap() {
        assert_eq!(&ours[key], theirs, "{key}");
    }
    assert_eq!(
        ours.as_object().unwrap().len(),
        expected.as_object().unwrap().len()
    );
}

#[test]
fn our_command_line_prints_with_envoys_keys() {
    let Some(expected) = recorded_json("server_info.json") else {
        return;
    };
    let line = "envoy -c etc/istio/proxy/envoy-rev.json --drain-time-s 45 --drain-strategy immediate \
                --local-address-ip-version v4 --file-flush-interval-msec 1000 --disable-hot-restart \
                --allow-unknown-static-fields -l warning --skip-deprecated-logs --concurrency 1 --file-flush-min-size-kb 0";
    let Ok(Command::Run(options)) = cli::parse(line.split_whitespace().map(Into::into)) else {
        panic!("{line}");
    };
    let state = Fake {
        info: Some(ServerInfo {
            command_line_options: Some(options.to_message(1)),
            ..ServerInfo::default()
        }),
        ..Fake::default()
    };
    let ours = value(&ask(&state, "GET", "/server_info"));
    assert_eq!(
        ours["command_line_options"],
        expected["command_line_options"]
    );
}

#[test]
fn what_changes_something_must_be_posted() {
    let state = Fake::default();
    for page in PAGES.iter().filter(|page| page.post) {
        let response = ask(&state, "GET", page.path);
        assert_eq!(
            (response.status, &*response.body),
            (405, "Method GET not allowed, POST required.")
        );
        assert_eq!(
            ask(&state, "HEAD", page.path).body,
            "Method HEAD not allowed, POST required."
        );
    }
    assert!(state.done.borrow().is_empty());
    for target in [
        "/drain_listeners?inboundonly&graceful&skip_exit",
        "/drain_listeners?graceful",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/reset_counters",
        "/reopen_logs",
        "/quitquitquit",
    ] {
        assert_eq!(ask(&state, "POST", target), Response::done(), "{target}");
    }
    let drain = "Drain { graceful: true, skip_exit: true, inbound_only: true }";
    let plain = "Drain { graceful: true, skip_exit: false, inbound_only: false }";
    assert_eq!(
        *state.done.borrow(),
        [
            drain,
            plain,
            "fail true",
            "fail false",
            "reset",
            "reopen",
            "quit"
        ]
    );
}

#[test]
fn every_page_of_the_list_answers_and_others_do_not() {
    let state = Fake::default();
    for page in PAGES {
        let method = if page.post { "POST" } else { "GET" };
        let response = ask(&state, method, page.path);
        assert_eq!(response.status, 200, "{}", page.path);
        assert!(
            ask(&state, "GET", "/help")
                .body
                .contains(&format!("  {}", page.path))
        );
    }
    let response = ask(&state, "GET", "/nope");
    assert_eq!(response.status, 404);
    assert!(
        response
            .body
            .starts_with("invalid path. admin commands are:\n  /: ")
    );
    let paths: Vec<_> = PAGES.iter().map(|page| page.path).collect();
    assert!(paths.is_sorted());
}

#[test]
fn readiness_follows_the_state() {
    for (state, status, body) in [
        (server_info::State::Live, 200, "LIVE\n"),
        (server_info::State::Draining, 503, "DRAINING\n"),
        (
            server_info::State::PreInitializing,
            503,
            "PRE_INITIALIZING\n",
        ),
        (server_info::State::Initializing, 503, "INITIALIZING\n"),
    ] {
        let fake = Fake {
            state,
            ..Fake::default()
        };
        let response = ask(&fake, "GET", "/ready");
        assert_eq!((response.status, &*response.body), (status, body));
    }
}

#[test]
fn levels_are_listed_and_changed() {
    let state = Fake::default();
    let list = |admin: &str, upstream: &str| {
        format!("active loggers:\n  admin: {admin}\n  upstream: {upstream}\n\n")
    };
    for (target, expected) in [
        ("/logging", list("warning", "warning")),
        ("/logging?admin=debug", list("debug", "warning")),
        ("/logging?level=info", list("info", "info")),
        (
            "/logging?paths=admin:trace,upstream:off",
            list("trace", "off"),
        ),
    ] {
        let response = ask(&state, "POST", target);
        assert_eq!(
            (response.status, response.body),
            (200, expected),
            "{target}"
        );
    }
    for (target, reason) in [
        ("/logging?level=loud", "unknown logger level"),
        ("/logging?nobody=debug", "unknown logger name"),
        (
            "/logging?level=debug&admin=debug",
            "invalid number of parameters",
        ),
        (
            "/logging?paths=admin:debug,nobody:debug",
            "unknown logger name",
        ),
    ] {
        let response = ask(&state, "POST", target);
        assert_eq!(response.status, 400, "{target}");
        assert!(
            response
                .body
                .starts_with(&format!("error: {reason}\n\nusage: ")),
            "{}",
            response.body
        );
        assert!(
            response.body.ends_with(&list("trace", "off")),
            "nothing changes: {}",
            response.body
        );
    }
}

#[test]
fn memory_runtime_and_initialisation_are_told() {
    let mut state = Fake::default();
    let bootstrap = r#"{"layered_runtime": {"layers": [
        {"name": "static", "static_layer": {"a": {"b": true}, "c": 1, "d": "x"}}, {"name": "top", "static_layer": {"c": 2}},
        {"name": "admin", "admin_layer": {}}]}}"#;
    state.configuration.bootstrap =
        Arc::new(from_json(&serde_json::from_str(bootstrap).unwrap()).unwrap());
    let runtime = value(&ask(&state, "GET", "/runtime"));
    assert_eq!(
        runtime["layers"],
        serde_json::json!(["static", "top", "admin"])
    );
    assert_eq!(runtime["entries"]["a.b"]["final_value"], "true");
    assert_eq!(
        runtime["entries"]["c"],
        serde_json::json!({"layer_values": ["1", "2", ""], "final_value": "2"})
    );

    let memory = value(&ask(&state, "GET", "/memory"));
    let memory: Memory = from_json(&memory).unwrap();
    assert!(memory.total_physical_bytes > 1 << 20 && memory.allocated > 0);

    let dump: UnreadyTargetsDumps =
        from_json(&value(&ask(&state, "GET", "/init_dump?mask=listener"))).unwrap();
    assert_eq!(
        dump.unready_targets_dumps[0].target_names,
        ["secret default"]
    );
    assert_eq!(ask(&state, "GET", "/init_dump?mask=cluster").body, "{}\n");
}
