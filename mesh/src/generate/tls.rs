//! TLS contexts, both directions.

use serde_json::{Value, json};

use super::{
    json::{extension, list, text},
    proxy::Proxy,
};
use crate::model::gateway::{ServerTls, ServerTlsMode};

/// A secret from pilot-agent's socket. `wait`: the mesh's own secrets are waited for without end.
fn secret(name: &str, wait: bool) -> Value {
    json!({
        "name": name,
        "sdsConfig": {
            "apiConfigSource": {
                "apiType": "GRPC",
                "transportApiVersion": "V3",
                "grpcServices": [{"envoyGrpc": {"clusterName": "sds-grpc"}}],
                "setNodeOnFirstMessageOnly": true,
            },
            "initialFetchTimeout": if wait { json!("0s") } else { Value::Null },
            "resourceApiVersion": "V3",
        }
    })
}

fn exact(names: &[String]) -> Value {
    list(names.iter().map(|name| json!({"exact": name})).collect())
}

/// Mesh mTLS towards a service.
pub(super) fn upstream_mesh(sni: &str, names: &[String], http2: bool) -> Value {
    let mut alpn = vec!["istio-peer-exchange", "istio"];
    if http2 {
        alpn.push("h2");
    }
    upstream_socket(json!({
        "commonTlsContext": {
            "tlsParams": params(),
            "tlsCertificateSdsSecretConfigs": [secret("default", true)],
            "combinedValidationContext": {
                "defaultValidationContext": {"matchSubjectAltNames": exact(names)},
                "validationContextSdsSecretConfig": secret("ROOTCA", true),
            },
            "alpnProtocols": alpn,
        },
        "sni": sni,
    }))
}

/// What a DestinationRule says about TLS to a service that is not in the mesh.
#[derive(Debug)]
pub(super) struct Originate<'a> {
    pub(super) tls: &'a crate::model::destination_rule::ClientTls,
    pub(super) mutual: bool,
    pub(super) http2: bool,
}

/// TLS or mutual TLS with the user's own files.
pub(super) fn upstream_user(originate: &Originate<'_>) -> Value {
    let tls = originate.tls;
    let names = tls.subject_alt_names.as_deref().unwrap_or_default();
    let certificate = originate.mutual.then(|| {
        json!([secret(
            &format!("file-cert:{}~{}", tls.client_certificate, tls.private_key),
            false
        )])
    });
    let root = if tls.ca_certificates.is_empty() {
        "system"
    } else {
        tls.ca_certificates.as_str()
    };
    let mut common = json!({
        "tlsParams": params(),
        "tlsCertificateSdsSecretConfigs": certificate,
        "alpnProtocols": originate.http2.then(|| json!(["h2"])),
    });
    if tls.insecure_skip_verify {
        common["validationContext"] = json!({});
    } else {
        common["combinedValidationContext"] = json!({
            "defaultValidationContext": {"matchSubjectAltNames": exact(names)},
            "validationContextSdsSecretConfig": secret(&format!("file-root:{root}"), false),
        });
    }
    upstream_socket(json!({"commonTlsContext": common, "sni": text(&tls.sni)}))
}

fn upstream_socket(context: Value) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        context,
    )
}

fn params() -> Value {
    json!({"tlsMinimumProtocolVersion": "TLSv1_2", "tlsMaximumProtocolVersion": "TLSv1_3"})
}

/// No TLS, said aloud.
pub(super) fn raw_buffer() -> Value {
    extension(
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        json!({}),
    )
}

/// Mesh mTLS that an inbound chain terminates.
pub(super) fn downstream_mesh(proxy: &Proxy, http: bool) -> Value {
    let mesh = &proxy.snapshot.mesh;
    let mut domains = vec![&mesh.trust_domain];
    for alias in &mesh.trust_domain_aliases {
        if !domains.contains(&alias) {
            domains.push(alias);
        }
    }
    let prefixes: Vec<Value> = domains
        .iter()
        .map(|domain| json!({"prefix": format!("spiffe://{domain}/")}))
        .collect();
    let mut params = params();
    params["cipherSuites"] = json!([
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-GCM-SHA256",
    ]);
    let alpn = if http {
        json!(["h2", "http/1.1"])
    } else {
        json!(["istio-peer-exchange", "h2", "http/1.1"])
    };
    downstream_socket(json!({
        "commonTlsContext": {
            "tlsParams": params,
            "tlsCertificateSdsSecretConfigs": [secret("default", true)],
            "combinedValidationContext": {
                "defaultValidationContext": {"matchSubjectAltNames": prefixes},
                "validationContextSdsSecretConfig": secret("ROOTCA", true),
            },
            "alpnProtocols": alpn,
        },
        "requireClientCertificate": true,
    }))
}

/// TLS that a gateway server or a Sidecar's ingress terminates; none where TLS passes through.
pub(super) fn downstream_server(tls: &ServerTls) -> Option<Value> {
    use ServerTlsMode as Mode;
    if matches!(tls.mode, Mode::Passthrough | Mode::AutoPassthrough) {
        return None;
    }
    let require = matches!(tls.mode, Mode::Mutual | Mode::IstioMutual);
    let validate = require || tls.mode == Mode::OptionalMutual;
    let (certificate, root, over_ads) = match tls.mode {
        Mode::IstioMutual => (secret("default", true), "ROOTCA".to_owned(), false),
        _ if !tls.credential_name.is_empty() => {
            let name = format!("kubernetes://{}", tls.credential_name);
            (ads_secret(&name), format!("{name}-cacert"), true)
        }
        _ => (
            secret(
                &format!("file-cert:{}~{}", tls.server_certificate, tls.private_key),
                false,
            ),
            format!("file-root:{}", tls.ca_certificates),
            false,
        ),
    };
    let validation = validate.then(|| {
        json!({
            "defaultValidationContext": {"matchSubjectAltNames": exact(&tls.subject_alt_names)},
            "validationContextSdsSecretConfig": if over_ads { ads_secret(&root) } else { secret(&root, root == "ROOTCA") },
        })
    });
    let versions = (
        tls.min_protocol_version.envoy(),
        tls.max_protocol_version.envoy(),
    );
    let user = tls.mode != Mode::IstioMutual;
    let params = (user && (versions != (None, None) || !tls.cipher_suites.is_empty())).then(|| {
        json!({
            "tlsMinimumProtocolVersion": versions.0,
            "tlsMaximumProtocolVersion": versions.1,
            "cipherSuites": list(tls.cipher_suites.iter().map(|suite| json!(suite)).collect()),
        })
    });
    Some(downstream_socket(json!({
        "commonTlsContext": {
            "tlsParams": params,
            "tlsCertificateSdsSecretConfigs": [certificate],
            "combinedValidationContext": validation,
            "alpnProtocols": ["h2", "http/1.1"],
        },
        "requireClientCertificate": require,
    })))
}

/// A Kubernetes secret, which istiod itself serves.
fn ads_secret(name: &str) -> Value {
    json!({"name": name, "sdsConfig": {"ads": {}, "resourceApiVersion": "V3"}})
}

fn downstream_socket(context: Value) -> Value {
    extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        context,
    )
}
