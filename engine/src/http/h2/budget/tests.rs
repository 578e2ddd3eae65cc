use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_head(&mut out, payload.len(), kind, flags, stream);
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

/// A meter that is shown whole frames.
#[derive(Clone, Debug)]
struct Watch(Meter);

impl Watch {
    fn inbound(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Violation> {
        while let Some((head, rest)) = bytes.split_first_chunk() {
            let head = Head::parse(head);
            bytes = &rest[head.length as usize..];
            self.0.received(head, now)?;
        }
        Ok(())
    }
}

/// A server's meter behind the first SETTINGS.
fn server(budgets: Budgets) -> (Watch, Instant) {
    let now = Instant::now();
    let mut watch = Watch(Meter::new(Arc::new(budgets), true, now));
    assert_eq!(watch.inbound(&frame(4, 0, 0, &[]), now), Ok(()));
    (watch, now)
}

fn client() -> (Watch, Instant) {
    let now = Instant::now();
    let mut watch = Watch(Meter::new(Arc::default(), false, now));
    assert_eq!(watch.inbound(&frame(4, 0, 0, &[]), now), Ok(()));
    (watch, now)
}

/// A violation leaves the budgets as they were.
fn attempt(watch: &mut Watch, bytes: &[u8], now: Instant) -> Result<(), Violation> {
    let mut next = watch.clone();
    next.inbound(bytes, now)?;
    *watch = next;
    Ok(())
}

/// How many of these frames pass before the first violation.
fn passing(watch: &mut Watch, bytes: &[u8], now: Instant) -> (u32, Violation) {
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
        watch.0.sent_data();
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
    let (mut watch, now) = client();
    let streams = || (0..500).map(|number| 2 * number + 1);
    for _ in 0..2 {
        // The second time around the identifiers are old: as many frames for which nobody pays.
        for stream in streams() {
            watch.0.sent_request(stream, now);
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
    let (mut watch, now) = client();
    watch.0.sent_request(1, now);
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
        watch.0.sent_request(stream, now);
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
        let result = (0..201).try_for_each(|_| watch.0.sent_reset(Reason(code), now));
        let expected = if provoked {
            Err(Violation::ProvokedReset)
        } else {
            Ok(())
        };
        assert_eq!(result, expected, "code {code}");
    }
}

/// Padding is no content.
#[test]
fn padding_counts_for_nothing() {
    let (mut watch, now) = server(Budgets::default());
    for _ in 0..1000 {
        assert_eq!(watch.0.padded(1, false, now), Ok(()));
        assert_eq!(watch.0.padded(0, true, now), Ok(()));
    }
    let result = (0..101).try_for_each(|_| watch.0.padded(0, false, now));
    assert_eq!(result, Err(Violation::EmptyData));
}

#[test]
fn the_first_frame_is_settings() {
    for (first, expected) in [
        (frame(4, 0, 0, &[]), Ok(())),
        (frame(4, 1, 0, &[]), Err(Violation::NoSettings)),
        (headers(1), Err(Violation::NoSettings)),
        (ping(), Err(Violation::NoSettings)),
    ] {
        for serves in [true, false] {
            let now = Instant::now();
            let mut watch = Watch(Meter::new(Arc::default(), serves, now));
            assert_eq!(watch.inbound(&first, now), expected, "{first:?}");
        }
    }
    assert_eq!(Violation::NoSettings.reason(), Reason::PROTOCOL_ERROR);
}
