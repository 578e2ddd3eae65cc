//! The admin port's listener: every request is answered by `crate::admin`.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use carbyne_engine::forward::serve::{Refusal, Serve, ServeSettings};
use carbyne_engine::forward::{Answer, Downstream, Error, Exchange, Handler, Route, Target};
use carbyne_engine::http::canonical::Policy;
use carbyne_engine::net::Address;
use carbyne_engine::runtime::{Drain, Worker};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::net::TcpListener;

use super::http::local_reply;
use crate::admin::{self, State};

/// Answers requests from the readable state.
pub struct AdminHandler<S> {
    state: Rc<S>,
}

/// Serves the admin port until the runtime ends. Runs on the control runtime: a page may take a while.
pub async fn serve<S: State + 'static>(listener: TcpListener, worker: Rc<Worker>, state: Rc<S>) {
    let drain = Drain::new();
    let handler = Rc::new(AdminHandler { state });
    let settings = Arc::new(ServeSettings {
        // pilot-agent sends regular expressions unescaped: nothing of the target may be rewritten.
        policy: Policy {
            normalize_path: false,
            ..Policy::default()
        },
        ..ServeSettings::default()
    });
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors; the next connection may find one.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let remote = Address::Tcp(remote);
        let serve = Serve {
            worker: worker.clone(),
            handler: handler.clone(),
            settings: settings.clone(),
            downstream: Rc::new(Downstream {
                id: 0,
                local: Address::Tcp(local),
                direct_remote: remote.clone(),
                remote,
                server_name: None,
                tls: None,
                accepted: Instant::now(),
            }),
            drain: drain.signal(),
        };
        let served: Pin<Box<dyn Future<Output = ()>>> = Box::pin(serve.run(stream_of(stream)));
        tokio::task::spawn_local(served);
    }
}

fn stream_of(stream: tokio::net::TcpStream) -> carbyne_engine::net::Stream {
    carbyne_engine::net::stream::Socket::from(stream).into()
}

impl<S: State + 'static> Handler for AdminHandler<S> {
    type Context = ();

    fn context(&self) {}

    async fn request(&self, exchange: &mut Exchange<()>) -> Result<Route, Answer> {
        let request = &exchange.request;
        let target = String::from_utf8_lossy(&request.path);
        let asked = admin::Request {
            method: request.method.as_str(),
            target: &target,
        };
        let page = admin::handle(asked, &*self.state);
        let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = Answer::text(status, page.body, "admin");
        let headers = &mut answer.response.headers;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(page.content_type),
        );
        for (name, value) in admin::FIELDS {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        Err(answer)
    }

    async fn attempt(&self, _: &mut Exchange<()>, _: u32) -> Result<Target, Error> {
        Err(Error::NoCluster)
    }

    async fn response(&self, _: &mut Exchange<()>) -> Result<(), Answer> {
        Ok(())
    }

    fn error(&self, _: &mut Exchange<()>, error: &Error) -> Answer {
        local_reply::error(
            error,
            local_reply::Circumstances {
                not_found: StatusCode::SERVICE_UNAVAILABLE,
                retried: false,
                complete: true,
            },
        )
    }

    fn answered(&self, _: &mut Exchange<()>) {}

    fn log(&self, _: &Exchange<()>) {}

    fn refused(&self, _: &Downstream, refusal: &Refusal) -> Answer {
        let mut answer = local_reply::refused(refusal);
        answer.details = Cow::Borrowed("admin");
        answer
    }
}

impl<S> fmt::Debug for AdminHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminHandler").finish_non_exhaustive()
    }
}
