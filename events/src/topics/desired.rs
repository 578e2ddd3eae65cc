//! The topics that shall be: what a file declares, for one profile.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

/// All that is declared.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Desired {
    /// The profile that was chosen.
    pub profile: String,
    /// The id that the cluster must have, where one is declared.
    pub cluster: Option<String>,
    /// How many copies of each partition there shall be.
    pub replication: usize,
    /// By name.
    pub topics: BTreeMap<String, Topic>,
}

/// One topic as declared.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Topic {
    /// How many partitions it shall have.
    pub partitions: usize,
    /// What becomes of old messages.
    pub cleanup: Cleanup,
    /// How old a message gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What its messages are keyed by; `None`: they have no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Every setting, by Kafka's names; cleanup and retention are among them.
    pub config: BTreeMap<String, String>,
}

/// What becomes of old messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cleanup {
    /// They go.
    Delete,
    /// The last of each key stays.
    Compacted,
}

impl Cleanup {
    /// Kafka's `cleanup.policy`. Under `compact` alone Kafka knows no retention, so that both words are true only together.
    #[must_use]
    pub const fn policy(self, retention: Option<Retention>) -> &'static str {
        match (self, retention) {
            (Self::Delete, _) => "delete",
            (Self::Compacted, None) => "compact",
            (Self::Compacted, Some(_)) => "compact,delete",
        }
    }
}

/// How long messages are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "String")]
pub enum Retention {
    /// So long.
    For(Duration),
    /// Until somebody takes them away.
    Forever,
}

impl Retention {
    /// Reads `90m`, `12h`, `7d`, `forever`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text == "forever" {
            return Some(Self::Forever);
        }
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let number: u64 = number.parse().ok()?;
        // Kafka counts milliseconds by 64 bits with a sign; a thousand years is nobody's wish.
        let seconds = number
            .checked_mul(*seconds)
            .filter(|seconds| (1..=LONGEST).contains(seconds))?;
        Some(Self::For(Duration::from_secs(seconds)))
    }

    /// Kafka's `retention.ms`.
    #[must_use]
    pub fn milliseconds(self) -> i128 {
        match self {
            Self::For(time) => time.as_millis() as i128,
            Self::Forever => -1,
        }
    }
}

impl From<Retention> for String {
    fn from(retention: Retention) -> Self {
        let Retention::For(time) = retention else {
            return "forever".to_owned();
        };
        let seconds = time.as_secs();
        UNITS
            .iter()
            .rfind(|(_, unit)| seconds.is_multiple_of(*unit))
            .map_or_else(
                || format!("{seconds}s"),
                |(name, unit)| format!("{}{name}", seconds / unit),
            )
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
const LONGEST: u64 = 1_000 * 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions() {
        for (text, milliseconds, again) in [
            ("7d", 604_800_000, "7d"),
            ("24h", 86_400_000, "1d"),
            ("90m", 5_400_000, "90m"),
            ("1s", 1_000, "1s"),
            ("forever", -1, "forever"),
        ] {
            let retention = Retention::read(text).unwrap();
            assert_eq!(retention.milliseconds(), milliseconds, "{text}");
            assert_eq!(String::from(retention), again, "{text}");
        }
        for text in [
            "",
            "d",
            "7",
            "7w",
            "-1d",
            "0d",
            "7 d",
            "1.5d",
            "99999999999999999999d",
            "400000d",
            "é",
        ] {
            assert_eq!(Retention::read(text), None, "{text}");
        }
    }

    #[test]
    fn compacted_with_a_retention_is_both() {
        let week = Retention::read("7d");
        assert_eq!(Cleanup::Compacted.policy(week), "compact,delete");
        assert_eq!(Cleanup::Compacted.policy(None), "compact");
        assert_eq!(Cleanup::Delete.policy(week), "delete");
    }
}
