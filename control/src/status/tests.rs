//! Every output of `status` on what programs said.

use super::{sync::Kind as SyncKind, *};
use crate::output;

fn program(name: &str, kind: &'static str, state: Condition) -> Program {
    Program {
        name: name.to_owned(),
        kind,
        pid: Some(4711),
        state,
        version: "0.1.0".to_owned(),
        uptime: Some(95),
        configuration: "1795774063/2".to_owned(),
        sync: None,
        certificate: Some(82_000),
        shipping: None,
    }
}

fn synced(name: &str, state: State, error: &str) -> Sync {
    Sync {
        node: format!("sidecar~127.0.10.1~{name}.shop~shop.svc.cluster.local"),
        version: "1795774063/2".to_owned(),
        types: vec![
            SyncKind {
                name: "Cluster".to_owned(),
                state: State::Synced,
                acknowledged: Some(4),
                error: String::new(),
            },
            SyncKind {
                name: "Listener".to_owned(),
                state,
                acknowledged: Some(700),
                error: error.to_owned(),
            },
        ],
    }
}

fn recorded() -> Status {
    let mut programs = vec![
        program("portal", SIDECAR, Condition::Ready),
        program("catalogue", SIDECAR, Condition::Ready),
        program("billing", SIDECAR, Condition::Ready),
        program("ledger", SIDECAR, Condition::Starting),
    ];
    programs[0].sync = Some(synced("portal", State::Synced, ""));
    programs[1].sync = Some(synced("catalogue", State::Stale, ""));
    programs[2].sync = Some(synced(
        "billing",
        State::Refused,
        "listener 0.0.0.0_8080: port 0",
    ));
    let found = programs.iter().filter_map(judge).collect::<Vec<Finding>>();
    programs.push(Program {
        version: String::new(),
        uptime: None,
        configuration: String::new(),
        certificate: None,
        ..program("billing", "service", Condition::Gone)
    });
    programs.push(Program {
        uptime: None,
        configuration: String::new(),
        certificate: None,
        shipping: Some(Shipping {
            version: "0.1.0".to_owned(),
            acknowledged: 1234,
            lag: Some(95.0),
            queued: 7,
            brokers: 1,
            ..Shipping::default()
        }),
        ..program("shipper", "shipper", Condition::Ready)
    });
    Status {
        programs,
        findings: Findings::from(found),
    }
}

#[test]
fn text_of_what_programs_said() {
    let mut text = String::new();
    recorded().text(&mut text).unwrap();
    insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
}

#[test]
fn json_of_what_programs_said() {
    insta::assert_snapshot!(output::json(&recorded()).unwrap());
}

#[test]
fn states_travel_between_control_plane_and_verb() {
    let sync = synced("portal", State::Refused, "no");
    let json = serde_json::to_string(&sync).unwrap();
    assert_eq!(serde_json::from_str::<Sync>(&json).unwrap(), sync);
    assert_eq!(sync.workload(), "portal");
    assert_eq!(sync.worst(), (State::Refused, Some(4)));
}
