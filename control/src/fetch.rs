//! One HTTP/1.1 request to a known address: what `up` asks sidecars, and what sample services ask each other.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing listens there, or the connection broke before it was used.
    #[error("{address}: {error}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The other side closed, or did not speak HTTP.
    #[error("{address}: {error}")]
    Http {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: hyper::Error,
    },
    /// The body broke off or is longer than 16 MiB.
    #[error("{address}: {error}")]
    Body {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No complete answer in time.
    #[error("{address}: no answer within {limit:?}")]
    Late {
        /// Where.
        address: SocketAddr,
        /// How long it could take.
        limit: Duration,
    },
}

/// Sends a request over a connection of its own and reads the whole answer.
///
/// # Errors
/// When there is no complete answer within `limit`.
pub async fn fetch<B>(
    address: SocketAddr,
    request: Request<B>,
    limit: Duration,
) -> Result<Response<Bytes>, FetchError>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    match tokio::time::timeout(limit, exchange(address, request)).await {
        Ok(answer) => answer,
        Err(_) => Err(FetchError::Late { address, limit }),
    }
}

async fn exchange<B>(
    address: SocketAddr,
    request: Request<B>,
) -> Result<Response<Bytes>, FetchError>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| FetchError::Connect { address, error })?;
    let fault = |error| FetchError::Http { address, error };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(fault)?;
    let talk = async {
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(fault)?
            .into_parts();
        let body = Limited::new(body, LONGEST_BODY)
            .collect()
            .await
            .map_err(|error| FetchError::Body { address, error })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection must be driven while the answer is read; its own end is seen by `talk`.
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        _ = connection => talk.await,
    }
}

const LONGEST_BODY: usize = 16 << 20;
