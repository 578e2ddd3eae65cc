//! HTTP/1.1: one request, one checked answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::wire::Wire;
use super::{Call, Fault, MARKER};

/// A keepalive connection.
#[derive(Debug)]
pub(super) struct Http1 {
    stream: Wire,
    buffer: Vec<u8>,
}

impl Http1 {
    pub(super) fn new(stream: Wire) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) async fn exchange(&mut self, call: &Call) -> Result<(), Fault> {
        self.stream.write_all(&call.http1).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        let expected = &call.answer_body[..];
        let head = loop {
            if let Some(head) = check_head(&self.buffer, expected.len())? {
                break head;
            }
            self.more().await?;
        };
        while self.buffer.len() < head + expected.len() {
            self.more().await?;
        }
        if self.buffer[head..] != *expected {
            return Err(Fault::Wrong("the body differs".to_owned()));
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<(), Fault> {
        self.buffer.reserve(4096);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(Fault::Wrong(
                "closed before the answer was complete".to_owned(),
            ));
        }
        Ok(())
    }
}

/// The length of a complete and right head; `None` while it is incomplete.
fn check_head(buffer: &[u8], length: usize) -> Result<Option<usize>, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(buffer)
        .map_err(|error| Fault::Wrong(format!("not HTTP: {error}")))?;
    let httparse::Status::Complete(head) = parsed else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(Fault::Wrong(format!(
            "status {}",
            response.code.unwrap_or_default()
        )));
    }
    let (mut length_right, mut marker) = (false, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(header.value).ok();
            length_right = value.and_then(|value| value.parse().ok()) == Some(length);
        } else if header.name.eq_ignore_ascii_case(MARKER) {
            marker = header.value == b"backend";
        }
    }
    if !length_right {
        return Err(Fault::Wrong(
            "content-length is missing or wrong".to_owned(),
        ));
    }
    if !marker {
        return Err(Fault::Wrong(format!("header {MARKER} is missing")));
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_head_passes() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-bench: backend\r\n\r\nabc",
                "right",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Bench: backend\r\nserver: any\r\n\r\n",
                "right",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-bench: backend\r\n\r\n",
                "wrong",
            ),
            (
                "HTTP/1.1 200 OK\r\nx-bench: backend\r\ntransfer-encoding: chunked\r\n\r\n",
                "wrong",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", "wrong"),
            (
                "HTTP/1.1 503 No\r\ncontent-length: 3\r\nx-bench: backend\r\n\r\n",
                "wrong",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-le", "incomplete"),
            ("nonsense\r\n\r\n", "wrong"),
        ];
        for (bytes, expected) in cases {
            let found = match check_head(bytes.as_bytes(), 3) {
                Ok(Some(_)) => "right",
                Ok(None) => "incomplete",
                Err(_) => "wrong",
            };
            assert_eq!(found, expected, "{bytes:?}");
        }
    }
}
