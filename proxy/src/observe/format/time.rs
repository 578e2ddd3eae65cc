//! Points in time as text: `strftime` with Envoy's `%3f` and the like, and the two forms of absl that its default uses. Always UTC.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carbyne_events::envelope::Date;

/// A compiled format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFormat {
    parts: Box<[Part]>,
    /// Whether it is [`TimeFormat::iso`], of which nearly every log line has one.
    iso: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Year,
    Century,
    ShortYear,
    Month,
    MonthName {
        long: bool,
    },
    Day {
        pad: char,
    },
    DayOfYear,
    Weekday {
        from: u8,
    },
    WeekdayName {
        long: bool,
    },
    Hour {
        pad: char,
    },
    Hour12,
    HalfDay,
    Minute,
    Second,
    /// So many digits of the fraction.
    Fraction(u8),
    Epoch,
}

/// A point in time, taken apart.
struct Civil {
    seconds: u64,
    nanoseconds: u32,
    year: u64,
    month: u64,
    day: u64,
    day_of_year: u64,
    weekday: u64,
}

impl TimeFormat {
    /// Envoy's default: `2018-12-18T00:00:00.000Z`.
    pub fn iso() -> Self {
        let text = |text: &str| Part::Literal(text.into());
        Self {
            parts: [
                Part::Year,
                text("-"),
                Part::Month,
                text("-"),
                Part::Day { pad: '0' },
                text("T"),
                Part::Hour { pad: '0' },
                text(":"),
                Part::Minute,
                text(":"),
                Part::Second,
                text("."),
                Part::Fraction(3),
                text("Z"),
            ]
            .into(),
            iso: true,
        }
    }

    /// Compiles a `strftime` format; an unknown conversion is an error.
    pub fn parse(format: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = format;
        while !rest.is_empty() {
            let literal = rest.find('%').unwrap_or(rest.len());
            if literal > 0 {
                push_text(&mut parts, &rest[..literal]);
                rest = &rest[literal..];
                continue;
            }
            let taken = conversion(&rest[1..], &mut parts).ok_or_else(|| {
                let shown: String = rest.chars().take(3).collect();
                format!("`{shown}` is not a conversion of `strftime` that is served")
            })?;
            rest = &rest[1 + taken..];
        }
        let iso = *parts == *Self::iso().parts;
        Ok(Self {
            parts: parts.into(),
            iso,
        })
    }

    /// Appends the time.
    pub fn write(&self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.iso {
            self.write_iso(since, out);
        } else {
            self.write_parts(since, out);
        }
    }

    /// Up to its fraction the text is the same for a second.
    fn write_iso(&self, since: Duration, out: &mut Vec<u8>) {
        SECOND.with_borrow_mut(|(second, text)| {
            if *second != Some(since.as_secs()) {
                text.clear();
                self.write_parts(Duration::from_secs(since.as_secs()), text);
                text.truncate(text.len() - "000Z".len());
                *second = Some(since.as_secs());
            }
            out.extend_from_slice(text);
        });
        let milliseconds = since.subsec_millis();
        let digit = |power| b'0' + u8::try_from(milliseconds / power % 10).unwrap_or(0);
        out.extend_from_slice(&[digit(100), digit(10), digit(1), b'Z']);
    }

    fn write_parts(&self, since: Duration, out: &mut Vec<u8>) {
        let civil = Civil::of(since);
        let seconds = civil.seconds % 60;
        let minutes = civil.seconds / 60 % 60;
        let hours = civil.seconds / 3600 % 24;
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Year => digits(out, civil.year, 4, '0'),
                Part::Century => digits(out, civil.year / 100, 2, '0'),
                Part::ShortYear => digits(out, civil.year % 100, 2, '0'),
                Part::Month => digits(out, civil.month, 2, '0'),
                Part::MonthName { long } => name(out, &MONTHS, civil.month - 1, *long),
                Part::Day { pad } => digits(out, civil.day, 2, *pad),
                Part::DayOfYear => digits(out, civil.day_of_year, 3, '0'),
                Part::Weekday { from } => digits(
                    out,
                    if civil.weekday < u64::from(*from) {
                        7
                    } else {
                        civil.weekday
                    },
                    1,
                    '0',
                ),
                Part::WeekdayName { long } => name(out, &WEEKDAYS, civil.weekday, *long),
                Part::Hour { pad } => digits(out, hours, 2, *pad),
                Part::Hour12 => digits(out, (hours + 11) % 12 + 1, 2, '0'),
                Part::HalfDay => out.extend_from_slice(if hours < 12 { b"AM" } else { b"PM" }),
                Part::Minute => digits(out, minutes, 2, '0'),
                Part::Second => digits(out, seconds, 2, '0'),
                Part::Fraction(count) => {
                    let value = u64::from(civil.nanoseconds) / 10_u64.pow(u32::from(9 - *count));
                    digits(out, value, usize::from(*count), '0');
                }
                Part::Epoch => digits(out, civil.seconds, 1, '0'),
            }
        }
    }
}

/// Reads a conversion after its percent sign; the bytes that it takes.
fn conversion(text: &str, parts: &mut Vec<Part>) -> Option<usize> {
    let mut letters = text.bytes();
    let letter = letters.next()?;
    let part = match letter {
        b'%' => {
            push_text(parts, "%");
            return Some(1);
        }
        b'n' => {
            push_text(parts, "\n");
            return Some(1);
        }
        b't' => {
            push_text(parts, "\t");
            return Some(1);
        }
        b'Z' => {
            push_text(parts, "UTC");
            return Some(1);
        }
        b'z' => {
            push_text(parts, "+0000");
            return Some(1);
        }
        b'1'..=b'9' if letters.next() == Some(b'f') => {
            parts.push(Part::Fraction(letter - b'0'));
            return Some(2);
        }
        // absl: `%E3S` seconds with three digits, `%Ez` the offset with a colon, `%E3f` the digits alone.
        b'E' => {
            let form = letters.next()?;
            if form == b'z' {
                push_text(parts, "+00:00");
                return Some(2);
            }
            let count = form
                .checked_sub(b'0')
                .filter(|count| (1..=9).contains(count))?;
            match letters.next()? {
                b'S' => {
                    parts.push(Part::Second);
                    push_text(parts, ".");
                    parts.push(Part::Fraction(count));
                }
                b'f' => parts.push(Part::Fraction(count)),
                _ => return None,
            }
            return Some(3);
        }
        b'T' | b'X' => return expand("%H:%M:%S", parts),
        b'F' => return expand("%Y-%m-%d", parts),
        b'D' | b'x' => return expand("%m/%d/%y", parts),
        b'R' => return expand("%H:%M", parts),
        b'r' => return expand("%I:%M:%S %p", parts),
        b'c' => return expand("%a %b %e %H:%M:%S %Y", parts),
        b'Y' => Part::Year,
        b'C' => Part::Century,
        b'y' => Part::ShortYear,
        b'm' => Part::Month,
        b'B' => Part::MonthName { long: true },
        b'b' | b'h' => Part::MonthName { long: false },
        b'd' => Part::Day { pad: '0' },
        b'e' => Part::Day { pad: ' ' },
        b'j' => Part::DayOfYear,
        b'u' => Part::Weekday { from: 1 },
        b'w' => Part::Weekday { from: 0 },
        b'A' => Part::WeekdayName { long: true },
        b'a' => Part::WeekdayName { long: false },
        b'H' => Part::Hour { pad: '0' },
        b'k' => Part::Hour { pad: ' ' },
        b'I' => Part::Hour12,
        b'p' => Part::HalfDay,
        b'M' => Part::Minute,
        b'S' => Part::Second,
        b'f' => Part::Fraction(9),
        b's' => Part::Epoch,
        _ => return None,
    };
    parts.push(part);
    Some(1)
}

fn expand(format: &str, parts: &mut Vec<Part>) -> Option<usize> {
    parts.extend(TimeFormat::parse(format).ok()?.parts);
    Some(1)
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if let Some(Part::Literal(held)) = parts.last_mut() {
        *held = format!("{held}{text}").into();
    } else {
        parts.push(Part::Literal(text.into()));
    }
}

impl Civil {
    fn of(since: Duration) -> Self {
        let seconds = since.as_secs();
        let days = seconds / 86_400;
        let Date {
            year,
            month,
            day,
            day_of_year,
        } = Date::of(days);
        Self {
            seconds,
            nanoseconds: since.subsec_nanos(),
            year,
            month,
            day,
            day_of_year,
            // 1970-01-01 was a Thursday.
            weekday: (days + 4) % 7,
        }
    }
}

fn name(out: &mut Vec<u8>, names: &[&str], index: u64, long: bool) {
    let name = names.get(index as usize).copied().unwrap_or_default();
    out.extend_from_slice(
        if long {
            name
        } else {
            name.get(..3).unwrap_or(name)
        }
        .as_bytes(),
    );
}

fn digits(out: &mut Vec<u8>, value: u64, width: usize, pad: char) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    for _ in text.len()..width {
        out.push(pad as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

thread_local! {
    /// The second that was written last, up to the point before its fraction.
    static SECOND: RefCell<(Option<u64>, Vec<u8>)> = const { RefCell::new((None, Vec::new())) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_form_is_what_its_parts_write() {
        let iso = TimeFormat::iso();
        for (seconds, nanoseconds) in [
            (0, 0),
            (1_709_210_096, 5_000_000),
            (1_709_210_096, 999_999_999),
            (1_709_210_097, 120_000_000),
            (1_709_210_096, 1),
        ] {
            let since = Duration::new(seconds, nanoseconds);
            let (mut one, mut other) = (Vec::new(), Vec::new());
            iso.write(UNIX_EPOCH + since, &mut one);
            iso.write_parts(since, &mut other);
            assert_eq!(one, other);
        }
    }

    #[test]
    fn formats() {
        let cases: &[(u64, u32, &str, &str)] = &[
            (0, 0, "%Y-%m-%dT%H:%M:%E3SZ", "1970-01-01T00:00:00.000Z"),
            (
                1_709_210_096,
                123_456_789,
                "%F %T.%3f",
                "2024-02-29 12:34:56.123",
            ),
            (
                1_709_210_096,
                123_456_789,
                "%s.%6f|%9f|%f",
                "1709210096.123456|123456789|123456789",
            ),
            (
                1_709_210_096,
                5_000_000,
                "%d/%b/%Y:%H:%M:%S %z",
                "29/Feb/2024:12:34:56 +0000",
            ),
            (
                1_709_210_096,
                0,
                "%A %a %B %j %u %w %e %I %p %%",
                "Thursday Thu February 060 4 4 29 12 PM %",
            ),
            (
                1_735_689_599,
                0,
                "%j %D %R %Ez %Z",
                "366 12/31/24 23:59 +00:00 UTC",
            ),
            (951_782_400, 0, "%F", "2000-02-29"),
            (4_107_542_400, 0, "%F", "2100-03-01"),
        ];
        for (seconds, nanoseconds, format, expected) in cases {
            let time = UNIX_EPOCH + Duration::new(*seconds, *nanoseconds);
            let mut out = Vec::new();
            TimeFormat::parse(format).unwrap().write(time, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), *expected, "{format}");
        }
        assert!(TimeFormat::parse("%Q").is_err());
        assert_eq!(
            TimeFormat::parse("%Y-%m-%dT%H:%M:%E3SZ").unwrap(),
            TimeFormat::iso()
        );
    }
}
