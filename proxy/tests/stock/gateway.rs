//! What comes from outside through the gateway of the platform.

use std::net::Ipv4Addr;

use crate::case::{From, asks, run};
use crate::support::http1::get;

#[test]
fn edge_is_called() {
    run("edge", |certificates| {
        let anybody = certificates.client("elsewhere", "anybody");
        let own = Ipv4Addr::new(192, 0, 2, 31);
        let name = "portal.254carbon.example";
        let secure = From::Tls(None, name, &["http/1.1"]);
        vec![
            asks(
                "sent to TLS",
                From::Outside,
                (own, 80),
                get("/api/x").host(name),
                &[
                    "status 301",
                    "header location: https://portal.254carbon.example/api/x",
                ],
            ),
            asks(
                "no such host",
                From::Outside,
                (own, 80),
                get("/").host("elsewhere.example"),
                &["status 404"],
            ),
            asks(
                "rewritten to kong",
                secure,
                (own, 443),
                get("/api/x?y=1").host(name),
                &["status 200"],
            )
            .any_endpoint(),
            asks(
                "everything else to the frontend",
                secure,
                (own, 443),
                get("/x").host(name),
                &["status 200", "upstream 192.0.2.14:9002: GET /x"],
            ),
            asks(
                "a name below",
                From::Tls(None, "a.portal.254carbon.example", &["http/1.1"]),
                (own, 443),
                get("/x").host("a.portal.254carbon.example"),
                &["status 200"],
            ),
            asks(
                "a server name of nobody",
                From::Tls(None, "nobody.example", &["http/1.1"]),
                (own, 443),
                get("/x").host(name),
                &["no connection"],
            ),
            asks(
                "another host than was named",
                secure,
                (own, 443),
                get("/x").host("partners.254carbon.example"),
                &["status "],
            ),
            asks(
                "no certificate of a partner",
                From::Tls(None, "partners.254carbon.example", &["http/1.1"]),
                (own, 8443),
                get("/x").host("partners.254carbon.example"),
                &["no "],
            )
            .logs(0),
            asks(
                "the certificate of no partner",
                From::Tls(Some(&anybody), "partners.254carbon.example", &["http/1.1"]),
                (own, 8443),
                get("/x").host("partners.254carbon.example"),
                &["no "],
            )
            .logs(0),
            asks(
                "retried three times",
                secure,
                (own, 443),
                get("/api/status/503").host(name),
                &["status 503", "reached 4 times"],
            )
            .any_endpoint(),
        ]
    });
}
