//! Deadlines, idleness and the client's departure, watched while something else is waited for.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::error::Error;
use super::responder::Responder;
use crate::runtime::Timer;

/// What can end the wait for anything that an exchange waits for.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    /// When the whole stream must be over.
    pub(super) max: Option<Instant>,
    /// When the response must be complete.
    pub(super) response: Option<Instant>,
    /// When the head of this try's response must be here.
    pub(super) attempt: Option<Instant>,
    /// Longest silence.
    pub(super) idle: Option<Duration>,
    /// Last sign of life, kept only where `idle` is set.
    moved: Option<Instant>,
    /// One timer for all of them.
    timer: &'a mut Timer,
}

impl<'a> Watch<'a> {
    /// Nothing to wait for yet.
    pub(super) const fn new(timer: &'a mut Timer) -> Self {
        Self {
            max: None,
            response: None,
            attempt: None,
            idle: None,
            moved: None,
            timer,
        }
    }

    /// Notes that something moved.
    pub(super) fn moved(&mut self) {
        if self.idle.is_some() {
            self.moved = Some(Instant::now());
        }
    }

    /// Waits for `future`, which the caller pins, unless a limit is reached or the client goes away first.
    pub(super) async fn over<T>(
        &mut self,
        responder: &mut Responder,
        mut future: impl Future<Output = T> + Unpin,
    ) -> Result<T, Error> {
        poll_fn(|cx| {
            if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.poll_limits(responder, cx).map(Err)
        })
        .await
    }

    /// Ready when a limit is reached or the client went away.
    pub(super) fn poll_limits(
        &mut self,
        responder: &mut Responder,
        cx: &mut Context<'_>,
    ) -> Poll<Error> {
        if responder.poll_gone(cx).is_ready() {
            return Poll::Ready(Error::ClientGone);
        }
        self.poll_times(cx)
    }

    /// Ready when a limit is reached.
    pub(super) fn poll_times(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        match self.earliest() {
            Some((due, error)) => self.timer.poll(cx, due).map(|()| error),
            None => Poll::Pending,
        }
    }

    fn earliest(&mut self) -> Option<(Instant, Error)> {
        let idle = self.idle.map(|idle| {
            let moved = *self.moved.get_or_insert_with(Instant::now);
            (moved + idle, Error::StreamIdle)
        });
        [
            self.max.map(|at| (at, Error::MaxDuration)),
            self.response.map(|at| (at, Error::Timeout)),
            self.attempt.map(|at| (at, Error::TryTimeout)),
            idle,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }
}
