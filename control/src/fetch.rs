//! One HTTP/1.1 request: what `up` and the verbs ask sidecars, and what sample services ask each other.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
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
    /// The body broke off or is longer than 64 MiB.
    #[error("{address}: {error}")]
    Body {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer, but another than was asked for.
    #[error("{address}: {status} for {path}")]
    Status {
        /// Where.
        address: SocketAddr,
        /// What was asked for.
        path: String,
        /// Its status.
        status: StatusCode,
    },
    /// The name of a host that nobody knows, or a URL that is none.
    #[error("{url}: {message}")]
    Url {
        /// Which.
        url: String,
        /// What about it.
        message: String,
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

/// GETs a page; only 200 is an answer.
///
/// # Errors
/// When there is no such answer within `limit`.
pub async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<Bytes, FetchError> {
    get_of(&address.to_string(), address, path, limit).await
}

/// GETs an `http://` URL; only 200 is an answer.
///
/// # Errors
/// When there is no such answer within `limit`.
pub async fn get_url(url: &str, limit: Duration) -> Result<Bytes, FetchError> {
    let wrong = |message: &str| FetchError::Url {
        url: url.to_owned(),
        message: message.to_owned(),
    };
    let uri: Uri = url
        .parse()
        .map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("only http:// is asked"));
    }
    let place = (authority.host(), authority.port_u16().unwrap_or(80));
    let address = tokio::net::lookup_host(place)
        .await
        .map_err(|error| wrong(&error.to_string()))?
        .next()
        .ok_or_else(|| wrong("the host has no address"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    get_of(authority.as_str(), address, path, limit).await
}

async fn get_of(
    host: &str,
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<Bytes, FetchError> {
    let request = Request::get(path).header("host", host).body(Empty::new());
    let request = request.map_err(|error| FetchError::Url {
        url: format!("{address}{path}"),
        message: error.to_string(),
    })?;
    let answer = fetch(address, request, limit).await?;
    if answer.status() == StatusCode::OK {
        Ok(answer.into_body())
    } else {
        Err(FetchError::Status {
            address,
            path: path.to_owned(),
            status: answer.status(),
        })
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

/// Configuration dumps of large meshes have tens of megabytes.
const LONGEST_BODY: usize = 64 << 20;
