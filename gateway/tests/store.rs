//! One suite for every store; what the disk does to the embedded one; what a crash leaves; what is told of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test: failing loudly is the point"
)]

use std::path::Path;

use carbyne_gateway::object;
use carbyne_gateway::schema::{Schema, library, uuid};
use carbyne_gateway::store::{
    Change, ChangesKind, Declarative, Embedded, Query, Store, StoreError,
};
use carbyne_gateway::value::{Object, Value};

#[path = "support/cases.rs"]
mod cases;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/suite.rs"]
mod suite;
#[path = "store/told.rs"]
mod told;

use suite::{reads, writes};

fn schema(name: &str) -> &'static Schema {
    library::entity(name).unwrap()
}

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn insert(entity: &str, number: u32, mut members: Object) -> Change {
    members.insert("id".into(), id(number).into());
    Change::Insert {
        schema: schema(entity),
        id: id(number),
        entity: members,
        expires: None,
    }
}

fn parent(number: u32) -> Object {
    object! { "id": id(number) }
}

fn tags(names: &[&str]) -> Value {
    names
        .iter()
        .map(|name| Value::from(*name))
        .collect::<Vec<_>>()
        .into()
}

/// Twenty services, two of whose routes and plugins hang together.
fn population() -> Vec<Change> {
    let mut changes = vec![
        // Children may come first: references are looked at when all is there.
        insert(
            "routes",
            100,
            object! { "name": "r1", "service": parent(1), "tags": tags(&["a"]) },
        ),
        insert(
            "routes",
            101,
            object! { "name": "r2", "service": parent(1), "tags": tags(&["b"]) },
        ),
        insert(
            "routes",
            102,
            object! { "name": "r3", "service": parent(2) },
        ),
        insert(
            "plugins",
            200,
            object! { "name": "key-auth", "route": parent(100) },
        ),
        insert(
            "plugins",
            201,
            object! { "name": "key-auth", "route": parent(101) },
        ),
        insert("consumers", 300, object! { "username": "alice" }),
        insert(
            "acls",
            400,
            object! { "group": "admins", "consumer": parent(300) },
        ),
    ];
    for number in 1..=20 {
        let tags = match number % 3 {
            0 => tags(&["a", "b"]),
            1 => tags(&["a"]),
            _ => tags(&["b"]),
        };
        changes.push(insert(
            "services",
            number,
            object! { "name": format!("s{number}"), "host": "h", "tags": tags },
        ));
    }
    changes
}

async fn ids(store: &dyn Store, entity: &str, mut query: Query) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = store.page(schema(entity), &query).await.unwrap();
        assert!(page.rows.len() <= query.size);
        all.extend(page.rows.into_iter().map(|row| row.id.as_ref().to_owned()));
        match page.offset {
            Some(offset) => query.offset = Some(offset),
            None => return all,
        }
    }
}

#[tokio::test]
async fn the_embedded_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    store.commit(population()).await.unwrap();
    reads(&store).await;
    writes(&store).await;
    let everything = snapshot(&store).await;
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(
        snapshot(&store).await,
        everything,
        "the same after it was opened again"
    );
}

#[tokio::test]
async fn the_declarative_store_conforms() {
    let store = Declarative::default();
    store.load(population()).await.unwrap();
    reads(&store).await;
    let refused = store
        .commit(vec![insert("services", 50, object! { "name": "s50" })])
        .await;
    assert_eq!(refused, Err(StoreError::ReadOnly));
    // A configuration that is not sound leaves the current one in place.
    let broken = vec![insert("routes", 150, object! { "service": parent(999) })];
    assert!(matches!(
        store.load(broken).await,
        Err(StoreError::Dangling { .. })
    ));
    reads(&store).await;
    store
        .load(vec![insert("services", 1, object! { "name": "only" })])
        .await
        .unwrap();
    assert_eq!(
        ids(
            &store,
            "services",
            Query {
                size: 100,
                ..Query::default()
            }
        )
        .await,
        [id(1)]
    );
    assert_eq!(
        store.changes(1).await.unwrap().kind,
        ChangesKind::Everything
    );
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    std::fs::write(
        &path,
        b"something else entirely, long enough to be looked at",
    )
    .unwrap();
    let Err(StoreError::Unavailable(why)) = Embedded::open(&path) else {
        panic!("opened")
    };
    assert!(why.contains("store.redb"), "{why}");
}

async fn snapshot(store: &dyn Store) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for schema in library::entities() {
        let page = store
            .page(
                schema,
                &Query {
                    size: 100_000,
                    ..Query::default()
                },
            )
            .await
            .unwrap();
        all.extend(
            page.rows
                .into_iter()
                .map(|row| (format!("{} {}", schema.name, row.id), row.entity.into())),
        );
    }
    all
}

/// A store with nothing in it.
fn fresh(folder: &Path) -> Embedded {
    Embedded::open(&folder.join("store.redb")).unwrap()
}

/// A service, and a route of it.
fn pair() -> (String, Vec<Change>) {
    let (service, route) = (uuid(), uuid());
    let reference = object! { "id": service.as_str() };
    let entity = object! { "id": service.as_str(), "name": service.as_str(), "host": "h" };
    let changes = vec![
        Change::Insert {
            schema: schema("services"),
            id: service.clone(),
            entity,
            expires: None,
        },
        Change::Insert {
            schema: schema("routes"),
            id: route.clone(),
            entity: object! { "id": route.as_str(), "name": service.as_str(), "service": reference },
            expires: None,
        },
    ];
    (service, changes)
}
