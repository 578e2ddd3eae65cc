//! The parameters of a request.

use regex::Regex;

use super::Response;

/// Parameters in their order, percent-decoded. A plus is a plus: it stands in regular expressions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Parses what follows the question mark.
    pub fn parse(text: &str) -> Self {
        let parameters = text.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        });
        Self {
            parameters: parameters.collect(),
        }
    }

    /// Whether a parameter is there, with or without value.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The first value of a parameter.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(other, value)| (other == name).then_some(value))
    }

    /// All parameters.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (&**name, &**value))
    }

    /// The regular expression in `filter`, which may match anywhere in a name.
    pub(super) fn filter(&self) -> Result<Option<Regex>, Response> {
        self.value("filter")
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| {
                Regex::new(pattern).map_err(|error| {
                    Response::text(400, format!("Invalid re2 regex: {}", reason(&error)))
                })
            })
            .transpose()
    }

    /// The regular expression in `name_regex`, which must match whole names.
    pub(super) fn name_regex(&self) -> Result<Option<Regex>, Response> {
        let Some(pattern) = self
            .value("name_regex")
            .filter(|pattern| !pattern.is_empty())
        else {
            return Ok(None);
        };
        // Parsed alone first: with the brackets around it, a wrong pattern might look right.
        let whole = Regex::new(pattern).and_then(|_| Regex::new(&format!("^(?:{pattern})$")));
        whole.map(Some).map_err(|error| {
            let reason = reason(&error);
            Response::text(
                400,
                format!(
                    "INVALID_ARGUMENT: Error while parsing name_regex from {pattern}: {reason}"
                ),
            )
        })
    }
}

/// The last line of an error of the regex crate says what is wrong; the ones before draw it.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines()
        .next_back()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

/// Percent-decoding; what is not an escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        match digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_and_escaped_characters_mean_the_same() {
        let raw = Query::parse(
            r"usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$",
        );
        let escaped = Query::parse(
            "usedonly=&filter=%5E%28cluster_manager%5C.cds%7Clistener_manager%5C.lds%29%5C.%28update_success%7cupdate_rejected%29%24",
        );
        assert_eq!(raw, escaped);
        assert!(
            raw.filter()
                .unwrap()
                .unwrap()
                .is_match("cluster_manager.cds.update_success")
        );
        assert!(
            !raw.filter()
                .unwrap()
                .unwrap()
                .is_match("cluster_manager.cds.update_success_total")
        );
    }

    #[test]
    fn odd_texts_are_kept() {
        let query = Query::parse("a&b=1&&c=%zz+%4&b=2");
        let all: Vec<_> = query.iter().collect();
        assert_eq!(all, [("a", ""), ("b", "1"), ("c", "%zz+%4"), ("b", "2")]);
        assert_eq!(query.value("b"), Some("1"));
        assert!(query.has("a") && !query.has("d"));
    }

    #[test]
    fn wrong_expressions_are_refused() {
        assert_eq!(Query::parse("filter=(").filter().unwrap_err().status, 400);
        assert_eq!(
            Query::parse("name_regex=a)(b")
                .name_regex()
                .unwrap_err()
                .status,
            400
        );
        let whole = Query::parse("name_regex=a|b")
            .name_regex()
            .unwrap()
            .unwrap();
        assert!(whole.is_match("a") && !whole.is_match("ab"));
    }
}
