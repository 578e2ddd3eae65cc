//! `config`: declarative files.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use carbyne_events::source::DIRECTORY;

use super::prefix::Prefix;
use super::{Done, Failure, Place as Node, say};
use crate::conf::Conf;
use crate::declarative::{Document, Place, export};
use crate::entity::Entities;
use crate::store::told::Note;
use crate::store::{Change, Embedded, Store};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Write an example to begin with
    Init {
        #[arg(default_value = "kong.yml")]
        file: PathBuf,
    },
    /// Import a file into the store, beside what is there
    #[command(name = "db_import", alias = "db-import")]
    DbImport { file: PathBuf },
    /// Write what is stored to a file
    #[command(name = "db_export", alias = "db-export")]
    DbExport {
        #[arg(default_value = "kong.yml")]
        file: PathBuf,
    },
    /// Check a file
    Parse { file: PathBuf },
}

pub(super) fn run(verb: Verb, node: &Node) -> Done {
    match verb {
        Verb::Init { file } => create(&file, EXAMPLE, "\nWill not overwrite it."),
        Verb::Parse { file } => {
            // A configuration of the node that is not sound is told here, as Kong does.
            node.conf()?;
            read(&file)
                .and_then(|document| {
                    document
                        .flatten(SystemTime::now())
                        .map_err(|error| explained(&file, &error))
                })
                .map_err(failed_parsing)?;
            say("parse successful");
            Ok(())
        }
        Verb::DbImport { file } => db_import(&file, &node.conf()?.0),
        Verb::DbExport { file } => db_export(&file, &node.conf()?.0),
    }
}

fn failed_parsing(why: String) -> Failure {
    format!("Failed parsing:\n{why}").into()
}

fn db_import(file: &Path, conf: &Conf) -> Done {
    if conf.is_dbless() {
        return Err(
            "'kong config db_import' only works with a database.\nWhen using database=off, reload your declarative \
             configuration\nusing the /config endpoint."
                .into(),
        );
    }
    let flat = read(file)
        .and_then(|document| {
            document
                .flatten(SystemTime::now())
                .map_err(|error| explained(file, &error))
        })
        .map_err(failed_parsing)?;
    say("parse successful, beginning import");
    let store = open(conf)?;
    let import = async {
        let mut changes = Vec::new();
        for (schema, id, entity, expires) in flat.into_rows() {
            changes.push(match store.get(schema, &id).await? {
                Some(row) => Change::Replace {
                    schema,
                    id,
                    entity,
                    expires,
                    seen: row.revision,
                },
                None => Change::Insert {
                    schema,
                    id,
                    entity,
                    expires,
                },
            });
        }
        if std::env::var(DIRECTORY).is_ok_and(|directory| !directory.is_empty()) {
            // The node that starts next tells it.
            let note = Note::of(&changes).to_json();
            return store.commit_noted(changes, note).await;
        }
        store.commit(changes).await
    };
    let done = runtime()?.block_on(import);
    done.map_err(|error| format!("Failed importing:\n{error}"))?;
    say("import successful");
    Ok(())
}

fn db_export(file: &Path, conf: &Conf) -> Done {
    if conf.is_dbless() {
        return Err("'kong config db_export' only works with a database.".into());
    }
    if file.exists() {
        return Err(already_there(file, " Will not overwrite it."));
    }
    let entities = Entities::new(std::sync::Arc::new(open(conf)?));
    let text = runtime()?.block_on(export(&entities))?;
    create(file, &text, " Will not overwrite it.")
}

/// The store of a node that does not run: a store has one process.
fn open(conf: &Conf) -> Result<Embedded, Failure> {
    let prefix = Prefix::of(conf);
    if prefix.running().is_some() {
        return Err(format!(
            "Kong is running in {}, and the embedded store is open in one process: use its Admin API, or stop it before",
            prefix.show()
        )
        .into());
    }
    std::fs::create_dir_all(conf.prefix())?;
    Ok(Embedded::open(&conf.store())?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Writes a file that is not there yet. It may hold secrets.
fn create(file: &Path, text: &str, end: &str) -> Done {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(file);
    let mut opened = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => already_there(file, end),
        _ => format!("{}: {error}", file.display()).into(),
    })?;
    opened
        .write_all(text.as_bytes())
        .map_err(|error| format!("{}: {error}", file.display()).into())
}

fn already_there(file: &Path, end: &str) -> Failure {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.into());
    format!("{} already exists.{end}", path.display()).into()
}

pub(crate) fn read(path: &Path) -> Result<Document, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str());
    Document::read(&text, name).map_err(|error| explained(path, &error))
}

/// Every error of a file, with its line and column.
pub(crate) fn explained(path: &Path, error: &crate::error::Error) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let places = error
        .fields
        .as_ref()
        .map(|fields| Place::find(&text, fields))
        .unwrap_or_default();
    let lines: Vec<_> = places
        .iter()
        .map(|place| format!("{}:{place}", path.display()))
        .collect();
    format!(
        "error parsing declarative config file {}:\n{}",
        path.display(),
        lines.join("\n")
    )
}

/// What `init` writes.
const EXAMPLE: &str = r#"# A declarative configuration to begin with.

# The oldest version of the format that this file is written for.
_format_version: "3.0"

# Whether passwords are still to be hashed: true for a file written by hand, false for an export.
_transform: true

# services:
# - name: example
#   url: http://example.com
#   routes:
#   - name: example
#     paths:
#     - /
#   plugins:
#   - name: key-auth

# consumers:
# - username: somebody
#   keyauth_credentials:
#   - key: my-key
"#;
