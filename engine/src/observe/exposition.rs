//! Prometheus' text format.

use std::fmt::{Display, Write};

/// A page of metrics that is being written.
#[derive(Clone, Debug, Default)]
pub struct Exposition(String);

/// A label: name and value.
pub type Label<'a> = (&'a str, &'a str);

impl Exposition {
    /// An empty page with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// Begins a metric; `kind` is `counter`, `gauge` or `histogram`.
    pub fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a String cannot fail, here and below.
        _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample.
    pub fn line(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            escape(value, &mut self.0);
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        _ = writeln!(self.0, " {value}");
    }

    /// A metric of one sample.
    pub fn single(&mut self, name: &str, help: &str, kind: &str, value: impl Display) {
        self.head(name, help, kind);
        self.line(name, &[], value);
    }

    /// What somebody else words: whole metrics, each with its head.
    pub fn append(&mut self, write: impl FnOnce(&mut String)) {
        write(&mut self.0);
    }

    /// The page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

fn escape(value: &str, out: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = Exposition::default();
        page.head("a_total", "Things.", "counter");
        page.line("a_total", &[("x", "1"), ("y", "\"\\\n")], 3);
        page.single("b", "A thing.", "gauge", 0.5);
        page.append(|text| text.push_str("c 1\n"));
        assert_eq!(
            page.into_text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\"\\\\\\n\"} 3\n\
             # HELP b A thing.\n# TYPE b gauge\nb 0.5\nc 1\n"
        );
    }
}
