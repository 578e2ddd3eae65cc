//! What templates see of a request. Header fields and arguments are looked at when they are first needed, and stay what they were then.

use carbyne_engine::http::Headers;
use http::{HeaderName, header};

use super::template::{Source, Template};
use crate::plugin::query::Query;
use crate::plugin::{Call, Exit};
use crate::value::{Value, number_text};

#[derive(Debug, Default)]
pub(super) struct Environment {
    headers: Option<Headers>,
    query: Option<Query>,
}

impl Environment {
    /// A template's value. Where Lua would fail, the request does.
    pub(super) fn render(
        &mut self,
        call: &mut Call<'_, ()>,
        template: &Template,
    ) -> Result<String, Exit> {
        let rendered = template.render(|source, name| self.look_up(call, source, name));
        rendered.map(std::borrow::Cow::into_owned).map_err(|error| {
            tracing::error!(%error, "request-transformer: failed to render the template");
            Exit::unexpected()
        })
    }

    pub(super) fn query(&mut self, call: &mut Call<'_, ()>) -> &Query {
        self.query.get_or_insert_with(|| call.request().query())
    }

    fn look_up(&mut self, call: &mut Call<'_, ()>, source: Source, name: &str) -> Option<String> {
        match source {
            Source::Headers => {
                let given = || call.request().headers().clone();
                let headers = self.headers.get_or_insert_with(given);
                // ngx_lua takes `_` for `-` here.
                let name = name.to_ascii_lowercase().replace('_', "-");
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                if name == header::HOST {
                    let authority = &call.exchange_ref().context.original.authority;
                    return Some(String::from_utf8_lossy(authority).into_owned());
                }
                let value = headers.get(&name)?;
                Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
            }
            Source::QueryParams => {
                let query = self.query(call);
                let found = query
                    .arguments
                    .iter()
                    .find(|argument| argument.name == name)?;
                Some(found.value.clone().unwrap_or_else(|| "true".to_owned()))
            }
            Source::UriCaptures => call.request().capture(name).map(ToOwned::to_owned),
            Source::Shared => match call.shared(name)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number_text(*number)),
                Value::Boolean(true) => Some("true".to_owned()),
                _ => None,
            },
        }
    }
}
