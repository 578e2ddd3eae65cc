//! A full disk: reads go on, writes say why, and nothing is lost when there is room again.

use std::path::{Path, PathBuf};
use std::process::Command;

use carbyne_gateway::store::{Key, Store, StoreError};

use super::{fresh, pair, schema};

/// A small file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: &Path, size: &str) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(place)
            .status()
            .expect("mount(8) is part of util-linux");
        assert!(mounted.success(), "mounting a file system takes root");
        Self(place.into())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is left mounted is in the way of nobody but the temporary folder.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_answers_reads() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), "4m");
    let store = fresh(&disk.0);
    let (first, changes) = pair();
    store.commit(changes).await.unwrap();

    let ballast = disk.0.join("ballast");
    let filled = Command::new("dd")
        .arg("if=/dev/zero")
        .arg(format!("of={}", ballast.display()))
        .arg("bs=4k")
        .output();
    assert!(!filled.unwrap().status.success(), "the disk is full");

    let mut acknowledged = vec![first];
    let why = loop {
        let (name, changes) = pair();
        match store.commit(changes).await {
            Ok(_) => acknowledged.push(name),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100_000, "the disk never filled");
    };
    let StoreError::Unavailable(text) = &why else {
        panic!("{why:?}")
    };
    assert!(text.contains("No space left on device"), "{text}");
    for _ in 0..3 {
        assert!(matches!(
            store.commit(pair().1).await,
            Err(StoreError::Unavailable(_))
        ));
        for name in &acknowledged {
            let key = Key::Field("name".into(), name.as_str().into());
            assert!(
                store
                    .find(schema("services"), &key)
                    .await
                    .unwrap()
                    .is_some(),
                "reads go on"
            );
        }
    }

    std::fs::remove_file(ballast).unwrap();
    let (name, changes) = pair();
    store.commit(changes).await.expect("there is room again");
    acknowledged.push(name);
    drop(store);
    let store = fresh(&disk.0);
    for name in &acknowledged {
        let key = Key::Field("name".into(), name.as_str().into());
        assert!(
            store
                .find(schema("services"), &key)
                .await
                .unwrap()
                .is_some(),
            "{name} was lost"
        );
        assert!(
            store.find(schema("routes"), &key).await.unwrap().is_some(),
            "{name} has lost its route"
        );
    }
}
