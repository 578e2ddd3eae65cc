//! Every output of `verify` on recorded checks; a running platform is in tests/verbs.rs.

use super::*;
use crate::{
    graph::{build::Builder, samples},
    output::{Outcome, Text},
};

fn recorded() -> Report {
    let mut programs = Category::new("programs");
    programs.checks = vec![
        Check::passed("portal's sidecar runs"),
        Check::failed(
            "billing's sidecar runs",
            "its process is gone",
            "read its log in the runtime directory",
        ),
    ];
    let mut builder = Builder::default();
    builder.workload("shop", "portal", "portal", "v1");
    let line = |reporter: &str, to: &str, security: &str| {
        format!(
            "istio_requests_total{{reporter=\"{reporter}\",source_workload=\"portal\",source_workload_namespace=\"shop\",destination_workload=\"{to}\",destination_workload_namespace=\"shop\",response_code=\"200\",connection_security_policy=\"{security}\"}} 2\n"
        )
    };
    let text = [
        line("source", "catalogue", "unknown"),
        line("destination", "catalogue", "mutual_tls"),
        line("source", "billing", "unknown"),
        line("destination", "billing", "none"),
        line("source", "bare", "unknown"),
    ];
    builder.add(&samples::parse(&text.concat()));
    Report::from(vec![
        programs,
        mesh::mutual_tls(&builder.build(Some(1.0), Vec::new())),
    ])
}

#[test]
fn text() {
    let mut text = String::new();
    recorded().text(&mut text).unwrap();
    insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
}

#[test]
fn json() {
    insta::assert_snapshot!(crate::output::json(&recorded()).unwrap());
}

#[test]
fn the_worst_check_decides() {
    let report = |checks: Vec<Check>| {
        let mut category = Category::new("x");
        category.checks = checks;
        Report::from(vec![category])
    };
    let warned = report(vec![Check::passed("a"), Check::warned("b", "c", "d")]);
    assert_eq!((warned.success, warned.outcome()), (true, Outcome::Differs));
    assert_eq!(
        (recorded().success, recorded().outcome()),
        (false, Outcome::Failed)
    );
    assert_eq!(report(vec![Check::passed("a")]).outcome(), Outcome::Well);
}

/// Silence proves nothing.
#[test]
fn no_traffic_is_a_failure() {
    let category = mesh::mutual_tls(&Builder::default().build(None, Vec::new()));
    assert_eq!(category.checks[0].result, report::Result::Error);
}
