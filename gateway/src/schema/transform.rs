//! What is stored in place of what was sent: digests and hashes.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::load::{LoadError, Result as Load, texts};
use super::validate::quoted;
use super::{Schema, checks, crypto, process};
use crate::object;
use crate::value::{self, Object, Value};

/// A change that an entity undergoes when it is written.
#[derive(Debug)]
pub(super) struct Transformation {
    input: Vec<String>,
    needs: Vec<String>,
    write: fn(&Object) -> Result<Object, String>,
}

impl Transformation {
    pub(super) fn load(raw: &Value) -> Load<Self> {
        let raw = raw
            .get("write")
            .ok_or_else(|| LoadError::new("a transformation that writes nothing"))?;
        Ok(Self {
            input: texts(raw.get("input")),
            needs: texts(raw.get("needs")),
            write: match raw.get("fn").and_then(Value::as_str) {
                Some("certificate_digest") => certificate_digest,
                Some("hash_client_secret") => hash_client_secret,
                Some("salted_sha1") => salted_sha1,
                other => {
                    return Err(LoadError::new(format!(
                        "there is no transformation {other:?}"
                    )));
                }
            },
        })
    }
}

impl Schema {
    /// Applies what the schema transforms. `original` is what the client sent: what it did not
    /// send is stored transformed already, and is left alone.
    pub fn transform(&self, mut entity: Object, original: &Object) -> Result<Object, String> {
        for transformation in &self.transformations {
            let sent = |field: &String| value::at(original, field).is_some_and(Value::is_nonempty);
            let has = |field: &String| value::at(&entity, field).is_some_and(Value::is_nonempty);
            if transformation
                .input
                .iter()
                .all(|field| sent(field) && has(field))
                && transformation.needs.iter().all(has)
            {
                let change = (transformation.write)(&entity)?;
                entity = self.merge(&change, &entity);
            }
        }
        Ok(entity)
    }

    /// What a transformation reads comes together or not at all.
    pub(super) fn check_transformations(
        &self,
        entity: &Object,
        original: Option<&Object>,
        previous: Option<&Object>,
        errors: &mut Object,
    ) {
        for transformation in &self.transformations {
            let sent = original.unwrap_or(entity);
            let set = |object: &Object, field: &String| {
                value::at(object, field).is_some_and(Value::is_nonempty)
            };
            let any = transformation.input.iter().any(|field| set(sent, field));
            let changed = previous.is_some_and(|previous| {
                let mut needs = transformation.needs.iter();
                needs.any(|field| value::at(sent, field) != value::at(previous, field))
            });
            if !any && !changed {
                continue;
            }
            let all: Vec<_> = transformation
                .input
                .iter()
                .chain(&transformation.needs)
                .collect();
            let complete = |object: &Object, fields: &[&String]| {
                let count = fields.iter().filter(|field| set(object, field)).count();
                count == 0 || count == fields.len()
            };
            let inputs: Vec<_> = transformation.input.iter().collect();
            let whole = if changed { sent } else { entity };
            let broken = if !complete(whole, &all) {
                Some(all)
            } else if !complete(sent, &inputs) {
                Some(inputs)
            } else {
                None
            };
            if let Some(fields) = broken {
                checks::add(
                    errors,
                    format!(
                        "all or none of these fields must be set: {}",
                        quoted(fields.into_iter())
                    ),
                );
            }
        }
    }
}

fn text<'a>(entity: &'a Object, path: &str) -> &'a str {
    value::at(entity, path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn certificate_digest(entity: &Object) -> Result<Object, String> {
    let cert = crypto::certificate(text(entity, "cert"))?;
    Ok(object! { "cert_digest": cert.digest })
}

fn salted_sha1(entity: &Object) -> Result<Object, String> {
    let (password, consumer) = (text(entity, "password"), text(entity, "consumer.id"));
    Ok(object! { "password": password_hash(password.as_bytes(), consumer) })
}

/// What is stored in place of a password: Kong salts with the id of the consumer.
pub fn password_hash(password: &[u8], consumer: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(password);
    context.update(consumer.as_bytes());
    crypto::hex(context.finish().as_ref())
}

/// PBKDF2 in the PHC form, with Kong's parameters.
fn hash_client_secret(entity: &Object) -> Result<Object, String> {
    const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
    if value::at(entity, "hash_secret").and_then(Value::as_bool) != Some(true) {
        return Ok(Object::new());
    }
    let salt = process::random::<16>();
    let mut hash = [0; 32];
    let secret = text(entity, "client_secret");
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        ITERATIONS,
        &salt,
        secret.as_bytes(),
        &mut hash,
    );
    let encode = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
    let phc = format!(
        "$pbkdf2-sha512$i={ITERATIONS},l=32${}${}",
        encode(&salt),
        encode(&hash)
    );
    Ok(object! { "client_secret": phc })
}
