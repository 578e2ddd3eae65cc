//! Compiled matchers over texts, header fields, query parameters, paths, addresses and metadata.
//!
//! | file | what it holds |
//! |---|---|
//! | [`text`] | one text: exact, prefix, suffix, contains, regular expression |
//! | [`pattern`] | RE2 patterns compiled by the `regex` crate, whole text, bounded |
//! | [`header`] | header fields and pseudo-headers |
//! | [`query`] | query parameters |
//! | [`path`] | paths: exact, prefix, whole segments, regular expression, template |
//! | [`template`] | URI templates (`*`, `**`, `{name}`) and rewrites by them |
//! | [`cidr`] | ranges of IP addresses |
//! | [`value`] | JSON values of dynamic metadata |
//! | [`fraction`] | a share of requests |

pub mod cidr;
pub mod fraction;
pub mod header;
pub mod path;
pub mod pattern;
pub mod query;
pub mod template;
pub mod text;
pub mod value;

pub use self::cidr::{Cidr, CidrSet};
pub use self::fraction::Fraction;
pub use self::header::{HeaderField, HeaderMatcher, HeaderRule, Quantifier};
pub use self::path::{PathMatcher, PathRule};
pub use self::pattern::{Pattern, PatternError, Substitution};
pub use self::query::{QueryMatcher, QueryRule};
pub use self::template::{Template, TemplateError, TemplateRewrite};
pub use self::text::{StringMatcher, TextRule};
pub use self::value::{MetadataMatcher, ValueMatcher};
