//! Bodies, byte by byte: what every language's encoder must write and every decoder must read.
//!
//! `schemas/vectors/NAME.json` has for each schema its fingerprint and cases `{name, json, avro}`: the JSON form of an event
//! and its Avro body in hexadecimal digits.

use carbyne_events::avro;
use carbyne_events::event::{AuditApiCall, ConfigRemoval, SecurityEvent};
use carbyne_events::event::{Event, Kind, audit_api_call, security_event};
use serde_json::{Map, Value, json};

use super::parse::{Field, Record, Type};
use super::{canonical, committed};

/// What a field holds in a case.
#[derive(Clone, Copy)]
enum Case {
    /// Nulls, zeros, and nothing in what can be empty.
    Least,
    /// Something everywhere.
    Full,
    /// What tries an encoder: text beyond ASCII, quotes, numbers that need every byte, many items.
    Odd,
}

const ODD: &str = "\u{0}\"\\/\n\u{7f}é\u{2028}日本\u{1f980}";

fn value(field: &Field, index: usize, case: Case) -> Value {
    if field.optional && matches!(case, Case::Least) {
        return Value::Null;
    }
    let number = index as u64;
    match (field.of, case) {
        (Type::Boolean, _) => json!(!matches!(case, Case::Least)),
        (Type::Int | Type::Long, Case::Least) => json!(0),
        (Type::Int, Case::Full) => json!(number * 100 + 1),
        (Type::Int, Case::Odd) => json!(i32::MAX),
        (Type::Long, Case::Full) => json!(1_795_762_454_000_000 + number),
        // JavaScript's numbers are exact up to here.
        (Type::Long, Case::Odd) => json!(9_007_199_254_740_991_u64),
        (Type::Double, Case::Least) => json!(0.0),
        (Type::Double, Case::Full) => json!(99.5 + index as f64),
        (Type::Double, Case::Odd) => json!(-1.0e-300),
        (Type::String, _) if field.name == "trace_id" => json!("4bf92f3577b34da6a3ce929d0e0e4736"),
        (Type::String, _) => match (&field.words, case) {
            (Some((_, words)), Case::Least) => json!(words[0]),
            (Some((_, words)), _) => json!(words[words.len() - 1]),
            (None, Case::Least) => json!(""),
            (None, Case::Full) => json!(format!("{} of {index}", field.name)),
            (None, Case::Odd) => json!(ODD),
        },
        (Type::Strings, Case::Least) => json!([]),
        (Type::Strings, Case::Full) => json!(["first", "second"]),
        (Type::Strings, Case::Odd) => json!(
            (0..70)
                .map(|item| format!("{item}{ODD}"))
                .collect::<Vec<_>>()
        ),
        (Type::Map, Case::Least) => json!({}),
        // One entry: the order of more is nobody's promise.
        (Type::Map, Case::Full) => json!({"name": "value"}),
        (Type::Map, Case::Odd) => json!({ODD: ODD}),
    }
}

fn json(record: &Record, case: Case) -> Value {
    let fields = record.fields.iter().enumerate();
    let fields = fields.map(|(index, field)| (field.name.clone(), value(field, index, case)));
    Value::Object(fields.collect())
}

/// The Avro body of a JSON form.
fn encode(record: &Record, json: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    for field in &record.fields {
        let value = &json[&field.name];
        if field.optional {
            body.push(if value.is_null() { 0 } else { 2 });
            if value.is_null() {
                continue;
            }
        }
        match field.of {
            Type::Boolean => avro::boolean(value.as_bool().unwrap(), &mut body),
            Type::Int | Type::Long => avro::long(value.as_u64().unwrap(), &mut body),
            Type::Double => avro::double(value.as_f64().unwrap(), &mut body),
            Type::String => avro::string(value.as_str().unwrap(), &mut body),
            Type::Strings => {
                let items = value.as_array().unwrap().iter();
                let items: Vec<&str> = items.map(|item| item.as_str().unwrap()).collect();
                avro::strings(&items, &mut body);
            }
            Type::Map => {
                let entries = value.as_object().unwrap().iter();
                let entries: Vec<_> = entries
                    .map(|(key, value)| (&**key, value.as_str().unwrap()))
                    .collect();
                avro::map(&entries, &mut body);
            }
        }
    }
    body
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(kind: Kind, body: &[u8]) -> Value {
    let mut text = String::new();
    avro::to_json(kind.schema().unwrap(), body, &mut text).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn vectors_are_what_the_schemas_make_of_them() {
    for record in committed::current() {
        let kind = Kind::from_number(record.kind).unwrap();
        let mut cases = Vec::new();
        for (name, case) in [
            ("least", Case::Least),
            ("full", Case::Full),
            ("odd", Case::Odd),
        ] {
            let json = json(&record, case);
            let body = encode(&record, &json);
            assert_eq!(read(kind, &body), json, "{}: {name}", record.name);
            cases.push(json!({"name": name, "json": json, "avro": hexadecimal(&body)}));
        }
        let print = canonical::fingerprint(&canonical::form(&record.json));
        let vectors = json!({
            "schema": record.full_name(),
            "fingerprint": format!("{print:016x}"),
            "cases": cases,
        });
        let text = format!("{}\n", serde_json::to_string_pretty(&vectors).unwrap());
        let path = format!("schemas/vectors/{}.json", record.file);
        committed::hold(&committed::crate_folder().join(path), &text);
    }
}

fn body(event: &impl Event) -> Vec<u8> {
    let mut body = Vec::new();
    event.encode(&mut body);
    assert!(
        body.len() <= event.bound(),
        "{} of {} bytes",
        body.len(),
        event.bound()
    );
    body
}

/// The committed case of a name: JSON form and body.
fn committed_case(file: &str, name: &str) -> (Map<String, Value>, String) {
    let path = committed::crate_folder().join(format!("schemas/vectors/{file}.json"));
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == name).unwrap();
    let json = case["json"].as_object().unwrap().clone();
    (json, case["avro"].as_str().unwrap().to_owned())
}

#[test]
fn generated_structures_write_the_vectors() {
    let (json, avro) = committed_case("audit_api_call", "full");
    let text = |name: &str| json[name].as_str().unwrap();
    let number = |name: &str| json[name].as_u64().unwrap();
    let small = |name: &str| u32::try_from(number(name)).unwrap();
    let event = AuditApiCall {
        time: number("time"),
        node: text("node"),
        request_id: text("request_id"),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        consumer_id: Some(text("consumer_id")),
        consumer_name: Some(text("consumer_name")),
        credential_id: Some(text("credential_id")),
        route_id: Some(text("route_id")),
        route_name: Some(text("route_name")),
        service_id: Some(text("service_id")),
        service_name: Some(text("service_name")),
        method: text("method"),
        scheme: text("scheme"),
        protocol: text("protocol"),
        host: Some(text("host")),
        path_template: Some(text("path_template")),
        path: Some(text("path")),
        query: Some(text("query")),
        status: small("status"),
        answered_by: audit_api_call::AnsweredBy::Service,
        latency_total_us: number("latency_total_us"),
        latency_gateway_us: number("latency_gateway_us"),
        latency_upstream_us: Some(number("latency_upstream_us")),
        bytes_in: number("bytes_in"),
        bytes_out: number("bytes_out"),
        tries: small("tries"),
        client_address: Some(text("client_address")),
        tls_version: Some(text("tls_version")),
        source_principal: Some(text("source_principal")),
        destination_principal: Some(text("destination_principal")),
    };
    assert_eq!(hexadecimal(&body(&event)), avro);
    assert_eq!(event.key(), None);
    assert_eq!(event.time(), number("time"));
    // A traceparent that is none leaves no trace, whatever it holds.
    let event = AuditApiCall {
        traceparent: Some("hunter2"),
        ..event
    };
    assert_eq!(
        read(AuditApiCall::KIND, &body(&event))["trace_id"],
        Value::Null
    );
}

#[test]
fn the_first_key_that_is_known_is_taken() {
    let (json, avro) = committed_case("security_event", "least");
    let refusal = SecurityEvent {
        time: 0,
        node: "",
        component: "",
        reason: security_event::Reason::ALL[0],
        policy: None,
        policy_id: None,
        status: None,
        detail: None,
        source_principal: None,
        client_address: None,
        destination_principal: None,
        listener: None,
        request_id: None,
        traceparent: None,
        method: None,
        host: None,
        path_template: None,
        route_id: None,
        service_id: None,
        consumer_id: None,
        credential_id: None,
        token_issuer: None,
        token_subject: None,
        token_key_hash: None,
        count: 0,
        last_time: 0,
    };
    assert_eq!(hexadecimal(&body(&refusal)), avro);
    assert_eq!(json["reason"], security_event::Reason::ALL[0].as_str());
    assert_eq!(refusal.key(), None);
    let address = SecurityEvent {
        client_address: Some("203.0.113.0/24"),
        ..refusal
    };
    assert_eq!(address.key(), Some(&b"203.0.113.0/24"[..]));
    let principal = SecurityEvent {
        source_principal: Some("spiffe://a/b"),
        ..address
    };
    assert_eq!(principal.key(), Some(&b"spiffe://a/b"[..]));
    let gone = ConfigRemoval {
        time: 1,
        entity: "routes/a",
    };
    assert_eq!(
        (gone.key(), body(&gone)),
        (Some(&b"routes/a"[..]), Vec::new())
    );
    assert!(ConfigRemoval::KIND.schema().is_none());
}
