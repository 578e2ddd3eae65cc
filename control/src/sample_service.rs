//! `carbyne sample-service`: a service to try a mesh with. It says what it was asked, and asks others when told to.
//!
//! | path | answer |
//! |---|---|
//! | `/call/NAME/…` | what the service NAME answers to `/…`, asked through this service's own sidecar |
//! | anything else | `{service, version, method, path, headers}`; at `/`, `calls` holds the answers of all services that it knows |

use std::{
    collections::BTreeMap, convert::Infallible, net::SocketAddr, process::ExitCode, rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::LocalSet};

use crate::{fetch::fetch, terminal};

/// Arguments of `carbyne sample-service`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Name that it answers with
    #[arg(long)]
    pub name: String,
    /// Version that it answers with
    #[arg(long, default_value = "")]
    pub version: String,
    /// Address to listen on
    #[arg(long)]
    pub listen: SocketAddr,
    /// Service that it may ask: NAME=HOST@ADDRESS, the address being its own sidecar's
    #[arg(long = "call", value_name = "NAME=HOST@ADDRESS", value_parser = Callee::parse)]
    pub calls: Vec<Callee>,
}

/// A service that a sample service may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callee {
    /// Name in paths and answers.
    pub name: String,
    /// Host of the request.
    pub host: String,
    /// Where the request is sent: an outbound listener of the own sidecar.
    pub through: SocketAddr,
}

impl Callee {
    /// Reads `NAME=HOST@ADDRESS`.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('=')
            .and_then(|(name, rest)| Some((name, rest.rsplit_once('@')?)));
        let Some((name, (host, through))) = parts else {
            return Err("expected NAME=HOST@ADDRESS".to_owned());
        };
        Ok(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            through: through
                .parse()
                .map_err(|error| format!("{through}: {error}"))?,
        })
    }

    /// The same as [`Callee::parse`] reads it.
    #[must_use]
    pub fn to_argument(&self) -> String {
        format!("{}={}@{}", self.name, self.host, self.through)
    }
}

/// Serves until it is killed.
pub fn main(arguments: &Arguments) -> ExitCode {
    // In `ps` and `top`, where it would be `exe` after being started from /proc/self/exe; a name is all that is lost.
    rustix::thread::set_name(c"carbyne-service").ok();
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| LocalSet::new().block_on(&runtime, serve(arguments.clone())));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::error(
                &format!(
                    "{} cannot serve on {}: {error}",
                    arguments.name, arguments.listen
                ),
                None,
            );
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> std::io::Result<()> {
    let listener = TcpListener::bind(arguments.listen).await?;
    let service = Rc::new(arguments);
    loop {
        // Out of descriptors, or a client that left again: the next one may do better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let service = Rc::clone(&service);
        tokio::task::spawn_local(async move {
            let answer = service_fn(|request| {
                let service = Rc::clone(&service);
                async move { Ok::<_, Infallible>(answer(&service, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            // A client that goes away in the middle is its own business.
            connection.await.ok();
        });
    }
}

async fn answer(service: &Arguments, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    let length = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes().len(),
        Err(error) => {
            return reply(
                StatusCode::BAD_REQUEST,
                &json!({"service": service.name, "error": error.to_string()}),
            );
        }
    };
    if let Some(rest) = target.strip_prefix("/call/") {
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(callee) = service.calls.iter().find(|callee| callee.name == name) else {
            let known: Vec<&str> = service
                .calls
                .iter()
                .map(|callee| callee.name.as_str())
                .collect();
            let message = format!("{name} is not known; known are: {}", known.join(", "));
            return reply(
                StatusCode::NOT_FOUND,
                &json!({"service": service.name, "error": message}),
            );
        };
        let (status, answer) = call(callee, &format!("/{path}"), &head.headers).await;
        return reply(status, &answer);
    }
    let mut said = json!({
        "service": service.name,
        "version": service.version,
        "method": head.method.as_str(),
        "path": target,
        "headers": headers(&head.headers),
    });
    if length > 0 {
        said["body_length"] = json!(length);
    }
    if target == "/" && !service.calls.is_empty() {
        let mut calls = Map::new();
        for callee in &service.calls {
            // Not a bare `/`: two services that know each other would ask for ever.
            let (status, answer) =
                call(callee, &format!("/?from={}", service.name), &head.headers).await;
            calls.insert(
                callee.name.clone(),
                json!({"status": status.as_u16(), "answer": answer}),
            );
        }
        said["calls"] = Value::Object(calls);
    }
    reply(StatusCode::OK, &said)
}

/// Asks another service; what cannot be asked is a 502 that says why.
async fn call(callee: &Callee, path: &str, from: &HeaderMap) -> (StatusCode, Value) {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, &callee.host);
    for name in TRACE_HEADERS {
        if let Some(value) = from.get(&name) {
            request = request.header(name, value);
        }
    }
    let request = match request.body(Empty::new()) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, json!({"error": error.to_string()})),
    };
    match fetch(callee.through, request, CALL_LIMIT).await {
        Ok(answer) => {
            let body = answer.body();
            let value = serde_json::from_slice(body)
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(body)));
            (answer.status(), value)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, json!({"error": error.to_string()})),
    }
}

fn headers(map: &HeaderMap) -> BTreeMap<&str, String> {
    let mut shown: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        shown
            .entry(name.as_str())
            .and_modify(|all| {
                all.push_str(", ");
                all.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    shown
}

fn reply(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut text = value.to_string();
    text.push('\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What a service must hand on so that the spans of its callers and callees meet (Istio: distributed tracing).
const TRACE_HEADERS: [HeaderName; 9] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
];
const CALL_LIMIT: Duration = Duration::from_secs(5);
const LONGEST_BODY: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callees_are_read_and_written() {
        let text = "billing=billing.shop.svc.cluster.local:8080@127.0.10.1:8080";
        let callee = Callee::parse(text).unwrap();
        assert_eq!(
            (callee.name.as_str(), callee.through.port()),
            ("billing", 8080)
        );
        assert_eq!(callee.host, "billing.shop.svc.cluster.local:8080");
        assert_eq!(callee.to_argument(), text);
        for bad in ["", "billing", "billing=host", "billing=host@127.0.0.1"] {
            assert!(Callee::parse(bad).is_err(), "{bad}");
        }
    }

    /// A service that knows itself under the name `self`: one process plays caller and callee.
    #[test]
    fn says_what_it_was_asked_and_asks_others() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listen = free.local_addr().unwrap();
            drop(free);
            let service = Arguments {
                name: "shop".to_owned(),
                version: "v2".to_owned(),
                listen,
                calls: vec![Callee {
                    name: "self".to_owned(),
                    host: "shop.test".to_owned(),
                    through: listen,
                }],
            };
            let server = tokio::task::spawn_local(serve(service));
            let ask = async |path: &str| {
                loop {
                    let request = Request::get(path)
                        .header("host", "outside")
                        .header("x-request-id", "r-1");
                    match fetch(listen, request.body(Empty::new()).unwrap(), CALL_LIMIT).await {
                        Err(crate::fetch::FetchError::Connect { .. }) => {
                            tokio::task::yield_now().await
                        }
                        other => {
                            let answer = other.unwrap();
                            break (
                                answer.status().as_u16(),
                                serde_json::from_slice::<Value>(answer.body()).unwrap(),
                            );
                        }
                    }
                }
            };
            let (status, said) = ask("/items?x=1").await;
            assert_eq!(status, 200);
            assert_eq!(said["service"], "shop");
            assert_eq!(said["version"], "v2");
            assert_eq!(said["path"], "/items?x=1");
            assert_eq!(said["headers"]["host"], "outside");
            let (status, said) = ask("/call/self/deep").await;
            assert_eq!((status, &said["path"]), (200, &json!("/deep")));
            assert_eq!(said["headers"]["host"], "shop.test");
            assert_eq!(said["headers"]["x-request-id"], "r-1");
            let (status, said) = ask("/call/other/").await;
            assert_eq!(
                (status, said["error"].as_str()),
                (404, Some("other is not known; known are: self"))
            );
            server.abort();
        });
    }
}
