//! Tables as `ps` and kubectl print them: aligned columns, no frames, so that `awk` and people can both read them. The only
//! user of `comfy-table`.
//!
//! - TABLE-1: a row is one line, and its text cannot move the cursor: control characters in it become blanks.

use comfy_table::{ColumnConstraint, Width, presets};

/// Blanks behind a column.
const GAP: u16 = 2;

/// A cell's meaning, which colours show and nothing depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Somebody should look.
    Bad,
    /// Not decided yet.
    Open,
    /// Of lesser interest.
    Faint,
    /// Values, among which those that nobody chose are of lesser interest.
    Settings,
}

impl Tone {
    /// The ANSI code of its colour, from the sixteen that every theme defines.
    fn code(self) -> Option<&'static str> {
        match self {
            Tone::Plain | Tone::Settings => None,
            Tone::Good => Some("32"),
            Tone::Bad => Some("31"),
            Tone::Open => Some("33"),
            Tone::Faint => Some("2"),
        }
    }
}

/// The mark of a value that nobody chose, and how it looks.
const DEFAULT: &str = "(default)";
const FAINT_DEFAULT: &str = "\x1b[2m(default)\x1b[0m";

/// Text and its tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        let text: String = text.into();
        // TABLE-1
        Self { text: text.replace(char::is_control, " "), tone }
    }

    fn painted(&self) -> String {
        match self.tone.code() {
            None if self.tone == Tone::Settings => self.text.replace(DEFAULT, FAINT_DEFAULT),
            Some(code) => format!("\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.clone(),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// A table that may grow page by page: a later page keeps at least the widths of the earlier ones.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Empty once they have been written.
    headers: Vec<Cell>,
    /// Of the pages so far.
    widths: Vec<u16>,
}

impl Table {
    pub(crate) fn new(headers: Vec<&'static str>) -> Self {
        let headers = headers.into_iter().map(|header| Cell::new(header, Tone::Faint));
        Self { headers: headers.collect(), widths: Vec::new() }
    }

    /// A table of aligned columns without headers.
    pub(crate) fn plain() -> Self {
        Self::new(Vec::new())
    }

    /// The lines of these rows, under the headers the first time.
    pub(crate) fn lay_out(&mut self, rows: &[Vec<Cell>], has_colour: bool) -> String {
        let headers = std::mem::take(&mut self.headers);
        let headers = (!headers.is_empty()).then_some(headers);
        let rows: Vec<&Vec<Cell>> = headers.iter().chain(rows).collect();
        let lines = self.aligned(&rows);
        let line = |(line, row): (String, &Vec<Cell>)| {
            let line = if has_colour { painted(&line, row) } else { line };
            line.trim_end().to_owned() + "\n"
        };
        lines.into_iter().zip(rows).map(line).collect()
    }

    /// One line per row.
    fn aligned(&mut self, rows: &[&Vec<Cell>]) -> Vec<String> {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.add_rows(rows.iter().map(|row| row.iter().map(|cell| &cell.text)));
        let mut widths = table.column_max_content_widths();
        for (width, earlier) in widths.iter_mut().zip(&self.widths) {
            *width = (*width).max(*earlier);
        }
        for (column, width) in table.column_iter_mut().zip(&widths) {
            column.set_padding((0, GAP));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width.saturating_add(GAP))));
        }
        self.widths = widths;
        table.lines().collect()
    }
}

/// Colours the cells of a line that has been laid out: a code counts as no width only when it comes afterwards.
fn painted(line: &str, row: &[Cell]) -> String {
    let (mut text, mut rest) = (String::new(), line);
    for cell in row.iter().filter(|cell| !cell.text.is_empty()) {
        // Nothing but blanks stands before the next cell, so the first place where its text is found is its own.
        let Some((blanks, behind)) = rest.split_once(&cell.text) else { break };
        text.push_str(blanks);
        text.push_str(&cell.painted());
        rest = behind;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> Vec<Cell> {
        cells.map(Cell::from).into()
    }

    #[test]
    fn columns_align_and_nothing_trails() {
        let mut table = Table::new(vec!["NAME", "STATE", "NEXT"]);
        let text = table.lay_out(&[row(["invoices", "ACTIVE", "now"]), row(["a", "", ""])], false);
        assert_eq!(text, "NAME      STATE   NEXT\ninvoices  ACTIVE  now\na\n");
        let more = table.lay_out(&[row(["b", "PAUSED", "never"])], false);
        assert_eq!(more, "b         PAUSED  never\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::plain();
        let rows = [vec![Cell::new("é", Tone::Bad), "x".into()], row(["ab", "y"])];
        assert_eq!(table.lay_out(&rows, true), "\x1b[31mé\x1b[0m   x\nab  y\n");
    }

    #[test]
    fn defaults_among_settings_are_faint() {
        let cells = vec![Cell::new("1h (default), 5m", Tone::Settings), "x".into()];
        assert_eq!(Table::plain().lay_out(&[cells], true), "1h \x1b[2m(default)\x1b[0m, 5m  x\n");
    }

    #[test]
    fn a_row_is_one_line() {
        let text = Table::plain().lay_out(&[row(["a\nb\x1b[2J", "c"])], false);
        assert_eq!(text, "a b [2J  c\n");
    }

    #[test]
    fn equal_texts_are_coloured_in_their_own_columns() {
        let cells = vec!["1".into(), "".into(), Cell::new("1", Tone::Good), "11".into()];
        assert_eq!(Table::plain().lay_out(&[cells], true), "1     \x1b[32m1\x1b[0m  11\n");
    }
}
