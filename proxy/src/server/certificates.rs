//! The certificates that TLS contexts hold now, for `/certs` and for the gauge of days that are left.

use std::sync::Arc;
use std::time::SystemTime;

use carbyne_engine::tls::{ClientTls, Identity, ServerTls, Trust};
use carbyne_protos::envoy::admin::v3 as wire;

use crate::admin::certs::describe_der;

/// The certificates of every TLS context, one entry a context, as Envoy counts.
#[derive(Debug, Default)]
pub struct InUse {
    contexts: Vec<Context>,
}

#[derive(Debug)]
struct Context {
    trust: Option<Arc<Trust>>,
    identities: Vec<Arc<Identity>>,
}

impl InUse {
    /// Adds a server's context. One whose secrets have not come has nothing to show, as in Envoy.
    pub fn server(&mut self, tls: &ServerTls) {
        let plan = tls.plan();
        let identities = plan.identities.iter();
        self.add(Context {
            trust: plan.peer.trust.as_ref().and_then(|slot| slot.load()),
            identities: identities
                .filter_map(|identity| identity.slot.load())
                .collect(),
        });
    }

    /// Adds a client's context.
    pub fn client(&mut self, tls: &ClientTls) {
        let plan = tls.plan();
        let identity = plan.identity.as_ref().and_then(|slot| slot.load());
        self.add(Context {
            trust: plan.peer.trust.as_ref().and_then(|slot| slot.load()),
            identities: identity.into_iter().collect(),
        });
    }

    /// Describes them: of a bundle of roots the first, of a chain the leaf.
    pub fn describe(&self) -> Vec<wire::Certificate> {
        let now = SystemTime::now();
        let contexts = self.contexts.iter().map(|context| wire::Certificate {
            ca_cert: context
                .trust
                .iter()
                .filter_map(|trust| describe_der(trust.first(), trust.source(), now))
                .collect(),
            cert_chain: context
                .identities
                .iter()
                .filter_map(|identity| {
                    describe_der(identity.chain().first()?, identity.source(), now)
                })
                .collect(),
        });
        contexts.collect()
    }

    /// Whole days until the first of them expires; `None` where there is none.
    pub fn days_left(&self) -> Option<u64> {
        let described = self.describe().into_iter();
        described
            .flat_map(|context| context.ca_cert.into_iter().chain(context.cert_chain))
            .map(|details| details.days_until_expiration)
            .min()
    }

    /// When the first of them expires, in seconds since 1970; `None` where there is none.
    pub fn first_expires(&self) -> Option<i64> {
        let described = self.describe().into_iter();
        described
            .flat_map(|context| context.ca_cert.into_iter().chain(context.cert_chain))
            .filter_map(|details| details.expiration_time)
            .map(|time| time.seconds)
            .min()
    }

    fn add(&mut self, context: Context) {
        if context.trust.is_some() || !context.identities.is_empty() {
            self.contexts.push(context);
        }
    }
}
