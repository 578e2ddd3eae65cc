//! The JSON of a bootstrap in few words. What is written here means the same to every program of Envoy's kind.

use serde_json::{Map, Value, json};

use super::place::{ADMIN_PORT, Place};

/// The access log of every listener, in the folder of the process.
pub const ACCESS_LOG: &str = "access.log";

/// A message as `Any`: `kind` without the prefix of type URLs.
pub fn any(kind: &str, fields: Value) -> Value {
    let mut message = Map::new();
    message.insert(
        "@type".to_owned(),
        format!("type.googleapis.com/{kind}").into(),
    );
    merge(&mut message, fields);
    Value::Object(message)
}

/// A named extension with its `typed_config`.
pub fn extension(name: &str, kind: &str, fields: Value) -> Value {
    json!({"name": name, "typed_config": any(kind, fields)})
}

/// An HTTP filter; `kind` without `envoy.extensions.filters.http.`.
pub fn http_filter(name: &str, kind: &str, fields: Value) -> Value {
    extension(
        name,
        &format!("envoy.extensions.filters.http.{kind}"),
        fields,
    )
}

pub fn router() -> Value {
    http_filter("envoy.filters.http.router", "router.v3.Router", json!({}))
}

/// What every JSON access log of these suites holds: all that two proxies must agree on.
pub fn log_fields() -> Value {
    json!({
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "rewritten": "%REQ(:PATH)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "termination": "%CONNECTION_TERMINATION_DETAILS%",
        "transport_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
        "authority": "%REQ(:AUTHORITY)%",
        "forwarded_for": "%REQ(X-FORWARDED-FOR)%",
        "agent": "%REQ(USER-AGENT)%",
        "upstream": "%UPSTREAM_HOST%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "route": "%ROUTE_NAME%",
        "server_name": "%REQUESTED_SERVER_NAME%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "content_type": "%RESP(CONTENT-TYPE)%",
    })
}

/// A file access log with these JSON fields.
pub fn json_log(fields: Value) -> Value {
    file_log(json!({"log_format": {"json_format": fields}}))
}

/// A file access log with a text format.
pub fn text_log(format: &str) -> Value {
    file_log(json!({"log_format": {"text_format_source": {"inline_string": format}}}))
}

fn file_log(fields: Value) -> Value {
    let mut fields = fields;
    fields["path"] = ACCESS_LOG.into();
    extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        fields,
    )
}

/// An HTTP connection manager with these routes and filters (the router is added); `fields` win.
pub fn manager(name: &str, virtual_hosts: Value, filters: Vec<Value>, fields: Value) -> Value {
    let mut http_filters = filters;
    http_filters.push(router());
    let mut manager = json!({
        "stat_prefix": name,
        // A second for the peer to close first, on each of a hundred errors, is a long time.
        "delayed_close_timeout": "0.02s",
        "route_config": {"name": name, "virtual_hosts": virtual_hosts, "validate_clusters": false},
        "http_filters": http_filters,
        "access_log": [json_log(log_fields())],
    });
    if let Some(object) = manager.as_object_mut() {
        merge(object, fields);
    }
    network_filter(
        "envoy.filters.network.http_connection_manager",
        "http_connection_manager.v3.HttpConnectionManager",
        manager,
    )
}

/// A network filter; `kind` without `envoy.extensions.filters.network.`.
pub fn network_filter(name: &str, kind: &str, fields: Value) -> Value {
    extension(
        name,
        &format!("envoy.extensions.filters.network.{kind}"),
        fields,
    )
}

/// A listener with one filter chain of these network filters.
pub fn listener(place: &Place, name: &str, port: u16, filters: Vec<Value>) -> Value {
    listener_with(
        place,
        name,
        port,
        json!({"filter_chains": [{"name": name, "filters": filters}]}),
    )
}

/// A listener whose chains and other fields are given.
pub fn listener_with(place: &Place, name: &str, port: u16, fields: Value) -> Value {
    let mut listener = Map::new();
    listener.insert("name".into(), name.into());
    listener.insert("address".into(), socket(&place.address.to_string(), port));
    merge(&mut listener, fields);
    Value::Object(listener)
}

/// A virtual host.
pub fn virtual_host(name: &str, domains: &[&str], routes: Value) -> Value {
    json!({"name": name, "domains": domains, "routes": routes})
}

/// A cluster of static endpoints; `fields` win.
pub fn cluster(name: &str, ports: &[u16], fields: Value) -> Value {
    let endpoints: Vec<Value> = ports
        .iter()
        .map(|port| json!({"endpoint": {"address": socket("127.0.0.1", *port)}}))
        .collect();
    let mut cluster = Map::new();
    cluster.insert("name".into(), name.into());
    cluster.insert("type".into(), "STATIC".into());
    cluster.insert("connect_timeout".into(), "2s".into());
    cluster.insert(
        "load_assignment".into(),
        json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}),
    );
    merge(&mut cluster, fields);
    Value::Object(cluster)
}

/// The cluster field that makes it speak HTTP/2.
pub fn http2() -> Value {
    json!({"typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": any(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            json!({"explicit_http_config": {"http2_protocol_options": {}}}),
        ),
    }})
}

pub fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

/// The whole: admin, node and static resources.
pub fn bootstrap(place: &Place, listeners: Vec<Value>, clusters: Vec<Value>) -> Value {
    json!({
        "node": {"id": "suite", "cluster": "suite"},
        "admin": {"address": socket(&place.address.to_string(), ADMIN_PORT)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

fn merge(into: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        into.extend(fields);
    }
}
