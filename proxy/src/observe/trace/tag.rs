//! Custom tags: what a configuration wants told beside the usual.

use std::sync::Arc;

use carbyne_protos::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use carbyne_protos::envoy::r#type::metadata::v3::metadata_kind::Kind;
use carbyne_protos::envoy::r#type::tracing::v3::CustomTag;
use carbyne_protos::envoy::r#type::tracing::v3::custom_tag::{Metadata, Type};
use http::HeaderName;

use super::record::Text;
use crate::observe::facts::Facts;
use crate::observe::format::{Format, MetadataSource};
use crate::plan::error::Fault;
use crate::plan::scope::Scope;

/// A tag and where its value comes from.
#[derive(Clone, Debug)]
pub struct Tag {
    /// The tag's name.
    pub name: Arc<str>,
    value: Source,
}

#[derive(Clone, Debug)]
enum Source {
    /// A literal, or a variable of the environment, which does not change.
    Constant(Arc<str>),
    Header {
        name: HeaderName,
        default: Arc<str>,
    },
    Metadata {
        value: Format,
        /// Known only once a host was chosen.
        needs_host: bool,
        default: Arc<str>,
    },
    Format(Format),
}

impl Tag {
    /// Plans the tags of the list that is the field `custom_tags` of what `scope` stands for. Of two of one name the first counts.
    pub fn plan(tags: &[CustomTag], scope: &Scope<'_>) -> Arc<[Self]> {
        let mut planned: Vec<Self> = Vec::with_capacity(tags.len());
        for (index, tag) in tags.iter().enumerate() {
            let scope = scope.item("custom_tags", index);
            if tag.tag.is_empty() {
                scope.field("tag").missing();
            }
            let Some(value) = Source::plan(tag, &scope) else {
                continue;
            };
            if planned.iter().all(|earlier| *earlier.name != *tag.tag) {
                planned.push(Self {
                    name: Arc::from(tag.tag.as_str()),
                    value,
                });
            }
        }
        planned.into()
    }

    /// The value for a request; tags without one are not told.
    pub fn value(&self, facts: &Facts<'_>) -> Option<Text> {
        let text = match &self.value {
            Source::Constant(text) => Text::Shared(Arc::clone(text)),
            Source::Header { name, default } => {
                let sent = facts.request.and_then(|request| request.headers.get(name));
                match sent {
                    Some(value) => Text::bytes(value.as_bytes()),
                    None => Text::Shared(Arc::clone(default)),
                }
            }
            Source::Metadata {
                value,
                needs_host,
                default,
            } => {
                let known = !needs_host
                    || facts
                        .upstream
                        .is_some_and(|upstream| upstream.host.is_some());
                let rendered = known.then(|| render(value, facts));
                match rendered.filter(|text| !text.is_empty()) {
                    Some(text) => text,
                    None => Text::Shared(Arc::clone(default)),
                }
            }
            Source::Format(format) => render(format, facts),
        };
        (!text.is_empty()).then_some(text)
    }
}

impl Source {
    fn plan(tag: &CustomTag, scope: &Scope<'_>) -> Option<Self> {
        Some(match &tag.r#type {
            Some(Type::Literal(literal)) => {
                if literal.value.is_empty() {
                    scope.field("literal").field("value").missing();
                }
                Self::Constant(Arc::from(literal.value.as_str()))
            }
            Some(Type::Environment(variable)) => {
                if variable.name.is_empty() {
                    scope.field("environment").field("name").missing();
                }
                let value = std::env::var(&variable.name);
                Self::Constant(
                    value
                        .unwrap_or_else(|_| variable.default_value.clone())
                        .into(),
                )
            }
            Some(Type::RequestHeader(header)) => {
                let name = HeaderName::from_bytes(header.name.as_bytes());
                let name = scope
                    .field("request_header")
                    .field("name")
                    .take(name.map_err(|error| Fault::Malformed(error.to_string())))?;
                Self::Header {
                    name,
                    default: Arc::from(header.default_value.as_str()),
                }
            }
            Some(Type::Metadata(metadata)) => plan_metadata(metadata, &scope.field("metadata"))?,
            Some(Type::Value(format)) => {
                let format = Format::header(format);
                let format = format.map_err(|error| Fault::Malformed(error.to_string()));
                Self::Format(scope.field("value").take(format)?)
            }
            None => {
                scope.field("type").missing();
                return None;
            }
        })
    }
}

fn plan_metadata(metadata: &Metadata, scope: &Scope<'_>) -> Option<Source> {
    let source = match metadata.kind.as_ref().and_then(|kind| kind.kind.as_ref()) {
        Some(Kind::Request(_)) => MetadataSource::Dynamic,
        Some(Kind::Route(_)) => MetadataSource::Route,
        Some(Kind::Cluster(_)) => MetadataSource::Cluster,
        Some(Kind::Host(_)) => MetadataSource::Endpoint,
        None => {
            scope.field("kind").missing();
            return None;
        }
    };
    let place = scope.field("metadata_key");
    let key = metadata.metadata_key.as_ref();
    let Some(key) = key.filter(|key| !key.key.is_empty()) else {
        place.field("key").missing();
        return None;
    };
    let mut path = Vec::with_capacity(key.path.len());
    for (index, segment) in key.path.iter().enumerate() {
        let scope = place.item("path", index);
        match &segment.segment {
            Some(Segment::Key(key)) => path.push(key.as_str().into()),
            Some(Segment::Index(_)) => {
                scope.field("index").note("elements of lists are not told");
                return None;
            }
            None => scope.field("key").missing(),
        }
    }
    Some(Source::Metadata {
        needs_host: matches!(source, MetadataSource::Cluster),
        value: Format::metadata(source, &key.key, path.into()),
        default: Arc::from(metadata.default_value.as_str()),
    })
}

fn render(format: &Format, facts: &Facts<'_>) -> Text {
    let mut out = Vec::new();
    format.render(facts, &mut out);
    Text::bytes(&out)
}
