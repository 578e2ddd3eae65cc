//! rate-limiting: so many requests of one identity a second, minute, hour, day, month or year.
//!
//! Policy `local` counts on this node, exactly: a request is counted while it is let through, so that a burst over several
//! connections and workers passes as many as the limit says (Kong counts afterwards and lets more through). Policy `cluster` is
//! the same where the node's own store is the database, as that is one node's; what needs a Redis, or a database that a
//! DB-less node has not, is refused: counting alone would be another limit than the configured one.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use self::counters::{Counters, Identity, Kind, Limit, Scope, Usage};
use self::window::Period;
use crate::plugin::{Call, Exit, Flow, Plugin, Refusal, Setup};
use crate::store::Announced;
use crate::value::number_text;

pub mod counters;
mod window;

#[derive(Debug)]
pub struct RateLimiting {
    counters: Arc<Counters>,
    scope: Scope,
    limits: Box<[Limit]>,
    /// The limits as they are told to clients, in the same order.
    told: Box<[HeaderValue]>,
    by: By,
    hides_headers: bool,
    status: StatusCode,
    message: Arc<str>,
}

/// Who is counted together. Requests without that are counted by address.
#[derive(Debug)]
enum By {
    Consumer,
    Credential,
    Ip,
    Service,
    Header(HeaderName),
    Path(Box<str>),
}

#[derive(Debug, Deserialize)]
pub struct Config {
    second: Option<f64>,
    minute: Option<f64>,
    hour: Option<f64>,
    day: Option<f64>,
    month: Option<f64>,
    year: Option<f64>,
    limit_by: Box<str>,
    header_name: Option<Box<str>>,
    path: Option<Box<str>>,
    policy: Policy,
    hide_client_headers: bool,
    error_code: f64,
    error_message: Arc<str>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Policy {
    Local,
    Cluster,
    Redis,
}

impl Plugin for RateLimiting {
    type Config = Config;
    type Shared = Counters;
    type State = ();

    /// Policy `redis` is refused, and no other asks one.
    const UNREAD: &'static [&'static str] = &["redis"];

    fn new(config: Config, setup: &Setup<'_, Counters>) -> Result<Self, Refusal> {
        match config.policy {
            Policy::Local => {}
            Policy::Cluster if setup.node.store.announced() == Announced::Off => {
                let problem = "cluster counts in a database, and the node has none";
                return Err(Refusal::new("policy", problem));
            }
            Policy::Cluster => {}
            Policy::Redis => {
                let problem =
                    "redis is not spoken here: limiting on this node alone would be another limit";
                return Err(Refusal::new("policy", problem));
            }
        }
        let limits = [
            (Period::Second, config.second),
            (Period::Minute, config.minute),
            (Period::Hour, config.hour),
            (Period::Day, config.day),
            (Period::Month, config.month),
            (Period::Year, config.year),
        ];
        let limits = limits
            .into_iter()
            .filter_map(|(period, most)| most.map(|most| Limit { period, most }));
        let limits: Box<[_]> = limits.collect();
        let told = limits
            .iter()
            .map(|limit| HeaderValue::from_str(&number_text(limit.most)));
        let told = told
            .collect::<Result<_, _>>()
            .map_err(|error| Refusal::new("limits", error))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what is no status is refused next"
        )]
        let status = StatusCode::from_u16(config.error_code as u16);
        Ok(Self {
            counters: setup.shared.clone(),
            scope: setup
                .shared
                .scope(setup.scope.route.as_deref(), setup.scope.service.as_deref()),
            limits,
            told,
            by: By::read(&config.limit_by, config.header_name, config.path)?,
            hides_headers: config.hide_client_headers,
            status: status.map_err(|error| Refusal::new("error_code", error))?,
            message: config.error_message,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        let mut address = [0; 16];
        let path;
        let identity = match &self.by {
            By::Consumer => {
                let context = &call.exchange_ref().context;
                let consumer = context.consumer.as_ref().map(|known| &*known.id);
                let credential = context.credential.as_ref().map(|known| &*known.id);
                consumer
                    .map(|id| Identity::new(Kind::Consumer, id))
                    .or_else(|| credential.map(|id| Identity::new(Kind::Credential, id)))
            }
            By::Credential => {
                let credential = call.exchange_ref().context.credential.as_ref();
                credential.map(|known| Identity::new(Kind::Credential, &known.id))
            }
            By::Ip => None,
            By::Service => {
                let service = call.service();
                service.map(|service| Identity::new(Kind::Service, &service.id))
            }
            By::Header(name) => {
                let value = call.exchange_ref().request.headers.get(name);
                value.map(|value| Identity::of(Kind::Header, value.as_bytes()))
            }
            By::Path(wanted) => {
                path = call.request().path();
                (path == **wanted).then(|| Identity::new(Kind::Path, wanted))
            }
        };
        let identity = identity.unwrap_or_else(|| {
            let client = call.exchange_ref().context.arrival.client;
            Identity::of(Kind::Address, octets(client, &mut address))
        });
        let usage = self.counters.take(self.scope, identity, &self.limits, now);
        let reset = (!self.hides_headers).then(|| self.tell(call, &usage, now));
        if !usage.exceeded {
            return Ok(());
        }
        let exit = Exit::error(self.status, self.message.to_string());
        Err(match reset {
            Some(reset) => exit.header(header::RETRY_AFTER, reset),
            None => exit,
        })
    }
}

impl RateLimiting {
    /// Tells the client what is left; the seconds until the tightest of the windows is over.
    fn tell(&self, call: &mut Call<'_, ()>, usage: &Usage, now: u64) -> HeaderValue {
        let mut tightest: Option<(f64, Period, HeaderValue, &HeaderValue)> = None;
        let mut response = call.response();
        for ((limit, told), left) in self.limits.iter().zip(&self.told).zip(&usage.left) {
            let (period, left) = (limit.period, left.max(0.0));
            let value = number(left);
            let names = &NAMES[period as usize];
            response.set_header(names.limit.clone(), told.clone());
            response.set_header(names.remaining.clone(), value.clone());
            // Of equally tight ones the longest, and that is the later one.
            if tightest.as_ref().is_none_or(|(least, ..)| left <= *least) {
                tightest = Some((left, period, value, told));
            }
        }
        let Some((_, period, left, limit)) = tightest else {
            return HeaderValue::from_static("1");
        };
        let reset = number_of(period.reset(now));
        response.set_header(RATELIMIT_LIMIT, limit.clone());
        response.set_header(RATELIMIT_REMAINING, left);
        response.set_header(RATELIMIT_RESET, reset.clone());
        reset
    }
}

impl By {
    fn read(name: &str, header: Option<Box<str>>, path: Option<Box<str>>) -> Result<Self, Refusal> {
        Ok(match name {
            "consumer" => Self::Consumer,
            "credential" => Self::Credential,
            "ip" => Self::Ip,
            "service" => Self::Service,
            "header" => {
                let header = header.unwrap_or_default().to_ascii_lowercase();
                let header = HeaderName::from_bytes(header.as_bytes());
                Self::Header(header.map_err(|error| Refusal::new("header_name", error))?)
            }
            "path" => Self::Path(path.unwrap_or_default()),
            _ => return Err(Refusal::new("limit_by", "is nothing to limit by")),
        })
    }
}

fn octets(address: IpAddr, into: &mut [u8; 16]) -> &[u8] {
    match address {
        IpAddr::V4(address) => {
            into[..4].copy_from_slice(&address.octets());
            &into[..4]
        }
        IpAddr::V6(address) => {
            *into = address.octets();
            into
        }
    }
}

/// The header fields of one period.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
}

const fn names(limit: &'static str, remaining: &'static str) -> Names {
    Names {
        limit: HeaderName::from_static(limit),
        remaining: HeaderName::from_static(remaining),
    }
}

/// By period.
static NAMES: [Names; 6] = [
    names("x-ratelimit-limit-second", "x-ratelimit-remaining-second"),
    names("x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"),
    names("x-ratelimit-limit-hour", "x-ratelimit-remaining-hour"),
    names("x-ratelimit-limit-day", "x-ratelimit-remaining-day"),
    names("x-ratelimit-limit-month", "x-ratelimit-remaining-month"),
    names("x-ratelimit-limit-year", "x-ratelimit-remaining-year"),
];
const RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RATELIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// A number as Lua writes it.
fn number(value: f64) -> HeaderValue {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what does not come out the same is written in full"
    )]
    let whole = value as u64;
    #[expect(
        clippy::cast_precision_loss,
        reason = "compared with what it came from"
    )]
    let same = whole as f64 == value;
    if same && whole < SMALL {
        return number_of(whole);
    }
    // Digits are a header value.
    HeaderValue::from_str(&number_text(value)).unwrap_or(HeaderValue::from_static("0"))
}

fn number_of(value: u64) -> HeaderValue {
    let small = usize::try_from(value)
        .ok()
        .and_then(|index| SMALL_NUMBERS.get(index));
    small.cloned().unwrap_or_else(|| HeaderValue::from(value))
}

/// Numbers below this are written once.
const SMALL: u64 = 1024;

/// Small numbers as header values. Their digits are leaked, once a process: static text is cloned without a count.
static SMALL_NUMBERS: LazyLock<Box<[HeaderValue]>> = LazyLock::new(|| {
    let mut digits = String::new();
    let ends: Vec<_> = (0..SMALL)
        .map(|number| {
            digits.push_str(itoa::Buffer::new().format(number));
            digits.len()
        })
        .collect();
    let digits: &'static str = Box::leak(digits.into_boxed_str());
    let mut start = 0;
    let one = |end| {
        let value = HeaderValue::from_static(&digits[start..end]);
        start = end;
        value
    };
    ends.into_iter().map(one).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_lua_does() {
        for (value, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (1023.0, "1023"),
            (1024.0, "1024"),
            (0.5, "0.5"),
            (1e6, "1000000"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
