//! request-transformer: changes what the service gets: path, method, header fields, members of the body, arguments of the query, in
//! this order; of each it removes, renames, replaces, adds and appends, in this order.

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use self::body::Form;
use self::environment::Environment;
use self::template::Template;
use crate::plugin::query::Query;
use crate::plugin::{Call, Exit, Flow, Plugin, Refusal, Setup};

mod body;
mod environment;
mod template;

#[derive(Debug)]
pub struct RequestTransformer {
    uri: Option<Template>,
    method: Option<Method>,
    headers: HeaderChanges,
    body: Changes,
    query: Changes,
}

/// Changes of members of a body or of arguments.
#[derive(Debug)]
struct Changes {
    remove: Vec<Box<str>>,
    rename: Vec<Pair>,
    replace: Vec<Pair>,
    add: Vec<Pair>,
    append: Vec<Pair>,
}

type Pair = (Box<str>, Template);

#[derive(Debug)]
struct HeaderChanges {
    remove: Vec<HeaderName>,
    rename: Vec<(HeaderName, Template)>,
    replace: Vec<(HeaderName, Template)>,
    add: Vec<(HeaderName, Template)>,
    append: Vec<(HeaderName, Template)>,
}

#[derive(Debug, Deserialize)]
pub struct Config {
    http_method: Option<String>,
    remove: Lists,
    rename: Lists,
    replace: Lists,
    add: Lists,
    append: Lists,
}

#[derive(Debug, Deserialize)]
struct Lists {
    body: Vec<Box<str>>,
    headers: Vec<Box<str>>,
    querystring: Vec<Box<str>>,
    uri: Option<String>,
}

impl Plugin for RequestTransformer {
    type Config = Config;
    type Shared = ();
    type State = ();

    fn new(config: Config, _setup: &Setup<'_, ()>) -> Result<Self, Refusal> {
        let method = config.http_method.as_deref().map(|name| {
            Method::from_bytes(name.as_bytes()).map_err(|error| Refusal::new("http_method", error))
        });
        // An empty template is none, as in Kong.
        let uri = config.replace.uri.as_deref().filter(|uri| !uri.is_empty());
        let uri =
            uri.map(|uri| Template::parse(uri).map_err(|error| Refusal::new("replace.uri", error)));
        let headers = |lists: &Lists, name: &str| {
            let field = format!("{name}.headers");
            let pairs = pairs(&lists.headers, &field)?.into_iter();
            let named = pairs.map(|(name, template)| Ok((header_name(&name, &field)?, template)));
            named.collect::<Result<Vec<_>, Refusal>>()
        };
        let removed = config.remove.headers.iter();
        let removed = removed.map(|name| header_name(entry(name).0, "remove.headers"));
        Ok(Self {
            method: method.transpose()?,
            uri: uri.transpose()?,
            headers: HeaderChanges {
                remove: removed.collect::<Result<_, _>>()?,
                rename: headers(&config.rename, "rename")?,
                replace: headers(&config.replace, "replace")?,
                add: headers(&config.add, "add")?,
                append: headers(&config.append, "append")?,
            },
            body: Changes::read(&config, "body", |lists| &lists.body)?,
            query: Changes::read(&config, "querystring", |lists| &lists.querystring)?,
        })
    }

    async fn access(&self, call: &mut Call<'_, ()>) -> Flow {
        let mut environment = Environment::default();
        if let Some(uri) = &self.uri {
            let path = environment.render(call, uri)?;
            if !path.starts_with('/') {
                tracing::error!(path, "request-transformer: path must start with /");
                return Err(Exit::unexpected());
            }
            call.service_request().set_path(path);
        }
        if let Some(method) = &self.method {
            set_method(call, method).await?;
        }
        self.headers.apply(call, &mut environment)?;
        if !self.body.is_empty() {
            self.transform_body(call, &mut environment).await?;
        }
        if !self.query.is_empty() {
            let mut query = Form::Arguments(environment.query(call).clone());
            self.query.apply(&mut query, true, call, &mut environment)?;
            if let Form::Arguments(query) = query {
                set_query(call, query);
            }
        }
        Ok(())
    }
}

impl RequestTransformer {
    async fn transform_body(&self, call: &mut Call<'_, ()>, environment: &mut Environment) -> Flow {
        let headers = &call.exchange_ref().request.headers;
        let Some(content_type) = headers.text(&header::CONTENT_TYPE).map(ToOwned::to_owned) else {
            return Ok(());
        };
        if !Form::is_known(&content_type) {
            return Ok(());
        }
        let body = call.request().raw_body().await?;
        let Some(mut form) = Form::read(&content_type, &body) else {
            return Ok(());
        };
        if self
            .body
            .apply(&mut form, !body.is_empty(), call, environment)?
        {
            call.service_request().set_raw_body(form.to_bytes());
        }
        Ok(())
    }
}

impl Changes {
    fn read(
        config: &Config,
        name: &str,
        list: impl Fn(&Lists) -> &Vec<Box<str>>,
    ) -> Result<Self, Refusal> {
        let read = |lists, action| pairs(list(lists), &format!("{action}.{name}"));
        let removed = list(&config.remove).iter();
        Ok(Self {
            remove: removed.map(|name| entry(name).0.into()).collect(),
            rename: read(&config.rename, "rename")?,
            replace: read(&config.replace, "replace")?,
            add: read(&config.add, "add")?,
            append: read(&config.append, "append")?,
        })
    }

    const fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// Whether anything was changed. To nothing things are only added.
    fn apply(
        &self,
        form: &mut Form,
        given: bool,
        call: &mut Call<'_, ()>,
        environment: &mut Environment,
    ) -> Result<bool, Exit> {
        let mut changed = false;
        let remove = |form: &mut Form| {
            for name in &self.remove {
                form.remove(name);
            }
            !self.remove.is_empty()
        };
        if given {
            // Kong renames parts before it removes any.
            let renames_first = matches!(form, Form::Parts(_));
            if !renames_first {
                changed |= remove(form);
            }
            for (old, new) in &self.rename {
                let new = environment.render(call, new)?;
                changed |= form.rename(old, &new);
            }
            if renames_first {
                changed |= remove(form);
            }
            for (name, value) in &self.replace {
                let value = environment.render(call, value)?;
                if form.has(name) {
                    form.set(name, value);
                    changed = true;
                }
            }
        }
        for (name, value) in &self.add {
            let value = environment.render(call, value)?;
            if !form.has(name) {
                form.set(name, value);
                changed = true;
            }
        }
        for (name, value) in &self.append {
            let value = environment.render(call, value)?;
            changed |= form.append(name, value);
        }
        Ok(changed)
    }
}

impl HeaderChanges {
    const fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    fn apply(&self, call: &mut Call<'_, ()>, environment: &mut Environment) -> Flow {
        if self.is_empty() {
            return Ok(());
        }
        // Templates see the fields as they were.
        let mut headers = call.request().headers().clone();
        let mut host = None;
        for name in self.remove.iter().filter(|name| **name != header::HOST) {
            headers.remove(name);
        }
        for (old, new) in &self.rename {
            let new = environment.render(call, new)?;
            let new = rendered_name(&new)?;
            if *old == new || *old == header::HOST || !headers.contains(old) {
                continue;
            }
            let values: Vec<_> = headers.all(old).cloned().collect();
            headers.remove(old);
            headers.remove(&new);
            for value in values {
                headers.append(new.clone(), value);
            }
        }
        for (name, value) in &self.replace {
            let value = rendered_value(&environment.render(call, value)?)?;
            if *name == header::HOST {
                host = Some(value);
            } else if headers.contains(name) {
                headers.insert(name.clone(), value);
            }
        }
        for (name, value) in &self.add {
            let value = rendered_value(&environment.render(call, value)?)?;
            if *name != header::HOST && !headers.contains(name) {
                headers.insert(name.clone(), value);
            }
        }
        for (name, value) in &self.append {
            let value = rendered_value(&environment.render(call, value)?)?;
            if *name == header::HOST {
                host = Some(value);
            } else {
                headers.append(name.clone(), value);
            }
        }
        let mut request = call.service_request();
        *request.headers() = headers;
        if let Some(host) = host {
            request.set_header(header::HOST, host);
        }
        Ok(())
    }
}

/// Another method; to one that has no body the arguments of a form go by the query, too.
async fn set_method(call: &mut Call<'_, ()>, method: &Method) -> Flow {
    call.service_request().set_method(method.clone());
    if ![Method::GET, Method::HEAD, Method::TRACE].contains(method) {
        return Ok(());
    }
    let headers = &call.exchange_ref().request.headers;
    let content_type = headers.text(&header::CONTENT_TYPE);
    if !content_type.is_some_and(Form::is_url_encoded) {
        return Ok(());
    }
    let body = call.request().raw_body().await?;
    let arguments = Query::parse(&body).arguments;
    if !arguments.is_empty() {
        let mut query = call.request().query();
        query.arguments.extend(arguments);
        set_query(call, query);
    }
    Ok(())
}

/// Sets the query in the order of Kong, which is that of what is written.
fn set_query(call: &mut Call<'_, ()>, query: Query) {
    let mut by_name: Vec<(String, Query)> = Vec::new();
    for argument in query.arguments {
        let known = by_name.iter_mut().find(|(name, _)| *name == argument.name);
        match known {
            Some((_, group)) => group.arguments.push(argument),
            None => {
                let name = argument.name.clone();
                let arguments = vec![argument];
                by_name.push((name, Query { arguments }));
            }
        }
    }
    let mut written: Vec<_> = by_name.iter().map(|(_, group)| group.to_text()).collect();
    written.sort_unstable();
    let text = written.join("&");
    call.service_request().set_raw_query(text.as_bytes());
}

/// Name and value of an entry: all colons between them go.
fn entry(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name, value.trim_start_matches(':'))
}

/// Entries with values; those without one change nothing.
fn pairs(entries: &[Box<str>], field: &str) -> Result<Vec<Pair>, Refusal> {
    let pairs = entries.iter().map(|text| entry(text));
    let pairs = pairs.filter(|(_, value)| !value.is_empty());
    let one = |(name, value): (&str, &str)| {
        let template = Template::parse(value).map_err(|error| Refusal::new(field, error))?;
        Ok((name.into(), template))
    };
    pairs.map(one).collect()
}

fn header_name(name: &str, field: &str) -> Result<HeaderName, Refusal> {
    let lower = name.to_ascii_lowercase();
    HeaderName::from_bytes(lower.as_bytes()).map_err(|error| Refusal::new(field, error))
}

fn rendered_name(text: &str) -> Result<HeaderName, Exit> {
    let lower = text.to_ascii_lowercase();
    HeaderName::from_bytes(lower.as_bytes()).map_err(|error| unusable(&error))
}

fn rendered_value(text: &str) -> Result<HeaderValue, Exit> {
    HeaderValue::from_str(text).map_err(|error| unusable(&error))
}

/// What a client sent cannot be where the template puts it.
fn unusable(error: &dyn std::fmt::Display) -> Exit {
    tracing::warn!(%error, "request-transformer: a rendered template is no header");
    Exit::error(StatusCode::BAD_REQUEST, "Bad request")
}
