//! What fields tell, and what is told on.

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

type Fields<'a> = &'a [(&'static str, &'a str)];

fn headers(fields: Fields<'_>) -> Headers {
    fields
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn text(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn traceparents() {
    let ids = format!("{TRACE}-{SPAN}");
    let upper = ids.to_uppercase();
    let zeros = format!("{}-{SPAN}", "0".repeat(32));
    // Whether the parent was sampled; `None` is malformed.
    let cases: &[(String, Option<bool>)] = &[
        (format!("00-{ids}-01"), Some(true)),
        (format!("00-{ids}-00"), Some(false)),
        (format!("01-{ids}-03"), Some(true)),
        (format!("00-{upper}-01"), Some(true)),
        (format!("01-{ids}-01-more"), None),
        (format!("00-{zeros}-01"), None),
        (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
        (format!("00-{ids}-0g"), None),
        ("garbage".to_owned(), None),
        (String::new(), None),
    ];
    for (value, expected) in cases {
        let fields = headers(&[("traceparent", value), ("tracestate", "a=1")]);
        for chosen in [true, false] {
            let span = SpanContext::from_w3c(&fields, chosen, None);
            let sampled = span.as_ref().ok().map(SpanContext::is_sampled);
            assert_eq!(sampled, expected.map(|told| told && chosen), "{value}");
            let Ok(span) = span else { continue };
            assert_eq!(text(|out| span.write_trace_id(out)), TRACE);
            assert_eq!(text(|out| hexadecimal(span.parent().unwrap(), out)), SPAN);
            assert!(span.has_remote_parent());
            assert_eq!(span.state(), b"a=1");
        }
    }
    let alone = headers(&[("tracestate", "a=1"), ("b3", "0")]);
    let root = SpanContext::from_w3c(&alone, true, None).unwrap();
    assert_eq!(
        (root.parent(), root.state(), root.is_sampled()),
        (None, &b""[..], true)
    );
}

#[test]
fn states_are_told_on_in_one_field() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let mut fields = headers(&[
        ("traceparent", &parent),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ]);
    let span = SpanContext::from_w3c(&fields, true, None).unwrap();
    span.inject(&mut fields);
    assert_eq!(fields.text(&TRACESTATE), Some("a=1,b=2"));
    let told = fields.text(&TRACEPARENT).unwrap();
    let own = text(|out| span.write_span_id(out));
    assert_eq!(told, format!("00-{TRACE}-{own}-01"));
    let mut stray = headers(&[("tracestate", "a=1")]);
    SpanContext::root(true).inject(&mut stray);
    assert_eq!(stray.text(&TRACESTATE), None);
}

#[test]
fn b3_in_both_forms() {
    enum Is {
        Malformed,
        Root(bool),
        Below(bool),
    }
    use Is::{Below, Root};
    let short = &TRACE[16..];
    let full = format!("{TRACE}-{SPAN}");
    let w3c = format!("00-{TRACE}-{SPAN}-01");
    let several = |rest: Fields<'static>| -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("x-b3-traceid", TRACE.to_owned()),
            ("x-b3-spanid", SPAN.to_owned()),
        ];
        fields.extend(
            rest.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        fields
    };
    let one = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    // With a local decision of no.
    let cases: Vec<(Vec<(&'static str, String)>, Is)> = vec![
        (vec![], Root(false)),
        (one("b3", &full), Below(false)),
        (one("b3", &format!("{full}-1")), Below(true)),
        (
            one("b3", &format!("{full}-d-1111111111111111")),
            Below(true),
        ),
        (one("b3", &format!("{short}-{SPAN}-0")), Below(false)),
        (one("b3", "1"), Root(true)),
        (one("b3", "0"), Root(false)),
        (one("b3", "garbage"), Is::Malformed),
        (one("b3", &format!("{full}-x")), Is::Malformed),
        (several(&[]), Below(false)),
        (several(&[("x-b3-sampled", "1")]), Below(true)),
        (several(&[("x-b3-sampled", "true")]), Below(true)),
        (several(&[("x-b3-sampled", "0")]), Below(false)),
        (several(&[("x-b3-parentspanid", "zz")]), Is::Malformed),
        (one("x-b3-traceid", TRACE), Root(false)),
        (one("x-b3-sampled", "1"), Root(true)),
        (one("traceparent", &w3c), Below(true)),
        (one("traceparent", "garbage"), Root(false)),
    ];
    for (fields, expected) in cases {
        for shared in [true, false] {
            let rules = B3Rules {
                wide: true,
                shared,
                w3c: true,
            };
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let headers = headers(&fields);
            let span = SpanContext::from_b3(&headers, false, rules);
            let Ok(span) = span else {
                assert!(matches!(expected, Is::Malformed), "{fields:?}");
                continue;
            };
            match expected {
                Is::Malformed => panic!("{fields:?} is understood"),
                Root(sampled) => {
                    assert_eq!(span.is_sampled(), sampled, "{fields:?}");
                    assert_eq!(span.trace_id()[8..], *span.span_id());
                    assert!(span.parent().is_none() && !span.has_remote_parent());
                }
                Below(sampled) => {
                    assert_eq!(span.is_sampled(), sampled, "{fields:?}");
                    assert!(TRACE.ends_with(&text(|out| span.write_trace_id(out))));
                    let own = text(|out| span.write_span_id(out));
                    assert_eq!(own == SPAN, shared, "{fields:?}");
                    if !shared {
                        let parent = text(|out| hexadecimal(span.parent().unwrap(), out));
                        assert_eq!(parent, SPAN);
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_told_is_understood() {
    for (first, w3c) in [("", false), ("b3", false), ("", true)] {
        for wide in [true, false] {
            let rules = B3Rules {
                wide,
                shared: false,
                w3c,
            };
            let fields: Fields<'_> = if first.is_empty() {
                &[]
            } else {
                &[("b3", "1")]
            };
            let mut fields = headers(fields);
            let span = SpanContext::from_b3(&fields, true, rules).unwrap().child();
            span.inject(&mut fields);
            assert_eq!(fields.contains(&TRACEPARENT), w3c);
            let next = SpanContext::from_b3(&fields, false, rules).unwrap();
            assert_eq!(next.trace_id(), span.trace_id());
            assert_eq!(next.parent(), Some(span.span_id()));
            assert!(next.is_sampled());
            assert_eq!(
                text(|out| next.write_trace_id(out)).len(),
                if wide { 32 } else { 16 }
            );
        }
    }
}
