//! The thread that starts processes.
//!
//! The kernel sends a process's death signal when the *thread* that made it ends (`prctl(2)`, PR_SET_PDEATHSIG). A test's thread ends
//! long before a cluster that tests share, so nodes are started by a thread that ends with the cluster.

use std::{
    io,
    process::{Child, Command},
    sync::mpsc::{Sender, channel},
    thread,
};

/// Starts processes that live no longer than this, however the program ends.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: Sender<(Command, Sender<io::Result<Child>>)>,
}

impl Keeper {
    pub(super) fn start() -> Self {
        let (orders, taken) = channel::<(Command, Sender<io::Result<Child>>)>();
        thread::spawn(move || {
            for (mut command, answer) in taken {
                // The one who asked waits for the answer.
                answer.send(command.spawn()).ok();
            }
        });
        Self { orders }
    }

    pub(super) fn spawn(&self, command: Command) -> io::Result<Child> {
        let (answer, child) = channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.orders.send((command, answer)).map_err(|_| gone())?;
        child.recv().map_err(|_| gone())?
    }
}
