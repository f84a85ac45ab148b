//! Reading a document field by field.
//!
//! - DOC-1: a field that nobody reads is an error that names it and the nearest field there is: a typo must not become a
//!   default.
//! - DOC-2: everything that is wrong in a document is said at once, each with its path.
//! - DOC-3: a value is taken as what it is: `1.10` is no text until it stands in quotes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use serde_yaml_ng::{Mapping, Value};

use crate::text;

/// What is wrong in a document.
#[derive(Debug, Default)]
pub(super) struct Found(pub(super) Vec<String>);

impl Found {
    pub(super) fn add(&mut self, path: &str, why: impl Display) {
        self.0.push(format!("{path} {why}"));
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl<'a> Place<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The fields of a mapping.
    pub(super) fn fields(&self, found: &mut Found) -> Fields<'a> {
        let map = self.value.as_mapping();
        if map.is_none() {
            self.is_not("a mapping of fields", found);
        }
        Fields { path: self.path.clone(), map, known: Vec::new() }
    }

    pub(super) fn text(&self, found: &mut Found) -> String {
        match self.value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => {
                found.add(&self.path, "is no text: put it in quotes");
                String::new()
            }
            _other => {
                self.is_not("a text", found);
                String::new()
            }
        }
    }

    pub(super) fn number<T: TryFrom<i128> + Default>(&self, found: &mut Found) -> T {
        let number = self.value.as_i64().map(i128::from).or(self.value.as_u64().map(i128::from));
        if let Some(number) = number.and_then(|number| T::try_from(number).ok()) {
            return number;
        }
        self.is_not("a whole number that fits", found);
        T::default()
    }

    pub(super) fn list<T>(&self, found: &mut Found, read: impl Fn(&Place<'a>, &mut Found) -> T) -> Vec<T> {
        let Some(items) = self.value.as_sequence() else {
            self.is_not("a list", found);
            return Vec::new();
        };
        let place = |(index, value)| Place { path: format!("{}[{index}]", self.path), value };
        items.iter().enumerate().map(|item| read(&place(item), found)).collect()
    }

    fn duration(&self, found: &mut Found) -> Option<prost_types::Duration> {
        // As on the command line, a number alone is seconds.
        if let Some(seconds) = self.value.as_u64() {
            return Some(text::proto_duration(Duration::from_secs(seconds)));
        }
        let text = self.value.as_str().unwrap_or_default();
        match belfry_timing::parse_duration(text) {
            Ok(duration) => Some(text::proto_duration(duration)),
            Err(error) => {
                found.add(&self.path, format_args!("is no duration: {error}"));
                None
            }
        }
    }

    pub(super) fn is_not(&self, wanted: &str, found: &mut Found) {
        let is = match self.value {
            Value::Null => "empty",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Tagged(_) => "a tagged value",
        };
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        found.add(path, format_args!("is {is} and should be {wanted}"));
    }
}

/// The fields of a mapping, and which of them were asked for.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    map: Option<&'a Mapping>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of a field; none where it is left out or empty.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Place<'a>> {
        self.known.push(name);
        let value = self.map?.get(name).filter(|value| !value.is_null())?;
        Some(Place { path: self.path_of(name), value })
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Fields that mean nothing here.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    pub(super) fn text(&mut self, name: &'static str, found: &mut Found) -> String {
        self.take(name).map(|place| place.text(found)).unwrap_or_default()
    }

    pub(super) fn texts(&mut self, name: &'static str, found: &mut Found) -> Vec<String> {
        self.list(name, found, Place::text)
    }

    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        found: &mut Found,
        read: impl Fn(&Place<'a>, &mut Found) -> T,
    ) -> Vec<T> {
        self.take(name).map(|place| place.list(found, read)).unwrap_or_default()
    }

    pub(super) fn flag(&mut self, name: &'static str, found: &mut Found) -> bool {
        let Some(place) = self.take(name) else { return false };
        place.value.as_bool().unwrap_or_else(|| {
            place.is_not("true or false", found);
            false
        })
    }

    pub(super) fn number<T: TryFrom<i128> + Default>(&mut self, name: &'static str, found: &mut Found) -> T {
        self.take(name).map(|place| place.number(found)).unwrap_or_default()
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        found: &mut Found,
    ) -> Option<prost_types::Duration> {
        self.take(name)?.duration(found)
    }

    pub(super) fn map(&mut self, name: &'static str, found: &mut Found) -> BTreeMap<String, String> {
        let Some(place) = self.take(name) else { return BTreeMap::new() };
        let Some(map) = place.value.as_mapping() else {
            place.is_not("a mapping of texts", found);
            return BTreeMap::new();
        };
        let mut read = BTreeMap::new();
        for (key, value) in map {
            let Some(key) = key.as_str() else {
                found.add(&place.path, "has a key that is no text: put it in quotes");
                continue;
            };
            let entry = Place { path: format!("{}.{key}", place.path), value };
            read.insert(key.to_owned(), entry.text(found));
        }
        read
    }

    /// Bytes that are text, or base64 under `{name}_base64`.
    pub(super) fn bytes(&mut self, name: &'static str, encoded: &'static str, found: &mut Found) -> Vec<u8> {
        use base64::Engine as _;
        let (plain, encoded) = (self.take(name), self.take(encoded));
        match (plain, encoded) {
            (Some(plain), None) => plain.text(found).into_bytes(),
            (None, Some(encoded)) => {
                let text = encoded.text(found);
                base64::prelude::BASE64_STANDARD.decode(text).unwrap_or_else(|error| {
                    found.add(&encoded.path, format_args!("is no base64: {error}"));
                    Vec::new()
                })
            }
            (Some(plain), Some(_)) => {
                found.add(&plain.path, "is given twice: as text and as base64");
                Vec::new()
            }
            (None, None) => Vec::new(),
        }
    }

    /// The number of an enum's value: by its name in the contract, or by what is special of it, `hold-one`.
    pub(super) fn choice<E: Into<i32>>(
        &mut self,
        name: &'static str,
        prefix: &str,
        read: fn(&str) -> Option<E>,
        values: &[&str],
        found: &mut Found,
    ) -> i32 {
        let Some(place) = self.take(name) else { return 0 };
        let written = place.text(found);
        let canonical = written.to_uppercase().replace('-', "_");
        if let Some(value) = read(&canonical).or_else(|| read(&format!("{prefix}{canonical}"))) {
            return value.into();
        }
        if !written.is_empty() {
            let values = values.join(", ");
            found.add(&place.path, format_args!("`{written}` is unknown: it can be {values}"));
        }
        0
    }

    /// DOC-1: reports the fields that nobody asked for.
    pub(super) fn end(self, found: &mut Found) {
        for key in self.map.into_iter().flat_map(Mapping::keys) {
            let Some(key) = key.as_str() else {
                let place = if self.path.is_empty() { "the document" } else { &self.path };
                found.add(place, "has a key that is no text");
                continue;
            };
            if self.known.contains(&key) {
                continue;
            }
            let path = self.path_of(key);
            match nearest(key, &self.known) {
                Some(known) => found.add(&path, format_args!("is no field: did you mean `{known}`?")),
                None => found.add(&path, format_args!("is no field: there are {}", self.known.join(", "))),
            }
        }
    }
}

/// The most similar of some names, if it is similar at all.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &&&str| edits(name, known);
    let nearest = known.iter().min_by_key(distance)?;
    let is_similar = edits(name, nearest) <= 2.max(name.chars().count() / 2);
    is_similar.then_some(*nearest)
}

/// Letters to insert, drop or change (Levenshtein).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_similar_or_none() {
        let known = ["overlap_policy", "overlap_limit", "retry"];
        assert_eq!(nearest("overlap_polcy", &known), Some("overlap_policy"));
        assert_eq!(nearest("retries", &known), Some("retry"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!((edits("", "abc"), edits("abc", "abd"), edits("kitten", "sitting")), (3, 1, 3));
    }
}
