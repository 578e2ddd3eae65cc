//! What happens to a request's head on arrival: who sent it, by which way, and what he may say
//! (Envoy: `ConnectionManagerUtility::mutateRequestHeaders`).

use std::net::IpAddr;

use carbyne_engine::forward::Downstream;
use bytes::Bytes;
use carbyne_engine::http::{Headers, Request};
use carbyne_engine::net::address::IpText;
use http::{HeaderValue, header};
use carbyne_protos::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::ForwardClientCertDetails as ClientCert;

use super::names;
use crate::observe::request_id::{self, TraceReason};
use crate::plan::http::{ClientRules, FieldRules};

/// Settles the head; returns the client's address where a trusted field tells another than the connection's.
pub fn settle(
    request: &mut Request,
    downstream: &Downstream,
    options: &ClientRules,
    fields: &FieldRules,
    local: IpAddr,
) -> Option<IpAddr> {
    let trusted_hops = options.trusted_hops as usize;
    let direct = downstream.remote.socket().map(|address| address.ip());
    let secure = downstream.tls.is_some();
    join(request, &names::FORWARDED_FOR);
    let forwarded = forwarded_for(request, trusted_hops, options.use_remote_address);
    let client = if options.use_remote_address && trusted_hops == 0 {
        direct
    } else {
        forwarded.client.or(direct)
    };
    let trusted_alone = if options.use_remote_address {
        forwarded.count == 0
    } else {
        forwarded.count == 1
    };
    let internal = trusted_alone
        && client.is_some_and(|client| options.internal.iter().any(|range| range.contains(client)));
    if options.use_remote_address {
        if !options.skip_forwarded_for
            && let Some(direct) = direct
        {
            // A client on this machine is told to be this machine, for others to find it.
            let told = if direct.is_loopback() { local } else { direct };
            append_address(request, &names::FORWARDED_FOR, told);
        }
        if trusted_hops == 0 || !request.headers.contains(&names::FORWARDED_PROTO) {
            set_proto(request, secure);
        }
    } else if !request.headers.contains(&names::FORWARDED_PROTO) {
        set_proto(request, secure);
    }
    if request.secure.is_none() {
        // HTTP/1 says no scheme: it is that of the way on which the request came.
        request.secure = Some(request.headers.text(&names::FORWARDED_PROTO) == Some("https"));
    }
    if options.append_forwarded_port
        && !request.headers.contains(&names::FORWARDED_PORT)
        && let Some(local) = downstream.local.socket()
    {
        request
            .headers
            .append(names::FORWARDED_PORT, HeaderValue::from(local.port()));
    }
    let edge = options.use_remote_address && !internal;
    restrict(request, internal, edge);
    if edge
        && let Some(client) = client
        && let Ok(value) = HeaderValue::from_bytes(IpText::of(client).as_bytes())
    {
        request.headers.insert(names::EXTERNAL_ADDRESS, value);
    }
    if let Some(via) = &fields.via {
        append_via(&mut request.headers, via);
    }
    client_cert(request, downstream, options);
    request_id(request, edge, fields);
    client.filter(|client| Some(*client) != direct)
}

/// Makes up an id where there is none, and where a client from outside must not choose it.
fn request_id(request: &mut Request, edge: bool, fields: &FieldRules) {
    if !fields.generate_request_id {
        return;
    }
    let there = request.headers.contains(&names::REQUEST_ID);
    if there && (!edge || fields.preserve_external_request_id) {
        return;
    }
    let id = request_id::generate(TraceReason::None);
    match HeaderValue::from_bytes(&id) {
        Ok(value) if there => request.headers.insert(names::REQUEST_ID, value),
        Ok(value) => request.headers.append(names::REQUEST_ID, value),
        // Hexadecimal digits always belong into a field.
        Err(_) => {}
    }
}

/// What `x-forwarded-for` says.
struct Forwarded {
    count: usize,
    client: Option<IpAddr>,
}

/// The address that the last of `hops` trusted proxies saw; without trusted ones the last address.
fn forwarded_for(request: &Request, hops: usize, edge: bool) -> Forwarded {
    let mut addresses = Vec::new();
    let name = names::FORWARDED_FOR;
    for value in request.headers.all(&name) {
        // Bytes that are no text make the whole list worthless: nobody is trusted then.
        let Ok(text) = value.to_str() else {
            return Forwarded {
                count: 0,
                client: None,
            };
        };
        addresses.extend(text.split(',').map(str::trim));
    }
    // At an edge the connection's own address counts as the first hop.
    let back = if edge { hops } else { hops + 1 };
    let client = addresses
        .len()
        .checked_sub(back)
        .and_then(|index| addresses.get(index))
        .and_then(|address| address.parse().ok());
    Forwarded {
        count: addresses.len(),
        client,
    }
}

/// Takes off what the client may not say.
fn restrict(request: &mut Request, internal: bool, edge: bool) {
    if internal {
        request
            .headers
            .insert(names::INTERNAL, HeaderValue::from_static("true"));
        return;
    }
    // One pass for the common case that there is nothing to take off.
    let suspicious = request
        .headers
        .iter()
        .any(|(name, _)| name.as_str().starts_with("x-envoy-"));
    if suspicious {
        request.headers.retain(|name, _| {
            !(names::INTERNAL_ONLY.contains(name) || edge && names::EDGE_ONLY.contains(name))
        });
    }
}

fn set_proto(request: &mut Request, secure: bool) {
    let proto = if secure { "https" } else { "http" };
    request
        .headers
        .insert(names::FORWARDED_PROTO, HeaderValue::from_static(proto));
}

/// Appends an address to a list field; nearly always it is the first.
fn append_address(request: &mut Request, name: &http::HeaderName, address: IpAddr) {
    let text = IpText::of(address);
    if !request.headers.contains(name) {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            request.headers.append(name.clone(), value);
        }
        return;
    }
    // The text of an address is ASCII.
    append(
        request,
        name,
        std::str::from_utf8(text.as_bytes()).unwrap_or_default(),
    );
}

/// Makes one field of a list that came in several, as Envoy does with the fields that it knows.
fn join(request: &mut Request, name: &http::HeaderName) {
    if request.headers.all(name).nth(1).is_some() {
        let joined = joined(&request.headers, name, b",");
        set_bytes(&mut request.headers, name.clone(), joined);
    }
}

/// Appends to a list field, joining it into one.
pub(super) fn append(request: &mut Request, name: &http::HeaderName, value: &str) {
    let mut list = joined(&request.headers, name, b",");
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(value.as_bytes());
    set_bytes(&mut request.headers, name.clone(), list);
}

/// Adds this hop to `via`.
pub fn append_via(headers: &mut Headers, via: &HeaderValue) {
    if !headers.contains(&header::VIA) {
        headers.append(header::VIA, via.clone());
        return;
    }
    let mut list = joined(headers, &header::VIA, b", ");
    list.extend_from_slice(b", ");
    list.extend_from_slice(via.as_bytes());
    set_bytes(headers, header::VIA, list);
}

fn joined(headers: &Headers, name: &http::HeaderName, separator: &[u8]) -> Vec<u8> {
    let length = headers.all(name).map(|value| value.len() + separator.len());
    // And room for the one that is about to be appended.
    let mut joined = Vec::with_capacity(length.sum::<usize>() + 64);
    for value in headers.all(name) {
        if !joined.is_empty() {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(value.as_bytes());
    }
    joined
}

fn set_bytes(headers: &mut Headers, name: http::HeaderName, value: Vec<u8>) {
    // Made of values that were valid.
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        headers.insert(name, value);
    }
}

/// Envoy: `mutateXfccRequestHeader`.
fn client_cert(request: &mut Request, downstream: &Downstream, options: &ClientRules) {
    if options.forward_certificate == ClientCert::AlwaysForwardOnly {
        return;
    }
    let peer = downstream.tls.as_ref().filter(|tls| tls.peer.is_some());
    let Some(tls) = peer.filter(|_| options.forward_certificate != ClientCert::Sanitize) else {
        request.headers.remove(&names::FORWARDED_CLIENT_CERT);
        return;
    };
    if options.forward_certificate == ClientCert::ForwardOnly {
        return;
    }
    let Some(peer) = &tls.peer else { return };
    let mut element = String::with_capacity(CLIENT_CERT_SIZE);
    for uri in tls.local.iter().flat_map(|local| local.uri_sans.iter()) {
        push(&mut element, "By", uri);
    }
    push(&mut element, "Hash", &peer.fingerprint);
    let wanted = options.certificate_details;
    if wanted.cert {
        push_quoted(&mut element, "Cert", peer.pem_url_encoded());
    }
    if wanted.subject {
        // Quoted: a subject has commas.
        push_quoted(&mut element, "Subject", &peer.subject);
    }
    if wanted.uri {
        for uri in &peer.uri_sans {
            push(&mut element, "URI", uri);
        }
        if peer.uri_sans.is_empty() {
            push(&mut element, "URI", "");
        }
    }
    if wanted.dns {
        for name in &peer.dns_sans {
            push(&mut element, "DNS", name);
        }
    }
    match options.forward_certificate {
        ClientCert::AppendForward => append(request, &names::FORWARDED_CLIENT_CERT, &element),
        _ => set_bytes(
            &mut request.headers,
            names::FORWARDED_CLIENT_CERT,
            element.into_bytes(),
        ),
    }
}

/// What two identities and a fingerprint take, so that the text grows once.
const CLIENT_CERT_SIZE: usize = 256;

fn push(element: &mut String, key: &str, value: &str) {
    let separator = if element.is_empty() { "" } else { ";" };
    element.push_str(separator);
    element.push_str(key);
    element.push('=');
    element.push_str(value);
}

fn push_quoted(element: &mut String, key: &str, value: &str) {
    push(element, key, "\"");
    let mut parts = value.split('"');
    element.push_str(parts.next().unwrap_or_default());
    for part in parts {
        element.push_str("\\\"");
        element.push_str(part);
    }
    element.push('"');
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use carbyne_engine::net::Address;
    use http::HeaderName;

    use super::*;
    use crate::plan::http::CertificateDetails;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

    fn downstream(remote: &str) -> Downstream {
        let remote = Address::Tcp(SocketAddr::new(remote.parse().unwrap(), 5000));
        Downstream {
            id: 1,
            local: Address::Tcp(SocketAddr::from(([10, 0, 0, 9], 8080))),
            remote: remote.clone(),
            direct_remote: remote,
            server_name: None,
            tls: None,
            accepted: Instant::now(),
        }
    }

    fn fields() -> FieldRules {
        FieldRules {
            server_name: HeaderValue::from_static("envoy"),
            server: Default::default(),
            via: None,
            generate_request_id: false,
            preserve_external_request_id: false,
            request_id_in_response: false,
            pack_trace_reason: true,
            sample_by_request_id: true,
            proxy_100_continue: false,
            scheme: None,
            scheme_of_upstream: false,
            add_user_agent: false,
        }
    }

    fn edge(trusted_hops: u32) -> ClientRules {
        ClientRules {
            use_remote_address: true,
            trusted_hops,
            ..sidecar()
        }
    }

    fn sidecar() -> ClientRules {
        ClientRules {
            use_remote_address: false,
            trusted_hops: 0,
            skip_forwarded_for: false,
            internal: [].into(),
            internal_unix: false,
            forward_certificate: ClientCert::Sanitize,
            certificate_details: CertificateDetails {
                subject: true,
                cert: false,
                chain: false,
                dns: true,
                uri: true,
            },
            append_forwarded_port: false,
            ipv4_as_ipv6: false,
        }
    }

    #[test]
    fn forwarded_for_and_the_client() {
        let cases: &[(ClientRules, Option<&str>, &str, Option<&str>)] = &[
            (edge(0), None, "9.9.9.9", Some("9.9.9.9")),
            (edge(0), Some("1.1.1.1"), "9.9.9.9", Some("1.1.1.1,9.9.9.9")),
            (
                edge(1),
                Some("1.1.1.1, 2.2.2.2"),
                "2.2.2.2",
                Some("1.1.1.1, 2.2.2.2,9.9.9.9"),
            ),
            (edge(5), Some("1.1.1.1"), "9.9.9.9", Some("1.1.1.1,9.9.9.9")),
            (sidecar(), None, "9.9.9.9", None),
            (
                sidecar(),
                Some("1.1.1.1, 2.2.2.2"),
                "2.2.2.2",
                Some("1.1.1.1, 2.2.2.2"),
            ),
        ];
        for (options, sent, client, forwarded) in cases {
            let mut request = Request::get("h", "/");
            if let Some(sent) = sent {
                request
                    .headers
                    .append(names::FORWARDED_FOR, HeaderValue::from_static(sent));
            }
            let settled = settle(
                &mut request,
                &downstream("9.9.9.9"),
                options,
                &fields(),
                LOCAL,
            );
            let client: IpAddr = client.parse().unwrap();
            let other = Some(client).filter(|client| *client != IpAddr::from([9, 9, 9, 9]));
            assert_eq!(settled, other, "{sent:?}");
            assert_eq!(
                request.headers.text(&names::FORWARDED_FOR),
                *forwarded,
                "{sent:?}"
            );
        }
    }

    #[test]
    fn nobody_from_outside_speaks_to_the_proxy() {
        let mut request = Request::get("h", "/");
        for name in names::INTERNAL_ONLY.into_iter().chain(names::EDGE_ONLY) {
            request.headers.append(name, HeaderValue::from_static("1"));
        }
        let kept = HeaderName::from_static("x-envoy-peer-metadata");
        request
            .headers
            .append(kept.clone(), HeaderValue::from_static("1"));
        settle(
            &mut request,
            &downstream("10.0.0.1"),
            &edge(0),
            &fields(),
            LOCAL,
        );
        let left: Vec<_> = request
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            left,
            [
                kept.as_str(),
                "x-forwarded-for",
                "x-forwarded-proto",
                "x-envoy-external-address"
            ]
        );
    }

    #[test]
    fn a_client_certificate_that_nobody_showed_is_not_told() {
        let mut request = Request::get("h", "/");
        let options = ClientRules {
            forward_certificate: ClientCert::AppendForward,
            ..sidecar()
        };
        request.headers.append(
            names::FORWARDED_CLIENT_CERT,
            HeaderValue::from_static("URI=x"),
        );
        settle(
            &mut request,
            &downstream("10.0.0.1"),
            &options,
            &fields(),
            LOCAL,
        );
        assert!(!request.headers.contains(&names::FORWARDED_CLIENT_CERT));
    }
}
