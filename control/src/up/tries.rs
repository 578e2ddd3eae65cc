//! What to try, as the folder itself says: `curl` lines in the comments of its kong.yml.
//!
//! ```text
//! #     curl -s http://127.0.10.10:8000/portal
//! #     → 401 "No API key found in request"
//! #     No key: the gateway answers, the mesh never hears of it.
//! #     see log gateway/gateway-access.log: " 401 "
//! ```
//!
//! A command, what is answered, what that shows, and where else it is to be seen: `graph`, `events`, or `log FILE: WORDS` in the run
//! directory. Keys are printed because somebody wrote them there to be printed; what is in the configuration itself never is.

use std::path::Path;

use serde::Serialize;

/// Something to try.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Try {
    /// What it shows.
    pub shows: String,
    /// The command line.
    pub command: String,
    /// Status and words of the answer.
    pub answer: Option<String>,
    /// Where else it is to be seen.
    pub see: Vec<See>,
}

/// Where something is to be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct See {
    /// `graph`, `events` or `log`.
    pub place: String,
    /// What is to be seen there; of a log, the command that shows it.
    pub what: String,
}

/// What the comments of a file say; `run` is the directory that logs are in.
#[must_use]
pub fn read(text: &str, run: &Path) -> Vec<Try> {
    let mut tries: Vec<Try> = Vec::new();
    let comments = text
        .lines()
        .map_while(|line| line.strip_prefix('#'))
        .filter_map(|line| line.strip_prefix(INDENT))
        .map(str::trim_end);
    for line in comments {
        if line.starts_with("curl ") {
            tries.push(Try {
                command: line.to_owned(),
                ..Try::default()
            });
            continue;
        }
        let Some(open) = tries.last_mut() else {
            continue;
        };
        if let Some(answer) = line.strip_prefix("→ ") {
            open.answer = Some(answer.to_owned());
        } else if let Some((place, what)) = line
            .strip_prefix("see ")
            .and_then(|see| see.split_once(": "))
        {
            open.see.push(match place.strip_prefix("log ") {
                Some(file) => See {
                    place: "log".to_owned(),
                    what: grep(&run.join(file), what),
                },
                None => See {
                    place: place.to_owned(),
                    what: what.to_owned(),
                },
            });
        } else if !line.is_empty() {
            if !open.shows.is_empty() {
                open.shows.push(' ');
            }
            open.shows.push_str(line);
        }
    }
    tries
}

/// A line that shows the last place of some words in a log, or in several: `*` is the shell's.
fn grep(file: &Path, words: &str) -> String {
    let file: Vec<String> = file.display().to_string().split('*').map(quoted).collect();
    format!("grep -hF {} {} | tail -n 1", quoted(words), file.join("*"))
}

/// For a shell: as it is where that is safe, else in single quotes.
pub(super) fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-=@%+,".contains(&byte);
    if text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

const INDENT: &str = "     ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_say_what_to_try() {
        let text = "\
# What it does.
#
#     nothing before a command counts
#     curl -s http://127.0.10.10:8000/portal
#     → 401 \"No API key\"
#     No key: the gateway
#     answers.
#     see graph: nothing
#     see log cat*/a.log: it's
#
#     curl x
#
services:
#     curl not-at-the-top
";
        let see = |place: &str, what: &str| See {
            place: place.to_owned(),
            what: what.to_owned(),
        };
        assert_eq!(
            read(text, Path::new("/run/x")),
            [
                Try {
                    shows: "No key: the gateway answers.".to_owned(),
                    command: "curl -s http://127.0.10.10:8000/portal".to_owned(),
                    answer: Some("401 \"No API key\"".to_owned()),
                    see: vec![
                        see("graph", "nothing"),
                        see("log", r"grep -hF 'it'\''s' /run/x/cat*/a.log | tail -n 1"),
                    ],
                },
                Try {
                    command: "curl x".to_owned(),
                    ..Try::default()
                },
            ]
        );
    }

    #[test]
    fn shells_read_what_was_meant() {
        for (text, expected) in [
            ("http://a/b", "http://a/b"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("/x?a=b&c", "'/x?a=b&c'"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
