//! Secrets: one state-of-the-world stream per secret and source to `StreamSecrets`, as Envoy opens them and as
//! pilot-agent serves them (its `DeltaSecrets` is not implemented).
//!
//! A secret may come late and come again; a closed stream is normal and opened again after a back-off, while what
//! came last stays in use.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::Secret;
use prost::Message;

use super::stream::{Client, Connect, Interests};
use super::xds::{
    Ads, Apply, BackOff, Interest, Protocol, Rejected, Resource, ResourceType, Settings,
};

/// The gRPC path of the service.
pub const PATH: &str = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

/// Takes secrets over; an error is told to the source and the last good secret stays.
pub trait TakeSecret {
    /// A new version of the secret arrived. `resource` holds its version and bytes.
    fn take(&mut self, secret: Secret, resource: &Arc<Resource>) -> Result<(), String>;
}

/// A machine that wants the secret `name` and nothing else.
pub fn machine(name: &str, settings: Settings) -> Ads {
    let mut machine = Ads::new(Protocol::Sotw, settings);
    machine.want(
        ResourceType::Secret,
        Interest::Names(BTreeSet::from([Arc::from(name)])),
    );
    machine
}

/// A client that keeps one secret current. It runs until the returned [`Interests`] are dropped.
pub fn client<C: Connect, T: TakeSecret>(
    name: &str,
    settings: Settings,
    connect: C,
    take: T,
    back_off: BackOff,
) -> (Client<C, Deliver<T>>, Rc<RefCell<Ads>>, Interests) {
    let machine = Rc::new(RefCell::new(machine(name, settings)));
    let (client, interests) = Client::new(machine.clone(), PATH, connect, Deliver(take), back_off);
    (client, machine, interests)
}

/// Decodes secrets and hands them on.
#[derive(Debug)]
pub struct Deliver<T>(T);

impl<T: TakeSecret> Apply for Deliver<T> {
    async fn apply(
        &mut self,
        _: ResourceType,
        upserts: &[Arc<Resource>],
        _: &[Arc<str>],
    ) -> Vec<Rejected> {
        upserts
            .iter()
            .filter_map(|resource| {
                let taken = match Secret::decode(&*resource.bytes) {
                    Ok(secret) => self.0.take(secret, resource),
                    Err(error) => Err(error.to_string()),
                };
                taken.err().map(|reason| Rejected {
                    name: resource.name.clone(),
                    reason,
                })
            })
            .collect()
    }
}

impl<F: FnMut(Secret, &Arc<Resource>) -> Result<(), String>> TakeSecret for F {
    fn take(&mut self, secret: Secret, resource: &Arc<Resource>) -> Result<(), String> {
        self(secret, resource)
    }
}
