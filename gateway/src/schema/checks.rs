//! Rules between fields.

use super::custom::EntityCheck;
use super::load::{LoadError, Result, members, texts};
use super::validate::{self, Mode, quoted};
use super::{Field, Kind, View, is_reference};
use crate::value::{self, Object, Value};

/// A rule between the fields of a record.
#[derive(Debug)]
pub(super) enum Check {
    AtLeastOneOf(Vec<String>),
    Conditional(Box<Conditional>),
    ConditionalAtLeastOneOf(Box<ConditionalAtLeastOneOf>),
    Custom {
        fields: Vec<String>,
        with_missing: bool,
        with_invalid: bool,
        check: EntityCheck,
    },
    Distinct(Vec<String>),
    MutuallyExclusive(Vec<String>),
    MutuallyRequired(Vec<String>),
    OnlyOneOf(Vec<String>),
}

/// If one field passes a definition, another one has to pass another.
#[derive(Debug)]
pub(super) struct Conditional {
    if_field: String,
    if_match: Field,
    then_field: String,
    then_match: Field,
    then_err: Option<String>,
}

/// If one field passes a definition, one of several fields has to be set.
#[derive(Debug)]
pub(super) struct ConditionalAtLeastOneOf {
    if_field: String,
    branches: Vec<Branch>,
}

#[derive(Debug)]
struct Branch {
    matches: Field,
    one_of: Vec<String>,
    err: Option<String>,
}

impl Check {
    /// Reads a check. What it matches is defined upon the definition of the field in question.
    pub(super) fn load(
        raw: &Value,
        definition: impl Fn(&str) -> Option<Object>,
        build: impl Fn(Object) -> Result<Field>,
    ) -> Result<Self> {
        let (name, raw) = members(raw)?
            .first()
            .ok_or_else(|| LoadError::new("an empty check"))?;
        let text = |key: &str| {
            raw.get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let err = |key: &str| raw.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let upon = |field: &str, key: &str| {
            let mut all = definition(field)
                .ok_or_else(|| LoadError::new(format!("there is no field {field:?}")))?;
            if let Some(own) = raw.get(key).and_then(Value::as_object) {
                all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            build(all)
        };
        let fields = || texts(Some(raw));
        Ok(match name.as_str() {
            "at_least_one_of" => Self::AtLeastOneOf(fields()),
            "conditional" => {
                let (if_field, then_field) = (text("if_field"), text("then_field"));
                Self::Conditional(Box::new(Conditional {
                    if_match: upon(&if_field, "if_match")?,
                    then_match: upon(&then_field, "then_match")?,
                    then_err: err("then_err"),
                    if_field,
                    then_field,
                }))
            }
            "conditional_at_least_one_of" => {
                let if_field = text("if_field");
                let mut branches = Vec::new();
                for (matches, one_of, worded) in [
                    ("if_match", "then_at_least_one_of", "then_err"),
                    ("else_match", "else_then_at_least_one_of", "else_then_err"),
                ] {
                    if raw.get(matches).is_some() {
                        let matches = upon(&if_field, matches)?;
                        branches.push(Branch {
                            matches,
                            one_of: texts(raw.get(one_of)),
                            err: err(worded),
                        });
                    }
                }
                Self::ConditionalAtLeastOneOf(Box::new(ConditionalAtLeastOneOf {
                    if_field,
                    branches,
                }))
            }
            "custom_entity_check" => {
                let flag = |key: &str| raw.get(key).and_then(Value::as_bool).unwrap_or_default();
                let name = text("fn");
                Self::Custom {
                    fields: texts(raw.get("field_sources")),
                    with_missing: flag("run_with_missing_fields"),
                    with_invalid: flag("run_with_invalid_fields"),
                    check: EntityCheck::named(&name)
                        .ok_or_else(|| LoadError::new(format!("there is no check {name:?}")))?,
                }
            }
            "distinct" => Self::Distinct(fields()),
            "mutually_exclusive" => Self::MutuallyExclusive(fields()),
            "mutually_required" => Self::MutuallyRequired(fields()),
            "only_one_of" => Self::OnlyOneOf(fields()),
            other => return Err(LoadError::new(format!("there is no check {other:?}"))),
        })
    }

    /// The fields that the check reads.
    fn fields(&self) -> Vec<&str> {
        match self {
            Self::AtLeastOneOf(fields)
            | Self::Custom { fields, .. }
            | Self::Distinct(fields)
            | Self::MutuallyExclusive(fields)
            | Self::MutuallyRequired(fields)
            | Self::OnlyOneOf(fields) => fields.iter().map(String::as_str).collect(),
            Self::Conditional(check) => vec![&check.if_field, &check.then_field],
            Self::ConditionalAtLeastOneOf(check) => {
                let one_of = check
                    .branches
                    .iter()
                    .flat_map(|branch| branch.one_of.iter().map(String::as_str));
                std::iter::once(check.if_field.as_str())
                    .chain(one_of)
                    .collect()
            }
        }
    }

    /// Whether a field must be there for the check to run at all.
    fn needs(&self, field: &str) -> bool {
        match self {
            Self::Custom { with_missing, .. } => !with_missing,
            Self::Distinct(_) | Self::OnlyOneOf(_) => true,
            Self::Conditional(check) => check.if_field == field,
            _ => false,
        }
    }

    /// Whether the check runs although one of its fields has errors already.
    fn runs_with_invalid(&self) -> bool {
        match self {
            Self::Custom { with_invalid, .. } => *with_invalid,
            Self::MutuallyExclusive(_) | Self::MutuallyRequired(_) => false,
            _ => true,
        }
    }

    /// Whether the check runs on a whole entity that has none of its fields.
    fn runs_with_missing(&self) -> bool {
        matches!(
            self,
            Self::AtLeastOneOf(_)
                | Self::ConditionalAtLeastOneOf(_)
                | Self::MutuallyExclusive(_)
                | Self::MutuallyRequired(_)
        )
    }
}

/// Runs checks over an entity; what they find is added to the errors.
pub(super) fn run(
    view: View<'_>,
    checks: &[Check],
    entity: &Object,
    mode: Mode,
    errors: &mut Object,
) {
    for check in checks {
        run_one(view, check, entity, mode, errors);
    }
}

fn run_one(view: View<'_>, check: &Check, entity: &Object, mode: Mode, errors: &mut Object) {
    let mut missing = Vec::new();
    let mut none = true;
    let mut sound = true;
    for field in check.fields() {
        match value::at(entity, field) {
            None if check.needs(field) => missing.push(field),
            None => {}
            Some(value) => {
                none = false;
                let secret = view
                    .at(field)
                    .is_some_and(|field| field.referenceable && matches!(field.kind, Kind::String));
                // What a reference stands for is not known yet.
                if secret && value.as_str().is_some_and(is_reference) {
                    return;
                }
            }
        }
        sound &= !errors.contains_key(field);
    }
    if !sound && !check.runs_with_invalid() {
        return;
    }
    if none && !(check.runs_with_missing() && mode == Mode::Insert) {
        return;
    }
    if !missing.is_empty() {
        let why = match mode {
            Mode::Update => "field required for entity check when updating",
            Mode::Insert | Mode::Partial => "field required for entity check",
        };
        for field in missing {
            value::put(errors, field, why.into());
        }
        return;
    }
    if let Err(why) = check.apply(entity, mode, errors) {
        add(errors, why);
    }
}

/// Adds an error that concerns the entity as a whole.
pub(super) fn add(errors: &mut Object, why: String) {
    match errors
        .entry("@entity".into())
        .or_insert_with(|| Vec::new().into())
    {
        Value::Array(list) => list.push(why.into()),
        other => *other = vec![other.clone(), why.into()].into(),
    }
}

impl Check {
    fn apply(
        &self,
        entity: &Object,
        mode: Mode,
        errors: &mut Object,
    ) -> std::result::Result<(), String> {
        let set = |field: &String| value::at(entity, field).is_some_and(Value::is_nonempty);
        let count = |fields: &[String]| fields.iter().filter(|field| set(field)).count();
        let when = if mode == Mode::Update {
            "when updating, "
        } else {
            ""
        };
        let fault = match self {
            Self::AtLeastOneOf(fields) if count(fields) == 0 => {
                format!(
                    "{when}at least one of these fields must be non-empty: {}",
                    quoted(fields.iter())
                )
            }
            Self::Conditional(check) => return check.apply(entity, mode, errors),
            Self::ConditionalAtLeastOneOf(check) => return check.apply(entity, mode, when),
            Self::Custom { check, .. } => return check.check(entity),
            Self::Distinct(fields) if repeats(entity, fields) => {
                format!(
                    "values of these fields must be distinct: {}",
                    quoted(fields.iter())
                )
            }
            Self::MutuallyExclusive(fields) if count(fields) > 1 => {
                format!(
                    "only one or none of these fields must be set: {}",
                    quoted(fields.iter())
                )
            }
            Self::MutuallyRequired(fields)
                if !matches!(count(fields), 0) && count(fields) != fields.len() =>
            {
                format!(
                    "all or none of these fields must be set: {}",
                    quoted(fields.iter())
                )
            }
            Self::OnlyOneOf(fields) if count(fields) != 1 => {
                format!(
                    "exactly one of these fields must be non-empty: {}",
                    quoted(fields.iter())
                )
            }
            _ => return Ok(()),
        };
        Err(fault)
    }
}

fn repeats(entity: &Object, fields: &[String]) -> bool {
    let values: Vec<_> = fields
        .iter()
        .filter_map(|field| value::at(entity, field))
        .collect();
    let values: Vec<_> = values
        .into_iter()
        .filter(|value| value.is_nonempty())
        .collect();
    values
        .iter()
        .enumerate()
        .any(|(index, value)| values[..index].contains(value))
}

impl Conditional {
    fn apply(
        &self,
        entity: &Object,
        mode: Mode,
        errors: &mut Object,
    ) -> std::result::Result<(), String> {
        let if_value = value::at(entity, &self.if_field).unwrap_or(&Value::Null);
        if validate::field(&self.if_match, if_value, mode).is_err() {
            return Ok(());
        }
        let then_value = value::at(entity, &self.then_field).unwrap_or(&Value::Null);
        let required = self.then_match.required && then_value.is_null();
        let failed = || {
            format!(
                "failed conditional validation given value of field '{}'",
                self.if_field
            )
        };
        let fault = if required {
            "required field missing".into()
        } else {
            match validate::field(&self.then_match, then_value, mode) {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            }
        };
        value::put(errors, &self.then_field, fault);
        Err(match &self.then_err {
            Some(err) if !required => err.replace("%s", &self.if_field),
            _ => failed(),
        })
    }
}

impl ConditionalAtLeastOneOf {
    fn apply(&self, entity: &Object, mode: Mode, when: &str) -> std::result::Result<(), String> {
        let Some(if_value) = value::at(entity, &self.if_field) else {
            return Ok(());
        };
        for branch in &self.branches {
            if validate::field(&branch.matches, if_value, mode).is_err() {
                continue;
            }
            if branch
                .one_of
                .iter()
                .any(|field| value::at(entity, field).is_some_and(Value::is_nonempty))
            {
                return Ok(());
            }
            let fields = quoted(branch.one_of.iter());
            return Err(match &branch.err {
                Some(err) => err.replace("%s", &fields),
                None => format!("{when}at least one of these fields must be non-empty: {fields}"),
            });
        }
        Ok(())
    }
}
