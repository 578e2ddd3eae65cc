//! What workers note about a host: atomics only, no decisions.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Cause, OutlierSettings, Run};

/// What happened to a request or connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The host answered with this HTTP status.
    Status(u16),
    /// A connection stands; more is to come (HTTP).
    Connected,
    /// A connection stands, and that is all there is to learn (TCP).
    ConnectedFinally,
    /// The failure happened on this side.
    LocalFailure(LocalFailure),
    /// The host answered well, in a protocol without statuses.
    RequestSucceeded,
    /// The host answered badly, in a protocol without statuses.
    RequestFailed,
}

/// A failure on this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFailure {
    /// The connection could not be established.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// The stream or connection was reset before a response.
    Reset,
}

/// What workers note about a host.
#[derive(Debug, Default)]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway_failure: AtomicU32,
    consecutive_local_origin_failure: AtomicU32,
    pub(super) external: Bucket,
    pub(super) local: Bucket,
}

/// Requests of the present interval.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    success: AtomicU64,
    total: AtomicU64,
}

impl Monitor {
    /// Notes an outcome, and returns the runs of failures that it completed.
    pub fn note(&self, settings: &OutlierSettings, outcome: Outcome) -> [Option<Cause>; 2] {
        if settings.split_local_origin {
            return match outcome {
                Outcome::Status(status) => self.note_status(settings, status),
                Outcome::Connected | Outcome::ConnectedFinally => {
                    self.note_local_success();
                    NOTHING
                }
                Outcome::LocalFailure(_) => [self.note_local_failure(settings), None],
                Outcome::RequestSucceeded => {
                    self.note_local_success();
                    self.note_status(settings, 200)
                }
                Outcome::RequestFailed => self.note_status(settings, 503),
            };
        }
        // Not split: everything is taken for a status.
        match outcome {
            Outcome::Status(status) => self.note_status(settings, status),
            Outcome::Connected => NOTHING,
            Outcome::ConnectedFinally | Outcome::RequestSucceeded => {
                self.note_status(settings, 200)
            }
            Outcome::LocalFailure(LocalFailure::Timeout) => self.note_status(settings, 504),
            Outcome::LocalFailure(LocalFailure::Connect | LocalFailure::Reset) => {
                self.note_status(settings, 503)
            }
            Outcome::RequestFailed => self.note_status(settings, 500),
        }
    }

    fn note_status(&self, settings: &OutlierSettings, status: u16) -> [Option<Cause>; 2] {
        self.external.total.fetch_add(1, Ordering::Relaxed);
        if !(500..600).contains(&status) {
            self.external.success.fetch_add(1, Ordering::Relaxed);
            reset(&self.consecutive_5xx);
            reset(&self.consecutive_gateway_failure);
            return NOTHING;
        }
        let gateway = if (502..=504).contains(&status) {
            completes(
                &self.consecutive_gateway_failure,
                settings.consecutive_gateway_failure,
            )
            .then_some(Cause::ConsecutiveGatewayFailure)
        } else {
            reset(&self.consecutive_gateway_failure);
            None
        };
        let any = completes(&self.consecutive_5xx, settings.consecutive_5xx)
            .then_some(Cause::Consecutive5xx);
        [gateway, any]
    }

    fn note_local_failure(&self, settings: &OutlierSettings) -> Option<Cause> {
        self.local.total.fetch_add(1, Ordering::Relaxed);
        completes(
            &self.consecutive_local_origin_failure,
            settings.consecutive_local_origin_failure,
        )
        .then_some(Cause::ConsecutiveLocalOriginFailure)
    }

    fn note_local_success(&self) {
        self.local.total.fetch_add(1, Ordering::Relaxed);
        self.local.success.fetch_add(1, Ordering::Relaxed);
        reset(&self.consecutive_local_origin_failure);
    }

    /// Ends the run that led to the cause.
    pub(super) fn reset_run(&self, cause: Cause) {
        match cause {
            Cause::Consecutive5xx => reset(&self.consecutive_5xx),
            Cause::ConsecutiveGatewayFailure => reset(&self.consecutive_gateway_failure),
            Cause::ConsecutiveLocalOriginFailure => reset(&self.consecutive_local_origin_failure),
            Cause::SuccessRate
            | Cause::SuccessRateLocalOrigin
            | Cause::FailurePercentage
            | Cause::FailurePercentageLocalOrigin => {}
        }
    }

    /// Ends all runs.
    pub(super) fn reset_runs(&self) {
        reset(&self.consecutive_5xx);
        reset(&self.consecutive_gateway_failure);
        reset(&self.consecutive_local_origin_failure);
    }
}

impl Bucket {
    /// Successes and total since the last call.
    pub(super) fn take(&self) -> (u64, u64) {
        let total = self.total.swap(0, Ordering::Relaxed);
        (self.success.swap(0, Ordering::Relaxed).min(total), total)
    }
}

/// Whether one more failure makes the run exactly as long as its threshold.
fn completes(counter: &AtomicU32, run: Run) -> bool {
    counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1) == run.length
}

/// Written only when it changes: most requests succeed, and the line would bounce between workers.
fn reset(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

const NOTHING: [Option<Cause>; 2] = [None, None];
