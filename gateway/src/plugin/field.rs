//! Header fields by the names that configurations give them.

use carbyne_engine::http::Headers;
use http::header::InvalidHeaderName;
use http::{HeaderName, HeaderValue};

/// A field's name. As in OpenResty's tables of headers, `api_key` also means `api-key` where there is no field of the name
/// as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldName {
    written: HeaderName,
    hyphenated: Option<HeaderName>,
}

impl FieldName {
    pub fn parse(name: &str) -> Result<Self, InvalidHeaderName> {
        let hyphenated = name.contains('_').then(|| name.replace('_', "-"));
        Ok(Self {
            written: HeaderName::from_bytes(name.as_bytes())?,
            hyphenated: hyphenated
                .map(|name| HeaderName::from_bytes(name.as_bytes()))
                .transpose()?,
        })
    }

    /// Every value, in order.
    pub fn all<'a>(&'a self, headers: &'a Headers) -> impl Iterator<Item = &'a HeaderValue> + 'a {
        let name = match &self.hyphenated {
            Some(hyphenated) if !headers.contains(&self.written) => hyphenated,
            _ => &self.written,
        };
        headers.all(name)
    }

    /// Removes the fields of either name.
    pub fn remove(&self, headers: &mut Headers) {
        headers.remove(&self.written);
        if let Some(hyphenated) = &self.hyphenated {
            headers.remove(hyphenated);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_may_be_hyphens() {
        let name = FieldName::parse("Api_Key").unwrap();
        let mut headers = Headers::new();
        let values = |headers: &Headers| {
            let all = name.all(headers);
            all.map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(values(&headers).is_empty());
        headers.append(
            HeaderName::from_static("api-key"),
            HeaderValue::from_static("1"),
        );
        assert_eq!(values(&headers), ["1"]);
        headers.append(
            HeaderName::from_static("api_key"),
            HeaderValue::from_static("2"),
        );
        assert_eq!(values(&headers), ["2"]);
        name.remove(&mut headers);
        assert!(headers.is_empty());
        assert!(FieldName::parse("a b").is_err());
    }
}
