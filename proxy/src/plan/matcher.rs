//! Matchers as many messages have them.

use carbyne_protos::envoy::config::route::v3 as route;
use carbyne_protos::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use carbyne_protos::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use carbyne_protos::envoy::r#type::matcher::v3 as wire;
use carbyne_protos::envoy::r#type::matcher::v3::{
    double_matcher, list_matcher, metadata_matcher, string_matcher, value_matcher,
};

use super::error::Fault;
use super::scope::Scope;
use crate::live::matcher::{
    HeaderField, HeaderMatcher, HeaderRule, MetadataMatcher, Pattern, QueryMatcher, QueryRule,
    StringMatcher, Substitution, TextRule, ValueMatcher,
};

/// A text matcher.
pub fn string(matcher: &wire::StringMatcher, scope: &Scope<'_>) -> Option<StringMatcher> {
    use string_matcher::MatchPattern;
    let rule = match &matcher.match_pattern {
        Some(MatchPattern::Contains(text)) => TextRule::Contains(text),
        Some(MatchPattern::Exact(text)) => TextRule::Exact(text),
        Some(MatchPattern::Prefix(text)) => TextRule::Prefix(text),
        Some(MatchPattern::SafeRegex(regex)) => TextRule::Regex(&regex.regex),
        Some(MatchPattern::Suffix(text)) => TextRule::Suffix(text),
        Some(MatchPattern::Custom(_)) => {
            scope
                .field("custom")
                .reject(Fault::Words("custom matchers are not served"));
            return None;
        }
        None => {
            scope.missing();
            return None;
        }
    };
    scope.take(StringMatcher::new(rule, matcher.ignore_case))
}

/// A regular expression over a whole text.
pub fn regex(matcher: &wire::RegexMatcher, scope: &Scope<'_>) -> Option<Pattern> {
    scope.field("regex").take(Pattern::whole(&matcher.regex))
}

/// A search-and-replace.
pub fn substitution(
    rewrite: &wire::RegexMatchAndSubstitute,
    scope: &Scope<'_>,
) -> Option<Substitution> {
    let Some(pattern) = &rewrite.pattern else {
        scope.field("pattern").missing();
        return None;
    };
    scope.take(Substitution::new(&pattern.regex, &rewrite.substitution))
}

/// A header matcher.
pub fn header(matcher: &route::HeaderMatcher, scope: &Scope<'_>) -> Option<HeaderMatcher> {
    let field = HeaderField::parse(&matcher.name);
    if field.is_none() {
        scope
            .field("name")
            .out_of_range(format_args!("`{}`", matcher.name), "the name of a field");
    }
    let text = |rule: TextRule<'_>, name| {
        scope
            .field(name)
            .take(StringMatcher::new(rule, false))
            .map(HeaderRule::Text)
    };
    let rule = match &matcher.header_match_specifier {
        Some(HeaderMatchSpecifier::ContainsMatch(wanted)) => {
            text(TextRule::Contains(wanted), "contains_match")
        }
        Some(HeaderMatchSpecifier::ExactMatch(wanted)) => {
            text(TextRule::Exact(wanted), "exact_match")
        }
        Some(HeaderMatchSpecifier::PrefixMatch(wanted)) => {
            text(TextRule::Prefix(wanted), "prefix_match")
        }
        Some(HeaderMatchSpecifier::PresentMatch(wanted)) => Some(HeaderRule::Present(*wanted)),
        Some(HeaderMatchSpecifier::RangeMatch(range)) => Some(HeaderRule::Range {
            start: range.start,
            end: range.end,
        }),
        Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
            text(TextRule::Regex(&regex.regex), "safe_regex_match")
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => {
            string(matcher, &scope.field("string_match")).map(HeaderRule::Text)
        }
        Some(HeaderMatchSpecifier::SuffixMatch(wanted)) => {
            text(TextRule::Suffix(wanted), "suffix_match")
        }
        // Envoy: nothing said means that the field has to be there.
        None => Some(HeaderRule::Present(true)),
    };
    Some(HeaderMatcher {
        field: field?,
        rule: rule?,
        invert: matcher.invert_match,
        missing_is_empty: matcher.treat_missing_header_as_empty,
    })
}

/// Header matchers.
pub fn headers(
    matchers: &[route::HeaderMatcher],
    name: &'static str,
    scope: &Scope<'_>,
) -> Box<[HeaderMatcher]> {
    let plan = |(index, matcher)| header(matcher, &scope.item(name, index));
    matchers.iter().enumerate().filter_map(plan).collect()
}

/// A query parameter matcher.
pub fn query(matcher: &route::QueryParameterMatcher, scope: &Scope<'_>) -> Option<QueryMatcher> {
    if matcher.name.is_empty() {
        scope.field("name").missing();
    }
    let rule = match &matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::PresentMatch(wanted)) => QueryRule::Present(*wanted),
        Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => {
            QueryRule::Text(string(matcher, &scope.field("string_match"))?)
        }
        None => QueryRule::Present(true),
    };
    Some(QueryMatcher {
        name: matcher.name.as_bytes().into(),
        rule,
    })
}

/// A matcher over dynamic metadata.
pub fn metadata(matcher: &wire::MetadataMatcher, scope: &Scope<'_>) -> Option<MetadataMatcher> {
    if matcher.filter.is_empty() {
        scope.field("filter").missing();
    }
    let mut path = Vec::new();
    for (index, segment) in matcher.path.iter().enumerate() {
        match &segment.segment {
            Some(metadata_matcher::path_segment::Segment::Key(key)) if !key.is_empty() => {
                path.push(Box::from(key.as_str()))
            }
            _ => scope.item("path", index).field("key").missing(),
        }
    }
    if path.is_empty() {
        scope.field("path").missing();
    }
    let Some(wanted) = &matcher.value else {
        scope.field("value").missing();
        return None;
    };
    Some(MetadataMatcher {
        filter: matcher.filter.as_str().into(),
        path: path.into(),
        value: value(wanted, &scope.field("value"))?,
        invert: matcher.invert,
    })
}

/// A matcher over a JSON value.
pub fn value(matcher: &wire::ValueMatcher, scope: &Scope<'_>) -> Option<ValueMatcher> {
    use value_matcher::MatchPattern;
    Some(match &matcher.match_pattern {
        Some(MatchPattern::BoolMatch(wanted)) => ValueMatcher::Bool(*wanted),
        Some(MatchPattern::DoubleMatch(wanted)) => match &wanted.match_pattern {
            Some(double_matcher::MatchPattern::Exact(number)) => ValueMatcher::Number(*number),
            Some(double_matcher::MatchPattern::Range(range)) => ValueMatcher::Range {
                start: range.start,
                end: range.end,
            },
            None => {
                scope.field("double_match").missing();
                return None;
            }
        },
        Some(MatchPattern::ListMatch(list)) => match &list.match_pattern {
            Some(list_matcher::MatchPattern::OneOf(element)) => ValueMatcher::ListAny(Box::new(
                value(element, &scope.field("list_match").field("one_of"))?,
            )),
            None => {
                scope.field("list_match").missing();
                return None;
            }
        },
        Some(MatchPattern::NullMatch(_)) => ValueMatcher::Null,
        Some(MatchPattern::OrMatch(alternatives)) => {
            let scope = scope.field("or_match");
            let plan = |(index, matcher)| value(matcher, &scope.item("value_matchers", index));
            ValueMatcher::Or(
                alternatives
                    .value_matchers
                    .iter()
                    .enumerate()
                    .map(plan)
                    .collect::<Option<_>>()?,
            )
        }
        Some(MatchPattern::PresentMatch(wanted)) => ValueMatcher::Present(*wanted),
        Some(MatchPattern::StringMatch(matcher)) => {
            ValueMatcher::Text(string(matcher, &scope.field("string_match"))?)
        }
        None => {
            scope.missing();
            return None;
        }
    })
}
