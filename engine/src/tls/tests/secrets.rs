//! Tests of identities, roots, certificate facts and name matchers.

use std::net::IpAddr;

use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType};
use rustls_pki_types::CertificateDer;

use super::pki::{Authority, Issued, Leaf};
use crate::tls::{
    CertificateFacts, Identity, PeerRejection, SanKind, SanMatcher, Secret, SecretError, TextRule,
    Trust,
};

#[test]
fn keys_of_every_kind_and_encoding() {
    let authority = Authority::new("keys");
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let keys = [
        ("RSA", rsa, Some("RSA PRIVATE KEY")),
        (
            "P-256",
            KeyPair::generate().unwrap(),
            Some("EC PRIVATE KEY"),
        ),
        (
            "P-384",
            KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
            Some("EC PRIVATE KEY"),
        ),
        (
            "Ed25519",
            KeyPair::generate_for(&PKCS_ED25519).unwrap(),
            None,
        ),
    ];
    for (what, key, old_label) in keys {
        let issued = authority.issue_for(&Leaf::dns("a"), &key);
        let pkcs8 = issued.identity();
        let Some(label) = old_label else { continue };
        // PKCS#8 wraps the older encodings in an OCTET STRING after version and algorithm (RFC 5958 section 2).
        let old = pem(label, &inner_octets(key.serialized_der()));
        // OpenSSL puts the curve before an EC key.
        let old = if label.starts_with("EC") {
            format!("{}{old}", pem("EC PARAMETERS", &[6, 1, 0]))
        } else {
            old
        };
        let held = Identity::from_pem(issued.chain.as_bytes(), old.as_bytes())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(held.same(&pkcs8), "{what}");
    }
}

#[test]
fn identities_that_are_refused_and_what_is_said() {
    let authority = Authority::new("keys");
    let one = authority.issue(&Leaf::dns("a"));
    let two = authority.issue(&Leaf::dns("a"));
    let secret = one.key.lines().nth(1).unwrap().to_owned();
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old_encrypted = format!(
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{secret}\n-----END RSA PRIVATE KEY-----\n"
    );
    let cut = one.key.replace("-----END PRIVATE KEY-----", "");
    let broken = one
        .key
        .replace(&secret, &secret.replace(char::is_alphanumeric, "!"));
    let garbage = pem("PRIVATE KEY", b"not DER");
    let bad_leaf = pem("CERTIFICATE", b"not DER");
    let cases: &[(&str, &str, &str)] = &[
        (
            &one.chain,
            &two.key,
            "the private key does not belong to the first certificate of the chain",
        ),
        ("", &one.key, "the certificate chain holds no certificate"),
        (
            &one.key,
            &one.key,
            "the certificate chain holds no certificate",
        ),
        (
            &one.chain,
            "",
            "the private key holds no private key (PKCS#1, PKCS#8 or SEC1)",
        ),
        (
            &one.chain,
            encrypted,
            "the private key is encrypted with a password, which is not supported",
        ),
        (
            &one.chain,
            &old_encrypted,
            "the private key is encrypted with a password, which is not supported",
        ),
        (&one.chain, &cut, "the private key is not well-formed PEM"),
        (
            &one.chain,
            &broken,
            "the private key is not well-formed PEM",
        ),
        (
            &one.chain,
            &garbage,
            "the private key is not a usable RSA, ECDSA (P-256, P-384, P-521) or Ed25519 key",
        ),
        (
            &bad_leaf,
            &one.key,
            "certificate 0 of the certificate chain: the certificate does not decode: certificate",
        ),
    ];
    for (chain, key, expected) in cases {
        let error = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), *expected);
        assert!(!format!("{error:?}").contains(&secret));
    }
    let shown = format!("{:?}", one.identity());
    assert!(
        shown.contains("[redacted]") && !shown.contains(&secret),
        "{shown}"
    );
}

#[test]
fn root_bundles() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let odd = pem("CERTIFICATE", b"odd");
    let both = Trust::from_pem(
        format!("# a comment\n{}{odd}{}", one.pem, two.pem).as_bytes(),
        None,
    )
    .unwrap();
    assert_eq!((both.roots(), both.ignored()), (2, 1));
    let reordered =
        Trust::from_pem(format!("{}{}", two.pem, one.pem).as_bytes(), Some(b" \n")).unwrap();
    assert!(both.same(&reordered));
    assert!(!both.same(&Trust::from_pem(one.pem.as_bytes(), None).unwrap()));
    assert!(matches!(
        Trust::from_pem(b"", None),
        Err(SecretError::Missing { .. })
    ));
    assert!(matches!(
        Trust::from_pem(odd.as_bytes(), None),
        Err(SecretError::Root { index: 0, .. })
    ));
    let revoked = Trust::from_pem(one.pem.as_bytes(), Some(one.revoke(&[1]).as_bytes())).unwrap();
    assert!(!revoked.same(&Trust::from_pem(one.pem.as_bytes(), None).unwrap()));
    assert!(matches!(
        Trust::from_pem(one.pem.as_bytes(), Some(b"nothing here")),
        Err(SecretError::Missing { .. })
    ));
    let bad = pem("X509 CRL", b"bad");
    assert!(matches!(
        Trust::from_pem(one.pem.as_bytes(), Some(bad.as_bytes())),
        Err(SecretError::Revocation { index: 0, .. })
    ));
}

#[test]
fn facts_of_a_certificate() {
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    let names = vec![
        SanType::URI("spiffe://a/b".try_into().unwrap()),
        SanType::DnsName("a.test".try_into().unwrap()),
        SanType::Rfc822Name("me@a.test".try_into().unwrap()),
        SanType::IpAddress(address),
        SanType::URI("spiffe://a/c".try_into().unwrap()),
    ];
    let issued = Authority::new("root").issue(&Leaf {
        subject: Some(" #é\"x "),
        serial: 0xab,
        ..Leaf::with(names)
    });
    let identity = issued.identity();
    let facts = identity.facts();
    assert_eq!(
        facts.uri_sans.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        ["spiffe://a/b", "spiffe://a/c"]
    );
    assert_eq!(
        (&*facts.dns_sans[0], &*facts.email_sans[0], facts.ip_sans[0]),
        ("a.test", "me@a.test", address)
    );
    assert_eq!(&*facts.subject, r#"CN=\ #\C3\A9\"x\ ,O=Acme\, Inc."#);
    assert_eq!((&*facts.issuer, &*facts.serial), ("O=root", "ab"));
    assert_eq!(
        (facts.not_before, facts.not_after),
        (1_577_836_800, 3_786_912_000)
    );
    assert!(facts.is_valid_at(facts.not_after) && !facts.is_valid_at(facts.not_after + 1));
    assert_eq!(facts.fingerprint.len(), 64);
    let decoded = facts
        .pem_url_encoded()
        .replace("%0A", "\n")
        .replace("%20", " ")
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    assert_eq!(decoded, issued.chain.replace("\r\n", "\n"));
}

#[test]
fn names_with_a_nul_are_refused_in_every_type() {
    let authority = Authority::new("root");
    let text = || "a\0b".try_into().unwrap();
    for name in [
        SanType::URI(text()),
        SanType::DnsName(text()),
        SanType::Rfc822Name(text()),
    ] {
        let Issued { chain, key } = authority.issue(&Leaf::with(vec![name]));
        let error = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                SecretError::Certificate {
                    source: PeerRejection::NulInName,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn the_same_certificate_is_decoded_once() {
    let authority = Authority::new("root");
    let identity = authority.issue(&Leaf::dns("a")).identity();
    let (first, second) = (
        CertificateFacts::shared(&identity.chain()[0]).unwrap(),
        CertificateFacts::shared(&identity.chain()[0]).unwrap(),
    );
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    for _ in 0..200 {
        let other = authority.issue(&Leaf::dns("b")).identity();
        assert_eq!(
            &*CertificateFacts::shared(&other.chain()[0])
                .unwrap()
                .dns_sans[0],
            "b"
        );
    }
}

#[test]
fn matchers_over_names() {
    let names = vec![
        SanType::URI("spiffe://cluster.local/ns/a/sa/b".try_into().unwrap()),
        SanType::DnsName("*.Example.com".try_into().unwrap()),
        SanType::Rfc822Name("me@a.test".try_into().unwrap()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
    ];
    let identity = Authority::new("root").issue(&Leaf::with(names)).identity();
    let exact = |text: &str| TextRule::Exact(text.to_owned());
    let cases: Vec<(SanKind, TextRule, bool, bool)> = vec![
        (
            SanKind::Uri,
            exact("spiffe://cluster.local/ns/a/sa/b"),
            false,
            true,
        ),
        (
            SanKind::Uri,
            exact("spiffe://cluster.local/ns/a/sa/B"),
            false,
            false,
        ),
        (
            SanKind::Uri,
            exact("spiffe://cluster.local/ns/a/sa/B"),
            true,
            true,
        ),
        (
            SanKind::Dns,
            exact("spiffe://cluster.local/ns/a/sa/b"),
            false,
            false,
        ),
        (
            SanKind::Any,
            exact("spiffe://cluster.local/ns/a/sa/b"),
            false,
            true,
        ),
        (
            SanKind::Uri,
            TextRule::Prefix("spiffe://cluster.local/".to_owned()),
            false,
            true,
        ),
        (
            SanKind::Uri,
            TextRule::Prefix("spiffe://cluster.loca1/".to_owned()),
            false,
            false,
        ),
        (
            SanKind::Uri,
            TextRule::Suffix("/SA/B".to_owned()),
            true,
            true,
        ),
        (
            SanKind::Uri,
            TextRule::Contains("/ns/a/".to_owned()),
            false,
            true,
        ),
        (
            SanKind::Uri,
            TextRule::Regex("spiffe://[^/]+/ns/a/sa/.".to_owned()),
            false,
            true,
        ),
        (
            SanKind::Uri,
            TextRule::Regex("ns/a".to_owned()),
            false,
            false,
        ),
        (
            SanKind::Uri,
            TextRule::Regex("x|spiffe://.*".to_owned()),
            false,
            true,
        ),
        (
            SanKind::Uri,
            TextRule::Regex("SPIFFE://.*".to_owned()),
            true,
            false,
        ),
        (SanKind::Dns, exact("a.example.com"), false, true),
        (SanKind::Dns, exact("a.b.example.com"), false, false),
        (SanKind::Dns, exact("example.com"), false, false),
        (SanKind::Dns, exact(".example.com"), false, false),
        (
            SanKind::Dns,
            TextRule::Suffix("a.example.com".to_owned()),
            false,
            false,
        ),
        (SanKind::Email, exact("me@a.test"), false, true),
        (SanKind::Ip, exact("2001:0db8:0::1"), false, true),
        (SanKind::Ip, exact("2001:db8::2"), false, false),
        (
            SanKind::Ip,
            TextRule::Prefix("2001:db8:".to_owned()),
            false,
            true,
        ),
        (SanKind::Any, exact("2001:db8::1"), false, true),
    ];
    for (kind, rule, ignore_case, expected) in cases {
        let matcher = SanMatcher::new(kind, rule.clone(), ignore_case).unwrap();
        assert_eq!(
            matcher.matches(identity.facts()),
            expected,
            "{kind:?} {rule:?} {ignore_case}"
        );
    }
    for pattern in ["(", "a{1000}{1000}", &"a".repeat(5000), r"(?=a)"] {
        assert!(SanMatcher::new(SanKind::Uri, TextRule::Regex(pattern.to_owned()), false).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_certificate_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(CertificateFacts::parse(&CertificateDer::from(bytes)));
    }

    #[test]
    fn a_damaged_certificate_never_panics(index in 0_usize..500, byte in any::<u8>()) {
        let der = DAMAGED.with(Clone::clone);
        let mut bytes = der.to_vec();
        if let Some(place) = bytes.get_mut(index) { *place = byte; }
        drop(CertificateFacts::parse(&CertificateDer::from(bytes)));
    }
}

thread_local! {
    static DAMAGED: CertificateDer<'static> =
        Authority::new("root").issue(&Leaf { subject: Some("x"), ..Leaf::uri("spiffe://a/b") }).identity().chain()[0].clone();
}

fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in der.chunks(3) {
        let bits = group
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        text.extend((0..4).map(|index| {
            if index > group.len() {
                '='
            } else {
                char::from(ALPHABET[bits >> (18 - 6 * index) & 63])
            }
        }));
    }
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// The content of the OCTET STRING that is the third element of a PKCS#8 key.
fn inner_octets(der: &[u8]) -> Vec<u8> {
    fn element(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
        let (length, header) = match bytes[1] {
            short @ 0..0x80 => (usize::from(short), 2),
            long => {
                let count = usize::from(long & 0x7f);
                (
                    bytes[2..2 + count]
                        .iter()
                        .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
                    2 + count,
                )
            }
        };
        (
            bytes[0],
            &bytes[header..header + length],
            &bytes[header + length..],
        )
    }
    let mut rest = element(der).1;
    loop {
        let (tag, content, after) = element(rest);
        if tag == 4 {
            return content.to_vec();
        }
        rest = after;
    }
}
