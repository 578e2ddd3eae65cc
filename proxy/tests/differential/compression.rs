//! Compressed responses: which encoding, which fields; the bytes must unpack to the same.

use std::io::Read;

use serde_json::{Value, json};

use super::to;
use crate::case::{Case, PORT, Table, does};
use crate::support::config::{any, cluster, http_filter, listener, manager, virtual_host};
use crate::support::http1::{Response, get};
use crate::support::upstream::Act;

#[test]
fn compression() {
    let mut table = Table::new("compression", &["one"]);
    let ports = table.ports(&[0]);
    table.resources = Box::new(move |place| {
        let mut routes = vec![to("plain", json!({"prefix": "/"}), "one")];
        let mut off = to("off", json!({"prefix": "/off"}), "one");
        off["typed_per_filter_config"] = json!({"gzip": any("envoy.extensions.filters.http.compressor.v3.CompressorPerRoute", json!({"disabled": true}))});
        routes.insert(0, off);
        let host = || json!([virtual_host("all", &["*"], routes.clone().into())]);
        let all = vec![
            compressor("brotli", json!({})),
            compressor("zstd", json!({})),
            compressor("gzip", json!({})),
        ];
        let picky = compressor(
            "gzip",
            json!({"response_direction_config": {"common_config": {"min_content_length": 5, "content_type": ["application/thing"]},
                "disable_on_etag_header": true, "remove_accept_encoding_header": true}}),
        );
        (
            vec![
                listener(
                    place,
                    "all",
                    PORT,
                    vec![manager("all", host(), all, json!({}))],
                ),
                listener(
                    place,
                    "picky",
                    PORT + 1,
                    vec![manager("picky", host(), vec![picky], json!({}))],
                ),
            ],
            vec![cluster("one", &ports, json!({}))],
        )
    });
    table.cases = cases();
    table.run();
}

fn compressor(kind: &str, fields: Value) -> Value {
    let message = match kind {
        "brotli" => "brotli.compressor.v3.Brotli",
        "gzip" => "gzip.compressor.v3.Gzip",
        _ => "zstd.compressor.v3.Zstd",
    };
    let mut fields = fields;
    fields["compressor_library"] = json!({"name": kind,
        "typed_config": any(&format!("envoy.extensions.compression.{message}"), json!({}))});
    http_filter(kind, "compressor.v3.Compressor", fields)
}

fn cases() -> Vec<Case> {
    let html = "content-type: text/html\r\n";
    // (name, port, path, accept-encoding, the response's fields, the encoding; empty for none)
    let rows: &[(&str, u16, &str, Option<&str>, &str, &str)] = &[
        ("gzip", PORT, "/", Some("gzip"), html, "gzip"),
        ("brotli", PORT, "/", Some("br"), html, "br"),
        ("zstd", PORT, "/", Some("zstd"), html, "zstd"),
        (
            "browser",
            PORT,
            "/",
            Some("gzip, deflate, br, zstd"),
            html,
            "gzip",
        ),
        (
            "weights",
            PORT,
            "/",
            Some("gzip;q=0.3, zstd;q=0.4, br;q=0.2"),
            html,
            "zstd",
        ),
        ("any", PORT, "/", Some("*"), html, "br"),
        ("any but one", PORT, "/", Some("br;q=0, *"), html, "zstd"),
        ("identity", PORT, "/", Some("identity"), html, ""),
        ("none", PORT, "/", None, html, ""),
        ("unknown", PORT, "/", Some("deflate"), html, ""),
        ("no weight", PORT, "/", Some("gzip;q=0"), html, ""),
        ("bad weight", PORT, "/", Some("gzip;q=high, br"), html, "br"),
        (
            "parameters",
            PORT,
            "/",
            Some("gzip"),
            "content-type: text/html; charset=utf-8\r\n",
            "gzip",
        ),
        (
            "another type",
            PORT,
            "/",
            Some("gzip"),
            "content-type: image/png\r\n",
            "",
        ),
        ("no type", PORT, "/", Some("gzip"), "", "gzip"),
        (
            "encoded already",
            PORT,
            "/",
            Some("gzip"),
            "content-type: text/html\r\ncontent-encoding: br\r\n",
            "",
        ),
        (
            "no transform",
            PORT,
            "/",
            Some("gzip"),
            "content-type: text/html\r\ncache-control: no-transform\r\n",
            "",
        ),
        (
            "strong tag",
            PORT,
            "/",
            Some("gzip"),
            "content-type: text/html\r\netag: \"a\"\r\n",
            "gzip",
        ),
        (
            "weak tag",
            PORT,
            "/",
            Some("gzip"),
            "content-type: text/html\r\netag: W/\"a\"\r\n",
            "gzip",
        ),
        (
            "varies already",
            PORT,
            "/",
            Some("gzip"),
            "content-type: text/html\r\nvary: cookie\r\n",
            "gzip",
        ),
        ("route without", PORT, "/off", Some("gzip"), html, ""),
        (
            "route without, another",
            PORT,
            "/off",
            Some("br"),
            html,
            "br",
        ),
        (
            "own type",
            PORT + 1,
            "/",
            Some("gzip"),
            "content-type: application/thing\r\n",
            "gzip",
        ),
        ("not its type", PORT + 1, "/", Some("gzip"), html, ""),
        (
            "tag forbids",
            PORT + 1,
            "/",
            Some("gzip"),
            "content-type: application/thing\r\netag: \"a\"\r\n",
            "",
        ),
    ];
    let mut cases = Vec::new();
    for (name, port, path, accepted, fields, encoding) in rows {
        cases.push(compressed(
            name, *port, path, *accepted, fields, encoding, 2000,
        ));
    }
    cases.push(compressed("short", PORT, "/", Some("gzip"), html, "", 20));
    cases.push(compressed(
        "short, own limit",
        PORT + 1,
        "/",
        Some("gzip"),
        "content-type: application/thing\r\n",
        "gzip",
        20,
    ));
    cases.push(compressed("nothing", PORT, "/", Some("gzip"), html, "", 0));
    cases
}

fn compressed(
    name: &str,
    port: u16,
    path: &str,
    accepted: Option<&str>,
    fields: &str,
    encoding: &'static str,
    length: usize,
) -> Case {
    let body = "0123456789".repeat(length / 10);
    let reply = format!(
        "HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut request = get(path);
    if let Some(accepted) = accepted {
        request = request.header("accept-encoding", accepted);
    }
    let bytes = request.bytes();
    let shown = if encoding.is_empty() {
        "plain".to_owned()
    } else {
        format!("header content-encoding: {encoding}")
    };
    let shows = [shown.as_str(), &format!("unpacked {} true", body.len())].map(str::to_owned);
    let mut case = does(
        name,
        &shows.iter().map(String::as_str).collect::<Vec<_>>(),
        move |side, transcript| {
            let mut connection = side.connect();
            connection.send(&bytes);
            let Ok(response) = connection.response(false) else {
                return transcript.line("no response");
            };
            transcript.line(format!("status {}", response.status));
            transcript.headers("header", &response.headers);
            let plain = unpacked(&response);
            transcript.line(format!(
                "unpacked {} {}",
                plain.len(),
                plain == body.as_bytes()
            ));
            if response
                .header("content-encoding")
                .is_none_or(|held| held != encoding)
            {
                transcript.line("plain");
            }
        },
    );
    case = case
        .port(port)
        .script(0, vec![vec![Act::Send(reply.into_bytes())]]);
    // How many bytes it has become is the library's affair.
    case.without(&["log sent"])
}

fn unpacked(response: &Response) -> Vec<u8> {
    let mut plain = Vec::new();
    let packed = &response.body[..];
    match response.header("content-encoding") {
        Some("gzip") => drop(flate2::read::GzDecoder::new(packed).read_to_end(&mut plain)),
        Some("br") if packed.first() != Some(&b'0') => {
            drop(brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain));
        }
        Some("zstd") => plain = zstd::stream::decode_all(packed).unwrap_or_default(),
        _ => plain = packed.to_vec(),
    }
    plain
}
