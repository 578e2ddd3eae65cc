//! Flow control, both ways (RFC 9113 §5.2 and §6.9).

use super::Connection;
use crate::http::h2::Settings;
use crate::http::h2::error::{Fault, Reason};
use crate::http::h2::frame::{self, DEFAULT_WINDOW, MAX_WINDOW};
use crate::http::h2::stream::Key;

/// The windows of the connection, and those that streams begin with.
#[derive(Debug)]
pub(super) struct Windows {
    /// Bytes that we may send, and that the peer may.
    pub(super) send: i32,
    pub(super) receive: i32,
    /// Bytes taken and not yet given back to the peer.
    taken: u32,
    /// Of a new stream.
    pub(super) send_initial: i32,
    pub(super) receive_initial: i32,
    /// What our SETTINGS say, which counts once the peer acknowledged them.
    announced: i32,
    /// From how many bytes on a window is given back: half of it.
    connection_step: u32,
    stream_step: u32,
}

impl Windows {
    pub(super) fn new(settings: &Settings) -> Self {
        let announced = signed(settings.stream_window);
        // The connection's window only grows.
        let connection = settings.connection_window.max(DEFAULT_WINDOW);
        Self {
            send: signed(DEFAULT_WINDOW),
            receive: signed(connection),
            taken: 0,
            send_initial: signed(DEFAULT_WINDOW),
            // Until our SETTINGS are there, the peer goes by the default.
            receive_initial: announced.max(signed(DEFAULT_WINDOW)),
            announced,
            connection_step: connection / 2,
            stream_step: settings.stream_window / 2,
        }
    }
}

impl Connection {
    /// Content that was taken from a stream: the peer may send as much again.
    #[inline]
    pub(in crate::http::h2) fn taken(&mut self, key: Key, length: usize) {
        let step = self.windows.stream_step;
        let stream = self.streams.get(key);
        if !stream.received {
            stream.taken += unsigned(length);
            if stream.taken >= step && stream.error.is_none() {
                let (id, more) = (stream.id, std::mem::take(&mut stream.taken));
                // It was within the window before it was taken.
                stream.receive_window += signed(more);
                frame::put_window_update(self.out.flat(), id, more);
                self.wake_driver();
            }
        }
        self.give_back(length);
    }

    /// The same of the connection's window alone.
    pub(in crate::http::h2) fn give_back(&mut self, length: usize) {
        let windows = &mut self.windows;
        windows.taken += unsigned(length);
        if windows.taken >= windows.connection_step && self.over.is_none() {
            let more = std::mem::take(&mut windows.taken);
            windows.receive += signed(more);
            frame::put_window_update(self.out.flat(), 0, more);
            self.wake_driver();
        }
    }

    /// The peer's WINDOW_UPDATE.
    pub(super) fn grow(&mut self, id: u32, increment: u32) -> Result<(), Fault> {
        if id == 0 {
            if increment == 0 {
                return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
            }
            self.windows.send = self
                .windows
                .send
                .checked_add(signed(increment))
                .ok_or(Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
            return Ok(());
        }
        let Some(key) = self.known(id)? else {
            return Ok(());
        };
        let stream = self.streams.get(key);
        if stream.is_over() {
            return Ok(());
        }
        if increment == 0 {
            return Err(Fault::Stream(Reason::PROTOCOL_ERROR));
        }
        stream.send_window = stream
            .send_window
            .checked_add(signed(increment))
            .ok_or(Fault::Stream(Reason::FLOW_CONTROL_ERROR))?;
        self.stand_in_line(key);
        Ok(())
    }

    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE; windows may become negative.
    pub(super) fn set_send_initial(&mut self, size: u32) -> Result<(), Fault> {
        let size =
            i32::try_from(size).map_err(|_| Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
        let change = size - self.windows.send_initial;
        self.windows.send_initial = size;
        if change == 0 {
            return Ok(());
        }
        for key in self.streams.keys() {
            let stream = self.streams.get(key);
            stream.send_window = stream
                .send_window
                .checked_add(change)
                .ok_or(Fault::Connection(Reason::FLOW_CONTROL_ERROR))?;
            self.stand_in_line(key);
        }
        Ok(())
    }

    /// The peer knows our SETTINGS.
    pub(super) fn announced(&mut self) {
        let change = self.windows.announced - self.windows.receive_initial;
        self.windows.receive_initial = self.windows.announced;
        if change == 0 {
            return;
        }
        for key in self.streams.keys() {
            self.streams.get(key).receive_window += change;
        }
    }

    /// Takes a DATA frame's length from the connection's window.
    pub(super) fn spend(&mut self, length: u32) -> Result<(), Fault> {
        let left = self.windows.receive - signed(length);
        if left < 0 {
            return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
        }
        self.windows.receive = left;
        Ok(())
    }
}

/// Windows and increments have 31 bits.
#[inline]
pub(super) fn signed(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(MAX_WINDOW)
}

/// Never more than a window.
#[inline]
fn unsigned(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
