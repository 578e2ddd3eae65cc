//! A small platform for unit tests.

use std::sync::Arc;

use carbyne_mesh::source::{Snapshot, read_folder};

/// Portal, catalogue and billing in namespace `shop`, mTLS STRICT, with more documents after them.
pub(crate) fn snapshot(more: &str) -> Arc<Snapshot> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("platform.yaml"),
        format!("{PLATFORM}{more}"),
    )
    .unwrap();
    Arc::new(read_folder(folder.path()).unwrap())
}

pub(crate) const PLATFORM: &str = "\
trustDomain: cluster.local
accessLogFile: /dev/stdout
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: portal, namespace: shop}
spec:
  hosts: [portal.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.10.1, labels: {app: portal, version: v1}, serviceAccount: portal}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: catalogue, namespace: shop}
spec:
  hosts: [catalogue.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.10.2, labels: {app: catalogue, version: v1}, serviceAccount: catalogue}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: billing, namespace: shop}
spec:
  hosts: [billing.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.10.3, labels: {app: billing, version: v1}, serviceAccount: billing}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: portal, namespace: shop}
spec:
  workloadSelector: {labels: {app: portal}}
  ingress:
  - {port: {number: 8081, name: http, protocol: HTTP}, bind: 127.0.10.1, captureMode: NONE, defaultEndpoint: '0.0.0.0:9080'}
  egress:
  - {port: {number: 8080, name: http, protocol: HTTP}, bind: 127.0.10.1, captureMode: NONE, hosts: ['./*']}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop}
spec:
  ingress:
  - {port: {number: 8080, name: http, protocol: HTTP}, captureMode: NONE, defaultEndpoint: '0.0.0.0:9080'}
  egress:
  - {hosts: ['~/*']}
";
