//! `nginx_*`: directives that operators inject into Kong's nginx. Those that mean something here
//! are read; docs/gateway.md lists them.

use std::time::Duration;

use super::{Conf, ConfError};

/// Whether clients of an interface show a certificate (`ssl_verify_client`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VerifyClient {
    Off,
    /// One that is shown must be good.
    Optional,
    Required,
}

/// A key under its older or shorter name, and the keys whose place it takes.
const ALIASES: [(&str, &[&str]); 7] = [
    ("nginx_daemon", &["nginx_main_daemon"]),
    ("nginx_user", &["nginx_main_user"]),
    ("nginx_worker_processes", &["nginx_main_worker_processes"]),
    ("real_ip_header", &["nginx_proxy_real_ip_header"]),
    ("real_ip_recursive", &["nginx_proxy_real_ip_recursive"]),
    (
        "client_body_buffer_size",
        &["nginx_http_client_body_buffer_size"],
    ),
    ("client_max_body_size", &["nginx_http_client_max_body_size"]),
];

/// Directives that a `server` may have in place of what `http` says: `nginx_proxy_…` wins over
/// `nginx_http_…`.
const SIZES: [&str; 2] = ["client_max_body_size", "client_body_buffer_size"];
const TIMES: [&str; 4] = [
    "client_body_timeout",
    "client_header_timeout",
    "keepalive_timeout",
    "send_timeout",
];

impl Conf {
    /// Gives what was told under an older name to the keys that it is short for, unless they were
    /// told themselves.
    pub(super) fn spread(&mut self) {
        for (alias, keys) in ALIASES {
            if !self.is_told(alias) {
                continue;
            }
            let value = self.get(alias).map(ToOwned::to_owned);
            for key in keys
                .iter()
                .filter(|key| !self.is_told(key))
                .collect::<Vec<_>>()
            {
                self.values.insert((*key).to_owned(), value.clone());
            }
        }
    }

    /// How many workers serve; none: as many as there are processors.
    pub fn worker_processes(&self) -> Option<usize> {
        self.get("nginx_main_worker_processes")
            .and_then(|count| count.parse().ok())
    }

    /// Whether `start` leaves a node in the background and returns.
    pub fn is_daemon(&self) -> bool {
        self.get("nginx_main_daemon") != Some("off")
    }

    /// Bodies of proxied requests above this answer 413; none: any size.
    pub fn client_max_body_size(&self) -> Option<u64> {
        let size = self.proxy("client_max_body_size").and_then(size);
        size.filter(|size| *size > 0)
    }

    /// Bodies of requests to the Admin API above this answer 413; none: any size.
    pub fn admin_max_body_size(&self) -> Option<u64> {
        let size = self.get("nginx_admin_client_max_body_size").and_then(size);
        size.filter(|size| *size > 0)
    }

    /// How many buffers a request's head may fill, and how large one is: no line is longer than
    /// one (`large_client_header_buffers`).
    pub fn large_client_header_buffers(&self) -> Option<(u64, u64)> {
        self.proxy("large_client_header_buffers").and_then(buffers)
    }

    /// The time to a complete head.
    pub fn client_header_timeout(&self) -> Option<Duration> {
        self.proxy("client_header_timeout").and_then(time)
    }

    /// The time between two pieces of a request's body.
    pub fn client_body_timeout(&self) -> Option<Duration> {
        self.proxy("client_body_timeout").and_then(time)
    }

    /// How many requests a connection of a client carries; zero is one, as in nginx.
    pub fn keepalive_requests(&self) -> Option<u64> {
        let told = self.proxy("keepalive_requests")?.parse::<u64>().ok()?;
        Some(told.max(1))
    }

    /// How long a connection waits for the next request; zero: it is closed after each.
    pub fn keepalive_timeout(&self) -> Option<Duration> {
        // The second value is what a `Keep-Alive` header says, which nobody reads.
        let value = self.proxy("keepalive_timeout")?;
        time(value.split_whitespace().next()?)
    }

    /// Whether fields with an underscore in their name are left as they are; else they are dropped.
    pub fn underscores_in_headers(&self) -> bool {
        self.proxy("underscores_in_headers") != Some("off")
    }

    /// Whether clients of an interface (`admin`, `status`) show a certificate.
    pub fn verify_client(&self, interface: &str) -> VerifyClient {
        match self.get(&format!("nginx_{interface}_ssl_verify_client")) {
            Some("on") => VerifyClient::Required,
            Some("optional") => VerifyClient::Optional,
            _ => VerifyClient::Off,
        }
    }

    fn proxy(&self, directive: &str) -> Option<&str> {
        self.get(&format!("nginx_proxy_{directive}"))
            .or_else(|| self.get(&format!("nginx_http_{directive}")))
    }

    /// Values that nginx would not start with.
    pub(super) fn check_nginx(&self) -> Result<(), ConfError> {
        let check = |key: String, read: &dyn Fn(&str) -> bool, problem: &str| match self
            .get(&key)
            .filter(|value| !read(value))
        {
            None => Ok(()),
            Some(value) => Err(ConfError::Invalid {
                value: value.into(),
                problem: problem.into(),
                key,
            }),
        };
        let is_count =
            |value: &str| value == "auto" || value.parse::<u32>().is_ok_and(|count| count > 0);
        for key in [
            "nginx_main_worker_processes",
            "nginx_events_worker_connections",
        ] {
            check(key.into(), &is_count, "is neither auto nor a number")?;
        }
        for scope in ["http", "proxy", "admin"] {
            for directive in SIZES {
                let key = format!("nginx_{scope}_{directive}");
                check(
                    key,
                    &|value| size(value).is_some(),
                    "is no size such as 8k or 10m",
                )?;
            }
            for directive in TIMES {
                let key = format!("nginx_{scope}_{directive}");
                let read = |value: &str| value.split_whitespace().next().and_then(time).is_some();
                check(key, &read, "is no time such as 60s")?;
            }
            let key = format!("nginx_{scope}_large_client_header_buffers");
            check(
                key,
                &|value| buffers(value).is_some(),
                "is not such as 4 8k",
            )?;
            let key = format!("nginx_{scope}_underscores_in_headers");
            check(
                key,
                &|value| ["on", "off"].contains(&value),
                "is neither on nor off",
            )?;
            let key = format!("nginx_{scope}_keepalive_requests");
            check(key, &|value| value.parse::<u64>().is_ok(), "is no number")?;
        }
        for interface in ["admin", "status"] {
            let key = format!("nginx_{interface}_ssl_verify_client");
            // `optional_no_ca` would let in whoever shows any certificate.
            let read = |value: &str| ["on", "off", "optional"].contains(&value);
            check(key.clone(), &read, "is none of on, off, optional")?;
            let has_roots = self
                .get(&format!("nginx_{interface}_ssl_client_certificate"))
                .is_some();
            if self.verify_client(interface) != VerifyClient::Off && !has_roots {
                return Err(ConfError::Refused(format!(
                    "{key} is set, but not nginx_{interface}_ssl_client_certificate"
                )));
            }
        }
        Ok(())
    }
}

/// Bytes, as nginx writes them: `8192`, `8k`, `10m`, `1g`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, factor) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// A time, as nginx writes it: `60`, `60s`, `500ms`, `1m`, `1h 30m`.
fn time(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let letters = after
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let milliseconds = match &after[..letters] {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total += Duration::from_millis(number.checked_mul(milliseconds)?);
        rest = after[letters..].trim_start();
    }
    Some(total)
}

fn buffers(text: &str) -> Option<(u64, u64)> {
    let (count, each) = text.trim().split_once(char::is_whitespace)?;
    let buffers = (count.parse().ok()?, size(each)?);
    (buffers.0 > 0 && buffers.1 > 0).then_some(buffers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_as_nginx_has_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("8192", Some(8192)),
            ("8k", Some(8192)),
            ("10M", Some(10 << 20)),
            ("1g", Some(1 << 30)),
            ("", None),
            ("k", None),
            ("8 k", None),
            ("-1", None),
            ("99999999999999999g", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
        for (text, expected) in [
            ("60", Some(60_000)),
            ("60s", Some(60_000)),
            ("500ms", Some(500)),
            ("1h 30m", Some(5_400_000)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("5x", None),
        ] {
            assert_eq!(time(text), expected.map(Duration::from_millis), "{text}");
        }
        assert_eq!(buffers("4 8k"), Some((4, 8192)));
        assert_eq!(buffers("4"), None);
        assert_eq!(buffers("0 8k"), None);
    }
}
