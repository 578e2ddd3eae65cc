//! Secrets that come late and change, and the sessions that must end with them.

use std::sync::Arc;

use super::pki::{
    Authority, CLIENT, Leaf, Mesh, SERVER, client_plan, converse, server_plan, shake,
};
use crate::tls::{
    ClientTls, Fault, Overrides, Resumption, SecretSlot, ServerTls, TlsError, Trust, Version,
};

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
