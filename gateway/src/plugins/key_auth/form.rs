//! Bodies whose members have names.

use bytes::Bytes;
use http::header;

use super::Found;
use crate::multipart;
use crate::plugin::query::Query;
use crate::plugin::{Call, Exit};
use crate::value::{Object, Value};

/// A body that was read.
pub(super) enum Form {
    Json(Object),
    UrlEncoded(Query),
    Multipart {
        content_type: String,
        body: Bytes,
    },
    /// No members: another type, or not of the form that it says it is.
    Other,
}

impl Form {
    /// Reads the body unless that was done.
    pub(super) async fn once<'a>(
        form: &'a mut Option<Self>,
        call: &mut Call<'_, ()>,
    ) -> Result<&'a mut Self, Exit> {
        Ok(match form {
            Some(form) => form,
            None => form.insert(Self::read(call).await?),
        })
    }

    async fn read(call: &mut Call<'_, ()>) -> Result<Self, Exit> {
        let request = call.request();
        let content_type = request.header(&header::CONTENT_TYPE).map(str::to_owned);
        let Some(content_type) = content_type else {
            return Ok(Self::Other);
        };
        let kind = content_type.to_ascii_lowercase();
        Ok(if kind.starts_with("application/x-www-form-urlencoded") {
            let body = call.request().raw_body().await?;
            Self::UrlEncoded(Query::parse(&body))
        } else if kind.starts_with("application/json") {
            let body = call.request().raw_body().await?;
            match Value::from_json(&body) {
                Ok(Value::Object(members)) => Self::Json(members),
                _ => Self::Other,
            }
        } else if kind.starts_with("multipart/form-data") {
            let body = call.request().raw_body().await?;
            Self::Multipart { content_type, body }
        } else {
            Self::Other
        })
    }

    /// What there is under a name.
    pub(super) fn find(&self, name: &str) -> Found {
        let mut found = Found::Nothing;
        match self {
            Self::Json(members) => match members.get(name) {
                None | Some(Value::Boolean(false)) => {}
                Some(Value::String(text)) => return Found::One(text.as_str().into()),
                Some(Value::Array(_) | Value::Object(_)) => return Found::Several,
                Some(_) => return Found::Other,
            },
            Self::UrlEncoded(query) => found.add_all(query.values(name)),
            Self::Multipart { content_type, body } => {
                let parts = multipart::parts(content_type, body).unwrap_or_default();
                let named = parts.iter().filter(|part| part.name == name);
                found.add_all(named.map(|part| Some(part.text())));
            }
            Self::Other => {}
        }
        found
    }

    /// The body without what has that name; nothing where it has none.
    pub(super) fn without(&mut self, name: &str) -> Option<Bytes> {
        match self {
            Self::Json(members) => {
                members.shift_remove(name)?;
                Some(Value::from(members.clone()).to_json().into())
            }
            Self::UrlEncoded(query) => query.remove(name).then(|| query.to_text().into()),
            Self::Multipart { content_type, body } => {
                *body = multipart::without(content_type, body, name)?.into();
                Some(body.clone())
            }
            Self::Other => None,
        }
    }
}
