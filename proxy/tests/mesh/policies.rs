//! Access rules: every kind of AuthorizationPolicy, allowed and denied, and the log line that names policy and rule.

use std::net::Ipv4Addr;

use crate::cases::{Cases, Row, ensure};
use crate::support::PATIENCE;
use crate::support::http1::{Request, get, request};
use crate::support::service::{self, Service};
use crate::world::{ECHO, ECHO_1, ECHO_HOST, Scene, World};

const PODS: &[&str] = &["caller-1", "stranger-1", "echo-1"];

#[test]
fn requests() {
    let world = World::new(Scene {
        pods: PODS,
        yaml: include_str!("policies.yaml"),
        ..Scene::default()
    });
    for port in [8080, 8081] {
        Service::http(&world.pod("echo-1").namespace, "echo-1", port);
    }
    let mut cases = Cases::new("mesh AuthorizationPolicy");
    let at = |path: &str| get(path).host(ECHO_HOST);
    let allowed = |name, request: Request| Row::new(name, request);
    // An ALLOW policy that matches none has no name to tell.
    let unmatched = |name, request: Request| {
        Row::new(name, request)
            .status(403)
            .body("RBAC: access denied")
            .log(
                "echo-1",
                &[
                    ("response_code", "403"),
                    ("response_flags", "-"),
                    (
                        "response_code_details",
                        "rbac_access_denied_matched_policy[none]",
                    ),
                ],
            )
    };
    let rows = [
        allowed("ALLOW by principal", at("/principal/x")),
        unmatched("ALLOW by another principal", at("/principal/x")).from("stranger-1"),
        unmatched(
            "ALLOW by principal, without a certificate",
            at("/principal/x"),
        )
        .from("node")
        .to(ECHO_1, 8080),
        allowed("ALLOW by namespace", at("/namespace/x")),
        unmatched("ALLOW by another namespace", at("/namespace/x")).from("stranger-1"),
        allowed("ALLOW by service account", at("/account/x")).from("stranger-1"),
        unmatched("ALLOW by another service account", at("/account/x")),
        allowed("ALLOW by method", at("/method/x")),
        unmatched(
            "ALLOW by another method",
            request("POST", "/method/x").host(ECHO_HOST),
        ),
        allowed("ALLOW by path", at("/path/exact")),
        allowed("ALLOW by path, with a query", at("/path/exact?x=/y")),
        unmatched("ALLOW by a longer path", at("/path/exact/")),
        allowed("ALLOW by prefix", at("/path/prefixed")),
        allowed("ALLOW by suffix", at("/path/any/suffix")),
        allowed("ALLOW by template", at("/path/tenant/acme/files/a/b")),
        unmatched(
            "ALLOW by template, another shape",
            at("/path/tenant/a/b/files/c"),
        ),
        allowed(
            "ALLOW by a path that normalization makes",
            at("/x/../path/exact"),
        ),
        unmatched(
            "ALLOW by a path that normalization unmakes",
            at("/path/exact/../x"),
        ),
        allowed("ALLOW by host", at("/host/x")),
        allowed(
            "ALLOW by host, in other letters",
            get("/host/x").host("ECHO.shop.svc.cluster.local"),
        ),
        unmatched("ALLOW by another host", get("/host/x").host("echo.shop")),
        allowed("ALLOW by port", at("/x")).to(ECHO, 8081),
        unmatched("ALLOW by another port", at("/x")),
        allowed("ALLOW by ipBlocks", at("/block/x")),
        unmatched("ALLOW by other ipBlocks", at("/block/x")).from("stranger-1"),
        allowed("ALLOW by header", at("/header/x").header("x-team", "red")),
        allowed(
            "ALLOW by prefix of a header",
            at("/header/x").header("x-team", "blue-2"),
        ),
        unmatched(
            "ALLOW by another header",
            at("/header/x").header("x-team", "reddish"),
        ),
        unmatched("ALLOW by a header that is not there", at("/header/x")),
        denied("DENY by principal", at("/deny/principal"), 0).from("stranger-1"),
        allowed("DENY by another principal", at("/deny/principal")),
        denied("DENY by namespace", at("/deny/namespace"), 1).from("stranger-1"),
        denied(
            "DENY by namespace, without a certificate",
            at("/deny/namespace"),
            1,
        )
        .from("node")
        .to(ECHO_1, 8080),
        allowed("DENY by another namespace", at("/deny/namespace")),
        denied(
            "DENY by method",
            request("DELETE", "/deny/method").host(ECHO_HOST),
            2,
        ),
        allowed("DENY by another method", at("/deny/method")),
        denied("DENY by path", at("/deny/admin"), 3),
        denied("DENY by path, behind dots", at("/deny/x/../admin"), 3),
        denied("DENY by path, with a query", at("/deny/admin?a=b"), 3),
        allowed("DENY by another path", at("/deny/administrator")),
        denied("DENY by ipBlocks", at("/deny/block"), 4).from("stranger-1"),
        allowed("DENY by other ipBlocks", at("/deny/block")),
        denied(
            "DENY by header",
            at("/deny/header").header("x-mood", "bad"),
            5,
        ),
        allowed(
            "DENY by another header",
            at("/deny/header").header("x-mood", "good"),
        ),
        denied("DENY by port", at("/deny/port"), 6).to(ECHO, 8081),
        allowed("DENY by another port", at("/deny/port")),
        denied("DENY whoever has no certificate", at("/deny/plain"), 7)
            .from("node")
            .to(ECHO_1, 8080),
        allowed(
            "DENY whoever has none, to somebody who has one",
            at("/deny/plain"),
        ),
        denied("DENY wins over ALLOW", at("/deny/admin"), 3).to(ECHO, 8081),
    ];
    for row in &rows {
        cases.row(&world, row);
    }
    cases.finish();
}

/// Denied by this rule of the policy that denies.
fn denied(name: &'static str, request: Request, rule: usize) -> Row<'static> {
    let details =
        format!("rbac_access_denied_matched_policy[ns[shop]-policy[stay-out]-rule[{rule}]]");
    Row::new(name, request)
        .status(403)
        .body("RBAC: access denied")
        .log("echo-1", &[("response_code_details", &details)])
}

#[test]
fn streams() {
    let world = World::new(Scene {
        pods: PODS,
        yaml: include_str!("policies.yaml"),
        ..Scene::default()
    });
    for port in [9000, 9001, 9003] {
        service::lines(&world.pod("echo-1").namespace, "echo-1", port, None);
    }
    let mut cases = Cases::new("mesh AuthorizationPolicy for TCP");
    let rows: &[(&str, &str, (Ipv4Addr, u16), Option<&str>)] = &[
        ("ALLOW by port", "caller-1", (ECHO, 9000), None),
        (
            "ALLOW by port, somebody else",
            "stranger-1",
            (ECHO, 9000),
            None,
        ),
        (
            "ALLOW by port, without a certificate",
            "node",
            (ECHO_1, 9000),
            None,
        ),
        ("ALLOW by principal", "caller-1", (ECHO, 9001), None),
        (
            "ALLOW by another principal",
            "stranger-1",
            (ECHO, 9001),
            Some("none"),
        ),
        (
            "ALLOW by principal, without a certificate",
            "node",
            (ECHO_1, 9001),
            Some("none"),
        ),
        (
            "DENY by ipBlocks",
            "stranger-1",
            (ECHO, 9003),
            Some("ns[shop]-policy[stay-out]-rule[8]"),
        ),
        ("DENY by other ipBlocks", "caller-1", (ECHO, 9003), None),
    ];
    for (name, from, to, denied) in rows {
        cases.check(name, || {
            let namespace = match *from {
                "node" => world.node(),
                pod => &world.pod(pod).namespace,
            };
            let mut connection = namespace
                .inside(|| crate::support::http1::Connection::open((*to).into()))
                .map_err(|error| error.to_string())?;
            connection.send(format!("{name}\n").as_bytes());
            let wanted = format!("echo-1 127.0.0.6: {name}\n");
            match denied {
                None => {
                    let answer = connection
                        .read_exactly(wanted.len())
                        .map_err(|end| end.to_string())?;
                    ensure(answer == wanted.as_bytes(), || {
                        String::from_utf8_lossy(&answer).into_owned()
                    })
                }
                Some(policy) => {
                    connection.closes(PATIENCE).map_err(|end| end.to_string())?;
                    let details = format!("rbac_access_denied_matched_policy[{policy}]");
                    let local = format!("10.1.0.21:{}", to.1);
                    world.log_line("echo-1", |line| {
                        line["connection_termination_details"] == details
                            && line["downstream_local_address"] == local
                    });
                    Ok(())
                }
            }
        });
    }
    cases.finish();
}
