//! The status of a gRPC response.

use super::{number, put};
use crate::observe::facts::Facts;

/// How the gRPC status is told.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

impl GrpcForm {
    /// Appends the status of a gRPC response; false for others.
    pub(super) fn write(self, facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        if !facts.is_grpc() {
            return false;
        }
        let Some(status) = facts.grpc_status() else {
            return false;
        };
        let names = GRPC_STATUSES.get(usize::from(status));
        match (self, names) {
            (Self::Camel, Some((camel, _))) => put(out, camel.as_bytes()),
            (Self::Snake, Some((_, snake))) => put(out, snake.as_bytes()),
            // Numbers without a name print as they are.
            _ => number(out, status),
        }
    }
}

const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];
