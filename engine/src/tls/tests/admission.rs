//! Who is let in.

use rcgen::{ExtendedKeyUsagePurpose, OtherNameValue, SanType};
use std::sync::Arc;

use super::pki::{Authority, CLIENT, Issued, Leaf, Mesh, SERVER, client_plan, server_plan, shake};
use crate::tls::{
    ClientCertificate, ClientTls, ClientTlsPlan, Fault, Identity, Overrides, SanKind, SanMatcher,
    SecretSlot, ServerTls, ServerTlsPlan, TextRule, Trust, Version,
};

#[tokio::test]
async fn mutual_tls_tells_both_sides_who_is_there() {
    let mesh = Mesh::new();
    let server = ServerTls::new(mesh.server_plan()).unwrap();
    let client = ClientTls::new(mesh.client_plan()).unwrap();
    let (accepted, connected) = shake(&server, &client, Overrides::default()).await;
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
    let (seen, known) = (accepted.negotiated(), connected.negotiated());
    assert_eq!(seen.alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(known.alpn, seen.alpn);
    assert_eq!(
        seen.sni.as_deref(),
        Some("outbound_.80_._.b.default.svc.cluster.local")
    );
    assert_eq!(known.sni, seen.sni);
    assert_eq!(
        (seen.version, seen.cipher),
        (Version::Tls13, "TLS_AES_128_GCM_SHA256")
    );
    assert!(!seen.resumed && seen.peer_verified && known.peer_verified);
    let peer = seen.peer.as_ref().unwrap();
    assert_eq!(
        (peer.first_uri(), &*peer.subject, &*peer.serial),
        (Some(CLIENT), "", "07")
    );
    assert_eq!(known.peer.as_ref().unwrap().first_uri(), Some(SERVER));
    assert_eq!(seen.local.as_ref().unwrap().first_uri(), Some(SERVER));
    assert_eq!(known.local.as_ref().unwrap().first_uri(), Some(CLIENT));
}

/// Everything that changes who is let in, with the reason that either side gives. `None`: let in.
#[tokio::test]
async fn who_is_let_in() {
    let mesh = Mesh::new();
    let other = Authority::new("elsewhere");
    let uri = |text: &str| SanMatcher::exact_uri(text);
    let (good, bad) = (
        mesh.client.identity(),
        other.issue(&Leaf::uri(CLIENT)).identity(),
    );
    let (hash, key, wrong) = (
        good.facts().digest,
        good.facts().key_digest,
        bad.facts().digest,
    );
    let nul = mesh
        .authority
        .issue(&Leaf::uri("spiffe://cluster.local/ns/default/sa/a\0.evil"));
    let other_name = OtherNameValue::Utf8String(CLIENT.into());
    let disguised = mesh.authority.issue(&Leaf::with(vec![SanType::OtherName((
        vec![1, 3, 6, 1, 4, 1, 9, 9],
        other_name,
    ))]));
    let as_dns = mesh.authority.issue(&Leaf::dns("cluster.local"));
    let expired = mesh.authority.issue(&Leaf {
        until: 2021,
        ..Leaf::uri(CLIENT)
    });
    let server_only = mesh.authority.issue(&Leaf {
        usage: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ..Leaf::uri(CLIENT)
    });
    let two_roots = [mesh.authority.pem.as_str(), other.pem.as_str()].concat();
    let revoked = |serials: &[u8]| {
        let list = mesh.authority.revoke(serials);
        SecretSlot::filled(
            "ROOTCA",
            Trust::from_pem(mesh.authority.pem.as_bytes(), Some(list.as_bytes())).unwrap(),
        )
    };
    let foreign_list = SecretSlot::filled(
        "ROOTCA",
        Trust::from_pem(
            mesh.authority.pem.as_bytes(),
            Some(other.revoke(&[]).as_bytes()),
        )
        .unwrap(),
    );
    let both = || {
        SecretSlot::filled(
            "ROOTCA",
            Trust::from_pem(two_roots.as_bytes(), None).unwrap(),
        )
    };

    type Change<'a> = Box<dyn Fn(&mut ServerTlsPlan, &mut ClientTlsPlan) + 'a>;
    let show = |issued: &Issued| {
        let slot = issued.slot();
        move |plan: &mut ClientTlsPlan| plan.identity = Some(Arc::clone(&slot))
    };
    let nul = SecretSlot::filled(
        "hostile",
        Identity::hostile(nul.chain.as_bytes(), nul.key.as_bytes(), good.facts()),
    );
    let show_nul = |plan: &mut ClientTlsPlan| plan.identity = Some(Arc::clone(&nul));
    let (show_disguised, show_dns, show_expired) =
        (show(&disguised), show(&as_dns), show(&expired));
    let (show_server_only, show_other) =
        (show(&server_only), show(&other.issue(&Leaf::uri(CLIENT))));
    const REFUSED: Option<&str> = Some("CERTIFICATE_VERIFY_FAILED");
    let cases: Vec<(&str, Option<&str>, Change<'_>)> = vec![
        ("no names asked for", None, Box::new(|_, _| {})),
        (
            "the name asked for",
            None,
            Box::new(|s, _| s.peer.names = vec![uri("spiffe://x/y"), uri(CLIENT)]),
        ),
        (
            "another name asked for",
            REFUSED,
            Box::new(|s, _| s.peer.names = vec![uri("spiffe://cluster.local/ns/default/sa/aa")]),
        ),
        (
            "the trust domain asked for",
            None,
            Box::new(|s, _| {
                s.peer.names = vec![
                    SanMatcher::new(
                        SanKind::Uri,
                        TextRule::Prefix("spiffe://cluster.local/".into()),
                        false,
                    )
                    .unwrap(),
                ]
            }),
        ),
        ("another root", REFUSED, Box::new(|_, c| show_other(c))),
        (
            "one of two roots",
            None,
            Box::new(|s, c| {
                s.peer.trust = Some(both());
                show_other(c);
            }),
        ),
        (
            "no certificate",
            Some("PEER_DID_NOT_RETURN_A_CERTIFICATE"),
            Box::new(|_, c| c.identity = None),
        ),
        (
            "no certificate where it is optional",
            None,
            Box::new(|s, c| {
                s.client_certificate = ClientCertificate::Optional;
                c.identity = None;
            }),
        ),
        (
            "a bad certificate where it is optional",
            REFUSED,
            Box::new(|s, c| {
                s.client_certificate = ClientCertificate::Optional;
                show_other(c);
            }),
        ),
        (
            "a bad certificate that nobody asks for",
            None,
            Box::new(|s, c| {
                s.client_certificate = ClientCertificate::None;
                show_other(c);
            }),
        ),
        ("expired", REFUSED, Box::new(|_, c| show_expired(c))),
        (
            "not for clients",
            REFUSED,
            Box::new(|_, c| show_server_only(c)),
        ),
        ("a NUL in its name", REFUSED, Box::new(|_, c| show_nul(c))),
        (
            "a NUL behind a prefix that matches",
            REFUSED,
            Box::new(|s, c| {
                s.peer.names = vec![
                    SanMatcher::new(SanKind::Any, TextRule::Prefix("spiffe://".into()), false)
                        .unwrap(),
                ];
                show_nul(c);
            }),
        ),
        (
            "the right name as an otherName",
            REFUSED,
            Box::new(|s, c| {
                s.peer.names = vec![
                    SanMatcher::new(SanKind::Any, TextRule::Contains("spiffe".into()), false)
                        .unwrap(),
                ];
                show_disguised(c);
            }),
        ),
        (
            "a DNS name where a URI is asked for",
            REFUSED,
            Box::new(|s, c| {
                s.peer.names = vec![uri("cluster.local")];
                show_dns(c);
            }),
        ),
        (
            "revoked",
            REFUSED,
            Box::new(|s, _| s.peer.trust = Some(revoked(&[7]))),
        ),
        (
            "others revoked",
            None,
            Box::new(|s, _| s.peer.trust = Some(revoked(&[8]))),
        ),
        (
            "a revocation list of another authority only",
            REFUSED,
            Box::new(|s, _| s.peer.trust = Some(Arc::clone(&foreign_list))),
        ),
        (
            "pinned certificate",
            None,
            Box::new(|s, _| s.peer.certificate_hashes = vec![hash]),
        ),
        (
            "pinned key",
            None,
            Box::new(|s, _| s.peer.key_hashes = vec![key]),
        ),
        (
            "either pin is enough",
            None,
            Box::new(|s, _| {
                s.peer.certificate_hashes = vec![wrong];
                s.peer.key_hashes = vec![key];
            }),
        ),
        (
            "another certificate pinned",
            REFUSED,
            Box::new(|s, _| s.peer.certificate_hashes = vec![wrong]),
        ),
        (
            "pinned without roots",
            None,
            Box::new(|s, _| {
                s.peer.trust = None;
                s.peer.certificate_hashes = vec![hash];
            }),
        ),
        (
            "untrusted, and that is accepted",
            None,
            Box::new(|s, c| {
                s.peer.accept_untrusted = true;
                show_other(c);
            }),
        ),
        (
            "the client trusts another root",
            Some("TLSV1_ALERT_UNKNOWN_CA"),
            Box::new(|_, c| c.peer.trust = Some(other.trust())),
        ),
        (
            "the client wants another server",
            Some("SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
            Box::new(|_, c| c.peer.names = vec![uri(CLIENT)]),
        ),
        (
            "the client wants this server",
            None,
            Box::new(|_, c| c.peer.names = vec![uri(SERVER)]),
        ),
        (
            "the client asks nothing",
            None,
            Box::new(|_, c| c.peer.trust = None),
        ),
    ];
    for maximum in [Version::Tls13, Version::Tls12] {
        for (what, reason, change) in &cases {
            let (mut server, mut client) = (mesh.server_plan(), mesh.client_plan());
            server.parameters.maximum = maximum;
            change(&mut server, &mut client);
            let (server, client) = (
                ServerTls::new(server).unwrap(),
                ClientTls::new(client).unwrap(),
            );
            let (accepted, connected) = shake(&server, &client, Overrides::default()).await;
            match (&accepted, reason) {
                (Ok(stream), None) => assert_eq!(stream.negotiated().version, maximum, "{what}"),
                (Err(error), Some(reason)) => {
                    assert_eq!(error.reason(), *reason, "{what}: {error}");
                    assert_eq!(error.fault(), Fault::Client, "{what}");
                }
                _ => panic!(
                    "{what} on {maximum:?}: server {:?}, client {:?}",
                    accepted.err(),
                    connected.err()
                ),
            }
        }
    }
}

#[tokio::test]
async fn an_untrusted_peer_is_marked() {
    let mesh = Mesh::new();
    let other = Authority::new("elsewhere").issue(&Leaf::uri(CLIENT));
    for (issued, verified) in [(&mesh.client, true), (&other, false)] {
        let mut plan = mesh.server_plan();
        plan.peer.accept_untrusted = true;
        plan.peer.names = vec![SanMatcher::exact_uri(CLIENT)];
        let server = ServerTls::new(plan).unwrap();
        let client =
            ClientTls::new(client_plan(Some(issued.slot()), mesh.authority.trust())).unwrap();
        let (accepted, _) = shake(&server, &client, Overrides::default()).await;
        assert_eq!(accepted.unwrap().negotiated().peer_verified, verified);
    }
}

#[tokio::test]
async fn a_self_signed_certificate_in_the_bundle_vouches_for_itself() {
    let key = rcgen::KeyPair::generate().unwrap();
    for (until, good) in [(2090, true), (2021, false)] {
        let mut params = Leaf {
            until,
            ..Leaf::dns("legacy.test")
        }
        .params();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let chain = params.self_signed(&key).unwrap().pem();
        let trust = SecretSlot::filled("ca", Trust::from_pem(chain.as_bytes(), None).unwrap());
        let issued = Issued {
            chain,
            key: key.serialize_pem(),
        };
        let plan = ServerTlsPlan {
            client_certificate: ClientCertificate::None,
            ..server_plan(issued.slot(), Arc::clone(&trust))
        };
        let server = ServerTls::new(plan).unwrap();
        let client = ClientTls::new(ClientTlsPlan {
            verifies_host: true,
            ..client_plan(None, trust)
        })
        .unwrap();
        let (_, connected) = shake(
            &server,
            &client,
            Overrides {
                sni: Some("legacy.test"),
                ..Overrides::default()
            },
        )
        .await;
        assert_eq!(connected.is_ok(), good, "{:?}", connected.err());
    }
}
