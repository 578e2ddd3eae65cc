//! A node from its start to its end.

use super::program::{Node, Program, curl};

/// `kong start; kong health; kong reload; kong restart; kong quit`, as scripts have it.
#[test]
fn a_node_in_the_background_is_started_found_and_stopped() {
    let program = Program::new();
    let started = program.kong(&["start", "--run-migrations"]);
    assert_eq!(
        (started.code, started.out.as_str()),
        (0, "Kong started\n"),
        "{started:?}"
    );
    let pid = program.pid().unwrap();
    let url = format!("http://{}/", program.address("Admin"));
    assert!(curl(&[&url]).out.contains(r#""version":"3.9.3""#));

    let again = program.kong(&["start"]);
    assert_eq!(again.code, 1);
    assert!(
        again.err.starts_with("Error: Kong is already running in "),
        "{again:?}"
    );
    let health = program.kong(&["health"]);
    assert_eq!(health.code, 0);
    assert!(
        health
            .out
            .starts_with("nginx.......running\n\nKong is healthy at "),
        "{health:?}"
    );
    for verb in ["db_export", "db_import"] {
        let file = program.write("any.yml", "_format_version: '3.0'\n");
        let file = if verb == "db_export" {
            "new.yml"
        } else {
            &file
        };
        let ended = program.kong(&["config", verb, file]);
        assert!(
            ended
                .err
                .contains("the embedded store is open in one process"),
            "{ended:?}"
        );
    }
    let reset = program.kong(&["migrations", "reset", "--yes"]);
    assert!(
        reset.err.starts_with("Error: Kong is already running in "),
        "{reset:?}"
    );

    let restarted = program.kong(&["restart"]);
    assert_eq!(
        (restarted.code, restarted.out.as_str()),
        (0, "Kong started\n"),
        "{restarted:?}"
    );
    assert_ne!(program.pid().unwrap(), pid);

    let quit = program.kong(&["quit", "-t", "20"]);
    assert_eq!(
        (quit.code, quit.out.as_str()),
        (0, "Kong stopped (gracefully)\n"),
        "{quit:?}"
    );
    assert_eq!(program.pid(), None);
    let health = program.kong(&["health"]);
    assert_eq!(health.code, 1);
    assert!(
        health.out.starts_with("nginx.......not running\n"),
        "{health:?}"
    );
    assert!(
        health.err.starts_with("Error: Kong is not running at "),
        "{health:?}"
    );
    let stop = program.kong(&["stop"]);
    assert!(
        stop.err.starts_with("Error: nginx not running in prefix: "),
        "{stop:?}"
    );

    let reset = program.kong(&["migrations", "reset", "--yes"]);
    assert_eq!(
        (reset.code, reset.out.as_str()),
        (0, "Resetting database...\nDatabase successfully reset\n")
    );
}

#[test]
fn what_keeps_a_node_in_the_background_from_starting_is_told() {
    let program = Program::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = program.kong_with(&["start"], &[("KONG_ADMIN_LISTEN", &address)]);
    assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{ended:?}");
    assert!(
        ended.err.contains(&format!(
            "Error: admin_listen {address}: Address already in use"
        )),
        "{ended:?}"
    );
}

/// A number that is left over from a crash may be another program's by now.
#[test]
fn a_pid_file_that_nobody_holds_is_no_node() {
    let program = Program::new();
    assert_eq!(program.kong(&["prepare"]).code, 0);
    let mut bystander = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    std::fs::write(
        program.prefix().join("pids/nginx.pid"),
        format!("{}\n", bystander.id()),
    )
    .unwrap();
    for verb in ["stop", "quit", "reload"] {
        let ended = program.kong(&[verb]);
        assert!(
            ended
                .err
                .starts_with("Error: nginx not running in prefix: "),
            "{verb}: {ended:?}"
        );
    }
    assert_eq!(program.kong(&["health"]).code, 1);
    assert!(
        bystander.try_wait().unwrap().is_none(),
        "somebody else was ended"
    );
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn reload_takes_the_file_and_keeps_what_was_if_it_is_not_sound() {
    let program = Program::new();
    let file = program.write(
        "kong.yml",
        "_format_version: '3.0'\nservices:\n- {name: one, url: 'http://a'}\n",
    );
    let told = [
        ("KONG_DATABASE", "off"),
        ("KONG_DECLARATIVE_CONFIG", file.as_str()),
    ];
    assert_eq!(program.kong_with(&["start"], &told).code, 0);
    let url = format!("http://{}", program.address("Admin"));
    let is_there = |name: &str| {
        let status = curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &format!("{url}/services/{name}"),
        ]);
        status.out == "200"
    };
    let log = || std::fs::read_to_string(program.prefix().join("logs/error.log")).unwrap();
    let wait_for = |words: &str, times: usize| {
        for _ in 0..500 {
            if log().matches(words).count() == times {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("no {times} × {words} in {}", log());
    };
    assert!(is_there("one"));

    std::fs::write(
        &file,
        "_format_version: '3.0'\nservices:\n- {name: two, url: 'http://a'}\n",
    )
    .unwrap();
    let ended = program.kong_with(&["reload"], &told);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "Kong reloaded\n"),
        "{ended:?}"
    );
    wait_for("the configuration was read again", 1);
    assert!(is_there("two") && !is_there("one"));

    std::fs::write(
        &file,
        "_format_version: '3.0'\nservices:\n- {name: three, retries: x, url: 'http://a'}\n",
    )
    .unwrap();
    assert_eq!(program.kong_with(&["reload"], &told).code, 0);
    wait_for("the configuration was read again", 2);
    wait_for("what was in effect stays", 1);
    assert!(is_there("two") && !is_there("three"));

    // A configuration that is not sound does not reach the node.
    let told = [("KONG_DATABASE", "off"), ("KONG_LOG_LEVEL", "loud")];
    let ended = program.kong_with(&["reload"], &told);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("log_level"), "{ended:?}");
}

/// What Kong's image is started with: in the foreground, whatever `nginx_daemon` says.
#[test]
fn docker_start_serves_in_the_foreground() {
    let program = Program::new();
    let id = "8b1f7f0a-5a3c-4c57-9d3e-1f0f7a9d2c11";
    let file = program.write("id", &format!("{id}\n"));
    let told = [
        ("KONG_NGINX_DAEMON", "on"),
        ("KONG_NODE_ID_FILE", file.as_str()),
    ];
    let node = Node::start(&program, &["docker-start"], &told);
    let url = format!("http://{}/", node.address("Admin"));
    assert!(curl(&[&url]).out.contains(&format!(r#""node_id":"{id}""#)));
    let stopped = program.kong(&["stop"]);
    assert_eq!(
        (stopped.code, stopped.out.as_str()),
        (0, "Kong stopped\n"),
        "{stopped:?}"
    );
}
