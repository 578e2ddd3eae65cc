//! A wire that can break: bytes go through it both ways until one direction has carried so many.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::plane::How;
use crate::support::http1::reset_on_close;

/// Which bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connects.
    Forth,
    /// To who connects.
    Back,
}

/// Where the next connection breaks.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    pub direction: Direction,
    pub after: usize,
    pub how: How,
}

/// A wire to one address; its threads end with the process.
#[derive(Debug)]
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    target: Option<SocketAddr>,
    broken: Option<Break>,
    /// Bytes of the last connection, forth and back.
    carried: [usize; 2],
}

impl Relay {
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(State::default()));
        let inside = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (target, broken) = {
                    let mut state = inside.lock().unwrap();
                    state.carried = [0, 0];
                    (state.target, state.broken)
                };
                let Some(Ok(far)) = target.map(TcpStream::connect) else {
                    continue;
                };
                for socket in [&near, &far] {
                    socket.set_nodelay(true).unwrap_or_default();
                }
                let reset = Arc::new(AtomicBool::new(false));
                for direction in [Direction::Forth, Direction::Back] {
                    let (near, far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                    let (shared, reset) = (Arc::clone(&inside), Arc::clone(&reset));
                    std::thread::spawn(move || {
                        carry(direction, broken, &near, &far, &shared, &reset)
                    });
                }
            }
        });
        Self { address, shared }
    }

    /// Where it leads.
    pub fn leads_to(&self, target: SocketAddr) {
        self.shared.lock().unwrap().target = Some(target);
    }

    /// New connections break there, or do not.
    pub fn breaks(&self, broken: Option<Break>) {
        self.shared.lock().unwrap().broken = broken;
    }

    /// Bytes that the last connection carried in a direction.
    pub fn carried(&self, direction: Direction) -> usize {
        self.shared.lock().unwrap().carried[direction as usize]
    }
}

fn carry(
    direction: Direction,
    broken: Option<Break>,
    near: &TcpStream,
    far: &TcpStream,
    shared: &Mutex<State>,
    reset: &AtomicBool,
) {
    let (mut from, mut to) = match direction {
        Direction::Forth => (near, far),
        Direction::Back => (far, near),
    };
    let broken = broken.filter(|broken| broken.direction == direction);
    let mut left = broken.map_or(usize::MAX, |broken| broken.after);
    let mut chunk = [0; 16 * 1024];
    loop {
        if left == 0 {
            if broken.is_some_and(|broken| broken.how == How::Reset) {
                reset.store(true, Ordering::Release);
                for socket in [near, far] {
                    reset_on_close(socket);
                    // Wakes the other direction and tells the peers nothing: closing will.
                    socket.shutdown(Shutdown::Read).unwrap_or_default();
                }
                return;
            }
            for socket in [near, far] {
                socket.shutdown(Shutdown::Both).unwrap_or_default();
            }
            return;
        }
        let room = chunk.len().min(left);
        let Ok(count @ 1..) = from.read(&mut chunk[..room]) else {
            if reset.load(Ordering::Acquire) {
                return;
            }
            to.shutdown(Shutdown::Write).unwrap_or_default();
            return;
        };
        if to.write_all(&chunk[..count]).is_err() {
            from.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
        left -= count;
        shared.lock().unwrap().carried[direction as usize] += count;
    }
}
