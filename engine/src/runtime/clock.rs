//! The `date` field, formatted once a second per worker.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The value of a `date` field at `now` (RFC 9110 §5.6.7).
pub fn date(now: SystemTime) -> HeaderValue {
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|last| {
        if let Some((at, value)) = last
            && *at == second
        {
            return value.clone();
        }
        let text = httpdate::fmt_http_date(now);
        // An HTTP date is ASCII; the fallback keeps the function total.
        let value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        *last = Some((second, value.clone()));
        value
    })
}

thread_local! {
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}
