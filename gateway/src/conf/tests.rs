use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<(Conf, Vec<String>), ConfError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kong.conf");
    std::fs::write(&path, file).unwrap();
    Conf::load(
        Some(&path),
        environment
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    )
}

#[test]
fn the_environment_wins_over_the_file() {
    let (conf, notes) = load(
        "# a comment\nadmin_listen = 127.0.0.1:1 # here\nprefix = /a\n",
        &[
            ("KONG_PREFIX", "/b"),
            ("KONG_DATABASE", "off"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();
    assert_eq!(
        (conf.get("prefix"), conf.get("admin_listen")),
        (Some("/b"), Some("127.0.0.1:1"))
    );
    assert!(conf.is_dbless());
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn what_has_no_effect_is_said_once_and_what_is_unknown_is_guessed() {
    let (_, notes) = load(
        "admin_lisen = 127.0.0.1:1\nwholly_something_else = 1\n",
        &[
            ("KONG_STREAM_LISTEN", "off"),
            ("KONG_NGINX_HTTP_FOO", "1"),
            ("KONG_LOG_LEVL", "info"),
            ("KONG_PROXY_PORT", "tcp://10.0.0.1:80"),
            ("KONG_PROXY_SERVICE_HOST", "10.0.0.1"),
            ("KONG_ADMIN_PORT_8001_TCP_ADDR", "10.0.0.1"),
        ],
    )
    .unwrap();
    assert_eq!(
        notes,
        [
            "admin_lisen is unknown; did you mean admin_listen?",
            "KONG_LOG_LEVL is unknown; did you mean KONG_LOG_LEVEL?",
            "KONG_NGINX_HTTP_FOO injects an nginx directive that has no effect here",
            "KONG_STREAM_LISTEN is known but has no effect here",
            "wholly_something_else is unknown",
        ]
    );
}

#[test]
fn what_is_not_served_stops_the_node() {
    for (key, value, why) in [
        ("KONG_ROLE", "data_plane", "role"),
        ("KONG_STREAM_LISTEN", "0.0.0.0:9000", "stream_listen"),
        ("KONG_PG_HOST", "db", "pg_host"),
        ("KONG_DATABASE", "cassandra", "database"),
        ("KONG_ROUTER_FLAVOR", "radix", "router_flavor"),
        (
            "KONG_ROUTE_MATCH_CALCULATION",
            "exact",
            "route_match_calculation",
        ),
        ("KONG_ADMIN_LISTEN", "nowhere", "admin_listen"),
    ] {
        let error = load("", &[(key, value)]).unwrap_err().to_string();
        assert!(error.contains(why), "{key}: {error}");
    }
    assert!(matches!(
        load("nonsense\n", &[]),
        Err(ConfError::Unreadable { .. })
    ));
}

#[test]
fn routers_by_their_names() {
    let rules = |environment: &[_]| load("", environment).unwrap().0.router();
    assert_eq!(rules(&[]), Rules::default());
    let told = rules(&[
        ("KONG_ROUTER_FLAVOR", "expressions"),
        ("KONG_ROUTE_MATCH_CALCULATION", "strict"),
    ]);
    let expected = Rules {
        flavor: Flavor::Expressions,
        calculation: Calculation::Strict,
    };
    assert_eq!(told, expected);
}

/// Kong's Helm chart asks for the router before 3.0.
#[test]
fn the_traditional_router_is_served_as_its_successor() {
    let ask = |environment: &[_]| load("", environment).unwrap();
    let (conf, notes) = ask(&[("KONG_ROUTER_FLAVOR", "traditional")]);
    let told: Vec<_> = notes
        .iter()
        .filter(|note| note.contains("traditional_compatible"))
        .collect();
    assert_eq!(told.len(), 1, "{notes:?}");
    assert_eq!(conf.print()["router_flavor"], "traditional".into());
    let documented = Rules {
        flavor: Flavor::Traditional,
        calculation: Calculation::Strict,
    };
    assert_eq!(conf.router(), documented);
    let (conf, _) = ask(&[
        ("KONG_ROUTER_FLAVOR", "traditional"),
        ("KONG_ROUTE_MATCH_CALCULATION", "original"),
    ]);
    let original = Rules {
        calculation: Calculation::Original,
        ..documented
    };
    assert_eq!(conf.router(), original);
}

#[test]
fn secrets_are_not_shown() {
    let (conf, _) = load(
        "",
        &[
            ("KONG_SSL_CERT_KEY", "secret"),
            ("KONG_ADMIN_LISTEN", "off"),
        ],
    )
    .unwrap();
    let shown = conf.print();
    assert_eq!(shown["ssl_cert_key"], "******".into());
    assert_eq!(shown["anonymous_reports"], true.into());
    assert_eq!(shown["db_update_frequency"], 5.0.into());
}

#[test]
fn files_of_the_image_give_values() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "secret\n").unwrap();
    let path = file.to_str().unwrap();
    let (conf, notes) = load("", &[("KONG_ADMIN_SSL_CERT_KEY_FILE", path)]).unwrap();
    assert_eq!(conf.get("admin_ssl_cert_key"), Some("secret"));
    assert_eq!(notes, Vec::<String>::new());
    let both = [
        ("KONG_ADMIN_SSL_CERT_KEY_FILE", path),
        ("KONG_ADMIN_SSL_CERT_KEY", "x"),
    ];
    assert_eq!(
        load("", &both).unwrap_err().to_string(),
        "both KONG_ADMIN_SSL_CERT_KEY and KONG_ADMIN_SSL_CERT_KEY_FILE are set (but are exclusive)"
    );
    let error = load("", &[("KONG_PREFIX_FILE", "/no/such/file")]).unwrap_err();
    assert!(error.to_string().starts_with("/no/such/file: "), "{error}");
}

#[test]
fn references_are_resolved_and_shown_as_references() {
    let told = [
        ("KONG_ADMIN_SSL_CERT_KEY", "{vault://env/my-key}"),
        ("KONG_PREFIX", "{vault://env/place/folder}"),
        ("KONG_ADMIN_SSL_CERT", "/a.pem, {vault://env/my-key}"),
        ("MY_KEY", "secret"),
        ("PLACE", r#"{"folder": "/somewhere"}"#),
    ];
    let (conf, _) = load("", &told).unwrap();
    assert_eq!(conf.get("admin_ssl_cert_key"), Some("secret"));
    assert_eq!(conf.get("admin_ssl_cert"), Some("/a.pem,secret"));
    assert_eq!(conf.prefix(), Path::new("/somewhere"));
    let shown = conf.print();
    assert_eq!(shown["admin_ssl_cert_key"], "******".into());
    assert_eq!(shown["prefix"], "{vault://env/place/folder}".into());
    for printed in [format!("{conf:?}"), conf.told_lines().collect()] {
        assert!(!printed.contains("secret"), "{printed}");
    }
    let error = load("", &[("KONG_PREFIX", "{vault://env/absent}")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to dereference '{vault://env/absent}': the variable ABSENT is not set for config option 'prefix'"
    );
}

#[test]
fn what_was_told_can_be_read_again() {
    let (conf, _) = load(
        "prefix = /a\\#b # a comment\n",
        &[("KONG_LOG_LEVEL", "debug")],
    )
    .unwrap();
    assert_eq!(conf.get("prefix"), Some("/a#b"));
    let text: Vec<_> = conf.told_lines().collect();
    let (again, _) = load(&text.join("\n"), &[]).unwrap();
    assert_eq!(again.changed_since(&conf).count(), 0);
}

#[test]
fn directives_have_types_and_the_narrower_scope_wins() {
    use std::time::Duration;
    let (conf, notes) = load(
        "nginx_worker_processes = 3\nnginx_http_client_max_body_size = 1m\nnginx_proxy_client_max_body_size = 2m\n\
         nginx_http_keepalive_timeout = 75s 60s\nnginx_http_large_client_header_buffers = 8 24k\n\
         nginx_proxy_client_header_timeout = 5s\n",
        &[],
    )
    .unwrap();
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(conf.worker_processes(), Some(3));
    assert_eq!(conf.get("nginx_main_worker_processes"), Some("3"));
    assert_eq!(conf.client_max_body_size(), Some(2 << 20));
    assert_eq!(conf.admin_max_body_size(), Some(10 << 20));
    assert_eq!(conf.keepalive_timeout(), Some(Duration::from_secs(75)));
    assert_eq!(conf.client_header_timeout(), Some(Duration::from_secs(5)));
    assert_eq!(conf.client_body_timeout(), None);
    assert_eq!(conf.large_client_header_buffers(), Some((8, 24 << 10)));
    for (line, why) in [
        (
            "nginx_http_client_max_body_size = big",
            "is no size such as 8k or 10m",
        ),
        ("nginx_proxy_send_timeout = soon", "is no time such as 60s"),
        (
            "nginx_worker_processes = many",
            "is neither auto nor a number",
        ),
        (
            "nginx_http_large_client_header_buffers = 8",
            "is not such as 4 8k",
        ),
        (
            "nginx_proxy_underscores_in_headers = no",
            "is neither on nor off",
        ),
        (
            "nginx_admin_ssl_verify_client = maybe",
            "is none of on, off, optional",
        ),
        (
            "nginx_admin_ssl_verify_client = on",
            "but not nginx_admin_ssl_client_certificate",
        ),
    ] {
        let error = load(line, &[]).unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
}

#[test]
fn what_postgresql_would_be_told_does_not_matter_without_a_database() {
    let told = [("KONG_PG_HOST", "db"), ("KONG_DATABASE", "off")];
    assert!(load("", &told).unwrap().0.is_dbless());
}

/// docs/gateway.md lists every key that has an effect, with its default.
#[test]
fn every_key_in_effect_is_documented() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let text = std::fs::read_to_string(Path::new(&folder).join("../docs/gateway.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), cells.next()?))
    });
    let mut documented: BTreeMap<&str, &str> = BTreeMap::new();
    for (names, default) in rows {
        for name in names.split("`, `") {
            documented.insert(name, default);
        }
    }
    for key in &DEFAULTS.effective {
        let default = DEFAULTS.values[key].as_deref();
        let shown = default.map_or_else(String::new, |default| format!("`{default}`"));
        assert_eq!(
            documented.remove(key.as_str()),
            Some(shown.as_str()),
            "{key}"
        );
    }
    let stray: Vec<_> = documented
        .keys()
        .filter(|name| DEFAULTS.values.contains_key(**name))
        .collect();
    assert!(
        stray.is_empty(),
        "documented, but without effect: {stray:?}"
    );
}
