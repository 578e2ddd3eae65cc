//! What is asked of every store.

use carbyne_gateway::object;
use carbyne_gateway::store::{Change, ChangesKind, Key, Query, Store, StoreError, Tags, now};
use carbyne_gateway::value::Value;

use super::{id, ids, insert, parent, schema};

/// What every store answers, given the population.
pub(crate) async fn reads(store: &dyn Store) {
    let services = schema("services");
    let row = store.get(services, &id(7)).await.unwrap().unwrap();
    assert_eq!(
        (&*row.id, &row.entity["name"]),
        (id(7).as_str(), &"s7".into())
    );
    assert_eq!(store.get(services, &id(99)).await.unwrap(), None);

    let by_name = Key::Field("name".into(), "s7".into());
    assert_eq!(
        *store.find(services, &by_name).await.unwrap().unwrap().id,
        *id(7)
    );
    let nobody = Key::Field("name".into(), "s99".into());
    assert_eq!(store.find(services, &nobody).await.unwrap(), None);
    let group = Key::Cache(object! { "group": "admins", "consumer": parent(300) });
    assert_eq!(
        *store
            .find(schema("acls"), &group)
            .await
            .unwrap()
            .unwrap()
            .id,
        *id(400)
    );

    let expected: Vec<_> = (1..=20).map(id).collect();
    for size in [1, 3, 20, 1000] {
        assert_eq!(
            ids(
                store,
                "services",
                Query {
                    size,
                    ..Query::default()
                }
            )
            .await,
            expected,
            "{size}"
        );
    }
    let tagged = |tags| Query {
        size: 2,
        tags: Some(tags),
        ..Query::default()
    };
    let all = tagged(Tags::All(vec!["a".into(), "b".into()]));
    assert_eq!(
        ids(store, "services", all).await,
        (1..=20).filter(|n| n % 3 == 0).map(id).collect::<Vec<_>>()
    );
    let any = tagged(Tags::Any(vec!["a".into(), "b".into()]));
    assert_eq!(ids(store, "services", any).await, expected);
    let of = |service| Query {
        size: 1,
        parent: Some(("service".into(), id(service))),
        ..Query::default()
    };
    assert_eq!(ids(store, "routes", of(1)).await, [id(100), id(101)]);
    let both = Query {
        tags: Some(Tags::All(vec!["b".into()])),
        ..of(1)
    };
    assert_eq!(ids(store, "routes", both).await, [id(101)]);
    assert_eq!(ids(store, "routes", of(3)).await, Vec::<String>::new());

    let bad = Query {
        size: 1,
        offset: Some("x".into()),
        ..Query::default()
    };
    assert!(matches!(
        store.page(services, &bad).await,
        Err(StoreError::Offset(_))
    ));

    let mut count = 0;
    let mut offset = None;
    loop {
        let page = store.tags(None, 5, offset.as_deref()).await.unwrap();
        count += page.tags.len();
        match page.offset {
            Some(next) => offset = Some(next),
            None => break,
        }
    }
    assert_eq!(count, 28);
    let one = store.tags(Some("a"), 100, None).await.unwrap();
    assert_eq!(
        one.tags
            .iter()
            .filter(|tagged| tagged.entity == "routes")
            .count(),
        1
    );
    assert!(one.tags.iter().all(|tagged| tagged.tag == "a"));
    store.reachable().await.unwrap();
}

/// What a store that takes writes does with them, given the population.
pub(crate) async fn writes(store: &dyn Store) {
    let services = schema("services");
    let version = store
        .commit(vec![insert("services", 50, object! { "name": "s50" })])
        .await
        .unwrap();

    // Keys.
    let again = store
        .commit(vec![insert("services", 50, object! { "name": "other" })])
        .await;
    assert_eq!(
        again,
        Err(StoreError::PrimaryKey {
            field: "id".into(),
            id: id(50)
        })
    );
    let same_name = store
        .commit(vec![insert("services", 51, object! { "name": "s50" })])
        .await;
    assert_eq!(
        same_name,
        Err(StoreError::Unique(object! { "name": "s50" }))
    );
    let nameless =
        [60, 61].map(|number| insert("services", number, object! { "name": Value::Null }));
    store.commit(nameless.into()).await.unwrap();
    let plugin = |number| {
        insert(
            "plugins",
            number,
            object! { "name": "cors", "service": parent(50) },
        )
    };
    store.commit(vec![plugin(210)]).await.unwrap();
    let Err(StoreError::Unique(key)) = store.commit(vec![plugin(211)]).await else {
        panic!("two plugins of a name")
    };
    assert_eq!(
        Value::from(key).to_json(),
        format!(
            r#"{{"name":"cors","route":null,"service":{{"id":"{}"}},"consumer":null}}"#,
            id(50)
        )
    );

    // References.
    let dangling = store
        .commit(vec![insert(
            "routes",
            150,
            object! { "service": parent(999) },
        )])
        .await;
    assert_eq!(
        dangling,
        Err(StoreError::Dangling {
            field: "service".into(),
            id: id(999),
            parent: "services".into()
        })
    );
    let restricted = store
        .commit(vec![Change::Delete {
            schema: services,
            id: id(1),
        }])
        .await;
    assert_eq!(
        restricted,
        Err(StoreError::Referenced {
            parent: "services".into(),
            child: "routes".into()
        })
    );
    let consumers = schema("consumers");
    store
        .commit(vec![Change::Delete {
            schema: consumers,
            id: id(300),
        }])
        .await
        .unwrap();
    assert_eq!(
        store.get(schema("acls"), &id(400)).await.unwrap(),
        None,
        "cascades"
    );

    // All or nothing.
    let before = ids(
        store,
        "services",
        Query {
            size: 100,
            ..Query::default()
        },
    )
    .await;
    let half = vec![
        insert("services", 70, object! { "name": "s70" }),
        Change::Delete {
            schema: services,
            id: id(20),
        },
        insert("services", 71, object! { "name": "s70" }),
    ];
    assert!(store.commit(half).await.is_err());
    assert_eq!(
        ids(
            store,
            "services",
            Query {
                size: 100,
                ..Query::default()
            }
        )
        .await,
        before
    );
    let name = Key::Field("name".into(), "s70".into());
    assert_eq!(store.find(services, &name).await.unwrap(), None);

    // Replacing what was seen.
    let seen = store.get(services, &id(50)).await.unwrap().unwrap();
    let replace = |name: &str, seen| {
        let entity = object! { "id": id(50), "name": name };
        vec![Change::Replace {
            schema: services,
            id: id(50),
            entity,
            expires: None,
            seen,
        }]
    };
    store
        .commit(replace("renamed", seen.revision))
        .await
        .unwrap();
    assert_eq!(
        store.commit(replace("late", seen.revision)).await,
        Err(StoreError::Conflict)
    );
    let old = Key::Field("name".into(), "s50".into());
    assert_eq!(
        store.find(services, &old).await.unwrap(),
        None,
        "the old name is free"
    );

    // What happened since.
    let changes = store.changes(version).await.unwrap();
    let ChangesKind::Rows(rows) = changes.kind else {
        panic!("{changes:?}")
    };
    assert!(
        rows.iter()
            .any(|row| row.entity == "acls" && row.id == id(400) && row.deleted)
    );
    assert!(
        rows.iter()
            .any(|row| row.entity == "services" && row.id == id(50) && !row.deleted)
    );
    let waiting = store.changes(changes.version);
    let (changes, committed) = tokio::join!(
        waiting,
        store.commit(vec![insert("consumers", 301, object! {})])
    );
    assert_eq!(changes.unwrap().version, committed.unwrap());

    // Rows that expire.
    let credential = |number, key: &str, expires| {
        let entity = object! { "id": id(number), "key": key, "consumer": parent(301) };
        vec![Change::Insert {
            schema: schema("keyauth_credentials"),
            id: id(number),
            entity,
            expires,
        }]
    };
    store
        .commit(credential(500, "k", Some(now() - 1)))
        .await
        .unwrap();
    assert_eq!(
        store
            .get(schema("keyauth_credentials"), &id(500))
            .await
            .unwrap(),
        None
    );
    store
        .commit(credential(501, "k", Some(now() + 1000)))
        .await
        .unwrap();
    let alive = store
        .get(schema("keyauth_credentials"), &id(501))
        .await
        .unwrap()
        .unwrap();
    assert!(alive.expires.is_some());
}
