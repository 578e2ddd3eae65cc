//! The control plane's stream is cut at any byte, or the control plane is gone: traffic goes on as it was, and what
//! changed meanwhile is there after the next answer.

use super::load::{Kind, Load};
use super::mesh::Mesh;
use super::plane::{CLUSTER, Cut, How, LISTENER, Protocol};
use super::slice;

const KINDS: [Kind; 3] = [Kind::Fresh, Kind::Kept, Kind::Http2];

#[test]
fn a_stream_cut_at_any_byte_is_opened_again_sotw() {
    cut_anywhere(Protocol::Sotw);
}

#[test]
fn a_stream_cut_at_any_byte_is_opened_again_delta() {
    cut_anywhere(Protocol::Delta);
}

fn cut_anywhere(protocol: Protocol) {
    let mesh = Mesh::start(protocol);
    // How much a whole answer is: on a stream that is not cut, all is said when the last type is acknowledged.
    mesh.publish("measure");
    mesh.plane.disconnect();
    mesh.serves("measure");
    let whole = mesh.plane.written(mesh.plane.connections());
    let cuts: Vec<_> = (0..=whole)
        .flat_map(|after| [How::Close, How::Reset].map(|how| Cut { after, how }))
        .collect();
    let load = Load::start(mesh.address(), &KINDS);
    load.goes_on(1);
    for (number, cut) in slice::of(&format!("stream cuts {protocol:?}"), cuts, 150)
        .into_iter()
        .enumerate()
    {
        let before = mesh.plane.connections();
        mesh.plane.cut_next(cut);
        mesh.plane.disconnect();
        // Told while the stream is down: it must come with the next one, in parts if that is cut, too.
        let mark = format!("cut{number}");
        mesh.publish(&mark);
        mesh.serves(&mark);
        // The old stream may have told it before its end was noticed.
        let again = crate::support::poll(crate::support::PATIENCE, || {
            (mesh.plane.connections() > before).then_some(())
        });
        assert!(again.is_some(), "{cut:?}: no new stream");
    }
    load.goes_on(3);
    println!("{protocol:?}: {} requests, none failed", load.end());
    assert_eq!(mesh.stat("listener_manager.lds.update_rejected"), 0);
    assert_eq!(mesh.stat("cluster_manager.cds.update_rejected"), 0);
}

#[test]
fn a_control_plane_that_is_gone_is_not_missed() {
    for protocol in Protocol::BOTH {
        let mesh = Mesh::start(protocol);
        let load = Load::start(mesh.address(), &KINDS);
        mesh.plane.gone(true);
        // It tries again and again, and each time in vain.
        let failures = "cluster.plane.upstream_cx_connect_fail";
        crate::support::poll(crate::support::PATIENCE, || {
            (mesh.stat(failures) >= 5).then_some(())
        })
        .expect("no further tries");
        assert_eq!(mesh.stat("control_plane.connected_state"), 0);
        load.goes_on(5);
        let mark = mesh.plane.mark();
        mesh.publish("back");
        mesh.plane.gone(false);
        mesh.serves("back");
        mesh.plane.acked(mark, LISTENER);
        load.goes_on(1);
        load.end();
    }
}

/// Envoy: a stream that is opened again says what is held already, so that nothing is sent twice (Delta), and names
/// what is needed (both).
#[test]
fn a_new_stream_resumes_where_the_old_one_ended() {
    for protocol in Protocol::BOTH {
        let mesh = Mesh::start(protocol);
        let mark = mesh.plane.mark();
        mesh.plane.disconnect();
        for type_url in [CLUSTER, LISTENER] {
            let first = mesh
                .plane
                .hears(mark, "the first request of the new stream", |heard| {
                    (heard.type_url == type_url && heard.nonce.is_empty()).then(|| heard.clone())
                });
            assert!(first.error.is_none());
            if protocol == Protocol::Delta {
                assert!(first.held.contains_key(super::mesh::NAME), "{first:?}");
            }
        }
        for type_url in [super::plane::ENDPOINT, super::plane::ROUTE] {
            let first = mesh
                .plane
                .hears(mark, "the names that are needed", |heard| {
                    (heard.type_url == type_url && heard.nonce.is_empty()).then(|| heard.clone())
                });
            assert_eq!(first.names, [super::mesh::NAME], "{protocol:?}");
        }
        mesh.serves("first");
    }
}
