//! Short texts eight bytes at a time: names are too short for `memchr` and too many for byte loops.

/// Whether `text` is `lower` in any case of letters. `lower` holds only `a`–`z`, `0`–`9` and `-`.
pub(super) fn equals(text: &[u8], lower: &[u8]) -> bool {
    if text.len() != lower.len() {
        return false;
    }
    let (Some(last_text), Some(last_lower)) = (text.last_chunk(), lower.last_chunk()) else {
        let pairs = text.iter().zip(lower);
        return pairs.fold(0, |wrong, (a, b)| wrong | ((a ^ b) & !((b & 0x40) >> 1))) == 0;
    };
    let mut wrong = difference(*last_text, *last_lower);
    for (text, lower) in text.as_chunks().0.iter().zip(lower.as_chunks().0) {
        wrong |= difference(*text, *lower);
    }
    wrong == 0
}

/// Where the first colon is.
pub(super) fn find_colon(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let zero_at_colon = u64::from_le_bytes(*word) ^ COLONS;
        // The lowest bit set is exact, those above it may be carried there.
        let found = zero_at_colon.wrapping_sub(ONES) & !zero_at_colon & HIGH_BITS;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = text.len() - rest.len();
    let found = rest.iter().position(|byte| *byte == b':')?;
    Some(start + found)
}

/// Where the first line feed is.
#[inline]
pub(super) fn find_line_feed(text: &[u8]) -> Option<usize> {
    // Lines of a head are some twenty bytes: less than a call of `memchr` costs. Longer ones are left to it.
    let (words, _) = text.as_chunks();
    let short = words.len().min(SHORT_LINE);
    for (index, word) in words[..short].iter().enumerate() {
        let zero_at_end = u64::from_le_bytes(*word) ^ LINE_FEEDS;
        let found = zero_at_end.wrapping_sub(ONES) & !zero_at_end & HIGH_BITS;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let rest = &text[short * 8..];
    let found = if rest.len() < 8 {
        rest.iter().position(|byte| *byte == b'\n')
    } else {
        memchr::memchr(b'\n', rest)
    };
    found.map(|found| short * 8 + found)
}

/// Not zero where the texts differ in more than the case of letters: in ASCII only letters have the bit 0x40 among what
/// `lower` may hold, and only they may differ by 0x20.
const fn difference(text: [u8; 8], lower: [u8; 8]) -> u64 {
    let (text, lower) = (u64::from_le_bytes(text), u64::from_le_bytes(lower));
    (text ^ lower) & !((lower & LETTER_BITS) >> 1)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
const LETTER_BITS: u64 = u64::from_le_bytes([0x40; 8]);
/// Words of eight bytes that are looked at one by one.
const SHORT_LINE: usize = 8;
const LINE_FEEDS: u64 = u64::from_le_bytes([b'\n'; 8]);
const COLONS: u64 = u64::from_le_bytes([b':'; 8]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn line_feeds_are_found_where_memchr_finds_them(
            text in proptest::collection::vec(prop_oneof![6 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(0x0b), 1 => Just(0x8a)], 0..40),
            before in 0_usize..100,
        ) {
            let text = [vec![b'a'; before], text].concat();
            prop_assert_eq!(find_line_feed(&text), memchr::memchr(b'\n', &text));
        }
    }

    #[test]
    fn only_the_case_of_letters_may_differ() {
        for lower in [
            "te",
            "host",
            "x-b3-id",
            "x-real-ip",
            "keep-alive",
            "content-length",
            "x-forwarded-client-cert",
        ] {
            assert!(equals(lower.as_bytes(), lower.as_bytes()));
            assert!(equals(
                lower.to_ascii_uppercase().as_bytes(),
                lower.as_bytes()
            ));
            for index in 0..lower.len() {
                for byte in 0..=u8::MAX {
                    let mut text = lower.as_bytes().to_vec();
                    text[index] = byte;
                    assert_eq!(
                        equals(&text, lower.as_bytes()),
                        text.eq_ignore_ascii_case(lower.as_bytes()),
                        "{text:?}"
                    );
                }
            }
        }
        assert!(!equals(b"", b"a"));
        assert!(equals(b"", b""));
    }

    proptest! {
        #[test]
        fn the_first_colon(text in prop::collection::vec(prop_oneof![Just(b':'), Just(b';'), any::<u8>()], 0..40)) {
            prop_assert_eq!(find_colon(&text), text.iter().position(|byte| *byte == b':'));
        }
    }
}
