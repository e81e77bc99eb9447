//! Tables for people that `grep` and `awk` can read: one entry a line, at least two spaces between columns, `-` for nothing.

use crate::display::one_line;

/// Rows below a line of names.
pub(crate) struct Table {
    /// Names; one that begins with `>` is of a column of numbers, which are aligned at their ends.
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row: a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = cells.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { one_line(&cell) });
        self.rows.push(shown.collect());
    }

    /// The lines, names first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let names: Vec<String> = self.columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
        let all = || std::iter::once(&names).chain(&self.rows);
        let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..names.len()).map(width).collect();
        all()
            .map(|row| {
                let cells = row.iter().zip(&widths).zip(self.columns).map(|((cell, width), column)| match column.starts_with('>') {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:width$}"),
                });
                cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_cells_are_dashes() {
        let mut table = Table::new(&["NAME", ">CREDITS", "NOTE"]);
        table.row(["alice".into(), "10".into(), String::new()]);
        table.row(["jürgen".into(), "-1".into(), "for\nthe demo".into()]);
        assert_eq!(table.lines(), ["NAME    CREDITS  NOTE", "alice        10  -", "jürgen       -1  for the demo"]);
    }
}
