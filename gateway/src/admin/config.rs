//! `/config`: the whole configuration of a node without a database.

use http::Method;

use super::Admin;
use super::answer::Answer;
use super::entities::Answered;
use super::request::Asked;
use crate::declarative::{Document, export, flattened};
use crate::error::Error;
use crate::object;
use crate::value::Value;

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
        let document = document(&asked)?;
        if check_hash
            && document
                .hash
                .as_ref()
                .is_some_and(|hash| *hash == loaded.hash())
        {
            return Ok(Answer::empty(304));
        }
        match loaded.load(&document).await {
            Ok(flat) => Ok(Answer::new(201, flat.print())),
            Err(error) if flatten => Err(flat_answer(error, &document)),
            Err(error) => Err(error.into()),
        }
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

fn flat_answer(mut error: Error, document: &Document) -> Answer {
    let status = error.code.status();
    let fields = error.fields.take().unwrap_or_default();
    let (list, left) = flattened(&fields, &document.content);
    error.fields = Some(left);
    let mut body = error.body();
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
