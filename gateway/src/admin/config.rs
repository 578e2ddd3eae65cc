//! `/config`: the whole configuration of a node without a database.

use carbyne_engine::runtime::background::{self, Priority};
use http::Method;

use super::Admin;
use super::answer::Answer;
use super::entities::Answered;
use super::request::Asked;
use crate::declarative::{Document, export, flattened};
use crate::error::{Code, Error};
use crate::object;
use crate::value::{Object, Value};

impl Admin {
    pub(super) async fn config(&self, asked: Asked) -> Answered {
        let Some(loaded) = &self.declarative else {
            return Err(Answer::message(
                400,
                "this endpoint is only available when Kong is configured to not use a database",
            ));
        };
        if asked.method != Method::POST {
            return Ok(Answer::ok(
                object! { "config": export(&self.entities).await? },
            ));
        }
        let check_hash = asked
            .member_or_argument("check_hash")
            .is_some_and(|value| is_one(&value));
        let flatten = asked
            .member_or_argument("flatten_errors")
            .is_some_and(|value| is_on(&value));
        let known = check_hash.then(|| loaded.hash());
        // Reading and checking take their time, during which the Admin API answers others.
        let since = loaded.since();
        let taken = background::run(Priority::Low, move || {
            let document = document(&asked)?;
            if known.is_some() && document.hash == known {
                return Ok(None);
            }
            let content = flatten.then(|| document.content.clone());
            match document.flatten(since) {
                Ok(flat) => Ok(Some((flat.print(), flat, content))),
                Err(error) => Err(refused(error, content)),
            }
        });
        let taken = taken.await.map_err(|error| {
            let problem = format!("the configuration was not read: {error}");
            Error::new(Code::DatabaseError, problem)
        })?;
        let Some((printed, flat, content)) = taken? else {
            return Ok(Answer::empty(304));
        };
        let done = loaded.load(flat).await;
        done.map_err(|error| refused(error, content))?;
        Ok(Answer::new(201, printed))
    }
}

/// The document is the body, one of its members, or an argument.
fn document(asked: &Asked) -> Result<Document, Answer> {
    let mut content = asked.members().clone();
    if content.contains_key("_format_version") {
        for option in ["check_hash", "flatten_errors"] {
            content.shift_remove(option);
        }
        return Ok(Document {
            content,
            hash: None,
        });
    }
    let text = match asked.member_or_argument("config") {
        Some(Value::String(text)) => text,
        Some(Value::Object(content)) => {
            return Ok(Document {
                content,
                hash: None,
            });
        }
        _ => String::from_utf8_lossy(&asked.body.raw).into_owned(),
    };
    if text.is_empty() {
        return Err(Answer::message(400, "expected a declarative configuration"));
    }
    Ok(Document::read(&text, None)?)
}

/// The error; entity by entity where the document's content is given for that.
fn refused(mut error: Error, content: Option<Object>) -> Answer {
    let Some(content) = content else {
        return error.into();
    };
    let status = error.code.status();
    let fields = error.fields.take().unwrap_or_default();
    let (list, left) = flattened(&fields, &content);
    // What was assigned to an entity is told there alone.
    let mut body = Error::declarative(left).body();
    body.insert("flattened_errors".into(), list.into());
    Answer::new(status, body)
}

/// `check_hash` is older than the other switches, and takes only this.
fn is_one(value: &Value) -> bool {
    value.as_str() == Some("1") || value.as_number() == Some(1.0)
}

fn is_on(value: &Value) -> bool {
    let word =
        |text: &str| ["true", "1", "on", "yes"].contains(&text.to_ascii_lowercase().as_str());
    value.as_bool() == Some(true)
        || value.as_number() == Some(1.0)
        || value.as_str().is_some_and(word)
}
