//! References to secrets: `{vault://<vault>/<secret>[/<key>]}`.

/// Whether a text refers to a secret in a vault instead of being it.
pub fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_texts_are_references() {
        assert!(is_reference("{vault://env/my-secret}"));
        for text in ["", "vault://env/x", "{vault://env/x} ", "a{vault://env/x}"] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
