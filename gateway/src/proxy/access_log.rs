//! One line a request, in nginx's combined format with Kong's id behind it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use carbyne_engine::forward::{Answer, Downstream};
use carbyne_engine::net::address::IpText;
use carbyne_engine::observe::log::LogFile;
use carbyne_events::envelope::Date;
use http::{Version, header};

use super::context::{Exchange, RequestId};

/// Where lines go.
#[derive(Clone, Debug)]
pub struct AccessLog {
    file: LogFile,
}

impl AccessLog {
    pub const fn new(file: LogFile) -> Self {
        Self { file }
    }

    /// Writes a request that is over.
    pub(super) fn write(&self, exchange: &Exchange) {
        let context = &exchange.context;
        let fields = &exchange.request.headers;
        let response = exchange.response.as_ref();
        let mut line = begin(context.arrival.client);
        line.extend_from_slice(context.original.method.as_str().as_bytes());
        line.push(b' ');
        escape(&context.original.path, &mut line);
        line.extend_from_slice(match exchange.request.version {
            Version::HTTP_2 => b" HTTP/2.0\" ",
            Version::HTTP_10 => b" HTTP/1.0\" ",
            _ => b" HTTP/1.1\" ",
        });
        // nginx's word for a client that left.
        let status = response.map_or(499, |response| response.status.as_u16());
        number(status.into(), &mut line);
        line.push(b' ');
        number(exchange.counts.sent, &mut line);
        for name in [&header::REFERER, &header::USER_AGENT] {
            line.extend_from_slice(b" \"");
            match fields.get(name) {
                Some(value) => escape(value.as_bytes(), &mut line),
                None => line.push(b'-'),
            }
            line.push(b'"');
        }
        self.end(line, context.id);
    }

    /// Writes what was no request.
    pub(super) fn refused(&self, downstream: &Downstream, answer: &Answer, id: RequestId) {
        let client = downstream.remote.socket().map(|socket| socket.ip());
        let mut line = begin(client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        line.extend_from_slice(b"-\" ");
        number(answer.response.status.as_u16().into(), &mut line);
        line.push(b' ');
        number(answer.body.len() as u64, &mut line);
        line.extend_from_slice(b" \"-\" \"-\"");
        self.end(line, id);
    }

    fn end(&self, mut line: Vec<u8>, id: RequestId) {
        line.extend_from_slice(b" kong_request_id: \"");
        line.extend_from_slice(id.as_str().as_bytes());
        line.extend_from_slice(b"\"\n");
        self.file.append(&line);
    }
}

fn begin(client: IpAddr) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    line.extend_from_slice(IpText::of(client).as_bytes());
    line.extend_from_slice(b" - - [");
    local_time(SystemTime::now(), &mut line);
    line.extend_from_slice(b"] \"");
    line
}

fn number(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// As nginx escapes: quotes, backslashes, control bytes and everything beyond ASCII.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    for byte in text {
        if matches!(byte, b'"' | b'\\' | 0..=31 | 127..) {
            // Writing to memory cannot fail.
            drop(write!(line, "\\x{byte:02X}"));
        } else {
            line.push(*byte);
        }
    }
}

/// `27/Nov/2026:06:54:14 +0000`.
fn local_time(time: SystemTime, line: &mut Vec<u8>) {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, second) = (seconds / 86400, seconds % 86400);
    let Date {
        year, month, day, ..
    } = Date::of(days);
    let name = usize::try_from(month - 1)
        .ok()
        .and_then(|month| MONTHS.get(month));
    // Writing to memory cannot fail.
    drop(write!(
        line,
        "{day:02}/{}/{year}:{:02}:{:02}:{:02} +0000",
        name.unwrap_or(&"Jan"),
        second / 3600,
        second / 60 % 60,
        second % 60
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, text) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (951_782_399, "28/Feb/2000:23:59:59 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (1_795_762_454, "27/Nov/2026:06:54:14 +0000"),
        ] {
            let mut line = Vec::new();
            local_time(
                UNIX_EPOCH + std::time::Duration::from_secs(seconds),
                &mut line,
            );
            assert_eq!(String::from_utf8(line).unwrap(), text);
        }
    }

    #[test]
    fn lines_hold_no_line_of_a_client() {
        let mut line = Vec::new();
        escape(b"a\"b\\c\nd\xe9", &mut line);
        assert_eq!(line, b"a\\x22b\\x5Cc\\x0Ad\\xE9");
    }
}
