//! response-transformer: changes header fields, and the members of JSON objects, on their way to the client. Kong's order: remove,
//! rename, replace, add, append.

use std::sync::Arc;

use bytes::Bytes;
use carbyne_engine::http::Headers;
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;

use crate::plugin::transform::Whole;
use crate::plugin::{Call, Plugin, Refusal, Setup};
use crate::value::{Object, Value};

#[derive(Debug)]
pub struct ResponseTransformer {
    headers: HeaderChanges,
    /// Nothing where bodies stay.
    json: Option<Arc<JsonChanges>>,
}

#[derive(Debug)]
struct HeaderChanges {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, HeaderName)>,
    replace: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    append: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug)]
struct JsonChanges {
    remove: Vec<Box<str>>,
    rename: Vec<(Box<str>, Box<str>)>,
    replace: Vec<(Box<str>, Value)>,
    add: Vec<(Box<str>, Value)>,
    append: Vec<(Box<str>, Value)>,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    remove: Plain,
    rename: Plain,
    replace: Typed,
    add: Typed,
    append: Typed,
}

#[derive(Debug, Deserialize)]
struct Plain {
    json: Vec<Box<str>>,
    headers: Vec<Box<str>>,
}

#[derive(Debug, Deserialize)]
struct Typed {
    json: Vec<Box<str>>,
    json_types: Vec<Kind>,
    headers: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Boolean,
    Number,
    String,
}

impl Plugin for ResponseTransformer {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let Config {
            remove,
            rename,
            replace,
            add,
            append,
        } = config;
        let json = JsonChanges {
            remove: remove
                .json
                .iter()
                .map(|pair| pair_of(pair).0.into())
                .collect(),
            rename: valued(&rename.json)
                .map(|(old, new)| (old.into(), new.into()))
                .collect(),
            replace: replace.typed(),
            add: add.typed(),
            append: append.typed(),
        };
        let changes_bodies = !(json.remove.is_empty()
            && rename.json.is_empty()
            && replace.json.is_empty()
            && add.json.is_empty()
            && append.json.is_empty());
        let removed = remove.headers.iter().map(|name| {
            let name = pair_of(name).0;
            name_of(name).map_err(|problem| Refusal::new("remove.headers", problem))
        });
        let renamed = valued(&rename.headers).map(|(old, new)| {
            let names = name_of(old).and_then(|old| Ok((old, name_of(new)?)));
            names.map_err(|problem| Refusal::new("rename.headers", problem))
        });
        Ok(Self {
            headers: HeaderChanges {
                remove: removed.collect::<Result<_, _>>()?,
                rename: renamed.collect::<Result<_, _>>()?,
                replace: fields(&replace.headers, "replace.headers")?,
                add: fields(&add.headers, "add.headers")?,
                append: fields(&append.headers, "append.headers")?,
            },
            json: changes_bodies.then(|| Arc::new(json)),
        })
    }

    fn header_filter(&self, call: &mut Call<'_, ()>) {
        let limit = call.node().settings.body_limit();
        let mut response = call.response();
        self.headers.apply(response.headers());
        let Some(json) = &self.json else {
            return;
        };
        if !response.header(&header::CONTENT_TYPE).is_some_and(is_json) {
            return;
        }
        let json = json.clone();
        response.transform(Box::new(Whole::new(limit, move |body| json.apply(body))));
    }
}

impl HeaderChanges {
    fn apply(&self, headers: &mut Headers) {
        // Kong looks at the fields as they were when it began.
        let had = |name: &HeaderName, given: &Headers| given.contains(name);
        let given = headers.clone();
        for name in &self.remove {
            headers.remove(name);
        }
        for (old, new) in &self.rename {
            if had(old, &given) {
                headers.remove(new);
                for value in given.all(old) {
                    headers.append(new.clone(), value.clone());
                }
                if old != new {
                    headers.remove(old);
                }
            }
        }
        for (name, value) in &self.replace {
            if had(name, &given) {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.add {
            if !had(name, &given) {
                headers.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in &self.append {
            headers.append(name.clone(), value.clone());
        }
    }
}

impl JsonChanges {
    /// The body changed; what is no JSON object goes on as it is.
    fn apply(&self, body: Bytes) -> Bytes {
        if body.is_empty() {
            // The answer to a HEAD, or one that has no body by its status.
            return body;
        }
        match Value::from_json(&body) {
            Ok(Value::Object(mut members)) => {
                self.change(&mut members);
                Value::from(members).to_json().into()
            }
            Ok(_) | Err(_) => {
                tracing::warn!(
                    "response-transformer: a body that is no JSON object stays as it is"
                );
                body
            }
        }
    }

    fn change(&self, members: &mut Object) {
        for name in &self.remove {
            members.shift_remove(&**name);
        }
        for (old, new) in &self.rename {
            if let Some(value) = members.get(&**old).cloned() {
                members.insert(new.to_string(), value);
                if old != new {
                    members.shift_remove(&**old);
                }
            }
        }
        for (name, value) in &self.replace {
            if let Some(known) = members.get_mut(&**name).filter(|known| is_true(known)) {
                *known = value.clone();
            }
        }
        for (name, value) in &self.add {
            if !members.get(&**name).is_some_and(is_true) {
                members.insert(name.to_string(), value.clone());
            }
        }
        for (name, value) in &self.append {
            let before = members.get(&**name).cloned();
            let value = match before {
                Some(Value::String(text)) => vec![text.into(), value.clone()],
                Some(Value::Array(mut all)) => {
                    all.push(value.clone());
                    all
                }
                // What Lua makes of an object that something is put behind.
                Some(Value::Object(mut object)) => {
                    object.insert("1".into(), value.clone());
                    members.insert(name.to_string(), object.into());
                    continue;
                }
                _ => vec![value.clone()],
            };
            members.insert(name.to_string(), value.into());
        }
    }
}

impl Typed {
    /// Names and values; a value without a type is text, and one that is none of its type is left out.
    fn typed(&self) -> Vec<(Box<str>, Value)> {
        let pairs = self.json.iter().enumerate();
        let typed = pairs.filter_map(|(index, pair)| {
            let (name, value) = pair_of(pair);
            let value = value?;
            let value = match self.json_types.get(index) {
                Some(Kind::Boolean) => Value::Boolean(value == "true"),
                Some(Kind::Number) => Value::Number(number(value)?),
                Some(Kind::String) | None => value.into(),
            };
            Some((name.into(), value))
        });
        typed.collect()
    }
}

/// A number as Lua reads one.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let number = u32::from_str_radix(digits, 16);
        return number.ok().map(f64::from);
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Everything but `false` is true in Lua, and so is what JSON calls null there.
fn is_true(value: &Value) -> bool {
    value.as_bool() != Some(false)
}

/// Name and value of an entry: all colons between them go. An empty value is none.
fn pair_of(pair: &str) -> (&str, Option<&str>) {
    let (name, value) = pair.split_once(':').unwrap_or((pair, ""));
    let value = value.trim_start_matches(':');
    (name, Some(value).filter(|value| !value.is_empty()))
}

fn valued(pairs: &[Box<str>]) -> impl Iterator<Item = (&str, &str)> {
    let pairs = pairs.iter().map(|pair| pair_of(pair));
    pairs.filter_map(|(name, value)| Some((name, value?)))
}

fn fields(pairs: &[Box<str>], field: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Refusal> {
    let one = |(name, value): (&str, &str)| {
        let value = HeaderValue::from_str(value).map_err(|error| Refusal::new(field, error))?;
        let name = name_of(name).map_err(|problem| Refusal::new(field, problem))?;
        Ok((name, value))
    };
    valued(pairs).map(one).collect()
}

fn name_of(name: &str) -> Result<HeaderName, header::InvalidHeaderName> {
    HeaderName::from_bytes(name.trim().to_ascii_lowercase().as_bytes())
}

/// Whether any of the media types is JSON, or something on top of it.
fn is_json(content_type: &str) -> bool {
    content_type.split(',').any(|one| {
        let media_type = one.split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        let subtype = media_type.strip_prefix("application/");
        subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_lua_patterns_do() {
        for (entry, name, value) in [
            ("a:b", "a", Some("b")),
            ("a:b:c", "a", Some("b:c")),
            ("a::b", "a", Some("b")),
            ("a:", "a", None),
            ("a", "a", None),
        ] {
            assert_eq!(pair_of(entry), (name, value), "{entry}");
        }
    }

    #[test]
    fn media_types() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/html, application/json", true),
            ("application/problem+json", true),
            ("application/jsonp", false),
            ("text/json", false),
        ] {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
    }
}
