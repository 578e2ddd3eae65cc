//! Clients: plain blocking sockets, and curl where TLS or HTTP/2 is spoken.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;
use super::message::{Ask, Message};

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the gateway takes connections")
    }

    /// Nothing where nobody takes connections.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Some(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a request and reads the answer.
    pub(crate) fn send(&mut self, ask: &Ask) -> Message {
        self.write(&ask.bytes());
        self.read(ask.method == "HEAD")
            .unwrap_or_else(|| panic!("no answer to {ask:?}"))
    }

    /// Bytes before the first request, such as the PROXY protocol's header.
    pub(crate) fn introduced(mut self, header: &[u8]) -> Self {
        self.write(header);
        self
    }

    /// Sends a request; no answer where the gateway ended before that was complete.
    pub(crate) fn try_send(&mut self, ask: &Ask) -> Option<Message> {
        self.write(&ask.bytes());
        self.read(false)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // A gateway that answers before it has read everything may have closed: the answer tells.
        drop(self.stream.get_mut().write_all(bytes));
    }

    pub(crate) fn read(&mut self, bodyless: bool) -> Option<Message> {
        Message::read(&mut self.stream, bodyless)
    }

    /// Whether the gateway closed.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]) | Err(_))
    }
}
