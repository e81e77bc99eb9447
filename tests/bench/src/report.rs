//! The report: the figures of all rounds, their median and spread, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::percentiles::median;
use crate::rows::{ROWS, Row, Verdict};

/// What was measured, while it is being measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// By row and by the store's mode: a figure of each round.
    figures: BTreeMap<(&'static str, String), Vec<f64>>,
    /// The store's modes, in the order in which they were measured.
    modes: Vec<String>,
    /// By mode, thing and unit: what the figures were made of, of each round.
    seen: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// How many ledgers were read, and what was wrong with them.
    ledgers_read: usize,
    mistakes: Vec<String>,
}

/// The figures of one row in one mode.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// The row's id.
    row: &'static str,
    /// The store's mode.
    mode: String,
    /// The middle of the rounds.
    median: f64,
    /// The lowest round.
    min: f64,
    /// The highest round.
    max: f64,
    /// All rounds.
    rounds: Vec<f64>,
    /// What the median is worth.
    verdict: Verdict,
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and how it was measured.
    pub machine: BTreeMap<&'static str, String>,
    /// What the rows are.
    rows: &'static [Row],
    /// Their figures.
    figures: Vec<Figure>,
    /// Medians of what they were made of, by mode.
    seen: BTreeMap<String, BTreeMap<String, f64>>,
    /// How many ledgers were read.
    ledgers_read: usize,
    /// What was wrong with them; empty: nothing.
    ledger_mistakes: Vec<String>,
}

impl Measured {
    /// One round's figure of a row.
    pub fn add(&mut self, row: &'static str, mode: &str, figure: f64) {
        if !self.modes.iter().any(|known| known == mode) {
            self.modes.push(mode.to_owned());
        }
        self.figures.entry((Row::of(row).id, mode.to_owned())).or_default().push(figure);
    }

    /// One round's part of a figure.
    pub fn see(&mut self, mode: &str, what: String, figure: f64) {
        self.seen.entry(mode.to_owned()).or_default().entry(what).or_default().push(figure);
    }

    /// A ledger was read, and this was wrong with it.
    pub fn ledger(&mut self, mistakes: Vec<String>) {
        self.ledgers_read += 1;
        self.mistakes.extend(mistakes);
    }

    /// Closes the measurement.
    #[must_use]
    pub fn report(self, machine: BTreeMap<&'static str, String>) -> Report {
        let position = |id: &str| ROWS.iter().position(|row| row.id == id);
        let mut figures: Vec<Figure> = self
            .figures
            .into_iter()
            .map(|((row, mode), rounds)| {
                let middle = median(&rounds);
                Figure {
                    row,
                    mode,
                    median: middle,
                    min: rounds.iter().copied().fold(f64::INFINITY, f64::min),
                    max: rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    verdict: Row::of(row).verdict(middle),
                    rounds,
                }
            })
            .collect();
        let modes = self.modes;
        figures.sort_by_key(|figure| (position(figure.row), modes.iter().position(|mode| *mode == figure.mode)));
        let medians = |seen: BTreeMap<String, Vec<f64>>| seen.into_iter().map(|(what, figures)| (what, median(&figures))).collect();
        let seen = self.seen.into_iter().map(|(mode, seen)| (mode, medians(seen))).collect();
        Report { machine, rows: &ROWS, figures, seen, ledgers_read: self.ledgers_read, ledger_mistakes: self.mistakes }
    }
}

impl Report {
    /// Whether every ledger was right, and there was one.
    #[must_use]
    pub fn ledger_is_right(&self) -> bool {
        self.ledgers_read > 0 && self.ledger_mistakes.is_empty()
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.machine {
            writeln!(text, "{name}: {value}").expect("text takes all");
        }
        writeln!(text, "\n{:64} {:9} {:>8} {:>17}  {:>6} {:>6}", "", "store", "median", "lowest – highest", "must", "aim")
            .expect("text takes all");
        for row in ROWS {
            let (title, [must, aim]) = (row.heading(), row.bounds());
            for figure in self.figures.iter().filter(|figure| figure.row == row.id) {
                let verdict = match figure.verdict {
                    Verdict::Aim => "aim",
                    Verdict::Must => "must",
                    Verdict::Missed => "MISSED",
                };
                let spread = format!("{} – {}", number(figure.min), number(figure.max));
                writeln!(text, "{title:64} {:9} {:>8} {spread:>17}  {must:>6} {aim:>6}  {verdict}", figure.mode, number(figure.median))
                    .expect("text takes all");
            }
        }
        match (self.ledgers_read, &self.ledger_mistakes[..]) {
            (count, []) => writeln!(text, "\nledgers read: {count}, all right"),
            (count, mistakes) => writeln!(text, "\nledgers read: {count}; WRONG:\n{}", mistakes.join("\n")),
        }
        .expect("text takes all");
        text
    }
}

/// Modes of a report that are none of Redis's. Their rows say so in their titles.
const OTHER_MODES: [&str; 1] = ["sqlite"];

/// Where a row has no figure for a mode.
const NOT_MEASURED: &str = "—";

impl Report {
    /// The table of docs/benchmarks.md: a line for each row, a column for each of Redis's modes. What misses its must is bold.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut modes: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !modes.contains(&figure.mode.as_str()) && !OTHER_MODES.contains(&figure.mode.as_str()) {
                modes.push(&figure.mode);
            }
        }
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let headings = ["", "must", "aim"].map(str::to_owned);
        let mut text = line(headings.iter().cloned().chain(modes.iter().map(|mode| (*mode).to_owned())).collect());
        text += &line(vec!["---".to_owned(); headings.len() + modes.len()]);
        for row in ROWS {
            let of_row: Vec<&Figure> = self.figures.iter().filter(|figure| figure.row == row.id).collect();
            if of_row.is_empty() {
                continue;
            }
            let mut cells = vec![row.heading()];
            cells.extend(row.bounds());
            // A figure that has no mode stands in the first column. The docs say what the dash means.
            let no_mode = |figure: &&&Figure| !modes.contains(&figure.mode.as_str());
            for (index, mode) in modes.iter().enumerate() {
                let found = of_row.iter().find(|figure| figure.mode == *mode);
                let found = found.or_else(|| of_row.iter().find(no_mode).filter(|_| index == 0));
                cells.push(found.map_or_else(|| NOT_MEASURED.to_owned(), |figure| figure.cell()));
            }
            text += &line(cells);
        }
        text
    }
}

impl Figure {
    /// Such as `0.87 (0.85–0.93)`.
    fn cell(&self) -> String {
        let middle = number(self.median);
        let middle = if self.verdict == Verdict::Missed { format!("**{middle}**") } else { middle };
        format!("{middle} ({}–{})", number(self.min), number(self.max))
    }
}

/// Three digits that count.
fn number(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_ledger_is_wrong_or_was_not_read_fails() {
        let report = |ledgers: &[&[&str]]| {
            let mut measured = Measured::default();
            for mistakes in ledgers {
                measured.ledger(mistakes.iter().map(|&mistake| mistake.to_owned()).collect());
            }
            measured.report(BTreeMap::new())
        };
        assert!(!report(&[]).ledger_is_right());
        assert!(report(&[&[], &[]]).ledger_is_right());
        let wrong = report(&[&[], &["10 calls were admitted, and 9 credits are spent"]]);
        assert!(!wrong.ledger_is_right());
        assert!(wrong.text().contains("9 credits are spent"));
    }

    #[test]
    fn a_figure_is_the_median_of_its_rounds_with_their_spread() {
        let mut measured = Measured::default();
        for figure in [0.7, 0.9, 0.96] {
            measured.add("check_vs_script_32", "off", figure);
        }
        let report = measured.report(BTreeMap::new());
        let figure = &report.figures[0];
        assert_eq!((figure.median, figure.min, figure.max, figure.verdict), (0.9, 0.7, 0.96, Verdict::Must));
        assert!(report.text().contains("must"));
    }

    #[test]
    fn the_docs_have_every_row_with_its_bounds_and_no_other() {
        let docs = include_str!("../../../docs/benchmarks.md");
        let table = docs.split("|  | must | aim | ").nth(1).and_then(|table| table.split("\n\n").next()).unwrap();
        let told: Vec<String> = table.lines().skip(2).map(|line| line.splitn(5, " | ").take(3).collect::<Vec<_>>().join(" | ")).collect();
        let rows = ROWS.map(|row| format!("| {} | {}", row.heading(), row.bounds().join(" | ")));
        assert_eq!(told, rows);
    }

    #[test]
    fn the_table_of_the_docs_has_a_line_for_each_row_and_a_column_for_each_mode_and_ends_by_column_140() {
        let mut measured = Measured::default();
        for row in ROWS {
            let modes: &[&str] = if row.id.starts_with("sqlite") { &["sqlite"] } else { &["aof off", "everysec", "always"] };
            for mode in modes {
                [0.85, 0.93, 0.87].into_iter().for_each(|figure| measured.add(row.id, mode, figure));
            }
        }
        let table = measured.report(BTreeMap::new()).markdown();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2 + ROWS.len());
        assert_eq!(lines[0], "|  | must | aim | aof off | everysec | always |");
        let cells = ["0.87 (0.85–0.93)"; 3].join(" | ");
        assert_eq!(lines[2], format!("| Check / one-script, calls per second, 32 callers | ≥ 0.8 | ≥ 0.95 | {cells} |"));
        let missed = "| whole chat / chain, calls per second, 16 callers | ≥ 1 | ≥ 1.33 | **0.87** (0.85–0.93) | ";
        assert!(lines.iter().any(|line| line.starts_with(missed)), "{lines:#?}");
        assert!(lines.last().is_some_and(|line| line.starts_with("| SQLite: ") && line.ends_with(") | — | — |")), "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 140), "{lines:#?}");
    }
}
