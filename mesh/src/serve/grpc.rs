//! gRPC by hand: two services of streaming methods, on TCP and Unix sockets.

use std::{
    convert::Infallible,
    future::Future,
    io,
    marker::PhantomData,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use prost::Message;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tonic::{
    Status, Streaming,
    body::Body,
    codegen::Service,
    server::{Grpc, NamedService, StreamingService},
};
use tonic_prost::ProstCodec;

/// A running server; dropping it lets it run, [`Server::stop`] ends it.
#[derive(Debug)]
pub struct Server {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
    address: Option<SocketAddr>,
    path: Option<PathBuf>,
}

impl Server {
    /// The address of a TCP server.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Closes the socket and all its streams, removes a Unix socket's file.
    pub async fn stop(self) {
        self.closing.send_replace(true);
        self.task.abort();
        if let Err(error) = self.task.await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "xDS server failed");
        }
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "socket file not removed");
        }
    }
}

/// A service with named streaming methods.
pub(super) trait Methods: Clone + Send + Sync + 'static {
    /// Full service name.
    const NAME: &'static str;

    /// Answers a call of this method; none when there is no such method.
    fn call(&self, method: &str, request: http::Request<Body>) -> Option<BoxedResponse>;
}

/// A gRPC answer under way.
pub(super) type BoxedResponse = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

/// Turns true when the server stops; rides on each request to the task of its stream.
#[derive(Clone)]
struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Waits for the end. A dropped [`Server`] is not an end: the server goes on.
    async fn wait(mut self) {
        if self.0.wait_for(|closing| *closing).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The tower service of [`Methods`].
#[derive(Clone)]
struct Routed<M>(M, Closing);

impl<M: Methods> NamedService for Routed<M> {
    const NAME: &'static str = M::NAME;
}

impl<M: Methods> Service<http::Request<Body>> for Routed<M> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.extensions_mut().insert(self.1.clone());
        let method = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        match self.0.call(&method, request) {
            Some(answer) => Box::pin(async move { Ok(answer.await) }),
            None => Box::pin(async move { Ok(Status::unimplemented(method).into_http()) }),
        }
    }
}

/// A bidirectional stream: `handler` runs as a task with what comes in and where to put what goes out.
pub(super) fn streaming<I, O, F, H>(request: http::Request<Body>, handler: H) -> BoxedResponse
where
    I: Message + Default + Send + 'static,
    O: Message + Default + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    H: FnOnce(Streaming<I>, mpsc::Sender<Result<O, Status>>) -> F + Send + 'static,
{
    let closing = request.extensions().get::<Closing>().cloned();
    Box::pin(async move {
        let mut grpc =
            Grpc::new(ProstCodec::<O, I>::default()).max_decoding_message_size(MAX_REQUEST);
        grpc.streaming(
            Bidirectional(Some((handler, closing)), PhantomData),
            request,
        )
        .await
    })
}

struct Bidirectional<I, O, H>(Option<(H, Option<Closing>)>, PhantomData<fn(I) -> O>);

impl<I, O, F, H> StreamingService<I> for Bidirectional<I, O, H>
where
    I: Message + Default + Send + 'static,
    O: Message + Default + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
    H: FnOnce(Streaming<I>, mpsc::Sender<Result<O, Status>>) -> F + Send + 'static,
{
    type Response = O;
    type ResponseStream = ReceiverStream<Result<O, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<I>>) -> Self::Future {
        let Some((handler, closing)) = self.0.take() else {
            return std::future::ready(Err(Status::internal("called twice")));
        };
        let (out, stream) = mpsc::channel(QUEUE);
        let handled = handler(request.into_inner(), out);
        tokio::spawn(async move {
            match closing {
                Some(closing) => tokio::select! {
                    () = handled => {}
                    () = closing.wait() => {}
                },
                None => handled.await,
            }
        });
        std::future::ready(Ok(tonic::Response::new(ReceiverStream::new(stream))))
    }
}

/// Serves on a Unix socket; a file left by an earlier run is replaced.
pub(super) fn unix<M: Methods>(path: &Path, methods: M) -> io::Result<Server> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let (closing, closed) = watch::channel(false);
    let closed = Closing(closed);
    let serving = tonic::transport::Server::builder()
        .add_service(Routed(methods, closed.clone()))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), closed.wait());
    Ok(Server {
        closing,
        task: spawn(serving),
        address: None,
        path: Some(path.to_owned()),
    })
}

/// Serves on a TCP address.
pub(super) async fn tcp<M: Methods>(address: SocketAddr, methods: M) -> io::Result<Server> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (closing, closed) = watch::channel(false);
    let closed = Closing(closed);
    let serving = tonic::transport::Server::builder()
        .add_service(Routed(methods, closed.clone()))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), closed.wait());
    Ok(Server {
        closing,
        task: spawn(serving),
        address: Some(address),
        path: None,
    })
}

fn spawn(
    serving: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "xDS server ended");
        }
    })
}

/// An ACK that lists thousands of names must fit (istio.md 1.5).
const MAX_REQUEST: usize = 64 << 20;
/// Responses waiting for a slow client.
const QUEUE: usize = 16;
