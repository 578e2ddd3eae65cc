//! Resets, GOAWAY, the end.

use std::io;

use super::{Connection, Side};
use crate::http::h2::client::SendError;
use crate::http::h2::error::{By, Error, Fault, Reason};
use crate::http::h2::frame::{self, MAX_STREAM};
use crate::http::h2::stream::{Ending, Key};

/// How far a connection is with going away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Not at all.
    #[default]
    No,
    /// The peer was told not to open streams, and may have done so before it read that (RFC 9113 §6.8).
    Announced,
    /// Streams above this one are not looked at.
    Final(u32),
    /// The peer goes away: we open no more streams.
    Peer,
}

/// The PING behind the first GOAWAY: its answer says that the peer has read both.
pub(super) const LEAVING: [u8; 8] = *b"leaving.";

impl Connection {
    /// Tells the peer to open no more streams; those that are open finish.
    pub(in crate::http::h2) fn leave(&mut self) {
        if self.leaving != Leaving::No || self.over.is_some() {
            return;
        }
        self.leaving = Leaving::Announced;
        let flat = self.out.flat();
        frame::put_goaway(flat, MAX_STREAM, Reason::NO_ERROR);
        frame::put_ping(flat, 0, LEAVING);
        self.meter.sent_ping();
        self.wake_driver();
    }

    /// The peer has seen the first GOAWAY, or had time enough to.
    pub(in crate::http::h2) fn leave_now(&mut self) {
        if self.leaving != Leaving::Announced || self.over.is_some() {
            return;
        }
        self.leaving = Leaving::Final(self.highest);
        let highest = self.highest;
        frame::put_goaway(self.out.flat(), highest, Reason::NO_ERROR);
        self.wake_driver();
    }

    /// Whether the first GOAWAY is out and the second is not.
    pub(in crate::http::h2) fn is_leaving(&self) -> bool {
        self.leaving == Leaving::Announced
    }

    /// Whether we may open streams.
    pub(in crate::http::h2) fn takes_requests(&self) -> bool {
        self.over.is_none() && self.leaving == Leaving::No && self.next <= MAX_STREAM
    }

    /// Whether we may open a stream now.
    pub(in crate::http::h2) fn admits(&self) -> Result<(), SendError> {
        if let Some(error) = self.over {
            return Err(error.into());
        }
        if !self.takes_requests() {
            // What the server does not take it has not looked at.
            return Err(Error::GoAway(Reason::NO_ERROR, By::Peer).into());
        }
        if self.open >= self.peer.max_streams {
            return Err(SendError::Full);
        }
        Ok(())
    }

    /// Whether there is nothing left to do.
    pub(in crate::http::h2) fn is_done(&self) -> bool {
        match self.side {
            Side::Server => matches!(self.leaving, Leaving::Final(_)) && !self.has_streams(),
            Side::Client => {
                (self.leaving == Leaving::Peer || self.users == 0) && !self.has_streams()
            }
        }
    }

    /// Why the connection is over, if it is.
    pub(in crate::http::h2) const fn over(&self) -> Option<Error> {
        self.over
    }

    /// Ends a connection that is not needed any more.
    pub(in crate::http::h2) fn finish(&mut self) {
        if self.over.is_some() {
            return;
        }
        if !matches!(self.leaving, Leaving::Final(_)) {
            let highest = self.highest;
            frame::put_goaway(self.out.flat(), highest, Reason::NO_ERROR);
        }
        self.end(Error::GoAway(Reason::NO_ERROR, By::Us));
    }

    /// The transport failed or ended.
    pub(in crate::http::h2) fn lose(&mut self, kind: io::ErrorKind) {
        if self.over.is_none() {
            self.end(Error::Io(kind));
        }
    }

    /// The peer's GOAWAY: it has not looked at our streams above `last`.
    pub(super) fn peer_leaves(&mut self, last: u32, reason: Reason) {
        if self.side == Side::Server {
            // It opens no more streams, and goes when it likes.
            return;
        }
        self.leaving = Leaving::Peer;
        for key in self.streams.keys() {
            if self.streams.get(key).id > last {
                self.fail_stream(key, Error::GoAway(reason, By::Peer));
            }
        }
    }

    /// The peer's RST_STREAM.
    pub(super) fn peer_resets(&mut self, id: u32, reason: Reason) -> Result<(), Fault> {
        if let Some(key) = self.known(id)? {
            let stream = self.streams.get(key);
            if stream.received && stream.sent {
                return Ok(());
            }
            self.fail_stream(key, Error::Reset(reason, By::Peer));
        }
        Ok(())
    }

    /// The stream with that identifier, if it is still known; an error where it never was (RFC 9113 §5.1).
    pub(super) fn known(&self, id: u32) -> Result<Option<Key>, Fault> {
        if let Some(key) = self.streams.find(id) {
            return Ok(Some(key));
        }
        let opened = match (self.side, id % 2) {
            (Side::Server, 1) => id <= self.highest,
            (Side::Client, 1) => id < self.next,
            // Nobody pushes.
            _ => false,
        };
        if opened {
            Ok(None)
        } else {
            Err(Fault::Connection(Reason::PROTOCOL_ERROR))
        }
    }

    /// Deals with what a frame broke.
    pub(super) fn punish(&mut self, id: u32, fault: Fault) {
        match fault {
            Fault::Stream(reason) => match self.streams.find(id) {
                Some(key) if self.streams.get(key).error.is_none() => {
                    // In this order: one reset too many ends the connection with all its streams.
                    self.fail_stream(key, Error::Reset(reason, By::Us));
                    self.put_reset(id, reason);
                }
                Some(_) => {}
                None => self.put_reset(id, reason),
            },
            Fault::Connection(reason) => self.fail(reason),
            Fault::Violation(violation) => {
                self.violation.get_or_insert(violation);
                self.fail(violation.reason());
            }
        }
    }

    /// Queues RST_STREAM. Too many that the peer made us send end the connection.
    pub(super) fn put_reset(&mut self, id: u32, reason: Reason) {
        frame::put_reset(self.out.flat(), id, reason);
        if self.resets.len() == RESETS_KEPT {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
        if let Err(violation) = self.meter.sent_reset(reason, self.now)
            && self.over.is_none()
        {
            self.violation.get_or_insert(violation);
            self.fail(violation.reason());
        }
    }

    /// Whether we reset the stream a short while ago.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.resets.contains(&id)
    }

    /// Ends a stream that somebody may hold.
    pub(super) fn fail_stream(&mut self, key: Key, error: Error) {
        let stream = self.streams.get(key);
        if stream.error.is_some() {
            return;
        }
        stream.error = Some(error);
        stream.outbox = bytes::Bytes::new();
        stream.ending = Ending::Open;
        stream.wake_reader();
        stream.wake_writer();
        self.settle(key);
    }

    /// GOAWAY: the peer broke the connection.
    fn fail(&mut self, reason: Reason) {
        if self.over.is_some() {
            return;
        }
        let highest = self.highest;
        frame::put_goaway(self.out.flat(), highest, reason);
        self.end(Error::GoAway(reason, By::Us));
    }

    fn end(&mut self, error: Error) {
        self.over = Some(error);
        for key in self.streams.keys() {
            let stream = self.streams.get(key);
            if !(stream.received && stream.sent) {
                self.fail_stream(key, error);
            }
        }
        for accepted in std::mem::take(&mut self.accepted) {
            self.streams.get(accepted.key).handles -= 1;
            self.close_if_done(accepted.key);
        }
        self.wake_driver();
    }
}

/// Resets that are remembered: a window's worth of frames may still be on its way for each.
const RESETS_KEPT: usize = 64;
