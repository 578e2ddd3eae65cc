//! Streams through both sidecars: gRPC by grpcio, and plain TCP with the exchange of metadata in front of it.

use std::path::Path;

use serde_json::{Value, json};

use crate::cases::{Cases, ensure};
use crate::support::http1::{Connection, End};
use crate::support::{PATIENCE, poll, python, service};
use crate::world::{ECHO, ECHO_1, ECHO_HOST, Scene, World};

#[test]
fn grpc() {
    let world = World::new(Scene::default());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh/python");
    let mut server = python::start(
        &world.pod("echo-1").namespace,
        "grpc_server.py",
        &scripts.join("grpc_server.py"),
        &["50051"],
    );
    server.wait_until("its port", |server| {
        python::lines(server)
            .contains(&"ready".to_owned())
            .then_some(())
    });
    let output = python::run(
        &world.pod("caller-1").namespace,
        &scripts.join("grpc_client.py"),
        &[&format!("{ECHO}:50051"), ECHO_HOST],
    )
    .unwrap_or_else(|output| panic!("{output}"));
    let told: Vec<Value> = output
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let cases_wanted = [
        ("unary", json!("hello")),
        (
            "metadata and trailers",
            json!({"response": "x", "initial": "python", "trailing": "end", "binary": "0001ff"}),
        ),
        (
            "an error with its trailers",
            json!({"code": "FAILED_PRECONDITION", "details": "it is: 100% no", "trailing": "end"}),
        ),
        (
            "a deadline that passes",
            json!({"over": true, "soon": true}),
        ),
        ("the server knows the deadline", json!("some")),
        (
            "a method that does not exist",
            json!({"code": "UNIMPLEMENTED", "details": "Method not found!"}),
        ),
        ("a stream from the server", json!(["a", "b", "c", "d"])),
        ("a stream from the client", json!("a b c")),
        (
            "streams both ways, in turn",
            json!(["0", "1", "2", "3", "4"]),
        ),
        (
            "a stream that is cancelled",
            json!({"first": "x", "code": "CANCELLED"}),
        ),
        ("a thousand messages", json!(5000)),
        ("a message of 5 MiB", json!(true)),
        (
            "who the client is",
            json!("URI=spiffe://cluster.local/ns/shop/sa/caller"),
        ),
    ];
    let mut cases = Cases::new("mesh gRPC");
    for (name, wanted) in cases_wanted {
        cases.check(name, || {
            let line = told.iter().find(|line| line["case"] == name);
            let outcome = line.map(|line| &line["outcome"]);
            ensure(outcome == Some(&wanted), || {
                format!("{outcome:?} instead of {wanted}")
            })
        });
    }
    cases.check("its status is in the log", || {
        let line = world.log_line("echo-1", |line| line["path"] == "/test.Echo/Missing");
        ensure(line["response_code"] == 200, || line.to_string())
    });
    cases.check("its messages are counted", || {
        let path = &[("request_protocol", "grpc"), ("reporter", "destination")];
        let counted = |name| world.metric("echo-1", name, path);
        let both = poll(PATIENCE, || {
            let (sent, received) = (
                counted("istio_request_messages_total"),
                counted("istio_response_messages_total"),
            );
            (sent >= 1000.0 && received >= 1000.0).then_some(())
        });
        ensure(both.is_some(), || "too few".to_owned())
    });
    cases.finish();
}

#[test]
fn tcp_with_metadata() {
    let world = World::new(Scene {
        yaml: OFTEN,
        ..Scene::default()
    });
    let pod = &world.pod("echo-1").namespace;
    service::lines(pod, "echo-1", 9000, None);
    service::lines(pod, "echo-1", 9002, Some("welcome\n"));
    let open = |from: &str, to: (std::net::Ipv4Addr, u16)| {
        let namespace = match from {
            "node" => world.node(),
            pod => &world.pod(pod).namespace,
        };
        namespace.inside(|| Connection::open(to.into())).unwrap()
    };
    let mut cases = Cases::new("mesh TCP");
    cases.check("a line there and back", || {
        line(
            &mut open("caller-1", (ECHO, 9000)),
            "hello",
            "echo-1 127.0.0.6: hello\n",
        )
    });
    cases.check("a server that speaks first", || {
        let mut connection = open("caller-1", (ECHO, 9002));
        expect(&mut connection, "welcome\n")?;
        line(&mut connection, "hello", "echo-1 127.0.0.6: hello\n")
    });
    cases.check("a client that ends first gets the rest", || {
        let mut connection = open("caller-1", (ECHO, 9000));
        connection.send(b"one\ntwo\n");
        connection.finish();
        expect(
            &mut connection,
            "echo-1 127.0.0.6: one\necho-1 127.0.0.6: two\n",
        )?;
        connection.closes(PATIENCE).map_err(|end| end.to_string())
    });
    cases.check("a client that says nothing", || {
        let mut connection = open("caller-1", (ECHO, 9000));
        connection.finish();
        connection.closes(PATIENCE).map_err(|end| end.to_string())
    });
    cases.check("plaintext of somebody without a sidecar", || {
        line(
            &mut open("node", (ECHO_1, 9000)),
            "hello",
            "echo-1 127.0.0.6: hello\n",
        )
    });
    cases.check("bytes that look like a frame, in plaintext", || {
        let frame = "=#\u{4}g\n";
        line(
            &mut open("node", (ECHO_1, 9000)),
            frame.trim_end(),
            &format!("echo-1 127.0.0.6: {frame}"),
        )
    });
    cases.check("4 MiB there and back", || {
        let mut connection = open("caller-1", (ECHO, 9000));
        let text = "x".repeat(1 << 20);
        for _ in 0..4 {
            line(
                &mut connection,
                &text,
                &format!("echo-1 127.0.0.6: {text}\n"),
            )?;
        }
        Ok(())
    });
    cases.check("a host where nobody listens", || {
        let mut connection = open("caller-1", (ECHO, 9001));
        connection.send(b"hello\n");
        match connection.closes(PATIENCE) {
            Ok(()) => Ok(()),
            Err(end) => Err(end.to_string()),
        }
    });
    counted(&world, &mut cases, || open("caller-1", (ECHO, 9000)));
    cases.finish();
}

/// What both reporters count of one stream, while it is open and when it is closed.
fn counted(world: &World, cases: &mut Cases, open: impl Fn() -> Connection) {
    let source: &[(&str, &str)] = &[
        ("reporter", "source"),
        ("source_workload", "caller"),
        (
            "source_principal",
            "spiffe://cluster.local/ns/shop/sa/caller",
        ),
        ("destination_workload", "echo"),
        (
            "destination_principal",
            "spiffe://cluster.local/ns/shop/sa/echo",
        ),
        ("destination_service", ECHO_HOST),
        ("connection_security_policy", "unknown"),
        ("request_protocol", "tcp"),
        ("response_flags", "-"),
    ];
    let destination: &[(&str, &str)] = &[
        ("reporter", "destination"),
        ("source_workload", "caller"),
        ("source_workload_namespace", "shop"),
        ("source_app", "caller"),
        ("source_version", "v1"),
        ("source_canonical_service", "caller"),
        ("source_cluster", "Kubernetes"),
        (
            "source_principal",
            "spiffe://cluster.local/ns/shop/sa/caller",
        ),
        ("destination_workload", "echo"),
        ("destination_service", ECHO_HOST),
        ("connection_security_policy", "mutual_tls"),
        ("request_protocol", "tcp"),
        ("response_flags", "-"),
    ];
    let sides = [("caller-1", source), ("echo-1", destination)];
    let all = |name: &str| sides.map(|(pod, labels)| world.metric(pod, name, labels));
    let names = [
        "istio_tcp_connections_opened_total",
        "istio_tcp_connections_closed_total",
        "istio_tcp_received_bytes_total",
        "istio_tcp_sent_bytes_total",
    ];
    // The streams of the cases before are over.
    let quiet = poll(PATIENCE, || {
        let [opened, closed] = [names[0], names[1]].map(all);
        (opened == closed && opened[0] > 0.0).then_some(())
    });
    let before = names.map(all);
    let mut connection = open();
    let text = "a line of some length";
    let answer = format!("echo-1 127.0.0.6: {text}\n");
    cases.check("a stream is counted while it is open", || {
        ensure(quiet.is_some(), || format!("{before:?}"))?;
        line(&mut connection, text, &answer)?;
        let counted = poll(PATIENCE, || {
            let now = names.map(all);
            let grown = |metric: usize, side: usize| now[metric][side] - before[metric][side];
            // The server's side counts the frames of the exchange, too.
            let bytes = [grown(2, 0), grown(3, 0)]
                == [text.len() as f64 + 1.0, answer.len() as f64]
                || grown(2, 0) >= text.len() as f64;
            let both = (0..2)
                .all(|side| grown(0, side) == 1.0 && grown(1, side) == 0.0 && grown(2, side) > 0.0);
            (both && bytes).then_some(())
        });
        ensure(counted.is_some(), || {
            format!("{before:?} and {:?}", names.map(all))
        })
    });
    cases.check("and when it is closed", || {
        drop(connection);
        let closed = poll(PATIENCE, || {
            let now = names.map(all);
            (0..2)
                .all(|side| (0..2).all(|metric| now[metric][side] - before[metric][side] == 1.0))
                .then_some(())
        });
        ensure(closed.is_some(), || {
            format!("{before:?} and {:?}", names.map(all))
        })
    });
}

fn line(connection: &mut Connection, text: &str, answer: &str) -> Result<(), String> {
    connection.send(format!("{text}\n").as_bytes());
    expect(connection, answer)
}

fn expect(connection: &mut Connection, answer: &str) -> Result<(), String> {
    let read = connection
        .read_exactly(answer.len())
        .map_err(|end: End| end.to_string())?;
    ensure(read == answer.as_bytes(), || {
        let mut shown = String::from_utf8_lossy(&read).into_owned();
        shown.truncate(200);
        format!("{shown:?}")
    })
}

const OFTEN: &str = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: often, namespace: shop}
spec:
  metrics: [{providers: [{name: prometheus}], reportingInterval: 200ms}]
";
