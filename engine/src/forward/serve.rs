//! A downstream connection: codec, requests one after another or side by side.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, StatusCode, Version, header};
use tokio::io::AsyncReadExt;

use super::exchange::{Counts, Downstream, Events, Exchange, Timing, Upstream};
use super::responder::Responder;
use super::{Answer, Handler, request};
use crate::http::canonical::{self, Policy, Rejection, Verdict};
use crate::http::h1::server::{Next, ReadTimeouts, ServerConnection};
use crate::http::h1::{HeadError, Limits};
use crate::http::{Body, Request, h2};
use crate::net::Stream;
use crate::runtime::{DrainSignal, Timer, Worker, clock};

/// How a listener's HTTP connections are served.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Which codec.
    pub codec: Codec,
    /// Limits of heads.
    pub limits: Limits,
    /// HTTP/2 limits.
    pub http2: h2::Settings,
    /// HTTP/2 frame budgets.
    pub budgets: Arc<h2::Budgets>,
    /// How host and path become canonical.
    pub policy: Policy,
    /// Longest silence between requests; `None` is no limit.
    pub idle_timeout: Option<Duration>,
    /// From the first byte of a head to its last; `None` is no limit.
    pub head_timeout: Option<Duration>,
    /// How many requests a connection may carry; `None` is no limit.
    pub max_requests: Option<u64>,
    /// The host of HTTP/1.0 requests that name none.
    pub default_host: Option<Bytes>,
    /// Whether `Expect: 100-continue` and informational responses are between client and host. Otherwise the one is
    /// answered here and the others are dropped. [`Limits::forward_expect`] says the same to HTTP/1.
    pub forward_interim: bool,
}

/// Which codec a connection is served with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN, else by the first bytes.
    #[default]
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Why a request never became an exchange.
#[derive(Debug)]
pub enum Refusal {
    /// Its head is malformed or too large.
    Head(HeadError),
    /// Its head did not become complete in time.
    HeadTimeout,
    /// It holds what the codec must not let through, whatever the policy.
    Request(Rejection),
}

/// What serving one connection needs.
#[derive(Debug)]
pub struct Serve<H> {
    /// The worker that accepted it.
    pub worker: Rc<Worker>,
    /// What happens to its requests.
    pub handler: Rc<H>,
    /// How it is served.
    pub settings: Arc<ServeSettings>,
    /// What is known about it.
    pub downstream: Rc<Downstream>,
    /// Told when the listener drains.
    pub drain: DrainSignal,
}

impl Default for ServeSettings {
    /// The safe defaults of docs/architecture.md.
    fn default() -> Self {
        Self {
            codec: Codec::Auto,
            limits: Limits::default(),
            http2: h2::Settings::default(),
            budgets: Arc::default(),
            policy: Policy::default(),
            idle_timeout: Some(Duration::from_secs(3600)),
            head_timeout: Some(Duration::from_secs(10)),
            max_requests: None,
            default_host: None,
            forward_interim: false,
        }
    }
}

impl<H: Handler> Serve<H> {
    /// Serves every request of the connection.
    pub async fn run(mut self, mut stream: Stream) {
        let http2 = match self.settings.codec {
            Codec::Http1 => false,
            Codec::Http2 => true,
            Codec::Auto => match self.negotiated() {
                Some(http2) => http2,
                None => match Box::pin(self.detect(&mut stream)).await {
                    Some(http2) => http2,
                    None => return,
                },
            },
        };
        if http2 {
            // Boxed, as is everything else that a waiting HTTP/1 connection has no use for.
            Box::pin(self.http2(stream)).await;
        } else {
            self.http1(stream).await;
        }
    }

    /// What ALPN says.
    fn negotiated(&self) -> Option<bool> {
        let alpn = self.downstream.tls.as_ref()?.alpn.as_deref()?;
        match alpn {
            b"h2" => Some(true),
            b"http/1.1" | b"http/1.0" => Some(false),
            _ => None,
        }
    }

    /// Reads until the first bytes tell whether they are HTTP/2's preface.
    async fn detect(&self, stream: &mut Stream) -> Option<bool> {
        let mut read = BytesMut::new();
        let decide = async {
            loop {
                let known = read.len().min(PREFACE.len());
                if read[..known] != PREFACE[..known] {
                    return Some(false);
                }
                if known == PREFACE.len() {
                    return Some(true);
                }
                // Small on purpose: most connections are decided by their first byte.
                read.reserve(PREFACE.len());
                match stream.read_buf(&mut read).await {
                    Ok(1..) => {}
                    _ => return None,
                }
            }
        };
        let limit = self.settings.idle_timeout.unwrap_or(Duration::MAX);
        let mut drain = self.drain.clone();
        let decided = tokio::select! {
            biased;
            decided = decide => decided,
            () = tokio::time::sleep(limit) => None,
            () = first_request_is_due(&mut drain) => None,
        };
        stream.rewind(read.freeze());
        decided
    }

    async fn http1(&mut self, stream: Stream) {
        let settings = self.settings.clone();
        let connection = Rc::new(ServerConnection::new(stream, settings.limits.clone()));
        let timeouts = ReadTimeouts {
            idle: settings.idle_timeout,
            head: settings.head_timeout,
        };
        let mut timer = Timer::default();
        let mut since = Instant::now();
        // A connection that was accepted is owed an answer, also where the drain has finished by then.
        let mut owed = Some(Timer::default());
        let mut left = settings.max_requests;
        loop {
            let stop = |cx: &mut Context<'_>| {
                ready!(self.drain.poll_finished(cx));
                match &mut owed {
                    Some(timer) => timer.poll(cx, since + FIRST_REQUEST),
                    None => Poll::Ready(()),
                }
            };
            let next = connection.next(timeouts, since, &mut timer, stop).await;
            match next {
                Next::Closed => break,
                Next::Refused(error) => {
                    Box::pin(self.refuse(&connection, Refusal::Head(error))).await;
                    break;
                }
                Next::HeadTimeout => {
                    Box::pin(self.refuse(&connection, Refusal::HeadTimeout)).await;
                    break;
                }
                Next::Request(mut head, body) => {
                    if let Some(left) = &mut left {
                        *left = left.saturating_sub(1);
                        head.keep_alive &= *left > 0;
                    }
                    // Boxed: an exchange is some kilobytes that an idle connection need not hold.
                    let ended =
                        Box::pin(self.exchange_http1(&connection, *head, body, &mut timer)).await;
                    let Some(ended) = ended else {
                        break;
                    };
                    if !connection.drain_body(DRAIN_LIMIT).await {
                        break;
                    }
                    since = ended;
                    owed = None;
                }
            }
        }
        Box::pin(connection.close()).await;
    }

    /// When the exchange ended, if the connection may carry another one.
    async fn exchange_http1(
        &self,
        connection: &Rc<ServerConnection>,
        head: crate::http::h1::RequestHead,
        body: Body,
        timer: &mut Timer,
    ) -> Option<Instant> {
        let mut request = head.request;
        if request.authority.is_empty()
            && request.version == Version::HTTP_10
            && let Some(host) = &self.settings.default_host
        {
            request.authority = host.clone();
        }
        let verdict = canonical::apply(&mut request, &self.settings.policy);
        if let Err(rejection) = verdict
            && rejection.is_malformed()
        {
            Box::pin(self.refuse(connection, Refusal::Request(rejection))).await;
            return None;
        }
        // Whatever follows a request for another protocol is no request, also where the answer is no.
        let keep_alive = head.keep_alive && head.upgrade.is_none() && !self.drain.is_started();
        let responder = connection.responder(request.method.clone(), request.version, keep_alive);
        let mut responder = Responder::H1 {
            responder,
            connection: connection.clone(),
            drain: self.drain.clone(),
            forward_interim: self.settings.forward_interim,
            head_sent: false,
            upgraded: false,
        };
        let ended = self
            .exchange(request, verdict, body, head.upgrade, &mut responder, timer)
            .await;
        ended.filter(|_| responder.keeps_alive())
    }

    async fn http2(&mut self, stream: Stream) {
        let settings = self.settings.clone();
        let handshake = h2::server::ServerConnection::handshake(
            stream,
            &settings.http2,
            settings.budgets.clone(),
            settings.head_timeout,
        );
        let Some(mut connection) = handshake.await else {
            return;
        };
        let this = Rc::new(Self {
            worker: self.worker.clone(),
            handler: self.handler.clone(),
            settings: self.settings.clone(),
            downstream: self.downstream.clone(),
            drain: self.drain.clone(),
        });
        let timers: Rc<RefCell<Vec<Timer>>> = Rc::default();
        let mut idle = Idle::default();
        let mut left = settings.max_requests;
        loop {
            let next = poll_fn(|cx| {
                let next = connection.poll_accept(cx);
                if next.is_pending() && !idle.drains {
                    let limit = settings.idle_timeout;
                    let idles = !connection.has_streams();
                    if left == Some(0)
                        || self.drain.poll_started(cx).is_ready()
                        || idle.poll(cx, idles, limit)
                    {
                        idle.drains = true;
                        connection.drain();
                        // At once: the client may be about to send.
                        return connection.poll_accept(cx);
                    }
                }
                next
            })
            .await;
            let Some((mut request, body, responder)) = next else {
                return;
            };
            if let Some(left) = &mut left {
                *left = left.saturating_sub(1);
            }
            let this = this.clone();
            let timers = timers.clone();
            // Boxed: spawning moves a task around several times.
            tokio::task::spawn_local(Box::pin(async move {
                let forward_interim = this.settings.forward_interim;
                let mut responder = Responder::H2 {
                    responder,
                    forward_interim,
                    head_sent: false,
                };
                if !forward_interim && expects_continue(&request) {
                    request.headers.remove(&header::EXPECT);
                    responder.go_on();
                }
                let mut timer = timers.borrow_mut().pop().unwrap_or_default();
                let verdict = canonical::apply(&mut request, &this.settings.policy);
                this.exchange(request, verdict, body, None, &mut responder, &mut timer)
                    .await;
                let mut timers = timers.borrow_mut();
                if timers.len() < TIMERS_KEPT {
                    timers.push(timer);
                }
            }));
        }
    }

    /// One exchange from its head to its log line; when it ended, if it ended in order.
    async fn exchange(
        &self,
        request: Request,
        verdict: Result<Verdict, Rejection>,
        body: Body,
        upgrade: Option<Bytes>,
        responder: &mut Responder,
        timer: &mut Timer,
    ) -> Option<Instant> {
        let timing = Timing::now(body.is_end());
        let mut exchange = Exchange {
            worker: self.worker.clone(),
            downstream: self.downstream.clone(),
            request,
            body,
            upgrade,
            response: None,
            response_body: Body::empty(),
            response_trailers: None,
            context: self.handler.context(),
            timing,
            upstream: Upstream::default(),
            attempts: 0,
            events: Events::default(),
            details: "".into(),
            counts: Counts::default(),
        };
        let entrance = match verdict {
            Ok(Verdict::Continue) => Ok(()),
            Ok(Verdict::Redirect) => Err(request::Stop::from(redirect(&exchange.request))),
            Err(rejection) => Err(request::Stop::from(super::Error::Refused {
                status: rejection.status(),
                details: rejection.detail(),
            })),
        };
        let complete =
            request::serve(&*self.handler, &mut exchange, responder, timer, entrance).await;
        let timing = &exchange.timing;
        complete.then(|| timing.start + timing.end.unwrap_or_default())
    }

    /// Answers bytes that are no request.
    async fn refuse(&self, connection: &Rc<ServerConnection>, refusal: Refusal) {
        let answer = self.handler.refused(&self.downstream, &refusal);
        let mut responder = connection.responder(Method::GET, Version::HTTP_11, false);
        let mut response = answer.response;
        response
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
        let date = clock::date(SystemTime::now());
        response.headers.append(header::DATE, date);
        let length = answer.body.len() as u64;
        if responder.head(&response, Some(length), None).is_ok() {
            responder.data(answer.body);
            // The connection closes either way.
            drop(poll_fn(|cx| responder.poll_flush(cx)).await);
        }
    }
}

/// Since when an HTTP/2 connection has no streams.
#[derive(Default)]
struct Idle {
    since: Option<Instant>,
    timer: Timer,
    /// Whether the client was told to go.
    drains: bool,
}

impl Idle {
    /// Whether a connection that idles now did so for too long.
    fn poll(&mut self, cx: &mut Context<'_>, idles: bool, limit: Option<Duration>) -> bool {
        if !idles {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let due = limit.and_then(|limit| since.checked_add(limit));
        due.is_some_and(|due| self.timer.poll(cx, due).is_ready())
    }
}

fn expects_continue(request: &Request) -> bool {
    request
        .headers
        .get(&header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Sends the client to the path in its canonical form (Envoy: `UNESCAPE_AND_REDIRECT`).
fn redirect(request: &Request) -> Answer {
    let mut answer = Answer::text(
        StatusCode::TEMPORARY_REDIRECT,
        "",
        "path_normalization_failed",
    );
    if let Ok(location) = HeaderValue::from_maybe_shared(request.path.clone()) {
        answer.response.headers.append(header::LOCATION, location);
    }
    answer
}

/// Waits until a connection that has sent nothing is to close: a while after the drain finished, for what is on its
/// way through the kernel.
async fn first_request_is_due(drain: &mut DrainSignal) {
    drain.finished().await;
    tokio::time::sleep(FIRST_REQUEST).await;
}

/// How long a draining connection waits for its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Armed timers that a connection keeps for its next streams.
const TIMERS_KEPT: usize = 16;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of an unread request that are read and dropped to keep a connection.
const DRAIN_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{Error, Route, Target};
    use crate::net::Address;
    use crate::net::stream::Socket;
    use crate::runtime::Drain;

    #[derive(Debug)]
    struct Nothing;

    impl Handler for Nothing {
        type Context = [u64; 64];

        fn context(&self) -> [u64; 64] {
            [0; 64]
        }

        async fn request(&self, _exchange: &mut Exchange<[u64; 64]>) -> Result<Route, Answer> {
            Ok(Route::default())
        }

        async fn attempt(
            &self,
            _exchange: &mut Exchange<[u64; 64]>,
            _number: u32,
        ) -> Result<Target, Error> {
            Err(Error::NoHealthyHost)
        }

        async fn response(&self, _exchange: &mut Exchange<[u64; 64]>) -> Result<(), Answer> {
            Ok(())
        }

        fn error(&self, _exchange: &mut Exchange<[u64; 64]>, _error: &Error) -> Answer {
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, "", "")
        }

        fn answered(&self, _exchange: &mut Exchange<[u64; 64]>) {}

        fn log(&self, _exchange: &Exchange<[u64; 64]>) {}

        fn refused(&self, _downstream: &Downstream, _refusal: &Refusal) -> Answer {
            Answer::text(StatusCode::BAD_REQUEST, "", "")
        }
    }

    /// Ten thousand connections that wait are ten thousand of these: what a request needs is not in it.
    #[test]
    fn a_connection_that_waits_is_small() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let (socket, _peer) = tokio::net::UnixStream::pair().unwrap();
            let address = Address::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
            let serve = Serve {
                worker: Worker::new(None),
                handler: Rc::new(Nothing),
                settings: Arc::default(),
                downstream: Rc::new(Downstream {
                    id: 0,
                    local: address.clone(),
                    remote: address.clone(),
                    direct_remote: address,
                    server_name: None,
                    tls: None,
                    accepted: Instant::now(),
                }),
                drain: Drain::new().signal(),
            };
            let connection = ServerConnection::memory();
            let future = serve.run(Socket::from(socket).into());
            let task = size_of_val(&future);
            assert!(task <= 1088, "{task} bytes a task");
            assert!(connection <= 512, "{connection} bytes a connection");
        });
    }
}
