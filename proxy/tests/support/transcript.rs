//! What one exchange showed, as lines. Two proxies did the same when the lines are the same.

use serde_json::Value;

use super::http1::{End, Response};
use super::http2::{Answer, Failure, code_name};
use super::upstream::Seen;

/// Lines in the order in which things are looked at, not in which they happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    pub lines: Vec<String>,
}

impl Transcript {
    pub fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// A response, or why there is none.
    pub fn response(&mut self, response: &Result<Response, End>) {
        match response {
            Err(end) => self.line(format!("no response: {end}")),
            Ok(response) => {
                for status in &response.interim {
                    self.line(format!("interim {status}"));
                }
                self.line(format!(
                    "status {} {} {}",
                    response.status, response.reason, response.version
                ));
                self.headers("header", &response.headers);
                self.line(format!(
                    "body {:?}",
                    String::from_utf8_lossy(&response.body)
                ));
                self.headers("trailer", &response.trailers);
            }
        }
    }

    /// The same of HTTP/2.
    pub fn answer(&mut self, answer: &Result<Answer, Failure>) {
        match answer {
            Err(Failure::Reset(code)) => {
                self.line(format!("no response: RST_STREAM {}", code_name(*code)))
            }
            Err(Failure::GoAway(code)) => {
                self.line(format!("no response: GOAWAY {}", code_name(*code)))
            }
            Err(Failure::End(end)) => self.line(format!("no response: {end}")),
            Ok(answer) => {
                for status in &answer.interim {
                    self.line(format!("interim {status}"));
                }
                self.line(format!("status {} HTTP/2", answer.status));
                self.headers("header", &answer.headers);
                self.line(format!("body {:?}", String::from_utf8_lossy(&answer.body)));
                self.headers("trailer", &answer.trailers);
            }
        }
    }

    /// What reached an upstream.
    pub fn seen(&mut self, seen: &Seen) {
        let name = &seen.endpoint;
        self.line(format!("upstream {name}: {}", seen.line));
        if let Some(tls) = &seen.tls {
            self.line(format!("upstream {name} tls: {tls}"));
        }
        self.headers(&format!("upstream {name} header"), &seen.headers);
        let cut = if seen.cut { " (cut)" } else { "" };
        self.line(format!(
            "upstream {name} body {:?}{cut}",
            String::from_utf8_lossy(&seen.body)
        ));
        self.headers(&format!("upstream {name} trailer"), &seen.trailers);
    }

    /// One line of the access log. Keys of JSON are put in order: both proxies sort them, each its way.
    pub fn log(&mut self, line: &str) {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(fields)) => {
                for (name, value) in fields {
                    self.line(format!("log {name} {value}"));
                }
            }
            _ => self.line(format!("log text {line}")),
        }
    }

    /// Headers by name; values of one name stay in their order.
    pub fn headers(&mut self, prefix: &str, headers: &[(String, String)]) {
        let mut sorted: Vec<_> = headers.iter().collect();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        for (name, value) in sorted {
            self.line(format!("{prefix} {name}: {}", steady(name, value)));
        }
    }

    /// The same with every occurrence of a text replaced, such as the address of the proxy.
    pub fn replaced(&self, text: &str, by: &str) -> Self {
        Self {
            lines: self
                .lines
                .iter()
                .map(|line| line.replace(text, by))
                .collect(),
        }
    }

    /// Is there a line that begins so? `*` stands for any text.
    pub fn shows(&self, expected: &str) -> bool {
        self.lines.iter().any(|line| begins(line, expected))
    }

    /// The lines that differ, ours and theirs; empty when nothing does.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut missing = other.lines.clone();
        let mut found = Vec::new();
        for line in &self.lines {
            match missing.iter().position(|candidate| candidate == line) {
                Some(at) => drop(missing.remove(at)),
                None => found.push(format!("+ {line}")),
            }
        }
        found.extend(missing.into_iter().map(|line| format!("- {line}")));
        found
    }
}

/// Values that are another each time, without what is another.
fn steady(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match name.as_str() {
        "date" => "(date)".to_owned(),
        "x-request-id" if is_uuid(value) => "(uuid)".to_owned(),
        // W3C Trace Context: version, trace, span, flags.
        "traceparent" if value.len() == 55 => "(trace)".to_owned(),
        "x-envoy-upstream-service-time" if digits => "(milliseconds)".to_owned(),
        // What is left of the time of all tries: less than at the beginning, by little.
        "x-envoy-expected-rq-timeout-ms" if digits => value.parse::<u64>().map_or_else(
            |_| value.to_owned(),
            |left| {
                let step = if left > 1000 { 1000 } else { 50 };
                (left.div_ceil(step) * step).to_string()
            },
        ),
        _ => value.to_owned(),
    }
}

fn is_uuid(value: &str) -> bool {
    value.len() == 36
        && value.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn begins(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('*');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}
