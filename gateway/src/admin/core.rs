//! What Kong serves besides entities.

use super::Admin;
use super::answer::{Answer, listing};
use super::entities::{Answered, paging};
use super::form::escape;
use super::request::Asked;
use super::routes::Action;
use crate::entity::Entities;
use crate::error::{Code, Error};
use crate::object;
use crate::schema::library;
use crate::store::StoreError;
use crate::value::Value;

impl Admin {
    pub(super) async fn core(&self, action: &Action, asked: Asked) -> Answered {
        match action {
            Action::Clustering => Err(Answer::message(
                400,
                "this endpoint is only available when Kong is configured to run as Control Plane for the cluster",
            )),
            Action::Endpoints => {
                let paths = self
                    .table
                    .paths()
                    .into_iter()
                    .map(Value::from)
                    .collect::<Vec<_>>();
                Ok(Answer::ok(object! { "data": paths }))
            }
            Action::PluginSchema => plugin(asked.parameter(0)).map(|record| {
                let mut body = record.print_config();
                body.shift_remove("entity_checks");
                Answer::ok(body)
            }),
            Action::PluginsEnabled => {
                let names = library::plugins().map(Value::from).collect::<Vec<_>>();
                Ok(Answer::ok(object! { "enabled_plugins": names }))
            }
            Action::Schema => match library::entity(asked.parameter(0)) {
                Some(schema) => Ok(Answer::ok(schema.print())),
                None => Err(Answer::message(
                    404,
                    &format!("No entity named '{}'", asked.parameter(0)),
                )),
            },
            Action::SchemaOfFilter => Err(Answer::message(
                404,
                &format!("Filter '{}' not found", asked.parameter(0)),
            )),
            Action::SchemaOfPlugin => {
                plugin(asked.parameter(0)).map(|record| Answer::ok(record.print()))
            }
            Action::SchemaOfVault => match library::vault(asked.parameter(0)) {
                Some(record) => Ok(Answer::ok(record.print())),
                None => Err(Answer::message(
                    404,
                    &format!("No vault named '{}'", asked.parameter(0)),
                )),
            },
            Action::Tag => self.tags(Some(asked.parameter(0)), &asked).await,
            Action::Tags => self.tags(None, &asked).await,
            Action::Validate => validate(asked.parameter(0), &asked),
            Action::ValidateNamed(entity) => validate(entity, &asked),
            Action::WasmIsOff => Err(Answer::message(
                400,
                "this endpoint is only available when wasm is enabled",
            )),
            action => self.node(action, &asked).await,
        }
    }

    async fn tags(&self, tag: Option<&str>, asked: &Asked) -> Answered {
        let Some(schema) = library::entity("tags") else {
            return Err(Answer::not_found());
        };
        if asked.method != http::Method::GET && asked.method != http::Method::HEAD {
            let why = "does not support insert/upsert/update/delete operations";
            return Err(Error::schema_violation(object! { "tags": why }).into());
        }
        if let Some(tag) = tag {
            schema
                .validate_value("tag", &tag.into())
                .map_err(|why| Error::invalid_unique("tag", &why))?;
        }
        let size = match paging(schema, asked, None)?.size.unwrap_or(100.0) {
            size if size.fract() == 0.0 && (1.0..=1000.0).contains(&size) => size,
            _ => {
                return Err(Error::new(
                    Code::InvalidSize,
                    "size must be an integer between 1 and 1000",
                )
                .into());
            }
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        let page = self
            .entities
            .store()
            .tags(tag, size as usize, asked.argument("offset"))
            .await;
        let page = page.map_err(|error| match error {
            StoreError::Offset(error) => *error,
            error => Error::new(Code::DatabaseError, error.to_string()),
        })?;
        let one = |tagged: crate::store::Tagged| {
            object! { "tag": tagged.tag, "entity_name": tagged.entity, "entity_id": tagged.id }
                .into()
        };
        let path = tag.map_or_else(
            || "/tags".to_owned(),
            |tag| format!("/tags/{}", escape(tag)),
        );
        let data = page.tags.into_iter().map(one).collect();
        Ok(listing(data, page.offset, |offset| {
            format!("{path}?offset={}", escape(offset))
        }))
    }
}

fn plugin(name: &str) -> Result<&'static crate::schema::Record, Answer> {
    let plugin = library::plugin(name).map(|plugin| &plugin.record);
    plugin.ok_or_else(|| Answer::message(404, &format!("No plugin named '{name}'")))
}

/// `POST /schemas/{entity}/validate`.
fn validate(named: &str, asked: &Asked) -> Answered {
    let Some(schema) = library::entity(named) else {
        return Err(Answer::message(404, &format!("No entity named '{named}'")));
    };
    Entities::validate(schema, asked.entity(schema))?;
    Ok(Answer::message(200, "schema validation successful"))
}
