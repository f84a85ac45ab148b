//! Tables as `ps` and kubectl print them: aligned columns, no frames, so that `awk` and people can both read them.

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
}

impl Tone {
    /// The ANSI code of its colour, from the sixteen that every theme defines.
    fn code(self) -> Option<&'static str> {
        match self {
            Tone::Plain => None,
            Tone::Good => Some("32"),
            Tone::Bad => Some("31"),
            Tone::Open => Some("33"),
            Tone::Faint => Some("2"),
        }
    }
}

/// Text and its tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }

    fn painted(&self, has_colour: bool) -> String {
        match self.tone.code().filter(|_| has_colour) {
            Some(code) => format!("\x1b[{code}m{}\x1b[0m", self.text),
            None => self.text.clone(),
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
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
    headers: Vec<&'static str>,
    widths: Vec<usize>,
    has_begun: bool,
}

impl Table {
    pub(crate) fn new(headers: Vec<&'static str>) -> Self {
        let widths = headers.iter().map(|header| header.chars().count()).collect();
        Self { headers, widths, has_begun: false }
    }

    /// A table of aligned columns without headers.
    pub(crate) fn plain(columns: usize) -> Self {
        Self { headers: Vec::new(), widths: vec![0; columns], has_begun: true }
    }

    /// The lines of these rows, under the headers the first time.
    pub(crate) fn lay_out(&mut self, rows: &[Vec<Cell>], has_colour: bool) -> String {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let mut text = String::new();
        if !self.has_begun {
            self.has_begun = true;
            let headers: Vec<Cell> =
                self.headers.iter().map(|header| Cell::new(*header, Tone::Faint)).collect();
            text.push_str(&self.line(&headers, has_colour));
        }
        text.extend(rows.iter().map(|row| self.line(row, has_colour)));
        text
    }

    fn line(&self, row: &[Cell], has_colour: bool) -> String {
        let end = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |last| last + 1);
        let mut line = String::new();
        for (index, (cell, width)) in row[..end].iter().zip(&self.widths).enumerate() {
            line.push_str(&cell.painted(has_colour));
            if index + 1 < end {
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
        }
        line.push('\n');
        line
    }
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
        let mut table = Table::plain(2);
        let rows = [vec![Cell::new("é", Tone::Bad), "x".into()], row(["ab", "y"])];
        assert_eq!(table.lay_out(&rows, true), "\x1b[31mé\x1b[0m   x\nab  y\n");
    }
}
