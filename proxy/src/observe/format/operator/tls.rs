//! What a handshake agreed on, and certificates.

use std::time::Duration;

use carbyne_engine::tls::{CertificateFacts, Negotiated};

use super::super::TimeFormat;
use super::{Operator, put};
use crate::observe::facts::Facts;

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Holder {
    pub(super) upstream: bool,
    pub(super) local: bool,
}

/// What about it.
#[derive(Clone, Debug)]
pub(in super::super) enum About {
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

impl Holder {
    /// The peer that an operator of this name is about.
    pub(super) fn peer(name: &str) -> Self {
        Self {
            upstream: name.starts_with("UPSTREAM"),
            local: false,
        }
    }

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

/// `DOWNSTREAM_PEER_URI_SAN` and its like.
pub(super) fn certificate(name: &str) -> Option<Operator> {
    let (upstream, rest) = match name.strip_prefix("DOWNSTREAM_") {
        Some(rest) => (false, rest),
        None => (true, name.strip_prefix("UPSTREAM_")?),
    };
    let (local, rest) = match rest.strip_prefix("PEER_") {
        Some(rest) => (false, rest),
        None => match rest.strip_prefix("LOCAL_") {
            Some(rest) => (true, rest),
            None => {
                let holder = Holder {
                    upstream,
                    local: false,
                };
                return match rest {
                    "TLS_VERSION" => Some(Operator::TlsVersion(holder)),
                    "TLS_CIPHER" => Some(Operator::TlsCipher(holder)),
                    _ => None,
                };
            }
        },
    };
    let about = match rest {
        "URI_SAN" => About::UriSan,
        "DNS_SAN" => About::DnsSan,
        "IP_SAN" => About::IpSan,
        "EMAIL_SAN" => About::EmailSan,
        "SUBJECT" => About::Subject,
        "ISSUER" => About::Issuer,
        "SERIAL" => About::Serial,
        "FINGERPRINT_256" => About::Fingerprint256,
        "CERT" => About::Pem,
        _ => return None,
    };
    Some(Operator::Certificate(Holder { upstream, local }, about))
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
