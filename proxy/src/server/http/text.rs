//! Field values with operators, such as `%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%`.

use crate::live::route::HeaderText;
use crate::observe::facts::Facts;

/// Words a value.
pub fn word(text: &HeaderText, facts: &Facts<'_>, value: &mut Vec<u8>) {
    match text {
        HeaderText::Literal(literal) => value.extend_from_slice(literal.as_bytes()),
        HeaderText::Format(format) => format.format.render(facts, value),
    }
}
