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
        let Date {
            year, month, day, ..
        } = Date::of(days);
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

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Date {
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 1 to 366.
    pub day_of_year: u64,
}

impl Date {
    /// Of a day since 1970: by eras of 400 years that begin on 1 March 0000 (Howard Hinnant's `civil_from_days`, for days from 1970 on).
    pub const fn of(days: u64) -> Self {
        let shifted = days + 719_468;
        let of_era = shifted % 146_097;
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let from_march = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let (month, later) = match month_from_march {
            0..10 => (month_from_march + 3, 0),
            _ => (month_from_march - 9, 1),
        };
        let year = year_of_era + shifted / 146_097 * 400 + later;
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        // January and February lie behind March here.
        let day_of_year = match later {
            0 => from_march + 60 + leap as u64,
            _ => from_march - 305,
        };
        Self {
            year,
            month,
            day,
            day_of_year,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four centuries and a day, counted.
    #[test]
    fn days_follow_each_other() {
        let mut expected = Date {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: 1,
        };
        for days in 0..=146_097 {
            assert_eq!(Date::of(days), expected, "{days}");
            let every = |years| expected.year.is_multiple_of(years);
            let leap = every(4) && (!every(100) || every(400));
            let longest = match expected.month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected.day += 1;
            expected.day_of_year += 1;
            if expected.day > longest {
                (expected.month, expected.day) = (expected.month + 1, 1);
            }
            if expected.month > 12 {
                expected = Date {
                    year: expected.year + 1,
                    month: 1,
                    day: 1,
                    day_of_year: 1,
                };
            }
        }
    }
}
