//! What is sent over HTTP/2 as frames that the protocol does not allow, too many of them, or too slowly.

use super::row::{Accept, Row, Sent};
use crate::support::hpack::{block, index, indexed_literal, integer, literal};
use crate::support::http2::{
    PREFACE, data, flag, frame, headers, headers_block, kind, reset, settings, window_update,
};

pub fn rows() -> Vec<Row> {
    [frames(), streams(), compression(), floods(), slow()].concat()
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "a.test"),
    (":path", "/x"),
];
const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "a.test"),
    (":path", "/x"),
];

fn row(family: &'static str, name: &str, sent: Sent, accept: Accept) -> Row {
    Row {
        family,
        name: name.to_owned(),
        sent,
        accept,
        forbidden: Vec::new(),
    }
}

fn sends(family: &'static str, name: &str, bytes: Vec<u8>, stream: u32, accept: Accept) -> Row {
    row(
        family,
        name,
        Sent::Frames {
            settings: Vec::new(),
            bytes,
            stream,
        },
        accept,
    )
}

fn get(stream: u32) -> Vec<u8> {
    headers(stream, true, &GET)
}

fn post(stream: u32) -> Vec<u8> {
    headers(stream, false, &POST)
}

fn frames() -> Vec<Row> {
    let ends = |name: &str, bytes: Vec<u8>| {
        sends("frames", name, [bytes, get(3)].concat(), 3, Accept::Ended)
    };
    let preface =
        |name: &str, bytes: Vec<u8>| row("frames", name, Sent::Preface(bytes), Accept::Ended);
    vec![
        preface(
            "a corrupt preface",
            [
                b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".as_slice(),
                &settings(&[]),
                &get(1),
            ]
            .concat(),
        ),
        preface(
            "HTTP/1 instead of the preface",
            b"GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n".to_vec(),
        ),
        preface(
            "no SETTINGS behind the preface",
            [PREFACE, &get(1)].concat(),
        ),
        ends("SETTINGS on a stream", frame(kind::SETTINGS, 0, 1, &[])),
        ends(
            "SETTINGS of five bytes",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
        ),
        ends(
            "SETTINGS acknowledged with a payload",
            frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
        ),
        ends("ENABLE_PUSH of 2", settings(&[(2, 2)])),
        ends(
            "INITIAL_WINDOW_SIZE over 31 bits",
            settings(&[(4, 1 << 31)]),
        ),
        ends("MAX_FRAME_SIZE of 1", settings(&[(5, 1)])),
        ends("MAX_FRAME_SIZE over 24 bits", settings(&[(5, 1 << 24)])),
        ends("PING of seven bytes", frame(kind::PING, 0, 0, &[0; 7])),
        ends("PING on a stream", frame(kind::PING, 0, 1, &[0; 8])),
        ends("GOAWAY on a stream", frame(kind::GOAWAY, 0, 1, &[0; 8])),
        ends("GOAWAY of four bytes", frame(kind::GOAWAY, 0, 0, &[0; 4])),
        ends("RST_STREAM on stream 0", reset(0, 8)),
        ends(
            "RST_STREAM of three bytes",
            [post(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])].concat(),
        ),
        ends("RST_STREAM on an idle stream", reset(9, 8)),
        ends("WINDOW_UPDATE of 0", window_update(0, 0)),
        ends(
            "WINDOW_UPDATE of three bytes",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
        ),
        ends("WINDOW_UPDATE over 31 bits", window_update(0, 0x7fff_ffff)),
        ends("WINDOW_UPDATE on an idle stream", window_update(9, 1)),
        ends(
            "PUSH_PROMISE from a client",
            frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2]),
        ),
        ends(
            "CONTINUATION without HEADERS",
            frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block(&GET)),
        ),
        ends(
            "another frame within a header block",
            [
                frame(kind::HEADERS, flag::END_STREAM, 1, &block(&GET)),
                frame(kind::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
        ),
        ends(
            "CONTINUATION of another stream",
            [
                frame(kind::HEADERS, flag::END_STREAM, 1, &block(&GET)),
                frame(kind::CONTINUATION, flag::END_HEADERS, 3, &[]),
            ]
            .concat(),
        ),
        ends("HEADERS on stream 0", headers(0, true, &GET)),
        ends("DATA on stream 0", data(0, true, b"x")),
        ends("DATA on an idle stream", data(9, true, b"x")),
        ends(
            "a frame over the size",
            frame(kind::DATA, 0, 1, &[0; 20_000]),
        ),
        ends(
            "HEADERS over the size",
            headers_block(1, true, &[0; 20_000]),
        ),
        ends(
            "padding longer than DATA",
            [post(1), frame(kind::DATA, flag::PADDED, 1, &[200, 0, 0])].concat(),
        ),
        ends(
            "padding longer than HEADERS",
            frame(
                kind::HEADERS,
                flag::PADDED | flag::END_HEADERS | flag::END_STREAM,
                1,
                &[200, 0, 0],
            ),
        ),
        ends(
            "PRIORITY of four bytes",
            [
                get(1),
                frame(kind::PRIORITY, 0, 3, &[0; 4]),
                settings(&[(4, 1 << 31)]),
            ]
            .concat(),
        ),
        sends(
            "frames",
            "an unknown frame",
            [frame(0xfa, 0xff, 1, &[0; 8]), get(3)].concat(),
            3,
            Accept::Served,
        ),
        sends(
            "frames",
            "an unknown setting",
            [settings(&[(0xfafa, 1)]), get(3)].concat(),
            3,
            Accept::Served,
        ),
    ]
}

fn streams() -> Vec<Row> {
    let rejects = |name: &str, bytes: Vec<u8>, stream: u32| {
        sends("streams", name, bytes, stream, Accept::Refused)
    };
    let many: Vec<u8> = (0..120).flat_map(|number| post(number * 2 + 1)).collect();
    vec![
        sends("streams", "an even number", get(2), 2, Accept::Ended),
        sends(
            "streams",
            "a number that went back",
            [post(5), get(3)].concat(),
            3,
            Accept::Ended,
        ),
        sends(
            "streams",
            "HEADERS again behind the end",
            [get(1), get(1)].concat(),
            3,
            Accept::Ended,
        ),
        sends(
            "streams",
            "DATA behind the end",
            [get(1), data(1, true, b"GET /smuggled HTTP/1.1\r\n\r\n")].concat(),
            1,
            Accept::Harmless,
        ),
        rejects(
            "trailers that do not end it",
            [post(1), headers(1, false, &[("x-a", "1")])].concat(),
            1,
        ),
        rejects(
            "WINDOW_UPDATE of 0 on it",
            [post(1), window_update(1, 0)].concat(),
            1,
        ),
        rejects(
            "WINDOW_UPDATE over 31 bits on it",
            [post(1), window_update(1, 0x7fff_ffff)].concat(),
            1,
        ),
        rejects(
            "one that depends on itself",
            frame(
                kind::HEADERS,
                flag::END_HEADERS | flag::END_STREAM | flag::PRIORITY,
                1,
                &[&[0, 0, 0, 1, 16][..], &block(&GET)].concat(),
            ),
            1,
        ),
        rejects("more than allowed at once", many, 239),
    ]
}

fn compression() -> Vec<Row> {
    let ends = |name: &str, block: Vec<u8>| {
        sends(
            "HPACK",
            name,
            headers_block(1, true, &block),
            1,
            Accept::Refused,
        )
    };
    let with = |rest: &[u8]| [&block(&GET), rest].concat();
    let mut size_update = Vec::new();
    integer(&mut size_update, 0x20, 5, 1 << 20);
    // One entry of 4 KiB, said again and again: 4 MiB out of a few bytes.
    let mut bomb = block(&GET);
    indexed_literal(&mut bomb, b"x-bomb", &[b'x'; 3900]);
    for _ in 0..1000 {
        index(&mut bomb, 62);
    }
    let mut crumbs = block(&GET);
    indexed_literal(&mut crumbs, b"cookie", b"a=b");
    for _ in 0..8000 {
        index(&mut crumbs, 62);
    }
    let mut many = block(&GET);
    for _ in 0..2000 {
        literal(&mut many, b"a", b"b");
    }
    let huge = with(&{
        let mut out = Vec::new();
        literal(&mut out, b"x-big", &[b'x'; 14_000]);
        out
    });
    // 140 KiB in ten frames.
    let mut long = frame(kind::HEADERS, flag::END_STREAM, 1, &huge);
    for number in 0..9 {
        let mut part = Vec::new();
        literal(
            &mut part,
            format!("x-big-{number}").as_bytes(),
            &[b'x'; 14_000],
        );
        long.extend(frame(
            kind::CONTINUATION,
            if number == 8 { flag::END_HEADERS } else { 0 },
            1,
            &part,
        ));
    }
    vec![
        ends("an entry that is not there", with(&[0xff, 0x7f])),
        ends("entry 0", with(&[0x80])),
        ends(
            "an integer without an end",
            with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        ends("a string longer than the block", with(&[0x00, 0x7f, b'x'])),
        ends(
            "Huffman padding of zeros",
            with(&[0x00, 0x01, b'a', 0x81, 0x00]),
        ),
        ends(
            "the end of string within a string",
            with(&[0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ),
        ends(
            "a table larger than allowed",
            [size_update, block(&GET)].concat(),
        ),
        ends("a table size behind a field", with(&[0x20])),
        sends(
            "HPACK",
            "a bomb of one entry",
            headers_block(1, true, &bomb),
            1,
            Accept::Refused,
        ),
        sends(
            "HPACK",
            "8,000 crumbs of cookies",
            headers_block(1, true, &crumbs),
            1,
            Accept::Refused,
        ),
        sends(
            "HPACK",
            "2,000 fields",
            headers_block(1, true, &many),
            1,
            Accept::Refused,
        ),
        sends("HPACK", "140 KiB of fields", long, 1, Accept::Refused),
        sends(
            "HPACK",
            "table size 0 twice, then a request",
            headers_block(1, true, &[&[0x20, 0x20][..], &block(&GET)].concat()),
            1,
            Accept::Served,
        ),
    ]
}

fn floods() -> Vec<Row> {
    let flood = |name: &str, bytes: Vec<u8>| sends("floods", name, bytes, 999_999, Accept::Ended);
    let each = |count: u32, of: &dyn Fn(u32) -> Vec<u8>| -> Vec<u8> {
        (0..count).flat_map(|number| of(number * 2 + 1)).collect()
    };
    let empty_name = frame(kind::HEADERS, flag::END_STREAM, 1, &block(&GET));
    vec![
        flood(
            "20,000 PING",
            frame(kind::PING, 0, 0, &[0; 8]).repeat(20_000),
        ),
        flood("20,000 SETTINGS", settings(&[]).repeat(20_000)),
        flood(
            "20,000 empty DATA",
            [post(1), data(1, false, b"").repeat(20_000)].concat(),
        ),
        flood(
            "20,000 empty padded DATA",
            [
                post(1),
                frame(kind::DATA, flag::PADDED, 1, &[0]).repeat(20_000),
            ]
            .concat(),
        ),
        flood(
            "50,000 PRIORITY",
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16]).repeat(50_000),
        ),
        flood(
            "50,000 WINDOW_UPDATE",
            [post(1), window_update(0, 1).repeat(50_000)].concat(),
        ),
        flood(
            "50,000 unknown frames",
            frame(0xfa, 0, 0, &[]).repeat(50_000),
        ),
        flood(
            "20,000 RST_STREAM of one stream",
            [post(1), reset(1, 8).repeat(20_000)].concat(),
        ),
        flood(
            "5,000 requests reset at once (CVE-2023-44487)",
            each(5000, &|stream| [get(stream), reset(stream, 8)].concat()),
        ),
        flood(
            "5,000 bodies reset at once",
            each(5000, &|stream| {
                [post(stream), data(stream, false, b"x"), reset(stream, 8)].concat()
            }),
        ),
        flood(
            "5,000 streams that the peer must reset by WINDOW_UPDATE (CVE-2025-8671)",
            each(5000, &|stream| {
                [post(stream), window_update(stream, 0)].concat()
            }),
        ),
        flood(
            "5,000 streams that the peer must reset by their fields",
            each(5000, &|stream| {
                headers(stream, true, &[(":method", "GET"), ("X", "1")])
            }),
        ),
        flood(
            "20,000 empty CONTINUATION (CVE-2024-27316)",
            [
                empty_name.clone(),
                frame(kind::CONTINUATION, 0, 1, &[]).repeat(20_000),
            ]
            .concat(),
        ),
        flood(
            "CONTINUATION without an end",
            [
                empty_name,
                frame(kind::CONTINUATION, 0, 1, &{
                    let mut fields = Vec::new();
                    literal(&mut fields, b"x-a", &[b'x'; 1000]);
                    fields
                })
                .repeat(5000),
            ]
            .concat(),
        ),
        flood("5,000 streams over the limit", each(5000, &post)),
    ]
}

fn slow() -> Vec<Row> {
    let stalls = |name: &str, settings: Vec<(u16, u32)>, bytes: Vec<u8>| {
        row(
            "slow",
            name,
            Sent::StalledFrames { settings, bytes },
            Accept::GivenUp,
        )
    };
    vec![
        row(
            "slow",
            "nothing sent",
            Sent::Stalled(Vec::new()),
            Accept::GivenUp,
        ),
        row(
            "slow",
            "half a preface",
            Sent::Stalled(PREFACE[..10].to_vec()),
            Accept::GivenUp,
        ),
        stalls("nothing behind the preface", Vec::new(), Vec::new()),
        stalls("half a frame", Vec::new(), get(1)[..20].to_vec()),
        stalls(
            "half a header block",
            Vec::new(),
            frame(kind::HEADERS, 0, 1, &block(&GET)),
        ),
        stalls(
            "half a body",
            Vec::new(),
            [post(1), data(1, false, b"abc")].concat(),
        ),
        stalls("a window that stays shut", vec![(4, 0)], get(1)),
    ]
}
