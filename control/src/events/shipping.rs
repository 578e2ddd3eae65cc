//! How it goes with shipping: what a shipper answers at `/status`, and who asks it shows.

use std::{fmt, time::Duration};

use carbyne_events::ship::ShipStatus;
use serde::{Deserialize, Serialize};

use crate::{moment, output::Text};

/// What a shipper says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shipping {
    /// Its version.
    pub version: String,
    /// Events that brokers have acknowledged since it started.
    pub acknowledged: u64,
    /// Seconds that the oldest event waits which is not acknowledged; none where none is owed.
    pub lag: Option<f64>,
    /// Events on their way.
    pub queued: u64,
    /// Brokers that it is connected with.
    pub brokers: u64,
    /// Events that can never be sent.
    pub refused: u64,
    /// Sequences that damage of the spool has taken.
    pub gaps: u64,
    /// What keeps events from being shipped, in words.
    pub problems: Vec<String>,
}

impl From<&ShipStatus> for Shipping {
    fn from(status: &ShipStatus) -> Self {
        let oldest = status.spools.iter().filter_map(|spool| spool.oldest).max();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            acknowledged: status.acknowledged.iter().sum(),
            lag: oldest
                .filter(|_| !status.is_idle)
                .map(|oldest| oldest.as_secs_f64()),
            queued: status.queued,
            brokers: status.brokers_up,
            refused: status.dead_letters,
            gaps: status.gaps,
            problems: status.problems.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Text for Shipping {
    fn text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        writeln!(out, "{}", self.words())
    }
}

impl Shipping {
    /// In one line, such as `12 shipped, nothing waits`.
    #[must_use]
    pub fn words(&self) -> String {
        let waits = match self.lag {
            None => "nothing waits".to_owned(),
            Some(lag) => {
                let lag = Duration::from_secs_f64(lag.max(0.0));
                format!("the oldest that waits is {} old", moment::long(lag))
            }
        };
        let refused = match self.refused {
            0 => String::new(),
            refused => format!(", {refused} refused"),
        };
        format!("{} shipped, {waits}{refused}", self.acknowledged)
    }
}

#[cfg(test)]
mod tests {
    use carbyne_events::ship::{Problem, SpoolStatus};

    use super::*;

    #[test]
    fn what_a_shipper_says_travels() {
        let mut status = ShipStatus::default();
        status.acknowledged[1] = 12;
        status.acknowledged[3] = 30;
        status.is_idle = true;
        status.spools = vec![SpoolStatus {
            name: "gateway-0".to_owned(),
            bytes: 100,
            oldest: Some(Duration::from_secs(95)),
        }];
        assert_eq!(Shipping::from(&status).words(), "42 shipped, nothing waits");
        status.is_idle = false;
        status.dead_letters = 2;
        status.problems = vec![Problem::DeadLetters(2)];
        let shipping = Shipping::from(&status);
        let json = serde_json::to_string(&shipping).unwrap();
        assert_eq!(serde_json::from_str::<Shipping>(&json).unwrap(), shipping);
        assert_eq!(
            shipping.words(),
            format!(
                "42 shipped, the oldest that waits is {} old, 2 refused",
                moment::long(Duration::from_secs(95))
            )
        );
        assert!(shipping.problems[0].starts_with("2 records can never be sent"));
    }
}
