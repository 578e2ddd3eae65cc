//! The gateway's settings, and its configurations of many routes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::error::BenchError;
use crate::scenario::{Door, GATEWAY_ADMIN_PORT, PEER_ADDRESS, Setup};

/// The name of the file of many routes.
pub const FILE: &str = "kong-routes.yml";

/// Where the Admin API is.
pub const ADMIN: SocketAddr = SocketAddr::new(PEER_ADDRESS, GATEWAY_ADMIN_PORT);

/// Routes of one service.
const ROUTES_OF_A_SERVICE: usize = 10;

/// A configuration of so many routes beside those that the load takes; those of another version are others, and a
/// request for [`mark`] says which is served.
#[must_use]
pub fn document(routes: usize, version: u32) -> String {
    let backend = Door::Gateway.direct();
    let mark = mark(version);
    let mut text = format!(
        "_format_version: \"3.0\"\nservices:\n- name: backend\n  url: http://{backend}\n  routes:\n  - name: load\n    \
         paths: [/1k]\n    strip_path: false\n    preserve_host: true\n  - name: mark\n    paths: [{mark}]\n"
    );
    for route in 0..routes {
        if route % ROUTES_OF_A_SERVICE == 0 {
            let service = route / ROUTES_OF_A_SERVICE;
            text += &format!(
                "- name: service-{service}\n  url: http://service-{service}.internal:8080/v{version}\n  routes:\n"
            );
        }
        text += &format!(
            "  - name: route-{route}\n    hosts: [tenant-{route}.example.com]\n    paths: [/api/v{version}/service-{route}]\n"
        );
    }
    text
}

/// The path that only this version serves.
#[must_use]
pub fn mark(version: u32) -> String {
    format!("/version-{version}")
}

/// What the gateway is started with.
pub(crate) fn settings(setup: Setup, folder: &Path) -> Vec<(&'static str, String)> {
    let file = match setup {
        Setup::GatewayPlugins | Setup::GatewayPluginsEvents => "kong-plugins.yml",
        Setup::Path => "kong-path.yml",
        Setup::Table(_) | Setup::Stored(_) => FILE,
        _ => "kong.yml",
    };
    let mut settings = vec![
        ("KONG_PREFIX", folder.display().to_string()),
        ("KONG_PROXY_LISTEN", Door::Gateway.address().to_string()),
        ("KONG_STATUS_LISTEN", "off".to_owned()),
        ("KONG_PROXY_ACCESS_LOG", "access.log".to_owned()),
        ("KONG_LOG_LEVEL", "warn".to_owned()),
        ("KONG_NGINX_DAEMON", "off".to_owned()),
        ("KONG_NGINX_WORKER_PROCESSES", "1".to_owned()),
        // As nginx beside it: load generators do not connect anew.
        ("KONG_NGINX_HTTP_KEEPALIVE_REQUESTS", "100000000".to_owned()),
    ];
    if matches!(setup, Setup::Stored(_)) {
        settings.push(("KONG_ADMIN_LISTEN", ADMIN.to_string()));
    } else {
        let file = folder.join(file).display().to_string();
        settings.extend([
            ("KONG_ADMIN_LISTEN", "off".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_DECLARATIVE_CONFIG", file),
        ]);
    }
    settings
}

/// Puts the file of many routes into a new embedded store.
///
/// # Errors
/// When the gateway does not take it.
pub(crate) fn import(
    program: &Path,
    settings: &[(&'static str, String)],
    folder: &Path,
) -> Result<(), BenchError> {
    let store = folder.join("carbyne.redb");
    if store.exists() {
        fs::remove_file(&store).map_err(BenchError::file(store))?;
    }
    let output = Command::new(program)
        .args(["config", "db_import", FILE])
        .envs(settings.iter().map(|(name, value)| (*name, value)))
        .current_dir(folder)
        .output()
        .map_err(BenchError::file(program))?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::Helper {
        program: "carbyne-gateway config db_import",
        what: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_its_routes_and_its_mark() {
        let text = document(25, 7);
        assert_eq!(text.matches("- name: route-").count(), 25);
        assert_eq!(text.matches("- name: service-").count(), 3);
        assert!(text.contains("paths: [/version-7]"));
        assert_ne!(text, document(25, 8));
    }
}
