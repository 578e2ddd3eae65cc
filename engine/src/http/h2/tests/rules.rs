//! What single frames make of a connection.

use super::*;

/// Frames behind the greeting, and what a server answers.
#[test]
fn a_server_judges_frames() {
    let open = || headers(1, false, POST);
    let long = |length: &str| {
        let mut block = POST.to_vec();
        block.extend([0x0f, 0x0d, u8::try_from(length.len()).expect("short")]);
        block.extend(length.as_bytes());
        headers(1, false, &block)
    };
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("a request", open(), &[]),
        ("ping", frame(frame::PING, 0, 0, b"12345678"), &["ping ack"]),
        ("settings", settings(&[(0xfafa, 1)]), &["settings ack"]),
        ("unknown frame", frame(0xfa, 0xff, 1, &[0; 8]), &[]),
        ("priority", frame(frame::PRIORITY, 0, 7, &[0; 5]), &[]),
        (
            "data within its length",
            [long("3"), data(1, false, b"ab"), data(1, true, b"c")].concat(),
            &[],
        ),
        (
            "data over its length",
            [long("3"), data(1, false, b"abcd")].concat(),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "data short of its length",
            [long("3"), data(1, true, b"ab")].concat(),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "trailers short of its length",
            [long("3"), headers(1, true, &[0, 1, b'x', 1, b'1'])].concat(),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "data behind the end",
            [headers(1, true, POST), data(1, true, b"x")].concat(),
            &["reset 1 STREAM_CLOSED"],
        ),
        (
            "data for a stream that the peer reset",
            [open(), frame(3, 0, 1, &[0, 0, 0, 8]), data(1, true, b"x")].concat(),
            &[],
        ),
        (
            "data on an idle stream",
            data(1, true, b"x"),
            &["goaway 0 PROTOCOL_ERROR"],
        ),
        (
            "a window too large",
            [open(), window_update(1, 0x7fff_ffff)].concat(),
            &["reset 1 FLOW_CONTROL_ERROR"],
        ),
        (
            "a connection's window too large",
            window_update(0, 0x7fff_ffff),
            &["goaway 0 FLOW_CONTROL_ERROR"],
        ),
        (
            "streams' windows too large",
            [
                open(),
                window_update(1, 0x7fff_0000),
                settings(&[(4, 0x7fff_ffff)]),
            ]
            .concat(),
            &["goaway 1 FLOW_CONTROL_ERROR"],
        ),
        (
            "an even stream",
            headers(2, true, POST),
            &["goaway 0 PROTOCOL_ERROR"],
        ),
        (
            "a stream that went back",
            [headers(5, true, POST), headers(3, true, POST)].concat(),
            &["goaway 5 PROTOCOL_ERROR"],
        ),
        (
            "trailers that are no end",
            [open(), headers(1, false, &[])].concat(),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "trailers with a pseudo-header",
            [open(), headers(1, true, &[0x84])].concat(),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "a frame within a block",
            [
                frame(frame::HEADERS, 0, 1, POST),
                frame(frame::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            &["goaway 0 PROTOCOL_ERROR"],
        ),
        (
            "a block in parts",
            [
                frame(frame::HEADERS, 0, 1, &POST[..2]),
                frame(frame::CONTINUATION, 0, 1, &POST[2..5]),
                frame(frame::CONTINUATION, frame::END_HEADERS, 1, &POST[5..]),
            ]
            .concat(),
            &[],
        ),
        (
            "all padding",
            [
                open(),
                frame(frame::DATA, frame::PADDED, 1, &[2, 0, 0]),
                frame(frame::DATA, frame::PADDED, 1, &[3, 0, 0]),
            ]
            .concat(),
            &["goaway 1 PROTOCOL_ERROR"],
        ),
        (
            "its own parent",
            frame(
                frame::HEADERS,
                frame::END_HEADERS | frame::WITH_PRIORITY,
                1,
                &[&[0, 0, 0, 1, 0], POST].concat(),
            ),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "what no table holds",
            headers(1, true, &[0xbe]),
            &["goaway 1 COMPRESSION_ERROR"],
        ),
        (
            "a frame too large",
            frame(frame::DATA, 0, 1, &[0; 16_385]),
            &["goaway 0 FRAME_SIZE_ERROR"],
        ),
        (
            "push",
            frame(frame::PUSH_PROMISE, 4, 1, &[0; 4]),
            &["goaway 0 ENHANCE_YOUR_CALM"],
        ),
    ];
    for (name, bytes, expected) in cases {
        let mut server = server();
        feed(&mut server, &bytes);
        let answer = summary(&written(&mut server));
        assert_eq!(answer, expected, "{name}");
        // Nobody sees what was refused.
        let refused = answer.iter().any(|word| word.starts_with("reset"));
        assert!(!refused || server.accept().is_none(), "{name}");
    }
}

/// Frames on a client's stream 1, what the reader gets, and what the server hears.
#[test]
fn a_client_judges_answers() {
    let peer = |reason| Error::Reset(reason, By::Peer);
    let broken = Error::Reset(Reason::PROTOCOL_ERROR, By::Us);
    let cases: Vec<(&str, Vec<u8>, Result<&str, Error>, &[&str])> = vec![
        ("a head", headers(1, true, OK), Ok("200 end"), &[]),
        (
            "a body",
            [headers(1, false, OK), data(1, true, b"abc")].concat(),
            Ok("200 abc end"),
            &[],
        ),
        (
            "trailers",
            [
                headers(1, false, OK),
                headers(1, true, &[0, 1, b'x', 1, b'1']),
            ]
            .concat(),
            Ok("200 x=1 end"),
            &[],
        ),
        (
            "an informational head",
            [
                headers(1, false, &[0x08, 3, b'1', b'0', b'3']),
                headers(1, true, OK),
            ]
            .concat(),
            Ok("103 200 end"),
            &[],
        ),
        (
            "the end with an informational head",
            headers(1, true, &[0x08, 3, b'1', b'0', b'3']),
            Err(broken),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "101, which HTTP/2 has not",
            headers(1, false, &[0x08, 3, b'1', b'0', b'1']),
            Err(broken),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "a request's pseudo-header",
            headers(1, true, &[0x88, 0x84]),
            Err(broken),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "a name in capitals",
            headers(1, true, &[0x88, 0, 1, b'X', 1, b'1']),
            Err(broken),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "data before the head",
            data(1, true, b"abc"),
            Err(broken),
            &["reset 1 PROTOCOL_ERROR"],
        ),
        (
            "a reset",
            [headers(1, false, OK), frame(3, 0, 1, &[0, 0, 0, 7])].concat(),
            Err(peer(Reason::REFUSED_STREAM)),
            &[],
        ),
        (
            "a reset behind the whole answer",
            [headers(1, true, OK), frame(3, 0, 1, &[0, 0, 0, 0])].concat(),
            Ok("200 end"),
            &[],
        ),
        (
            "a GOAWAY below it",
            frame(frame::GOAWAY, 0, 0, &[0; 8]),
            Err(Error::GoAway(Reason::NO_ERROR, By::Peer)),
            &[],
        ),
        (
            "a GOAWAY that leaves it",
            [
                frame(frame::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
                headers(1, true, OK),
            ]
            .concat(),
            Ok("200 end"),
            &[],
        ),
        (
            "an answer to nothing",
            headers(3, true, OK),
            Err(Error::GoAway(Reason::PROTOCOL_ERROR, By::Us)),
            &["goaway 0 PROTOCOL_ERROR"],
        ),
    ];
    for (name, bytes, expected, answer) in cases {
        let (mut client, key) = client();
        feed(&mut client, &bytes);
        assert_eq!(summary(&written(&mut client)), answer, "{name}");
        let expected = expected.map(str::to_owned);
        assert_eq!(read_all(&mut client, key), expected, "{name}");
    }
}

/// What a reader of the stream gets, in a few words.
fn read_all(connection: &mut Connection, key: Key) -> Result<String, Error> {
    let mut words = Vec::new();
    loop {
        let stream = connection.stream(key);
        let word = match stream.inbox.pop_front() {
            Some(Event::Head(response)) => response.status.as_str().to_owned(),
            Some(Event::Data(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(Event::Small(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Some(Event::Trailers(fields)) => {
                let text = |(name, value): &(HeaderName, HeaderValue)| {
                    format!("{name}={}", value.to_str().expect("text"))
                };
                fields.iter().map(text).collect::<Vec<_>>().join(",")
            }
            None if stream.received => "end".to_owned(),
            None => match stream.error {
                Some(error) => return Err(error),
                None => "open".to_owned(),
            },
        };
        let last = word == "end" || word == "open";
        words.push(word);
        if last {
            return Ok(words.join(" "));
        }
    }
}

#[test]
fn head_body_and_end_are_two_frames() {
    let mut server = server();
    feed(&mut server, &headers(1, true, POST));
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), false).expect("open");
    server.send_data(key, Bytes::from_static(b"answer"));
    server.send_end(key, None).expect("open");
    assert_eq!(
        summary(&written(&mut server)),
        ["headers 1", "data 1 6 end"]
    );
    assert!(!server.has_streams());
    // Without a body the head is all.
    feed(&mut server, &headers(3, true, POST));
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), false).expect("open");
    server.send_end(key, None).expect("open");
    assert_eq!(summary(&written(&mut server)), ["headers 3 end"]);
    // What is out already ends with an empty frame.
    feed(&mut server, &headers(5, true, POST));
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), false).expect("open");
    assert_eq!(summary(&written(&mut server)), ["headers 5"]);
    server.send_end(key, None).expect("open");
    assert_eq!(summary(&written(&mut server)), ["data 5 0 end"]);
}

#[test]
fn windows_hold_senders_back() {
    let mut server = connection(Side::Server, &Settings::default());
    feed(&mut server, &settings(&[(4, 10)]));
    feed(&mut server, &headers(1, true, POST));
    written(&mut server);
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), false).expect("open");
    server.send_data(key, Bytes::from(vec![b'x'; 30]));
    assert!(room(&mut server, key).is_pending());
    server.send_end(key, None).expect("open");
    assert_eq!(summary(&written(&mut server)), ["headers 1", "data 1 10"]);
    // Smaller windows make this one negative: what it gains first fills that up.
    feed(&mut server, &settings(&[(4, 5)]));
    feed(&mut server, &window_update(1, 3));
    assert_eq!(summary(&written(&mut server)), ["settings ack"]);
    feed(&mut server, &window_update(1, 7));
    assert_eq!(summary(&written(&mut server)), ["data 1 5"]);
    feed(&mut server, &settings(&[(4, 1000)]));
    assert_eq!(
        summary(&written(&mut server)),
        ["settings ack", "data 1 15 end"]
    );
}

#[test]
fn the_connection_has_a_window_too() {
    let mut server = connection(Side::Server, &Settings::default());
    feed(&mut server, &settings(&[(4, 1 << 20)]));
    for stream in [1, 3] {
        feed(&mut server, &headers(stream, true, POST));
    }
    written(&mut server);
    let keys = [1, 3].map(|_| server.accept().expect("a request").key);
    for key in keys {
        server.send_data(key, Bytes::from(vec![b'x'; 60_000]));
    }
    let sent = frames(&written(&mut server));
    let total: u32 = sent.iter().map(|(head, _)| head.length).sum();
    assert_eq!(total, frame::DEFAULT_WINDOW);
    feed(&mut server, &window_update(0, 100_000));
    let sent = frames(&written(&mut server));
    let total: u32 = sent.iter().map(|(head, _)| head.length).sum();
    assert_eq!(total, 120_000 - frame::DEFAULT_WINDOW);
}

/// A long body does not stand in front of a short one.
#[test]
fn streams_take_turns() {
    let mut server = connection(Side::Server, &Settings::default());
    feed(
        &mut server,
        &[settings(&[(4, 1 << 20)]), window_update(0, 1 << 20)].concat(),
    );
    for stream in [1, 3] {
        feed(&mut server, &headers(stream, true, POST));
    }
    written(&mut server);
    let long = server.accept().expect("a request").key;
    let short = server.accept().expect("a request").key;
    server.send_data(long, Bytes::from(vec![b'x'; 1 << 20]));
    server.send_data(short, Bytes::from_static(b"short"));
    assert!(room(&mut server, short).is_pending());
    let order: Vec<u32> = frames(&written(&mut server))
        .iter()
        .map(|(head, _)| head.stream)
        .collect();
    let place = order.iter().position(|stream| *stream == 3);
    assert!(place.is_some_and(|place| place < 8), "{order:?}");
}

#[test]
fn windows_are_given_back_by_halves() {
    let mut server = server();
    feed(&mut server, &headers(1, false, POST));
    let key = server.accept().expect("a request").key;
    for _ in 0..3 {
        feed(&mut server, &data(1, false, &[b'x'; 16_000]));
    }
    assert_eq!(summary(&written(&mut server)), [""; 0]);
    server.taken(key, 16_000);
    server.taken(key, 16_000);
    assert_eq!(summary(&written(&mut server)), [""; 0]);
    server.taken(key, 16_000);
    assert_eq!(summary(&written(&mut server)), ["window 1 48000"]);
    // More than the window at once ends the stream.
    for _ in 0..5 {
        feed(&mut server, &data(1, false, &[b'x'; 16_000]));
    }
    assert_eq!(
        summary(&written(&mut server)),
        ["reset 1 FLOW_CONTROL_ERROR"]
    );
}

/// Nobody reads, and still the connection's window comes back.
#[test]
fn what_nobody_reads_is_given_back() {
    let mut server = server();
    for (number, take) in [(1, true), (3, false)] {
        feed(&mut server, &headers(number, false, POST));
        let key = server.accept().expect("a request").key;
        feed(&mut server, &data(number, false, &[b'x'; 1000]));
        if take {
            server.ignore(key);
        } else {
            server.release(key);
        }
        feed(&mut server, &data(number, false, &[b'x'; 1000]));
    }
    assert_eq!(summary(&written(&mut server)), ["reset 3 CANCEL"]);
    let mut given = 0;
    for _ in 0..40 {
        // Of the stream that was reset: still on its way when the peer learns of it.
        feed(&mut server, &data(3, false, &[b'x'; 16_000]));
        for (head, payload) in frames(&written(&mut server)) {
            assert_eq!((head.kind, head.stream), (frame::WINDOW_UPDATE, 0));
            given += frame::number(&payload).expect("a number");
        }
    }
    assert!(given >= 512 * 1024, "{given}");
}

/// A byte a frame costs the peer more than us.
#[test]
fn small_pieces_are_joined() {
    let mut server = server();
    feed(&mut server, &headers(1, false, POST));
    let key = server.accept().expect("a request").key;
    for _ in 0..10_000 {
        feed(&mut server, &data(1, false, b"x"));
    }
    assert_eq!(server.stream(key).inbox.len(), 1);
}

#[test]
fn an_answer_before_the_end_of_the_request() {
    let mut server = server();
    feed(&mut server, &headers(1, false, POST));
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), true).expect("open");
    server.release(key);
    assert_eq!(
        summary(&written(&mut server)),
        ["headers 1 end", "reset 1 NO_ERROR"]
    );
    // Half an answer is no answer.
    feed(&mut server, &headers(3, true, POST));
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), false).expect("open");
    server.release(key);
    assert_eq!(
        summary(&written(&mut server)),
        ["headers 3", "reset 3 CANCEL"]
    );
}

#[test]
fn going_away_in_two_steps() {
    let mut server = server();
    feed(&mut server, &headers(1, true, POST));
    let key = server.accept().expect("a request").key;
    server.leave();
    assert_eq!(
        summary(&written(&mut server)),
        ["goaway 2147483647 NO_ERROR", "ping"]
    );
    // On its way before the client read that.
    feed(&mut server, &headers(3, true, POST));
    let late = server.accept().expect("a request").key;
    feed(&mut server, &frame(frame::PING, frame::ACK, 0, b"leaving."));
    assert_eq!(summary(&written(&mut server)), ["goaway 3 NO_ERROR"]);
    feed(&mut server, &headers(5, true, POST));
    assert!(server.accept().is_none());
    for key in [key, late] {
        assert!(!server.is_done());
        server.send_response(key, &ok(), true).expect("open");
        server.release(key);
    }
    assert!(server.is_done());
    server.finish();
    assert_eq!(
        summary(&written(&mut server)),
        ["headers 1 end", "headers 3 end"]
    );
}

#[test]
fn too_many_streams_are_refused() {
    let settings = Settings {
        max_concurrent_streams: 2,
        ..Settings::default()
    };
    let mut server = connection(Side::Server, &settings);
    feed(&mut server, &self::settings(&[]));
    written(&mut server);
    for stream in [1, 3, 5] {
        feed(&mut server, &headers(stream, true, POST));
    }
    assert_eq!(summary(&written(&mut server)), ["reset 5 REFUSED_STREAM"]);
    let key = server.accept().expect("a request").key;
    server.send_response(key, &ok(), true).expect("open");
    // It counts until it is over, not until nobody holds it.
    feed(&mut server, &headers(7, true, POST));
    assert_eq!(summary(&written(&mut server)), ["headers 1 end"]);
}

/// The budget for resets that the peer provokes may end the connection in the middle of anything.
#[test]
fn one_reset_too_many() {
    let budgets = Budgets {
        provoked_resets: Budget::new(3, 0),
        ..Budgets::default()
    };
    let shapes: [fn(u32) -> Vec<u8>; 3] = [
        |stream| [headers(stream, false, POST), window_update(stream, 0)].concat(),
        |stream| headers(stream, true, &[0x83]),
        |stream| [headers(stream, true, POST), data(stream, false, b"x")].concat(),
    ];
    for held in [false, true] {
        for shape in shapes {
            let now = Instant::now();
            let settings = Settings::default();
            let mut server = Connection::new(Side::Server, &settings, Arc::new(budgets), now);
            feed(&mut server, PREFACE);
            feed(&mut server, &self::settings(&[]));
            for stream in (1..9).step_by(2) {
                feed(&mut server, &shape(stream));
                if held {
                    server.accept();
                }
            }
            let written = summary(&written(&mut server));
            let last = written.last().map(String::as_str);
            assert_eq!(last, Some("goaway 7 ENHANCE_YOUR_CALM"), "{written:?}");
            assert!(server.over().is_some() && server.violation().is_some());
        }
    }
}

#[test]
fn a_place_is_never_another_streams() {
    let mut server = server();
    feed(&mut server, &headers(1, false, POST));
    let first = server.accept().expect("a request").key;
    // Half of a frame, and then nobody wants the stream any more.
    let long = data(1, true, b"for the first");
    feed(&mut server, &long[..12]);
    server.release(first);
    feed(&mut server, &long[12..]);
    feed(&mut server, &headers(3, false, POST));
    let second = server.accept().expect("a request").key;
    assert_eq!(first, second, "the place is used again");
    let long = data(3, false, b"for the second");
    feed(&mut server, &long[..12]);
    server.release(second);
    // The rest of the frame comes after the next stream has the place, if a frame could come between.
    feed(&mut server, &long[12..]);
    feed(&mut server, &headers(5, false, POST));
    let third = server.accept().expect("a request").key;
    assert!(server.stream(third).inbox.is_empty());
}

#[test]
fn heads_that_are_too_large() {
    let settings = Settings {
        max_header_list: 1000,
        ..Settings::default()
    };
    let large = |size: usize| {
        let mut block = POST.to_vec();
        block.extend([0, 1, b'x', 0x7f]);
        let mut rest = size - 127;
        while rest >= 0x80 {
            block.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
        block.resize(block.len() + size, b'v');
        block
    };
    for (size, expected) in [
        (500, &[][..]),
        (2000, &["headers 1 end"]),
        (5000, &["goaway 1 ENHANCE_YOUR_CALM"]),
    ] {
        let mut server = connection(Side::Server, &settings);
        feed(&mut server, &self::settings(&[]));
        written(&mut server);
        feed(&mut server, &headers(1, true, &large(size)));
        assert_eq!(summary(&written(&mut server)), expected, "{size}");
    }
}

#[test]
fn a_connection_that_waits_is_small() {
    assert!(size_of::<stream::Stream>() <= 256);
    assert!(
        size_of::<Connection>() <= 1024,
        "{}",
        size_of::<Connection>()
    );
}
