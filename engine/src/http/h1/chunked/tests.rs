use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn whole(bytes: &[u8]) -> Collected {
    collect(bytes, bytes.len().max(1), &ChunkLimits::default())
}

#[test]
fn bodies_that_are_whole() {
    let cases: &[(&str, &[u8], &[u8])] = &[
        ("empty", b"0\r\n\r\n", b""),
        ("one", b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        ("two", b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", b"abcd"),
        (
            "upper case size",
            b"A\r\n0123456789\r\n0\r\n\r\n",
            b"0123456789",
        ),
        ("leading zeros", b"0003\r\nabc\r\n0000\r\n\r\n", b"abc"),
        (
            "sixteen digits",
            b"0000000000000001\r\na\r\n0\r\n\r\n",
            b"a",
        ),
        ("extension", b"1;a=b\r\na\r\n0;c\r\n\r\n", b"a"),
        ("quoted extension", b"1;a=\"b c\"\r\na\r\n0\r\n\r\n", b"a"),
        (
            "data that looks like an end",
            b"5\r\n0\r\n\r\n\r\n0\r\n\r\n",
            b"0\r\n\r\n",
        ),
    ];
    for (name, bytes, expected) in cases {
        let (data, end, consumed) = whole(bytes);
        assert_eq!(end, Ok(Some(Headers::new())), "{name}");
        assert_eq!(data, *expected, "{name}");
        assert_eq!(consumed, bytes.len(), "{name}");
    }
}

#[test]
fn the_next_message_is_left_alone() {
    let (data, end, consumed) = whole(b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n");
    assert_eq!(
        (data, end, consumed),
        (b"a".to_vec(), Ok(Some(Headers::new())), 11)
    );
}

#[test]
fn odd_chunk_sizes_extensions_and_line_ends_are_refused() {
    use ChunkError::*;
    let cases: &[(&str, &[u8], ChunkError)] = &[
        ("no size", b"\r\n", Size),
        ("only an extension", b";a\r\n", Size),
        ("0x prefix", b"0x3\r\nabc\r\n", Size),
        ("plus", b"+3\r\nabc\r\n", Size),
        ("minus", b"-3\r\nabc\r\n", Size),
        ("underscore", b"1_0\r\n", Size),
        ("leading space", b" 3\r\nabc\r\n", Size),
        ("trailing space", b"3 \r\nabc\r\n", Size),
        ("space before extension", b"3 ;a\r\nabc\r\n", Size),
        ("tab", b"3\t\r\nabc\r\n", Size),
        ("not hexadecimal", b"g\r\n", Size),
        ("seventeen digits", b"00000000000000003\r\nabc\r\n", Size),
        ("above 2^63 - 1", b"8000000000000000\r\n", Size),
        ("wraps at 2^64", b"10000000000000003\r\nabc\r\n", Size),
        ("bare lf after size", b"3\nabc\r\n", LineEnd),
        ("bare lf after extension", b"3;a\nabc\r\n", LineEnd),
        ("bare cr after size", b"3\rabc\r\n", LineEnd),
        ("cr in an extension", b"3;a\rb\r\nabc", LineEnd),
        ("nul in an extension", b"3;\0\r\nabc\r\n", Extension),
        ("data too long", b"3\r\nabcd\r\n", LineEnd),
        ("data too short", b"3\r\nab\r\n0\r\n\r\n", LineEnd),
        ("lf after data", b"3\r\nabc\n0\r\n\r\n", LineEnd),
        ("cr without lf after data", b"3\r\nabc\rX", LineEnd),
        ("missing crlf after data", b"3\r\nabc0\r\n\r\n", LineEnd),
        (
            "bare lf ends the body",
            b"0\r\n\n",
            Trailers(HeadError::BareLineFeed),
        ),
        (
            "trailer without colon",
            b"0\r\nabc\r\n\r\n",
            Trailers(HeadError::FieldName),
        ),
        (
            "trailer with space before colon",
            b"0\r\na : b\r\n\r\n",
            Trailers(HeadError::FieldName),
        ),
        (
            "folded trailer",
            b"0\r\na: b\r\n c\r\n\r\n",
            Trailers(HeadError::Folded),
        ),
        (
            "nul in a trailer",
            b"0\r\na: \0\r\n\r\n",
            Trailers(HeadError::FieldValue),
        ),
        (
            "a request as trailers",
            b"0\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
            Trailers(HeadError::FieldName),
        ),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(whole(bytes).1, Err(*expected), "{name}");
    }
}

#[test]
fn limits_hold() {
    let limits = ChunkLimits {
        extension_bytes: 4,
        trailer_bytes: 12,
        trailer_fields: 2,
    };
    let end = |bytes: &[u8]| collect(bytes, 1, &limits).1;
    assert_eq!(end(b"1;abcd\r\na\r\n0\r\n\r\n"), Ok(Some(Headers::new())));
    assert_eq!(
        end(b"1;ab\r\na\r\n1;abc\r\n"),
        Err(ChunkError::ExtensionTooLong),
        "over all chunks"
    );
    assert_eq!(
        end(b"0\r\na:b\r\nc:d\r\n\r\n").map(|end| end.map(|list| list.len())),
        Ok(Some(2))
    );
    assert_eq!(
        end(b"0\r\na:\r\nb:\r\nc:\r\n\r\n"),
        Err(HeadError::TooManyFields.into())
    );
    assert_eq!(
        end(b"0\r\naaaaaaaaaaaaaaa"),
        Err(ChunkError::TrailersTooLarge)
    );
}

#[test]
fn trailers_that_would_change_the_message_are_dropped() {
    let body = b"0\r\nGrpc-Status: 0\r\ncontent-length: 5\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\
        authorization: x\r\ncookie: y\r\nx-forwarded-for: z\r\ncache-control: no\r\nte: trailers\r\nx-sum: 1\r\n\r\n";
    let (_, end, _) = whole(body);
    let names: Vec<_> = end
        .expect("well-formed")
        .expect("complete")
        .iter()
        .map(|(name, _)| name.as_str().to_owned())
        .collect();
    assert_eq!(names, ["grpc-status", "x-sum"]);
}

#[test]
fn size_lines() {
    for length in [1, 9, 10, 15, 16, 255, 4096, 65_535, usize::MAX] {
        assert_eq!(
            ChunkHead::new(length).as_ref(),
            format!("{length:x}\r\n").as_bytes()
        );
    }
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let tokens = prop::sample::select(vec![
        "0",
        "1",
        "3",
        "a",
        "\r\n",
        "\r",
        "\n",
        ";x",
        "abc",
        "a: b",
        " ",
        "\0",
        "0\r\n\r\n",
        "3\r\nabc\r\n",
    ]);
    prop::collection::vec(tokens, 0..24).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #[test]
    fn cutting_at_every_byte_changes_nothing(bytes in pieces()) {
        fuzz_chunked(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_chunked(&bytes);
    }

    #[test]
    fn what_is_encoded_decodes(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        fields in proptest::collection::vec("[!-9;-~]{0,8}", 0..4),
        step in 1_usize..9,
    ) {
        let mut out = Vec::new();
        for part in &parts {
            out.extend_from_slice(ChunkHead::new(part.len()).as_ref());
            out.extend_from_slice(part);
            out.extend_from_slice(CHUNK_END);
        }
        let trailers: Headers = fields
            .iter()
            .map(|text| (HeaderName::from_static("x-sum"), HeaderValue::from_str(text).expect("visible")))
            .collect();
        encode_end(&trailers, &mut out);
        let (data, end, consumed) = collect(&out, step, &ChunkLimits::default());
        prop_assert_eq!(data, parts.concat());
        prop_assert_eq!(end, Ok(Some(trailers)));
        prop_assert_eq!(consumed, out.len());
    }
}
