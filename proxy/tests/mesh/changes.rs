//! What changes under a mesh that works: certificates, pods that end, an agent that is gone.

use std::net::SocketAddr;

use crate::cases::{Cases, Row, ensure};
use crate::load::Load;
use crate::plane::Agent;
use crate::support::http1::get;
use crate::support::service::Service;
use crate::support::{PATIENCE, poll};
use crate::world::{CALLER, ECHO, ECHO_HOST, PLAIN, Scene, World, workload_entry};

#[test]
fn certificates_rotate_while_requests_run() {
    let world = World::new(Scene {
        yaml: FRESH_CONNECTIONS,
        ..Scene::default()
    });
    for port in [8080, 8081] {
        Service::http(&world.pod("echo-1").namespace, "echo-1", port);
    }
    let request = get("/").host(ECHO_HOST);
    let caller = &world.pod("caller-1").namespace;
    let start = |port| Load::start(caller, SocketAddr::from((ECHO, port)), &request, 2);
    // Connections to the second port carry one request each, so that every one of them is a handshake.
    let loads = [start(80), start(8081)];
    loads.iter().for_each(|load| load.wait_for(50));
    let mut cases = Cases::new("mesh rotation");
    // Each by what the service is told of its client; the service's own pod calls itself.
    let certificate = |pod: &str| {
        let (_, told) = world.ask(pod, (ECHO, 8081), &request);
        told["headers"]["x-forwarded-client-cert"].to_string()
    };
    for round in ["first", "second", "third", "fourth", "fifth"] {
        cases.check(&format!("the {round} rotation"), || {
            let pods = ["caller-1", "echo-1"];
            let before = pods.map(certificate);
            pods.iter().for_each(|pod| world.plane.rotate(pod));
            let fresh = poll(PATIENCE, || {
                let now = pods.map(certificate);
                (now[0] != before[0] && now[1] != before[1]).then_some(())
            });
            loads.iter().for_each(|load| load.wait_for(50));
            ensure(fresh.is_some(), || format!("{before:?} stays"))
        });
    }
    cases.check("no request failed", || {
        for load in loads {
            load.finish();
        }
        Ok(())
    });
    cases.finish();
}

#[test]
fn a_pod_that_ends_is_drained() {
    let mut world = World::new(Scene {
        pods: &["caller-1", "echo-1", "echo-2"],
        ..Scene::default()
    });
    let service = |name: &str| Service::http(&world.pod(name).namespace, name, 8080);
    let (leaving, staying) = (service("echo-1"), service("echo-2"));
    let request = get("/").host(ECHO_HOST);
    let load = Load::start(
        &world.pod("caller-1").namespace,
        (ECHO, 80).into(),
        &request,
        4,
    );
    load.wait_for(200);
    let mut cases = Cases::new("mesh drain");
    cases.check("the sidecar drains before anybody else knows", || {
        let (status, text) = world
            .pod("echo-1")
            .admin("POST", "/drain_listeners?inboundonly&graceful");
        load.wait_for(200);
        ensure((status, text.trim()) == (200, "OK"), || {
            format!("{status} {text}")
        })
    });
    cases.check("its endpoint goes, and with it every connection", || {
        // istiod finds a pod that ends by its labels, and leaves its sidecar the configuration that it has; here there is
        // only the WorkloadEntry.
        world.plane.forget("echo-1");
        world
            .plane
            .apply("endpoints.yaml", &workload_entry("echo-2"));
        load.wait_for(200);
        let gone = poll(PATIENCE, || {
            let open = world.pod("echo-1").connections(15006);
            open.is_empty().then_some(())
        });
        ensure(gone.is_some(), || {
            world.pod("echo-1").connections(15006).join("\n")
        })
    });
    cases.check("it ends, and nobody misses it", || {
        let before = (leaving.requests(), staying.requests());
        world.pod_mut("echo-1").kill();
        load.wait_for(200);
        ensure(leaving.requests() == before.0, || "it was asked".to_owned())?;
        ensure(staying.requests() >= before.1 + 200, || {
            "the other was not asked".to_owned()
        })
    });
    cases.check("no request failed", || {
        load.finish();
        Ok(())
    });
    cases.finish();
}

#[test]
fn the_control_plane_goes_and_comes_back() {
    let world = World::new(Scene::default());
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    let request = get("/").host(ECHO_HOST);
    let load = Load::start(
        &world.pod("caller-1").namespace,
        (ECHO, 80).into(),
        &request,
        2,
    );
    load.wait_for(100);
    world.plane.leave();
    let mut cases = Cases::new("mesh outage");
    cases.row(
        &world,
        &Row::new("a new connection without a control plane", request.clone())
            .tells(&[("/service", "echo-1")]),
    );
    cases.check("it stays ready", || {
        let (status, text) = world.pod("echo-1").admin("GET", "/ready");
        ensure(status == 200, || text)
    });
    load.wait_for(200);
    cases.check("it comes back, with another configuration", || {
        for name in ["caller-1", "echo-1"] {
            world.plane.serve(world.pod(name), Agent::Whole);
        }
        world.plane.apply("scene.yaml", MARK);
        let marked = poll(PATIENCE, || {
            let (_, told) = world.ask("caller-1", (ECHO, 80), &request);
            (told["headers"]["x-mark"] == "after").then_some(())
        });
        ensure(marked.is_some(), || "no sign of it".to_owned())
    });
    cases.check("no request failed", || {
        load.finish();
        Ok(())
    });
    cases.finish();
}

#[test]
fn secrets_that_are_late() {
    let mut world = World::new(Scene {
        yaml: PLAINTEXT,
        without_secrets: &["caller-1"],
        ..Scene::default()
    });
    Service::http(&world.pod("echo-1").namespace, "echo-1", 8080);
    Service::http(&world.pod("caller-1").namespace, "caller-1", 8080);
    Service::http(world.node(), "plain", 8888);
    let mut cases = Cases::new("mesh without secrets");
    let plain = get("/").host("plain.example.com");
    let rows = [
        Row::new("out in plaintext", plain)
            .to(PLAIN, 80)
            .tells(&[("/service", "plain")]),
        Row::new(
            "in, where plaintext is all that is taken",
            get("/").host("caller.shop.svc.cluster.local"),
        )
        .from("node")
        .to(CALLER, 8080)
        .tells(&[("/service", "caller-1")]),
        Row::new(
            "out where a certificate is needed",
            get("/").host(ECHO_HOST),
        )
        .status(503),
        Row::new("statistics", get("/stats/prometheus"))
            .from("node")
            .to(CALLER, 15090),
    ];
    for row in &rows {
        cases.row(&world, row);
    }
    cases.check("they come at last", || {
        world.plane.serve_secrets(world.pod("caller-1"));
        let request = get("/").host(ECHO_HOST);
        let served = poll(PATIENCE, || {
            let (status, told) = world.ask("caller-1", (ECHO, 80), &request);
            let client = told["headers"]["x-forwarded-client-cert"].as_str()?;
            (status == 200 && client.contains("URI=spiffe://cluster.local/ns/shop/sa/caller"))
                .then_some(())
        });
        ensure(served.is_some(), || "they are not used".to_owned())
    });
    world.pod_mut("caller-1").wait_until_ready();
    cases.finish();
}

const FRESH_CONNECTIONS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: shop}
spec:
  host: echo.shop.svc.cluster.local
  trafficPolicy:
    portLevelSettings:
    - port: {number: 8081}
      connectionPool: {http: {maxRequestsPerConnection: 1}}
";

const MARK: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: shop}
spec:
  hosts: [echo.shop.svc.cluster.local]
  http:
  - headers: {request: {set: {x-mark: after}}}
    route: [{destination: {host: echo.shop.svc.cluster.local}}]
";

const PLAINTEXT: &str = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: caller, namespace: shop}
spec:
  selector: {matchLabels: {app: caller}}
  mtls: {mode: DISABLE}
";
