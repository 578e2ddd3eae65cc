use super::*;
use crate::event::AuditApiCall;

fn found(sequence: u64, previous: Option<u64>) -> Found<'static> {
    Found {
        producer: "node/gateway-0/0",
        epoch: 9,
        sequence,
        previous,
        kind: Some(AuditApiCall::KIND),
    }
}

fn deliver(tally: &mut Tally, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        tally.delivered(
            Topic::AuditApiCalls,
            found(
                sequence,
                sequence.checked_sub(1).filter(|before| *before > 0),
            ),
            None,
        );
    }
}

fn say(tally: &mut Tally, kind: Kind, sequence: u64, value: &str) {
    let found = Found {
        kind: Some(kind),
        ..found(sequence, None)
    };
    tally.delivered(kind.topic(), found, Some(value));
}

fn gaps(tally: &Tally) -> Vec<(u64, u64, Missing)> {
    let producers = tally.report().producers;
    let gaps = producers.into_iter().flat_map(|producer| producer.gaps);
    gaps.map(|gap| (gap.first, gap.last, gap.missing)).collect()
}

#[test]
fn holes_and_repeats_are_seen() {
    let mut tally = Tally::default();
    deliver(&mut tally, (1..=100).chain(103..=200).chain(150..=152));
    let report = tally.report();
    assert_eq!((report.found, report.duplicates, report.lost), (198, 3, 2));
    assert_eq!(gaps(&tally), [(101, 102, Missing::Lost)]);
    assert!(!report.is_complete());
    assert_eq!(report.producers[0].tail, Tail::Open);
}

#[test]
fn a_tail_is_missed_because_something_else_tells_of_it() {
    let closing = r#"{"time":1,"producer":"node/gateway-0/0","epoch":9,"sequence":130,"lost":0,"reason":"stopped"}"#;
    let mut tally = Tally::default();
    deliver(&mut tally, 1..=120);
    assert!(tally.report().is_complete());
    let mut by_closing = Tally::default();
    deliver(&mut by_closing, 1..=120);
    say(&mut by_closing, Closing::KIND, 131, closing);
    assert_eq!(gaps(&by_closing), [(121, 130, Missing::Lost)]);
    assert_eq!(by_closing.report().producers[0].tail, Tail::Closed);
    // The closing is lost too, and the next start's heartbeat tells.
    let mut by_heartbeat = Tally::default();
    deliver(&mut by_heartbeat, 1..=120);
    let heartbeat = closing
        .replace(r#","reason":"stopped""#, "")
        .replace("130", "131");
    let next = Found {
        epoch: 10,
        kind: Some(Heartbeat::KIND),
        ..found(1, None)
    };
    by_heartbeat.delivered(Topic::SystemHealth, next, Some(&heartbeat));
    assert_eq!(gaps(&by_heartbeat), [(121, 131, Missing::LostTail)]);
    // Or the ledger beside the spool.
    tally.claim("node/gateway-0/0", 9, 131, true);
    assert_eq!(gaps(&tally), [(121, 131, Missing::LostTail)]);
}

#[test]
fn what_was_dropped_and_said_is_no_loss_of_ours() {
    let gap = |first: u64, last: u64| {
        format!(
            r#"{{"time":1,"producer":"node/gateway-0/0","epoch":9,"topic":"audit-api-calls","reason":"ring_full","count":{},"first_time":1,"last_time":1,"first_sequence":{first},"last_sequence":{last}}}"#,
            last - first + 1
        )
    };
    let mut tally = Tally::default();
    deliver(&mut tally, (1..=10).chain(21..=30).chain(32..=40));
    say(&mut tally, AuditGap::KIND, 11, &gap(11, 20));
    say(&mut tally, AuditGap::KIND, 31, &gap(31, 31));
    let said = || Missing::Declared("audit-api-calls ring_full".to_owned());
    assert_eq!(gaps(&tally), [(11, 20, said()), (31, 31, said())]);
    let report = tally.report();
    assert_eq!((report.lost, report.declared), (0, 11));
    assert!(report.is_complete());
}

#[test]
fn retention_and_compaction_excuse_only_what_they_can_have_taken() {
    let mut tally = Tally::default();
    // 5 was in audit-api-calls, which keeps all; 8 was in system-health.
    deliver(&mut tally, [1, 2, 3, 4, 6, 7, 9]);
    assert_eq!(tally.report().lost, 2);
    tally.expires(Topic::SystemHealth);
    assert_eq!(gaps(&tally), [(5, 5, Missing::Lost), (8, 8, Missing::Lost)]);
    let mut tally = Tally::default();
    deliver(&mut tally, [1, 2, 3, 4, 6, 7]);
    tally.delivered(Topic::AuditApiCalls, found(9, Some(7)), None);
    tally.expires(Topic::SystemHealth);
    assert_eq!(
        gaps(&tally),
        [(5, 5, Missing::Lost), (8, 8, Missing::Expired)]
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    let mut tally = Tally::default();
    say(&mut tally, Closing::KIND, 1, "no JSON");
    say(&mut tally, AuditGap::KIND, 2, "{}");
    assert_eq!(tally.report().unreadable, 2);
    assert!(!tally.report().is_complete());
}

#[test]
fn a_claim_beyond_reason_is_a_gap_like_any_other() {
    for claimed in [u64::MAX, u64::MAX / 2, 1 << 40] {
        let mut tally = Tally::default();
        deliver(&mut tally, (1..=10).chain([70_000, 200_001]));
        tally.claim("node/gateway-0/0", 9, claimed, true);
        let last = claimed.min(u64::MAX / 2);
        let expected = [
            (11, 69_999, Missing::Lost),
            (70_001, 200_000, Missing::Lost),
            (200_002, last, Missing::LostTail),
        ];
        assert_eq!(gaps(&tally), expected);
        tally.expires(Topic::SystemHealth);
        // Each is referred to by the one after it, in a topic that keeps all; the tail is not.
        let found = gaps(&tally);
        assert_eq!(found.last(), Some(&(200_002, last, Missing::Expired)));
    }
}

#[test]
fn what_comes_while_it_is_looked_for_is_neither_lost_nor_counted() {
    let mut tally = Tally::default();
    deliver(&mut tally, (1..=10).chain(13..=20));
    assert_eq!(gaps(&tally), [(11, 12, Missing::Lost)]);
    tally.hold();
    // 12 was on its way; 25 and another producer have come since, and 21 to 24 are on theirs.
    deliver(&mut tally, [12, 25]);
    tally.claim("node/gateway-0/0", 9, 30, false);
    tally.claim("node/gateway-0/1", 9, 5, false);
    let report = tally.report();
    assert_eq!((report.found, report.lost), (19, 1));
    assert_eq!(report.producers.len(), 1);
    assert_eq!(gaps(&tally), [(11, 11, Missing::Lost)]);
    assert_eq!(report.producers[0].last, 20);
}
