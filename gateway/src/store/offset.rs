//! The tokens from which listings go on: base64 of a JSON list, as Kong's, opaque to clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::StoreError;
use crate::error::Error;
use crate::value::Value;

/// The token for a listing that goes on at a key.
pub(super) fn encode(key: &str) -> String {
    STANDARD.encode(Value::from(vec![Value::from(key)]).to_json())
}

/// The key at which a listing goes on.
pub(super) fn decode(token: Option<&str>) -> Result<Option<String>, StoreError> {
    let Some(token) = token else { return Ok(None) };
    let refuse = |why| StoreError::Offset(Box::new(Error::invalid_offset(token, why)));
    let text = STANDARD
        .decode(token)
        .map_err(|_| refuse("bad base64 encoding"))?;
    let list = Value::from_json(&text).map_err(|_| refuse("bad json encoding"))?;
    match list.as_array() {
        Some([Value::String(key)]) => Ok(Some(key.clone())),
        _ => Err(refuse("bad key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        assert_eq!(
            decode(Some(&encode("a-b"))).unwrap().as_deref(),
            Some("a-b")
        );
        assert!(encode("00").starts_with("WyI"));
        let Err(StoreError::Offset(error)) = decode(Some("x")) else {
            panic!()
        };
        assert_eq!(
            error.message,
            "'x' is not a valid offset: bad base64 encoding"
        );
    }
}
