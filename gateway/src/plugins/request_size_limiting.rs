//! request-size-limiting: refuses requests whose body is larger than allowed: at once where the length is told, else as soon as it
//! has become too large on its way to the service.

use http::{StatusCode, Version, header};
use serde::Deserialize;

use crate::plugin::{Call, Exit, Flow, Plugin, Refusal, Setup};
use crate::proxy::limit::Counting;

#[derive(Debug)]
pub struct RequestSizeLimiting {
    /// Bytes.
    allowed: u64,
    require_content_length: bool,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    allowed_payload_size: i64,
    size_unit: Unit,
    require_content_length: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Megabytes,
    Kilobytes,
    Bytes,
}

const TOO_LARGE: &str = "Request size limit exceeded";

impl Plugin for RequestSizeLimiting {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let factor = match config.size_unit {
            Unit::Megabytes => 1024 * 1024,
            Unit::Kilobytes => 1024,
            Unit::Bytes => 1,
        };
        // Below zero nothing is small enough, as in Kong; every length that there is, is above it then but that of nothing.
        let size = u64::try_from(config.allowed_payload_size).unwrap_or(0);
        Ok(Self {
            allowed: size.saturating_mul(factor),
            require_content_length: config.require_content_length,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        let exchange = call.exchange();
        let headers = &exchange.request.headers;
        let told = headers.text(&header::CONTENT_LENGTH);
        // Of HTTP/1 the engine has taken it off, to answer it itself.
        let expects = headers
            .text(&header::EXPECT)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("100-continue"));
        let status = if expects {
            StatusCode::EXPECTATION_FAILED
        } else {
            StatusCode::PAYLOAD_TOO_LARGE
        };
        if let Some(length) = told.and_then(|told| told.trim().parse::<u64>().ok()) {
            if length > self.allowed {
                return Err(Exit::error(status, TOO_LARGE));
            }
            return Ok(());
        }
        // Only HTTP/1.1 has chunks; a body of HTTP/2 without a length is none that Kong takes for one here.
        let chunked = !exchange.body.is_end() && exchange.request.version != Version::HTTP_2;
        if self.require_content_length && !chunked {
            let text = "A valid Content-Length header is required";
            return Err(Exit::error(StatusCode::LENGTH_REQUIRED, text));
        }
        if !exchange.body.is_end() {
            exchange.context.too_large = Some((status, TOO_LARGE));
            let counting = Counting::new(self.allowed);
            call.request().transform(Box::new(counting));
        }
        Ok(())
    }
}
