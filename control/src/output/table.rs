//! Columns of equal width.

use std::fmt;

use crate::terminal::BOLD;

/// Rows under a head; what is printed ends where the text of a row ends.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// With the head's words.
    #[must_use]
    pub fn new(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned)],
        }
    }

    /// One more row; an empty cell is written `-`.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        }));
    }

    /// Writes it, each line behind `indent`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn fmt::Write, indent: &str) -> fmt::Result {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = seen(cell).max(*width);
            }
        }
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - seen(cell))))
                .collect();
            let line = padded.join("  ");
            let line = line.trim_end();
            if index == 0 {
                writeln!(out, "{indent}{BOLD}{line}{BOLD:#}")?;
            } else {
                writeln!(out, "{indent}{line}")?;
            }
        }
        Ok(())
    }
}

/// How many characters of a cell are seen: styles are none.
fn seen(cell: &str) -> usize {
    anstream::adapter::strip_str(cell)
        .map(|part| part.chars().count())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["name", "state"]);
        table.row([format!("{BOLD}portal{BOLD:#}"), "√ ready".to_owned()]);
        table.row(["x".to_owned(), String::new()]);
        let mut text = String::new();
        table.write(&mut text, "  ").unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "  name    state\n  portal  √ ready\n  x       -\n"
        );
    }
}
