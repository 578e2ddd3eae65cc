//! Windows of time: aligned to the calendar in UTC, as Kong's.

use carbyne_events::envelope::Date;

/// How long a window is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

const DAY: u64 = 86_400;

impl Period {
    /// The second in which the window of `now` begins, both since 1970.
    pub(super) fn start(self, now: u64) -> u64 {
        match self {
            Self::Second => now,
            Self::Minute => now - now % 60,
            Self::Hour => now - now % 3600,
            Self::Day => now - now % DAY,
            Self::Month => {
                let (_, day) = day_of_year_and_month(now / DAY);
                (now / DAY - day) * DAY
            }
            Self::Year => {
                let (day, _) = day_of_year_and_month(now / DAY);
                (now / DAY - day) * DAY
            }
        }
    }

    /// The longest that a window can be, in seconds.
    pub(super) const fn longest(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => DAY,
            Self::Month => 31 * DAY,
            Self::Year => 366 * DAY,
        }
    }

    /// The seconds that clients are told until the window is over: at least one, and Kong's months have 30 days.
    pub(super) fn reset(self, now: u64) -> u64 {
        let told = match self {
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
            _ => self.longest(),
        };
        told.saturating_sub(now - self.start(now)).max(1)
    }
}

/// The days since the year and since the month began, for a day since 1970 in the Gregorian calendar.
const fn day_of_year_and_month(day: u64) -> (u64, u64) {
    let date = Date::of(day);
    (date.day_of_year - 1, date.day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second of a date, by the days of its months.
    fn second(year: u64, month: usize, day: u64, rest: u64) -> u64 {
        let is_leap = |year: u64| {
            let of = |years| year.is_multiple_of(years);
            (of(4) && !of(100)) || of(400)
        };
        let mut days: u64 = (1970..year)
            .map(|year| 365 + u64::from(is_leap(year)))
            .sum();
        let lengths = [
            31,
            28 + u64::from(is_leap(year)),
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ];
        days += lengths[..month - 1].iter().sum::<u64>() + day - 1;
        days * DAY + rest
    }

    #[test]
    fn windows_begin_with_the_calendar() {
        for year in [1970, 1972, 1999, 2000, 2023, 2024, 2100, 2400] {
            for month in 1..=12 {
                for day in [1, 2, 28] {
                    let now = second(year, month, day, 12 * 3600 + 34 * 60 + 56);
                    let day_start = second(year, month, day, 0);
                    assert_eq!(Period::Second.start(now), now);
                    assert_eq!(Period::Minute.start(now), now - 56);
                    assert_eq!(Period::Hour.start(now), now - 56 - 34 * 60);
                    assert_eq!(Period::Day.start(now), day_start);
                    assert_eq!(
                        Period::Month.start(now),
                        second(year, month, 1, 0),
                        "{year}-{month}-{day}"
                    );
                    assert_eq!(
                        Period::Year.start(now),
                        second(year, 1, 1, 0),
                        "{year}-{month}-{day}"
                    );
                }
            }
        }
        let leap_day = second(2024, 2, 29, 5);
        assert_eq!(Period::Month.start(leap_day), second(2024, 2, 1, 0));
        let last = second(2024, 12, 31, DAY - 1);
        assert_eq!(Period::Year.start(last), second(2024, 1, 1, 0));
    }

    #[test]
    fn resets_are_told_as_kong_does() {
        let now = second(2024, 1, 31, 10);
        assert_eq!(Period::Second.reset(now), 1);
        assert_eq!(Period::Minute.reset(now), 50);
        assert_eq!(Period::Month.reset(now), 1);
        assert_eq!(Period::Year.reset(now), 335 * DAY - 10);
    }
}
