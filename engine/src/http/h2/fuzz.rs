//! What the fuzz programs call, and the tests that replay their seeds.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use super::budget::{Budget, Budgets};
use super::connection::{Connection, Read, Side};
use super::frame;
use super::head::{Kind, Section};
use super::hpack::decoder::Sink;
use super::hpack::{Broken, Decoder, Encoder, Name, Value};
use super::{Reason, Settings};

/// Feeds arbitrary bytes to both sides, whole and byte by byte: what they answer must agree.
pub fn frames(bytes: &[u8]) {
    let budgets = Arc::new(Budgets {
        pings: Budget::new(2, 1),
        others: Budget::new(2, 1),
        ..Budgets::default()
    });
    let now = Instant::now();
    // Less than any window: where it is given back depends on the cut.
    let bytes = &bytes[..bytes.len().min(16 * 1024)];
    for side in [Side::Server, Side::Client] {
        let begin = || {
            let mut connection = Connection::new(side, &Settings::default(), budgets.clone(), now);
            if side == Side::Client {
                // Something to answer.
                for path in ["/a", "/b"] {
                    let request = crate::http::Request::get("host", path);
                    connection.send_request(&request, false, path == "/a");
                }
            } else if !bytes.starts_with(b"PRI") {
                let shared = None;
                let bytes = frame::PREFACE;
                connection.receive(Read { bytes, shared }, now);
            }
            connection
        };
        let (mut whole, mut pieces) = (begin(), begin());
        whole.receive(
            Read {
                bytes,
                shared: None,
            },
            now,
        );
        for piece in bytes.chunks(1) {
            pieces.receive(
                Read {
                    bytes: piece,
                    shared: None,
                },
                now,
            );
        }
        assert_eq!(whole.over(), pieces.over(), "{side:?}");
        assert_eq!(written(&mut whole), written(&mut pieces), "{side:?}");
        // Whoever holds streams gives them up without harm.
        for mut connection in [whole, pieces] {
            while let Some(accepted) = connection.accept() {
                connection.reset(accepted.key, Reason::CANCEL);
                connection.release(accepted.key);
            }
            connection.fill();
        }
    }
}

/// Decodes arbitrary bytes; what comes out is encoded, and decoded to the same again.
pub fn hpack(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    let mut encoder = Encoder::default();
    let mut second = Decoder::default();
    // Two blocks: the second uses what the first left in the tables.
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    for block in [first, rest] {
        let mut section = Section::new(Kind::Request, 4096);
        let mut fields = Fields::default();
        let decoded = decoder.decode(block, &mut fields);
        for (name, value, _) in &fields.0 {
            // Strictness is another matter; that nothing panics is this one's.
            section.field(name, value, 32).ok();
        }
        drop(section.request(true));
        if decoded.is_err() {
            return;
        }
        let known = |(name, value, _): &(Name, Value, usize)| match (name, value) {
            (Name::Field(name), Value::Field(value)) => Some((name.clone(), value.clone())),
            _ => None,
        };
        let sent: Vec<_> = fields.0.iter().filter_map(known).collect();
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for (name, value) in &sent {
            encoder.field(&mut out, name, value);
        }
        let mut came = Fields::default();
        assert_eq!(second.decode(&out, &mut came), Ok(()));
        let came: Vec<_> = came.0.iter().filter_map(known).collect();
        assert_eq!(sent, came);
    }
}

/// Keeps what is decoded.
#[derive(Debug, Default)]
struct Fields(Vec<(Name, Value, usize)>);

impl Sink for Fields {
    fn field(&mut self, name: &Name, value: &Value, size: usize) -> Result<(), Broken> {
        if self.0.len() == 1000 {
            return Err(Broken);
        }
        self.0.push((name.clone(), value.clone(), size));
        Ok(())
    }
}

fn written(connection: &mut Connection) -> Vec<u8> {
    connection.fill();
    let mut bytes = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    // A `Vec` takes everything.
    drop(connection.out().poll_write(&mut bytes, &mut cx));
    bytes
}
