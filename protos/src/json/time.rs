//! The text forms of `google.protobuf.Duration` and `Timestamp` in proto3-JSON: `"1.5s"` and RFC 3339.

/// The greatest number of seconds in a duration: 10 000 years.
const MAX_DURATION: i64 = 315_576_000_000;

/// `"-1.500s"`: no fraction, or 3, 6 or 9 digits.
pub(super) fn duration_text(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!(
        "{sign}{}{}s",
        seconds.unsigned_abs(),
        fraction(nanos.unsigned_abs())
    )
}

/// Seconds and nanoseconds of the same sign.
pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let digits = text.strip_suffix('s')?;
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, part) = match (whole, part) {
        ("", "") => return None,
        ("", part) => ("0", part),
        both => both,
    };
    let seconds = parse_digits(whole).filter(|seconds| *seconds <= MAX_DURATION)?;
    let nanos = parse_fraction(part)?;
    Some(if negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    })
}

/// `"2026-11-23T12:15:14.250Z"`.
pub(super) fn timestamp_text(seconds: i64, nanos: i32) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{}Z",
        fraction(nanos.unsigned_abs())
    )
}

/// Seconds since 1970 and nanoseconds; any offset is accepted.
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't'])?;
    let (time, offset) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let (time, zone) = time.split_at_checked(time.len().checked_sub(6)?)?;
            let sign = match zone.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (parse_digits(hours)?, parse_digits(minutes)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (time, sign * (hours * 3_600 + minutes * 60))
        }
    };
    let mut parts = date.split('-');
    let (year, month, day) = (
        parse_digits(parts.next()?)?,
        parse_digits(parts.next()?)?,
        parse_digits(parts.next()?)?,
    );
    let (clock, part) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.split(':');
    let (hour, minute, second) = (
        parse_digits(clock.next()?)?,
        parse_digits(clock.next()?)?,
        parse_digits(clock.next()?)?,
    );
    let valid = parts.next().is_none()
        && clock.next().is_none()
        && year >= 1
        && hour < 24
        && minute < 60
        && second < 60
        && civil_from_days(days_from_civil(year, month, day)) == (year, month, day);
    valid.then_some(())?;
    let seconds =
        days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    Some((seconds, parse_fraction(part)?))
}

fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        _ if nanos.is_multiple_of(1_000_000) => format!(".{:03}", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => format!(".{:06}", nanos / 1_000),
        _ => format!(".{nanos:09}"),
    }
}

fn parse_digits(text: &str) -> Option<i64> {
    (!text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn parse_fraction(digits: &str) -> Option<i32> {
    if digits.is_empty() {
        return Some(0);
    }
    let value = parse_digits(digits).filter(|_| digits.len() <= 9)?;
    i32::try_from(value * 10_i64.pow(9 - digits.len() as u32)).ok()
}

/// Year, month and day of a day counted from 1970-01-01 in the proleptic Gregorian calendar.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last of the year; 719 468 days lie between 0000-03-01 and 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (
        era * 400 + year_of_era + i64::from(month <= 2),
        month,
        day_of_year - (153 * march_month + 2) / 5 + 1,
    )
}

/// The inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds, nanos) in [
            ("0s", 0, 0),
            ("5s", 5, 0),
            ("-5s", -5, 0),
            ("1.500s", 1, 500_000_000),
            ("-0.250s", 0, -250_000_000),
            ("0.000001s", 0, 1_000),
            ("0.000000001s", 0, 1),
            ("315576000000s", MAX_DURATION, 0),
        ] {
            assert_eq!(parse_duration(text), Some((seconds, nanos)), "{text}");
            assert_eq!(duration_text(seconds, nanos), text);
        }
        assert_eq!(parse_duration("1.5s"), Some((1, 500_000_000)));
        for text in [
            "",
            "s",
            "5",
            "5m",
            "1.0000000001s",
            "--1s",
            "+1s",
            "1e3s",
            "315576000001s",
            "-s",
            ".s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps() {
        for (text, seconds, nanos) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29T23:59:59.123Z", 951_868_799, 123_000_000),
            ("1969-12-31T23:59:59.500Z", -1, 500_000_000),
            ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
            (
                "9999-12-31T23:59:59.999999999Z",
                253_402_300_799,
                999_999_999,
            ),
        ] {
            assert_eq!(parse_timestamp(text), Some((seconds, nanos)), "{text}");
            assert_eq!(timestamp_text(seconds, nanos), text);
        }
        assert_eq!(parse_timestamp("1970-01-01T02:00:00+02:00"), Some((0, 0)));
        for text in [
            "",
            "1970-01-01",
            "1970-13-01T00:00:00Z",
            "1971-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
