//! How many resources a folder holds.

use std::collections::BTreeSet;

use carbyne_mesh::{model::Origin, source::Snapshot};

/// Resources that were read, the MeshConfig left out.
#[must_use]
pub fn count(snapshot: &Snapshot) -> usize {
    // One ServiceEntry makes a service for each of its hosts and addresses.
    let entry = |origin: &Origin| (origin.file.clone(), origin.line);
    let entries: BTreeSet<_> = snapshot
        .registry
        .services
        .iter()
        .map(|service| entry(&service.origin))
        .collect();
    entries.len()
        + snapshot.workload_entries.len()
        + snapshot.virtual_services.len()
        + snapshot.destination_rules.len()
        + snapshot.gateways.len()
        + snapshot.sidecars.len()
        + snapshot.envoy_filters.len()
        + snapshot.peer_authentications.len()
        + snapshot.authorization_policies.len()
        + snapshot.request_authentications.len()
        + snapshot.telemetries.len()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn counts_documents_not_hosts() {
        assert_eq!(count(&testing::snapshot("")), 6);
        let two_hosts = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: out}\n\
                         spec: {hosts: [a.example, b.example], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}\n";
        assert_eq!(count(&testing::snapshot(two_hosts)), 7);
    }
}
