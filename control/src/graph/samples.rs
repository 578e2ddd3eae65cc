//! Samples of Istio's metrics: Prometheus' text format read, two scrapes subtracted.

use std::collections::HashMap;

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric, of a histogram with `_bucket`.
    pub name: String,
    /// Labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// Value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty without it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Reads the series of the text format whose names begin with `istio_`; of histograms the buckets only. What does not read is no
/// sample: a scraper must not fall over one odd line.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    parse_named(text, "istio_")
}

/// The same for other names.
#[must_use]
pub fn parse_named(text: &str, prefix: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| line.starts_with(prefix))
        .filter_map(sample)
        .collect()
}

/// What was added between two scrapes of one process. A counter that fell was begun anew: then all of it was added (as Prometheus'
/// `increase` has it). Series that did not move are left out.
#[must_use]
pub fn increase(before: &[Sample], after: &[Sample]) -> Vec<Sample> {
    let known: HashMap<(&str, &[(String, String)]), f64> = before
        .iter()
        .map(|sample| ((sample.name.as_str(), &*sample.labels), sample.value))
        .collect();
    let added = after.iter().filter_map(|sample| {
        let old = known
            .get(&(sample.name.as_str(), &*sample.labels))
            .copied()
            .filter(|old| *old <= sample.value)
            .unwrap_or(0.0);
        let value = sample.value - old;
        (value > 0.0).then(|| Sample {
            value,
            ..sample.clone()
        })
    });
    added.collect()
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    if name.ends_with("_sum") || name.ends_with("_count") {
        return None;
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((key.trim().to_owned(), value));
            rest = after.trim_start_matches([',', ' ']);
        }
        rest = &rest[1..];
    }
    labels.sort();
    // A timestamp may follow.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// What stands before the closing quote, and what behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_format() {
        let text = "# TYPE istio_requests_total counter\n\
            istio_requests_total{reporter=\"source\",response_flags=\"-\",path=\"a\\\"b\\\\c\\nd\"} 5\n\
            istio_requests_total 7 1700000000\n\
            istio_request_duration_milliseconds_sum{} 9\n\
            istio_request_duration_milliseconds_bucket{le=\"+Inf\", x=\"\"} 3\n\
            envoy_server_live 1\n\
            istio_broken{a=\"b} 1\nistio_broken{a=\"b\"} x\nistio_broken{\nistio_broken\n";
        let samples = parse(text);
        assert_eq!(samples.len(), 3, "{samples:?}");
        assert_eq!(samples[0].label("path"), "a\"b\\c\nd");
        assert_eq!(samples[0].label("none"), "");
        assert_eq!((samples[1].labels.len(), samples[1].value), (0, 7.0));
        assert_eq!(samples[2].label("le"), "+Inf");
    }

    #[test]
    fn what_was_added_between_two_scrapes() {
        let scrape = |a: f64, b: f64| {
            parse(&format!(
                "istio_requests_total{{x=\"a\"}} {a}\nistio_requests_total{{x=\"b\"}} {b}\nistio_requests_total{{x=\"c\"}} 1\n"
            ))
        };
        let mut before = scrape(10.0, 20.0);
        before.truncate(2);
        let added = increase(&before, &scrape(15.0, 20.0));
        let values: Vec<(&str, f64)> = added
            .iter()
            .map(|sample| (sample.label("x"), sample.value))
            .collect();
        assert_eq!(values, [("a", 5.0), ("c", 1.0)]);
        // Begun anew.
        let added = increase(&before, &scrape(3.0, 21.0));
        assert_eq!((added[0].value, added[1].value), (3.0, 1.0));
    }
}
