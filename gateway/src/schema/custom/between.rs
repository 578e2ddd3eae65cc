//! Checks that look at several members at once.

use super::{either, field, shared_dict, text_at};
use crate::plan::route::Route;
use crate::router::{self, Rules};
use crate::schema::uri::Url;
use crate::schema::{crypto, is_reference, library};
use crate::value::{Object, Value};

type Checked = Result<(), String>;

const PERIODS: [&str; 6] = ["second", "minute", "hour", "day", "month", "year"];

/// A longer period cannot allow less than a shorter one.
pub(super) fn periods(value: &Value, the: &str) -> Checked {
    let limit = |period: &str| value.get(period).and_then(Value::as_number);
    for (index, lower) in PERIODS.iter().enumerate() {
        let Some(low) = limit(lower) else { continue };
        for upper in &PERIODS[index + 1..] {
            if let Some(high) = limit(upper)
                && high < low
            {
                return Err(format!(
                    "{the} limit for {upper}({high:.1}) cannot be lower than the limit for {lower}({low:.1})"
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn rate_limits(config: &Value) -> Checked {
    periods(config, "The")?;
    let redis = config.get("policy").and_then(Value::as_str) == Some("redis");
    let rate = config.get("sync_rate").and_then(Value::as_number);
    match rate {
        Some(-1.0) => Ok(()),
        _ if !redis => Err("sync_rate can only be used with the redis policy".into()),
        Some(rate) if rate < 0.02 => {
            Err("sync_rate must be greater than 0.02, or -1 to disable".into())
        }
        _ => Ok(()),
    }
}

/// A user in the URL and an `Authorization` header would contradict each other.
pub(super) fn http_log(config: &Value) -> Checked {
    let endpoint = config
        .get("http_endpoint")
        .and_then(Value::as_str)
        .and_then(Url::parse);
    let headers = config.get("headers").and_then(Value::as_object);
    let authorization = headers.is_some_and(|headers| {
        headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("authorization"))
    });
    either(
        !(authorization && endpoint.is_some_and(|url| url.userinfo.is_some())),
        || {
            "specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed".into()
        },
    )
}

pub(super) fn oauth2_flows(config: &Value) -> Checked {
    let flows = [
        "enable_authorization_code",
        "enable_implicit_grant",
        "enable_client_credentials",
        "enable_password_grant",
    ];
    either(
        flows
            .iter()
            .any(|flow| config.get(flow).and_then(Value::as_bool) == Some(true)),
        || {
            format!(
                "at least one of these fields must be true: {}",
                flows.join(", ")
            )
        },
    )
}

pub(super) fn request_termination(config: &Value) -> Checked {
    let has = |name: &str| {
        config
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    };
    let (content_type, body) = (has("content_type"), has("body"));
    if has("message") && (content_type || body) {
        return Err("message cannot be used with content_type or body".into());
    }
    if content_type && !body {
        return Err("content_type requires a body".into());
    }
    let echo = config.get("echo").and_then(Value::as_bool) == Some(true);
    either(!(echo && (content_type || body)), || {
        "echo cannot be used with content_type and body".into()
    })
}

pub(super) fn static_tags(tags: &Value) -> Checked {
    let names: Vec<_> = tags
        .as_array()
        .unwrap_or_default()
        .iter()
        .filter_map(|tag| tag.get("name")?.as_str())
        .collect();
    match names
        .iter()
        .enumerate()
        .find(|(index, name)| names[..*index].contains(name))
    {
        Some((_, name)) => Err(format!("repeated tags are not allowed: {name}")),
        None => Ok(()),
    }
}

/// One certificate, still valid, of an authority.
pub(super) fn ca_certificate(entity: &Object) -> Checked {
    let cert = text_at(entity, "cert").unwrap_or_default();
    if cert.matches("-----BEGIN CERTIFICATE-----").count() > 1 {
        return Err("please submit only one certificate at a time".into());
    }
    let cert = crypto::certificate(cert)?;
    if cert.is_expired {
        return Err("certificate expired, \"Not After\" time is in the past".into());
    }
    either(cert.is_authority, || {
        "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"
            .into()
    })
}

pub(super) fn matches(entity: &Object, cert: &str, key: &str, why: &str) -> Checked {
    let (Some(cert), Some(key)) = (text_at(entity, cert), text_at(entity, key)) else {
        return Ok(());
    };
    let (cert, key) = (crypto::certificate(cert)?, crypto::key(key)?);
    either(cert.public == key.public, || why.into())
}

/// Two certificates are of use when a client may not understand one kind.
pub(super) fn alternative_differs(entity: &Object) -> Checked {
    let (Some(cert), Some(other)) = (text_at(entity, "cert"), text_at(entity, "cert_alt")) else {
        return Ok(());
    };
    let (cert, other) = (crypto::certificate(cert)?, crypto::certificate(other)?);
    either(cert.algorithm != other.algorithm, || {
        "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided \
         certificates were both of the same type"
            .into()
    })
}

pub(super) fn aws_proxy_scheme(entity: &Object) -> Checked {
    let scheme = text_at(entity, "config.proxy_url").and_then(|url| url.split_once("://"));
    either(scheme.is_none_or(|(scheme, _)| scheme == "http"), || {
        "proxy_url scheme must be http".into()
    })
}

pub(super) fn proxy_cache_memory(entity: &Object) -> Checked {
    if text_at(entity, "config.strategy") != Some("memory") {
        return Ok(());
    }
    let name = text_at(entity, "config.memory.dictionary_name").unwrap_or_default();
    shared_dict(name).map_err(|_| {
        format!(
            "missing shared dict '{name}'. You must define a shared dict 'lua_shared_dict {name} <size>;' in your \
             nginx configuration."
        )
    })
}

/// A key as JWK, as PEM, or both parts of a PEM.
pub(super) fn key_formats(entity: &Object) -> Checked {
    if let Some(jwk) = text_at(entity, "jwk") {
        if is_reference(jwk) {
            return Ok(());
        }
        let jwk =
            Value::from_json(jwk.as_bytes()).map_err(|_| "could not json decode jwk string")?;
        if jwk.get("kid") != entity.get("kid") {
            return Err("kid in jwk.kid must be equal to keys.kid".into());
        }
        either(crypto::is_jwk(&jwk), || {
            "could not load JWK, likely not a valid key".into()
        })?;
    }
    let pem = field(entity, "pem");
    either(
        pem.is_none_or(|pem| pem.get("private_key").is_some() || pem.get("public_key").is_some()),
        || "need to supply a PEM formatted public and/or private key.".into(),
    )
}

/// Providers that report no statistics for a kind of request.
pub(super) fn llm_statistics(entity: &Object) -> Checked {
    let on = field(entity, "logging.log_statistics").and_then(Value::as_bool) == Some(true);
    let kind = text_at(entity, "route_type").unwrap_or_default();
    let provider = text_at(entity, "model.provider").unwrap_or_default();
    either(
        !(on && kind == "llm/v1/completions" && provider == "anthropic"),
        || format!("{provider} does not support statistics when route_type is {kind}"),
    )
}

/// What the router could not compile, or would not know how to.
pub(super) fn route(entity: &Object) -> Checked {
    let failed = |why: &str| Err(format!("Router Expression failed validation: {why}"));
    let told = |name: &&str| field(entity, name).is_some_and(Value::is_nonempty);
    let number = |name: &str| field(entity, name).and_then(Value::as_number);
    let fields = [
        "methods",
        "hosts",
        "paths",
        "headers",
        "snis",
        "sources",
        "destinations",
    ];
    let by_fields = fields.iter().any(told);
    let by_expression = field(entity, "expression").is_some();
    if !by_fields && !by_expression {
        return Ok(());
    }
    let others = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations'";
    if by_fields && by_expression {
        return failed(&format!(
            "cannot set 'expression' with {others} simultaneously"
        ));
    }
    if by_expression && number("regex_priority").unwrap_or_default() != 0.0 {
        return failed("cannot set 'regex_priority' with 'expression' simultaneously");
    }
    if by_fields && number("priority").unwrap_or_default() != 0.0 {
        return failed(&format!(
            "cannot set 'priority' with {others} simultaneously"
        ));
    }
    let mut entity = entity.clone();
    entity
        .entry("id".into())
        .or_insert_with(|| "00000000-0000-0000-0000-000000000000".into());
    // Wrong fields are told of elsewhere.
    let Ok(route) = Route::read(&entity) else {
        return Ok(());
    };
    let rules = Rules {
        flavor: library::flavor(),
        ..Rules::default()
    };
    router::check(rules, &route).or_else(|problem| failed(&problem.to_string()))
}
