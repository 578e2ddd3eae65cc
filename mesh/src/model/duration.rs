//! Durations as Istio's YAML writes them (`10s`, `1m30s`, `50ms`, `0.5s`) and as proto3-JSON wants them (`10s`, `0.050s`).

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A length of time in nanoseconds, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl Duration {
    /// A whole number of seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Reads Go's notation: numbers with units `h`, `m`, `s`, `ms`, `us`, `ns`, one after the other.
    ///
    /// # Errors
    /// Says what was found where a number with a unit was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a duration; write for example `10s`, `500ms` or `1m30s`");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        let mut nanos = 0_f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let unit_end = rest
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(rest.len());
            let unit = match &rest[..unit_end] {
                "h" => 3_600e9,
                "m" => 60e9,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "µs" => 1e3,
                "ns" => 1.0,
                _ => return Err(bad()),
            };
            nanos += number * unit;
            rest = &rest[unit_end..];
        }
        if !nanos.is_finite() || nanos > 3.15e17 {
            return Err(bad());
        }
        // In range: checked above, and never negative because no sign is read.
        Ok(Self(std::time::Duration::from_nanos(nanos.round() as u64)))
    }
}

impl fmt::Display for Duration {
    /// proto3-JSON: seconds with 0, 3, 6 or 9 digits after the point.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        if nanos == 0 {
            write!(out, "{seconds}s")
        } else if nanos % 1_000_000 == 0 {
            write!(out, "{seconds}.{:03}s", nanos / 1_000_000)
        } else if nanos % 1_000 == 0 {
            write!(out, "{seconds}.{:06}s", nanos / 1_000)
        } else {
            write!(out, "{seconds}.{nanos:09}s")
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let cases = [
            ("10s", "10s"),
            ("1m30s", "90s"),
            ("50ms", "0.050s"),
            ("0.5s", "0.500s"),
            ("1h", "3600s"),
            ("1us", "0.000001s"),
            ("0s", "0s"),
        ];
        for (text, want) in cases {
            assert_eq!(Duration::parse(text).unwrap().to_string(), want, "{text}");
        }
        for bad in ["", "10", "s", "ten seconds", "-1s", "10x"] {
            assert!(Duration::parse(bad).is_err(), "{bad}");
        }
    }
}
