//! Plans in words.

use std::fmt;

use carbyne_events::topics::{Alteration, Refusal, Topic};

use crate::terminal::{BOLD, DIM, GREEN, RED, YELLOW};

/// Which cluster it is about.
pub(super) fn head(
    out: &mut dyn fmt::Write,
    bootstrap: &str,
    cluster: &str,
    brokers: usize,
) -> fmt::Result {
    let brokers = counted(brokers as u64, "broker");
    writeln!(
        out,
        "Kafka {BOLD}{bootstrap}{BOLD:#}, cluster {cluster}, {brokers}"
    )
}

/// A topic that will be made.
pub(super) fn create(out: &mut dyn fmt::Write, name: &str, topic: &Topic) -> fmt::Result {
    let partitions = counted(topic.partitions as u64, "partition");
    let key = topic
        .key
        .as_ref()
        .map(|key| format!(", keyed by {key}"))
        .unwrap_or_default();
    writeln!(out, "  {GREEN}+ {name}{GREEN:#}  {partitions}{key}")?;
    for (setting, value) in &topic.config {
        writeln!(out, "      {setting} = {value}{}", meaning(setting, value))?;
    }
    Ok(())
}

/// A topic that will change.
pub(super) fn alter(out: &mut dyn fmt::Write, name: &str, alteration: &Alteration) -> fmt::Result {
    writeln!(out, "  {YELLOW}~ {name}{YELLOW:#}")?;
    if let Some((from, to)) = alteration.partitions {
        writeln!(out, "      partitions: {from} → {to}")?;
    }
    for (name, setting) in &alteration.config {
        let worded = |value: &Option<String>| match value {
            Some(value) => format!("{value}{}", meaning(name, value)),
            None => format!("{DIM}the broker's default{DIM:#}"),
        };
        writeln!(
            out,
            "      {name}: {} → {}",
            worded(&setting.from),
            worded(&setting.to)
        )?;
    }
    Ok(())
}

/// A topic that will go.
pub(super) fn delete(out: &mut dyn fmt::Write, name: &str, messages: u64) -> fmt::Result {
    let messages = counted(messages, "message");
    writeln!(out, "  {RED}- {name}{RED:#}  with {messages}")
}

/// What cannot be.
pub(super) fn refusal(out: &mut dyn fmt::Write, refusal: &Refusal) -> fmt::Result {
    writeln!(out, "  {RED}×{RED:#} {refusal}")
}

/// What stays though nobody declared it.
pub(super) fn extra(out: &mut dyn fmt::Write, name: &str) -> fmt::Result {
    writeln!(
        out,
        "  {DIM}? {name}  is not declared and stays (--prune {name} deletes it){DIM:#}"
    )
}

/// `1 broker`, `12 partitions`.
pub(super) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// Milliseconds in the largest unit that fits.
fn meaning(setting: &str, value: &str) -> String {
    let Some(milliseconds) = value
        .parse::<u64>()
        .ok()
        .filter(|_| setting.ends_with(".ms"))
    else {
        return String::new();
    };
    let units = [
        ("day", 86_400_000),
        ("hour", 3_600_000),
        ("minute", 60_000),
        ("second", 1_000),
    ];
    let fits = units
        .iter()
        .find(|(_, unit)| milliseconds > 0 && milliseconds % unit == 0);
    let worded = fits.map(|(name, unit)| counted(milliseconds / unit, name));
    worded
        .map(|time| format!(" {DIM}({time}){DIM:#}"))
        .unwrap_or_default()
}

/// 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        assert_eq!(counted(1, "message"), "1 message");
        assert_eq!(counted(1_234_567, "message"), "1,234,567 messages");
        assert_eq!(counted(0, "broker"), "0 brokers");
        let plain =
            |setting, value| anstream::adapter::strip_str(&meaning(setting, value)).to_string();
        assert_eq!(plain("retention.ms", "604800000"), " (7 days)");
        assert_eq!(plain("segment.ms", "90000"), " (90 seconds)");
        assert_eq!(plain("segment.ms", "60000"), " (1 minute)");
        assert_eq!(plain("segment.ms", "5"), "");
        assert_eq!(plain("retention.ms", "-1"), "");
        assert_eq!(plain("segment.bytes", "1000"), "");
    }
}
