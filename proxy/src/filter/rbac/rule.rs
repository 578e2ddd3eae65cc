//! One condition, and what it asks.

use std::ops::Range;

use carbyne_engine::http::Headers;
use carbyne_engine::tls::CertificateFacts;

use super::facts::Facts;
use crate::live::matcher::{
    Cidr, HeaderMatcher, MetadataMatcher, Quantifier, StringMatcher, Template,
};

/// A compiled permission or principal.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Every one of these.
    All(Box<[Self]>),
    Always,
    /// One of these.
    AnyOf(Box<[Self]>),
    /// The client showed a certificate, with a name that matches.
    Authenticated {
        name: Option<StringMatcher>,
        sense: Sense,
    },
    DestinationIp(Cidr),
    DestinationPort(Range<u32>),
    DirectRemoteIp(Cidr),
    Header(HeaderMatcher, Quantifier),
    Metadata(MetadataMatcher),
    /// Something that nobody sets: filter state of a tunnel, which this proxy does not terminate.
    Never,
    Not(Box<Self>),
    RemoteIp(Cidr),
    ServerName(StringMatcher),
    SourceIp(Cidr),
    UriTemplate(Template),
    UrlPath(StringMatcher),
}

/// Whether a condition that is met helps a request through, or helps to refuse it. Where a fact is in doubt, it helps nobody through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    Grants,
    Refuses,
}

impl Rule {
    pub(super) fn matches(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.matches(facts)),
            Self::Always => true,
            Self::AnyOf(rules) => rules.iter().any(|rule| rule.matches(facts)),
            Self::Authenticated { name, sense } => is_authenticated(name.as_ref(), *sense, facts),
            Self::DestinationIp(range) => facts
                .destination()
                .is_some_and(|address| range.contains(address.ip())),
            Self::DestinationPort(ports) => facts
                .destination()
                .is_some_and(|address| ports.contains(&u32::from(address.port()))),
            Self::DirectRemoteIp(range) => facts
                .direct_source()
                .is_some_and(|address| range.contains(address)),
            Self::Header(matcher, quantifier) => match facts.request {
                Some(request) => matcher.matches_quantified(request, *quantifier),
                None => matcher.matches_fields(None, &Headers::new()),
            },
            Self::Metadata(matcher) => matcher.matches(facts.metadata),
            Self::Never => false,
            Self::Not(rule) => !rule.matches(facts),
            Self::RemoteIp(range) => facts
                .remote()
                .is_some_and(|address| range.contains(address)),
            Self::ServerName(matcher) => matcher.matches(facts.server_name().as_bytes()),
            Self::SourceIp(range) => facts
                .source()
                .is_some_and(|address| range.contains(address)),
            Self::UriTemplate(template) => path(facts).is_some_and(|path| template.matches(path)),
            Self::UrlPath(matcher) => path(facts).is_some_and(|path| matcher.matches(path)),
        }
    }
}

impl Sense {
    pub(super) const fn opposite(self) -> Self {
        match self {
            Self::Grants => Self::Refuses,
            Self::Refuses => Self::Grants,
        }
    }

    /// How many values of a repeated field must meet a condition: all of them to grant, one to refuse (CVE-2026-26308).
    pub(super) const fn quantifier(self) -> Quantifier {
        match self {
            Self::Grants => Quantifier::Every,
            Self::Refuses => Quantifier::Any,
        }
    }
}

/// The canonical path without its query; a `CONNECT` without a path has none.
fn path<'a>(facts: &Facts<'a>) -> Option<&'a [u8]> {
    facts
        .request
        .map(|request| request.path_only())
        .filter(|path| !path.is_empty())
}

/// URI names first, then DNS names, then the subject, as Envoy does. A certificate that its listener tolerates without having verified it is
/// good enough to be refused by, not to be let in by.
fn is_authenticated(name: Option<&StringMatcher>, sense: Sense, facts: &Facts<'_>) -> bool {
    let Some((certificate, verified)) = facts.peer() else {
        return false;
    };
    if sense == Sense::Grants && !verified {
        return false;
    }
    let Some(matcher) = name else { return true };
    certificate
        .is_some_and(|certificate| names(certificate).any(|name| matcher.matches(name.as_bytes())))
}

fn names(certificate: &CertificateFacts) -> impl Iterator<Item = &str> {
    let alternative = certificate.uri_sans.iter().chain(&certificate.dns_sans);
    alternative
        .map(AsRef::as_ref)
        .chain([&*certificate.subject])
}
