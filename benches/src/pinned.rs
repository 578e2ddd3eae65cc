//! Where this process runs.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Load and backend to core 1, so that the peer has core 0 for itself; returns how many cores there are, or 1 where that is not allowed.
#[must_use]
pub fn pin() -> usize {
    let cores = sched_getaffinity(None).map_or(1, |set| set.count() as usize);
    let mut second = CpuSet::new();
    second.set(1);
    if cores < 2 || sched_setaffinity(None, &second).is_err() {
        return 1;
    }
    cores
}

/// This thread, and what it starts, may run on all cores until this is dropped.
#[derive(Debug)]
pub(crate) struct Everywhere {
    before: Option<CpuSet>,
}

impl Everywhere {
    pub(crate) fn leave() -> Self {
        let before = sched_getaffinity(None).ok();
        let mut all = CpuSet::new();
        for core in 0..CpuSet::MAX_CPU {
            all.set(core);
        }
        // Who may not run everywhere stays where it is.
        sched_setaffinity(None, &all).ok();
        Self { before }
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            sched_setaffinity(None, before).ok();
        }
    }
}
