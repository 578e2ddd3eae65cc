//! The groups of operators with a grammar of their own: header fields, addresses, certificates, points in time.

use std::time::Duration;

use carbyne_engine::net::Address;
use carbyne_engine::net::address::IpText;
use carbyne_engine::tls::{CertificateFacts, Negotiated};
use http::HeaderValue;

use super::TimeFormat;
use crate::live::matcher::HeaderField;
use crate::observe::facts::Facts;

/// Which message a field is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
    Trailers,
}

/// `REQ(X?Y)` and its like.
#[derive(Clone, Debug)]
pub(super) struct FieldValue {
    pub(super) side: Side,
    pub(super) name: HeaderField,
    pub(super) alternative: Option<HeaderField>,
    pub(super) without_query: bool,
}

/// Whose address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    DownstreamLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
    UpstreamLocal,
    UpstreamRemote,
}

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    Whole,
    WithoutPort,
    Port,
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) upstream: bool,
    pub(super) local: bool,
}

/// What about it.
#[derive(Clone, Debug)]
pub(super) enum About {
    UriSan,
    DnsSan,
    IpSan,
    EmailSan,
    Subject,
    Issuer,
    Serial,
    Fingerprint256,
    Pem,
    NotBefore(TimeFormat),
    NotAfter(TimeFormat),
}

/// A moment of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    RequestEnd,
    UpstreamStart,
    UpstreamEnd,
    ResponseStart,
    ResponseEnd,
    End,
}

impl FieldValue {
    pub(super) fn parse(
        side: Side,
        argument: Option<&str>,
        without_query: bool,
    ) -> Result<Self, String> {
        let names = argument
            .filter(|names| !names.is_empty())
            .ok_or("expected the name of a header field in parentheses")?;
        let (name, alternative) = match names.split_once('?') {
            Some((name, alternative)) => (name, Some(alternative)),
            None => (names, None),
        };
        let read = |name: &str| {
            HeaderField::parse(name)
                .ok_or_else(|| format!("`{name}` is not the name of a header field"))
        };
        Ok(Self {
            side,
            name: read(name)?,
            alternative: alternative.map(read).transpose()?,
            without_query,
        })
    }

    pub(super) fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.one(&self.name, facts, out)
            || self
                .alternative
                .as_ref()
                .is_some_and(|name| self.one(name, facts, out))
    }

    fn one(&self, name: &HeaderField, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let value = match self.side {
            Side::Request => facts.request.and_then(|request| name.first(request)),
            Side::Response => match name {
                HeaderField::Status => {
                    return facts
                        .response
                        .is_some_and(|response| put(out, response.status.as_str().as_bytes()));
                }
                HeaderField::Name(name) => facts
                    .response
                    .and_then(|response| response.headers.get(name))
                    .map(HeaderValue::as_bytes),
                _ => None,
            },
            Side::Trailers => match name {
                HeaderField::Name(name) => facts
                    .trailers
                    .and_then(|trailers| trailers.get(name))
                    .map(HeaderValue::as_bytes),
                _ => None,
            },
        };
        let Some(value) = value else { return false };
        let end = if self.without_query {
            memchr::memchr(b'?', value).unwrap_or(value.len())
        } else {
            value.len()
        };
        put(out, &value[..end])
    }
}

impl Whose {
    fn with<T>(self, facts: &Facts<'_>, then: impl FnOnce(&Address) -> T) -> Option<T> {
        match self {
            Self::DownstreamLocal => Some(then(&facts.downstream?.local)),
            Self::DownstreamRemote => Some(then(&facts.remote()?)),
            Self::DownstreamDirectRemote => Some(then(&facts.downstream?.direct_remote)),
            Self::UpstreamLocal => Some(then(facts.upstream?.local.as_ref()?)),
            Self::UpstreamRemote => Some(then(&facts.upstream?.host.as_ref()?.address)),
        }
    }

    pub(super) fn write(self, portion: Portion, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        self.with(facts, |address| write_address(address, portion, out))
            .unwrap_or(false)
    }
}

/// Appends an address or a part of it; a Unix socket has no port, and its path is the rest.
fn write_address(address: &Address, portion: Portion, out: &mut Vec<u8>) -> bool {
    use std::io::Write;
    let socket = match address {
        Address::Tcp(socket) => socket,
        Address::Unix(_) if portion == Portion::Port => return false,
        // Writing to memory does not fail.
        Address::Unix(_) => return write!(out, "{address}").is_ok(),
    };
    let ip = IpText::of(socket.ip());
    match portion {
        Portion::Port => number(out, socket.port()),
        Portion::WithoutPort => put(out, ip.as_bytes()),
        Portion::Whole if socket.is_ipv6() => write!(out, "{socket}").is_ok(),
        Portion::Whole => {
            out.extend_from_slice(ip.as_bytes());
            out.push(b':');
            number(out, socket.port())
        }
    }
}

impl Holder {
    pub(super) fn tls<'a>(self, facts: &Facts<'a>) -> Option<&'a Negotiated> {
        if self.upstream {
            facts.upstream_tls()
        } else {
            facts.downstream_tls()
        }
    }

    pub(super) fn certificate<'a>(self, facts: &Facts<'a>) -> Option<&'a CertificateFacts> {
        let tls = self.tls(facts)?;
        if self.local {
            tls.local.as_deref()
        } else {
            tls.peer.as_deref()
        }
    }
}

impl About {
    pub(super) fn write(&self, certificate: &CertificateFacts, out: &mut Vec<u8>) -> bool {
        use std::io::Write;
        match self {
            Self::UriSan => list(&certificate.uri_sans, out),
            Self::DnsSan => list(&certificate.dns_sans, out),
            Self::EmailSan => list(&certificate.email_sans, out),
            Self::IpSan => {
                let start = out.len();
                for address in &certificate.ip_sans {
                    if out.len() > start {
                        out.push(b',');
                    }
                    if write!(out, "{address}").is_err() {
                        return false;
                    }
                }
                out.len() > start
            }
            Self::Subject => put(out, certificate.subject.as_bytes()),
            Self::Issuer => put(out, certificate.issuer.as_bytes()),
            Self::Serial => put(out, certificate.serial.as_bytes()),
            Self::Fingerprint256 => put(out, certificate.fingerprint.as_bytes()),
            Self::Pem => put(out, certificate.pem_url_encoded().as_bytes()),
            Self::NotBefore(format) => date(certificate.not_before, format, out),
            Self::NotAfter(format) => date(certificate.not_after, format, out),
        }
    }
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

/// Appends; an empty text is none.
pub(super) fn put(out: &mut Vec<u8>, text: &[u8]) -> bool {
    out.extend_from_slice(text);
    !text.is_empty()
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, value: impl itoa::Integer) -> bool {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    true
}

fn list(texts: &[Box<str>], out: &mut Vec<u8>) -> bool {
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(text.as_bytes());
    }
    !texts.is_empty()
}

fn date(seconds: i64, format: &TimeFormat, out: &mut Vec<u8>) -> bool {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    format.write(std::time::UNIX_EPOCH + since, out);
    true
}
