//! What is refused when a resource runs short, and when too many clients are connected.

use serde_json::{Value, json};

use super::to;
use crate::case::{PORT, Side, Table, does};
use crate::support::PATIENCE;
use crate::support::config::{any, cluster, listener, listener_with, manager, virtual_host};
use crate::support::http1::{Connection, get};
use crate::support::poll;
use crate::support::transcript::Transcript;

#[test]
fn overload() {
    let mut table = Table::new("overload", &["one"]);
    let ports = table.ports(&[0]);
    table.resources = Box::new(move |place| {
        // Written before either program looks.
        std::fs::write(place.folder().join("pressure"), "0.95").unwrap();
        let filter = |name: &str, fields: Value| {
            manager(
                name,
                json!([virtual_host(
                    "all",
                    &["*"],
                    json!([to("one", json!({"prefix": "/"}), "one")])
                )]),
                Vec::new(),
                fields,
            )
        };
        (
            vec![
                listener(place, "short", PORT, vec![filter("short", json!({}))]),
                // Asked until the pressure has been noticed; it tells nobody.
                listener(
                    place,
                    "silent",
                    PORT + 2,
                    vec![filter("silent", json!({"access_log": []}))],
                ),
                listener_with(
                    place,
                    "exempt",
                    PORT + 1,
                    json!({"bypass_overload_manager": true, "filter_chains": [{"filters": [filter("exempt", json!({}))]}]}),
                ),
            ],
            vec![cluster("one", &ports, json!({}))],
        )
    });
    table.more = json!({"overload_manager": {
        "refresh_interval": "0.01s",
        "resource_monitors": [
            monitor("injected_resource", "injected_resource.v3.InjectedResourceConfig", json!({"filename": "./pressure"})),
            // Far away: it only says that memory is looked after.
            monitor("fixed_heap", "fixed_heap.v3.FixedHeapConfig", json!({"max_heap_size_bytes": 1_u64 << 40})),
        ],
        "actions": [
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": [
                {"name": "envoy.resource_monitors.injected_resource", "threshold": {"value": 0.9}}]},
            {"name": "envoy.overload_actions.reject_incoming_connections", "triggers": [
                {"name": "envoy.resource_monitors.injected_resource", "threshold": {"value": 0.99}}]},
        ],
    }});
    let asks = |port: u16| {
        move |side: &Side<'_>, transcript: &mut Transcript| {
            refused(side);
            let mut connection = Connection::open(side.process.at(port)).unwrap();
            connection.send(&get("/").bytes());
            transcript.response(&connection.response(false));
        }
    };
    // Of those who ask until they are refused, some may still be let through.
    let let_through = &["reached", "upstream one"];
    table.cases = vec![
        does(
            "requests",
            &["status 503 *", "log details \"overload\""],
            asks(PORT),
        )
        .without(let_through),
        does("an exempt listener", &["status 200 *"], asks(PORT + 1)).without(let_through),
    ];
    table.run();
}

#[test]
fn crowd() {
    let mut table = Table::new("crowd", &["one"]);
    let ports = table.ports(&[0]);
    table.resources = Box::new(move |place| {
        let filter = |name: &str| {
            manager(
                name,
                json!([virtual_host(
                    "all",
                    &["*"],
                    json!([to("one", json!({"prefix": "/"}), "one")])
                )]),
                Vec::new(),
                json!({}),
            )
        };
        (
            vec![
                listener(place, "counted", PORT, vec![filter("counted")]),
                listener_with(
                    place,
                    "exempt",
                    PORT + 1,
                    json!({"ignore_global_conn_limit": true, "filter_chains": [{"filters": [filter("exempt")]}]}),
                ),
            ],
            vec![cluster("one", &ports, json!({}))],
        )
    });
    table.more = json!({"overload_manager": {"resource_monitors": [
        monitor("global_downstream_max_connections", "downstream_connections.v3.DownstreamConnectionsConfig",
            json!({"max_active_downstream_connections": 2}))]}});
    table.cases = vec![
        does(
            "the third",
            &[
                "first status 200",
                "second status 200",
                "third no response*",
                "exempt status 200",
            ],
            |side, transcript| {
                let mut held = Vec::new();
                for (name, port) in [
                    ("first", PORT),
                    ("second", PORT),
                    ("third", PORT),
                    ("exempt", PORT + 1),
                ] {
                    let mut connection = Connection::open(side.process.at(port)).unwrap();
                    connection.send(&get("/").bytes());
                    match connection.response(false) {
                        Ok(response) => {
                            transcript.line(format!("{name} status {}", response.status))
                        }
                        Err(_) => transcript.line(format!("{name} no response")),
                    }
                    held.push(connection);
                }
            },
        )
        .logs(3),
    ];
    table.run();
}

fn monitor(name: &str, kind: &str, fields: Value) -> Value {
    json!({"name": format!("envoy.resource_monitors.{name}"),
        "typed_config": any(&format!("envoy.extensions.resource_monitors.{kind}"), fields)})
}

/// Waits until the pressure has been noticed.
fn refused(side: &Side<'_>) {
    poll(PATIENCE, || {
        let mut connection = Connection::open(side.process.at(PORT + 2)).ok()?;
        connection.send(&get("/").bytes());
        let response = connection.response(false).ok()?;
        (response.status == 503).then_some(())
    });
}
