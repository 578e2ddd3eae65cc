use proptest::prelude::*;

use super::*;

const CDS: Kind = Kind::Cluster;
const EDS: Kind = Kind::Endpoint;

fn ask(kind: Kind, nonce: &str, names: &[&str]) -> Request {
    Request {
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Request::default()
    }
}

fn named(kind: Kind, names: &[&str]) -> Vec<Push> {
    vec![Push {
        kind,
        names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        forced: true,
    }]
}

fn session(variant: Variant) -> Session {
    Session::new(variant)
}

#[test]
fn sotw_first_request_ack_and_growth() {
    let mut stream = session(Variant::Sotw);
    assert_eq!(
        stream.request(&ask(CDS, "", &[])),
        Ok(vec![whole_type(CDS)])
    );
    stream.sent(CDS, "n1", "v1", [("a".to_owned(), 1)], true);
    assert_eq!(
        stream.request(&ask(CDS, "n1", &[])),
        Ok(vec![]),
        "an ACK is not answered"
    );
    assert_eq!(stream.watched()[&CDS].version_acked, "v1");
    assert_eq!(
        stream.request(&ask(EDS, "", &["a"])),
        Ok(named(EDS, &["a"]))
    );
    stream.sent(EDS, "n2", "v1", [], false);
    assert_eq!(
        stream.request(&ask(EDS, "n2", &["a", "b"])),
        Ok(named(EDS, &["b"])),
        "only what was added"
    );
    stream.sent(EDS, "n3", "v1", [], false);
    assert_eq!(
        stream.request(&ask(EDS, "n2", &["c"])),
        Ok(vec![]),
        "a stale nonce says nothing"
    );
    assert_eq!(stream.watched()[&EDS].nonce_acked, "n2");
    assert_eq!(
        stream.request(&ask(EDS, "n3", &["b"])),
        Ok(vec![]),
        "fewer names owe nothing"
    );
    assert_eq!(
        stream.request(&ask(EDS, "n3", &[])),
        Ok(vec![]),
        "no names: unsubscribed"
    );
    assert!(!stream.watched().contains_key(&EDS));
}

#[test]
fn sotw_warming_answers_one_ack() {
    let mut stream = session(Variant::Sotw);
    stream.request(&ask(EDS, "", &["a"])).unwrap();
    stream.sent(EDS, "e1", "v1", [], false);
    stream.request(&ask(CDS, "", &[])).unwrap();
    assert_eq!(
        stream.request(&ask(EDS, "e1", &["a"])),
        Ok(named(EDS, &["a"]))
    );
    stream.sent(EDS, "e2", "v1", [], false);
    assert_eq!(stream.request(&ask(EDS, "e2", &["a"])), Ok(vec![]));
}

#[test]
fn a_nack_is_kept_until_the_next_ack() {
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut stream = session(variant);
        stream.request(&ask(CDS, "", &[])).unwrap();
        stream.sent(CDS, "n1", "v1", [], true);
        let nack = Request {
            error: Some("cluster x: bad".to_owned()),
            ..ask(CDS, "n1", &[])
        };
        assert_eq!(stream.request(&nack), Ok(vec![]));
        assert_eq!(
            stream.watched()[&CDS].error.as_deref(),
            Some("cluster x: bad")
        );
        assert_eq!(stream.watched()[&CDS].nonce_acked, "");
        stream.sent(CDS, "n2", "v2", [], true);
        stream.request(&ask(CDS, "n2", &[])).unwrap();
        assert_eq!(stream.watched()[&CDS].error, None);
    }
}

#[test]
fn a_reconnect_is_answered_in_full() {
    let mut stream = session(Variant::Sotw);
    assert_eq!(
        stream.request(&ask(EDS, "", &["a", "b"])),
        Ok(named(EDS, &["a", "b"]))
    );
    stream.sent(EDS, "n1", "v1", [], false);
    assert_eq!(
        stream.request(&ask(EDS, "", &["a", "b"])),
        Ok(named(EDS, &["a", "b"]))
    );
    let mut stream = session(Variant::Delta);
    let again = Request {
        held: vec!["gone".to_owned(), "a".to_owned()],
        ..ask(EDS, "", &["a"])
    };
    assert_eq!(stream.request(&again), Ok(named(EDS, &["a", "gone"])));
    let push = &named(EDS, &["a", "gone"])[0];
    assert_eq!(
        stream.held(push).len(),
        2,
        "what it holds can be named as removed"
    );
}

#[test]
fn delta_subscriptions() {
    let mut stream = session(Variant::Delta);
    assert_eq!(
        stream.request(&ask(CDS, "", &["*"])),
        Ok(vec![whole_type(CDS)])
    );
    assert_eq!(
        stream.request(&ask(EDS, "", &["a"])),
        Ok(named(EDS, &["a"]))
    );
    stream.sent(EDS, "n1", "v1", [], false);
    assert_eq!(stream.request(&ask(EDS, "n1", &[])), Ok(vec![]), "ACK");
    assert_eq!(
        stream.request(&ask(EDS, "", &["b"])),
        Ok(named(EDS, &["b"])),
        "only the new"
    );
    assert_eq!(
        stream.request(&ask(EDS, "", &["b"])),
        Ok(named(EDS, &["b"])),
        "asked again, sent again"
    );
    let less = Request {
        removed: vec!["a".to_owned()],
        ..ask(EDS, "", &[])
    };
    assert_eq!(
        stream.request(&less),
        Ok(vec![]),
        "unsubscribing owes nothing"
    );
    assert_eq!(
        stream.watched()[&EDS].names.iter().collect::<Vec<_>>(),
        ["b"]
    );
    let reconnect = &mut session(Variant::Delta);
    reconnect.request(&ask(EDS, "", &["a"])).unwrap();
    let both = reconnect.request(&ask(CDS, "", &[])).unwrap();
    assert_eq!(
        both.iter().map(|push| push.kind).collect::<Vec<_>>(),
        [CDS, EDS],
        "endpoints follow new clusters"
    );
}

#[test]
fn changes_come_in_push_order() {
    let mut stream = session(Variant::Sotw);
    for kind in [Kind::Route, Kind::Listener, EDS, CDS] {
        stream.request(&ask(kind, "", &["x"])).unwrap();
    }
    let order: Vec<Kind> = stream.changed().iter().map(|push| push.kind).collect();
    assert_eq!(order, Kind::ALL);
    assert!(stream.changed().iter().all(|push| !push.forced));
}

#[test]
fn types_not_served_are_ignored_and_no_type_ends_the_stream() {
    let mut stream = session(Variant::Sotw);
    assert_eq!(
        stream.request(&Request::default()),
        Err(ProtocolError::NoType)
    );
    let secret = Request {
        type_url: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret".to_owned(),
        ..Request::default()
    };
    assert_eq!(stream.request(&secret), Ok(vec![]));
}

proptest! {
    /// Whatever comes in whatever order: no loop of answers to ACKs, and an answer only about what is subscribed.
    #[test]
    fn an_ack_of_the_last_response_is_answered_at_most_once(
        delta in any::<bool>(),
        steps in proptest::collection::vec((0_usize..4, 0_usize..3, proptest::collection::vec("[a-c]", 0..3), any::<bool>()), 0..40),
    ) {
        let mut stream = session(if delta { Variant::Delta } else { Variant::Sotw });
        let mut nonce = 0;
        for (kind, which, names, fail) in steps {
            let kind = Kind::ALL[kind];
            let last = stream.watched().get(&kind).map(|watched| watched.nonce_sent.clone()).unwrap_or_default();
            let request = Request {
                nonce: match which { 0 => String::new(), 1 => last, _ => "stale".to_owned() },
                error: fail.then(|| "no".to_owned()),
                ..ask(kind, "", &names.iter().map(String::as_str).collect::<Vec<_>>())
            };
            for push in stream.request(&request).unwrap() {
                let watched = &stream.watched()[&push.kind];
                if let Some(names) = &push.names {
                    prop_assert!(names.is_subset(&watched.names), "{names:?} of {:?}", watched.names);
                    prop_assert!(!push.kind.is_wildcard() || delta);
                }
                nonce += 1;
                stream.sent(push.kind, &nonce.to_string(), "v", [], false);
            }
            prop_assert!(!fail || stream.watched()[&kind].error.is_some());
        }
        for kind in Kind::ALL {
            let Some(watched) = stream.watched().get(&kind).cloned() else { continue };
            let ack = ask(kind, &watched.nonce_sent, &if delta { vec![] } else { watched.names.iter().map(String::as_str).collect::<Vec<_>>() });
            if watched.nonce_sent.is_empty() { continue }
            for push in stream.request(&ack).unwrap() {
                nonce += 1;
                stream.sent(push.kind, &nonce.to_string(), "v", [], false);
            }
            let watched = stream.watched().get(&kind).cloned().unwrap_or_default();
            let ack = Request { nonce: watched.nonce_sent.clone(), ..ack };
            if watched.nonce_sent.is_empty() { continue }
            prop_assert_eq!(stream.request(&ack).unwrap(), vec![]);
        }
    }
}
