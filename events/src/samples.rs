//! Events as the gateway makes them, no two alike: for tests and benches (feature `broker`).

use std::fmt::Write;

use crate::emit::now;
use crate::event::{
    AuditAdminOperation, AuditApiCall, ConfigChange, SecurityEvent, audit_admin_operation,
    audit_api_call, config_change, security_event,
};

/// Makes requests that a gateway may have answered: other ids, routes, consumers, clients and times each time. A body has 310 bytes at
/// least.
#[derive(Debug)]
pub struct Calls {
    state: u64,
    number: u64,
    request_id: String,
    trace: String,
    consumer: String,
    credential: String,
    path: String,
    client: String,
    principal: String,
}

impl Calls {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            number: 0,
            request_id: String::with_capacity(64),
            trace: String::with_capacity(64),
            consumer: String::with_capacity(64),
            credential: String::with_capacity(64),
            path: String::with_capacity(64),
            client: String::with_capacity(64),
            principal: String::with_capacity(64),
        }
    }

    /// The next request. Its id tells its number: see [`number_of`].
    pub fn call(&mut self) -> AuditApiCall<'_> {
        let [a, b, c, d] = [(); 4].map(|()| self.random());
        self.number += 1;
        let number = self.number;
        // What is written to a string is never refused.
        for (text, words) in [
            (
                &mut self.request_id,
                format_args!("{number:08x}{a:016x}{:08x}", b as u32),
            ),
            (
                &mut self.trace,
                format_args!("00-{b:016x}{c:016x}-{d:016x}-01"),
            ),
            (
                &mut self.consumer,
                format_args!("{:08x}-5b1f-4c3e-9a70-{:012x}", a as u32, c >> 16),
            ),
            (
                &mut self.credential,
                format_args!("{:08x}-77d0-4e1b-8b21-{:012x}", c as u32, d >> 16),
            ),
            (
                &mut self.path,
                format_args!("/v1/items/{:x}/parts/{number}", d as u32),
            ),
            (
                &mut self.client,
                format_args!("10.{}.{}.0/24", a as u8, b as u8),
            ),
            (
                &mut self.principal,
                format_args!("spiffe://cluster.local/ns/shop/sa/portal-{}", c % 97),
            ),
        ] {
            text.clear();
            text.write_fmt(words).ok();
        }
        AuditApiCall {
            time: now(),
            node: "gateway-7f9c6d5b8-x2x9v",
            request_id: &self.request_id,
            traceparent: Some(&self.trace),
            consumer_id: Some(&self.consumer),
            consumer_name: Some("storefront"),
            credential_id: Some(&self.credential),
            route_id: Some("0b7c2a56-6c1e-4f0f-9b53-6e0f6f4c7a11"),
            route_name: Some("catalogue-items"),
            service_id: Some("5f2b1c88-90a3-4a5e-8a8c-2f1f0f7e9d42"),
            service_name: Some("catalogue"),
            method: if a % 5 == 0 { "POST" } else { "GET" },
            scheme: "https",
            protocol: "HTTP/1.1",
            host: Some("api.shop.example"),
            path_template: Some("/v1/items"),
            path: Some(&self.path),
            query: None,
            status: if b % 11 == 0 { 404 } else { 200 },
            answered_by: audit_api_call::AnsweredBy::Service,
            latency_total_us: 900 + a % 40_000,
            latency_gateway_us: 40 + b % 300,
            latency_upstream_us: Some(700 + c % 38_000),
            bytes_in: d % 4096,
            bytes_out: 200 + a % 65_536,
            tries: 1,
            client_address: Some(&self.client),
            tls_version: Some("TLSv1.3"),
            source_principal: Some(&self.principal),
            destination_principal: Some("spiffe://cluster.local/ns/shop/sa/catalogue"),
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The number of the call with this id.
pub fn number_of(request_id: &str) -> Option<u64> {
    u64::from_str_radix(request_id.get(..8)?, 16).ok()
}

/// A refusal of this client.
pub fn refusal(client: &str) -> SecurityEvent<'_> {
    let time = now();
    SecurityEvent {
        time,
        node: "gateway-7f9c6d5b8-x2x9v",
        component: "carbyne-gateway",
        reason: security_event::Reason::AuthenticationInvalid,
        policy: Some("key-auth"),
        policy_id: None,
        status: Some(401),
        detail: None,
        source_principal: None,
        client_address: Some(client),
        destination_principal: None,
        listener: Some("0.0.0.0:8443"),
        request_id: None,
        traceparent: None,
        method: Some("GET"),
        host: Some("api.shop.example"),
        path_template: None,
        route_id: None,
        service_id: None,
        consumer_id: None,
        credential_id: None,
        token_issuer: None,
        token_subject: None,
        token_key_hash: None,
        count: 1,
        last_time: time,
    }
}

/// An operation with this id, about to be carried out.
pub fn operation(request_id: &str) -> AuditAdminOperation<'_> {
    AuditAdminOperation {
        time: now(),
        node: "gateway-7f9c6d5b8-x2x9v",
        request_id,
        traceparent: None,
        stage: audit_admin_operation::Stage::Requested,
        actor: "spiffe://cluster.local/ns/ops/sa/deck",
        client_address: None,
        interface: "admin-api",
        method: "POST",
        operation: "create",
        entity_kind: Some("routes"),
        entity_id: None,
        fields: &["name", "paths"],
        status: None,
        error: None,
    }
}

/// A change of this entity, at this version.
pub fn change(entity: &str, version: u64) -> ConfigChange<'_> {
    ConfigChange {
        time: now(),
        node: "gateway-7f9c6d5b8-x2x9v",
        entity,
        name: None,
        change: config_change::Change::Updated,
        request_id: None,
        traceparent: None,
        actor: None,
        version: Some(version),
        fields: &["paths"],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::Event;

    #[test]
    fn calls_are_as_long_as_they_say_and_never_the_same() {
        let mut calls = Calls::new(1);
        let mut seen = HashSet::new();
        for number in 1..=10_000 {
            let call = calls.call();
            assert_eq!(number_of(call.request_id), Some(number));
            let mut body = Vec::new();
            call.encode(&mut body);
            assert!(body.len() >= 310, "{}", body.len());
            assert!(seen.insert(body));
        }
    }
}
