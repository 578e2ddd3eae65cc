//! Saved files, made live while everything runs.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{Life, refused};
use crate::{
    terminal,
    up::{board::Level, count::count, plane::ReloadError, report, report_lines, workloads},
};

impl Life {
    /// Makes a saved folder live, the mesh's files, the gateway's and the topics' each by itself; what is bad is refused and changes nothing.
    pub(super) async fn reload(&mut self, began: Instant) {
        // Saves of before this reading are in it.
        while self.saves.try_recv().is_ok() {}
        let (gateway, changed) = (self.reload_gateway().await, self.reload_mesh().await);
        self.reload_topics(began);
        self.publish();
        let took = || began.elapsed().as_millis();
        if gateway {
            let applied = format!("applied {} in {} ms", self.kong(), took());
            self.note(Level::Good, applied.clone());
            terminal::note(&applied);
            let tries = self.tries();
            self.board.tell(|told| told.tries = tries);
        }
        if changed {
            self.platform.plane().settled(SETTLE).await;
            let resources = count(&self.snapshot);
            let applied = format!("applied {resources} resources in {} ms", took());
            self.note(Level::Good, applied.clone());
            terminal::note(&applied);
        }
        self.show_refusals();
    }

    /// True if the gateway has another configuration now.
    async fn reload_gateway(&mut self) -> bool {
        let workload = self
            .found
            .workloads
            .iter()
            .find(|workload| workload.gateway);
        let (Some(gateway), Some(workload)) = (&mut self.gateway, workload) else {
            return false;
        };
        let folder = self.platform.directory().of(&workload.name);
        match gateway.reload(workload, &folder).await {
            Ok(changed) => changed,
            Err(error) => {
                report_lines(&error);
                self.board.note(Level::Bad, error.to_string());
                terminal::note(&refused(&self.kong()));
                false
            }
        }
    }

    /// True if the mesh was read anew.
    async fn reload_mesh(&mut self) -> bool {
        match self.platform.plane().reload().await {
            Ok(true) => {}
            // What was bad is again as it was.
            Ok(false) => return std::mem::take(&mut self.bad),
            Err(error) => {
                self.bad = true;
                self.note(Level::Bad, error.to_string());
                match error {
                    ReloadError::Configuration(errors) => report(&errors),
                    ReloadError::Read(error) => terminal::error(&error.to_string(), None),
                }
                terminal::note(&refused(&self.folder.display().to_string()));
                return false;
            }
        }
        self.bad = false;
        self.snapshot = self.platform.plane().snapshot();
        self.found = workloads::find(&self.snapshot, self.gateway.is_some());
        self.warn();
        if let Err(error) = self.adjust().await {
            terminal::error(&error.to_string(), None);
        }
        let runs: BTreeSet<String> = self.platform.titles().collect();
        let known = self.waiters.keys().chain(self.pending.keys());
        let gone: Vec<String> = known
            .filter(|title| !runs.contains(*title))
            .cloned()
            .collect();
        for title in gone {
            self.give_up_on(&title);
            self.pending.remove(&title);
        }
        true
    }

    /// The gateway's file, for people.
    fn kong(&self) -> String {
        self.gateway
            .as_ref()
            .map_or_else(String::new, |gateway| gateway.file().display().to_string())
    }
}

/// How long a change may take to be answered by all sidecars before it is called applied anyway.
const SETTLE: Duration = Duration::from_secs(1);
