//! The configuration as text: durations, and the effective values as TOML.

use std::fmt::Write as _;
use std::time::Duration;

use belfry_timing::{format_duration, parse_duration};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::{Config, SECTIONS};

/// A duration, written as `250ms`, `90s`, `1h30m` or `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

/// The configuration as TOML, with a remark behind each value.
pub(super) fn render(config: &Config, remark: &dyn Fn(&str) -> String) -> String {
    let values = values(config);
    let mut out = String::new();
    for section in &SECTIONS {
        let gap = if out.is_empty() { "" } else { "\n" };
        writeln!(out, "{gap}[{}]", section.name).expect("writing to a string cannot fail");
        for (field, _) in section.fields {
            let line = format!("{field} = {}", literal(&values[section.name][field]));
            let remark = remark(&format!("{}.{field}", section.name));
            writeln!(out, "{line:<44} {remark}").expect("writing to a string cannot fail");
        }
    }
    out
}

/// Every key with its default and its meaning.
pub(super) fn reference() -> String {
    let values = values(&Config::default());
    let mut out = String::new();
    for section in &SECTIONS {
        let gap = if out.is_empty() { "" } else { "\n" };
        write!(out, "{gap}#{}\n[{}]\n", section.about, section.name)
            .expect("writing to a string cannot fail");
        for (field, doc) in section.fields {
            let value = literal(&values[section.name][field]);
            write!(out, "#{doc}\n{field} = {value}\n").expect("writing to a string cannot fail");
        }
    }
    out
}

/// The values by section and field.
pub(super) fn values(config: &Config) -> Value {
    serde_json::to_value(config).expect("the configuration is plain numbers, texts and lists of them")
}

/// A value as TOML writes it.
fn literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("{key} = {}", literal(value));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        // JSON's escapes of strings are TOML's too.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
