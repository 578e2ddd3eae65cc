//! The head that all resources share, and where each one was written.

use std::{fmt, path::PathBuf, sync::Arc};

use serde::Deserialize;

use super::Labels;

/// `metadata:` of a resource.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Resource name.
    pub name: String,
    /// Namespace; `default` if the YAML says none.
    pub namespace: String,
    /// Labels of the resource itself.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
}

/// File, line and column of a resource's first key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file as it was opened.
    pub file: Arc<PathBuf>,
    /// 1-based; 0 when unknown.
    pub line: usize,
    /// 1-based; 0 when unknown.
    pub column: usize,
}

/// One resource: head, body, origin.
#[derive(Clone, Debug)]
pub struct Config<T> {
    /// `metadata`.
    pub meta: Meta,
    /// `spec`.
    pub spec: T,
    /// Where it was read.
    pub origin: Origin,
}

impl<T> Config<T> {
    /// istiod's name of a configuration object as it appears in `filter_metadata.istio.config`.
    #[must_use]
    pub fn path(&self, group: &str, kind: &str) -> String {
        format!(
            "/apis/{group}/namespaces/{}/{kind}/{}",
            self.meta.namespace, self.meta.name
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}
