//! The page over HTTP: on loopback, for browsers of this machine, to be looked at and nothing else.
//!
//! A page of somebody else's could have a browser ask here: so the Host must be ours (a name of theirs that leads to 127.0.0.1 is not),
//! no answer allows another origin, nothing can be changed, and nothing is framed.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};

use super::observe::View;
use crate::graph::svg;

/// The page; it is gone when this is dropped.
#[derive(Debug)]
pub struct Page {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Page {
    /// Serves it. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn serve(address: SocketAddr, view: View) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let hosts = [address.to_string(), format!("localhost:{}", address.port())];
        let site = Arc::new(Site { hosts, view });
        let task = tokio::spawn(accept(listener, site));
        Ok(Self { address, task })
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Site {
    hosts: [String; 2],
    view: View,
}

type Answer = Response<Either<Full<Bytes>, Live>>;

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // They end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let site = Arc::clone(&site);
        connections.spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let answer = site.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Some(HEAD))
                .serve_connection(TokioIo::new(stream), answer);
            // A browser that goes away is its own business.
            connection.await.ok();
            drop(permit);
        });
    }
}

impl Site {
    fn answer<B>(&self, request: &Request<B>) -> Answer {
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) {
            return refuse(
                StatusCode::MISDIRECTED_REQUEST,
                "this is not the host that you asked for",
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer = refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "nothing can be changed here",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(header::ALLOW, allowed);
            return answer;
        }
        let path = request.uri().path();
        if let Some(trace) = path.strip_prefix("/traces/") {
            let spans = self.view.traces(Some(trace));
            return answer(
                StatusCode::OK,
                "application/json",
                Either::Left(Full::new(spans)),
            );
        }
        match path {
            "/" => file(HTML, "text/html; charset=utf-8"),
            "/page.css" => file(
                &format!("{CSS}\n{}", svg::style()),
                "text/css; charset=utf-8",
            ),
            "/page.js" => file(JS, "text/javascript; charset=utf-8"),
            "/icon.svg" => file(ICON, "image/svg+xml"),
            "/state" => answer(
                StatusCode::OK,
                "application/json",
                Either::Left(Full::new(self.view.now())),
            ),
            "/proxies" => answer(
                StatusCode::OK,
                "application/json",
                Either::Left(Full::new(self.view.proxies())),
            ),
            "/traces" => answer(
                StatusCode::OK,
                "application/json",
                Either::Left(Full::new(self.view.traces(None))),
            ),
            "/metrics" => answer(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                Either::Left(Full::new(self.view.metrics())),
            ),
            "/live" => answer(
                StatusCode::OK,
                "text/event-stream",
                Either::Right(Live::new(self.view.clone())),
            ),
            _ => refuse(StatusCode::NOT_FOUND, "there is no such page"),
        }
    }
}

/// State after state, as server-sent events.
#[derive(Debug)]
struct Live(mpsc::Receiver<Bytes>);

impl Live {
    fn new(view: View) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut state = view.follow();
            loop {
                let frame = match tokio::time::timeout(QUIET, state.changed()).await {
                    Ok(Ok(())) => {
                        let json = state.borrow_and_update().clone();
                        // JSON has no line ends of its own.
                        [b"data: ".as_slice(), &json, b"\n\n"].concat()
                    }
                    Ok(Err(_)) => return,
                    // So that both sides notice when the other is gone.
                    Err(_) => b":\n\n".to_vec(),
                };
                if sender.send(Bytes::from(frame)).await.is_err() {
                    return;
                }
                view.look();
            }
        });
        Self(receiver)
    }
}

impl Body for Live {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.get_mut().0.poll_recv(context);
        next.map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn file(text: &str, kind: &'static str) -> Answer {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    answer(StatusCode::OK, kind, Either::Left(body))
}

fn refuse(status: StatusCode, why: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(why.as_bytes()));
    answer(status, "text/plain; charset=utf-8", Either::Left(body))
}

fn answer(status: StatusCode, kind: &'static str, body: Either<Full<Bytes>, Live>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer.headers_mut().insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
    answer
}

const HTML: &str = include_str!("index.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Browsers at a time; more wait.
const CONNECTIONS: usize = 64;
/// Time for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Silence after which a sign of life is sent.
const QUIET: Duration = Duration::from_secs(5);
