//! Verbs that need no node.

use super::program::Program;

#[test]
fn verbs_have_kongs_words_and_exit_codes() {
    let program = Program::new();
    let good = program.write("good.conf", "log_level = debug\n");
    let odd = program.write("odd.conf", "log_levl = debug\nstream_listen = off\n");
    let bad = program.write("bad.conf", "role = data_plane\n");
    let secret = program.write("secret.conf", "admin_ssl_cert_key = hush-hush\n");
    let missing = program.path("missing.conf").to_str().unwrap().to_owned();
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["version"], 0, "3.9.3\n", ""),
        (&["--version"], 0, "3.9.3\n", ""),
        (&["version", "-a"], 0, "Kong: 3.9.3\n", ""),
        (&["check", &good], 0, "good.conf is valid\n", ""),
        (
            &["check", "-c", &good, "--vv"],
            0,
            "is valid\n",
            "[debug] log_level = debug",
        ),
        (
            &["check", &secret, "--vv"],
            0,
            "is valid\n",
            "[debug] admin_ssl_cert_key = ******",
        ),
        (
            &["check", &odd],
            0,
            "odd.conf is valid\n",
            "[warn] log_levl is unknown; did you mean log_level?\n",
        ),
        (
            &["check", &odd],
            0,
            "",
            "[warn] stream_listen is known but has no effect here\n",
        ),
        (
            &["check", &bad],
            1,
            "",
            "Error: role: only 'traditional' is served",
        ),
        (&["check", &missing], 1, "", "Error: no file at: "),
        (
            &["start", "-c", &bad],
            1,
            "",
            "Error: role: only 'traditional' is served",
        ),
        (&["start", "-c", &missing], 1, "", "Error: no file at: "),
        (&["stop"], 1, "", "Error: no such prefix: "),
        (&["quit"], 1, "", "Error: no such prefix: "),
        (&["health"], 1, "", "Error: no such prefix: "),
        (&["reload"], 1, "", "Error: no such prefix: "),
        (&["fly"], 1, "", "unrecognized subcommand 'fly'"),
        (&["start", "--fly"], 1, "", "unexpected argument '--fly'"),
        (&["config"], 1, "", "Usage: kong config"),
        (&["help"], 0, "Usage: kong", ""),
        (&["start", "--help"], 0, "Usage: kong start", ""),
        (
            &["migrations", "bootstrap"],
            0,
            "Database already bootstrapped\n",
            "",
        ),
        (
            &["migrations", "up"],
            0,
            "Database is already up-to-date\n",
            "",
        ),
        (&["migrations", "up", "-q"], 0, "", ""),
        (
            &["migrations", "finish"],
            0,
            "No pending migrations to finish\n",
            "",
        ),
        (&["migrations", "list"], 0, "there is nothing to do\n", ""),
        (
            &["migrations", "status"],
            0,
            "\"needs_bootstrap\":false",
            "",
        ),
        (
            &[
                "migrations",
                "bootstrap",
                "--db-timeout",
                "5",
                "--lock-timeout",
                "9",
                "--v",
            ],
            0,
            "nothing to do",
            "",
        ),
        (
            &["migrations", "reset"],
            1,
            "",
            "Error: not a tty: invoke 'reset' non-interactively with the --yes flag",
        ),
        (
            &["migrations", "reset", "--yes"],
            1,
            "Database not bootstrapped, nothing to reset\n",
            "",
        ),
        (
            &["migrations", "sideways"],
            1,
            "",
            "invalid value 'sideways'",
        ),
        (
            &["vault", "get", "env/kong-status-listen"],
            0,
            "127.0.0.1:0\n",
            "",
        ),
        (
            &["vault", "get", "{vault://env/none}"],
            1,
            "",
            "Error: the variable NONE is not set",
        ),
    ];
    for (arguments, code, out, err) in cases {
        let ended = program.kong(arguments);
        assert_eq!(ended.code, *code, "{arguments:?}: {ended:?}");
        assert!(ended.out.contains(out), "{arguments:?}: {ended:?}");
        assert!(ended.err.contains(err), "{arguments:?}: {ended:?}");
        if out.is_empty() && *code != 0 {
            assert_eq!(ended.out, "", "{arguments:?}");
        }
        assert!(
            !format!("{ended:?}").contains("hush"),
            "{arguments:?}: {ended:?}"
        );
    }
}

#[test]
fn prepare_makes_the_prefix() {
    let program = Program::new();
    let listen = "127.0.0.1:0, 127.0.0.1:0 ssl";
    let ended = program.kong_with(
        &["prepare", "--nginx-conf", "x"],
        &[("KONG_ADMIN_LISTEN", listen)],
    );
    assert_eq!(ended.code, 0, "{ended:?}");
    for file in [
        "logs",
        "pids",
        ".kong_env",
        "ssl/admin-kong-default.crt",
        "ssl/admin-kong-default.key",
        "ssl/admin-kong-default-ecdsa.crt",
        "ssl/admin-kong-default-ecdsa.key",
    ] {
        assert!(program.prefix().join(file).exists(), "{file}");
    }
    let environment = std::fs::read_to_string(program.prefix().join(".kong_env")).unwrap();
    assert!(
        environment.contains(&format!("\nadmin_listen = {listen}\n")),
        "{environment}"
    );
    for file in [".kong_env", "ssl/admin-kong-default.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = program
            .prefix()
            .join(file)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{file} is for its owner");
    }
    // Certificates stay what they are.
    let key = std::fs::read(program.prefix().join("ssl/admin-kong-default.key")).unwrap();
    assert_eq!(
        program
            .kong_with(&["prepare"], &[("KONG_ADMIN_LISTEN", listen)])
            .code,
        0
    );
    assert_eq!(
        std::fs::read(program.prefix().join("ssl/admin-kong-default.key")).unwrap(),
        key
    );
}
