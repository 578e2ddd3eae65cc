//! `x-request-id`: UUIDs of version 4 whose fourteenth character says whether the request is traced (Envoy's `UuidRequestIdConfig`,
//! `pack_trace_reason`).

/// Whether a request is traced, and who said so; packed into its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceReason {
    /// It is not.
    #[default]
    None,
    /// It was drawn.
    Sampled,
    /// A service asked for it (`x-envoy-force-trace`).
    Forced,
    /// The client asked for it (`x-client-trace-id`).
    Client,
}

/// A new id.
pub fn generate(reason: TraceReason) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = fastrand::u128(..).to_le_bytes();
    let mut id = [b'-'; 36];
    // Where each byte's two digits stand: hyphens are at 8, 13, 18 and 23.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (byte, place) in random.into_iter().zip(PLACES) {
        id[place] = DIGITS[usize::from(byte >> 4)];
        id[place + 1] = DIGITS[usize::from(byte & 15)];
    }
    // RFC 9562 section 5.4: version 4, variant 10.
    id[VERSION] = b'4';
    id[VARIANT] = DIGITS[8 + usize::from(random[8] >> 4 & 3)];
    pack(&mut id, reason);
    id
}

/// Writes the reason into an id; what is no UUID stays as it is.
pub fn pack(id: &mut [u8], reason: TraceReason) {
    if id.len() == 36 {
        id[VERSION] = match reason {
            TraceReason::None => b'4',
            TraceReason::Sampled => b'9',
            TraceReason::Forced => b'a',
            TraceReason::Client => b'b',
        };
    }
}

/// Reads the reason out of an id.
pub fn reason(id: &[u8]) -> TraceReason {
    if id.len() != 36 {
        return TraceReason::None;
    }
    match id[VERSION] {
        b'9' => TraceReason::Sampled,
        b'a' => TraceReason::Forced,
        b'b' => TraceReason::Client,
        _ => TraceReason::None,
    }
}

/// The number that shares are drawn by: the first eight digits, so that all proxies on the way draw alike.
pub fn number(id: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(id.get(..8)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

const VERSION: usize = 14;
const VARIANT: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_reason() {
        for (wanted, letter) in [
            (TraceReason::None, b'4'),
            (TraceReason::Sampled, b'9'),
            (TraceReason::Forced, b'a'),
            (TraceReason::Client, b'b'),
        ] {
            let id = generate(wanted);
            assert_eq!((id[VERSION], reason(&id)), (letter, wanted));
            assert!(matches!(id[VARIANT], b'8' | b'9' | b'a' | b'b'));
            let dashes: Vec<usize> = (0..36).filter(|place| id[*place] == b'-').collect();
            assert_eq!(dashes, [8, 13, 18, 23]);
            assert!(number(&id).is_some_and(|number| number <= u64::from(u32::MAX)));
        }
        assert_ne!(generate(TraceReason::None), generate(TraceReason::None));
        let mut short = *b"abc";
        pack(&mut short, TraceReason::Sampled);
        assert_eq!(
            (&short, reason(&short), number(&short)),
            (b"abc", TraceReason::None, None)
        );
    }
}
