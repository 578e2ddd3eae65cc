use std::io::Read;

use bytes::Bytes;
use carbyne_engine::http::{Frame, Response};
use http::{HeaderName, StatusCode};
use serde_json::json;

use super::*;
use crate::filter::testing::{exchange, plan_json, request};

fn library(name: &str) -> serde_json::Value {
    let kind = match name {
        "br" => "brotli.compressor.v3.Brotli",
        "gzip" => "gzip.compressor.v3.Gzip",
        _ => "zstd.compressor.v3.Zstd",
    };
    json!({"name": name, "typed_config": {"@type": format!("type.googleapis.com/envoy.extensions.compression.{kind}")}})
}

fn compressor(name: &str, fields: serde_json::Value) -> Compressor {
    let mut message = fields;
    message["compressor_library"] = library(name);
    plan_json::<wire::Compressor, _>(message, Compressor::plan)
}

fn chain() -> Vec<Compressor> {
    ["br", "zstd", "gzip"]
        .map(|name| compressor(name, json!({})))
        .to_vec()
}

#[test]
fn the_client_chooses() {
    let html = ["br", "gzip"].map(|name| {
        let kind = if name == "br" {
            "text/css"
        } else {
            "text/html"
        };
        compressor(
            name,
            json!({"response_direction_config": {"common_config": {"content_type": [kind]}}}),
        )
    });
    let first = [
        compressor("gzip", json!({})),
        compressor("br", json!({"choose_first": true})),
    ];
    let all = chain();
    let cases: &[(&str, &[Compressor], Option<&str>)] = &[
        ("gzip", &all, Some("gzip")),
        ("gzip, br", &all, Some("gzip")),
        ("br, gzip", &all, Some("br")),
        ("gzip;q=0.5, br;q=0.6", &all, Some("br")),
        ("gzip;q=0.5,zstd;q=0.5", &all, Some("gzip")),
        ("deflate, gzip;q=0.1", &all, Some("gzip")),
        ("deflate", &all, None),
        ("identity", &all, None),
        ("identity;q=1, gzip;q=0.9", &all, None),
        ("*", &all, Some("br")),
        ("*, br;q=0", &all, Some("zstd")),
        ("gzip;q=0", &all, None),
        ("gzip;q=x", &all, None),
        ("gzip ; q=0.7 , zstd ; q = 0.8", &all, Some("zstd")),
        ("", &all, None),
        ("br, gzip", &html, Some("gzip")),
        ("gzip, br", &first, Some("br")),
        ("gzip;q=1, br;q=0.9", &first, Some("gzip")),
    ];
    for (accepted, all, expected) in cases {
        assert_eq!(
            choose(accepted, Some("text/html"), all),
            *expected,
            "{accepted:?}"
        );
    }
}

/// What becomes of a response: its fields, and whether it is compressed.
fn passed(accepted: Option<&str>, fields: &[(&str, &str)], own: serde_json::Value) -> Vec<String> {
    let headers: Vec<(&str, &str)> = accepted
        .map(|value| ("accept-encoding", value))
        .into_iter()
        .collect();
    let mut exchange = exchange(request("GET", "/", &headers));
    let filter = CompressorFilter::new([compressor("gzip", own)].into(), 0);
    filter.request(&mut exchange);
    let mut response = Response::new(StatusCode::OK);
    for (name, value) in fields {
        response.headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    exchange.response = Some(response);
    exchange.response_body = Body::full("x".repeat(100));
    filter.response(&mut exchange);
    let response = exchange.response.unwrap();
    let fields = response.headers.iter();
    fields
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect()
}

#[test]
fn responses_are_compressed_where_that_is_right() {
    const COMPRESSED: &str = "content-encoding: gzip";
    const VARIES: &str = "vary: Accept-Encoding";
    type Row<'a> = (
        Option<&'a str>,
        &'a [(&'a str, &'a str)],
        serde_json::Value,
        &'a [&'a str],
    );
    let cases: Vec<Row<'_>> = vec![
        (
            Some("gzip"),
            &[("content-length", "100")],
            json!({}),
            &[VARIES, COMPRESSED],
        ),
        (
            Some("gzip"),
            &[("content-type", "text/html; charset=x")],
            json!({}),
            &["content-type: text/html; charset=x", VARIES, COMPRESSED],
        ),
        (
            None,
            &[("content-length", "100")],
            json!({}),
            &["content-length: 100", VARIES],
        ),
        (
            Some("br"),
            &[("content-length", "100")],
            json!({}),
            &["content-length: 100", VARIES],
        ),
        (
            Some("gzip"),
            &[("content-length", "29")],
            json!({}),
            &["content-length: 29"],
        ),
        (
            Some("gzip"),
            &[("content-length", "29")],
            json!({"content_length": 20}),
            &[VARIES, COMPRESSED],
        ),
        (
            Some("gzip"),
            &[("content-type", "image/png")],
            json!({}),
            &["content-type: image/png"],
        ),
        (
            Some("gzip"),
            &[("content-encoding", "br")],
            json!({}),
            &["content-encoding: br"],
        ),
        (
            Some("gzip"),
            &[("cache-control", "public, no-transform")],
            json!({}),
            &["cache-control: public, no-transform"],
        ),
        (
            Some("gzip"),
            &[("etag", "\"a\"")],
            json!({}),
            &[VARIES, COMPRESSED],
        ),
        (
            Some("gzip"),
            &[("etag", "W/\"a\"")],
            json!({}),
            &["etag: W/\"a\"", VARIES, COMPRESSED],
        ),
        (
            Some("gzip"),
            &[("etag", "\"a\"")],
            json!({"disable_on_etag_header": true}),
            &["etag: \"a\""],
        ),
        (
            Some("gzip"),
            &[("etag", "\"a\"")],
            json!({"response_direction_config": {"weaken_etag_on_compress": true}}),
            &["etag: W/\"a\"", VARIES, COMPRESSED],
        ),
        (
            Some("gzip"),
            &[("vary", "Cookie")],
            json!({}),
            &["vary: Cookie, Accept-Encoding", COMPRESSED],
        ),
        (
            Some("gzip"),
            &[("vary", "cookie, accept-encoding")],
            json!({}),
            &["vary: cookie, accept-encoding", COMPRESSED],
        ),
        (
            Some("gzip"),
            &[],
            json!({"runtime_enabled": {"default_value": false, "runtime_key": "x"}}),
            &[],
        ),
    ];
    for (accepted, fields, own, expected) in cases {
        assert_eq!(
            passed(accepted, fields, own.clone()),
            expected,
            "{accepted:?} {fields:?} {own}"
        );
    }
}

#[tokio::test]
async fn every_library_gives_the_bytes_back() {
    let text: Vec<u8> = (0..40_000_u32)
        .flat_map(|number| number.to_string().into_bytes())
        .collect();
    for compressor in chain() {
        let frames = text
            .chunks(7000)
            .map(|piece| Frame::Data(Bytes::copy_from_slice(piece)));
        let body = Body::chain(frames.collect(), Body::empty());
        let mut compressed = Body::custom(Box::new(
            Compressed::new(&compressor.library).unwrap().over(body),
        ));
        let mut sent = Vec::new();
        let mut pieces = 0;
        while let Some(frame) = compressed.frame().await {
            if let Frame::Data(bytes) = frame.unwrap() {
                sent.extend_from_slice(&bytes);
                pieces += 1;
            }
        }
        assert!(sent.len() < text.len() / 2);
        assert!(pieces > 3, "pieces go out as they come");
        let mut plain = Vec::new();
        match compressor.library {
            Library::Brotli { .. } => {
                brotli::Decompressor::new(&sent[..], 4096)
                    .read_to_end(&mut plain)
                    .unwrap();
            }
            Library::Gzip { .. } => {
                flate2::read::GzDecoder::new(&sent[..])
                    .read_to_end(&mut plain)
                    .unwrap();
            }
            Library::Zstd { .. } => plain = zstd::stream::decode_all(&sent[..]).unwrap(),
        }
        assert_eq!(plain, text);
    }
}
