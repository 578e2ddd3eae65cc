//! What a declarative file says, swapped whole.

use std::sync::{Arc, PoisonError, RwLock};

use carbyne_engine::runtime::background::{self, Priority, drop_each};
use tokio::sync::Mutex;

use super::feed::Feed;
use super::image::Image;
use super::{
    Announced, Answer, Change, Changes, Key, Page, Query, Row, Store, StoreError, TagPage,
};
use crate::schema::Schema;

/// A store that only a whole new configuration changes.
#[derive(Debug)]
pub struct Declarative {
    current: RwLock<Arc<Image>>,
    feed: Feed,
    version: Mutex<u64>,
}

impl Default for Declarative {
    fn default() -> Self {
        Self {
            current: RwLock::default(),
            feed: Feed::new(0),
            version: Mutex::new(0),
        }
    }
}

impl Declarative {
    /// Puts a configuration in place of the current one. If it breaks a constraint the current one
    /// stays.
    pub async fn load(
        &self,
        rows: impl IntoIterator<Item = Change> + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut version = self.version.lock().await;
        let next = *version + 1;
        let before = self.image();
        let built = background::run(Priority::Low, move || {
            let mut image = Image::in_place_of(before);
            drop_each(image.commit(rows, next)?);
            Ok(image.finish())
        });
        let image = built
            .await
            .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))?;
        *version = next;
        let before = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(image))
        };
        self.feed.publish_everything(*version);
        background::release(before);
        Ok(())
    }

    fn image(&self) -> Arc<Image> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Declarative {
    fn announced(&self) -> Announced {
        Announced::Off
    }

    fn get<'a>(&'a self, schema: &'static Schema, id: &'a str) -> Answer<'a, Option<Row>> {
        Box::pin(async move { self.image().get(schema, id) })
    }

    fn find<'a>(&'a self, schema: &'static Schema, key: &'a Key) -> Answer<'a, Option<Row>> {
        Box::pin(async move { self.image().find(schema, key) })
    }

    fn page<'a>(&'a self, schema: &'static Schema, query: &'a Query) -> Answer<'a, Page> {
        Box::pin(async move { self.image().page(schema, query) })
    }

    fn tags<'a>(
        &'a self,
        tag: Option<&'a str>,
        size: usize,
        offset: Option<&'a str>,
    ) -> Answer<'a, TagPage> {
        Box::pin(async move { self.image().tags(tag, size, offset) })
    }

    fn commit(&self, _: Vec<Change>) -> Answer<'_, u64> {
        Box::pin(async { Err(StoreError::ReadOnly) })
    }

    fn changes(&self, after: u64) -> Answer<'_, Changes> {
        Box::pin(async move { Ok(self.feed.after(after).await) })
    }

    fn reachable(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
