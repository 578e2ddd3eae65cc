//! Points in time and what lies between them.

use std::time::Duration;

use super::Operator;
use crate::observe::facts::Facts;

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Point {
    Start,
    Now,
}

/// A moment of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Moment {
    Start,
    RequestEnd,
    UpstreamStart,
    UpstreamEnd,
    ResponseStart,
    ResponseEnd,
    End,
}

/// How fine an interval is told.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Moment {
    /// By Envoy's name in `COMMON_DURATION`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "DS_RX_BEG" => Self::Start,
            "DS_RX_END" => Self::RequestEnd,
            "US_TX_BEG" => Self::UpstreamStart,
            "US_TX_END" => Self::UpstreamEnd,
            "US_RX_BEG" => Self::ResponseStart,
            "US_RX_END" => Self::ResponseEnd,
            "DS_TX_END" => Self::End,
            _ => return None,
        })
    }

    /// Time since the start.
    pub(super) fn of(self, facts: &Facts<'_>) -> Option<Duration> {
        let timing = facts.timing?;
        match self {
            Self::Start => Some(Duration::ZERO),
            Self::RequestEnd => timing.request_end,
            Self::UpstreamStart => timing.upstream_start,
            Self::UpstreamEnd => timing.upstream_end,
            Self::ResponseStart => timing.response_start,
            Self::ResponseEnd => timing.response_end,
            Self::End => timing.end,
        }
    }
}

impl Unit {
    /// The interval as a number of these.
    pub(super) fn of(self, interval: Duration) -> u64 {
        let value = match self {
            Self::Milliseconds => interval.as_millis(),
            Self::Microseconds => interval.as_micros(),
            Self::Nanoseconds => interval.as_nanos(),
        };
        u64::try_from(value).unwrap_or(u64::MAX)
    }
}

/// `COMMON_DURATION(FROM:TO:UNIT)`.
pub(super) fn interval(argument: &str) -> Result<Operator, String> {
    let mut parts = argument.split(':');
    let mut moment = || {
        let name = parts.next().unwrap_or_default();
        Moment::parse(name).ok_or_else(|| format!("`{name}` is not a point in time that is served (DS_RX_BEG, DS_RX_END, US_TX_BEG, US_TX_END, US_RX_BEG, US_RX_END, DS_TX_END)"))
    };
    let (from, to) = (moment()?, moment()?);
    let unit = match parts.next() {
        None | Some("ms") => Unit::Milliseconds,
        Some("us") => Unit::Microseconds,
        Some("ns") => Unit::Nanoseconds,
        Some(other) => return Err(format!("expected ms, us or ns, found `{other}`")),
    };
    Ok(Operator::Interval { from, to, unit })
}
