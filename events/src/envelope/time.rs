//! Times as RFC 3339 writes them.

/// A time in UTC, to the microsecond: `2026-11-27T10:07:19.000001Z`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timestamp([u8; 27]);

impl Timestamp {
    /// Of microseconds since 1970; what is beyond the year 9999 is its end.
    pub fn of(microseconds: u64) -> Self {
        const END: u64 = 253_402_300_800_000_000;
        let microseconds = microseconds.min(END - 1);
        let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (end, width, number) in [
            (4, 4, year),
            (7, 2, month),
            (10, 2, day),
            (13, 2, second / 3600),
            (16, 2, second / 60 % 60),
            (19, 2, second % 60),
            (26, 6, fraction),
        ] {
            let mut rest = number;
            for digit in text[end - width..end].iter_mut().rev() {
                *digit = b'0' + (rest % 10).to_le_bytes()[0];
                rest /= 10;
            }
        }
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        // Digits and marks are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The date of a day since 1970 (Howard Hinnant's `civil_from_days`, for days from then on).
const fn date(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let of_era = z % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}
