//! `config`: files in and out of the store.

use super::program::Program;

#[test]
fn files_are_made_checked_imported_and_exported() {
    let program = Program::new();
    assert_eq!(program.kong(&["config", "init"]).code, 0);
    let again = program.kong(&["config", "init"]);
    assert_eq!(again.code, 1);
    assert!(
        again
            .err
            .contains("kong.yml already exists.\nWill not overwrite it."),
        "{again:?}"
    );
    let parsed = program.kong(&["config", "parse", "kong.yml"]);
    assert_eq!(
        (parsed.code, parsed.out.as_str()),
        (0, "parse successful\n"),
        "{parsed:?}"
    );

    program.write(
        "bad.yml",
        "_format_version: '3.0'\nservices:\n- name: a\n  retries: x\n  url: http://a\n- name: 'b c'\n  url: http://a\n",
    );
    let bad = program.kong(&["config", "parse", "bad.yml"]);
    assert_eq!(bad.code, 1);
    for line in ["Error: Failed parsing:\n", "bad.yml:4:", "bad.yml:6:"] {
        assert!(bad.err.contains(line), "{line}: {bad:?}");
    }
    let refused = program.kong(&["config", "db_import", "bad.yml"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");

    program.write(
        "one.yml",
        "_format_version: '3.0'\nservices:\n- name: one\n  url: http://a\n  routes:\n  - {name: r, paths: [/]}\n\
         consumers:\n- username: c\n  basicauth_credentials:\n  - {username: u, password: clear}\n",
    );
    program.write(
        "two.yml",
        "_format_version: '3.0'\nservices:\n- name: two\n  url: http://b\n",
    );
    for file in ["one.yml", "two.yml", "one.yml"] {
        let imported = program.kong(&["config", "db_import", file]);
        assert_eq!(
            (imported.code, imported.out.as_str()),
            (0, "parse successful, beginning import\nimport successful\n"),
            "{imported:?}"
        );
    }
    let exported = program.kong(&["config", "db_export", "out.yml"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let first = std::fs::read_to_string(program.path("out.yml")).unwrap();
    for word in ["name: one", "name: two", "name: r", "username: c"] {
        assert_eq!(first.matches(word).count(), 1, "{word}: {first}");
    }
    assert!(!first.contains("clear"), "{first}");
    let again = program.kong(&["config", "db_export", "out.yml"]);
    assert!(
        again.err.contains("already exists. Will not overwrite it."),
        "{again:?}"
    );

    // What was exported is what is imported.
    assert_eq!(program.kong(&["migrations", "reset", "-y"]).code, 0);
    assert_eq!(program.kong(&["config", "db_import", "out.yml"]).code, 0);
    assert_eq!(program.kong(&["config", "db_export", "second.yml"]).code, 0);
    let second = std::fs::read_to_string(program.path("second.yml")).unwrap();
    // When an entity was written last is not imported.
    let lasting = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.contains("updated_at"));
        lines.map(ToOwned::to_owned).collect()
    };
    assert_eq!(lasting(&second), lasting(&first));

    let off = [("KONG_DATABASE", "off")];
    for (verb, words) in [
        (
            "db_import",
            "'kong config db_import' only works with a database.",
        ),
        (
            "db_export",
            "'kong config db_export' only works with a database.",
        ),
    ] {
        let ended = program.kong_with(&["config", verb, "one.yml"], &off);
        assert_eq!(ended.code, 1);
        assert!(ended.err.contains(words), "{ended:?}");
    }
}
