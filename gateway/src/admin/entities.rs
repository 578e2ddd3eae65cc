//! The handlers that serve every kind of entity.

use http::Method;

use super::Admin;
use super::answer::{self, Answer, listing};
use super::form::escape;
use super::request::Asked;
use super::routes::Action;
use crate::entity::{Paging, Selector};
use crate::error::{Code, Error};
use crate::object;
use crate::schema::{Schema, is_uuid, uuid};
use crate::store::{Key, Tags};
use crate::value::{Object, Value};

/// What goes back, or what goes back at once.
pub(super) type Answered = Result<Answer, Answer>;

impl Admin {
    pub(super) async fn dispatch(&self, action: &Action, asked: Asked) -> Answered {
        match *action {
            Action::Children {
                parent,
                schema,
                field,
            } => self.children(parent, schema, field, asked).await,
            Action::Child {
                parent,
                schema,
                field,
            } => self.child(parent, schema, field, asked).await,
            Action::Collection(schema) => self.collection(schema, asked).await,
            Action::Entity(schema) => self.entity(schema, asked).await,
            Action::Linked {
                schema,
                field,
                parent,
            } => self.linked(schema, field, parent, asked).await,
            Action::Config => self.config(asked).await,
            Action::Metrics => self.metrics().await,
            Action::Target
            | Action::TargetHealth { .. }
            | Action::Targets
            | Action::TargetsAll
            | Action::UpstreamHealth => self.targets(action, asked).await,
            ref action => self.core(action, asked).await,
        }
    }

    async fn collection(&self, schema: &'static Schema, asked: Asked) -> Answered {
        if asked.method == Method::POST {
            let sent = asked.entity(schema);
            return Ok(Answer::new(201, self.entities.insert(schema, sent).await?));
        }
        if schema.name == "consumers"
            && let Some(custom_id) = asked.argument("custom_id")
        {
            return self.by_custom_id(schema, custom_id).await;
        }
        let page = self
            .entities
            .page(schema, paging(schema, &asked, None)?)
            .await?;
        let part = |name: &str, value: Option<String>| {
            value
                .map(|value| format!("&{name}={value}"))
                .unwrap_or_default()
        };
        let tags = part("tags", asked.argument("tags").map(escape));
        let size = part("size", asked.argument("size").map(ToOwned::to_owned));
        let next = |offset: &str| {
            format!(
                "/{}?offset={}{tags}{size}",
                schema.api_name(),
                escape(offset)
            )
        };
        Ok(listing(page.data, page.offset, next))
    }

    async fn by_custom_id(&self, schema: &'static Schema, custom_id: &str) -> Answered {
        if custom_id.is_empty() {
            return Err(Answer::message(400, "custom_id must be an unempty string"));
        }
        let selector = Selector::By("custom_id".into(), custom_id.into());
        let found = self.entities.select(schema, &selector).await?;
        let data: Vec<_> = found.into_iter().map(Value::from).collect();
        Ok(Answer::ok(object! { "data": data, "next": Value::Null }))
    }

    async fn entity(&self, schema: &'static Schema, asked: Asked) -> Answered {
        let named = asked.parameter(0);
        let selector = self.selector(schema, named, &asked.method).await?;
        let mut sent = self.sent(schema, &selector, &asked).await?;
        if schema.name == "certificates" {
            name_certificate(&mut sent, named, &asked.method);
        }
        Ok(match asked.method {
            Method::PUT => Answer::ok(self.entities.upsert(schema, &selector, sent).await?),
            Method::PATCH => Answer::ok(self.entities.update(schema, &selector, sent).await?),
            Method::DELETE => {
                self.entities.delete(schema, &selector).await?;
                Answer::empty(204)
            }
            _ => answer::entity(self.entities.select(schema, &selector).await?),
        })
    }

    /// The body, as an entity. Which fields a plugin's form has depends on the plugin, so that its
    /// name is looked up where it is not sent.
    pub(super) async fn sent(
        &self,
        schema: &'static Schema,
        selector: &Selector,
        asked: &Asked,
    ) -> Result<Object, Answer> {
        if schema.name != "plugins"
            || asked.method != Method::PATCH
            || asked.members().contains_key("name")
        {
            return Ok(asked.entity(schema));
        }
        let plugin = self
            .entities
            .select(schema, selector)
            .await?
            .ok_or_else(Answer::not_found)?;
        let mut sent = asked.members().clone();
        if let Some(name) = plugin.get("name") {
            sent.insert("name".into(), name.clone());
        }
        if asked.body.is_form {
            schema.infer(&mut sent);
        }
        Ok(sent)
    }

    /// What a segment of a path names; a certificate may be named by one of its names.
    async fn selector(
        &self,
        schema: &'static Schema,
        text: &str,
        method: &Method,
    ) -> Result<Selector, Answer> {
        if schema.name != "certificates" || is_uuid(text) {
            return Ok(Selector::from_path(schema, text));
        }
        let Some(snis) = crate::schema::library::entity("snis") else {
            return Err(Answer::not_found());
        };
        let sni = self
            .entities
            .select(snis, &Selector::By("name".into(), text.into()))
            .await?;
        let owner = sni
            .as_ref()
            .and_then(|sni| sni.get("certificate")?.get("id")?.as_str());
        match owner {
            Some(id) => Ok(Selector::Id(id.into())),
            None if *method == Method::PUT => Ok(Selector::Id(uuid())),
            None => Err(Answer::message(404, "SNI not found")),
        }
    }

    async fn select(
        &self,
        schema: &'static Schema,
        text: &str,
        method: &Method,
    ) -> Result<(String, Object), Answer> {
        let selector = self.selector(schema, text, method).await?;
        let entity = self
            .entities
            .select(schema, &selector)
            .await?
            .ok_or_else(Answer::not_found)?;
        let id = entity
            .get(schema.key())
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Ok((id, entity))
    }

    async fn children(
        &self,
        parent: &'static Schema,
        schema: &'static Schema,
        field: &'static str,
        asked: Asked,
    ) -> Answered {
        let (id, _) = self
            .select(parent, asked.parameter(0), &asked.method)
            .await?;
        if asked.method == Method::POST {
            let mut sent = asked.entity(schema);
            sent.insert(field.into(), object! { "id": id }.into());
            return Ok(Answer::new(201, self.entities.insert(schema, sent).await?));
        }
        let page = self
            .entities
            .page(schema, paging(schema, &asked, Some((field, &id)))?)
            .await?;
        let named = escape(asked.parameter(0));
        let path = format!("/{}/{named}/{}", parent.api_name(), schema.nested_name());
        Ok(listing(page.data, page.offset, |offset| {
            format!("{path}?offset={}", escape(offset))
        }))
    }

    async fn child(
        &self,
        parent: &'static Schema,
        schema: &'static Schema,
        field: &'static str,
        asked: Asked,
    ) -> Answered {
        let (id, _) = self
            .select(parent, asked.parameter(0), &asked.method)
            .await?;
        let named = asked.parameter(1);
        let selector = match schema.name.as_str() {
            "acls" if !is_uuid(named) => self.acl(schema, &id, named, &asked.method).await?,
            _ => Selector::from_path(schema, named),
        };
        if asked.method == Method::PUT {
            let mut sent = asked.entity(schema);
            sent.insert(field.into(), object! { "id": id }.into());
            if schema.name == "acls" && !is_uuid(named) && !sent.contains_key("group") {
                sent.insert("group".into(), named.into());
            }
            return Ok(Answer::ok(
                self.entities.upsert(schema, &selector, sent).await?,
            ));
        }
        let child = self
            .entities
            .select(schema, &selector)
            .await?
            .ok_or_else(Answer::not_found)?;
        if child
            .get(field)
            .and_then(|owner| owner.get("id"))
            .and_then(Value::as_str)
            != Some(&id)
        {
            return Err(Answer::not_found());
        }
        Ok(match asked.method {
            Method::PATCH => {
                let mut sent = self.sent(schema, &selector, &asked).await?;
                sent.entry(field.into())
                    .or_insert_with(|| object! { "id": id }.into());
                Answer::ok(self.entities.update(schema, &selector, sent).await?)
            }
            Method::DELETE => {
                self.entities.delete(schema, &selector).await?;
                Answer::empty(204)
            }
            _ => Answer::ok(child),
        })
    }

    /// A consumer's membership in a group, by the group's name.
    async fn acl(
        &self,
        schema: &'static Schema,
        consumer: &str,
        group: &str,
        method: &Method,
    ) -> Result<Selector, Answer> {
        let key = Key::Cache(object! { "consumer": object! { "id": consumer }, "group": group });
        let row = self.entities.store().find(schema, &key).await;
        match row.map_err(|error| Error::new(Code::DatabaseError, error.to_string()))? {
            Some(row) => Ok(Selector::Id(row.id.as_ref().into())),
            None if *method == Method::PUT => Ok(Selector::Id(uuid())),
            None => Err(Answer::not_found()),
        }
    }

    async fn linked(
        &self,
        schema: &'static Schema,
        field: &'static str,
        parent: &'static Schema,
        asked: Asked,
    ) -> Answered {
        let (id, entity) = self
            .select(schema, asked.parameter(0), &asked.method)
            .await?;
        let owner = entity
            .get(field)
            .and_then(|owner| owner.get("id"))
            .and_then(Value::as_str);
        let selector = match owner {
            Some(owner) => Selector::Id(owner.into()),
            None if asked.method == Method::PUT => Selector::Id(uuid()),
            None => return Err(Answer::not_found()),
        };
        Ok(match asked.method {
            Method::PUT => {
                let linked = self
                    .entities
                    .upsert(parent, &selector, asked.entity(parent))
                    .await?;
                if owner.is_none() {
                    let mut change = Object::new();
                    change.insert(
                        field.into(),
                        object! { "id": linked.get("id").cloned().unwrap_or_default() }.into(),
                    );
                    if let Some(name) = entity.get("name").filter(|_| schema.name == "plugins") {
                        change.insert("name".into(), name.clone());
                    }
                    self.entities
                        .update(schema, &Selector::Id(id), change)
                        .await?;
                }
                Answer::ok(linked)
            }
            Method::PATCH => {
                let sent = self.sent(parent, &selector, &asked).await?;
                Answer::ok(self.entities.update(parent, &selector, sent).await?)
            }
            Method::DELETE => Answer::message(405, "Method not allowed"),
            _ => answer::entity(self.entities.select(parent, &selector).await?),
        })
    }
}

/// The names of a certificate as they are sent: a list, one name, or none. Putting a certificate
/// under a name gives it the name; without a list it loses all others.
fn name_certificate(sent: &mut Object, named: &str, method: &Method) {
    let mut names = match sent.get("snis") {
        Some(Value::Array(names)) => Some(names.clone()),
        Some(Value::String(name)) => Some(vec![name.as_str().into()]),
        _ => None,
    };
    if *method == Method::PUT {
        let given = names.get_or_insert_default();
        if !is_uuid(named) && !given.contains(&named.into()) {
            given.push(named.into());
        }
    }
    if let Some(names) = names {
        sent.insert("snis".into(), names.into());
    }
}

/// What a listing is asked for.
pub(super) fn paging(
    schema: &Schema,
    asked: &Asked,
    parent: Option<(&str, &str)>,
) -> Result<Paging, Error> {
    let size = match asked.argument("size") {
        None => None,
        Some(text) => {
            let number = text
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|size| size.is_finite());
            Some(number.ok_or_else(|| Error::new(Code::InvalidSize, "size must be a number"))?)
        }
    };
    let tags = match asked.argument("tags") {
        Some(text) if schema.record.fields.contains_key("tags") => Some(tags(text)?),
        _ => None,
    };
    // What belongs to a parent is not chosen by tags, though they must be well written.
    let tags = tags.filter(|_| parent.is_none());
    let parent = parent.map(|(field, id)| (field.to_owned(), id.to_owned()));
    Ok(Paging {
        size,
        offset: asked.argument("offset").map(ToOwned::to_owned),
        tags,
        parent,
    })
}

/// `a,b`: all of them; `a/b`: any of them; not both at once.
fn tags(text: &str) -> Result<Tags, Error> {
    const MOST: usize = 5;
    let refuse = |why| Err(Error::invalid_option("tags", why));
    if text.is_empty() {
        return refuse("cannot be null");
    }
    let allowed = |byte: u8| matches!(byte, b' '..=b'~' | 0x80..);
    if text.contains(',') && text.contains('/') || !text.bytes().all(allowed) {
        return refuse("invalid filter syntax");
    }
    let any = text.contains('/');
    let split = text
        .split(['/', ','])
        .filter(|tag| !tag.is_empty())
        .map(ToOwned::to_owned);
    let list: Vec<_> = split.collect();
    if list.len() > MOST {
        return refuse("cannot query more than 5 tags");
    }
    Ok(if any {
        Tags::Any(list)
    } else {
        Tags::All(list)
    })
}
