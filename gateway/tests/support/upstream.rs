//! Services behind the gateway: threads that answer and record what they saw.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use super::message::Message;

/// What an upstream answers with.
pub(crate) type Answering = dyn Fn(&Message) -> Reply + Send + Sync;

/// An answer of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Bytes as they are sent.
    pub(crate) bytes: Vec<u8>,
    /// Closes behind them.
    pub(crate) close: bool,
}

/// An answer with fields and a body.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut text = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Reply {
        bytes: text.into_bytes(),
        close: false,
    }
}

/// A service that records what it saw.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    /// Answers 200 with `hello`.
    pub(crate) fn start() -> Self {
        Self::answering(|_| {
            reply(
                200,
                &[("Content-Type", "text/plain"), ("Server", "upstream")],
                "hello",
            )
        })
    }

    pub(crate) fn answering(answer: impl Fn(&Message) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let (record, answer) = (seen.clone(), Arc::<Box<Answering>>::new(Box::new(answer)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, answer) = (record.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(message) = Message::read(&mut stream, false) {
                        let reply = answer(&message);
                        record.lock().expect("nobody panics with it").push(message);
                        if stream.get_mut().write_all(&reply.bytes).is_err() || reply.close {
                            break;
                        }
                    }
                    drop(stream.get_mut().shutdown(Shutdown::Both));
                });
            }
        });
        Self { address, seen }
    }

    /// Takes what was seen since the last time.
    pub(crate) fn seen(&self) -> Vec<Message> {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it"))
    }

    /// `http://…`, for a service.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
