//! Starting workers, giving them listening sockets and work.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, watch};

use super::Worker;
use super::budget::{self, Arrival};
use crate::net::Address;
use crate::net::listen::{ListenOptions, bind, listen};
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
    /// Dropped by whoever has counted it.
    pub arrival: Arrival,
}

/// What serves accepted connections. The future runs on the worker that accepted.
pub trait Accept: fmt::Debug + Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(
        self: Arc<Self>,
        worker: Rc<Worker>,
        accepted: Accepted,
    ) -> Pin<Box<dyn Future<Output = ()>>>;

    /// A connection was closed as it came: too many are open ([`budget`]).
    fn overflowed(&self) {}
}

/// An address that is taken and does not take connections yet.
#[derive(Debug)]
pub struct Bound {
    address: Address,
    options: ListenOptions,
    sockets: Sockets,
}

#[derive(Debug)]
enum Sockets {
    /// One a worker, or one.
    Tcp(Vec<socket2::Socket>),
    Unix(StdUnixListener),
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
        self.serve(self.bind(address, options)?, accept)
    }

    /// Takes an address without taking connections: whether it is free shows before anything waits for it.
    pub fn bind(&self, address: &Address, options: ListenOptions) -> io::Result<Bound> {
        let (address, sockets) = match address {
            Address::Tcp(address) => {
                let count = if options.reuse_port {
                    self.senders.len()
                } else {
                    1
                };
                let first = bind(*address, options)?;
                // Port 0 is chosen by the first socket; the others join it.
                let bound = local_address(&first)?;
                let mut sockets = vec![first];
                for _ in 1..count {
                    sockets.push(bind(bound, options)?);
                }
                (Address::Tcp(bound), Sockets::Tcp(sockets))
            }
            Address::Unix(path) => {
                // A socket file that a killed process left behind would make bind fail for ever.
                if let Err(error) = std::fs::remove_file(path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(error);
                }
                let listener = StdUnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                if let Some(mode) = options.mode {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
                }
                (address.clone(), Sockets::Unix(listener))
            }
        };
        Ok(Bound {
            address,
            options,
            sockets,
        })
    }

    /// Takes connections at a bound address.
    pub fn serve(&self, bound: Bound, accept: Arc<dyn Accept>) -> io::Result<Listening> {
        let (stop, _) = watch::channel(false);
        let Bound {
            address,
            options,
            sockets,
        } = bound;
        match sockets {
            Sockets::Tcp(sockets) => {
                let listeners = sockets.into_iter().map(|socket| listen(socket, options));
                let listeners: Vec<_> = listeners.collect::<io::Result<_>>()?;
                for (sender, listener) in self.senders.iter().zip(listeners) {
                    let accept = accept.clone();
                    let stop = stop.subscribe();
                    let open = Arrival::new();
                    send(
                        sender,
                        Box::new(move |worker| spawn_tcp(listener, accept, worker, stop, open)),
                    );
                }
            }
            Sockets::Unix(listener) => {
                let stop = stop.subscribe();
                let local = address.clone();
                let open = Arrival::new();
                self.on_one(move |worker| spawn_unix(listener, local, accept, worker, stop, open));
            }
        }
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

impl Bound {
    /// The address, with the port that the kernel chose.
    pub const fn address(&self) -> &Address {
        &self.address
    }
}

fn local_address(socket: &socket2::Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
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
    open: Arrival,
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
        let _open = open;
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, remote)) => {
                    trouble.over();
                    serve_tcp(&accept, &worker, stream, remote);
                }
                Err(error) => trouble.wait(&error).await,
            }
        }
        // What the kernel already gave to this socket would be reset by closing it. Asked of the kernel itself: the
        // runtime may not know yet, or may want the task to pause.
        let Ok(listener) = listener.into_std() else {
            return;
        };
        // Nothing may come between the last look and the close: a client whose SYN is lost asks again, and is refused.
        drop(SockRef::from(&listener).attach_filter(&[nothing_passes()]));
        while let Some((stream, remote)) = last(|| listener.accept()).await {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                serve_tcp(&accept, &worker, stream, remote);
            }
        }
    });
}

fn serve_tcp(accept: &Arc<dyn Accept>, worker: &Rc<Worker>, stream: TcpStream, remote: SocketAddr) {
    if budget::is_exhausted() {
        accept.overflowed();
        return;
    }
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Fails only on a socket that is already dead, which the first read finds out.
    drop(stream.set_nodelay(true));
    let accepted = Accepted {
        socket: Socket::from(stream),
        remote: Address::Tcp(remote),
        local: Address::Tcp(local),
        arrival: Arrival::new(),
    };
    tokio::task::spawn_local(accept.clone().serve(worker.clone(), accepted));
}

fn spawn_unix(
    listener: StdUnixListener,
    local: Address,
    accept: Arc<dyn Accept>,
    worker: &Rc<Worker>,
    mut stop: watch::Receiver<bool>,
    open: Arrival,
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
        if budget::is_exhausted() {
            accept.overflowed();
            return;
        }
        let accepted = Accepted {
            socket: Socket::from(stream),
            remote: local.clone(),
            local: local.clone(),
            arrival: Arrival::new(),
        };
        tokio::task::spawn_local(accept.clone().serve(worker.clone(), accepted));
    };
    tokio::task::spawn_local(async move {
        let _open = open;
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    trouble.over();
                    serve(stream);
                }
                Err(error) => trouble.wait(&error).await,
            }
        }
        let Ok(listener) = listener.into_std() else {
            return;
        };
        while let Some((stream, _)) = last(|| listener.accept()).await {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| UnixStream::from_std(stream));
            if let Ok(stream) = stream {
                serve(stream);
            }
        }
    });
}

/// The packet filter `ret #0` (SO_ATTACH_FILTER, socket(7)).
fn nothing_passes() -> SockFilter {
    SockFilter::new(0x06, 0, 0, 0)
}

/// What waits in a socket that is about to close; `None` when nothing does.
async fn last<T>(mut accept: impl FnMut() -> io::Result<T>) -> Option<T> {
    // Nobody is to wait for ever for the descriptors of a socket that is about to close.
    for _ in 0..LAST_TRIES {
        match accept() {
            Ok(accepted) => return Some(accepted),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    None
}

/// Accepting fails, for want of file descriptors or of memory: at once again would spin, and the connection stays
/// where it is.
#[derive(Debug, Default)]
struct Trouble {
    told: bool,
}

impl Trouble {
    async fn wait(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "cannot accept connections");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    const fn over(&mut self) {
        self.told = false;
    }
}

/// Whether only the connection failed that was to be accepted (accept(2): pending network errors among them).
fn is_of_one_connection(error: &io::Error) -> bool {
    const OF_ONE: [i32; 10] = [
        libc::ECONNABORTED,
        libc::ECONNRESET,
        libc::EINTR,
        libc::EPERM,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENOPROTOOPT,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| OF_ONE.contains(&code))
}

/// How long accepting pauses when the system refuses.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const LAST_TRIES: usize = 20;
