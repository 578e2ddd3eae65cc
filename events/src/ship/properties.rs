//! Properties of the client as people write them: lines NAME=VALUE of a file, by librdkafka's names.

use rdkafka::error::KafkaError;

/// A line that is no NAME=VALUE. What stands on it may be a secret, and is not told.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} is not NAME=VALUE")]
pub struct BadLine {
    pub line: usize,
}

/// Reads a file's text; empty lines and those that begin with `#` say nothing.
pub fn properties(text: &str) -> Result<Vec<(String, String)>, BadLine> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let told = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    told.map(|(line, text)| property(text).ok_or(BadLine { line }))
        .collect()
}

/// Reads one.
pub fn property(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_owned(), value.trim().to_owned()))
}

/// What the client says of properties that it does not take, without their values: under a name that is misspelt stands a password as well.
pub(crate) fn refusal(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, said, _, _) => said.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let read = |text| properties(text).map_err(|error| error.line);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = "# who\n\n a = b=c \nsasl.password=\n";
        let expected = vec![pair("a", "b=c"), pair("sasl.password", "")];
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("a=b\r\n# c\r\nsecret\r\n"), Err(3));
        assert_eq!(read("=b"), Err(1));
    }

    #[test]
    fn a_secret_under_a_misspelt_name_is_not_told() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.passwort", "hunter2");
        let client: Result<rdkafka::producer::BaseProducer, _> = config.create();
        let said = refusal(&client.err().unwrap());
        assert!(
            said.contains("sasl.passwort") && !said.contains("hunter2"),
            "{said}"
        );
    }
}
