use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::decoder::Sink;
use super::table::Value;
use super::*;

/// Keeps what is decoded, as text.
#[derive(Debug, Default)]
struct Texts(Vec<(String, String)>);

impl Sink for Texts {
    fn field(&mut self, name: &Name, value: &Value, size: usize) -> Result<(), Broken> {
        let name = name.text().to_owned();
        let value = value.text().map(|text| text.to_vec()).unwrap_or_default();
        assert_eq!(size, name.len() + value.len() + 32);
        self.0.push((name, String::from_utf8(value).unwrap()));
        Ok(())
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let mut texts = Texts::default();
    decoder.decode(block, &mut texts).expect("a whole block");
    texts.0
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(pair).collect()
}

/// RFC 7541 appendix C.1.
#[test]
fn integers() {
    for (bytes, prefix, value) in [
        (&[0x0a][..], 5, 10),
        (&[0x1f, 0x9a, 0x0a], 5, 1337),
        (&[0x2a], 8, 42),
    ] {
        let mut rest = bytes;
        assert_eq!(integer::read(&mut rest, prefix), Ok(value));
        assert!(rest.is_empty());
        let mut out = Vec::new();
        integer::write(&mut out, 0, prefix, value);
        assert_eq!(out, bytes);
    }
    for endless in [&[0x1f][..], &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x01], &[]] {
        assert_eq!(integer::read(&mut &*endless, 5), Err(Broken), "{endless:?}");
    }
}

/// RFC 7541 appendix C.2 to C.6: fields of several blocks on one connection.
#[test]
fn the_examples_of_the_standard() {
    const CUSTOM: &[(&str, &str)] = &[("custom-key", "custom-header")];
    const FIRST: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ];
    const SECOND: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ];
    const THIRD: &[(&str, &str)] = &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    let connections: [&[(&str, &[(&str, &str)])]; 6] = [
        // C.2: literals.
        &[(
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            CUSTOM,
        )],
        &[(
            "040c 2f73 616d 706c 652f 7061 7468",
            &[(":path", "/sample/path")],
        )],
        &[(
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            &[("password", "secret")],
        )],
        &[("82", &[(":method", "GET")])],
        // C.3: requests without Huffman's code.
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                THIRD,
            ),
        ],
        // C.4: the same with it.
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                THIRD,
            ),
        ],
    ];
    for blocks in connections {
        let mut decoder = Decoder::default();
        for (block, fields) in blocks {
            assert_eq!(decode(&mut decoder, &hex(block)), pairs(fields), "{block}");
        }
    }
}

/// RFC 7541 appendix C.5 and C.6: responses through a table of 256 bytes, which pushes entries out.
#[test]
fn entries_are_pushed_out() {
    let first = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let second = [
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let third = [
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ];
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        // The examples begin with the smaller table already agreed.
        assert_eq!(decode(&mut decoder, &hex("3f e1 01")), []);
        for (block, fields) in blocks.iter().zip([&first[..], &second, &third]) {
            assert_eq!(decode(&mut decoder, &hex(block)), pairs(fields));
        }
    }
}

#[test]
fn what_breaks_the_state() {
    let cases: [(&str, &[u8]); 11] = [
        ("entry 0", &[0x80]),
        ("no such entry", &[0xff, 0x7f]),
        (
            "an integer without an end",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("a name index without an entry", &[0x7e, 0x01, b'a']),
        ("a string longer than the block", &[0x00, 0x7f, b'x']),
        ("no value", &[0x00, 0x01, b'a']),
        ("padding of zeros", &[0x00, 0x01, b'a', 0x81, 0x00]),
        ("a byte of padding", &[0x00, 0x01, b'a', 0x82, 0x1f, 0xff]),
        (
            "the end of string",
            &[0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff],
        ),
        ("a table too large", &[0x3f, 0xe2, 0x1f]),
        ("a size behind a field", &[0x82, 0x20]),
    ];
    for (name, block) in cases {
        let mut texts = Texts::default();
        let decoded = Decoder::default().decode(block, &mut texts);
        assert_eq!(decoded, Err(Broken), "{name}");
    }
}

#[test]
fn names_and_values_that_may_not_be_leave_the_state_whole() {
    let mut decoder = Decoder::default();
    let mut block = vec![0x40, 1, b'X', 1, b'1', 0x40, 1, b'x', 2, b'a', b'\n'];
    // A good value under the name of the bad one, and the bad entries again.
    block.extend([0x7e, 1, b'2', 0xc0, 0xbf]);
    struct Names(Vec<(Name, bool)>);
    impl Sink for Names {
        fn field(&mut self, name: &Name, value: &Value, _: usize) -> Result<(), Broken> {
            self.0.push((name.clone(), value.text().is_some()));
            Ok(())
        }
    }
    let mut names = Names(Vec::new());
    assert_eq!(decoder.decode(&block, &mut names), Ok(()));
    let x = || Name::Field(HeaderName::from_static("x"));
    let expected = [
        (Name::Bad, false),
        (x(), false),
        (x(), true),
        (Name::Bad, false),
        (x(), false),
    ];
    assert_eq!(names.0, expected);
}

#[test]
fn the_static_table_is_found_by_name() {
    for index in 1..=statics::COUNT {
        let name = statics::get(index).expect("there").name.text();
        let first = (1..).find(|index| statics::get(*index).unwrap().name.text() == name);
        let hash = statics::hash(name.as_bytes());
        assert_eq!(statics::index_of(name, hash), first, "{name}");
    }
    for name in ["x-request-id", "", "a", "hosu", ":protocol"] {
        let hash = statics::hash(name.as_bytes());
        assert_eq!(statics::index_of(name, hash), None, "{name}");
    }
    assert!(statics::get(0).is_none() && statics::get(62).is_none());
}

fn field(encoder: &mut Encoder, name: &'static str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    let name = HeaderName::from_static(name);
    encoder.field(&mut out, &name, &HeaderValue::from_str(value).unwrap());
    out
}

#[test]
fn what_comes_again_is_one_byte() {
    let mut encoder = Encoder::default();
    assert_eq!(field(&mut encoder, "x-a", "one")[0], 0x40);
    assert_eq!(field(&mut encoder, "accept", "one")[0], 0x40 | 19);
    assert_eq!(field(&mut encoder, "x-a", "one"), [0x80 | 63]);
    assert_eq!(field(&mut encoder, "accept", "one"), [0x80 | 62]);
    // Another value under a name that is known.
    assert_eq!(
        field(&mut encoder, "x-a", "two"),
        [0x7f, 0, 3, b't', b'w', b'o']
    );
}

#[test]
fn values_that_differ_each_time_push_nothing_out() {
    let mut encoder = Encoder::default();
    field(&mut encoder, "x-kept", "kept");
    let mut entries = 0;
    for number in 0..1000 {
        let unique = field(&mut encoder, "x-request-id", &format!("{number:036}"));
        assert_eq!(unique[0], 0, "never an entry");
        let other = field(&mut encoder, "x-other", &format!("{number}"));
        entries += usize::from(other[0] & 0x40 != 0);
        let kept = field(&mut encoder, "x-kept", "kept");
        assert_eq!(kept.len(), 1, "after {number}");
    }
    // A few to learn it, and one now and then to see whether it is still so.
    assert!((4..20).contains(&entries), "{entries}");
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    let mut out = Vec::new();
    encoder.field(&mut out, &HeaderName::from_static("x-secret"), &secret);
    assert_eq!(out[0], 0x10, "no hop behind us may keep it");
}

#[test]
fn the_peer_says_how_large_our_table_is() {
    let mut encoder = Encoder::default();
    let mut decoder = Decoder::default();
    for (limits, update) in [
        (&[0][..], &[0x20][..]),
        (&[100], &[0x3f, 0x45]),
        // The smallest of several has to be said too.
        (&[0, 4096], &[0x20, 0x3f, 0xe1, 0x1f]),
        (&[1 << 20], &[]),
    ] {
        let first = field(&mut encoder, "x-a", "1");
        assert_eq!(decode(&mut decoder, &first), pairs(&[("x-a", "1")]));
        for limit in limits {
            encoder.set_peer_limit(*limit);
        }
        let block = field(&mut encoder, "x-a", "1");
        assert!(block.starts_with(update), "{block:?}");
        let fields = decode(&mut decoder, &block);
        assert_eq!(fields, pairs(&[("x-a", "1")]), "{limits:?}");
        decoder = Decoder::default();
        encoder = Encoder::default();
    }
}

fn lists() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
    let name = prop_oneof![
        3 => prop::sample::select(vec!["accept", "x-a", "x-b", "set-cookie", "x-request-id", "cookie", "grpc-status"])
            .prop_map(str::to_owned),
        1 => "[a-z][a-z0-9-]{0,20}",
    ];
    let value = prop_oneof![
        3 => prop::sample::select(vec!["", "1", "application/grpc", "identity,deflate,gzip"])
            .prop_map(str::to_owned),
        1 => "[ -~]{0,200}",
        1 => "[a-z]{1500,3000}",
    ];
    prop::collection::vec(prop::collection::vec((name, value), 0..12), 1..12)
}

proptest! {
    #[test]
    fn there_and_back(lists in lists(), limits in prop::collection::vec(0_usize..6000, 0..12)) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let mut limits = limits.into_iter();
        for fields in lists {
            if let Some(limit) = limits.next() {
                encoder.set_peer_limit(limit);
            }
            let mut out = Vec::new();
            encoder.begin(&mut out);
            for (name, value) in &fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                encoder.field(&mut out, &name, &HeaderValue::from_str(value).unwrap());
            }
            prop_assert_eq!(decode(&mut decoder, &out), fields);
        }
    }

    #[test]
    fn huffman_there_and_back(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let coded = huffman::encode(&text);
        let mut plain = Vec::new();
        prop_assert_eq!(huffman::decode(&coded, &mut plain), Ok(()));
        prop_assert_eq!(plain, text);
    }

    #[test]
    fn arbitrary_blocks_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        super::super::fuzz::hpack(&bytes);
    }
}
