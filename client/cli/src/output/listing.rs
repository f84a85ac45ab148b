//! Lists that arrive in pages and are written as they come, so that a million rows need the memory of one page.

use std::marker::PhantomData;

use serde::Serialize;

use super::{Cell, Format, Printer, Table, json, yaml};
use crate::exit::Failure;

/// An item of a list.
pub(crate) trait Row: Serialize {
    /// The headers of its columns.
    fn headers(is_wide: bool) -> Vec<&'static str>;
    /// What stands in them. `now` is what relative times are relative to.
    fn cells(&self, is_wide: bool, now: i64) -> Vec<Cell>;
    /// Its resource name.
    fn name(&self) -> &str;
}

/// A list under way: `{"key":[…]}` as a document.
pub(crate) struct Listing<T> {
    printer: Printer,
    key: &'static str,
    now: i64,
    table: Table,
    written: usize,
    items: PhantomData<T>,
}

impl<T: Row> Listing<T> {
    pub(super) fn new(printer: Printer, key: &'static str, now: i64) -> Self {
        let table = Table::new(T::headers(printer.is_wide()));
        Self { printer, key, now, table, written: 0, items: PhantomData }
    }

    /// Writes one page.
    pub(crate) fn page(&mut self, items: &[T]) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let text = self.written_as(items)?;
        self.written += items.len();
        self.printer.text(&text)
    }

    /// Ends the list and says how many items it had.
    pub(crate) fn end(self) -> Result<usize, Failure> {
        let text = match (self.printer.format(), self.written) {
            (Format::Json, 0) => format!("{{\"{}\":[]}}\n", self.key),
            (Format::Json, _) => "]}\n".to_owned(),
            (Format::Yaml, 0) => format!("{}: []\n", self.key),
            (Format::Yaml | Format::Table | Format::Wide | Format::Name, _) => String::new(),
        };
        self.printer.text(&text)?;
        Ok(self.written)
    }

    fn written_as(&mut self, items: &[T]) -> Result<String, Failure> {
        let is_first = self.written == 0;
        match self.printer.format() {
            Format::Table | Format::Wide => {
                let is_wide = self.printer.is_wide();
                let rows: Vec<_> = items.iter().map(|item| item.cells(is_wide, self.now)).collect();
                Ok(self.printer.lay_out(&mut self.table, &rows))
            }
            Format::Name => Ok(items.iter().map(|item| format!("{}\n", item.name())).collect()),
            Format::Json => {
                let items: Vec<String> = items.iter().map(json).collect::<Result<_, _>>()?;
                let items: Vec<&str> = items.iter().map(|item| item.trim_end()).collect();
                let before = if is_first { format!("{{\"{}\":[", self.key) } else { ",".to_owned() };
                Ok(before + &items.join(","))
            }
            Format::Yaml => {
                let before = if is_first { format!("{}:\n", self.key) } else { String::new() };
                Ok(before + &yaml(items)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Item {
        name: &'static str,
    }

    impl Row for Item {
        fn headers(_: bool) -> Vec<&'static str> {
            vec!["NAME"]
        }
        fn cells(&self, _: bool, _: i64) -> Vec<Cell> {
            vec![self.name.into()]
        }
        fn name(&self) -> &str {
            self.name
        }
    }

    fn two_pages(format: Format) -> String {
        let printer = Printer { format, has_colour: false };
        let mut listing = printer.listing::<Item>("items", 0);
        let mut text = listing.written_as(&[Item { name: "a" }, Item { name: "b" }]).unwrap();
        listing.written = 2;
        text += &listing.written_as(&[Item { name: "c" }]).unwrap();
        text
    }

    #[test]
    fn pages_join_into_one_document() {
        assert_eq!(two_pages(Format::Table), "NAME\na\nb\nc\n");
        assert_eq!(two_pages(Format::Name), "a\nb\nc\n");
        assert_eq!(two_pages(Format::Yaml), "items:\n- name: a\n- name: b\n- name: c\n");
        let json = two_pages(Format::Json) + "]}";
        assert_eq!(json, r#"{"items":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#);
    }
}
