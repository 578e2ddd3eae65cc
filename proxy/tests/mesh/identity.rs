//! Who speaks to whom: mutual TLS where both can, plaintext where one cannot, and what the application sees of it.

use serde_json::{Value, json};

use crate::cases::{Cases, Row, ensure};
use crate::load::Load;
use crate::support::http1::{End, Request, get};
use crate::support::poll;
use crate::support::service::{self, Service, websocket_accept};
use crate::support::{PATIENCE, interception::Pod};
use crate::world::{ECHO, ECHO_1, ECHO_HOST, LOCALHOST, NODE, PLAIN, Scene, World};

#[test]
fn who_speaks_to_whom() {
    let world = World::new(Scene::default());
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    for port in [80, 8888] {
        Service::http(world.node(), "plain", port);
    }
    let hello = || get("/hello?x=1").host(ECHO_HOST);
    let mut cases = Cases::new("mesh identity");
    let rows = [
        Row::new("mutual TLS by itself", hello())
            .tells(&[
                ("/service", "echo-1"),
                ("/peer", "127.0.0.6"),
                ("/path", "/hello?x=1"),
                ("/headers/host", ECHO_HOST),
            ])
            .lacks(&[
                "/headers/x-envoy-peer-metadata",
                "/headers/x-envoy-peer-metadata-id",
            ])
            .log(
                "echo-1",
                &[
                    ("response_code", "200"),
                    ("upstream_cluster", "inbound|8080||"),
                    ("upstream_host", "10.1.0.21:8080"),
                    (
                        "requested_server_name",
                        "outbound_.80_._.echo.shop.svc.cluster.local",
                    ),
                    ("downstream_local_address", "10.1.0.21:8080"),
                    ("route_name", "default"),
                ],
            ),
        Row::new("the caller's own log", hello()).log(
            "caller-1",
            &[
                ("response_code", "200"),
                (
                    "upstream_cluster",
                    "outbound|80||echo.shop.svc.cluster.local",
                ),
                ("upstream_host", "10.1.0.21:8080"),
                ("downstream_local_address", "10.96.0.20:80"),
                ("requested_server_name", ""),
            ],
        ),
        Row::new(
            "PERMISSIVE takes plaintext of somebody without a sidecar",
            hello(),
        )
        .from("node")
        .to(ECHO_1, 8080)
        .tells(&[("/service", "echo-1"), ("/peer", "127.0.0.6")])
        .lacks(&["/headers/x-forwarded-client-cert"])
        .log(
            "echo-1",
            &[("requested_server_name", ""), ("response_code", "200")],
        ),
        Row::new(
            "PERMISSIVE takes plaintext to the address of a pod",
            hello(),
        )
        .to(ECHO_1, 8080)
        .tells(&[("/service", "echo-1"), ("/peer", "127.0.0.6")])
        .lacks(&["/headers/x-forwarded-client-cert"]),
        Row::new("a pod calls its own service: out, and in again", hello())
            .from("echo-1")
            .tells(&[("/service", "echo-1"), ("/peer", "127.0.0.6")]),
        Row::new("a pod calls itself on loopback: not intercepted", hello())
            .from("echo-1")
            .to(LOCALHOST, 8080)
            .tells(&[("/peer", "127.0.0.1")])
            .lacks(&["/headers/x-request-id", "/headers/x-forwarded-proto"]),
        Row::new(
            "an unknown address passes",
            get("/p").host("unknown.example.com"),
        )
        .to(NODE, 8888)
        .tells(&[("/service", "plain"), ("/peer", "10.1.0.11")])
        .lacks(&["/headers/x-envoy-peer-metadata-id", "/headers/x-request-id"]),
        Row::new(
            "a ServiceEntry outside of the mesh is plaintext",
            get("/p").host("plain.example.com"),
        )
        .to(PLAIN, 80)
        .tells(&[("/service", "plain"), ("/peer", "10.1.0.11")])
        .lacks(&["/headers/x-forwarded-client-cert"])
        .log(
            "caller-1",
            &[("upstream_cluster", "outbound|80||plain.example.com")],
        ),
        Row::new(
            "an unknown host on a port of the mesh passes",
            get("/p").host("unknown.example.com"),
        )
        .to(NODE, 80)
        .tells(&[("/service", "plain"), ("/peer", "10.1.0.11")])
        .lacks(&["/headers/x-envoy-peer-metadata-id"])
        .log(
            "caller-1",
            &[
                ("upstream_cluster", "PassthroughCluster"),
                ("route_name", "allow_any"),
                ("upstream_host", "10.1.0.1:80"),
            ],
        ),
        Row::new("15021 is exempt from interception", get("/healthz/ready"))
            .from("node")
            .to(ECHO_1, 15021),
        Row::new(
            "15090 is exempt from interception",
            get("/stats/prometheus"),
        )
        .from("node")
        .to(ECHO_1, 15090),
        Row::new(
            "15020 is exempt from interception: nobody listens there",
            hello(),
        )
        .from("node")
        .to(ECHO_1, 15020)
        .refused(),
    ];
    for row in &rows {
        cases.row(&world, row);
    }
    cases.check("XFCC names both sides", || {
        let (_, told) = world.ask("caller-1", (ECHO, 80), &hello());
        let field = told["headers"]["x-forwarded-client-cert"]
            .as_str()
            .ok_or("no field")?;
        let caller = world.pod("caller-1").identity.spiffe();
        let echo = world.pod("echo-1").identity.spiffe();
        let hash = field
            .strip_prefix(&format!("By={echo};Hash="))
            .and_then(|rest| rest.strip_suffix(&format!(";Subject=\"\";URI={caller}")))
            .ok_or_else(|| field.to_owned())?;
        let digits = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure(digits, || format!("{hash} is no SHA-256"))
    });
    cases.check("what passes on a port without HTTP is a stream", || {
        // A ServiceEntry leads to the same host.
        let line = world.log_line("caller-1", |line| {
            line["upstream_host"] == "10.1.0.1:8888" && line["path"] != "/p"
        });
        let told = (&line["upstream_cluster"], &line["method"]);
        let wanted = (&json!("PassthroughCluster"), &Value::Null);
        ensure(told == wanted, || line.to_string())
    });
    cases.check("a WebSocket's frames come back", || {
        websocket(world.pod("caller-1")).map_err(|end| end.to_string())
    });
    cases.finish();
}

/// RFC 6455's example of a handshake, then two masked frames: a text, and the end.
fn websocket(from: &Pod) -> Result<(), End> {
    let mut connection = from.connect((ECHO, 80).into()).unwrap();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let request = get("/chat")
        .host(ECHO_HOST)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", key);
    connection.send(&request.bytes());
    let response = connection.response(false)?;
    assert_eq!(response.status, 101, "{response:?}");
    assert_eq!(
        response.header("sec-websocket-accept"),
        Some(websocket_accept(key).as_str())
    );
    let frame = |opcode: u8, text: &[u8]| {
        let mask = [7, 77, 177, 17];
        let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(text.len()).unwrap()];
        frame.extend_from_slice(&mask);
        frame.extend(text.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        frame
    };
    connection.send(&frame(1, b"hello"));
    assert_eq!(connection.read_exactly(7)?, b"\x81\x05hello");
    connection.send(&frame(8, b""));
    assert_eq!(connection.read_exactly(2)?, b"\x88\x00");
    connection.closes(PATIENCE)
}

#[test]
fn strict_while_requests_run() {
    let world = World::new(Scene::default());
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    let request = get("/").host(ECHO_HOST);
    let plain = || world.exchange("node", (ECHO_1, 8080), &request);
    let mut cases = Cases::new("mesh STRICT");
    service::lines(&world.pod("echo-1").namespace, "echo-1", 9000, None);
    let mut stream = world.pod("caller-1").connect((ECHO, 9000).into()).unwrap();
    let mut goes_on = |cases: &mut Cases, name| {
        cases.check(name, || {
            stream.send(b"hello\n");
            let answer = stream.read_exactly("echo-1 127.0.0.6: hello\n".len());
            ensure(answer.is_ok(), || format!("{answer:?}"))
        });
    };
    goes_on(&mut cases, "a stream before");
    let load = load(&world, &request);
    load.wait_for(200);
    cases.check("plaintext is taken before", || {
        let status = plain().map(|response| response.status);
        ensure(status == Ok(200), || format!("{status:?}"))
    });
    world.plane.apply("scene.yaml", STRICT);
    cases.check("plaintext is refused afterwards", || {
        // The listener that is being replaced may still accept for a moment.
        let refused = poll(PATIENCE, || plain().err());
        match refused {
            Some(End::Closed | End::Reset) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    load.wait_for(200);
    cases.check("and stays so", || match plain() {
        Err(End::Closed | End::Reset) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    goes_on(&mut cases, "a stream goes on");
    cases.check("back to PERMISSIVE", || {
        world.plane.apply("scene.yaml", "");
        let taken = poll(PATIENCE, || plain().ok());
        ensure(taken.is_some(), || "refused".to_owned())
    });
    load.wait_for(200);
    cases.check("no request of the mesh failed", || {
        load.finish();
        Ok(())
    });
    cases.finish();
}

fn load(world: &World, request: &Request) -> Load {
    let caller = &world.pod("caller-1").namespace;
    Load::start(caller, (ECHO, 80).into(), request, 4)
}

const STRICT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
";
