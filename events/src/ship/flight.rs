//! One block on its way: what of it has been handed over, and what has been acknowledged.

use crate::event::Topic;
use crate::spool::Position;

/// A block, or what stands in its place, between spool and broker.
#[derive(Debug)]
pub(super) struct Flight {
    /// Where it is read again.
    pub(super) start: Position,
    /// Where the spool goes on behind it.
    pub(super) end: Position,
    /// When its first record was, in microseconds since 1970.
    pub(super) time: u64,
    /// Records that stand before the block's own: gaps that it has shown.
    pub(super) notices: Vec<Vec<u8>>,
    /// Records that go in place of others, which can never go.
    pub(super) replaced: Vec<(u32, Vec<u8>)>,
    states: Vec<State>,
    /// Of what was sent the topic, by its place in `Topic::ALL`.
    topics: Vec<u8>,
    /// How many are not done.
    left: u32,
    /// How many are to be handed over.
    unsent: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Unsent,
    Sent,
    Done,
}

impl Flight {
    pub(super) fn new(
        start: Position,
        end: Position,
        time: u64,
        notices: Vec<Vec<u8>>,
        records: u32,
    ) -> Self {
        // A block's records are bounded by its size.
        let count = notices.len() as u32 + records;
        Self {
            start,
            end,
            time,
            notices,
            replaced: Vec::new(),
            states: vec![State::Unsent; count as usize],
            topics: vec![0; count as usize],
            left: count,
            unsent: count,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.unsent > 0
    }

    pub(super) fn is_unsent(&self, index: u32) -> bool {
        self.states.get(index as usize) == Some(&State::Unsent)
    }

    pub(super) fn len(&self) -> u32 {
        self.states.len() as u32
    }

    pub(super) fn send(&mut self, index: u32, topic: Topic) {
        if let Some(state @ State::Unsent) = self.states.get_mut(index as usize) {
            *state = State::Sent;
            self.topics[index as usize] = topic as u8;
            self.unsent -= 1;
        }
    }

    /// The topic that a record was sent to.
    pub(super) fn topic(&self, index: u32) -> Option<Topic> {
        let topic = self.topics.get(index as usize)?;
        Topic::ALL.get(usize::from(*topic)).copied()
    }

    /// It is to be handed over once more.
    pub(super) fn give_back(&mut self, index: u32) {
        if let Some(state @ State::Sent) = self.states.get_mut(index as usize) {
            *state = State::Unsent;
            self.unsent += 1;
        }
    }

    /// True the first time.
    pub(super) fn finish(&mut self, index: u32) -> bool {
        let Some(state) = self.states.get_mut(index as usize) else {
            return false;
        };
        match state {
            State::Done => return false,
            State::Unsent => self.unsent -= 1,
            State::Sent => {}
        }
        *state = State::Done;
        self.left -= 1;
        true
    }

    /// All that is not done is to be handed over once more: the client that had it is gone.
    pub(super) fn rewind(&mut self) {
        for state in &mut self.states {
            if *state == State::Sent {
                *state = State::Unsent;
                self.unsent += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_done_once() {
        let place = Position::default();
        let mut flight = Flight::new(place, place, 0, vec![Vec::new()], 2);
        assert_eq!(flight.len(), 3);
        for index in 0..3 {
            flight.send(index, Topic::AuditApiCalls);
        }
        assert!(!flight.has_unsent() && !flight.is_done());
        assert!(flight.finish(1) && !flight.finish(1));
        flight.give_back(0);
        assert!(flight.is_unsent(0) && !flight.is_unsent(1) && !flight.is_unsent(2));
        flight.rewind();
        assert!(flight.is_unsent(2) && !flight.is_unsent(1));
        // A late report of a record that was given back counts.
        assert!(flight.finish(0) && flight.finish(2));
        assert!(flight.is_done() && !flight.has_unsent());
        assert!(!flight.finish(9));
    }
}
