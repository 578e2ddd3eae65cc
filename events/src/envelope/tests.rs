use super::*;
use crate::event::{Closing, ConfigRemoval, Event, closing};

const CLOSING: Closing<'static> = Closing {
    time: 1_795_774_039_000_001,
    producer: "node/gateway-0/1",
    epoch: 1_795_774_000,
    sequence: 41,
    lost: 0,
    reason: closing::Reason::Stopped,
};

fn envelope<E: Event>(event: &E) -> Envelope<'_> {
    Envelope {
        kind: E::KIND,
        time: event.time(),
        key: event.key(),
        traceparent: event.traceparent(),
        producer: "node/gateway-0/1",
        epoch: 1_795_774_000,
        sequence: 42,
        previous: Some(40),
    }
}

fn headers(envelope: &Envelope<'_>, form: Form) -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = Vec::new();
    envelope.headers(form, |name, value| headers.push((name, value.to_vec())));
    headers
}

fn borrowed<'a>(
    headers: &'a [(&'static str, Vec<u8>)],
) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers.iter().map(|(name, value)| (*name, &**value))
}

#[test]
fn headers_are_those_of_cloudevents() {
    let headers = headers(&envelope(&CLOSING), Form::Json);
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    lines.sort();
    let print = Closing::KIND.schema().unwrap().fingerprint;
    let schema = format!("ce_dataschema: urn:carbyne:schema:carbyne.events.Closing:{print:016x}");
    assert_eq!(
        lines,
        [
            schema.as_str(),
            "ce_id: node/gateway-0/1/1795774000/42",
            "ce_source: /node/gateway-0/1",
            "ce_specversion: 1.0",
            "ce_subject: node/gateway-0/1",
            "ce_time: 2026-11-27T10:07:19.000001Z",
            "ce_type: carbyne.audit.closing",
            "content-type: application/json",
            "epoch: 1795774000",
            "previous: 40",
            "producer: node/gateway-0/1",
            "sequence: 42",
        ]
    );
}

#[test]
fn values_are_read_back_in_every_form() {
    let mut body = Vec::new();
    CLOSING.encode(&mut body);
    let told = r#"{"time":1795774039000001,"producer":"node/gateway-0/1","epoch":1795774000,"sequence":41,"lost":0,"reason":"stopped"}"#;
    for form in [Form::Json, Form::Avro, Form::Confluent { id: 0x0102_0304 }] {
        let headers = headers(&envelope(&CLOSING), form);
        let mut value = Vec::new();
        assert!(form.value(Closing::KIND, &body, &mut value).unwrap());
        let begins: &[u8] = match form {
            Form::Json => b"{",
            Form::Avro => &[0xc3, 1],
            Form::Confluent { .. } => &[0, 1, 2, 3, 4],
        };
        assert!(value.starts_with(begins), "{form:?}");
        let received = Received::read(borrowed(&headers));
        let mut text = String::new();
        received.to_json(&value, &mut text).unwrap();
        assert_eq!(text, told, "{form:?}");
        assert_eq!(
            (received.epoch, received.sequence, received.previous),
            (Some(1_795_774_000), Some(42), Some(40))
        );
    }
    // A registry's client that names the schema in a header leaves the value bare.
    let mut headers = headers(&envelope(&CLOSING), Form::Confluent { id: 7 });
    headers.push((SCHEMA_ID, vec![1; 17]));
    let mut text = String::new();
    Received::read(borrowed(&headers))
        .to_json(&body, &mut text)
        .unwrap();
    assert_eq!(text, told);
}

#[test]
fn tombstones_have_no_value() {
    let gone = ConfigRemoval {
        time: 1,
        entity: "routes/a",
    };
    let mut value = Vec::new();
    assert!(
        !Form::Json
            .value(ConfigRemoval::KIND, &[], &mut value)
            .unwrap()
    );
    let headers = headers(&envelope(&gone), Form::Json);
    let has = |wanted: &str| headers.iter().any(|(name, _)| *name == wanted);
    assert!(!has(CONTENT_TYPE) && !has(SCHEMA) && has(SUBJECT));
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut body = Vec::new();
    CLOSING.encode(&mut body);
    let known = headers(&envelope(&CLOSING), Form::Avro);
    let with = |name: &'static str, value: &str| {
        let mut headers = known.clone();
        headers.retain(|(known, _)| *known != name);
        headers.push((name, value.as_bytes().to_vec()));
        headers
    };
    let single = |body: &[u8]| [&[0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], body].concat();
    let other = "urn:carbyne:schema:carbyne.events.Closing:0";
    for (headers, value, expected) in [
        (
            known.clone(),
            body.clone(),
            Unreadable::Frame("Avro's single-object encoding"),
        ),
        (
            known.clone(),
            single(&body[..body.len() - 1]),
            Unreadable::Corrupt(Corrupt::Short { field: "reason" }),
        ),
        (
            with(SCHEMA, other),
            single(&body),
            Unreadable::Schema(other.to_owned()),
        ),
        (
            with(CONTENT_TYPE, "text/plain"),
            body.clone(),
            Unreadable::ContentType("text/plain".to_owned()),
        ),
        (
            with(CONTENT_TYPE, "application/json"),
            vec![0xff],
            Unreadable::Text,
        ),
        (
            with(CONTENT_TYPE, "application/avro"),
            vec![1; 9],
            Unreadable::Frame("a registry's frame"),
        ),
    ] {
        let mut text = String::new();
        let error = Received::read(borrowed(&headers))
            .to_json(&value, &mut text)
            .unwrap_err();
        assert_eq!(error, expected);
    }
}

#[test]
fn times_are_dates() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_399, "2000-02-28T23:59:59.000000Z"),
        (951_782_400, "2000-02-29T00:00:00.000000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        (u64::MAX / 1_000_000, "9999-12-31T23:59:59.999999Z"),
    ] {
        assert_eq!(Timestamp::of(seconds * 1_000_000).as_str(), text);
    }
}
