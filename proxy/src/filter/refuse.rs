//! In place of a guard that was not understood: nothing passes.

use std::sync::Arc;

use carbyne_engine::forward::{Answer, Exchange};
use http::StatusCode;

use crate::context::Context;

/// Refuses every request with 503, and names the filter in the log.
#[derive(Clone, Debug)]
pub struct Refuse {
    /// The filter that is not served.
    pub filter: Arc<str>,
    /// What in it is not served, and where.
    pub reason: Arc<str>,
    details: Arc<str>,
}

impl Refuse {
    /// A refusal in place of filter `name`; `reason` says what in it is not served, and where.
    pub fn because(name: &str, reason: impl Into<Arc<str>>) -> Self {
        Self {
            filter: Arc::from(name),
            reason: reason.into(),
            details: Arc::from(format!("filter_not_served[{}]", without_spaces(name))),
        }
    }

    /// Response code details: `filter_not_served[NAME]`.
    pub fn details(&self) -> &str {
        &self.details
    }

    /// The answer to every request.
    pub fn answer(&self) -> Answer {
        // The client learns nothing about the configuration.
        Answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "",
            self.details.to_string(),
        )
    }

    /// Refuses.
    pub fn request(&self, exchange: &mut Exchange<Context>) -> Result<(), Answer> {
        exchange.context.denied_by = Some(Arc::clone(&self.filter));
        Err(self.answer())
    }
}

/// A text for the log with every white space replaced by `_`, so that a line keeps its number of columns (Envoy's `replaceAllEmptySpace`).
pub(super) fn without_spaces(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if matches!(letter, ' ' | '\t' | '\x0c' | '\x0b' | '\n' | '\r') {
                '_'
            } else {
                letter
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_filter_and_keeps_columns() {
        let refuse = Refuse::because(
            "my filter",
            "rules.policies[\"a\"].condition: CEL is not served",
        );
        let answer = refuse.answer();
        assert_eq!(answer.response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.details, "filter_not_served[my_filter]");
        assert!(answer.body.is_empty());
    }

    #[test]
    fn spaces() {
        assert_eq!(without_spaces("a \t\x0c\x0b\n\ry"), "a______y");
    }
}
