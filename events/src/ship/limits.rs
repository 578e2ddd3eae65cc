//! How large a batch the topics take.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::Settings;
use super::link::questions;
use crate::event::Topic;

/// The least `max.message.bytes` of the topics that can be asked; none where none answers.
pub(super) fn least(settings: &Settings) -> Option<usize> {
    let client: AdminClient<DefaultClientContext> = questions(settings).create().ok()?;
    let topics: Vec<ResourceSpecifier<'_>> = Topic::ALL
        .iter()
        .map(|topic| ResourceSpecifier::Topic(topic.name()))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .ok()?;
    let answers = runtime
        .block_on(client.describe_configs(&topics, &options))
        .ok()?;
    let limits = answers.into_iter().filter_map(|answer| {
        let config = answer.ok()?;
        let limit = config.entry_map().get("max.message.bytes")?.value.clone()?;
        limit.parse().ok()
    });
    limits.min()
}
