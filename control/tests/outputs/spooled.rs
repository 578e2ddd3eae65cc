//! A recorded spool.

use std::path::Path;

use carbyne_events::{
    emit::{OnDisk, Options, Outlet},
    samples,
};

/// A folder with the spool of a gateway that has ended: a call, two refusals, an operation of an administrator.
pub(crate) fn spooled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    spooled_at(&folder.path().join("events"));
    folder
}

/// The same in a folder that is there.
pub(crate) fn spooled_at(root: &Path) {
    let outlet = Outlet::open(root, Options::new("node", "gateway")).unwrap();
    let emitter = outlet.emitter();
    // Each on disk before the next, so that each is a block.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let keep = |kept: OnDisk| runtime.as_ref().unwrap().block_on(kept).unwrap();
    keep(emitter.emit_durably(&samples::refusal("10.0.0.0/24")));
    keep(emitter.emit_durably(&samples::refusal("10.0.1.0/24")));
    keep(emitter.emit_durably(&samples::operation("a-request")));
    keep(emitter.emit_durably(&samples::change("routes/a", 7)));
    drop(emitter);
    outlet.close();
}
