//! Takes secrets out of texts: by the names of fields, by their forms, and by value: what the configuration says is a secret is taken out
//! wherever else it turns up, in a log line or a URL.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

/// What is known to be secret.
#[derive(Debug, Default)]
pub struct Redactor {
    /// Longest first, so that no secret hides the rest of another.
    values: Vec<String>,
}

impl Redactor {
    /// Learns the secrets of a configuration: YAML or JSON, one or several documents.
    pub fn learn(&mut self, text: &str) {
        // serde-saphyr reads one document; what does not read has no values to learn, and its fields are redacted by name.
        for document in text.split("\n---") {
            if let Ok(value) = serde_saphyr::from_str::<Value>(document) {
                self.walk(&value, "", "");
            }
        }
        self.values
            .sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.values.dedup();
    }

    /// The text without secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        // By value first: the rules below may cut one in two.
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), REDACTED));
            }
        }
        for (rule, kept) in RULES.iter() {
            let replaced = rule.replace_all(&text, |found: &Captures<'_>| {
                let mut out = String::new();
                for group in 1..=*kept {
                    out.push_str(found.get(group).map_or("", |group| group.as_str()));
                }
                out.push_str(REDACTED);
                out
            });
            if let Cow::Owned(replaced) = replaced {
                text = Cow::Owned(replaced);
            }
        }
        text.into_owned()
    }

    /// Texts under names that mean secrets; `key` does only where credentials are listed.
    fn walk(&mut self, value: &Value, name: &str, list: &str) {
        match value {
            Value::Object(map) => {
                for (key, child) in map {
                    let credential = list.ends_with("_credentials")
                        || list.ends_with("_secrets")
                        || list == "certificates";
                    if SECRET_NAME.is_match(key) || (credential && key == "key") {
                        self.leaves(child);
                    } else {
                        self.walk(child, key, name);
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.walk(item, name, name);
                }
            }
            _ => {}
        }
    }

    fn leaves(&mut self, value: &Value) {
        match value {
            // A short one would take half of every text with it; its field is redacted by name.
            Value::String(text) if text.len() >= SHORTEST => {
                self.values.push(text.clone());
                self.values.extend(
                    text.lines()
                        .filter(|line| line.len() >= SHORTEST && *line != text)
                        .map(str::to_owned),
                );
            }
            Value::Object(map) => map.values().for_each(|child| self.leaves(child)),
            Value::Array(items) => items.iter().for_each(|child| self.leaves(child)),
            _ => {}
        }
    }
}

/// A rule and how many of its groups stay in front of the mark.
static RULES: LazyLock<Vec<(Regex, usize)>> = LazyLock::new(|| {
    let rules = [
        // Private keys, also with their line feeds written as \n.
        (
            r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
            0,
        ),
        // Fields that carry credentials, to the end of their line or text.
        (
            r#"(?im)((?:proxy-)?authorization|(?:set-)?cookie|x-api-key|apikey)(["']?[ \t]*[:=][ \t]*["']?)[^"'\r\n&]+"#,
            2,
        ),
        // `name: value`, `"name": "value"`, `name=value` where the name says it.
        (
            r#"(?i)(["']?[\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?)[\w.-]*["']?[ \t]*[:=][ \t]*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,{}\[\]&;"']+)"#,
            1,
        ),
        // `{key: …}`, as credentials are listed.
        (
            r#"(?i)([{,]\s*["']?key["']?\s*:\s*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,{}\[\]"']+)"#,
            1,
        ),
        // JSON Web Tokens.
        (r"()eyJ[\w-]{8,}\.[\w-]+\.[\w-]*", 1),
        // `scheme://user:password@`.
        (r#"(://[^/\s:@"']*:)[^\s@"']+@"#, 1),
    ];
    let compiled = rules
        .into_iter()
        .filter_map(|(rule, kept)| Some((Regex::new(rule).ok()?, kept)));
    compiled.collect()
});
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?i)(password|passwd|passphrase|secret$|_secret|token$|api_?key$|private_?key$|authorization)";
    // The pattern is a constant that a test compiles.
    Regex::new(pattern).unwrap_or_else(|_| unreachable!("a constant that compiles"))
});
const REDACTED: &str = "[redacted]";
const SHORTEST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        assert_eq!(RULES.len(), 6);
        assert!(SECRET_NAME.is_match("client_secret"));
    }

    #[test]
    fn what_is_no_secret_stays() {
        let redactor = Redactor::default();
        for text in [
            "\"name\": \"outbound|8081||catalogue\"",
            "\"validation_context_sds_secret_config\": {\"name\": \"ROOTCA\"}",
            "spec: {hosts: [a], http: [{timeout: 5s}]}",
            "127.0.0.1:8080 GET /items?id=7 200",
            "  data-ingestion:\n    key: dataset id",
            "spiffe://cluster.local/ns/a/sa/b@c",
        ] {
            assert_eq!(redactor.redact(text), text);
        }
    }

    #[test]
    fn secrets_go_by_name_form_and_value() {
        let mut redactor = Redactor::default();
        redactor.learn("consumers:\n- keyauth_credentials: [{key: hunter22}]\n  jwt_secrets:\n  - key: issuer-a\n    secret: \"s3cr3t-value\"\nservices: []\n");
        for (text, expected) in [
            (
                "GET /x?apikey=hunter22&id=7",
                "GET /x?apikey=[redacted]&id=7",
            ),
            ("GET /hunter22/x", "GET /[redacted]/x"),
            ("authorization: Bearer abc.def", "authorization: [redacted]"),
            (
                "\"Authorization\": \"Basic YWJj\", \"x\": 1",
                "\"Authorization\": \"[redacted]\", \"x\": 1",
            ),
            ("password = 'a b c'", "password = [redacted]"),
            (
                "\"client_secret\": \"x\\\"y\", \"a\": 1",
                "\"client_secret\": [redacted], \"a\": 1",
            ),
            (
                "redis://default:pw@127.0.0.1",
                "redis://default:[redacted]127.0.0.1",
            ),
            ("t eyJhbGciOiJI.eyJzdWIi.sig end", "t [redacted] end"),
            ("iss issuer-a", "iss [redacted]"),
            (
                "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----\nrest",
                "[redacted]\nrest",
            ),
            ("[{key: short}]", "[{key: [redacted]}]"),
        ] {
            assert_eq!(redactor.redact(text), expected, "{text}");
        }
    }
}
