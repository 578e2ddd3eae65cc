use std::time::Duration;

use h2::Reason;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn ping() -> Vec<u8> {
    frame(6, 0, 0, &[0; 8])
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

fn headers(stream: u32) -> Vec<u8> {
    frame(1, 4, stream, &[0x82, 0x84, 0x86])
}

/// What a client begins with.
fn opening() -> Vec<u8> {
    [PREFACE, &frame(4, 0, 0, &[])].concat()
}

/// A server's watch behind the preface.
fn server(budgets: Budgets) -> (FrameWatch, Instant) {
    let now = Instant::now();
    let mut watch = FrameWatch::server(Arc::new(budgets), now);
    assert_eq!(watch.inbound(&opening(), now), Ok(()));
    (watch, now)
}

/// After a violation a watch stands in the middle of a frame; this one goes back to where it was.
fn attempt(watch: &mut FrameWatch, bytes: &[u8], now: Instant) -> Result<(), Violation> {
    let mut next = watch.clone();
    next.inbound(bytes, now)?;
    *watch = next;
    Ok(())
}

/// How many of these frames pass before the first violation.
fn passing(watch: &mut FrameWatch, bytes: &[u8], now: Instant) -> (u32, Violation) {
    for count in 0..10_000 {
        if let Err(violation) = attempt(watch, bytes, now) {
            return (count, violation);
        }
    }
    panic!("a flood that nothing stops: {bytes:?}");
}

#[test]
fn floods_end_at_their_burst() {
    let cases = [
        ("ping flood", ping(), 200, Violation::Ping),
        (
            "ping acknowledgement flood",
            frame(6, 1, 0, &[0; 8]),
            200,
            Violation::Ping,
        ),
        (
            "settings flood",
            frame(4, 0, 0, &[]),
            50,
            Violation::Settings,
        ),
        (
            "settings with many entries",
            frame(4, 0, 0, &[0; 96 * 4]),
            10,
            Violation::Settings,
        ),
        (
            "empty data flood",
            frame(0, 0, 1, &[]),
            100,
            Violation::EmptyData,
        ),
        (
            "priority flood",
            frame(2, 0, 1, &[0; 5]),
            200,
            Violation::Priority,
        ),
        (
            "priority update flood",
            frame(16, 0, 0, &[0; 5]),
            200,
            Violation::Priority,
        ),
        (
            "window update flood",
            frame(8, 0, 0, &[0, 0, 0, 1]),
            500,
            Violation::WindowUpdate,
        ),
        (
            "resets of streams never opened",
            reset(1, 8),
            500,
            Violation::Reset,
        ),
        (
            "malformed resets",
            frame(3, 0, 1, &[0; 3]),
            500,
            Violation::Reset,
        ),
        (
            "goaway flood",
            frame(7, 0, 0, &[0; 8]),
            50,
            Violation::Other,
        ),
        (
            "unknown frames",
            frame(0xbe, 0, 0, b"grease"),
            50,
            Violation::Other,
        ),
        (
            "push promise",
            frame(5, 4, 1, &[0; 4]),
            0,
            Violation::PushPromise,
        ),
        (
            "headers on stream 0",
            headers(0),
            100,
            Violation::FurtherHeaders,
        ),
        (
            "continuation without headers",
            frame(9, 0, 1, &[]),
            16,
            Violation::Continuation,
        ),
        (
            "large header block",
            frame(9, 0, 1, &[0; 16_384]),
            6,
            Violation::HeaderBlock,
        ),
        (
            "large headers frame",
            frame(1, 0, 1, &vec![0; 98_305]),
            0,
            Violation::HeaderBlock,
        ),
    ];
    for (name, bytes, count, violation) in cases {
        let (mut watch, now) = server(Budgets::default());
        assert_eq!(
            passing(&mut watch, &bytes, now),
            (count, violation),
            "{name}"
        );
    }
}

#[test]
fn continuation_flood_is_counted_per_block() {
    let (mut watch, now) = server(Budgets::default());
    for stream in (1..2000).step_by(2) {
        let mut block = frame(1, 0, stream, b"a");
        for _ in 0..15 {
            block.extend(frame(9, 0, stream, b"a"));
        }
        block.extend(frame(9, 4, stream, b"a"));
        assert_eq!(watch.inbound(&block, now), Ok(()));
    }
    watch
        .inbound(&frame(1, 0, 2001, b"a"), now)
        .expect("starts a block");
    let empty = frame(9, 0, 2001, &[]);
    assert_eq!(
        passing(&mut watch, &empty, now),
        (16, Violation::Continuation)
    );
}

#[test]
fn rapid_reset() {
    let (mut watch, now) = server(Budgets::default());
    let mut streams = (1..).step_by(2);
    let mut count = 0;
    let violation = loop {
        let stream = streams.next().expect("endless");
        watch.inbound(&headers(stream), now).expect("opens");
        match watch.inbound(&reset(stream, 8), now) {
            Ok(()) => count += 1,
            Err(violation) => break violation,
        }
    };
    assert_eq!((count, violation), (999, Violation::Reset));
}

#[test]
fn resets_of_old_streams_and_half_of_the_young_are_free() {
    let (mut watch, start) = server(Budgets::default());
    for stream in (1..20_001).step_by(2) {
        watch.inbound(&headers(stream), start).expect("opens");
    }
    let later = start + Duration::from_millis(1300);
    for stream in (1..20_001).step_by(2) {
        assert_eq!(
            watch.inbound(&reset(stream, 8), later),
            Ok(()),
            "deadlines that passed"
        );
    }
    for stream in (20_001..60_001).step_by(2) {
        watch.inbound(&headers(stream), later).expect("opens");
        if stream % 4 == 1 {
            assert_eq!(
                watch.inbound(&reset(stream, 8), later),
                Ok(()),
                "hedged calls"
            );
        }
    }
}

#[test]
fn budgets_refill_with_time() {
    let (mut watch, start) = server(Budgets::default());
    assert_eq!(passing(&mut watch, &ping(), start).0, 200);
    let later = start + Duration::from_millis(500);
    assert_eq!(passing(&mut watch, &ping(), later).0, 10);
    // Frequent looks lose nothing.
    let mut count = 0;
    for step in 0..10_000_u32 {
        let now = later + Duration::from_micros(100) * step;
        count += u32::from(attempt(&mut watch, &ping(), now).is_ok());
    }
    assert!((19..=20).contains(&count), "{count} in a second");
    let much_later = later + Duration::from_secs(u64::from(u32::MAX) / 500);
    assert_eq!(
        passing(&mut watch, &frame(8, 0, 0, &[0; 4]), much_later).0,
        500
    );
}

#[test]
fn ordinary_traffic_earns_what_it_needs() {
    let (mut watch, now) = server(Budgets::default());
    for stream in (1..40_001).step_by(2) {
        let mut bytes = headers(stream);
        bytes.extend(frame(2, 0, stream, &[0; 5]));
        bytes.extend(frame(0, 0, stream, b"body"));
        bytes.extend(frame(0, 1, stream, &[]));
        bytes.extend(frame(1, 5, stream, b"t"));
        watch.inbound(&bytes, now).expect("a request with trailers");
        watch
            .outbound(&frame(1, 4, stream, b"h"), now)
            .expect("response");
        watch
            .outbound(&frame(0, 0, stream, b"data"), now)
            .expect("data");
        for _ in 0..10 {
            watch
                .inbound(&frame(8, 0, stream, &[0; 4]), now)
                .expect("window updates");
        }
        watch.inbound(&ping(), now).expect("bandwidth probe");
    }
}

/// Five hundred calls at once, each answered with head and trailers, and nothing that any of them earned is lost.
#[test]
fn many_streams_at_once_have_their_trailers() {
    let now = Instant::now();
    let mut watch = FrameWatch::client(Arc::default(), now);
    assert_eq!(watch.inbound(&frame(4, 0, 0, &[]), now), Ok(()));
    assert_eq!(watch.outbound(PREFACE, now), Ok(()));
    let streams = || (0..500).map(|number| 2 * number + 1);
    for _ in 0..2 {
        // The second time around the identifiers are old: as many frames for which nobody pays.
        for stream in streams() {
            assert_eq!(watch.outbound(&headers(stream), now), Ok(()));
        }
        let answered = streams().flat_map(|stream| [headers(stream), headers(stream)].concat());
        let answers: Vec<u8> = answered.collect();
        if attempt(&mut watch, &answers, now).is_err() {
            let (left, violation) = passing(&mut watch, &headers(1), now);
            assert_eq!((left, violation), (100, Violation::FurtherHeaders));
            return;
        }
    }
    panic!("a flood of header blocks that nothing stops");
}

#[test]
fn a_server_that_floods_its_client() {
    let now = Instant::now();
    let mut watch = FrameWatch::client(Arc::new(Budgets::default()), now);
    assert_eq!(watch.inbound(&frame(4, 0, 0, &[]), now), Ok(()));
    let mut sent = PREFACE.to_vec();
    sent.extend(frame(4, 0, 0, &[]));
    sent.extend(headers(1));
    watch.outbound(&sent, now).expect("ours");
    assert_eq!(
        passing(&mut watch, &headers(1), now),
        (100 + 2, Violation::FurtherHeaders),
        "1xx flood"
    );
    assert_eq!(
        passing(&mut watch, &frame(5, 4, 1, &[0; 4]), now).1,
        Violation::PushPromise
    );
    for stream in (3..20_003).step_by(2) {
        watch.outbound(&headers(stream), now).expect("request");
        watch.inbound(&headers(stream), now).expect("response");
        watch
            .inbound(&frame(1, 5, stream, b"t"), now)
            .expect("trailers");
    }
}

#[test]
fn made_you_reset() {
    for (code, provoked) in [
        (0, false),
        (1, true),
        (2, false),
        (3, true),
        (5, true),
        (7, true),
        (8, false),
        (11, true),
    ] {
        let (mut watch, now) = server(Budgets::default());
        let result = (0..201).try_for_each(|stream| watch.outbound(&reset(stream, code), now));
        let expected = if provoked {
            Err(Violation::ProvokedReset)
        } else {
            Ok(())
        };
        assert_eq!(result, expected, "code {code}");
    }
}

#[test]
fn every_violation_comes_through_the_alarm() {
    for violation in Violation::ALL {
        let alarm = Alarm::default();
        assert_eq!(alarm.violation(), None);
        alarm.raise(violation);
        alarm.raise(Violation::Ping);
        assert_eq!(alarm.violation(), Some(violation));
    }
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let one = (
        0_u8..18,
        any::<u8>(),
        0_u32..6,
        prop::collection::vec(any::<u8>(), 0..20),
    );
    prop::collection::vec(one, 0..12).prop_map(|list| {
        list.into_iter()
            .flat_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
            .collect()
    })
}

proptest! {
    #[test]
    fn cutting_at_every_byte_changes_nothing(bytes in frames(), cut in any::<prop::sample::Index>()) {
        fuzz_frames(&bytes);
        let mut all = PREFACE.to_vec();
        all.extend(&bytes);
        fuzz_frames(&all);
        // Two pieces leave the same counters behind as one.
        let (mut whole, now) = server(Budgets::default());
        let mut halves = whole.clone();
        let cut = cut.index(bytes.len() + 1);
        let first = halves.inbound(&bytes[..cut], now);
        let both = first.and_then(|()| halves.inbound(&bytes[cut..], now));
        prop_assert_eq!(whole.inbound(&bytes, now), both);
        prop_assert_eq!(format!("{whole:?}"), format!("{halves:?}"));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_frames(&bytes);
    }
}

/// Serves with `h2` over a guarded pipe until the connection ends, the way its owner is asked to.
async fn serve(io: DuplexStream, budgets: Budgets) -> (usize, Option<Violation>) {
    let (guarded, alarm) = Guarded::server(io, Arc::new(budgets));
    let mut connection = h2::server::handshake(guarded).await.expect("handshake");
    let mut answered = 0;
    while let Some(accepted) = connection.accept().await {
        let Ok((_, mut respond)) = accepted else {
            break;
        };
        if respond.send_response(http::Response::new(()), true).is_ok() {
            answered += 1;
        }
    }
    if let Some(violation) = alarm.violation() {
        connection.abrupt_shutdown(violation.reason());
        // The read error comes back once GOAWAY is out.
        drop(std::future::poll_fn(|context| connection.poll_closed(context)).await);
    }
    (answered, alarm.violation())
}

/// The error codes of all GOAWAY frames in a server's bytes.
fn goaways(mut bytes: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if *kind == 7 {
            codes.push(u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]));
        }
        bytes = &rest[length..];
    }
    codes
}

/// The kinds of all complete frames in a server's bytes.
fn kinds(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes else {
            return None;
        };
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = rest.get(length..)?;
        Some(*kind)
    })
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await })
        .expect("in time")
}

#[test]
fn h2_says_enhance_your_calm_after_a_flood() {
    let floods = [
        (vec![ping(); 201].concat(), Violation::Ping),
        (frame(5, 4, 1, &[0; 4]), Violation::PushPromise),
        (
            vec![frame(2, 0, 3, &[0, 0, 0, 0, 1]); 201].concat(),
            Violation::Priority,
        ),
    ];
    for (flood, expected) in floods {
        let (received, (_, violation)) = run(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            let mut bytes = PREFACE.to_vec();
            bytes.extend(frame(4, 0, 0, &[]));
            bytes.extend(flood);
            client.write_all(&bytes).await.expect("room");
            let outcome = serve(server, Budgets::default()).await;
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.expect("closed");
            (received, outcome)
        });
        assert_eq!(violation, Some(expected));
        assert_eq!(
            goaways(&received),
            [u32::from(Reason::ENHANCE_YOUR_CALM)],
            "{expected}"
        );
    }
}

/// A gRPC client may send an empty DATA frame now and then, for days.
#[test]
fn empty_data_within_its_budget_ends_no_connection() {
    let empty = frame(0, 0, 1, &[]);
    let mut bytes = opening();
    bytes.extend(headers(1));
    bytes.extend(empty.repeat(500));
    bytes.extend(frame(0, 1, 1, b"end"));
    bytes.extend(headers(3));
    let budgets = || Budgets {
        empty_data: Budget::new(500, 20),
        ..Budgets::default()
    };
    let (answered, violation) = run(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let talk = async {
            client.write_all(&bytes).await.expect("room");
            let mut received = Vec::new();
            while kinds(&received).filter(|kind| *kind == 1).count() < 2 {
                let read = client.read_buf(&mut received).await.expect("open");
                assert_ne!(read, 0, "{:?}", goaways(&received));
            }
            client.shutdown().await.expect("open");
        };
        tokio::join!(serve(server, budgets()), talk).0
    });
    assert_eq!((answered, violation), (2, None));

    // What is taken out is only that, wherever the bytes are cut.
    let expected = [opening(), headers(1), frame(0, 1, 1, b"end"), headers(3)].concat();
    for size in [9, 10, 64, 1000, bytes.len()] {
        let now = Instant::now();
        let mut watch = FrameWatch::server(Arc::new(budgets()), now);
        let mut left = Vec::new();
        for piece in bytes.chunks(size) {
            let mut piece = piece.to_vec();
            let kept = watch.filter(&mut piece, now).expect("within the budget");
            left.extend_from_slice(&piece[..kept]);
        }
        let cut = left
            .windows(9)
            .filter(|window| **window == empty[..])
            .count();
        assert!(cut <= bytes.len() / size, "{size}: {cut}");
        if size == bytes.len() {
            assert_eq!(left, expected);
        }
    }
    // On a stream that was never open, or inside a header block, it is h2's to judge.
    for (before, odd) in [
        (headers(1), frame(0, 0, 5, &[])),
        (frame(1, 0, 1, &[0x82]), frame(0, 0, 1, &[])),
        (headers(1), frame(0, 8, 1, &[])),
    ] {
        let (mut watch, now) = server(Budgets::default());
        let mut bytes = [before, odd].concat();
        let length = bytes.len();
        assert_eq!(watch.filter(&mut bytes, now), Ok(length));
    }
}

#[test]
fn the_first_frame_is_settings() {
    for (first, expected) in [
        (frame(4, 0, 0, &[]), Ok(())),
        (frame(4, 1, 0, &[]), Err(Violation::NoSettings)),
        (headers(1), Err(Violation::NoSettings)),
        (ping(), Err(Violation::NoSettings)),
    ] {
        let now = Instant::now();
        let mut watch = FrameWatch::server(Arc::default(), now);
        let result = watch.inbound(&[PREFACE, &first].concat(), now);
        assert_eq!(result, expected, "{first:?}");
        let mut watch = FrameWatch::client(Arc::default(), now);
        assert_eq!(watch.inbound(&first, now), expected, "{first:?}");
    }
    assert_eq!(Violation::NoSettings.reason(), Reason::PROTOCOL_ERROR);
}

#[test]
fn h2_traffic_passes_untouched() {
    let answered = run(async {
        let (client, server) = tokio::io::duplex(1000);
        let talk = async {
            let (guarded, alarm) = Guarded::client(client, Arc::new(Budgets::default()));
            let (mut send, connection) = h2::client::Builder::new()
                .enable_push(false)
                .handshake::<_, bytes::Bytes>(guarded)
                .await
                .expect("handshake");
            let ask = async {
                for _ in 0..700 {
                    send = send.ready().await.expect("ready");
                    let request = http::Request::get("http://a/").body(()).expect("a request");
                    let (response, _) = send.send_request(request, true).expect("sent");
                    assert_eq!(response.await.expect("answered").status(), 200);
                }
                drop(send);
            };
            let (ended, ()) = tokio::join!(connection, ask);
            assert!(ended.is_ok());
            assert_eq!(alarm.violation(), None);
        };
        let (outcome, ()) = tokio::join!(serve(server, Budgets::default()), talk);
        outcome
    });
    assert_eq!(answered, (700, None));
}
