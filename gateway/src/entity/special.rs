//! What Kong does for single kinds of entities: certificates have names, targets have ports,
//! plugins fit their routes.

use super::{Entities, Result, Selector, unavailable};
use crate::error::{Code, Error};
use crate::object;
use crate::schema::{Address, Context, Schema, library, uuid};
use crate::store::{Change, Key, Query};
use crate::value::{Object, Value};

impl Entities {
    /// What happens to what was sent before its schema looks at it.
    pub(super) async fn prepare(
        &self,
        schema: &'static Schema,
        sent: &mut Object,
        selector: Option<&Selector>,
    ) -> Result<()> {
        match schema.name.as_str() {
            "targets" => {
                if let Some(Value::String(target)) = sent.get_mut("target") {
                    match (Address::target(target), selector) {
                        (Some(normal), _) => *target = normal,
                        // Kong's DAO looks at new ones before the schema does, which would quote the address.
                        (None, None) => {
                            let why = "Invalid target; not a valid hostname or ip address";
                            return Err(Error::schema_violation(object! { "target": why }));
                        }
                        (None, Some(_)) => {}
                    }
                }
                Ok(())
            }
            "plugins" => self.plugin_fits(sent, selector).await,
            _ => Ok(()),
        }
    }

    /// A plugin's protocols must be some of its route's, or of one of its service's routes.
    async fn plugin_fits(&self, sent: &Object, selector: Option<&Selector>) -> Result<()> {
        let plugins = entity("plugins");
        let touched = ["protocols", "route", "service"]
            .iter()
            .any(|field| sent.contains_key(*field));
        let before = match selector {
            Some(selector) if touched => self.row(plugins, selector).await?.map(|row| row.entity),
            _ => None,
        };
        let value = |field: &str| sent.get(field).or_else(|| before.as_ref()?.get(field));
        let Some(Value::Array(protocols)) = value("protocols") else {
            return Ok(());
        };
        let shares = |route: &Object| {
            let theirs = route
                .get("protocols")
                .and_then(Value::as_array)
                .unwrap_or_default();
            protocols.iter().any(|protocol| theirs.contains(protocol))
        };
        let id = |field: &str| {
            value(field)
                .and_then(|parent| parent.get("id"))
                .and_then(Value::as_str)
        };
        let routes = entity("routes");
        let why = if let Some(id) = id("route") {
            let route = self.store.get(routes, id).await.map_err(unavailable)?;
            if route.is_none_or(|route| shares(&route.entity)) {
                return Ok(());
            }
            "must match the associated route's protocols"
        } else if let Some(id) = id("service") {
            let query = Query {
                size: usize::MAX,
                parent: Some(("service".into(), id.into())),
                ..Query::default()
            };
            let rows = self
                .store
                .page(routes, &query)
                .await
                .map_err(unavailable)?
                .rows;
            if rows.is_empty() || rows.iter().any(|route| shares(&route.entity)) {
                return Ok(());
            }
            "must match the protocols of at least one route pointing to this Plugin's service"
        } else {
            return Ok(());
        };
        Err(Error::schema_violation(object! { "protocols": why }))
    }

    /// Fields that are no fields: a certificate's names.
    pub(super) async fn add_pseudo_fields(
        &self,
        schema: &'static Schema,
        id: &str,
        shown: &mut Object,
    ) -> Result<()> {
        if schema.name == "certificates" {
            let names = self
                .names_of(id)
                .await?
                .into_iter()
                .map(|(name, _)| Value::from(name));
            shown.insert("snis".into(), names.collect::<Vec<_>>().into());
        }
        Ok(())
    }

    /// The names of a certificate, sorted, with their ids.
    async fn names_of(&self, certificate: &str) -> Result<Vec<(String, String)>> {
        let parent = Some(("certificate".into(), certificate.into()));
        let query = Query {
            size: usize::MAX,
            parent,
            ..Query::default()
        };
        let rows = self
            .store
            .page(entity("snis"), &query)
            .await
            .map_err(unavailable)?
            .rows;
        let name = |row: crate::store::Row| {
            Some((
                row.entity.get("name")?.as_str()?.to_owned(),
                row.id.as_ref().to_owned(),
            ))
        };
        let mut names: Vec<_> = rows.into_iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The names that were sent with a certificate, if any; each may belong to no other one.
    pub(super) async fn server_names(
        &self,
        schema: &'static Schema,
        sent: &Object,
        certificate: Option<&str>,
    ) -> Result<Option<Vec<String>>> {
        if schema.name != "certificates" {
            return Ok(None);
        }
        let mut names: Vec<String> = match sent.get("snis") {
            None => return Ok(None),
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .map(ToOwned::to_owned)
                .collect(),
            Some(_) => Vec::new(),
        };
        let refuse = |why: String| Error::schema_violation(object! { "snis": why });
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(refuse(format!("{name} is duplicated")));
            }
        }
        names.sort();
        for name in &names {
            let key = Key::Field("name".into(), name.as_str().into());
            let Some(row) = self
                .store
                .find(entity("snis"), &key)
                .await
                .map_err(unavailable)?
            else {
                continue;
            };
            let owner = row
                .entity
                .get("certificate")
                .and_then(|owner| owner.get("id"))
                .and_then(Value::as_str);
            if owner != certificate {
                let owner = owner.unwrap_or_default();
                return Err(refuse(format!(
                    "{name} already associated with existing certificate '{owner}'"
                )));
            }
        }
        Ok(Some(names))
    }

    /// The changes that give a certificate exactly these names.
    pub(super) async fn change_server_names(
        &self,
        certificate: &str,
        names: Option<Vec<String>>,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        let Some(names) = names else { return Ok(()) };
        let snis = entity("snis");
        let current = self.names_of(certificate).await?;
        for (name, id) in &current {
            if !names.contains(name) {
                changes.push(Change::Delete {
                    schema: snis,
                    id: id.clone(),
                });
            }
        }
        for name in names
            .into_iter()
            .filter(|name| !current.iter().any(|(known, _)| known == name))
        {
            let sent = object! { "id": uuid(), "name": name, "certificate": object! { "id": certificate } };
            let sni = snis
                .process(sent, Context::Insert)
                .map_err(Error::schema_violation)?;
            let id = super::identity(snis, &sni);
            changes.push(Change::Insert {
                schema: snis,
                id,
                entity: sni,
                expires: None,
            });
        }
        Ok(())
    }

    /// What goes before an entity goes, or why it must stay.
    pub(super) async fn before_delete(
        &self,
        schema: &'static Schema,
        id: &str,
    ) -> Result<Vec<Change>> {
        match schema.name.as_str() {
            "certificates" => {
                let names = self.names_of(id).await?.into_iter();
                Ok(names
                    .map(|(_, id)| Change::Delete {
                        schema: entity("snis"),
                        id,
                    })
                    .collect())
            }
            "ca_certificates" => {
                let query = Query {
                    size: usize::MAX,
                    ..Query::default()
                };
                let services = self
                    .store
                    .page(entity("services"), &query)
                    .await
                    .map_err(unavailable)?
                    .rows;
                let refers = |entity: &Object| {
                    let trusted = entity.get("ca_certificates").and_then(Value::as_array);
                    trusted.is_some_and(|trusted| trusted.contains(&id.into()))
                };
                match services.iter().find(|row| refers(&row.entity)) {
                    Some(row) => Err(Error::new(
                        Code::ReferencedByOthers,
                        format!(
                            "ca certificate {id} is still referenced by services (id = {})",
                            row.id
                        ),
                    )),
                    None => Ok(Vec::new()),
                }
            }
            _ => Ok(Vec::new()),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "the schemas of core entities are part of the program"
)]
fn entity(name: &str) -> &'static Schema {
    library::entity(name).expect("a core entity")
}
