//! A schema file, held to the part of Avro that events are made of.

use std::path::Path;

use serde_json::Value;

/// One `.avsc`.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The file's name without its ending.
    pub(crate) file: String,
    pub(crate) json: Value,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) kind: u16,
    pub(crate) topic: String,
    pub(crate) event_type: String,
    /// The fields that may be the key; the first with a value is.
    pub(crate) key: Vec<String>,
    pub(crate) tombstone: Option<Tombstone>,
    pub(crate) fields: Vec<Field>,
}

/// The event that takes a key out of a compacted topic.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) kind: u16,
    pub(crate) event_type: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) of: Type,
    pub(crate) optional: bool,
    pub(crate) has_default: bool,
    /// The words that a string may be: a Rust enum of this name.
    pub(crate) words: Option<(String, Vec<String>)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Type {
    Boolean,
    Int,
    Long,
    Double,
    String,
    Strings,
    Map,
}

impl Record {
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// All schemas of a folder, by their kinds.
pub(crate) fn folder(path: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "avsc") {
            let text = std::fs::read_to_string(&path).unwrap();
            let file = path.file_stem().unwrap().to_str().unwrap();
            records.push(record(file, &text).unwrap_or_else(|error| panic!("{file}: {error}")));
        }
    }
    records.sort_by_key(|record| record.kind);
    records
}

/// Reads one, and refuses what the generator, or a reader in another language, would not understand.
pub(crate) fn record(file: &str, text: &str) -> Result<Record, String> {
    let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if json["type"] != "record" {
        return Err("is no record".to_owned());
    }
    let own = &json["carbyne"];
    let mut fields = Vec::new();
    for value in json["fields"].as_array().ok_or("has no fields")? {
        fields.push(field(value)?);
    }
    let read = Record {
        file: file.to_owned(),
        namespace: word(&json, "namespace")?,
        name: word(&json, "name")?,
        doc: word(&json, "doc")?,
        kind: number(own)?,
        topic: word(own, "topic")?,
        event_type: word(own, "type")?,
        key: words(&own["key"]).unwrap_or_default(),
        tombstone: match &own["tombstone"] {
            Value::Null => None,
            value => Some(Tombstone {
                name: word(value, "name")?,
                doc: word(value, "doc")?,
                kind: number(value)?,
                event_type: word(value, "type")?,
            }),
        },
        fields,
        json,
    };
    check(&read)?;
    Ok(read)
}

fn check(record: &Record) -> Result<(), String> {
    let topic = carbyne_events::event::Topic::from_name(&record.topic);
    let topic = topic.ok_or_else(|| format!("there is no topic {}", record.topic))?;
    let time = &record.fields[0];
    if (time.name.as_str(), time.of, time.optional) != ("time", Type::Long, false) {
        return Err("the first field is not the time".to_owned());
    }
    for name in &record.key {
        let Some(field) = record.field(name) else {
            return Err(format!("the key {name} is no field"));
        };
        if field.of != Type::String || field.words.is_some() {
            return Err(format!("the key {name} is no string"));
        }
    }
    let certain = |name: &String| record.field(name).is_some_and(|field| !field.optional);
    if topic.compacted() && !record.key.last().is_some_and(certain) {
        return Err(format!(
            "{} is compacted, and the key may be null",
            record.topic
        ));
    }
    if record.tombstone.is_some() && (!topic.compacted() || record.key.len() != 1) {
        return Err("tombstones want a compacted topic and one key".to_owned());
    }
    for (index, field) in record.fields.iter().enumerate() {
        if record.fields[..index]
            .iter()
            .any(|other| other.name == field.name)
        {
            return Err(format!("there are two fields {}", field.name));
        }
        if field.name == "trace_id" && !(field.of == Type::String && field.optional) {
            return Err("trace_id is an optional string".to_owned());
        }
    }
    Ok(())
}

fn field(json: &Value) -> Result<Field, String> {
    let name = word(json, "name")?;
    let of = &json["type"];
    let (of, optional) = match of.as_array().map(Vec::as_slice) {
        None => (of, false),
        Some([null, of]) if null == "null" && json.get("default") == Some(&Value::Null) => {
            (of, true)
        }
        Some(_) => {
            return Err(format!(
                "{name}: a union is [\"null\", type] with null for default"
            ));
        }
    };
    let own = &json["carbyne"];
    let read = Field {
        doc: word(json, "doc").map_err(|error| format!("{name}: {error}"))?,
        of: primitive(of).ok_or_else(|| format!("{name}: {of} is no type of an event"))?,
        optional,
        has_default: json.get("default").is_some(),
        words: match own {
            Value::Null => None,
            _ => Some((
                word(own, "enum")?,
                words(&own["values"]).ok_or("no values")?,
            )),
        },
        name,
    };
    match (read.of, optional) {
        (Type::Strings | Type::Map | Type::Boolean, true) => Err(format!(
            "{}: only strings and numbers may be null",
            read.name
        )),
        _ => Ok(read),
    }
}

fn primitive(of: &Value) -> Option<Type> {
    match of {
        Value::String(name) => match name.as_str() {
            "boolean" => Some(Type::Boolean),
            "int" => Some(Type::Int),
            "long" => Some(Type::Long),
            "double" => Some(Type::Double),
            "string" => Some(Type::String),
            _ => None,
        },
        _ if of["type"] == "array" && of["items"] == "string" => Some(Type::Strings),
        _ if of["type"] == "map" && of["values"] == "string" => Some(Type::Map),
        _ if of["type"] == "long" && of["logicalType"] == "timestamp-micros" => Some(Type::Long),
        _ => None,
    }
}

fn word(json: &Value, name: &str) -> Result<String, String> {
    let found = json[name].as_str().filter(|word| !word.is_empty());
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("has no {name}"))
}

fn words(json: &Value) -> Option<Vec<String>> {
    let items = json.as_array()?.iter();
    items.map(|item| item.as_str().map(str::to_owned)).collect()
}

fn number(own: &Value) -> Result<u16, String> {
    let number = own["kind"]
        .as_u64()
        .and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| "has no kind".to_owned())
}

/// A schema that is right, to be made wrong by a test.
pub(crate) const PROBE: &str = r#"{
    "type": "record", "namespace": "carbyne.events", "name": "Probe", "doc": "A probe.",
    "carbyne": {"kind": 1, "topic": "system-health", "type": "carbyne.probe", "key": ["name"]},
    "fields": [
        {"name": "time", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "When."},
        {"name": "name", "type": "string", "doc": "Whose."},
        {"name": "trace_id", "type": ["null", "string"], "default": null, "doc": "Which."},
        {"name": "count", "type": "int", "doc": "How many."}
    ]
}"#;

#[test]
fn what_no_reader_would_understand_is_refused() {
    assert!(record("probe", PROBE).is_ok());
    for (old, new, why) in [
        ("\"int\"", "\"bytes\"", "is no type of an event"),
        ("\"int\"", "[\"int\", \"null\"]", "a union is"),
        ("\"default\": null, ", "", "a union is"),
        ("system-health", "system-wealth", "there is no topic"),
        (
            "\"name\": \"time\"",
            "\"name\": \"when\"",
            "the first field",
        ),
        ("[\"name\"]", "[\"trace_id\"]", "the key may be null"),
        ("[\"name\"]", "[]", "the key may be null"),
        ("[\"name\"]", "[\"count\"]", "is no string"),
        ("\"name\": \"count\"", "\"name\": \"name\"", "two fields"),
        ("\"doc\": \"How many.\"", "\"doc\": \"\"", "has no doc"),
        ("\"kind\": 1", "\"kind\": 65536", "has no kind"),
    ] {
        assert!(PROBE.contains(old), "{old}");
        let error = record("probe", &PROBE.replacen(old, new, 1)).unwrap_err();
        assert!(error.contains(why), "{old} → {new}: {error}");
    }
}
