//! Listening sockets. They belong to addresses: listeners come, change and go behind them, and a connection that the
//! kernel took for one is served by whichever is there.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use carbyne_engine::net::Address;
use carbyne_engine::net::listen::ListenOptions;
use carbyne_engine::runtime::{Bound, Listening, Workers};

use super::connection::Entrance;
use super::listener::{LiveListener, Unbound};

/// Every socket that is bound, by the address that its listener asked for.
#[derive(Debug)]
pub struct Sockets {
    workers: Arc<Workers>,
    unbound: Arc<Unbound>,
    held: BTreeMap<Address, Held>,
}

/// Why a listener does not get an address.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another listener has it.
    #[error("duplicate address {address}: listener {owner} has it")]
    Taken {
        /// The address.
        address: Address,
        /// Who has it.
        owner: Arc<str>,
    },
    /// The system refuses it.
    #[error("cannot listen on {address}: {source}")]
    System {
        /// The address.
        address: Address,
        /// The system's words.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Held {
    /// Name of the listener behind it; none where that was removed and nobody has come yet.
    owner: Option<Arc<str>>,
    /// What connections meet.
    live: Arc<ArcSwapOption<LiveListener>>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits for its listener; refuses connections.
    Bound(Bound),
    Listening(Listening),
    /// Closed, as after a drain.
    Closed,
}

impl Sockets {
    /// None yet.
    pub const fn new(workers: Arc<Workers>, unbound: Arc<Unbound>) -> Self {
        Self {
            workers,
            unbound,
            held: BTreeMap::new(),
        }
    }

    /// Takes these addresses for a listener, all or none. Those that it has, or that nobody has any more, stay as they
    /// are; new ones are bound, and refuse connections until [`Sockets::serve`].
    pub fn claim(
        &mut self,
        owner: &Arc<str>,
        addresses: &[Address],
        options: ListenOptions,
    ) -> Result<(), ClaimError> {
        let mut opened = Vec::new();
        for address in addresses {
            let other = self.held.get(address).map(|held| &held.owner);
            match other {
                Some(Some(other)) if other != owner => {
                    return Err(ClaimError::Taken {
                        address: address.clone(),
                        owner: other.clone(),
                    });
                }
                Some(_) => {}
                // Named twice by one listener, it is one socket.
                None if opened.iter().any(|(other, _)| other == address) => {}
                None => {
                    let bound = self.workers.bind(address, options);
                    let bound = bound.map_err(|source| ClaimError::System {
                        address: address.clone(),
                        source,
                    })?;
                    opened.push((address.clone(), bound));
                }
            }
        }
        for address in addresses {
            if let Some(held) = self.held.get_mut(address) {
                held.owner = Some(owner.clone());
            }
        }
        for (address, bound) in opened {
            let held = Held {
                owner: Some(owner.clone()),
                live: Arc::default(),
                state: State::Bound(bound),
            };
            self.held.insert(address, held);
        }
        Ok(())
    }

    /// From now on connections to these addresses meet `listener`. Other addresses that it had are closed.
    pub fn serve(
        &mut self,
        owner: &Arc<str>,
        addresses: &[Address],
        listener: &Arc<LiveListener>,
    ) -> Result<(), ClaimError> {
        for address in addresses {
            let Some(held) = self.held.get_mut(address) else {
                continue;
            };
            held.live.store(Some(listener.clone()));
            if !matches!(held.state, State::Bound(_)) {
                continue;
            }
            if let State::Bound(bound) = std::mem::replace(&mut held.state, State::Closed) {
                let entrance = Entrance {
                    live: held.live.clone(),
                    unbound: self.unbound.clone(),
                };
                match self.workers.serve(bound, Arc::new(entrance)) {
                    Ok(listening) => held.state = State::Listening(listening),
                    Err(source) => {
                        self.held.remove(address);
                        return Err(ClaimError::System {
                            address: address.clone(),
                            source,
                        });
                    }
                }
            }
        }
        self.held.retain(|address, held| {
            held.owner.as_ref() != Some(owner) || addresses.contains(address)
        });
        Ok(())
    }

    /// The listener is gone. Its sockets wait for [`Sockets::sweep`]: another may come to the same address.
    pub fn leave(&mut self, owner: &Arc<str>) {
        for held in self.held.values_mut() {
            if held.owner.as_ref() == Some(owner) {
                held.owner = None;
            }
        }
    }

    /// Closes the sockets that nobody has any more; what waits in them is served by the last listener there.
    pub fn sweep(&mut self) {
        self.held.retain(|_, held| held.owner.is_some());
    }

    /// Closes a listener's sockets and keeps their addresses.
    pub fn close(&mut self, owner: &Arc<str>) {
        for held in self.held.values_mut() {
            if held.owner.as_ref() == Some(owner) {
                held.state = State::Closed;
            }
        }
    }

    /// The addresses at which a listener takes connections, with the ports that the kernel chose.
    pub fn of(&self, owner: &Arc<str>) -> Vec<Address> {
        let held = self.held.values();
        let held = held.filter(|held| held.owner.as_ref() == Some(owner));
        held.filter_map(|held| match &held.state {
            State::Listening(listening) => Some(listening.address().clone()),
            State::Bound(_) | State::Closed => None,
        })
        .collect()
    }
}
