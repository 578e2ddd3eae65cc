//! A schema's Rust.

use std::fmt::Write;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::canonical;
use super::parse::{Field, Record, Type};

/// The module of a schema.
pub(crate) fn module(record: &Record) -> String {
    let mut code = format!(
        "//! Generated from `schemas/{}.avsc`.\n\nuse bytes::BufMut;\n\nuse crate::avro::{{self, Field, Schema, Type}};\n\
         use crate::event::{{Description, Event, Kind, Topic}};\n\n",
        record.file
    );
    structure(record, &mut code);
    for field in &record.fields {
        words(field, &mut code);
    }
    event(record, &mut code);
    if record.tombstone.is_some() {
        tombstone(record, &mut code);
    }
    code.push_str(&descriptions(record, "", &format!("{}.avsc", record.file)));
    formatted(&code)
}

/// The table of modules and kinds; `old` are the versions that were and are read still.
pub(crate) fn table(records: &[Record], old: &[(String, Record)]) -> String {
    let mut code = "//! Generated from `schemas/`.\n\n".to_owned();
    for record in records {
        line(&mut code, format_args!("pub mod {};", record.file));
    }
    if !old.is_empty() {
        code.push_str("mod history;\n");
    }
    code.push_str("\nuse super::{Event, Kind};\n\n");
    let mut kinds = Vec::new();
    for record in records {
        let module = &record.file;
        line(
            &mut code,
            format_args!("pub use {module}::{};", record.name),
        );
        kinds.push((record.kind, format!("{}::KIND", record.name)));
        if let Some(tombstone) = &record.tombstone {
            line(
                &mut code,
                format_args!("pub use {module}::{};", tombstone.name),
            );
            kinds.push((tombstone.kind, format!("{}::KIND", tombstone.name)));
        }
    }
    for (_, record) in old {
        let name = format!("Kind::new(&history::DESCRIPTION_{})", record.kind);
        kinds.push((record.kind, name));
    }
    kinds.sort();
    code.push_str("\n/// Every kind, by its number.\npub(super) const ALL: &[Kind] = &[\n");
    for (_, kind) in kinds {
        line(&mut code, format_args!("{kind},"));
    }
    code.push_str("];\n");
    formatted(&code)
}

/// What must still be known of the versions that were.
pub(crate) fn history(old: &[(String, Record)]) -> String {
    let mut code =
        "//! Generated from `schemas/history/`.\n\nuse crate::avro::{Field, Schema, Type};\n\
                    use crate::event::{Description, Topic};\n\n"
            .to_owned();
    for (path, record) in old {
        let suffix = format!("_{}", record.kind);
        code.push_str(&descriptions(record, &suffix, path));
    }
    formatted(&code)
}

fn line(code: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(code, "{text}").unwrap();
}

fn structure(record: &Record, code: &mut String) {
    line(code, format_args!("/// {}", record.doc));
    code.push_str("#[derive(Clone, Copy, Debug, PartialEq)]\n");
    line(code, format_args!("pub struct {}<'a> {{", record.name));
    for field in &record.fields {
        let (name, doc) = match field.name.as_str() {
            "trace_id" => (
                "traceparent",
                "The span that it happened in, in W3C's form; the body has the trace's id.",
            ),
            name => (name, field.doc.as_str()),
        };
        line(
            code,
            format_args!("    /// {doc}\n    pub {name}: {},", rust(field)),
        );
    }
    code.push_str("}\n\n");
}

fn rust(field: &Field) -> String {
    let of = match (&field.words, field.of) {
        (Some((name, _)), _) => name.as_str(),
        (None, Type::Boolean) => "bool",
        (None, Type::Int) => "u32",
        (None, Type::Long) => "u64",
        (None, Type::Double) => "f64",
        (None, Type::String) => "&'a str",
        (None, Type::Strings) => "&'a [&'a str]",
        (None, Type::Map) => "&'a [(&'a str, &'a str)]",
    };
    if field.optional {
        format!("Option<{of}>")
    } else {
        of.to_owned()
    }
}

fn words(field: &Field, code: &mut String) {
    let Some((name, words)) = &field.words else {
        return;
    };
    line(code, format_args!("/// {}", field.doc));
    code.push_str("#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]\n");
    line(code, format_args!("pub enum {name} {{"));
    for word in words {
        line(code, format_args!("{},", camel(word)));
    }
    line(
        code,
        format_args!("}}\n\nimpl {name} {{\n    /// Every one, in the schema's order."),
    );
    line(
        code,
        format_args!("pub const ALL: [Self; {}] = [", words.len()),
    );
    for word in words {
        line(code, format_args!("Self::{},", camel(word)));
    }
    code.push_str("];\n\n/// As the event says it.\npub const fn as_str(self) -> &'static str {\n    match self {\n");
    for word in words {
        line(code, format_args!("Self::{} => \"{word}\",", camel(word)));
    }
    code.push_str("}\n}\n}\n\n");
}

fn camel(words: &str) -> String {
    let upper = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .chain(letters)
            .collect::<String>()
    };
    words.split(['_', '-']).map(upper).collect()
}

fn event(record: &Record, code: &mut String) {
    line(code, format_args!("impl Event for {}<'_> {{", record.name));
    code.push_str("const KIND: Kind = Kind::new(&DESCRIPTION);\n\nfn time(&self) -> u64 {\n    self.time\n}\n\n");
    code.push_str("fn key(&self) -> Option<&[u8]> {\n");
    let mut keys = String::new();
    for name in &record.key {
        let field = record.field(name).unwrap();
        match (keys.is_empty(), field.optional) {
            (true, true) => write!(keys, "self.{name}").unwrap(),
            (true, false) => write!(keys, "Some(self.{name}.as_bytes())").unwrap(),
            (false, true) => write!(keys, ".or(self.{name})").unwrap(),
            (false, false) => write!(keys, ".or(Some(self.{name}))").unwrap(),
        }
    }
    if keys.is_empty() {
        code.push_str("None\n");
    } else if keys.starts_with("Some") {
        line(code, format_args!("{keys}"));
    } else {
        line(code, format_args!("{keys}.map(str::as_bytes)"));
    }
    code.push_str("}\n\n");
    if record.field("trace_id").is_some() {
        code.push_str("fn traceparent(&self) -> Option<&str> {\n    super::super::traceparent(self.traceparent)\n}\n\n");
    }
    bound(record, code);
    code.push_str("fn encode(&self, into: &mut impl BufMut) {\n");
    for field in &record.fields {
        line(code, format_args!("{}", encode(field)));
    }
    code.push_str("}\n}\n\n");
}

/// The most bytes that a body takes: what every field takes whatever it holds, and the lengths of what has one.
fn bound(record: &Record, code: &mut String) {
    let mut terms = Vec::new();
    let (mut bytes, mut numbers) = (0, 0);
    for field in &record.fields {
        bytes += usize::from(field.optional);
        let name = &field.name;
        match (field.of, &field.words) {
            (Type::Boolean, _) => bytes += 1,
            (Type::Double, _) => bytes += 8,
            (Type::Int | Type::Long, _) => numbers += 1,
            (Type::String, Some((_, words))) => {
                bytes += 1 + words.iter().map(String::len).max().unwrap_or_default();
            }
            (Type::String, None) if name == "trace_id" => bytes += 33,
            (Type::String, None) => {
                numbers += 1;
                terms.push(match field.optional {
                    true => format!("self.{name}.map_or(0, str::len)"),
                    false => format!("self.{name}.len()"),
                });
            }
            (Type::Strings, _) => terms.push(format!("avro::bound_of_strings(self.{name})")),
            (Type::Map, _) => terms.push(format!("avro::bound_of_map(self.{name})")),
        }
    }
    code.push_str("fn bound(&self) -> usize {\n");
    // Every event has a time, so there is a number.
    let fixed = if bytes > 0 {
        format!("{bytes} + ")
    } else {
        String::new()
    };
    write!(code, "{fixed}{numbers} * avro::LONG").unwrap();
    for term in terms {
        write!(code, " + {term}").unwrap();
    }
    code.push_str("\n}\n\n");
}

fn encode(field: &Field) -> String {
    let name = &field.name;
    let written = match field.of {
        Type::Boolean => "boolean",
        Type::Int | Type::Long => "long",
        Type::Double => "double",
        Type::String => "string",
        Type::Strings => "strings",
        Type::Map => "map",
    };
    let prefix = if field.optional { "optional_" } else { "" };
    let value = match (&field.words, field.of, field.optional) {
        _ if name == "trace_id" => "super::super::trace_id(self.traceparent)".to_owned(),
        (Some((of, _)), _, true) => format!("self.{name}.map({of}::as_str)"),
        (Some(_), ..) => format!("self.{name}.as_str()"),
        (None, Type::Int, true) => format!("self.{name}.map(u64::from)"),
        (None, Type::Int, false) => format!("self.{name}.into()"),
        (None, ..) => format!("self.{name}"),
    };
    format!("avro::{prefix}{written}({value}, into);")
}

fn tombstone(record: &Record, code: &mut String) {
    let Some(tombstone) = &record.tombstone else {
        return;
    };
    let (name, key) = (&tombstone.name, &record.key[0]);
    let doc = &record.field(key).unwrap().doc;
    write!(
        code,
        "/// {}\n#[derive(Clone, Copy, Debug, PartialEq)]\npub struct {name}<'a> {{\n\
             /// When.\n    pub time: u64,\n    /// {doc}\n    pub {key}: &'a str,\n}}\n\n\
         impl Event for {name}<'_> {{\n\
             const KIND: Kind = Kind::new(&TOMBSTONE);\n\n\
             fn time(&self) -> u64 {{\n    self.time\n}}\n\n\
             fn key(&self) -> Option<&[u8]> {{\n    Some(self.{key}.as_bytes())\n}}\n\n\
             fn bound(&self) -> usize {{\n    0\n}}\n\n\
             fn encode(&self, _into: &mut impl BufMut) {{}}\n}}\n\n",
        tombstone.doc
    )
    .unwrap();
}

/// The statics that tell of one version of a schema; those of the current one are the module's own.
fn descriptions(record: &Record, suffix: &str, path: &str) -> String {
    let mut code = String::new();
    let (visible, up) = match suffix {
        "" => ("", "../../../schemas"),
        _ => ("pub(super) ", "../../../schemas/history"),
    };
    let topic = camel(&record.topic);
    let mut describe = |name: &str, kind: u16, event_type: &str, schema: &str| {
        line(
            &mut code,
            format_args!(
                "{visible}static {name}: Description = Description {{ number: {kind}, topic: Topic::{topic}, \
                 event_type: \"{event_type}\", schema: {schema} }};\n"
            ),
        );
    };
    let schema = format!("Some(&SCHEMA{suffix})");
    describe(
        &format!("DESCRIPTION{suffix}"),
        record.kind,
        &record.event_type,
        &schema,
    );
    if let (Some(tombstone), "") = (&record.tombstone, suffix) {
        describe("TOMBSTONE", tombstone.kind, &tombstone.event_type, "None");
    }
    let fingerprint = canonical::fingerprint(&canonical::form(&record.json));
    let groups = format!("{fingerprint:016x}");
    let (a, b) = groups.split_at(8);
    let groups = [&a[..4], &a[4..], &b[..4], &b[4..]].join("_");
    line(
        &mut code,
        format_args!(
            "static SCHEMA{suffix}: Schema = Schema {{ name: \"{}\", fingerprint: 0x{groups}, \
             text: include_str!(\"{up}/{path}\"), fields: &[",
            record.full_name()
        ),
    );
    for field in &record.fields {
        let of = match field.of {
            Type::Boolean => "Boolean",
            Type::Int | Type::Long => "Long",
            Type::Double => "Double",
            Type::String => "String",
            Type::Strings => "Strings",
            Type::Map => "Map",
        };
        let of = match field.optional {
            true => format!("Type::Optional(&Type::{of})"),
            false => format!("Type::{of}"),
        };
        line(
            &mut code,
            format_args!("Field::new(\"{}\", {of}),", field.name),
        );
    }
    code.push_str("] };\n\n");
    code
}

/// By the toolchain's own rustfmt, so that `cargo fmt` leaves it as it is.
fn formatted(code: &str) -> String {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt is missing: rustup component add rustfmt");
    rustfmt
        .stdin
        .take()
        .unwrap()
        .write_all(code.as_bytes())
        .unwrap();
    let output = rustfmt.wait_with_output().unwrap();
    assert!(output.status.success(), "rustfmt does not read\n{code}");
    String::from_utf8(output.stdout).unwrap()
}
