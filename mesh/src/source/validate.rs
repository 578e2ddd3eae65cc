//! What istiod's validation refuses, said with the position of the value.

mod across;
mod networking;
mod policy;

use std::net::IpAddr;

pub(crate) use self::policy::METRICS;
pub(super) use self::{
    across::across,
    networking::{
        destination_rule, envoy_filter, gateway, service_entry, sidecar, virtual_service,
        workload_entry,
    },
    policy::{authorization_policy, mesh, peer_authentication, request_authentication, telemetry},
};
use super::{document::Document, problem::Problem, read::dotted};

/// Collects errors of one document.
pub(super) struct Report<'a> {
    document: &'a Document,
    errors: &'a mut Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(document: &'a Document, errors: &'a mut Vec<Problem>) -> Self {
        Self { document, errors }
    }

    fn error(&mut self, pointer: &str, message: impl Into<String>) {
        self.errors.push(Problem {
            path: dotted(pointer),
            ..Problem::at(&self.document.origin(pointer), message.into())
        });
    }

    fn port(&mut self, pointer: &str, number: u32) {
        if number == 0 || number > 65_535 {
            self.error(
                pointer,
                format!("{number} is not a port; it must be 1 to 65535"),
            );
        }
    }

    fn host(&mut self, pointer: &str, host: &str) {
        let labels = host.strip_prefix("*.").unwrap_or(host);
        let good = host == "*"
            || (!labels.is_empty()
                && labels.split('.').all(|label| {
                    !label.is_empty() && label.len() <= 63 && label.bytes().all(is_host_byte)
                }));
        if !good {
            self.error(
                pointer,
                format!("`{host}` is not a host name, `*.suffix` or `*`"),
            );
        }
    }

    fn cidr(&mut self, pointer: &str, text: &str) {
        if !is_cidr(text) {
            self.error(
                pointer,
                format!("`{text}` is not an IP address or CIDR block"),
            );
        }
    }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_cidr(text: &str) -> bool {
    match text.split_once('/') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((ip, bits)) => match (ip.parse::<IpAddr>(), bits.parse::<u8>()) {
            (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
            (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
            _ => false,
        },
    }
}
