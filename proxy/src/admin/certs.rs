//! `/certs`, and how certificates are described there.

use std::time::{Duration, SystemTime};

use carbyne_protos::envoy::admin::v3::subject_alternate_name::Name;
use carbyne_protos::envoy::admin::v3::{CertificateDetails, Certificates, SubjectAlternateName};
use carbyne_protos::json::to_json;
use carbyne_protos::prost_types::Timestamp;
use x509_parser::prelude::{FromDer, GeneralName, Pem, X509Certificate};

use super::{Response, State, json};

/// Answers `/certs`.
pub(super) fn page(state: &impl State) -> Response {
    let message = Certificates {
        certificates: state.certificates(),
    };
    let mut value = to_json(&message);
    json::add_defaults("envoy.admin.v3.Certificates", &mut value);
    Response::json(&value)
}

/// Describes the first certificate of a PEM text, as Envoy does (of a bundle it shows one); `path` is the file
/// or `<inline>`. `None` where there is none that can be read.
pub fn describe_pem(pem: &[u8], path: &str, now: SystemTime) -> Option<CertificateDetails> {
    let first = Pem::iter_from_buffer(pem)
        .find_map(|block| block.ok().filter(|block| block.label == "CERTIFICATE"))?;
    describe_der(&first.contents, path, now)
}

/// Describes an encoded certificate.
pub fn describe_der(der: &[u8], path: &str, now: SystemTime) -> Option<CertificateDetails> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let validity = certificate.validity();
    let expires = validity.not_after.timestamp();
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let left = u64::try_from(expires)
        .unwrap_or_default()
        .saturating_sub(now);
    Some(CertificateDetails {
        path: path.to_owned(),
        serial_number: certificate
            .raw_serial()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .trim_start_matches("00")
            .to_owned(),
        subject_alt_names: names.filter_map(alternate_name).collect(),
        days_until_expiration: left / DAY,
        valid_from: Some(timestamp(validity.not_before.timestamp())),
        expiration_time: Some(timestamp(expires)),
        ocsp_details: None,
    })
}

fn alternate_name(name: &GeneralName<'_>) -> Option<SubjectAlternateName> {
    let name = match name {
        GeneralName::DNSName(name) => Name::Dns((*name).to_owned()),
        GeneralName::URI(uri) => Name::Uri((*uri).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address: std::net::IpAddr = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok()?.into(),
                16 => <[u8; 16]>::try_from(*bytes).ok()?.into(),
                _ => return None,
            };
            Name::IpAddress(address.to_string())
        }
        _ => return None,
    };
    Some(SubjectAlternateName { name: Some(name) })
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

/// Seconds.
const DAY: u64 = 86_400;
