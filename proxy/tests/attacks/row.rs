//! A row: what is sent, what may come back, what must not reach the upstream.

use std::fmt;
use std::time::Duration;

use crate::support::http1::Response;
use crate::support::upstream::{Act, Seen};
use crate::support::upstream2::Act as Act2;

/// Which protocol comes in and which goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    OneToOne,
    OneToTwo,
    TwoToOne,
    TwoToTwo,
}

impl Pair {
    pub const ALL: [Self; 4] = [
        Self::OneToOne,
        Self::OneToTwo,
        Self::TwoToOne,
        Self::TwoToTwo,
    ];

    pub fn speaks_http2(self) -> bool {
        matches!(self, Self::TwoToOne | Self::TwoToTwo)
    }

    pub fn reaches_http2(self) -> bool {
        matches!(self, Self::OneToTwo | Self::TwoToTwo)
    }

    pub fn number(self) -> u16 {
        Self::ALL.iter().position(|pair| *pair == self).unwrap() as u16
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OneToOne => "HTTP/1 → HTTP/1",
            Self::OneToTwo => "HTTP/1 → HTTP/2",
            Self::TwoToOne => "HTTP/2 → HTTP/1",
            Self::TwoToTwo => "HTTP/2 → HTTP/2",
        })
    }
}

/// What goes over the connection.
///
/// `/x` in it becomes another letter for each row, so that a request which comes late is not taken for one
/// of the next row.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Bytes as they are.
    Bytes(Vec<u8>),
    /// Bytes, and then nothing: how long may a peer take?
    Stalled(Vec<u8>),
    /// Bytes behind the preface and these settings; the stream whose end is looked at.
    Frames {
        settings: Vec<(u16, u32)>,
        bytes: Vec<u8>,
        stream: u32,
    },
    /// Frames on stream 1, then nothing more: no frame is answered and no window opened.
    StalledFrames {
        settings: Vec<(u16, u32)>,
        bytes: Vec<u8>,
    },
    /// Bytes without a preface.
    Preface(Vec<u8>),
    /// A good request; the upstream does this.
    Answered(Vec<Act>),
    Answered2(Vec<Act2>),
}

/// What may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// An error, a reset or a close, and nothing whole at the upstream.
    Refused,
    /// That, or an answer to what was left when all harm was taken out.
    Harmless,
    /// A close or GOAWAY: the connection must not go on.
    Ended,
    /// Not held for longer than the limit: an error, a reset or a close.
    GivenUp,
    /// A good answer: the other rows prove nothing where this one fails.
    Served,
    /// The client gets an error or a broken answer, not a good one.
    Failed,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub family: &'static str,
    pub name: String,
    pub sent: Sent,
    pub accept: Accept,
    /// Texts that must not be at the upstream, in a request line, a header or a body.
    pub forbidden: Vec<&'static str>,
}

/// What one peer did with a row.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub end: End,
    /// Statuses that came before the answer to the probe.
    pub statuses: Vec<u16>,
    /// What reached the upstream, without the probe.
    pub seen: Vec<Seen>,
    /// What is wrong with what the client got, if anything.
    pub answer_fault: Option<String>,
    /// The request behind it, on the same connection, was answered.
    pub goes_on: bool,
}

/// How the connection, or the stream, ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The next request on the connection was answered.
    #[default]
    Open,
    Closed,
    Silent,
    Reset(String),
    GoAway(String),
    /// An answer that is none.
    Broken,
    /// The program ended.
    Crash,
}

/// What a cell of the matrix says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Not what the row asks for, and no harm at this upstream.
    Lenient(String),
    /// What must not be.
    Bad(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.statuses.iter().map(u16::to_string).collect();
        match &self.end {
            End::Open if words.is_empty() => words.push("ignored".into()),
            End::Open => {}
            End::Closed if words.is_empty() => words.push("close".into()),
            // An error that ends the connection, too, is the rule of HTTP/1.
            End::Closed => {}
            End::Silent if self.goes_on => words.push("goes on".into()),
            End::Silent => words.push("waits".into()),
            End::Reset(code) => words.push(format!("RST {code}")),
            End::GoAway(code) => words.push(format!("GOAWAY {code}")),
            End::Broken => words.push("cut".into()),
            End::Crash => words.push("crash".into()),
        }
        formatter.write_str(&words.join(", "))
    }
}

impl Row {
    /// Names are said once a family.
    pub fn title(&self) -> String {
        format!("{}: {}", self.family, self.name)
    }

    pub fn judge(&self, outcome: &Outcome) -> Verdict {
        if let Some(fault) = outcome
            .seen
            .iter()
            .find_map(|seen| harmful(seen, &self.forbidden))
        {
            return Verdict::Bad(fault);
        }
        if let Some(fault) = &outcome.answer_fault {
            return Verdict::Bad(fault.clone());
        }
        let ended = matches!(outcome.end, End::Closed | End::GoAway(_));
        let stopped = ended || matches!(outcome.end, End::Reset(_) | End::Broken);
        let errors =
            !outcome.statuses.is_empty() && outcome.statuses.iter().all(|status| *status >= 400);
        let refused = errors || outcome.statuses.is_empty() && stopped;
        let silent = outcome.end == End::Silent && outcome.statuses.is_empty();
        let whole = outcome.seen.iter().find(|seen| !seen.cut);
        let lenient = |text: &str| Verdict::Lenient(text.to_owned());
        match self.accept {
            Accept::Refused if !refused => lenient("was not refused"),
            Accept::Refused => whole.map_or(Verdict::Good, |seen| {
                lenient(&format!("reached the upstream as {:?}", seen.line))
            }),
            Accept::Harmless if silent => lenient("no answer"),
            Accept::Ended if !ended => lenient("the connection went on"),
            Accept::GivenUp if !(stopped || errors) => {
                Verdict::Bad("the connection is held".to_owned())
            }
            Accept::Served if outcome.statuses.first() != Some(&200) => {
                Verdict::Bad("was not served".to_owned())
            }
            Accept::Failed if !(refused || stopped) => {
                lenient("a bad answer was passed on as a good one")
            }
            _ => Verdict::Good,
        }
    }
}

/// What of a request at the upstream can be read in two ways, or should not be there.
fn harmful(seen: &Seen, forbidden: &[&str]) -> Option<String> {
    let all = || {
        std::iter::once(seen.line.as_str()).chain(
            seen.headers
                .iter()
                .chain(&seen.trailers)
                .flat_map(|(name, value)| [name.as_str(), value.as_str()]),
        )
    };
    let count = |name: &str| {
        seen.headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .count()
    };
    let body = String::from_utf8_lossy(&seen.body);
    if let Some(text) = forbidden
        .iter()
        .find(|text| all().any(|part| part.contains(**text)) || body.contains(**text))
    {
        return Some(format!("{text:?} reached the upstream"));
    }
    if seen.line.contains("smuggled") {
        return Some("a smuggled request reached the upstream".into());
    }
    if all().any(|part| part.contains(['\r', '\n', '\0'])) {
        return Some("a control character reached the upstream".into());
    }
    if count("content-length") > 1 {
        return Some("several lengths reached the upstream".into());
    }
    if seen
        .header("content-length")
        .is_some_and(|value| value.parse::<i64>().is_err() || value.starts_with(['+', '-']))
    {
        return Some("an odd length reached the upstream".into());
    }
    if count("host") > 1 || count("host") + count(":authority") > 1 {
        return Some("several hosts reached the upstream".into());
    }
    let is_two = seen.line.ends_with("HTTP/2");
    if is_two {
        let hop = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
        ];
        if let Some(name) = hop.iter().find(|name| count(name) > 0) {
            return Some(format!("{name} reached the upstream over HTTP/2"));
        }
    } else {
        if count("transfer-encoding") > 0 && count("content-length") > 0 {
            return Some("both framings reached the upstream".into());
        }
        let odd = seen.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && !value.eq_ignore_ascii_case("chunked")
        });
        if odd || count("transfer-encoding") > 1 {
            return Some("an odd transfer-encoding reached the upstream".into());
        }
        if seen.line.split(' ').count() != 3 {
            return Some(format!(
                "the request line {:?} reached the upstream",
                seen.line
            ));
        }
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if let Some((name, _)) = seen.headers.iter().find(|(name, _)| {
        let name = name.strip_prefix(':').filter(|_| is_two).unwrap_or(name);
        name.is_empty() || !name.bytes().all(token)
    }) {
        return Some(format!("the name {name:?} reached the upstream"));
    }
    None
}

/// What is wrong with a response that a client got.
pub fn response_fault(response: &Response) -> Option<String> {
    let count = |name: &str| {
        response
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .count()
    };
    if count("content-length") > 1 {
        return Some("several lengths reached the client".into());
    }
    if count("content-length") > 0 && count("transfer-encoding") > 0 {
        return Some("both framings reached the client".into());
    }
    let odd = |text: &str| text.contains(['\r', '\n', '\0']);
    if response
        .headers
        .iter()
        .any(|(name, value)| odd(name) || odd(value))
    {
        return Some("a control character reached the client".into());
    }
    None
}

/// How long a peer may be silent before a row counts as unanswered.
pub const SILENCE: Duration = Duration::from_millis(400);

/// How long a stalled peer may hold a connection: every peer is told to give up after one second.
pub const STALL: Duration = Duration::from_millis(3500);
