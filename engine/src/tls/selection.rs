//! Which certificate a server shows for which name.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::certificate::CertificateFacts;
use super::error::PlanError;
use super::server::ServerNames;

/// Positions of certificates by the names they are for.
#[derive(Debug, Default)]
pub(super) struct Selection {
    exact: FxHashMap<Box<str>, Candidates>,
    /// By what follows the first dot of `*.example.com`.
    leading: FxHashMap<Box<str>, Candidates>,
    /// By what precedes the last dot of `example.*`.
    trailing: FxHashMap<Box<str>, Candidates>,
    fallback: Candidates,
}

type Candidates = SmallVec<[usize; 2]>;

impl Selection {
    pub(super) fn enrol(&mut self, index: usize, names: &ServerNames, facts: &CertificateFacts) {
        let own = facts.dns_sans.iter().map(AsRef::as_ref);
        let patterns: SmallVec<[&str; 4]> = match names {
            ServerNames::Listed(listed) => listed.iter().map(String::as_str).collect(),
            // A certificate that names nothing less than everything is not thereby the default.
            ServerNames::FromCertificate => own.filter(|name| *name != "*").collect(),
        };
        // The plan was checked when it was made; what a certificate says may be anything and is then no pattern.
        for pattern in patterns
            .into_iter()
            .filter_map(|pattern| Pattern::parse(pattern).ok())
        {
            match pattern {
                Pattern::Any => self.fallback.push(index),
                Pattern::Exact(name) => enter(&mut self.exact, name, index),
                Pattern::Leading(parent) => enter(&mut self.leading, parent, index),
                Pattern::Trailing(stem) => enter(&mut self.trailing, stem, index),
            }
        }
    }

    /// Where nothing was named as the default, all are, in their order: as in Envoy the first that suits the client.
    pub(super) fn complete(&mut self, count: usize) {
        if self.fallback.is_empty() {
            self.fallback = (0..count).collect();
        }
    }

    /// Exact before wildcard before default.
    pub(super) fn candidates(&self, sni: Option<&str>) -> &[usize] {
        sni.and_then(|name| self.named(name))
            .unwrap_or(&self.fallback)
    }

    fn named(&self, name: &str) -> Option<&Candidates> {
        if let Some(found) = self.exact.get(name) {
            return Some(found);
        }
        let leading = name
            .split_once('.')
            .and_then(|(_, parent)| self.leading.get(parent));
        leading.or_else(|| {
            name.rsplit_once('.')
                .and_then(|(stem, _)| self.trailing.get(stem))
        })
    }
}

/// One name pattern; the star stands for one label.
pub(super) enum Pattern<'a> {
    Any,
    Exact(&'a str),
    Leading(&'a str),
    Trailing(&'a str),
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, PlanError> {
        let refused = || PlanError::NamePattern {
            pattern: text.into(),
        };
        let (pattern, fixed) = match (text, text.strip_prefix("*."), text.strip_suffix(".*")) {
            ("*", ..) => return Ok(Self::Any),
            (_, Some(parent), _) => (Self::Leading(parent), parent),
            (_, None, Some(stem)) => (Self::Trailing(stem), stem),
            (_, None, None) => (Self::Exact(text), text),
        };
        if fixed.is_empty() || fixed.contains('*') {
            Err(refused())
        } else {
            Ok(pattern)
        }
    }
}

fn enter(table: &mut FxHashMap<Box<str>, Candidates>, name: &str, index: usize) {
    table
        .entry(name.to_ascii_lowercase().into())
        .or_default()
        .push(index);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_patterns() {
        for good in [
            "*",
            "a.example.com",
            "*.example.com",
            "example.*",
            "localhost",
        ] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "*.", ".*", "a*.example.com", "*.*", "*.a.*"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
