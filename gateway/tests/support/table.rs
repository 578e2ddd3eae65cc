//! Tables of cases: requests, and what has to come of them.

use super::Gateway;
use super::message::{Ask, Message};
use super::upstream::Upstream;

/// One row of a table: a request, and what has to come of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    pub(crate) status: u16,
    /// Fields of the answer: a value, `None` where there must be none. `"*"` is any value.
    pub(crate) headers: &'static [(&'static str, Option<&'static str>)],
    pub(crate) body: Body,
    /// What the upstream saw; nothing where it must not have seen the request.
    pub(crate) seen: Option<Seen>,
}

/// What the body of an answer must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Any,
    Is(&'static str),
    Holds(&'static str),
    /// An error in Kong's template: its `message`.
    Error(&'static str),
}

/// What an upstream must have seen of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Method and target; nothing where it does not matter.
    pub(crate) line: Option<&'static str>,
    /// As those of an answer.
    pub(crate) headers: &'static [(&'static str, Option<&'static str>)],
    pub(crate) body: Option<&'static str>,
}

/// The upstream saw it, however it looked.
pub(crate) const SEEN: Seen = Seen {
    line: None,
    headers: &[],
    body: None,
};

/// Runs a table: every case against a gateway that serves `yaml`, in which `{upstream}` stands for the upstream's URL.
pub(crate) fn run(table: &str, yaml: &str, cases: &[Case]) {
    let upstream = Upstream::start();
    run_with(table, yaml, &upstream, cases);
}

/// The same with an upstream of the test's own.
pub(crate) fn run_with(table: &str, yaml: &str, upstream: &Upstream, cases: &[Case]) {
    let gateway = Gateway::declarative(&yaml.replace("{upstream}", &upstream.url()));
    let mut failed = Vec::new();
    for case in cases {
        let answer = gateway.send(&case.ask);
        let seen = upstream.seen();
        failed.extend(case.problems(&answer, &seen).into_iter().map(|problem| {
            format!(
                "{}: {problem}\n  answer: {answer:?}\n  seen: {seen:?}",
                case.name
            )
        }));
    }
    assert!(
        failed.is_empty(),
        "{table}:\n{}\n{}",
        failed.join("\n"),
        gateway.log()
    );
    crate::cases::report(table, cases.len(), cases.len());
}

impl Case {
    fn problems(&self, answer: &Message, seen: &[Message]) -> Vec<String> {
        let mut problems = Vec::new();
        if answer.status() != self.status {
            problems.push(format!(
                "status {} instead of {}",
                answer.status(),
                self.status
            ));
        }
        compare(answer, self.headers, "answer", &mut problems);
        let text = answer.text();
        match self.body {
            Body::Any => {}
            Body::Is(wanted) if text == wanted => {}
            Body::Holds(part) if text.contains(part) => {}
            Body::Error(message)
                if serde_json::from_str::<serde_json::Value>(&text)
                    .is_ok_and(|body| body["message"] == message) => {}
            wanted => problems.push(format!("body {text:?} is not {wanted:?}")),
        }
        match (&self.seen, seen) {
            (None, []) => {}
            (Some(wanted), [request]) => {
                if let Some(line) = wanted.line
                    && request.asked() != line
                {
                    problems.push(format!(
                        "upstream: {:?} instead of {line:?}",
                        request.asked()
                    ));
                }
                compare(request, wanted.headers, "upstream", &mut problems);
                if let Some(body) = wanted.body
                    && request.text() != body
                {
                    problems.push(format!(
                        "upstream: body {:?} instead of {body:?}",
                        request.text()
                    ));
                }
            }
            (wanted, seen) => {
                problems.push(format!("upstream saw {} requests: {wanted:?}", seen.len()))
            }
        }
        problems
    }
}

fn compare(
    message: &Message,
    wanted: &[(&'static str, Option<&'static str>)],
    whose: &str,
    problems: &mut Vec<String>,
) {
    for (name, value) in wanted {
        let found = message.header(name);
        let same = match value {
            Some("*") => found.is_some(),
            value => found == *value,
        };
        if !same {
            problems.push(format!("{whose}: {name} is {found:?} instead of {value:?}"));
        }
    }
}
