//! Handshakes over an in-memory pipe: both sides of this room against each other.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, OtherNameValue, SanType};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::testing::{Authority, Issued, Leaf, client_plan, converse, server_plan, shake};
use super::{
    AlpnList, ClientCertificate, ClientTls, ClientTlsPlan, Fault, Identity, Overrides,
    PeerRejection, PlanError, Resumption, SanKind, SanMatcher, SecretSlot, ServerIdentity,
    ServerNames, ServerTls, ServerTlsPlan, TextRule, TlsError, TlsParameters, Trust, Version,
};

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/a";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/b";

/// One authority, one certificate a side.
struct Mesh {
    authority: Authority,
    client: Issued,
    server: Issued,
}

impl Mesh {
    fn new() -> Self {
        let authority = Authority::new("cluster.local");
        let client = authority.issue(&Leaf::uri(CLIENT));
        let server = authority.issue(&Leaf::uri(SERVER));
        Self {
            authority,
            client,
            server,
        }
    }

    fn server_plan(&self) -> ServerTlsPlan {
        server_plan(self.server.slot(), self.authority.trust())
    }

    fn client_plan(&self) -> ClientTlsPlan {
        client_plan(Some(self.client.slot()), self.authority.trust())
    }
}

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
async fn protocol_names_never_end_a_handshake() {
    let mesh = Mesh::new();
    let cases: &[(&[&str], &[&str], Option<&str>)] = &[
        (
            &["h2", "http/1.1"],
            &["istio-http/1.1", "istio", "http/1.1"],
            Some("http/1.1"),
        ),
        (&["h2", "http/1.1"], &["http/1.1", "h2"], Some("h2")),
        (
            &["istio-peer-exchange", "h2", "http/1.1"],
            &["istio-peer-exchange", "istio"],
            Some("istio-peer-exchange"),
        ),
        (&["h2", "http/1.1"], &["istio-peer-exchange", "istio"], None),
        (&["h2"], &[], None),
        (&[], &["h2"], None),
        (&[], &[], None),
    ];
    for (serves, offers, expected) in cases {
        let server = ServerTls::new(ServerTlsPlan {
            alpn: AlpnList::new(*serves).unwrap(),
            ..mesh.server_plan()
        })
        .unwrap();
        let client = ClientTls::new(mesh.client_plan()).unwrap();
        let alpn = AlpnList::new(*offers).unwrap();
        let (accepted, connected) = shake(
            &server,
            &client,
            Overrides {
                alpn: Some(&alpn),
                ..Overrides::default()
            },
        )
        .await;
        let expected = expected.map(str::as_bytes);
        assert_eq!(
            accepted.unwrap().negotiated().alpn.as_deref(),
            expected,
            "{serves:?} {offers:?}"
        );
        assert_eq!(
            connected.unwrap().negotiated().alpn.as_deref(),
            expected,
            "{serves:?} {offers:?}"
        );
    }
}

#[tokio::test]
async fn the_name_selects_the_certificate() {
    let authority = Authority::new("public");
    let listed = |name: &str, patterns: &[&str]| ServerIdentity {
        slot: authority.issue(&Leaf::dns(name)).slot(),
        names: ServerNames::Listed(
            patterns
                .iter()
                .map(|pattern| (*pattern).to_owned())
                .collect(),
        ),
    };
    let own = |name: &str| ServerIdentity {
        slot: authority.issue(&Leaf::dns(name)).slot(),
        names: ServerNames::FromCertificate,
    };
    let empty = ServerIdentity {
        slot: SecretSlot::new("late"),
        names: ServerNames::Listed(vec!["a.example.com".to_owned()]),
    };
    let plan = ServerTlsPlan {
        identities: vec![
            empty,
            own("a.example.com"),
            own("*.example.com"),
            listed("trailing", &["example.*"]),
            listed("exact", &["x.example.com", "y.test"]),
            listed("default", &["*"]),
        ],
        client_certificate: ClientCertificate::None,
        peer: Default::default(),
        ..server_plan(SecretSlot::new("unused"), authority.trust())
    };
    let server = ServerTls::new(plan).unwrap();
    let client = ClientTls::new(client_plan(None, authority.trust())).unwrap();
    let cases = [
        ("A.Example.com", "a.example.com"),
        ("b.example.com", "*.example.com"),
        ("x.example.com", "exact"),
        ("y.test", "exact"),
        ("example.org", "trailing"),
        ("b.c.example.com", "default"),
        ("example.com", "trailing"),
        ("other", "default"),
        ("", "default"),
        ("10.1.2.3", "default"),
    ];
    for (sni, expected) in cases {
        let (accepted, connected) = shake(
            &server,
            &client,
            Overrides {
                sni: Some(sni),
                ..Overrides::default()
            },
        )
        .await;
        let accepted = accepted.unwrap();
        assert_eq!(
            &*accepted.negotiated().local.as_ref().unwrap().dns_sans[0],
            expected,
            "{sni}"
        );
        let sent = Some(sni)
            .filter(|name| name.contains(char::is_alphabetic))
            .map(str::to_ascii_lowercase);
        assert_eq!(accepted.negotiated().sni.as_deref(), sent.as_deref());
        assert_eq!(
            &*connected
                .unwrap()
                .negotiated()
                .peer
                .as_ref()
                .unwrap()
                .dns_sans[0],
            expected,
            "{sni}"
        );
    }
}

#[tokio::test]
async fn host_names_are_verified_when_asked() {
    let authority = Authority::new("public");
    let by_name = authority.issue(&Leaf::dns("*.example.com"));
    let by_address = authority.issue(&Leaf::ip([10, 0, 0, 1].into()));
    // Certificate, SNI, name to verify, whether the plan asks, whether it succeeds.
    let cases: &[(&Issued, &str, Option<&str>, bool, bool)] = &[
        (&by_name, "a.example.com", None, true, true),
        (&by_name, "a.example.com.", None, true, true),
        (&by_name, "example.com", None, true, false),
        (&by_name, "example.com", None, false, true),
        (&by_name, "example.com", Some("a.example.com"), false, true),
        (&by_name, "a.example.com", Some("b.test"), false, false),
        (&by_name, "", Some("a.example.com"), false, true),
        (&by_name, "", Some("b.test"), false, false),
        (&by_address, "10.0.0.1", None, true, true),
        (&by_address, "10.0.0.2", None, true, false),
        (&by_address, "a.test", Some("10.0.0.1"), true, true),
    ];
    for (index, (issued, sni, verify_name, verifies_host, good)) in cases.iter().enumerate() {
        let plan = ServerTlsPlan {
            client_certificate: ClientCertificate::None,
            ..server_plan(issued.slot(), authority.trust())
        };
        let server = ServerTls::new(plan).unwrap();
        let client = ClientTls::new(ClientTlsPlan {
            verifies_host: *verifies_host,
            ..client_plan(None, authority.trust())
        })
        .unwrap();
        // Twice, as the second would resume.
        for _ in 0..2 {
            let (_, connected) = shake(
                &server,
                &client,
                Overrides {
                    sni: Some(sni),
                    verify_name: *verify_name,
                    alpn: None,
                },
            )
            .await;
            match connected {
                Ok(_) => assert!(good, "case {index}"),
                Err(error) => {
                    assert!(!good, "case {index}: {error}");
                    assert_eq!(
                        (error.reason(), error.fault()),
                        ("CERTIFICATE_VERIFY_FAILED", Fault::Upstream),
                        "case {index}"
                    );
                    assert!(error.retry_is_safe());
                }
            }
        }
    }
}

#[tokio::test]
async fn names_that_cannot_be_used() {
    let mesh = Mesh::new();
    let client = ClientTls::new(ClientTlsPlan {
        verifies_host: true,
        ..mesh.client_plan()
    })
    .unwrap();
    for sni in ["a b", "a:443", "-.-", ""] {
        let error = client
            .connect(
                duplex(16).0,
                Overrides {
                    sni: Some(sni),
                    ..Overrides::default()
                },
            )
            .await
            .unwrap_err();
        assert!(
            matches!(error, TlsError::ServerName { .. }),
            "{sni:?}: {error}"
        );
        assert_eq!(error.fault(), Fault::Config);
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

#[tokio::test]
async fn nothing_works_before_the_secrets_come() {
    let mesh = Mesh::new();
    let (identity, trust) = (SecretSlot::new("default"), SecretSlot::new("ROOTCA"));
    let server = ServerTls::new(server_plan(Arc::clone(&identity), Arc::clone(&trust))).unwrap();
    let client =
        ClientTls::new(client_plan(Some(Arc::clone(&identity)), Arc::clone(&trust))).unwrap();
    for missing in ["ROOTCA", "default"] {
        assert!(!server.is_ready() && !client.is_ready());
        let (accepted, connected) = shake(&server, &client, Overrides::default()).await;
        for error in [accepted.unwrap_err(), connected.unwrap_err()] {
            assert!(
                matches!(&error, TlsError::NotReady { secret } if &**secret == missing),
                "{error}"
            );
            assert_eq!(
                (error.fault(), error.retry_is_safe()),
                (Fault::Config, false)
            );
        }
        trust.set(Trust::from_pem(mesh.authority.pem.as_bytes(), None).unwrap());
    }
    let ((), (), _) = tokio::join!(server.ready(), client.ready(), async {
        identity.set(mesh.server.identity())
    });
    assert!(server.is_ready() && client.is_ready());
    let (accepted, _) = shake(&server, &client, Overrides::default()).await;
    accepted.unwrap();
    identity.clear();
    assert!(matches!(
        shake(&server, &client, Overrides::default()).await.0,
        Err(TlsError::NotReady { .. })
    ));
}

#[tokio::test]
async fn rotation_leaves_live_connections_alone() {
    let mesh = Mesh::new();
    let plan = mesh.server_plan();
    let slot = Arc::clone(&plan.identities[0].slot);
    let server = ServerTls::new(plan).unwrap();
    let client = ClientTls::new(mesh.client_plan()).unwrap();
    let (accepted, connected) = shake(&server, &client, Overrides::default()).await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    let next = mesh.authority.issue(&Leaf {
        serial: 9,
        ..Leaf::uri(SERVER)
    });
    assert!(slot.set(next.identity()));
    let (later, _) = shake(&server, &client, Overrides::default()).await;
    assert_eq!(
        &*later.unwrap().negotiated().local.as_ref().unwrap().serial,
        "09"
    );
    assert_eq!(&*accepted.negotiated().local.as_ref().unwrap().serial, "07");
    converse(&mut accepted, &mut connected).await;
}

/// Resumption skips verification, so it must end with the trust that verified (RUSTSEC-2026-0349, CVE-2022-21654).
#[tokio::test]
async fn sessions_end_with_the_trust_that_admitted_them() {
    for maximum in [Version::Tls13, Version::Tls12] {
        for resumption in [Resumption::Tickets, Resumption::Stored(64), Resumption::Off] {
            let mesh = Mesh::new();
            let mut plan = mesh.server_plan();
            plan.resumption = resumption;
            plan.parameters.maximum = maximum;
            let trust = plan.peer.trust.clone().unwrap();
            let server = ServerTls::new(plan).unwrap();
            let client = ClientTls::new(mesh.client_plan()).unwrap();
            let resumes = resumption != Resumption::Off;
            for round in 0..3 {
                let (accepted, connected) = shake(&server, &client, Overrides::default()).await;
                let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
                assert_eq!(
                    accepted.negotiated().resumed,
                    resumes && round > 0,
                    "{maximum:?} {resumption:?} round {round}"
                );
                assert_eq!(
                    connected.negotiated().resumed,
                    accepted.negotiated().resumed
                );
                // The peer is known and verified all the same.
                assert_eq!(
                    accepted.negotiated().peer.as_ref().unwrap().first_uri(),
                    Some(CLIENT)
                );
                assert!(
                    accepted.negotiated().peer_verified && connected.negotiated().peer_verified
                );
            }
            // The same bundle again changes nothing; a list that revokes the client does.
            assert!(!trust.set(Trust::from_pem(mesh.authority.pem.as_bytes(), None).unwrap()));
            assert_eq!(
                shake(&server, &client, Overrides::default())
                    .await
                    .0
                    .unwrap()
                    .negotiated()
                    .resumed,
                resumes
            );
            let list = mesh.authority.revoke(&[7]);
            assert!(trust.set(
                Trust::from_pem(mesh.authority.pem.as_bytes(), Some(list.as_bytes())).unwrap()
            ));
            let error = shake(&server, &client, Overrides::default())
                .await
                .0
                .unwrap_err();
            assert_eq!(
                error.reason(),
                "CERTIFICATE_VERIFY_FAILED",
                "{maximum:?} {resumption:?}: {error}"
            );
            // The client's own trust counts as much.
            trust.set(Trust::from_pem(mesh.authority.pem.as_bytes(), None).unwrap());
            shake(&server, &client, Overrides::default())
                .await
                .0
                .unwrap();
            let clients = client.plan().peer.trust.clone().unwrap();
            clients.set(Trust::from_pem(Authority::new("elsewhere").pem.as_bytes(), None).unwrap());
            assert!(
                shake(&server, &client, Overrides::default())
                    .await
                    .1
                    .is_err()
            );
        }
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_under_stricter_rules() {
    let mesh = Mesh::new();
    let server = ServerTls::new(mesh.server_plan()).unwrap();
    let client = ClientTls::new(mesh.client_plan()).unwrap();
    let name = "outbound_.80_._.b.default.svc.cluster.local";
    for _ in 0..2 {
        shake(&server, &client, Overrides::default())
            .await
            .1
            .unwrap();
    }
    let strict = Overrides {
        verify_name: Some(name),
        ..Overrides::default()
    };
    let error = shake(&server, &client, strict).await.1.unwrap_err();
    assert_eq!(error.reason(), "CERTIFICATE_VERIFY_FAILED");
}

#[tokio::test]
async fn versions_and_suites() {
    let mesh = Mesh::new();
    let istio = [
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
    ];
    let parameters = |minimum, maximum, suites: &[&str]| TlsParameters {
        minimum,
        maximum,
        cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect(),
        groups: Vec::new(),
    };
    let cases: &[(TlsParameters, Result<(Version, &str), &str>)] = &[
        (
            parameters(Version::Tls12, Version::Tls13, &istio),
            Ok((Version::Tls13, "TLS_AES_128_GCM_SHA256")),
        ),
        (
            parameters(Version::Tls10, Version::Tls12, &istio),
            Ok((Version::Tls12, "ECDHE-ECDSA-AES256-GCM-SHA384")),
        ),
        (
            parameters(
                Version::Tls12,
                Version::Tls12,
                &["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]"],
            ),
            Ok((Version::Tls12, "ECDHE-ECDSA-AES128-GCM-SHA256")),
        ),
        (
            parameters(
                Version::Tls12,
                Version::Tls12,
                &["ECDHE-RSA-AES128-GCM-SHA256"],
            ),
            Err("NO_SHARED_CIPHER"),
        ),
        (
            parameters(Version::Tls13, Version::Tls13, &["AES256-GCM-SHA384"]),
            Ok((Version::Tls13, "TLS_AES_128_GCM_SHA256")),
        ),
    ];
    for (parameters, expected) in cases {
        let server = ServerTls::new(ServerTlsPlan {
            parameters: parameters.clone(),
            ..mesh.server_plan()
        })
        .unwrap();
        let client = ClientTls::new(mesh.client_plan()).unwrap();
        let accepted = shake(&server, &client, Overrides::default()).await.0;
        let got = accepted
            .as_ref()
            .map(|stream| (stream.negotiated().version, stream.negotiated().cipher));
        assert_eq!(got.map_err(TlsError::reason), *expected, "{parameters:?}");
    }
    assert_eq!(
        parameters(Version::Tls12, Version::Tls13, &istio).ignored_cipher_suites(),
        ["AES256-GCM-SHA384"]
    );
    let refused = [
        parameters(
            Version::Tls12,
            Version::Tls13,
            &["AES256-GCM-SHA384", "nonsense"],
        ),
        parameters(Version::Tls13, Version::Tls12, &[]),
        parameters(Version::Tls10, Version::Tls11, &[]),
        TlsParameters {
            groups: vec!["P-521".to_owned()],
            ..TlsParameters::default()
        },
    ];
    for parameters in refused {
        assert!(
            ServerTls::new(ServerTlsPlan {
                parameters: parameters.clone(),
                ..mesh.server_plan()
            })
            .is_err(),
            "{parameters:?}"
        );
    }
}

#[test]
fn plans_that_cannot_work() {
    let mesh = Mesh::new();
    let mut plan = mesh.server_plan();
    plan.peer.trust = None;
    assert_eq!(
        ServerTls::new(plan.clone()).unwrap_err(),
        PlanError::RequiredWithoutTrust
    );
    plan.peer.names = vec![SanMatcher::exact_uri(CLIENT)];
    assert_eq!(
        ServerTls::new(plan).unwrap_err(),
        PlanError::NamesWithoutTrust
    );
    assert_eq!(
        ServerTls::new(ServerTlsPlan {
            identities: vec![],
            ..mesh.server_plan()
        })
        .unwrap_err(),
        PlanError::NoIdentity
    );
    let mut plan = mesh.server_plan();
    plan.identities[0].names = ServerNames::Listed(vec!["a*b".to_owned()]);
    assert!(matches!(
        ServerTls::new(plan).unwrap_err(),
        PlanError::NamePattern { .. }
    ));
    let mut plan = mesh.client_plan();
    plan.peer.trust = None;
    plan.verifies_host = true;
    assert_eq!(
        ClientTls::new(plan).unwrap_err(),
        PlanError::NamesWithoutTrust
    );
    assert!(AlpnList::new([""]).is_err() && AlpnList::new(["x".repeat(256)]).is_err());
}

#[tokio::test]
async fn peers_that_do_not_shake_hands() {
    let mesh = Mesh::new();
    let server = ServerTls::new(mesh.server_plan()).unwrap();
    let (near, far) = duplex(4096);
    let error = server
        .accept(far, Some(Duration::from_millis(1)))
        .await
        .unwrap_err();
    assert!(matches!(error, TlsError::Timeout { .. }));
    drop(near);
    let (near, far) = duplex(4096);
    drop(near);
    assert!(matches!(
        server.accept(far, None).await.unwrap_err(),
        TlsError::Closed { .. }
    ));
    let (mut near, far) = duplex(4096);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = server.accept(far, None).await.unwrap_err();
    assert_eq!(
        (error.reason(), error.fault()),
        ("WRONG_VERSION_NUMBER", Fault::Client),
        "{error}"
    );
    // The alert reaches the peer.
    assert_eq!(near.read_u8().await.unwrap(), 21);
    let client = ClientTls::new(mesh.client_plan()).unwrap();
    let (near, mut far) = duplex(4096);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let error = client
        .connect(near, Overrides::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.reason(), error.fault()),
        ("WRONG_VERSION_NUMBER", Fault::Upstream),
        "{error}"
    );
    assert!(matches!(
        TlsError::from_rustls(super::Side::Upstream, PeerRejection::NotPinned.into()),
        TlsError::Refused { .. }
    ));
}
