//! Bodies that may not become too large.

use bytes::Bytes;
use carbyne_engine::http::body::BodyError;

use crate::plugin::transform::Transform;

/// Counts what passes, and breaks off beyond the limit.
#[derive(Debug)]
pub(crate) struct Counting {
    limit: u64,
    passed: u64,
}

impl Counting {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, passed: 0 }
    }
}

impl Transform for Counting {
    fn piece(&mut self, piece: Bytes) -> Result<Bytes, BodyError> {
        self.passed += piece.len() as u64;
        if self.passed > self.limit {
            let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
            return Err(BodyError::TooLarge { limit });
        }
        Ok(piece)
    }

    fn keeps_length(&self) -> bool {
        true
    }
}
