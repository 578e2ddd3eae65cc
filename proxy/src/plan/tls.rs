//! TLS contexts and the transport sockets that hold them.
//!
//! Everything in a TLS context may be a condition on who gets in: whatever of it is not understood, or not served, refuses.

use std::sync::Arc;
use std::time::Duration;

use carbyne_engine::tls::{
    AlpnList, ClientCertificate, ClientTls, ClientTlsPlan, IdentitySlot, PeerRules, Resumption,
    SanKind, SanMatcher, SecretSlot, ServerIdentity, ServerNames, ServerTls, ServerTlsPlan,
    TextRule, TlsParameters, TrustSlot, Version,
};
use carbyne_protos::any::Unwrapped;
use carbyne_protos::envoy::config::core::v3::transport_socket::ConfigType;
use carbyne_protos::envoy::config::core::v3::{TransportSocket, data_source};
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3 as wire;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::downstream_tls_context::SessionTicketKeysType;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use carbyne_protos::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use carbyne_protos::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};

use super::error::Fault;
use super::filter::decode;
use super::scope::Scope;
use super::value::ResourceSource;
use super::{secret, value};
use crate::live::secrets::SecretSource;
use crate::live::warming::Thing;

/// How a filter chain's bytes arrive.
#[derive(Clone, Debug)]
pub enum Downstream {
    /// Plain.
    Raw,
    /// Something was not understood: reset.
    Refuse(Arc<str>),
    /// By TLS.
    Tls(Arc<ServerTls>),
}

/// How bytes travel to an endpoint.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Plain.
    Raw,
    /// Something was not understood: no connection is made.
    Refuse(Arc<str>),
    /// By TLS.
    Tls(Arc<ClientTls>),
}

/// Plans the transport socket of a filter chain.
pub fn downstream(socket: &TransportSocket, scope: &Scope<'_>) -> Option<Downstream> {
    let unwrapped = match open(socket, scope) {
        Ok(opened) => opened,
        Err(reason) => return Some(Downstream::Refuse(reason)),
    };
    let scope = scope.field("typed_config");
    match unwrapped.type_name.as_str() {
        RAW => Some(Downstream::Raw),
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" => {
            if let Some(doubt) = scope.doubt() {
                return Some(Downstream::Refuse(doubt));
            }
            let context = decode::<wire::DownstreamTlsContext>(&unwrapped, &scope)?;
            server(&context, &scope)
        }
        name => Some(Downstream::Refuse(
            scope.refuse(format!("{name} is not served")),
        )),
    }
}

/// Plans a transport socket of a cluster.
pub fn upstream(socket: &TransportSocket, scope: &Scope<'_>) -> Option<Upstream> {
    let unwrapped = match open(socket, scope) {
        Ok(opened) => opened,
        Err(reason) => return Some(Upstream::Refuse(reason)),
    };
    let scope = scope.field("typed_config");
    match unwrapped.type_name.as_str() {
        RAW => Some(Upstream::Raw),
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" => {
            if let Some(doubt) = scope.doubt() {
                return Some(Upstream::Refuse(doubt));
            }
            let context = decode::<wire::UpstreamTlsContext>(&unwrapped, &scope)?;
            client(&context, &scope)
        }
        name => Some(Upstream::Refuse(
            scope.refuse(format!("{name} is not served")),
        )),
    }
}

/// The message of a socket, or why it refuses.
fn open<'a>(socket: &'a TransportSocket, scope: &Scope<'_>) -> Result<Unwrapped<'a>, Arc<str>> {
    let Some(ConfigType::TypedConfig(config)) = &socket.config_type else {
        if socket.name == "envoy.transport_sockets.raw_buffer" {
            let unwrapped = Unwrapped {
                type_name: RAW.to_owned(),
                content: carbyne_protos::any::Content::Encoded(&[]),
            };
            return Ok(unwrapped);
        }
        scope.field("typed_config").missing();
        return Err(scope.refuse("its message was not decoded"));
    };
    Unwrapped::of(config).map_err(|_| {
        scope
            .field("typed_config")
            .refuse("its message cannot be read")
    })
}

fn server(context: &wire::DownstreamTlsContext, scope: &Scope<'_>) -> Option<Downstream> {
    let empty = wire::CommonTlsContext::default();
    let common = context.common_tls_context.as_ref().unwrap_or(&empty);
    let common_scope = scope.field("common_tls_context");
    let peer = peer_rules(common, &common_scope);
    let identities = identities(common, &common_scope)?;
    let required = context.require_client_certificate.unwrap_or(false);
    let (peer, refuse) = match peer? {
        Peer::Rules(peer) => (peer, None),
        Peer::Refuse(reason) => (PeerRules::default(), Some(reason)),
    };
    if let Some(reason) = refuse {
        return Some(Downstream::Refuse(reason));
    }
    let client_certificate = match (required, peer.is_empty()) {
        (true, _) => ClientCertificate::Required,
        // Envoy asks for a certificate as soon as it could verify one.
        (false, false) => ClientCertificate::Optional,
        (false, true) => ClientCertificate::None,
    };
    let tickets = !matches!(
        context.session_ticket_keys_type,
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(
            true
        ))
    );
    let plan = ServerTlsPlan {
        identities: identities
            .into_iter()
            .map(|slot| ServerIdentity {
                slot,
                names: ServerNames::FromCertificate,
            })
            .collect(),
        alpn: alpn(common, &common_scope)?,
        client_certificate,
        peer,
        parameters: parameters(
            common.tls_params.as_ref(),
            &common_scope.field("tls_params"),
        )?,
        resumption: match (tickets, context.disable_stateful_session_resumption) {
            (true, _) => Resumption::Tickets,
            (false, false) => Resumption::Stored(STORED_SESSIONS),
            (false, true) => Resumption::Off,
        },
    };
    scope
        .take(ServerTls::new(plan))
        .map(|tls| Downstream::Tls(Arc::new(tls)))
}

fn client(context: &wire::UpstreamTlsContext, scope: &Scope<'_>) -> Option<Upstream> {
    let empty = wire::CommonTlsContext::default();
    let common = context.common_tls_context.as_ref().unwrap_or(&empty);
    let common_scope = scope.field("common_tls_context");
    let identities = identities(common, &common_scope)?;
    if identities.len() > 1 {
        common_scope
            .field("tls_certificates")
            .reject(Fault::Words("a client shows one certificate"));
    }
    let peer = match peer_rules(common, &common_scope)? {
        Peer::Rules(peer) => peer,
        Peer::Refuse(reason) => return Some(Upstream::Refuse(reason)),
    };
    if context.sni.len() > 255 {
        scope.field("sni").out_of_range(
            format_args!("a name of {} bytes", context.sni.len()),
            "255 bytes at most",
        );
    }
    let plan = ClientTlsPlan {
        identity: identities.into_iter().next(),
        peer,
        verifies_host: false,
        sni: (!context.sni.is_empty()).then(|| context.sni.as_str().into()),
        alpn: alpn(common, &common_scope)?,
        parameters: parameters(
            common.tls_params.as_ref(),
            &common_scope.field("tls_params"),
        )?,
        // Envoy keeps one session key for a cluster; here sessions are kept by name, and a mesh cluster sends one.
        resumed_names: context.max_session_keys.unwrap_or(1) as usize,
    };
    scope
        .take(ClientTls::new(plan))
        .map(|tls| Upstream::Tls(Arc::new(tls)))
}

/// What the peer's certificate must be, or why nobody may pass.
enum Peer {
    Rules(PeerRules),
    Refuse(Arc<str>),
}

fn peer_rules(common: &wire::CommonTlsContext, scope: &Scope<'_>) -> Option<Peer> {
    match &common.validation_context_type {
        None => Some(Peer::Rules(PeerRules::default())),
        Some(ValidationContextType::ValidationContext(context)) => {
            validation(context, None, &scope.field("validation_context")).map(Peer::Rules)
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(sds)) => {
            let trust = trust_reference(sds, &scope.field("validation_context_sds_secret_config"))?;
            Some(Peer::Rules(PeerRules {
                trust: Some(trust),
                ..PeerRules::default()
            }))
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let scope = scope.field("combined_validation_context");
            let trust = match &combined.validation_context_sds_secret_config {
                Some(sds) => Some(trust_reference(
                    sds,
                    &scope.field("validation_context_sds_secret_config"),
                )?),
                None => None,
            };
            let empty = wire::CertificateValidationContext::default();
            let context = combined
                .default_validation_context
                .as_ref()
                .unwrap_or(&empty);
            validation(context, trust, &scope.field("default_validation_context")).map(Peer::Rules)
        }
        Some(
            ValidationContextType::ValidationContextCertificateProvider(_)
            | ValidationContextType::ValidationContextCertificateProviderInstance(_),
        ) => Some(Peer::Refuse(
            scope.refuse("certificate providers are not served"),
        )),
    }
}

/// Rules of a validation context; `trust` replaces its roots.
fn validation(
    context: &wire::CertificateValidationContext,
    trust: Option<Arc<TrustSlot>>,
    scope: &Scope<'_>,
) -> Option<PeerRules> {
    let trust = match trust {
        Some(trust) => Some(trust),
        None => secret::trust(context, scope)?
            .map(|trust| SecretSlot::filled("validation_context", trust)),
    };
    let mut names = Vec::new();
    for (index, wanted) in context.match_typed_subject_alt_names.iter().enumerate() {
        let scope = scope.item("match_typed_subject_alt_names", index);
        let kind = match SanType::try_from(wanted.san_type) {
            Ok(SanType::Email) => SanKind::Email,
            Ok(SanType::Dns) => SanKind::Dns,
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::IpAddress) => SanKind::Ip,
            Ok(SanType::Unspecified | SanType::OtherName) | Err(_) => {
                scope
                    .field("san_type")
                    .out_of_range(wanted.san_type, "EMAIL, DNS, URI or IP_ADDRESS (1 to 4)");
                continue;
            }
        };
        match &wanted.matcher {
            Some(matcher) => names.extend(san(kind, matcher, &scope.field("matcher"))),
            None => scope.field("matcher").missing(),
        }
    }
    for (index, wanted) in context.match_subject_alt_names.iter().enumerate() {
        names.extend(san(
            SanKind::Any,
            wanted,
            &scope.item("match_subject_alt_names", index),
        ));
    }
    let hex = |(index, text): (usize, &String)| {
        digest(text, &scope.item("verify_certificate_hash", index))
    };
    let base64 = |(index, text): (usize, &String)| {
        key_digest(text, &scope.item("verify_certificate_spki", index))
    };
    Some(PeerRules {
        trust,
        names,
        certificate_hashes: context
            .verify_certificate_hash
            .iter()
            .enumerate()
            .filter_map(hex)
            .collect(),
        key_hashes: context
            .verify_certificate_spki
            .iter()
            .enumerate()
            .filter_map(base64)
            .collect(),
        accept_untrusted: context.trust_chain_verification
            == wire::certificate_validation_context::TrustChainVerification::AcceptUntrusted as i32,
        leaf_revocation_only: context.only_verify_leaf_cert_crl,
        // `max_verify_depth` is refused before.
        most_intermediates: None,
    })
}

fn san(kind: SanKind, matcher: &StringMatcher, scope: &Scope<'_>) -> Option<SanMatcher> {
    use string_matcher::MatchPattern;
    let rule = match &matcher.match_pattern {
        Some(MatchPattern::Contains(text)) => TextRule::Contains(text.clone()),
        Some(MatchPattern::Exact(text)) => TextRule::Exact(text.clone()),
        Some(MatchPattern::Prefix(text)) => TextRule::Prefix(text.clone()),
        Some(MatchPattern::SafeRegex(regex)) => TextRule::Regex(regex.regex.clone()),
        Some(MatchPattern::Suffix(text)) => TextRule::Suffix(text.clone()),
        Some(MatchPattern::Custom(_)) | None => {
            scope.missing();
            return None;
        }
    };
    scope.take(SanMatcher::new(kind, rule, matcher.ignore_case))
}

/// SHA-256 in hexadecimal, with or without colons.
fn digest(text: &str, scope: &Scope<'_>) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut digest = [0; 32];
    let nibble = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let parsed = digits.len() == 64
        && digest
            .iter_mut()
            .zip(digits.chunks_exact(2))
            .all(|(byte, pair)| match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                _ => false,
            });
    if !parsed {
        scope.out_of_range("the text", "a SHA-256 in hexadecimal");
    }
    parsed.then_some(digest)
}

/// SHA-256 in base64.
fn key_digest(text: &str, scope: &Scope<'_>) -> Option<[u8; 32]> {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
    let digest = decoded.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if digest.is_none() {
        scope.out_of_range("the text", "a SHA-256 in base64");
    }
    digest
}

/// Certificates that stand in the message, and those that come by SDS.
fn identities(
    common: &wire::CommonTlsContext,
    scope: &Scope<'_>,
) -> Option<Vec<Arc<IdentitySlot>>> {
    let mut slots = Vec::new();
    for (index, certificate) in common.tls_certificates.iter().enumerate() {
        let identity = secret::identity(certificate, &scope.item("tls_certificates", index))?;
        let name = match certificate
            .certificate_chain
            .as_ref()
            .and_then(|source| source.specifier.as_ref())
        {
            Some(data_source::Specifier::Filename(path)) => path.as_str(),
            _ => "inline",
        };
        slots.push(SecretSlot::filled(name, identity));
    }
    for (index, sds) in common.tls_certificate_sds_secret_configs.iter().enumerate() {
        let scope = scope.item("tls_certificate_sds_secret_configs", index);
        let source = secret_source(sds, &scope)?;
        let slot = scope.environment().secrets.identity(&sds.name, source);
        scope.need(Thing::Identity(slot.clone()), patience(sds, &scope));
        slots.push(slot);
    }
    Some(slots)
}

fn trust_reference(sds: &wire::SdsSecretConfig, scope: &Scope<'_>) -> Option<Arc<TrustSlot>> {
    let source = secret_source(sds, scope)?;
    let slot = scope.environment().secrets.trust(&sds.name, source);
    scope.need(Thing::Trust(slot.clone()), patience(sds, scope));
    Some(slot)
}

/// How long a secret is waited for.
fn patience(sds: &wire::SdsSecretConfig, scope: &Scope<'_>) -> Option<Duration> {
    value::initial_fetch_timeout(sds.sds_config.as_ref(), &scope.field("sds_config"))
}

/// Where a secret comes from; without a source it is one of the bootstrap's.
fn secret_source(sds: &wire::SdsSecretConfig, scope: &Scope<'_>) -> Option<SecretSource> {
    if sds.name.is_empty() {
        scope.field("name").missing();
        return None;
    }
    if sds.sds_config.is_none() {
        return Some(SecretSource::Static);
    }
    Some(
        match value::config_source(sds.sds_config.as_ref(), &scope.field("sds_config"))? {
            ResourceSource::Ads => SecretSource::Ads,
            ResourceSource::Cluster(name) => SecretSource::Cluster(name),
            ResourceSource::File(path) => SecretSource::File(path),
        },
    )
}

fn alpn(common: &wire::CommonTlsContext, scope: &Scope<'_>) -> Option<Arc<AlpnList>> {
    // One entry may hold several names, separated by commas.
    let names = common
        .alpn_protocols
        .iter()
        .flat_map(|names| names.split(','));
    scope.field("alpn_protocols").take(AlpnList::new(names))
}

fn parameters(params: Option<&wire::TlsParameters>, scope: &Scope<'_>) -> Option<TlsParameters> {
    let Some(params) = params else {
        return Some(TlsParameters::default());
    };
    let version = |value: i32, default, name| match TlsProtocol::try_from(value) {
        Ok(TlsProtocol::TlsAuto) => Some(default),
        Ok(TlsProtocol::TlSv10) => Some(Version::Tls10),
        Ok(TlsProtocol::TlSv11) => Some(Version::Tls11),
        Ok(TlsProtocol::TlSv12) => Some(Version::Tls12),
        Ok(TlsProtocol::TlSv13) => Some(Version::Tls13),
        Err(_) => {
            scope
                .field(name)
                .out_of_range(value, "a TLS version (0 to 4)");
            None
        }
    };
    Some(TlsParameters {
        minimum: version(
            params.tls_minimum_protocol_version,
            Version::Tls12,
            "tls_minimum_protocol_version",
        )?,
        maximum: version(
            params.tls_maximum_protocol_version,
            Version::Tls13,
            "tls_maximum_protocol_version",
        )?,
        cipher_suites: params.cipher_suites.clone(),
        groups: params.ecdh_curves.clone(),
    })
}

const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
/// Sessions kept for clients where tickets are off.
const STORED_SESSIONS: usize = 10_240;
