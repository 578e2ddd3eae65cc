//! Starting workers, giving them listening sockets and work.

use std::fmt;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, watch};

use super::Worker;
use crate::net::Address;
use crate::net::listen::{ListenOptions, listen};
use crate::net::stream::Socket;

/// All workers. Dropping it ends them when their last task ends.
#[derive(Debug)]
pub struct Workers {
    senders: Vec<mpsc::UnboundedSender<Work>>,
    threads: Vec<JoinHandle<()>>,
    next: AtomicUsize,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// The peer's address.
    pub remote: Address,
    /// The address that it connected to.
    pub local: Address,
}

/// What serves accepted connections. The future runs on the worker that accepted.
pub trait Accept: fmt::Debug + Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(
        self: Arc<Self>,
        worker: Rc<Worker>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// A listening address. Dropping it closes the sockets after what waits in them was accepted.
#[derive(Debug)]
pub struct Listening {
    address: Address,
    stop: watch::Sender<bool>,
}

type Work = Box<dyn FnOnce(&Rc<Worker>) + Send>;

impl Workers {
    /// Starts `count` worker threads.
    pub fn start(count: usize) -> io::Result<Self> {
        crate::observe::metrics::configure_workers(count);
        let mut senders = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || run(index, runtime, receiver))?;
            senders.push(sender);
            threads.push(thread);
        }
        Ok(Self {
            senders,
            threads,
            next: AtomicUsize::new(0),
        })
    }

    /// Number of workers.
    pub fn count(&self) -> usize {
        self.senders.len()
    }

    /// Runs `work` on every worker.
    pub fn on_each(&self, work: impl Fn(&Rc<Worker>) + Send + Clone + 'static) {
        for sender in &self.senders {
            let work = work.clone();
            send(sender, Box::new(move |worker| work(worker)));
        }
    }

    /// Runs `work` on one worker, in turn.
    pub fn on_one(&self, work: impl FnOnce(&Rc<Worker>) + Send + 'static) {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.senders.len();
        send(&self.senders[index], Box::new(work));
    }

    /// Listens on `address`; every error that can happen has happened when this returns. A TCP address
    /// gets one socket a worker; a Unix socket one, on one worker.
    pub fn listen(
        &self,
        address: &Address,
        options: ListenOptions,
        accept: Arc<dyn Accept>,
    ) -> io::Result<Listening> {
        let (stop, _) = watch::channel(false);
        let address = match address {
            Address::Tcp(address) => {
                let sockets = if options.reuse_port {
                    self.senders.len()
                } else {
                    1
                };
                let first = listen(*address, options)?;
                // Port 0 is chosen by the first socket; the others join it.
                let bound = first.local_addr()?;
                let mut listeners = vec![first];
                for _ in 1..sockets {
                    listeners.push(listen(bound, options)?);
                }
                for (sender, listener) in self.senders.iter().zip(listeners) {
                    let accept = accept.clone();
                    let stop = stop.subscribe();
                    send(
                        sender,
                        Box::new(move |worker| spawn_tcp(listener, accept, worker, stop)),
                    );
                }
                Address::Tcp(bound)
            }
            Address::Unix(path) => {
                // A socket file that a killed process left behind would make bind fail for ever.
                if let Err(error) = std::fs::remove_file(path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
                let listener = std::os::unix::net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                let stop = stop.subscribe();
                let local = address.clone();
                self.on_one(move |worker| spawn_unix(listener, local, accept, worker, stop));
                address.clone()
            }
        };
        Ok(Listening { address, stop })
    }

    /// Ends the workers; tasks that still run are dropped.
    pub fn shutdown(self) {
        drop(self.senders);
        for thread in self.threads {
            // A worker that panicked has already said so on stderr.
            drop(thread.join());
        }
    }
}

impl Listening {
    /// The address that it listens on, with the port that the kernel chose.
    pub const fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn send(sender: &mpsc::UnboundedSender<Work>, work: Work) {
    // Fails only when the worker's thread ended, which happens at shutdown alone.
    drop(sender.send(work));
}

fn run(
    index: usize,
    mut builder: tokio::runtime::Builder,
    mut receiver: mpsc::UnboundedReceiver<Work>,
) {
    let runtime: LocalRuntime = match builder
        .enable_all()
        // One poll of the driver per so many tasks: the default of 61 starves accept under load less
        // than it costs in system calls.
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, index, "worker cannot start its runtime");
            return;
        }
    };
    runtime.block_on(async move {
        let worker = Worker::new(Some(index));
        while let Some(work) = receiver.recv().await {
            work(&worker);
        }
    });
}

fn spawn_tcp(
    listener: StdTcpListener,
    accept: Arc<dyn Accept>,
    worker: &Rc<Worker>,
    mut stop: watch::Receiver<bool>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot watch a listening socket");
            return;
        }
    };
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, remote)) => serve_tcp(&accept, &worker, stream, remote),
                Err(error) => accept_failed(&error).await,
            }
        }
        // What the kernel already gave to this socket would be reset by closing it.
        while let Some(Ok((stream, remote))) = at_once(listener.accept()).await {
            serve_tcp(&accept, &worker, stream, remote);
        }
    });
}

fn serve_tcp(
    accept: &Arc<dyn Accept>,
    worker: &Rc<Worker>,
    stream: TcpStream,
    remote: std::net::SocketAddr,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Fails only on a socket that is already dead, which the first read finds out.
    drop(stream.set_nodelay(true));
    let accepted = Accepted {
        socket: Socket::from(stream),
        remote: Address::Tcp(remote),
        local: Address::Tcp(local),
    };
    tokio::task::spawn_local(accept.clone().serve(worker.clone(), accepted));
}

fn spawn_unix(
    listener: std::os::unix::net::UnixListener,
    local: Address,
    accept: Arc<dyn Accept>,
    worker: &Rc<Worker>,
    mut stop: watch::Receiver<bool>,
) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot watch a listening socket");
            return;
        }
    };
    let worker = worker.clone();
    let serve = move |stream: UnixStream| {
        let accepted = Accepted {
            socket: Socket::from(stream),
            remote: local.clone(),
            local: local.clone(),
        };
        tokio::task::spawn_local(accept.clone().serve(worker.clone(), accepted));
    };
    tokio::task::spawn_local(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, _)) => serve(stream),
                Err(error) => accept_failed(&error).await,
            }
        }
        while let Some(Ok((stream, _))) = at_once(listener.accept()).await {
            serve(stream);
        }
    });
}

/// Waits a little where the process is out of file descriptors: accepting again at once would spin.
async fn accept_failed(error: &io::Error) {
    const OUT_OF_DESCRIPTORS: [i32; 2] = [libc::EMFILE, libc::ENFILE];
    if error
        .raw_os_error()
        .is_some_and(|code| OUT_OF_DESCRIPTORS.contains(&code))
    {
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The future's output if it has one now.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
