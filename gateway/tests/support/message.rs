//! What goes over a connection: requests to be sent, and messages as they came.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

/// A message: a request or a response, with lower-case names in the order in which they came.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Message {
    /// The request line or status line.
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Message")
            .field("line", &self.line)
            .field("headers", &self.headers)
            .field("body", &self.text())
            .finish()
    }
}

impl Message {
    /// The first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        let status = self.line.split(' ').nth(1).unwrap_or_default();
        status
            .parse()
            .unwrap_or_else(|_| panic!("no status line: {:?}", self.line))
    }

    /// Method and target of a request.
    pub(crate) fn asked(&self) -> &str {
        self.line
            .strip_suffix(" HTTP/1.1")
            .or_else(|| self.line.strip_suffix(" HTTP/1.0"))
            .unwrap_or(&self.line)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// Reads one message; nothing where the peer closed before it.
    pub(super) fn read(stream: &mut BufReader<TcpStream>, bodyless: bool) -> Option<Self> {
        let mut message = Self::default();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            if message.line.is_empty() {
                line.clone_into(&mut message.line);
            } else if line.is_empty() {
                break;
            } else {
                let (name, value) = line.split_once(':')?;
                let value = value.trim().to_owned();
                message.headers.push((name.to_ascii_lowercase(), value));
            }
        }
        if !bodyless {
            message.read_body(stream)?;
        }
        Some(message)
    }

    fn read_body(&mut self, stream: &mut BufReader<TcpStream>) -> Option<()> {
        let is_response = self.line.starts_with("HTTP/");
        if is_response && matches!(self.status(), 100..=199 | 204 | 304) {
            return Some(());
        }
        if self.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut size = String::new();
                stream.read_line(&mut size).ok()?;
                let size = usize::from_str_radix(size.trim(), 16).ok()?;
                let mut chunk = vec![0; size];
                stream.read_exact(&mut chunk).ok()?;
                self.body.extend(chunk);
                if size == 0 {
                    // Trailers join the fields.
                    loop {
                        let mut line = String::new();
                        stream.read_line(&mut line).ok()?;
                        match line.trim_end().split_once(':') {
                            Some((name, value)) => self
                                .headers
                                .push((name.to_ascii_lowercase(), value.trim().to_owned())),
                            None => return Some(()),
                        }
                    }
                }
                stream.read_line(&mut String::new()).ok()?;
            }
        }
        if let Some(length) = self.header("content-length") {
            self.body = vec![0; length.parse().ok()?];
            stream.read_exact(&mut self.body).ok()?;
        } else if is_response {
            stream.read_to_end(&mut self.body).ok()?;
        }
        Some(())
    }
}

/// A request to be sent: `ask("GET", "/path").header("x-a", "1").body("text")`.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(super) method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

pub(crate) fn ask(method: &'static str, target: &str) -> Ask {
    Ask {
        method,
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        chunked: false,
    }
}

pub(crate) fn get(target: &str) -> Ask {
    ask("GET", target)
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub(crate) fn form(self, body: &str) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Without a length told in advance.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let named = |name: &str| {
            let mut headers = self.headers.iter();
            headers.any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        if !named("host") {
            text.push_str("Host: test.example\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.chunked {
            text.push_str("Transfer-Encoding: chunked\r\n");
        } else if !self.body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if self.chunked {
            for piece in self.body.chunks(7) {
                bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            bytes.extend(&self.body);
        }
        bytes
    }
}
