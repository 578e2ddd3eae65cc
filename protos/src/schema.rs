//! The closure's schema as static data: what a field number means, for code that walks messages without their types.
//!
//! It is read-only memory of the program file, shared and never parsed; no descriptor pool is built from it. The tables refer to each other
//! and to their names by number: with pointers in them the loader would write to every page when a program starts, and each process would
//! have its own.

/// One message type of the closure.
#[derive(Debug)]
pub struct Message {
    name: Name,
    /// Which JSON form it has.
    pub shape: Shape,
    fields: Run,
}

/// The JSON form of a message (proto3-JSON, "JSON Mapping").
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// An object with a member per field.
    Plain,
    /// A key and a value of a map field.
    MapEntry,
    /// `{"@type": …, …}`.
    Any,
    /// Any JSON object.
    Struct,
    /// Any JSON value.
    Value,
    /// Any JSON array.
    ListValue,
    /// `"1.5s"`.
    Duration,
    /// RFC 3339.
    Timestamp,
    /// `"a.b,cD"`.
    FieldMask,
    /// The value of the only field.
    Wrapper,
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    name: Name,
    json_name: Name,
    /// Number on the wire.
    pub number: u32,
    /// Type of one element.
    pub kind: Kind,
    /// How often it occurs and whether zero is told from absence.
    pub label: Label,
    /// 0, or 1 + the index of its oneof in the message.
    pub one_of: u8,
    /// Envoy marks it with `udpa.annotations.sensitive` and redacts it in dumps.
    pub sensitive: bool,
}

/// The type of a field's element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(
    missing_docs,
    reason = "the scalar types of the protobuf language under their own names"
)]
pub enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    /// Index of the message in the table.
    Message(u16),
    /// Index of the enum in the table.
    Enum(u16),
}

/// How often a field occurs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Label {
    /// Once; zero and absent are the same.
    Implicit,
    /// Once or absent.
    Explicit,
    /// A list.
    Repeated,
    /// A list of map entries.
    Map,
}

/// One enum type of the closure.
#[derive(Debug)]
pub struct Enum {
    name: Name,
    values: Run,
}

/// A name: a piece of `NAMES`.
#[derive(Clone, Copy, Debug)]
struct Name(u32, u8);

/// Neighbours in a table: the first, and how many.
#[derive(Clone, Copy, Debug)]
struct Run(u16, u16);

impl Name {
    /// Empty where the generated table is wrong, which no test would survive.
    fn text(self) -> &'static str {
        let start = self.0 as usize;
        NAMES
            .get(start..start + usize::from(self.1))
            .unwrap_or_default()
    }
}

impl Run {
    fn of<T>(self, table: &'static [T]) -> &'static [T] {
        let start = usize::from(self.0);
        table
            .get(start..start + usize::from(self.1))
            .unwrap_or_default()
    }
}

include!(concat!(env!("OUT_DIR"), "/schema_tables.rs"));

/// The message of this full name, if the closure holds it.
pub fn message(name: &str) -> Option<&'static Message> {
    MESSAGES
        .binary_search_by(|message| message.name().cmp(name))
        .ok()
        .map(|at| &MESSAGES[at])
}

/// The full names of all messages that the crate knows, map entries left out.
pub fn message_names() -> impl Iterator<Item = &'static str> {
    MESSAGES
        .iter()
        .filter(|message| message.shape != Shape::MapEntry)
        .map(Message::name)
}

impl Message {
    /// Full name without a leading dot, such as `envoy.config.cluster.v3.Cluster`.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    /// Its fields in ascending order of number.
    pub fn fields(&self) -> &'static [Field] {
        self.fields.of(FIELDS)
    }

    /// The field of this number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        let fields = self.fields();
        fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()
            .map(|at| &fields[at])
    }

    /// The field of this name in either spelling.
    pub fn field_named(&self, name: &str) -> Option<&'static Field> {
        self.fields()
            .iter()
            .find(|field| field.name() == name || field.json_name() == name)
    }
}

impl Field {
    /// Name as in the .proto file, snake_case.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    /// Name in lowerCamelCase.
    pub fn json_name(&self) -> &'static str {
        self.json_name.text()
    }
}

impl Kind {
    /// The schema of the message type, if it is one.
    pub fn message(self) -> Option<&'static Message> {
        match self {
            Self::Message(at) => MESSAGES.get(usize::from(at)),
            _ => None,
        }
    }

    /// The schema of the enum type, if it is one.
    pub fn enumeration(self) -> Option<&'static Enum> {
        match self {
            Self::Enum(at) => ENUMS.get(usize::from(at)),
            _ => None,
        }
    }
}

impl Enum {
    /// Full name without a leading dot.
    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    /// Names and numbers in the order of declaration; a number may have several names, the first prints.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, i32)> {
        let values = self.values.of(VALUES).iter();
        values.map(|(name, number)| (name.text(), *number))
    }

    /// The name that prints for a number.
    pub fn value_name(&self, number: i32) -> Option<&'static str> {
        self.values()
            .find(|value| value.1 == number)
            .map(|value| value.0)
    }

    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.values()
            .find(|value| value.0 == name)
            .map(|value| value.1)
    }
}
