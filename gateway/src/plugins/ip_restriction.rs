//! ip-restriction: only clients of some addresses, or all but those of some addresses.

use std::net::IpAddr;

use http::StatusCode;
use serde::Deserialize;

use crate::plugin::{Call, Exit, Flow, Plugin, Refusal, Setup};
use crate::proxy::settings::Network;

#[derive(Debug)]
pub struct IpRestriction {
    allow: Vec<Network>,
    deny: Vec<Network>,
    /// Nothing where what is configured is no status of an error: who is refused then sees Kong fail.
    status: Option<StatusCode>,
    message: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    status: Option<f64>,
    message: Option<Box<str>>,
}

impl Plugin for IpRestriction {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        Ok(Self {
            allow: networks("allow", config.allow)?,
            deny: networks("deny", config.deny)?,
            status: config
                .status
                .map_or(Some(StatusCode::FORBIDDEN), error_status),
            message: config.message,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        let client = call.client().forwarded_ip();
        if self.passes(client) {
            return Ok(());
        }
        let Some(status) = self.status else {
            return Err(Exit::unexpected());
        };
        Err(match &self.message {
            Some(message) => Exit::error(status, message.to_string()),
            None => Exit::error(status, format!("IP address not allowed: {client}")),
        })
    }
}

impl IpRestriction {
    fn passes(&self, client: IpAddr) -> bool {
        let within = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }
}

fn networks(field: &str, texts: Option<Vec<String>>) -> Result<Vec<Network>, Refusal> {
    let texts = texts.unwrap_or_default().into_iter().enumerate();
    let read = |(index, text): (usize, String)| {
        let wrong = || {
            Refusal::new(
                format!("{field}[{index}]"),
                format!("{text:?} is no network"),
            )
        };
        Network::parse(&text).ok_or_else(wrong)
    };
    texts.map(read).collect()
}

/// A status that Kong can tell as an error.
fn error_status(number: f64) -> Option<StatusCode> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    let status = (400.0..600.0).contains(&number).then_some(number as u16)?;
    StatusCode::from_u16(status).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let passes = |allow: &[&str], deny: &[&str], client: &str| {
            let read = |texts: &[&str]| {
                let texts = texts.iter().map(|text| (*text).to_owned()).collect();
                networks("allow", Some(texts)).unwrap()
            };
            let plugin = IpRestriction {
                allow: read(allow),
                deny: read(deny),
                status: None,
                message: None,
            };
            plugin.passes(client.parse().unwrap())
        };
        for (allow, deny, client, passing) in [
            (&["127.0.0.1"][..], &[][..], "127.0.0.1", true),
            (&["127.0.0.1"], &[], "127.0.0.2", false),
            (&["127.0.0.0/24"], &[], "127.0.0.2", true),
            (&["127.0.0.0/24"], &["127.0.0.2"], "127.0.0.2", false),
            (&[], &["0.0.0.0/0"], "10.0.0.1", false),
            (&[], &["0.0.0.0/0"], "::1", true),
            (&[], &["::/0"], "::1", false),
            (&["fe80::/10"], &[], "fe80::1", true),
            (&["fe80::/10"], &[], "2001:db8::1", false),
            (&["::1"], &[], "::1", true),
            (&["2001:db8::/33"], &[], "2001:db8:8000::", false),
            (&["::1"], &[], "127.0.0.1", false),
        ] {
            assert_eq!(
                passes(allow, deny, client),
                passing,
                "{client}: allow {allow:?}, deny {deny:?}"
            );
        }
        assert_eq!(
            networks("deny", Some(vec!["::1".into(), "1.2.3.4/33".into()])),
            Err(Refusal::new("deny[1]", "\"1.2.3.4/33\" is no network"))
        );
    }

    #[test]
    fn answers_are_errors() {
        assert_eq!(error_status(403.0), Some(StatusCode::FORBIDDEN));
        for number in [200.0, 399.0, 600.0, -1.0, f64::NAN] {
            assert_eq!(error_status(number), None, "{number}");
        }
    }
}
