//! What every peer did with every row, and the page that shows it.

use std::fmt::Write;
use std::path::PathBuf;

use super::peer::Kind;
use super::row::{Outcome, Pair, Row, Verdict};

/// What one peer did.
pub struct Column {
    pub kind: Kind,
    pub cells: Vec<Cell>,
    /// Rows behind which the program ended, though they alone do not end it.
    pub crashes: Vec<String>,
}

/// Which row, and what came of it.
pub type Cell = ((Pair, String), (Outcome, Verdict));

pub struct Matrix {
    tables: Vec<(Pair, Vec<Row>)>,
    columns: Vec<Column>,
}

const BEGIN: &str = "<!-- attacks:begin (written by proxy/tests/attacks.rs; CARBYNE_WRITE_DOCS=1 writes it anew) -->";
const END: &str = "<!-- attacks:end -->";

impl Matrix {
    pub fn new(tables: Vec<(Pair, Vec<Row>)>, columns: Vec<Column>) -> Self {
        for (pair, rows) in &tables {
            for (number, row) in rows.iter().enumerate() {
                let twice = rows[..number]
                    .iter()
                    .any(|other| other.family == row.family && other.name == row.name);
                assert!(!twice, "{pair}: two rows are named {:?}", row.name);
            }
        }
        Self { tables, columns }
    }

    pub fn all(&self) -> usize {
        self.tables.iter().map(|(_, rows)| rows.len()).sum()
    }

    pub fn ran(&self, wanted: &str) -> usize {
        self.tables
            .iter()
            .flat_map(|(_, rows)| rows)
            .filter(|row| row.name.contains(wanted))
            .count()
    }

    /// How many rows each peer withstands.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for column in &self.columns {
            let count = |is: fn(&Verdict) -> bool| {
                column
                    .cells
                    .iter()
                    .filter(|(_, (_, verdict))| is(verdict))
                    .count()
            };
            writeln!(
                text,
                "{:?}: {} withstood, {} lenient, {} not",
                column.kind,
                count(|verdict| *verdict == Verdict::Good),
                count(|verdict| matches!(verdict, Verdict::Lenient(_))),
                count(|verdict| matches!(verdict, Verdict::Bad(_))),
            )
            .unwrap();
        }
        text
    }

    /// The rows that a peer does not withstand.
    pub fn failures(&self, kind: Kind) -> Vec<String> {
        let columns = self.columns.iter().filter(|column| column.kind == kind);
        columns
            .flat_map(|column| &column.cells)
            .filter_map(|((pair, name), (outcome, verdict))| match verdict {
                Verdict::Bad(fault) | Verdict::Lenient(fault) => {
                    Some(format!("{pair} · {name}: {outcome}: {fault}"))
                }
                _ => None,
            })
            .collect()
    }

    /// Writes the page.
    pub fn write_page(&self) {
        let text = page_text();
        let (front, old, back) = parts(&text);
        let separator = if old.is_empty() { "\n" } else { "" };
        std::fs::write(
            page_path(),
            format!("{front}{separator}{BEGIN}\n{}{END}{back}", self.page()),
        )
        .unwrap();
    }

    /// Our column of the page must be what this run saw.
    pub fn compare_page(&self) {
        let (old, new) = (ours(parts(&page_text()).1), ours(&self.page()));
        let stale: Vec<&String> = new.iter().filter(|row| !old.contains(row)).collect();
        let gone: Vec<&String> = old.iter().filter(|row| !new.contains(row)).collect();
        // Whether an answer or the close behind it is seen first may differ from run to run, harm does not:
        // the page is compared where all is run.
        if !std::env::var("FULL").is_ok_and(|full| full == "1") {
            for row in &stale {
                println!("docs/security.md has another outcome than this run: {row}");
            }
            return;
        }
        assert!(
            stale.is_empty() && gone.is_empty(),
            "docs/security.md is not current: run this suite with CARBYNE_WRITE_DOCS=1\nnow: {stale:#?}\non the page: {gone:#?}"
        );
    }

    /// The part between the marks.
    fn page(&self) -> String {
        let mut text = String::from(
            "\n## What is sent, and what comes back\n\n\
             Each row went through all programs in one run, each with the same limits (a second for a head, a body or an idle\n\
             connection). `400` an error, `close` without an answer, `RST` of the stream, `GOAWAY` of the connection, `waits` nothing within\n\
             the time, `goes on` the next request on the connection was answered, `cut` an answer that breaks off, `crash` the program\n\
             ended. **✗** marks harm: a request at the upstream that can be read in two ways or that should not be there, an answer with a control character, a\n\
             connection that is held. ○ is laxer than the row asks for, without harm at this upstream. What ours still has of\n\
             either is listed in `proxy/tests/attacks/known_weaknesses.txt`; anything else fails the suite.\n",
        );
        for column in &self.columns {
            for place in &column.crashes {
                writeln!(text, "\n{:?} ended by a signal behind \"{place}\", not by that row alone; it was started again.", column.kind).unwrap();
            }
        }
        for (pair, rows) in &self.tables {
            write!(text, "\n### {pair}\n\n| family | what |").unwrap();
            let kinds = || Kind::ALL.into_iter().filter(|kind| kind.forwards(*pair));
            for kind in kinds() {
                write!(text, " {} |", kind.title()).unwrap();
            }
            writeln!(text, "\n|---|---{}|", "|---".repeat(kinds().count())).unwrap();
            for row in rows {
                write!(text, "| {} | {} |", row.family, escaped(&row.name)).unwrap();
                for kind in kinds() {
                    write!(text, " {} |", self.cell(kind, *pair, row)).unwrap();
                }
                text.push('\n');
            }
        }
        text.push('\n');
        text
    }

    fn cell(&self, kind: Kind, pair: Pair, row: &Row) -> String {
        let column = self.columns.iter().find(|column| column.kind == kind);
        let Some((_, (outcome, verdict))) = column.and_then(|column| {
            column
                .cells
                .iter()
                .find(|((other, name), _)| *other == pair && *name == row.title())
        }) else {
            return "?".to_owned();
        };
        match verdict {
            Verdict::Bad(_) => format!("{outcome} **✗**"),
            Verdict::Lenient(_) => format!("{outcome} ○"),
            Verdict::Good => outcome.to_string(),
        }
    }
}

fn page_path() -> PathBuf {
    let folder = std::env::var("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    PathBuf::from(folder).join("../docs/security.md")
}

fn page_text() -> String {
    std::fs::read_to_string(page_path()).unwrap_or_else(|error| panic!("docs/security.md: {error}"))
}

/// What is before, between and behind the marks.
fn parts(text: &str) -> (&str, &str, &str) {
    match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) => (
            &text[..begin],
            &text[begin + BEGIN.len()..end],
            &text[end + END.len()..],
        ),
        _ => (text, "", "\n"),
    }
}

/// Pair, row and our cell of every line of the page.
fn ours(page: &str) -> Vec<String> {
    let mut pair = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("### ") {
            pair = name;
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        if cells.len() >= 6 && !line.starts_with("| family") {
            // The peers' cells are theirs.
            let own = &cells[2..cells.len() - 3];
            rows.push(format!(
                "{pair} {} · {}: {}",
                cells[0],
                cells[1],
                own.join(", ")
            ));
        }
    }
    rows
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
