//! Targets, which Kong lists and changes in ways of their own.

use http::Method;

use super::Admin;
use super::answer::{Answer, listing};
use super::entities::{Answered, paging};
use super::form::escape;
use super::request::Asked;
use super::routes::Action;
use crate::entity::{Paging, Selector};
use crate::error::{Code, Error};
use crate::object;
use crate::schema::{Schema, is_uuid, library};
use crate::value::{Object, Value};

impl Admin {
    pub(super) async fn targets(&self, action: &Action, asked: Asked) -> Answered {
        let (Some(upstreams), Some(targets)) =
            (library::entity("upstreams"), library::entity("targets"))
        else {
            return Err(Answer::not_found());
        };
        let upstream = Selector::from_path(upstreams, asked.parameter(0));
        let upstream = self
            .entities
            .select(upstreams, &upstream)
            .await?
            .ok_or_else(Answer::not_found)?;
        let id = upstream
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let named = escape(asked.parameter(0));
        match action {
            Action::UpstreamHealth => self.upstream_health(targets, &upstream, &asked).await,
            Action::TargetHealth { healthy } => {
                self.switch_target(targets, &upstream, &asked, *healthy)
                    .await
            }
            Action::Targets if asked.method == Method::POST => {
                let mut sent = asked.entity(targets);
                sent.insert("upstream".into(), object! { "id": id }.into());
                Ok(Answer::new(201, self.entities.insert(targets, sent).await?))
            }
            Action::Targets => {
                let (page, offset) = self.latest(targets, id, &asked).await?;
                let data = page.into_iter().map(Value::from).collect();
                Ok(listing(data, offset, |offset| {
                    format!("/upstreams/{named}/targets?offset={offset}")
                }))
            }
            Action::TargetsAll => {
                let page = self
                    .entities
                    .page(targets, paging(targets, &asked, Some(("upstream", id)))?)
                    .await?;
                let next = |offset: &str| {
                    format!("/upstreams/{named}/targets/all?offset={}", escape(offset))
                };
                Ok(listing(page.data, page.offset, next))
            }
            _ => self.target(targets, id, asked).await,
        }
    }

    /// Newest first; of those with the same address, the newest. The offset is a number.
    pub(super) async fn latest(
        &self,
        targets: &'static Schema,
        upstream: &str,
        asked: &Asked,
    ) -> Result<(Vec<Object>, Option<String>), Answer> {
        let asked_for = paging(targets, asked, None)?;
        let size = page_size(asked_for.size)?;
        let from = match asked_for.offset.as_deref() {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| Error::invalid_offset(text, "bad number"))?,
        };
        let mut all = self.of(targets, upstream).await?;
        all.reverse();
        let mut seen = Vec::new();
        all.retain(|target| {
            let address = target.get("target").cloned().unwrap_or_default();
            let new = !seen.contains(&address);
            seen.push(address);
            new
        });
        let end = all.len().min(from + size);
        let offset = (end < all.len()).then(|| end.to_string());
        let page = all.get(from.min(end)..end).unwrap_or_default().to_vec();
        Ok((page, offset))
    }

    /// The targets of an upstream, oldest first.
    async fn of(&self, targets: &'static Schema, upstream: &str) -> Result<Vec<Object>, Answer> {
        let parent = Some(("upstream".into(), upstream.into()));
        let mut paging = Paging {
            size: Some(1000.0),
            parent,
            ..Paging::default()
        };
        let mut all = Vec::new();
        loop {
            let page = self.entities.page(targets, paging.clone()).await?;
            all.extend(page.data.into_iter().filter_map(|target| match target {
                Value::Object(target) => Some(target),
                _ => None,
            }));
            match page.offset {
                Some(offset) => paging.offset = Some(offset),
                None => break,
            }
        }
        let age = |target: &Object| {
            target
                .get("created_at")
                .and_then(Value::as_number)
                .unwrap_or_default()
        };
        all.sort_by(|a, b| {
            age(a)
                .total_cmp(&age(b))
                .then_with(|| a["id"].as_str().cmp(&b["id"].as_str()))
        });
        Ok(all)
    }

    /// Putting a target changes it as patching does; one that is not there is not made.
    async fn target(&self, targets: &'static Schema, upstream: &str, asked: Asked) -> Answered {
        let target = self
            .named_target(targets, upstream, asked.parameter(1))
            .await?;
        let selector = Selector::Id(
            target
                .get("id")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .into(),
        );
        Ok(match asked.method {
            Method::PUT | Method::PATCH => Answer::ok(
                self.entities
                    .update(targets, &selector, asked.entity(targets))
                    .await?,
            ),
            Method::DELETE => {
                self.entities.delete(targets, &selector).await?;
                Answer::empty(204)
            }
            _ => Answer::ok(target),
        })
    }

    /// The target of an upstream by its id or its address; of those with the same address, the newest.
    pub(super) async fn named_target(
        &self,
        targets: &'static Schema,
        upstream: &str,
        named: &str,
    ) -> Result<Object, Answer> {
        let field = if is_uuid(named) { "id" } else { "target" };
        let all = self.of(targets, upstream).await?;
        let is_meant = |target: &Object| target.get(field).and_then(Value::as_str) == Some(named);
        all.into_iter()
            .rev()
            .find(is_meant)
            .ok_or_else(Answer::not_found)
    }
}

fn page_size(size: Option<f64>) -> Result<usize, Error> {
    let size = size.unwrap_or(100.0);
    let sound = crate::value::as_integer(size).and_then(|size| usize::try_from(size).ok());
    sound
        .filter(|size| (1..=1000).contains(size))
        .ok_or_else(|| {
            Error::new(
                Code::InvalidSize,
                "size must be an integer between 1 and 1000",
            )
        })
}
