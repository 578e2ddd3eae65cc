//! The health of upstreams: what the balancers know of it, and the switches of operators.

use std::sync::Arc;

use super::Admin;
use super::answer::{Answer, listing};
use super::entities::Answered;
use super::form::escape;
use super::request::Asked;
use crate::balance::{Balancer, SwitchError};
use crate::plan::upstream::{Host, Upstream};
use crate::schema::{Address, Schema};
use crate::value::{Object, Value};

impl Admin {
    /// `GET /upstreams/{}/health`: the targets with their health, or the health of the whole.
    pub(super) async fn upstream_health(
        &self,
        targets: &'static Schema,
        upstream: &Object,
        asked: &Asked,
    ) -> Answered {
        if asked.argument("balancer_health") == Some("1") {
            let balancer = self.balancer(upstream, &[]).await;
            let status = balancer.map(|balancer| balancer.status());
            let mut body = Object::new();
            let health = status.map_or(Value::Null, |status| status.balancer().into());
            body.insert("data".into(), health);
            body.insert("next".into(), Value::Null);
            body.insert("node_id".into(), self.node_id.as_str().into());
            return Ok(Answer::ok(body));
        }
        let (mut page, offset) = self.latest(targets, id(upstream), asked).await?;
        let balancer = self.balancer(upstream, &page).await;
        let status = balancer.map(|balancer| balancer.status());
        if let Some(status) = &status {
            for target in &mut page {
                let address = target.get("target").and_then(Value::as_str);
                let known = address.and_then(|address| status.target(address));
                // A target of which no balancer has heard has no address either.
                let health = known.map_or("DNS_ERROR", |known| known.health());
                target.insert("health".into(), health.into());
                if let Some(known) = known {
                    target.insert("data".into(), known.data().into());
                }
            }
        }
        let data = page.into_iter().map(Value::from).collect();
        let next = |offset: &str| {
            let upstream = escape(asked.parameter(0));
            format!("/upstreams/{upstream}/health?offset={}", escape(offset))
        };
        Ok(listing(data, offset, next).with("node_id", self.node_id.as_str()))
    }

    /// `PUT /upstreams/{}/targets/{}/healthy` and its like: for a whole target, or for one of its addresses.
    pub(super) async fn switch_target(
        &self,
        targets: &'static Schema,
        upstream: &Object,
        asked: &Asked,
        healthy: bool,
    ) -> Answered {
        let target = self
            .named_target(targets, id(upstream), asked.parameter(1))
            .await?;
        let (host, port) = address(&target).ok_or_else(Answer::not_found)?;
        let address = match asked.parameters.get(2) {
            None => None,
            Some(text) => {
                let whole = Address::target(text);
                let parts = whole.as_deref().and_then(split);
                Some(parts.ok_or_else(|| Answer::message(400, "invalid address"))?)
            }
        };
        let switched = match self.balancer(upstream, std::slice::from_ref(&target)).await {
            None => Err(SwitchError::Unknown(id(upstream).into())),
            Some(balancer) => {
                let address = address.as_ref().map(|(host, port)| (&*host.text, *port));
                balancer.switch(&host.text, port, address, healthy)
            }
        };
        switched
            .map(|()| Answer::empty(204))
            .map_err(|error| Answer::message(400, &error.to_string()))
    }

    /// The balancer of an upstream, as soon as it knows of these targets.
    async fn balancer(&self, upstream: &Object, targets: &[Object]) -> Option<Arc<Balancer>> {
        let balancers = self.balancers.as_ref()?;
        let id = id(upstream);
        let are_on = Upstream::read(upstream).is_ok_and(|known| known.healthchecks.are_on());
        let wanted: Vec<_> = targets.iter().filter_map(address).collect();
        let knows = |balancer: Arc<Balancer>| {
            let mut wanted = wanted.iter();
            wanted.all(|(host, port)| balancer.has(are_on, &host.text, *port))
        };
        balancers
            .until(|all| all.by_id(id).is_some_and(knows))
            .await;
        balancers.by_id(id)
    }
}

fn id(upstream: &Object) -> &str {
    let id = upstream.get("id").and_then(Value::as_str);
    id.unwrap_or_default()
}

fn address(target: &Object) -> Option<(Host, u16)> {
    split(target.get("target")?.as_str()?)
}

fn split(target: &str) -> Option<(Host, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    Some((Host::new(host), port.parse().ok()?))
}
