//! The parsing canonical form and its fingerprint, as Avro's specification has them.

use serde_json::Value;

/// Only what decides how a body is read: no documentation, defaults, logical types or attributes of our own.
pub(crate) fn form(schema: &Value) -> String {
    match schema {
        Value::String(name) => format!("\"{name}\""),
        Value::Array(branches) => format!("[{}]", joined(branches.iter().map(form))),
        Value::Object(_) => match schema["type"].as_str() {
            Some("record") => {
                let name = schema["name"].as_str().unwrap_or_default();
                let namespace = schema["namespace"].as_str().unwrap_or_default();
                let fields = schema["fields"].as_array().into_iter().flatten();
                let fields = fields.map(|field| {
                    let name = field["name"].as_str().unwrap_or_default();
                    format!("{{\"name\":\"{name}\",\"type\":{}}}", form(&field["type"]))
                });
                format!(
                    "{{\"name\":\"{namespace}.{name}\",\"type\":\"record\",\"fields\":[{}]}}",
                    joined(fields)
                )
            }
            Some("array") => format!(
                "{{\"type\":\"array\",\"items\":{}}}",
                form(&schema["items"])
            ),
            Some("map") => format!(
                "{{\"type\":\"map\",\"values\":{}}}",
                form(&schema["values"])
            ),
            _ => form(&schema["type"]),
        },
        _ => String::new(),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// CRC-64-AVRO.
pub(crate) fn fingerprint(form: &str) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    form.bytes().fold(EMPTY, |print, byte| {
        let mut low = (print ^ u64::from(byte)) & 0xff;
        for _ in 0..8 {
            low = (low >> 1) ^ (EMPTY & (low & 1).wrapping_neg());
        }
        (print >> 8) ^ low
    })
}

#[test]
fn fingerprints_are_those_of_the_specification() {
    // From Avro's own tests (share/test/data/schema-tests.txt).
    for (schema, expected) in [
        ("\"null\"", 0x63dd_24e7_cc25_8f8a),
        ("\"boolean\"", 0x9f42_fc78_a4d4_f764),
        ("\"int\"", 0x7275_d51a_3f39_5c8f),
        ("\"string\"", 0x8f01_4872_6345_03c7),
    ] {
        assert_eq!(fingerprint(schema), expected, "{schema}");
    }
    let json = serde_json::from_str(super::parse::PROBE).unwrap();
    assert_eq!(
        form(&json),
        "{\"name\":\"carbyne.events.Probe\",\"type\":\"record\",\"fields\":[{\"name\":\"time\",\"type\":\"long\"},\
         {\"name\":\"name\",\"type\":\"string\"},{\"name\":\"trace_id\",\"type\":[\"null\",\"string\"]},\
         {\"name\":\"count\",\"type\":\"int\"}]}"
    );
}
