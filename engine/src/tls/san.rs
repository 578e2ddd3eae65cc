//! Matchers over the subject alternative names of a peer (Envoy's `match_typed_subject_alt_names`).

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use super::certificate::CertificateFacts;
use super::error::PlanError;

/// Which names a matcher looks at. Only names of that type are compared: a DNS name never satisfies a URI matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// `uniformResourceIdentifier`, where SPIFFE identities are.
    Uri,
    /// `dNSName`.
    Dns,
    /// `rfc822Name`.
    Email,
    /// `iPAddress`, compared in its canonical text form.
    Ip,
    /// Any of the four (Envoy's untyped `match_subject_alt_names`).
    Any,
}

/// How a name is compared.
#[derive(Clone, Debug)]
pub enum TextRule {
    /// Equal. A wildcard DNS name in the certificate covers one label of an exact DNS rule, as in Envoy.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
    /// Contains.
    Contains(String),
    /// The whole name matches; linear-time syntax (RE2's).
    Regex(String),
}

/// One matcher; a peer needs to satisfy one of a list.
#[derive(Clone, Debug)]
pub struct SanMatcher {
    kind: SanKind,
    ignore_case: bool,
    compiled: Compiled,
}

#[derive(Clone, Debug)]
enum Compiled {
    Exact(Box<str>),
    Address(IpAddr),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Regex(Regex),
}

impl SanMatcher {
    /// Compiles. `ignore_case` (ASCII) has no effect on regular expressions, as in Envoy.
    pub fn new(kind: SanKind, rule: TextRule, ignore_case: bool) -> Result<Self, PlanError> {
        let fold = |text: String| {
            if ignore_case {
                text.to_ascii_lowercase()
            } else {
                text
            }
            .into_boxed_str()
        };
        let compiled = match rule {
            // Two spellings of one IPv6 address are one name.
            TextRule::Exact(text) if kind == SanKind::Ip => match text.parse() {
                Ok(address) => Compiled::Address(address),
                Err(_) => Compiled::Exact(text.into()),
            },
            TextRule::Exact(text) => Compiled::Exact(fold(text)),
            TextRule::Prefix(text) => Compiled::Prefix(fold(text)),
            TextRule::Suffix(text) => Compiled::Suffix(fold(text)),
            TextRule::Contains(text) => Compiled::Contains(fold(text)),
            TextRule::Regex(pattern) => Compiled::Regex(compile(&pattern)?),
        };
        Ok(Self {
            kind,
            ignore_case,
            compiled,
        })
    }

    /// An exact URI, the usual SPIFFE rule.
    pub fn exact_uri(uri: &str) -> Self {
        Self {
            kind: SanKind::Uri,
            ignore_case: false,
            compiled: Compiled::Exact(uri.into()),
        }
    }

    /// Whether one of the certificate's names satisfies the rule.
    pub fn matches(&self, facts: &CertificateFacts) -> bool {
        let wants = |kind: SanKind| self.kind == kind || self.kind == SanKind::Any;
        (wants(SanKind::Uri) && facts.uri_sans.iter().any(|name| self.text(name)))
            || (wants(SanKind::Dns)
                && facts
                    .dns_sans
                    .iter()
                    .any(|name| self.text(name) || self.wildcard(name)))
            || (wants(SanKind::Email) && facts.email_sans.iter().any(|name| self.text(name)))
            || (wants(SanKind::Ip) && facts.ip_sans.iter().any(|address| self.address(*address)))
    }

    fn text(&self, name: &str) -> bool {
        if self.ignore_case && !matches!(self.compiled, Compiled::Regex(_)) {
            return self.compare(&name.to_ascii_lowercase());
        }
        self.compare(name)
    }

    fn compare(&self, name: &str) -> bool {
        match &self.compiled {
            Compiled::Exact(text) => name == &**text,
            Compiled::Address(_) => false,
            Compiled::Prefix(text) => name.starts_with(&**text),
            Compiled::Suffix(text) => name.ends_with(&**text),
            Compiled::Contains(text) => name.contains(&**text),
            Compiled::Regex(regex) => regex.is_match(name),
        }
    }

    fn address(&self, address: IpAddr) -> bool {
        match &self.compiled {
            Compiled::Address(wanted) => *wanted == address,
            _ => self.text(&address.to_string()),
        }
    }

    /// `*.example.com` in the certificate covers `a.example.com`, but neither `example.com` nor `a.b.example.com` (RFC 9525 section 6.3).
    fn wildcard(&self, name: &str) -> bool {
        let Compiled::Exact(wanted) = &self.compiled else {
            return false;
        };
        let Some(parent) = name.strip_prefix("*.") else {
            return false;
        };
        wanted.split_once('.').is_some_and(|(label, rest)| {
            !label.is_empty() && !parent.is_empty() && rest.eq_ignore_ascii_case(parent)
        })
    }
}

/// Anchored at both ends; pattern and program are bounded, as patterns come from whoever may write a policy (ISTIO-SECURITY-2026-006).
fn compile(pattern: &str) -> Result<Regex, PlanError> {
    let refuse = |reason: String| PlanError::Regex {
        pattern: pattern.chars().take(200).collect(),
        reason,
    };
    if pattern.len() > LARGEST_PATTERN {
        return Err(refuse(format!("longer than {LARGEST_PATTERN} bytes")));
    }
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
        .size_limit(LARGEST_PROGRAM)
        .build()
        .map_err(|error| refuse(error.to_string()))
}

const LARGEST_PATTERN: usize = 4 << 10;
const LARGEST_PROGRAM: usize = 1 << 20;
