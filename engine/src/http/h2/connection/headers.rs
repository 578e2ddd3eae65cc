//! Header blocks: requests, responses, trailers.

use http::{Method, StatusCode};

use super::close::Leaving;
use super::receive::Block;
use super::{Accepted, Connection, Side};
use crate::http::Response;
use crate::http::h2::encode;
use crate::http::h2::error::{Fault, Reason};
use crate::http::h2::frame::{self, Head};
use crate::http::h2::head::{Kind, Malformed, Section};
use crate::http::h2::stream::{Event, Key};

impl Connection {
    pub(super) fn headers_frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let mut fragment = frame::without_padding(head.flags, payload)
            .ok_or(Fault::Connection(Reason::PROTOCOL_ERROR))?;
        let mut own_parent = false;
        if head.has(frame::WITH_PRIORITY) {
            let depends = frame::number(fragment);
            fragment = fragment
                .get(5..)
                .ok_or(Fault::Connection(Reason::FRAME_SIZE_ERROR))?;
            own_parent = depends.is_some_and(|id| id & frame::MAX_STREAM == head.stream);
        }
        let end = head.has(frame::END_STREAM);
        if !head.has(frame::END_HEADERS) {
            self.input.block = Some(Block {
                stream: head.stream,
                end,
                own_parent,
                bytes: fragment.to_vec(),
            });
            return Ok(());
        }
        self.block(head.stream, end, own_parent, fragment)
    }

    pub(super) fn continuation_frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut block) = self.input.block.take() else {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        };
        // The budgets bound it.
        block.bytes.extend_from_slice(payload);
        if head.has(frame::END_HEADERS) {
            return self.block(block.stream, block.end, block.own_parent, &block.bytes);
        }
        self.input.block = Some(block);
        Ok(())
    }

    /// A whole header block.
    fn block(&mut self, id: u32, end: bool, own_parent: bool, block: &[u8]) -> Result<(), Fault> {
        if own_parent {
            // RFC 7540 §5.3.1: what the newer standard gave up, but nobody sends.
            if self.side == Side::Server && id % 2 == 1 {
                self.highest = self.highest.max(id);
            }
            self.decode(Kind::Nothing, block)?;
            return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
        }
        if let Some(key) = self.streams.find(id) {
            return self.more_fields(key, id, end, block);
        }
        if self.side == Side::Server && id % 2 == 1 && id > self.highest {
            return self.request(id, end, block);
        }
        // RFC 9113 §5.1: an identifier never comes back, and nobody pushes.
        let late = match self.side {
            Side::Server => self.was_reset(id),
            Side::Client => id % 2 == 1 && id < self.next,
        };
        if !late {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        self.decode(Kind::Nothing, block)?;
        Ok(())
    }

    fn decode(&mut self, kind: Kind, block: &[u8]) -> Result<Section, Fault> {
        let mut section = Section::new(kind, self.settings.max_header_list);
        if self.decoder.decode(block, &mut section).is_err() {
            return Err(Fault::Connection(if section.is_a_bomb() {
                Reason::ENHANCE_YOUR_CALM
            } else {
                Reason::COMPRESSION_ERROR
            }));
        }
        Ok(section)
    }

    fn request(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Fault> {
        if matches!(self.leaving, Leaving::Final(_)) {
            // The GOAWAY told that it is not looked at.
            self.highest = id;
            self.decode(Kind::Nothing, block)?;
            return Ok(());
        }
        self.highest = id;
        let full = self.open >= self.settings.max_concurrent_streams;
        let kind = if full { Kind::Nothing } else { Kind::Request };
        let section = self.decode(kind, block)?;
        if full {
            return Err(Fault::Stream(Reason::REFUSED_STREAM));
        }
        if section.is_too_large() {
            self.refuse(id, end);
            return Ok(());
        }
        let (request, length) = section
            .request(self.settings.connect_protocol)
            .map_err(malformed)?;
        if end && length.is_some_and(|length| length > 0) {
            return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
        }
        let windows = &self.windows;
        let key = self
            .streams
            .open(id, windows.send_initial, windows.receive_initial);
        self.open += 1;
        let stream = self.streams.get(key);
        stream.headed = true;
        stream.received = end;
        stream.length = length.filter(|_| request.method != Method::CONNECT);
        // That of whoever takes it.
        stream.handles = 1;
        self.accepted.push_back(Accepted {
            key,
            request,
            end,
            length,
        });
        Ok(())
    }

    /// Answers a head that is too large, which no one needs to see.
    fn refuse(&mut self, id: u32, end: bool) {
        let response = Response::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        encode::response(&mut self.encoder, self.out.flat(), id, &response, true);
        if !end {
            self.put_reset(id, Reason::NO_ERROR);
        }
    }

    /// Fields on a stream that is known: an answer, or trailers.
    fn more_fields(&mut self, key: Key, id: u32, end: bool, block: &[u8]) -> Result<(), Fault> {
        let stream = self.streams.get(key);
        if stream.error.is_some() {
            self.decode(Kind::Nothing, block)?;
            return Ok(());
        }
        if stream.received {
            // RFC 9113 §5.1: not after the end.
            return Err(Fault::Connection(if self.side == Side::Server {
                Reason::STREAM_CLOSED
            } else {
                Reason::PROTOCOL_ERROR
            }));
        }
        let kind = if stream.headed {
            Kind::Trailers
        } else {
            Kind::Response
        };
        let section = self.decode(kind, block)?;
        if section.is_too_large() {
            return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
        }
        let stream = self.streams.get(key);
        debug_assert_eq!(stream.id, id);
        let event = if kind == Kind::Trailers {
            let short = stream.length.is_some_and(|length| length > 0);
            let trailers = section.trailers().map_err(malformed)?;
            // RFC 9113 §8.1: trailers are the end.
            if !end || short {
                return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
            }
            Event::Trailers(trailers)
        } else {
            let (response, length) = section.response().map_err(malformed)?;
            if response.status.is_informational() {
                if end {
                    return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
                }
            } else {
                stream.headed = true;
                let bodyless = stream.head_only
                    || matches!(
                        response.status,
                        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
                    );
                stream.length = if bodyless { Some(0) } else { length };
                if end && stream.length.is_some_and(|length| length > 0) {
                    return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
                }
            }
            Event::Head(response)
        };
        if !stream.deaf {
            stream.inbox.push_back(event);
            stream.wake_reader();
        }
        if end {
            self.received_all(key);
        }
        Ok(())
    }
}

const fn malformed(_: Malformed) -> Fault {
    Fault::Stream(Reason::PROTOCOL_ERROR)
}
