//! What two sides agree on: names, protocols, versions; and peers that do not speak TLS.

use std::time::Duration;

use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::pki::{Authority, CLIENT, Issued, Leaf, Mesh, SERVER, client_plan, server_plan, shake};
use crate::tls::{
    AlpnList, ClientCertificate, ClientTls, ClientTlsPlan, Fault, Overrides, PeerRejection,
    PlanError, SanMatcher, SecretSlot, ServerIdentity, ServerNames, ServerTls, ServerTlsPlan, Side,
    TlsError, TlsParameters, Version,
};

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
    type Outcome = Result<(Version, &'static str), &'static str>;
    let cases: &[(TlsParameters, Outcome)] = &[
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

#[tokio::test]
async fn the_certificate_fits_the_suites_that_the_client_lists() {
    let mesh = Mesh::new();
    let leaf = Leaf::uri(SERVER);
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let rsa = mesh.authority.issue_for(&leaf, &rsa);
    let server = ServerTlsPlan {
        identities: [&rsa, &mesh.server]
            .map(|issued| ServerIdentity {
                slot: issued.slot(),
                names: ServerNames::Listed(vec!["*".to_owned()]),
            })
            .into(),
        ..mesh.server_plan()
    };
    let server = ServerTls::new(server).unwrap();
    for (suites, expected) in [
        (&[][..], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (
            &["ECDHE-RSA-AES128-GCM-SHA256"],
            "ECDHE-RSA-AES128-GCM-SHA256",
        ),
        (
            &["ECDHE-ECDSA-AES128-GCM-SHA256"],
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        (
            &[
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
            ],
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
    ] {
        let client = ClientTls::new(ClientTlsPlan {
            parameters: TlsParameters {
                maximum: Version::Tls12,
                cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect(),
                ..TlsParameters::default()
            },
            ..mesh.client_plan()
        });
        let accepted = shake(&server, &client.unwrap(), Overrides::default())
            .await
            .0;
        assert_eq!(
            accepted.unwrap().negotiated().cipher,
            expected,
            "{suites:?}"
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
        TlsError::from_rustls(Side::Upstream, PeerRejection::NotPinned.into()),
        TlsError::Refused { .. }
    ));
}
