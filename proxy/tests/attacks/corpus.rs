//! The corpus and how it runs.

mod frames;
mod http1;
mod http2;
mod matrix;
mod peer;
mod row;
mod upstreams;

use std::time::Instant;

use crate::support::process::settles;
use crate::support::report_cases;
use matrix::{Cell, Column, Matrix};
use peer::{Kind, Peer};
use row::{End, Outcome, Pair, Row, SILENCE, Verdict};

/// All rows of a pair.
fn rows(pair: Pair) -> Vec<Row> {
    let mut rows = if pair.speaks_http2() {
        [http2::rows(), frames::rows()].concat()
    } else {
        http1::rows()
    };
    rows.extend(upstreams::rows(pair));
    rows
}

/// Rows in which ours is known to be laxer or weaker. They run and are printed; the list may only get shorter.
const KNOWN: &str = include_str!("known_weaknesses.txt");

#[test]
fn every_peer_meets_the_corpus() {
    let peers_only = std::env::var("CARBYNE_ATTACKS").is_ok_and(|value| value == "peers-only");
    let wanted = std::env::var("CARBYNE_CASE").unwrap_or_default();
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|kind| !(peers_only && kind.is_ours()))
        .collect();
    let threads: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let (kind, wanted) = (*kind, wanted.clone());
            std::thread::spawn(move || column(kind, &wanted))
        })
        .collect();
    let columns: Vec<Column> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let matrix = Matrix::new(Pair::ALL.map(|pair| (pair, rows(pair))).into(), columns);
    let ran = matrix.ran(&wanted);
    report_cases("attacks", ran, matrix.all());
    println!("{}", matrix.summary());
    if std::env::var("CARBYNE_WRITE_DOCS").is_ok_and(|value| value == "1")
        && wanted.is_empty()
        && !peers_only
    {
        matrix.write_page();
    }
    let named = |kind: Kind| {
        let failures = matrix.failures(kind).into_iter();
        failures.map(move |row| match kind {
            Kind::Gateway => format!("gateway: {row}"),
            _ => row,
        })
    };
    let mut bad: Vec<String> = named(Kind::Carbyne).chain(named(Kind::Gateway)).collect();
    bad.retain(|row| {
        let known = KNOWN
            .lines()
            .any(|line| row.starts_with(&format!("{line}:")));
        if known {
            println!("known: {row}");
        }
        !known
    });
    assert!(
        bad.is_empty(),
        "{} of {ran} attacks are not withstood:\n{}",
        bad.len(),
        bad.join("\n")
    );
    if wanted.is_empty() && !peers_only {
        matrix.compare_page();
    }
}

/// Every row through one peer.
fn column(kind: Kind, wanted: &str) -> Column {
    let started = Instant::now();
    let mut peer = Peer::start(kind);
    let mut cells: Vec<Cell> = Vec::new();
    let mut crashes = Vec::new();
    let mut last: Option<(Pair, Row)> = None;
    for pair in Pair::ALL.into_iter().filter(|pair| kind.forwards(*pair)) {
        for row in rows(pair)
            .into_iter()
            .filter(|row| row.name.contains(wanted))
        {
            if !peer.accepts(pair) {
                crashes.extend(blame(kind, last.as_ref(), &mut cells));
                peer = Peer::start(kind);
            }
            let outcome = peer.meet(pair, &row);
            let verdict = row.judge(&outcome);
            if std::env::var("CARBYNE_SHOW").is_ok() {
                println!("{kind:?} {pair} {}: {outcome} {verdict:?}", row.title());
            }
            cells.push(((pair, row.title()), (outcome, verdict)));
            last = Some((pair, row));
        }
    }
    if !peer.accepts(Pair::OneToOne) {
        crashes.extend(blame(kind, last.as_ref(), &mut cells));
    }
    println!("{kind:?}: {:.1} s", started.elapsed().as_secs_f32());
    Column {
        kind,
        cells,
        crashes,
    }
}

/// The program ended behind the back of the last row. If that row alone ends it again, it was the row; if not, the
/// rows before it had their part, and the page says only where it happened. Ours is always blamed.
fn blame(kind: Kind, last: Option<&(Pair, Row)>, cells: &mut [Cell]) -> Option<String> {
    let ((pair, row), (_, (outcome, verdict))) = (last?, cells.last_mut()?);
    let mut alone = Peer::start(kind);
    alone.meet(*pair, row);
    let again = settles(SILENCE, || !alone.accepts(*pair));
    if again || kind.is_ours() {
        *outcome = Outcome {
            end: End::Crash,
            ..Outcome::default()
        };
        *verdict = Verdict::Bad("the process ended".to_owned());
        return None;
    }
    Some(format!("{pair} · {}", row.title()))
}
