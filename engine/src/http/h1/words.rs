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

/// Not zero where the texts differ in more than the case of letters: in ASCII only letters have the bit 0x40 among what
/// `lower` may hold, and only they may differ by 0x20.
const fn difference(text: [u8; 8], lower: [u8; 8]) -> u64 {
    let (text, lower) = (u64::from_le_bytes(text), u64::from_le_bytes(lower));
    (text ^ lower) & !((lower & LETTER_BITS) >> 1)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
const LETTER_BITS: u64 = u64::from_le_bytes([0x40; 8]);
const COLONS: u64 = u64::from_le_bytes([b':'; 8]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
