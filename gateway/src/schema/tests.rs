//! Kong's own answers as vectors, and the schemas against the recorded ones.

use super::*;
use crate::error::Error;

fn json(text: &str) -> Object {
    match Value::from_json(text.as_bytes()).unwrap() {
        Value::Object(members) => members,
        other => panic!("{other:?} is no object"),
    }
}

/// The body with which Kong refuses an entity, or the entity.
fn create(name: &str, body: &str) -> Result<Object, Object> {
    let schema = library::entity(name).unwrap();
    let original = json(body);
    let entity = schema.process(original.clone(), Context::Insert);
    let entity = entity.map_err(|errors| Error::schema_violation(errors).body())?;
    match schema.validate(&entity, Mode::Insert, Some(&original), None) {
        Ok(()) => Ok(schema.transform(entity, &original).unwrap()),
        Err(errors) => Err(Error::schema_violation(errors).body()),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members
                .iter()
                .map(|(name, value)| (name.clone(), sorted(value)))
                .collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

#[track_caller]
fn refused(entity: &str, body: &str, fields: &str) -> String {
    let error = create(entity, body).expect_err(body);
    assert_eq!(
        sorted(&error["fields"]).to_json(),
        sorted(&json(fields).into()).to_json(),
        "{entity} {body}"
    );
    error["message"].as_str().unwrap().to_owned()
}

#[test]
fn every_schema_loads() {
    assert_eq!(library::entities().count(), 28);
    assert_eq!(library::plugins().count(), 45);
    for plugin in library::plugins() {
        assert!(
            library::plugin(plugin)
                .unwrap()
                .record
                .fields
                .contains_key("config"),
            "{plugin}"
        );
    }
    assert!(library::vault("env").is_some());
}

#[test]
fn parents_come_before_children() {
    let names: Vec<_> = library::by_dependency()
        .iter()
        .map(|schema| schema.name.as_str())
        .collect();
    let place = |name: &str| names.iter().position(|known| *known == name).unwrap();
    assert!(place("services") < place("routes") && place("routes") < place("plugins"));
    assert!(place("certificates") < place("services") && place("upstreams") < place("targets"));
}

#[test]
fn services_are_refused_in_kongs_words() {
    let message = refused("services", "{}", r#"{"host":"required field missing"}"#);
    assert_eq!(message, "schema violation (host: required field missing)");
    let message = refused(
        "services",
        r#"{"host":"h","protocol":"tcp","path":"/x","port":99999,"foo":1}"#,
        r#"{"@entity":["failed conditional validation given value of field 'protocol'"],"foo":"unknown field",
            "path":"value must be null","port":"value should be between 0 and 65535"}"#,
    );
    assert_eq!(
        message,
        "4 schema violations (failed conditional validation given value of field 'protocol'; foo: unknown field; \
         path: value must be null; port: value should be between 0 and 65535)"
    );
    refused(
        "services",
        r#"{"host":"a:1","name":"a b","tags":["a,b"]}"#,
        r#"{"host":"must not have a port",
            "name":"invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~",
            "tags":["invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"]}"#,
    );
}

#[test]
fn a_url_is_short_for_four_fields() {
    for (url, protocol, host, port, path) in [
        (
            "https://example.com:8443/a",
            "https",
            "example.com",
            8443.0,
            Some("/a"),
        ),
        ("http://example.com", "http", "example.com", 80.0, None),
        ("https://example.com", "https", "example.com", 443.0, None),
        ("//example.com:443", "https", "example.com", 443.0, None),
    ] {
        let service = create("services", &format!(r#"{{"url":"{url}"}}"#)).unwrap();
        assert_eq!(service["protocol"], protocol.into(), "{url}");
        assert_eq!(service["host"], host.into(), "{url}");
        assert_eq!(service["port"], port.into(), "{url}");
        assert_eq!(
            service["path"],
            path.map_or(Value::Null, Value::from),
            "{url}"
        );
        assert!(!service.contains_key("url"));
    }
}

#[test]
fn routes_are_refused_in_kongs_words() {
    let error = create(
        "routes",
        r#"{"protocols":["http","grpc"],"paths":["x","/a//b","/a b","~/(","/a/../b"]}"#,
    )
    .unwrap_err();
    let fields = error["fields"].as_object().unwrap();
    assert_eq!(
        fields["protocols"],
        "these sets are mutually exclusive: ('http', 'https'), ('grpc', 'grpcs')".into()
    );
    let paths = fields["paths"].as_array().unwrap();
    assert_eq!(
        paths[0],
        "should start with: / (fixed path) or ~/ (regex path)".into()
    );
    assert_eq!(paths[1], "must not have empty segments".into());
    assert_eq!(paths[2], Value::Null);
    assert!(
        paths[3]
            .as_str()
            .unwrap()
            .starts_with("invalid regex: '/('"),
        "{paths:?}"
    );
    assert_eq!(
        paths[4],
        "non-normalized path, consider use '/b' instead".into()
    );
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("paths.2: must not have empty segments; paths.4: invalid")
    );

    for (body, fields) in [
        (
            r#"{"protocols":["http"]}"#,
            r#"{"@entity":["must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'"]}"#,
        ),
        (
            "{}",
            r#"{"@entity":["must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"]}"#,
        ),
        (
            r#"{"protocols":["http"],"paths":["/"],"sources":[{"ip":"10.0.0.0/8"}]}"#,
            r#"{"sources":"cannot set 'sources' when 'protocols' is 'http' or 'https'"}"#,
        ),
        (
            r#"{"protocols":["grpc"],"hosts":["a"],"strip_path":true}"#,
            r#"{"strip_path":"cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"}"#,
        ),
        (
            r#"{"protocols":["tcp"]}"#,
            r#"{"@entity":["must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'"]}"#,
        ),
        (
            r#"{"protocols":["tls_passthrough"]}"#,
            r#"{"@entity":["must set snis when 'protocols' is 'tls_passthrough'"]}"#,
        ),
        (
            r#"{"protocols":["http"],"paths":["/"],"snis":["a.b"]}"#,
            r#"{"@entity":["'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"],
                "snis":"length must be 0"}"#,
        ),
        (
            r#"{"hosts":["a.*.b","*.*"]}"#,
            r#"{"hosts":["invalid wildcard: must be placed at leftmost or rightmost label",
                "invalid wildcard: must have at most one wildcard"]}"#,
        ),
        (
            r#"{"headers":{"Host":["a"]}}"#,
            r#"{"headers":"cannot contain 'host' header, which must be specified in the 'hosts' attribute"}"#,
        ),
        (
            r#"{"paths":["/%zz"]}"#,
            r#"{"paths":["invalid url-encoded value: '%zz'"]}"#,
        ),
    ] {
        refused("routes", body, fields);
    }
    assert!(
        create(
            "routes",
            r#"{"protocols":["tcp"],"sources":[{"ip":"10.0.0.0/8","port":80}]}"#
        )
        .is_ok()
    );
    assert_eq!(
        create("routes", r#"{"protocols":["grpc"],"hosts":["a"]}"#).unwrap()["strip_path"],
        false.into()
    );
}

#[test]
fn plugins_are_refused_in_kongs_words() {
    for (body, fields) in [
        (
            r#"{"name":"foo"}"#,
            r#"{"name":"plugin 'foo' not enabled; add it to the 'plugins' configuration property"}"#,
        ),
        ("{}", r#"{"name":"required field missing"}"#),
        (
            r#"{"name":"rate-limiting","config":{}}"#,
            r#"{"@entity":["at least one of these fields must be non-empty: 'config.second', 'config.minute', 'config.hour', 'config.day', 'config.month', 'config.year'"]}"#,
        ),
        (
            r#"{"name":"rate-limiting","config":{"second":10,"minute":1}}"#,
            r#"{"config":"The limit for minute(1.0) cannot be lower than the limit for second(10.0)"}"#,
        ),
        (
            r#"{"name":"rate-limiting","config":{"minute":5,"policy":"redis"}}"#,
            r#"{"@entity":["failed conditional validation given value of field 'config.policy'"],
                "config":{"redis":{"host":"required field missing"}}}"#,
        ),
        (
            r#"{"name":"key-auth","config":{"foo":1,"key_names":["a b",5]},"consumer":{"id":"11111111-1111-4111-8111-111111111111"}}"#,
            r#"{"config":{"foo":"unknown field",
                "key_names":["bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'","expected a string"]},
                "consumer":"value must be null"}"#,
        ),
        (
            r#"{"name":"acl","config":{}}"#,
            r#"{"@entity":["exactly one of these fields must be non-empty: 'config.allow', 'config.deny'",
                "at least one of these fields must be non-empty: 'config.allow', 'config.deny'"]}"#,
        ),
        (
            r#"{"name":"request-termination","config":{"message":"a","body":"b"}}"#,
            r#"{"config":"message cannot be used with content_type or body"}"#,
        ),
        (
            r#"{"name":"rate-limiting","config":{"minute":1,"redis_host":"a.com","redis":{"host":"b.com"}}}"#,
            r#"{"redis_host":"both deprecated and new field are used but their values mismatch: redis_host = a.com vs redis.host = b.com"}"#,
        ),
    ] {
        refused("plugins", body, fields);
    }
}

#[test]
fn other_entities_are_refused_in_kongs_words() {
    refused(
        "consumers",
        "{}",
        r#"{"@entity":["at least one of these fields must be non-empty: 'custom_id', 'username'"]}"#,
    );
    refused(
        "upstreams",
        r#"{"name":"1.2.3.4","hash_on":"header","slots":1,"healthchecks":{"active":{"http_path":"x","healthy":{"interval":-1}}}}"#,
        r#"{"@entity":["failed conditional validation given value of field 'hash_on'"],
            "hash_on_header":"required field missing",
            "healthchecks":{"active":{"healthy":{"interval":"value should be between 0 and 65535"},"http_path":"should start with: /"}},
            "name":"Invalid name ('1.2.3.4'); no ip addresses allowed","slots":"value should be between 10 and 65536"}"#,
    );
    for (entity, body, fields) in [
        (
            "snis",
            r#"{"name":"*.a.*","certificate":{"id":"x"}}"#,
            r#"{"name":"only one wildcard must be specified","certificate":{"id":"expected a valid UUID"}}"#,
        ),
        (
            "targets",
            r#"{"target":"a b","upstream":{"id":"11111111-1111-4111-8111-111111111111"}}"#,
            r#"{"target":"Invalid target ('a b'); not a valid hostname or ip address"}"#,
        ),
        (
            "upstreams",
            r#"{"name":"u","hash_on":"cookie","hash_on_cookie":"not a cookie"}"#,
            r#"{"@entity":["failed conditional validation given value of field 'hash_on'"],
                "hash_on_cookie":"contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed."}"#,
        ),
        (
            "vaults",
            r#"{"name":"aws","prefix":"my-aws"}"#,
            r#"{"name":"vault 'aws' is not installed"}"#,
        ),
        (
            "vaults",
            r#"{"name":"env","prefix":"env"}"#,
            r#"{"prefix":"must not be one of: env"}"#,
        ),
        (
            "keys",
            r#"{"kid":"a","jwk":"{"}"#,
            r#"{"@entity":["could not json decode jwk string"]}"#,
        ),
        (
            "keys",
            r#"{"kid":"a","jwk":"{\"kid\":\"b\"}"}"#,
            r#"{"@entity":["kid in jwk.kid must be equal to keys.kid"]}"#,
        ),
        (
            "jwt_secrets",
            r#"{"algorithm":"RS256","consumer":{"id":"11111111-1111-4111-8111-111111111111"}}"#,
            r#"{"@entity":["failed conditional validation given value of field 'algorithm'"],"rsa_public_key":"required field missing"}"#,
        ),
    ] {
        refused(entity, body, fields);
    }
}

#[test]
fn upstream_hashing_follows_the_algorithm_and_the_other_way_round() {
    for (body, algorithm, hash_on) in [
        (r#""hash_on":"ip""#, "consistent-hashing", "ip"),
        (
            r#""hash_on":"none","algorithm":"consistent-hashing""#,
            "round-robin",
            "none",
        ),
        (
            r#""algorithm":"least-connections","hash_on":"ip""#,
            "least-connections",
            "none",
        ),
        (r#""algorithm":"latency""#, "latency", "none"),
        (r#""slots":100"#, "round-robin", "none"),
    ] {
        let schema = library::entity("upstreams").unwrap();
        let upstream = schema
            .process(json(&format!(r#"{{"name":"u",{body}}}"#)), Context::Insert)
            .unwrap();
        assert_eq!(
            (&upstream["algorithm"], &upstream["hash_on"]),
            (&algorithm.into(), &hash_on.into()),
            "{body}"
        );
    }
}

#[test]
fn deprecated_names_are_taken_and_shown() {
    let plugin = create(
        "plugins",
        r#"{"name":"rate-limiting","config":{"minute":1,"redis_host":"a.com"}}"#,
    )
    .unwrap();
    assert_eq!(plugin["config"].at("redis.host"), Some(&"a.com".into()));
    let schema = library::entity("plugins").unwrap();
    let shown = schema
        .process(plugin, Context::Select { shorthands: true })
        .unwrap();
    assert_eq!(shown["config"].get("redis_host"), Some(&"a.com".into()));
    assert_eq!(shown["config"].get("redis_port"), Some(&6379.0.into()));
}

#[test]
fn secrets_are_generated_and_passwords_hashed() {
    let consumer = r#""consumer":{"id":"11111111-1111-4111-8111-111111111111"}"#;
    let key = create("keyauth_credentials", &format!("{{{consumer}}}")).unwrap();
    assert_eq!(key["key"].as_str().unwrap().len(), 32);
    let basic = create(
        "basicauth_credentials",
        &format!(r#"{{"username":"a","password":"b",{consumer}}}"#),
    )
    .unwrap();
    // sha1("b" .. "11111111-1111-4111-8111-111111111111")
    assert_eq!(basic["password"].as_str().unwrap().len(), 40);
    assert_ne!(basic["password"], "b".into());
}

#[test]
fn form_texts_become_what_fields_want() {
    let schema = library::entity("routes").unwrap();
    let mut form = json(
        r#"{"paths":"/a","strip_path":"false","regex_priority":"7","tags":"","service":{"id":"x"},"headers":{"x":["1"]}}"#,
    );
    schema.infer(&mut form);
    assert_eq!(
        Value::from(form).to_json(),
        r#"{"paths":["/a"],"strip_path":false,"regex_priority":7,"tags":null,"service":{"id":"x"},"headers":{"x":["1"]}}"#
    );
    let mut plugin = json(
        r#"{"name":"rate-limiting","config":{"minute":"5","hide_client_headers":"true","redis_port":"1"}}"#,
    );
    library::entity("plugins").unwrap().infer(&mut plugin);
    assert_eq!(
        plugin["config"].to_json(),
        r#"{"minute":5,"hide_client_headers":true,"redis_port":1}"#
    );
}

#[test]
fn a_patch_is_merged_into_records_and_replaces_everything_else() {
    let schema = library::entity("plugins").unwrap();
    let before = create(
        "plugins",
        r#"{"name":"key-auth","config":{"key_names":["a","b"],"key_in_body":true}}"#,
    )
    .unwrap();
    let patch = schema
        .process(
            json(r#"{"name":"key-auth","config":{"key_names":["c"]}}"#),
            Context::Update,
        )
        .unwrap();
    let after = schema.merge(&patch, &before);
    assert_eq!(
        after["config"].get("key_names").unwrap().to_json(),
        r#"["c"]"#
    );
    assert_eq!(after["config"].get("key_in_body"), Some(&true.into()));
    let errors = schema.validate(
        &schema.merge(&json(r#"{"enabled":null}"#), &after),
        Mode::Update,
        None,
        None,
    );
    assert_eq!(
        errors.unwrap_err()["enabled"],
        "required field missing".into()
    );
}
