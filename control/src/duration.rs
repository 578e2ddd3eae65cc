//! Stretches of time as people write them: `300ms`, `10s`, `5m`, `2h`, `7d`; a bare number is seconds.

use std::time::Duration;

/// Reads one.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| EXPECTED.to_owned())
}

const EXPECTED: &str = "expected a time such as 300ms, 10s, 5m, 2h or 7d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, milliseconds) in [
            ("300ms", 300),
            ("10s", 10_000),
            ("10", 10_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "-1s", "10x", "1e99d", "soon"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
