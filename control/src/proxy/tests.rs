//! Every view on what three sidecars of the example platform answered (cut to what is read), and where requests end.

use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::{
    tables,
    why::{
        Arguments as Why, Story,
        walk::{Ask, End, walk},
    },
    *,
};
use crate::output::{Text, json};

fn recorded(text: &str) -> (Dump, Value) {
    let both: Value = serde_json::from_str(text).unwrap();
    (Dump::read(&both["config_dump"]), both["clusters"].clone())
}

fn portal() -> (Dump, Value) {
    recorded(include_str!("tests/portal.json"))
}

fn billing() -> (Dump, Value) {
    recorded(include_str!("tests/billing.json"))
}

fn catalogue() -> (Dump, Value) {
    recorded(include_str!("tests/catalogue-v1.json"))
}

fn plain(value: &impl Text) -> String {
    let mut text = String::new();
    value.text(&mut text).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn views() {
    let (dump, clusters) = portal();
    let certificates: Value = serde_json::from_str(include_str!("tests/certs.json")).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1_795_780_000);
    insta::assert_snapshot!("listeners", plain(&tables::listeners(&dump)));
    insta::assert_snapshot!("routes", plain(&tables::routes(&dump)));
    insta::assert_snapshot!("clusters", plain(&tables::clusters(&dump)));
    insta::assert_snapshot!("endpoints", plain(&tables::endpoints(&clusters)));
    insta::assert_snapshot!("certs", plain(&tables::certificates(&certificates, now)));
    let routes = tables::routes(&dump).only(Some("billing"));
    insta::assert_snapshot!("routes_json", json(&routes).unwrap());
    let listeners = tables::listeners(&dump);
    insta::assert_snapshot!("listeners_json", json(&listeners).unwrap());
    let of_billing = tables::clusters(&dump).only(Some("billing"));
    insta::assert_snapshot!("clusters_json", json(&of_billing).unwrap());
    let endpoints = tables::endpoints(&clusters).only(Some("billing"));
    insta::assert_snapshot!("endpoints_json", json(&endpoints).unwrap());
    let certificates = tables::certificates(&certificates, now);
    insta::assert_snapshot!("certs_json", json(&certificates).unwrap());
}

/// A request as the command line says it.
fn ask(line: &str) -> Ask {
    let line = format!("carbyne proxy x why {line}");
    let parsed = <crate::Arguments as clap::Parser>::try_parse_from(line.split(' ')).unwrap();
    let crate::Verb::Proxy(Arguments {
        view: View::Why(why),
        ..
    }) = parsed.verb
    else {
        panic!("another verb");
    };
    let why: Why = why;
    Ask::read(&why).unwrap()
}

const PORTAL: &str = "--from cluster.local/ns/platform/sa/portal";
const GATEWAY: &str = "--from spiffe://cluster.local/ns/platform/sa/gateway";

#[test]
fn requests_end_where_the_platform_ends_them() {
    let endpoint = |address: &str, mutual_tls| End::Endpoint {
        address: address.parse().unwrap(),
        mutual_tls,
    };
    for ((dump, clusters), line, expected) in [
        (
            portal(),
            "http://catalogue.platform.svc.cluster.local:8081/x".to_owned(),
            Some(endpoint("127.0.10.2:8081", true)),
        ),
        (
            portal(),
            "http://billing:8082/".to_owned(),
            Some(endpoint("127.0.10.3:8082", true)),
        ),
        (
            portal(),
            "-X POST http://CATALOGUE:8081/?a=b".to_owned(),
            Some(endpoint("127.0.10.2:8081", true)),
        ),
        (
            billing(),
            format!("--inbound {GATEWAY} http://billing:8082/"),
            Some(endpoint("127.0.10.3:18082", false)),
        ),
        (
            catalogue(),
            format!("--inbound {PORTAL} http://catalogue:8081/"),
            Some(endpoint("127.0.10.2:18081", false)),
        ),
        (
            billing(),
            format!("--inbound {PORTAL} http://billing:8082/"),
            None,
        ),
    ] {
        let walked = walk("x", &dump, &clusters, &ask(&line));
        match expected {
            Some(expected) => assert_eq!(walked.end, expected, "{line}: {:#?}", walked.steps),
            None => assert!(
                matches!(walked.end, End::Answered { status: 403, .. }),
                "{line}: {:?}",
                walked.end
            ),
        }
    }
    for ((dump, clusters), line, expected) in [
        (
            portal(),
            "http://nowhere:8081/".to_owned(),
            "answered 502: the route block_all answers itself",
        ),
        (
            portal(),
            "http://nowhere:99/".to_owned(),
            "closed: it has no outbound listener for port 99",
        ),
        (
            billing(),
            "--inbound http://billing:8082/".to_owned(),
            "closed: no filter chain takes plaintext at port 8082",
        ),
        (
            billing(),
            format!("--inbound {PORTAL} http://billing:8082/"),
            "policy ns[platform]-policy[billing-not-portal]-rule[0] denies it",
        ),
        (
            catalogue(),
            format!("--inbound {PORTAL} -X POST http://catalogue:8081/"),
            "no ALLOW policy lets it pass: ns[platform]-policy[catalogue-readers]-rule[0]",
        ),
        (
            catalogue(),
            format!("--inbound {GATEWAY} http://catalogue:8081/"),
            "no ALLOW policy lets it pass",
        ),
    ] {
        let story = Story {
            walks: vec![walk("x", &dump, &clusters, &ask(&line))],
        };
        assert!(
            plain(&story).contains(expected),
            "{line}: {}",
            plain(&story)
        );
        assert_eq!(story.outcome(), Outcome::Failed, "{line}");
    }
}

#[test]
fn what_the_configuration_lacks_is_named() {
    let asked = ask("http://billing:8082/");
    let (mut dump, clusters) = portal();
    dump.clusters
        .retain(|cluster| !cluster.name.contains("billing"));
    let end = walk("x", &dump, &clusters, &asked).end;
    assert!(
        matches!(&end, End::Answered { status: 503, why } if why.contains("flag NC")),
        "{end:?}"
    );
    let (dump, _) = portal();
    let end = walk("x", &dump, &Value::Null, &asked).end;
    assert!(
        matches!(&end, End::Answered { status: 503, why } if why.contains("flag UH")),
        "{end:?}"
    );
    let (mut dump, clusters) = portal();
    dump.routes.clear();
    let end = walk("x", &dump, &clusters, &asked).end;
    assert!(
        matches!(&end, End::Answered { status: 404, why } if why.contains("have not come")),
        "{end:?}"
    );
}

/// A story of two proxies, as it is printed.
#[test]
fn stories() {
    let (dump, clusters) = portal();
    let first = walk("portal", &dump, &clusters, &ask("http://billing:8082/"));
    let (dump, clusters) = billing();
    let second = walk(
        "billing",
        &dump,
        &clusters,
        &ask(&format!("--inbound {PORTAL} http://billing:8082/")),
    );
    let story = Story {
        walks: vec![first, second],
    };
    insta::assert_snapshot!("why", plain(&story));
    insta::assert_snapshot!("why_json", json(&story).unwrap());
}
