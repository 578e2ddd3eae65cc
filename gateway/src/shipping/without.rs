//! What stands in the shipper's place in a gateway that is built without the Kafka client. There is never one: [`Source::open`] refuses the
//! variable that asks for it.

use std::convert::Infallible;
use std::sync::Arc;

use carbyne_events::source::Source;

/// A shipper, of which there is none.
#[derive(Debug)]
pub enum Shipping {}

/// How it goes with it.
#[derive(Clone, Debug)]
pub enum Watch {}

impl Shipping {
    pub async fn start(
        _events: Option<&Arc<Source>>,
        _variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Infallible> {
        Ok(None)
    }

    pub fn watch(&self) -> Watch {
        match *self {}
    }

    pub fn tell(&mut self) {
        match *self {}
    }

    pub async fn finish(self, _hurry: impl Future<Output = ()>) {
        match self {}
    }
}

impl Watch {
    pub fn metrics(&self, _into: &mut String) {
        match *self {}
    }

    pub fn problems(&self) -> Vec<String> {
        match *self {}
    }
}
