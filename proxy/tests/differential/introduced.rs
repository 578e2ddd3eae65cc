//! PROXY protocol at the head of connections: who the client is taken for, and what is closed.

use serde_json::{Value, json};

use super::to;
use crate::case::{Case, PORT, Table, sends};
use crate::support::config::{
    cluster, extension, json_log, listener_with, log_fields, manager, virtual_host,
};
use crate::support::http1::get;

/// A header is needed here.
const NEEDED: u16 = PORT;
/// Here it may be missing.
const OPTIONAL: u16 = PORT + 1;
/// Here version 2 is not taken.
const OLD: u16 = PORT + 2;

#[test]
fn introduced() {
    let mut table = Table::new("introduced", &["one"]);
    let ports = table.ports(&[0]);
    table.resources = Box::new(move |place| {
        let listener = |name: &str, port: u16, fields: Value| {
            let mut log = log_fields();
            log["local"] = "%DOWNSTREAM_LOCAL_ADDRESS%".into();
            log["peer"] = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%".into();
            let filter = manager(
                name,
                json!([virtual_host(
                    "all",
                    &["*"],
                    json!([to("one", json!({"prefix": "/"}), "one")])
                )]),
                Vec::new(),
                json!({"access_log": [json_log(log)]}),
            );
            listener_with(
                place,
                name,
                port,
                json!({
                    "listener_filters_timeout": "0.3s",
                    "listener_filters": [
                        extension("envoy.filters.listener.proxy_protocol",
                            "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", fields),
                        extension("envoy.filters.listener.tls_inspector",
                            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({})),
                    ],
                    "filter_chains": [{"name": name, "filters": [filter]}],
                }),
            )
        };
        (
            vec![
                listener("needed", NEEDED, json!({})),
                listener(
                    "optional",
                    OPTIONAL,
                    json!({"allow_requests_without_proxy_protocol": true}),
                ),
                listener("old", OLD, json!({"disallowed_versions": ["V2"]})),
            ],
            vec![cluster("one", &ports, json!({}))],
        )
    });
    table.cases = cases();
    table.run();
}

fn cases() -> Vec<Case> {
    let four: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 8, 0x1f, 0x90, 0, 80];
    let six = {
        let mut body = vec![0x20, 0x01, 0x0d, 0xb8];
        body.extend([0; 11]);
        body.push(7);
        body.extend([0x20, 0x01, 0x0d, 0xb8]);
        body.extend([0; 11]);
        body.push(8);
        body.extend([0x1f, 0x90, 0, 80]);
        body
    };
    let extended = [four, &[0x04, 0, 2, 1, 2, 0xee, 0, 0]].concat();
    // (name, header, the client that is logged; none where the connection is closed)
    let headers: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        (
            "line of IPv4",
            b"PROXY TCP4 192.0.2.7 198.51.100.8 8080 80\r\n".into(),
            Some("192.0.2.7"),
        ),
        (
            "line of IPv6",
            b"PROXY TCP6 2001:db8::7 2001:db8::8 8080 80\r\n".into(),
            Some("2001:db8::7"),
        ),
        (
            "line of unknown",
            b"PROXY UNKNOWN\r\n".into(),
            Some("127.0.0.1"),
        ),
        (
            "line of unknown with more",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".into(),
            Some("127.0.0.1"),
        ),
        (
            "line too short",
            b"PROXY TCP4 192.0.2.7 198.51.100.8 8080\r\n".into(),
            None,
        ),
        (
            "line of another family",
            b"PROXY TCP4 2001:db8::7 2001:db8::8 8080 80\r\n".into(),
            None,
        ),
        (
            "line of nobody",
            b"PROXY TCP4 0.0.0.0 198.51.100.8 8080 80\r\n".into(),
            None,
        ),
        (
            "line of many",
            b"PROXY TCP4 192.0.2.7 224.0.0.1 8080 80\r\n".into(),
            None,
        ),
        (
            "line too long",
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 120], b"\r\n"].concat(),
            None,
        ),
        (
            "port too large",
            b"PROXY TCP4 192.0.2.7 198.51.100.8 80800 80\r\n".into(),
            None,
        ),
        ("binary of IPv4", v2(1, 0x11, four), Some("192.0.2.7")),
        ("binary of IPv6", v2(1, 0x21, &six), Some("2001:db8::7")),
        (
            "binary with extensions",
            v2(1, 0x11, &extended),
            Some("192.0.2.7"),
        ),
        ("binary of itself", v2(0, 0, &[]), Some("127.0.0.1")),
        (
            "binary of itself with more",
            v2(0, 0x11, four),
            Some("127.0.0.1"),
        ),
        ("binary of a Unix socket", v2(1, 0x31, &[0; 216]), None),
        ("binary of an unknown command", v2(2, 0x11, four), None),
        ("binary too short", v2(1, 0x11, &four[..10]), None),
        ("nothing", Vec::new(), None),
    ];
    let mut cases = Vec::new();
    for (name, header, client) in headers {
        let missing = header.is_empty();
        cases.push(client_of(
            &format!("needed: {name}"),
            NEEDED,
            &header,
            client,
        ));
        let client = if missing { Some("127.0.0.1") } else { client };
        cases.push(client_of(
            &format!("optional: {name}"),
            OPTIONAL,
            &header,
            client,
        ));
    }
    cases.push(client_of("old: binary", OLD, &v2(1, 0x11, four), None));
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.8 8080 80\r\n";
    cases.push(client_of("old: line", OLD, line, Some("192.0.2.7")));
    cases
}

fn client_of(name: &str, port: u16, header: &[u8], client: Option<&str>) -> Case {
    let bytes = [header, &get("/").bytes()].concat();
    let shown = client.map_or_else(
        || "no response".to_owned(),
        |client| format!("log client {client:?}"),
    );
    sends(name, bytes, &[false], &[&shown])
        .port(port)
        .logs(usize::from(client.is_some()))
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}
